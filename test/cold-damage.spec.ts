/**
 * Damage to a store with two tiers: bits of its files flipped, files cut short or missing, before it is opened and while
 * it is open. Whatever is damaged, the answer is right or it is a KvCorruptionError that names the place; never another
 * value, an older one, or "not found". What a store without a checkpoint opens is whole; with one, damage of what was not
 * read at opening is found by a read or a compaction. Checkpoints and the files of the cold index are derived data: they
 * are made anew, and nothing is lost. Of the logs a commit takes a bit of every third byte, `RUNS=8` in the environment every bit.
 */
import path from 'node:path';
import { KvCorruptionError, KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { SimulatedDisk } from './support/simulated-disk.js';
import { watched } from './support/watched-fs.js';

const PATH = '/store';
const BITS_PER_BYTE = Math.min(8, Number(process.env.RUNS ?? 1));

const optionsOn = (disk: SimulatedDisk): KvStoreOptions => ({
  path: PATH,
  env: disk.env(),
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' },
  // Small caches: they are allocated anew for each place that is damaged.
  cold: { segmentSize: '1mb', garbageShare: 0.9, indexCache: '64kb' },
  readCache: { memory: '64kb' },
  compaction: false,
  durability: { level: 'checkpoint' },
});

/** What the small store holds, by key: in the cold log or the hot one, or covered by a tombstone or a mark. */
const CONTENT: Record<string, unknown> = {
  cold: 'from the first life',
  'cold too': 'from the second life',
  rewritten: 'newest, cold',
  'rewritten again': 'newest, hot',
  deleted: undefined,
  'deleted in hot': undefined,
  gone: undefined,
  object: { field: 1, list: [1, 2, 3] },
  counter: 7,
  hot: 'not compacted',
  last: 'from the last commit',
};

/**
 * How the small store ended: closed, which takes a checkpoint; killed behind its last commit, with or without a checkpoint
 * before that; killed in a compaction, when the cold log was committed and the manifest did not know yet.
 */
type End = 'closed' | 'killed' | 'killed behind a checkpoint' | 'cut off';
const ENDS: End[] = ['closed', 'killed', 'killed behind a checkpoint', 'cut off'];
const hasCheckpoint = (end: End) => end === 'closed' || end === 'killed behind a checkpoint';

interface SmallStore {
  disk: SimulatedDisk;
  /** The commit that has `last`; the one before has everything else that is only in the hot log. */
  last: number;
  /** The last commit that there is. */
  end: number;
}

async function smallStore(end: End): Promise<SmallStore> {
  let disk = new SimulatedDisk();
  let store = await KvStore.open(optionsOn(disk));
  const space = store.namespace('n');
  for (const key of ['rewritten', 'rewritten again', 'deleted', 'deleted in hot', 'gone'])
    await store.set(key, 'oldest');
  await store.set('cold', CONTENT.cold);
  await space.set('cleared', 'oldest');
  await store.set('gone', 'soon', { ttl: 1000 });
  await store.compact({ full: true });
  await store.flush();
  // Cut off, so that both logs go on in other segments.
  disk.kill();
  store = await KvStore.open(optionsOn(disk));
  await store.set('rewritten', CONTENT.rewritten);
  await store.delete('deleted');
  await store.set('object', CONTENT.object);
  await store.increment('counter', 7);
  await store.set('cold too', CONTENT['cold too']);
  await store.namespace('n').clear();
  await store.namespace('n').set('kept', 'in the namespace');
  disk.clock.advance(2000);
  await store.flush();
  disk.kill();
  disk = await cutOff(disk);
  store = await KvStore.open(optionsOn(disk));
  await store.compact();
  await store.set('rewritten again', CONTENT['rewritten again']);
  await store.delete('deleted in hot');
  await store.set('hot', CONTENT.hot);
  await store.flush();
  if (end === 'killed behind a checkpoint') await store.checkpoint();
  await store.set('last', CONTENT.last);
  const { commit: last } = await store.flush();
  if (end === 'closed') await store.close();
  else disk.kill();
  if (end === 'cut off') disk = await cutOff(disk);
  const { opened } = await KvStore.open(optionsOn(disk.fork()));
  return { disk, last, end: opened.commit };
}

/** Compacts, and is killed before the new manifest takes the place of the old one. */
async function cutOff(disk: SimulatedDisk): Promise<SimulatedDisk> {
  let cut: SimulatedDisk | undefined;
  const env = watched(disk.env(), (operation) => {
    if (operation === 'rename') cut ??= disk.fork();
  });
  const store = await KvStore.open({ ...optionsOn(disk), env });
  await store.compact({ full: true });
  await store.close();
  return cut as SimulatedDisk;
}

/** What is lost with the last commits: that of `last`, and the one before it. */
const WITHOUT_LAST = { ...CONTENT, last: undefined };
const WITHOUT_HOT = {
  ...WITHOUT_LAST,
  hot: undefined,
  'rewritten again': 'oldest',
  'deleted in hot': 'oldest',
};

type Outcome = 'right' | 'refused' | 'dropped' | unknown[];

/**
 * Opens and reads everything. Returns what went wrong with the answers: nothing, or a list.
 * @param least the lowest commit that the store may be at: what was behind it may be taken for torn
 */
async function readAll(disk: SimulatedDisk, last: number, least: number): Promise<Outcome> {
  let store: KvStore;
  try {
    store = await KvStore.open(optionsOn(disk));
  } catch (error) {
    return isGoodError(error) ? 'refused' : [error];
  }
  const wrong: unknown[] = [];
  let refused = false;
  const { checkpoint, commit } = store.opened;
  if (commit < least) wrong.push(['opened at', commit, least]);
  /** Damage may be met where not everything was read at opening. */
  const expectOf = async (what: string, answer: Promise<unknown>, expected: unknown) => {
    const found = await answer.catch((error: unknown) => error);
    if (checkpoint !== undefined && found instanceof KvCorruptionError && isGoodError(found)) refused = true;
    else if (!sameBytes(found, expected)) wrong.push([what, found]);
  };
  const content = commit >= last ? CONTENT : commit === last - 1 ? WITHOUT_LAST : WITHOUT_HOT;
  const space = store.namespace('n');
  for (const round of ['opened', 'compacted']) {
    for (const [key, expected] of Object.entries(content))
      await expectOf(`${round}: ${key}`, store.get(key), expected);
    await expectOf(`${round}: n/kept`, space.get('kept'), 'in the namespace');
    await expectOf(`${round}: n/cleared`, space.get('cleared'), undefined);
    const compacted = store.compact({ full: true }).then(() => 'done');
    await expectOf('compaction', compacted, 'done');
  }
  disk.kill();
  return wrong.length > 0 ? wrong : refused ? 'refused' : commit < last ? 'dropped' : 'right';
}

/** Places in a file of derived data: all where it says what is where, some where there is much of the same. */
function placesIn(bytes: Buffer): number[] {
  const places: number[] = [];
  const step = BITS_PER_BYTE > 1 ? 1 : 5;
  for (let at = 0; at < bytes.length; at += at < 600 || at > bytes.length - 1600 ? step : 9973)
    places.push(at);
  return places;
}

function isGoodError(error: unknown): boolean {
  if (!(error instanceof KvCorruptionError)) return (error as { code?: string }).code === 'KV_FORMAT';
  return (
    /^(MANIFEST|DICTIONARY|(hot|cold|index)-[0-9a-f]{8}\.log)$/.test(error.file) &&
    Number.isSafeInteger(error.address) &&
    error.message.includes(error.file)
  );
}

function sameBytes(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

const filesOf = (disk: SimulatedDisk, log: string) =>
  disk.paths().filter((path) => path === `${PATH}/${log}` || path.startsWith(`${PATH}/${log}-`));

/** How often each outcome came; wrong answers are listed with where they came from. */
class Tally {
  readonly counts = { right: 0, refused: 0, dropped: 0 };
  readonly wrong: unknown[] = [];

  add(where: string, outcome: Outcome): void {
    if (typeof outcome === 'string') this.counts[outcome]++;
    else this.wrong.push([where, ...outcome]);
  }
}

describe.each(ENDS)('a store with two tiers that was %s', (how) => {
  let intact: SimulatedDisk;
  let last: number;
  let end: number;
  beforeAll(async () => {
    ({ disk: intact, last, end } = await smallStore(how));
  });

  it('has everything in its place', async () => {
    expect(await readAll(intact.fork(), last, end)).toBe('right');
    // Two segments of the cold log, so that each can be lost; the first of the hot log is gone.
    expect(filesOf(intact, 'cold').length).toBeGreaterThan(1);
    expect(filesOf(intact, 'hot')).not.toContain(`${PATH}/hot-00000000.log`);
  });

  it.each(['MANIFEST', 'cold', 'hot'])(
    'and a flipped bit in any byte of %s',
    async (log) => {
      const tally = new Tally();
      // Only the last commit may be taken for torn.
      const least = how === 'closed' || log !== 'hot' ? end : end - 1;
      for (const file of filesOf(intact, log)) {
        const { length } = intact.contents(file);
        const all = log === 'MANIFEST' || BITS_PER_BYTE > 1;
        for (let byte = all ? 0 : ENDS.indexOf(how) % 3; byte < length; byte += all ? 1 : 3) {
          for (let more = 0; more < (log === 'MANIFEST' ? 8 : BITS_PER_BYTE); more++) {
            const bit = byte * 8 + ((Math.floor(byte / 3) * 5 + more) % 8);
            const disk = intact.fork();
            disk.flip(file, bit);
            tally.add(`${file} bit ${bit}`, await readAll(disk, last, least));
          }
        }
      }
      if (process.env.TALLY) console.log(how, log, JSON.stringify(tally.counts));
      expect(tally.wrong.slice(0, 3)).toEqual([]);
      expect(tally.counts.refused).toBeGreaterThan(100);
      if (log === 'MANIFEST') expect(tally.counts.right).toBe(0);
      expect(tally.counts.dropped > 0).toBe(how.startsWith('killed') && log === 'hot');
    },
    120_000,
  );

  it.each(['MANIFEST', 'cold', 'hot'])(
    'and %s cut short at any length',
    async (log) => {
      const tally = new Tally();
      // Nothing says any more that there were later commits, unless the manifest does.
      const known = hasCheckpoint(how) ? last - 1 : last - 2;
      const least = how === 'closed' || log !== 'hot' ? end : known;
      for (const file of filesOf(intact, log)) {
        const bytes = intact.contents(file);
        for (let length = 0; length < bytes.length; length += length % 64 === 0 ? 1 : 7) {
          const disk = intact.fork();
          disk.put(file, bytes.subarray(0, length));
          tally.add(`${file} cut to ${length}`, await readAll(disk, last, least));
        }
      }
      if (process.env.TALLY) console.log(how, log, JSON.stringify(tally.counts));
      expect(tally.wrong.slice(0, 3)).toEqual([]);
      expect(tally.counts.refused).toBeGreaterThan(20);
      if (how === 'closed') expect(tally.counts.right).toBeLessThan(2);
      expect(tally.counts.dropped > 0).toBe(how.startsWith('killed') && log === 'hot');
    },
    120_000,
  );

  it.each(['checkpoint', 'index'])(
    'and damage anywhere in its %s files',
    async (log) => {
      const tally = new Tally();
      const derived = filesOf(intact, log);
      expect(derived.length > 0).toBe(hasCheckpoint(how));
      for (const file of derived) {
        const bytes = intact.contents(file);
        for (const at of placesIn(bytes)) {
          const flipped = intact.fork();
          flipped.flip(file, at * 8 + (at % 8));
          tally.add(`${file} bit in byte ${at}`, await readAll(flipped, last, end));
          const cut = intact.fork();
          cut.put(file, bytes.subarray(0, at));
          tally.add(`${file} cut to ${at}`, await readAll(cut, last, end));
        }
        const missing = intact.fork();
        const { fs } = missing.env();
        fs.unlinkSync(file);
        fs.syncDirectorySync(PATH);
        tally.add(`${file} missing`, await readAll(missing, last, end));
      }
      if (process.env.TALLY) console.log(how, log, JSON.stringify(tally.counts));
      expect(tally.wrong.slice(0, 3)).toEqual([]);
      expect(tally.counts).toMatchObject({ refused: 0, dropped: 0 });
      if (hasCheckpoint(how)) expect(tally.counts.right).toBeGreaterThan(200);
    },
    120_000,
  );

  it('and a file that is missing', async () => {
    for (const file of [...filesOf(intact, 'cold'), ...filesOf(intact, 'hot'), `${PATH}/DICTIONARY`]) {
      const disk = intact.fork();
      const { fs } = disk.env();
      fs.unlinkSync(file);
      fs.syncDirectorySync(PATH);
      const error = await KvStore.open(optionsOn(disk)).catch((thrown: unknown) => thrown);
      if (error instanceof KvStore && how === 'cut off') {
        // All of it was behind what the manifest knows of, and the hot log still has it.
        disk.kill();
        expect([file, await readAll(disk, last, last)]).toEqual([file, 'right']);
        continue;
      }
      expect([file, String(error), error instanceof KvCorruptionError]).toEqual([file, String(error), true]);
      // Named is where the log breaks off: the file, or behind a gap the one before it.
      const log = path.basename(file).split('-')[0];
      expect((error as KvCorruptionError).file.split('-')[0]).toBe(log);
    }
  });

  it('and anything in place of the cold index', async () => {
    const garbage = Buffer.alloc(100_000, 'garbage ');
    for (const name of ['index-00000000.log', 'index-00000001.log', 'index-000000ff.log']) {
      for (const bytes of [garbage, Buffer.alloc(0), intact.contents(filesOf(intact, 'cold')[0])]) {
        const disk = intact.fork();
        disk.put(`${PATH}/${name}`, bytes);
        expect(await readAll(disk, last, end)).toBe('right');
        // What was taken for a part of the index was made anew, at the latest by who reads all of it.
        let store = await KvStore.open(optionsOn(disk));
        await store.verify();
        await store.close();
        store = await KvStore.open(optionsOn(disk));
        expect((await store.verify()).damages).toEqual([]);
        disk.kill();
      }
    }
  });
});

describe('an open store', () => {
  const KEYS = 60_000;
  /** Where no read is synchronous each takes some turns of the event loop. */
  const SLOW_KEYS = 15_000;
  const STEP = 7;
  const valueOf = (key: number) => `value of ${key}`;

  /** A store whose records are all in the cold log, and with them an index that memory does not hold. */
  async function openCold(slow: boolean): Promise<{ disk: SimulatedDisk; store: KvStore; keys: number }> {
    const keys = slow ? SLOW_KEYS : KEYS;
    const disk = new SimulatedDisk();
    // Where everything seems to take long, no read is synchronous.
    if (slow) disk.clock.tickMs = 5;
    const store = await KvStore.open({
      ...optionsOn(disk),
      cold: { segmentSize: '1mb', indexCache: 0 },
      readCache: { memory: 0 },
    });
    for (let key = 0; key < keys; key++) await store.set(key, valueOf(key));
    await overwrite(store, keys);
    await store.compact({ full: true });
    return { disk, store, keys };
  }

  /** Makes garbage of records that are cold. */
  async function overwrite(store: KvStore, keys: number): Promise<void> {
    for (let key = 0; key < keys; key += 3) await store.set(`more ${key}`, valueOf(key));
  }

  /** A bit in every so many bytes of the files of a log. */
  function bitsOf(disk: SimulatedDisk, log: string, every: number): [file: string, bit: number][] {
    const bits: [string, number][] = [];
    for (const file of filesOf(disk, log)) {
      const { length } = disk.contents(file);
      for (let byte = every >> 1; byte < length; byte += every) bits.push([file, byte * 8 + (byte % 7)]);
    }
    return bits;
  }

  function flip(disk: SimulatedDisk, bits: [file: string, bit: number][]): void {
    const there = new Set(disk.paths());
    for (const [file, bit] of bits) if (there.has(file)) disk.flip(file, bit);
  }

  /** Reads many keys; returns how many were refused. */
  async function readMany(store: KvStore, log: string, keys: number): Promise<number> {
    let refused = 0;
    for (let key = 0; key < keys; key += STEP) {
      const found = await store.get(key).catch((error: unknown) => error);
      if (found instanceof KvCorruptionError && found.file.startsWith(log)) refused++;
      else if (found !== valueOf(key)) throw new Error(`${key} is ${String(found)}`);
    }
    return refused;
  }

  it.each([
    ['at once', false],
    ['by the thread pool', true],
  ])(
    'whose cold log is damaged, read %s, refuses what it cannot read',
    async (_, slow) => {
      const log = 'cold';
      const { disk, store, keys } = await openCold(slow);
      expect(filesOf(disk, log).length).toBeGreaterThan(0);
      expect(await readMany(store, log, keys)).toBe(0);
      for (const every of [5000, 600]) {
        const flipped = bitsOf(disk, log, every);
        flip(disk, flipped);
        const refused = await readMany(store, log, keys);
        expect(refused).toBeGreaterThan(0);
        expect(refused).toBeLessThan(keys / STEP);
        // Nothing of it is given up, and the files stay.
        await overwrite(store, keys);
        await expect(store.compact({ full: true })).rejects.toThrow(KvCorruptionError);
        expect(await store.get('more 3')).toBe(valueOf(3));
        // What was written since the damage is not damaged, so the same bits are not all of them.
        expect(await readMany(store, log, keys)).toBeGreaterThan(0);
        flip(disk, flipped);
        expect(await readMany(store, log, keys)).toBe(0);
      }
      await store.compact({ full: true });
      expect(await readMany(store, log, keys)).toBe(0);
    },
    60_000,
  );

  it.each([
    ['at once', false],
    ['by the thread pool', true],
  ])(
    'whose cold index is damaged again and again, read %s, makes it anew',
    async (_, slow) => {
      const { disk, store, keys } = await openCold(slow);
      for (const every of slow ? [600] : [20_000, 600]) {
        flip(disk, bitsOf(disk, 'index', every));
        expect(await readMany(store, 'index', keys)).toBe(0);
        await overwrite(store, keys);
        flip(disk, bitsOf(disk, 'index', every));
        await store.compact({ full: true });
        expect(await store.get('more 3')).toBe(valueOf(3));
      }
      flip(disk, bitsOf(disk, 'index', 600));
      disk.kill();
      const again = await KvStore.open(optionsOn(disk));
      expect(await readMany(again, 'index', keys)).toBe(0);
      disk.kill();
    },
    60_000,
  );

  it.each(['hot', 'cold'])(
    'whose %s log is cut short behind a commit does not compact beyond',
    async (log) => {
      const disk = new SimulatedDisk();
      const store = await KvStore.open({
        ...optionsOn(disk),
        hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', expectedKeys: 500_000 },
        cold: { segmentSize: '1mb', garbageShare: 0.9 },
        readCache: { memory: 0 },
      });
      let boundary = 0;
      const file = `${PATH}/${log}-00000000.log`;
      // Several commits in a segment, and some in the one behind it.
      for (let round = 0; round < 6; round++) {
        for (let i = 0; i < 40; i++) await store.set(round * 100 + i, Buffer.alloc(8000, round));
        await store.flush();
        if (log === 'cold') await store.compact();
        if (round === 1) boundary = disk.sizeOf(file);
      }
      expect(filesOf(disk, log).length).toBeGreaterThan(1);
      expect(disk.sizeOf(file)).toBeGreaterThan(boundary);
      const { fs } = disk.env();
      fs.truncate(fs.open(file, { create: false }), boundary);
      for (let i = 0; i < 40; i++) await store.set(i, 'new');
      await expect(store.compact({ full: true })).rejects.toThrow(KvCorruptionError);
      for (let round = 1; round < 6; round++) {
        for (let i = 0; i < 40; i++) {
          const found = await store.get(round * 100 + i).catch((error: unknown) => error);
          if (found instanceof KvCorruptionError) continue;
          expect(Buffer.alloc(8000, round).equals(found as Buffer)).toBe(true);
        }
      }
    },
  );
});
