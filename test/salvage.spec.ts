/**
 * Salvage of damaged stores: bits flipped, files cut short or missing. Whatever is damaged, no key gets a value that it
 * never had; a key whose newest record is intact has that value; every other key is in the report, as lost or in doubt;
 * and the damaged store is left as it was. `SEED` chooses the bits, `RUNS` how many (8 takes every bit of every file).
 */
import { isDeepStrictEqual } from 'node:util';
import { crc32 } from 'node:zlib';
import {
  KvCorruptionError,
  KvDiskError,
  KvFormatError,
  KvLockedError,
  KvOptionsError,
  KvStore,
  type KvSalvageReport,
} from 'nestjs-hotcold/store';
import { COMPACTING } from './support/compacting.js';
import {
  contentOf,
  ENDS,
  filesOf,
  nameOf,
  optionsOn,
  PATH,
  SALVAGED,
  smallStore,
  type SmallStore,
} from './support/damaged-store.js';
import { SeededRandom, SimulatedDisk } from './support/simulated-disk.js';
import { CHANGES, watched } from './support/watched-fs.js';

const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const RUNS = Number(process.env.RUNS ?? 0.1);
/** Of one test, for a machine that has other things to do. */
const TIMEOUT = 60_000 * Math.max(1, RUNS / 0.1);

const SMALL = {
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' },
  cold: { segmentSize: '1mb' },
} as const;

interface Salvaged {
  report: KvSalvageReport;
  content: Map<string, unknown>;
}

async function salvage(disk: SimulatedDisk, small: SmallStore): Promise<Salvaged> {
  const before = filesOf(disk);
  const report = await KvStore.salvage(PATH, SALVAGED, { env: disk.env(), ...SMALL });
  if (!isDeepStrictEqual(filesOf(disk), before)) throw new Error('the damaged store was changed');
  const store = await KvStore.open({ ...optionsOn(disk), path: SALVAGED });
  const content = await contentOf(store, small, report.renamed);
  await store.close();
  return { report, content };
}

/** Whether a record is hit by damage to `file[from, to)`, or was dropped with the torn tail. */
type Hit = (file: string, from: number, to: number) => boolean;

/** What is wrong with what was salvaged, in words; empty if all is well. */
function problems({ report, content }: Salvaged, { history, newest }: SmallStore, hit: Hit): string[] {
  const wrong: string[] = [];
  const told = new Set([...report.doubtful.keys, ...report.lost.keys].map(nameOf));
  const dropped = (name: string) => {
    const place = newest.get(name);
    return report.dropped.some(({ file, address }) => place?.file.endsWith(file) && place.from >= address);
  };
  for (const [name, values] of history) {
    const value = content.get(name);
    if (isDeepStrictEqual(value, values.at(-1))) continue;
    const text = `${name} is ${JSON.stringify(value, (_, v: unknown) => (typeof v === 'bigint' ? `${v}n` : v))}`;
    if (!values.some((other) => isDeepStrictEqual(value, other))) wrong.push(`${text}, which it never was`);
    const place = newest.get(name);
    if (place && !hit(place.file, place.from, place.to) && !dropped(name))
      wrong.push(`${text}, and is intact`);
    const isTold = told.has(name) || dropped(name);
    const isCounted =
      value === undefined && (report.lost.atLeast || report.lost.count > report.lost.keys.length);
    if (!isTold && !isCounted) wrong.push(`${text}, and nobody says so`);
    if (report.complete && !dropped(name)) wrong.push(`${text}, and the report says that all is there`);
  }
  return wrong;
}

const logsAndSmallFiles = (disk: SimulatedDisk) =>
  [...filesOf(disk).keys()].filter((file) => /(hot|cold)-|DICTIONARY|MANIFEST/.test(file));

describe.each(ENDS)('a store that was %s', (end) => {
  let small: SmallStore;
  beforeAll(async () => {
    small = await smallStore(end);
  });

  it('is copied whole when nothing is damaged', async () => {
    const disk = small.disk.fork();
    const found = await salvage(disk, small);
    expect(problems(found, small, () => false)).toEqual([]);
    expect(found.report).toMatchObject({
      complete: true,
      keys: 10,
      damageCount: 0,
      doubtful: { keys: [], count: 0 },
      lost: { keys: [], count: 0, atLeast: false },
      dropped: [],
      renamed: [],
    });
  });

  /** Damages a copy of the store, and says what is wrong with what is salvaged of it. */
  async function tryDamage(
    damage: (disk: SimulatedDisk) => void,
    hit: Hit,
  ): Promise<Salvaged & { wrong: string[] }> {
    const disk = small.disk.fork();
    damage(disk);
    const found = await salvage(disk, small);
    return { ...found, wrong: problems(found, small, hit) };
  }

  it(
    'with any bit flipped',
    async () => {
      const random = new SeededRandom(SEED);
      const wrong: string[] = [];
      for (const file of logsAndSmallFiles(small.disk)) {
        const { length } = small.disk.contents(file);
        // What lies below the begin of a log is read by nobody.
        for (let bit = (small.begins.get(file) ?? 0) * 8; bit < length * 8; bit++) {
          if (!random.chance(RUNS / 16)) continue;
          const byte = bit >> 3;
          const { report, ...found } = await tryDamage(
            (disk) => disk.flip(file, bit),
            (other, from, to) => other === file && byte >= from && byte < to,
          );
          for (const problem of found.wrong) wrong.push(`${file} bit ${bit}: ${problem}`);
          // The end of the manifest, and the space between checksum and entry in the dictionary.
          const isSlack = byte === length - 1 || small.disk.contents(file)[byte] === 32;
          if (
            report.complete &&
            report.dropped.length === 0 &&
            !(isSlack && /MANIFEST|DICTIONARY/.test(file))
          )
            wrong.push(`${file} bit ${bit}: nobody says that it is wrong`);
        }
      }
      expect({ seed: SEED, wrong: wrong.slice(0, 5) }).toEqual({ seed: SEED, wrong: [] });
    },
    TIMEOUT,
  );

  it(
    'with a file cut short',
    async () => {
      const random = new SeededRandom(SEED);
      const wrong: string[] = [];
      for (const file of logsAndSmallFiles(small.disk)) {
        const bytes = small.disk.contents(file);
        for (let length = small.begins.get(file) ?? 0; length < bytes.length; length++) {
          if (!random.chance(RUNS / 2)) continue;
          const disk = small.disk.fork();
          disk.put(file, bytes.subarray(0, length));
          if (file.endsWith('MANIFEST')) {
            const opened = await salvage(disk, small).catch((error: unknown) => error);
            if (opened instanceof KvCorruptionError || length === bytes.length - 1) continue;
            wrong.push(`${file} cut to ${length}: is taken for a manifest`);
            continue;
          }
          const hitsAll = file.endsWith('DICTIONARY');
          const found = await salvage(disk, small);
          // The log of a killed store may end behind any commit, for all that anybody knows.
          if (end === 'killed' && found.report.complete && file.includes('hot-')) continue;
          const hit: Hit = (other, _, to) => hitsAll || (other === file && to > length);
          for (const problem of problems(found, small, hit))
            wrong.push(`${file} cut to ${length}: ${problem}`);
          if (found.report.complete && length < bytes.length - 1)
            wrong.push(`${file} cut to ${length}: nobody says that it is wrong`);
        }
      }
      expect({ seed: SEED, wrong: wrong.slice(0, 5) }).toEqual({ seed: SEED, wrong: [] });
    },
    TIMEOUT,
  );

  it(
    'with sectors of zeros, of garbage, or of another file',
    async () => {
      const random = new SeededRandom(SEED);
      const wrong: string[] = [];
      const files = logsAndSmallFiles(small.disk).filter((file) => !file.endsWith('MANIFEST'));
      for (let run = 0; run < 400 * RUNS; run++) {
        const file = files[random.below(files.length)];
        const bytes = Buffer.from(small.disk.contents(file));
        const from = random.below(bytes.length);
        const to = Math.min(bytes.length, from + 1 + random.below(300));
        const other = small.disk.contents(files[random.below(files.length)]);
        const with_ = [
          Buffer.alloc(to - from),
          random.bytes(to - from),
          other.subarray(random.below(other.length)),
        ];
        with_[random.below(3)].copy(bytes, from, 0, to - from);
        const { report, wrong: found } = await tryDamage(
          (disk) => disk.put(file, bytes),
          (where, start, end_) =>
            file.endsWith('DICTIONARY') || (where === file && start < to && end_ > from),
        );
        // Zeros up to the end: the log of a killed store may end behind any commit, for all that anybody knows.
        if (end === 'killed' && report.complete && file.includes('hot-')) continue;
        for (const problem of found) wrong.push(`run ${run}, ${file} from ${from} to ${to}: ${problem}`);
      }
      expect({ seed: SEED, wrong: wrong.slice(0, 5) }).toEqual({ seed: SEED, wrong: [] });
    },
    TIMEOUT,
  );

  it('with a file that is missing', async () => {
    for (const file of filesOf(small.disk).keys()) {
      const disk = small.disk.fork();
      const { fs } = disk.env();
      fs.unlinkSync(file);
      fs.syncDirectorySync(PATH);
      if (file.endsWith('MANIFEST')) {
        await expect(salvage(disk, small)).rejects.toThrow(/The manifest is missing/);
        continue;
      }
      const found = await salvage(disk, small);
      const isDerived = /checkpoint-|index-/.test(file);
      const hit: Hit = (other) => !isDerived && (other === file || file.endsWith('DICTIONARY'));
      expect([file, problems(found, small, hit)]).toEqual([file, []]);
      expect([file, found.report.complete]).toEqual([file, isDerived]);
    }
  });
});

describe('a larger store', () => {
  const KEYS = 3000;
  const valueOf = (key: number, round: string) => `${round} ${key} `.padEnd(200, 'v');

  /** Everything is in the cold log, a third also in the hot one, and every fiftieth key has a large value. */
  async function largerStore(): Promise<SimulatedDisk> {
    const disk = new SimulatedDisk();
    const store = await KvStore.open({ ...COMPACTING, env: disk.env() });
    for (let key = 0; key < KEYS; key++) await store.set(key, valueOf(key, 'cold'));
    await store.compact({ full: true });
    for (let key = 0; key < KEYS; key += 3) await store.set(key, valueOf(key, 'hot'), { ttl: '1h' });
    for (let key = 0; key < KEYS; key += 50)
      await store.set(`large ${key}`, valueOf(key, 'large').repeat(500));
    await store.close();
    return disk;
  }

  const expected = (key: number) => valueOf(key, key % 3 === 0 ? 'hot' : 'cold');

  it('keeps versions and expiry', async () => {
    const disk = await largerStore();
    const old = await KvStore.open({ ...COMPACTING, env: disk.env() });
    const entries = new Map<string | number, unknown>();
    for await (const key of old.keys()) entries.set(key as string, await old.getEntry(key));
    const last = await old.set('last', 1);
    entries.set('last', await old.getEntry('last'));
    await old.close();
    const report = await KvStore.salvage(PATH, SALVAGED, { env: disk.env(), ...SMALL });
    expect(report).toMatchObject({ complete: true, keys: entries.size });
    const store = await KvStore.open({ ...optionsOn(disk), path: SALVAGED });
    for (const [key, entry] of entries) expect(await store.getEntry(key)).toEqual(entry);
    expect((await store.verify()).ok).toBe(true);
    expect(await store.set('next', 1)).toBeGreaterThan(last);
    await store.close();
  });

  it.each([
    ['cold', 'there'],
    ['hot', 'there'],
    ['hot', 'gone'],
  ])(
    'with a damaged record of the %s log, and a cold index that is %s, has no other keys in doubt',
    async (log, index) => {
      const disk = await largerStore();
      // What the checkpoint says of the hot log does not need it.
      const chunks = disk.paths().filter((path) => path.startsWith(`${PATH}/index-`));
      expect(chunks.length).toBeGreaterThan(0);
      if (index === 'gone') for (const path of chunks) disk.env().fs.unlinkSync(path);
      const file = disk.paths().find((path) => path.startsWith(`${PATH}/${log}-`)) as string;
      const bytes = disk.contents(file);
      const damaged = [300, 600, 900].map((key) => ({ key, at: bytes.indexOf(valueOf(key, log)) }));
      for (const { at } of damaged) disk.flip(file, (at + 50) * 8);
      const report = await KvStore.salvage(PATH, SALVAGED, { env: disk.env(), ...SMALL });
      expect(report.damages.map(({ file: name, keys }) => [name, keys])).toEqual(
        damaged.map(({ key }) => [file.slice(PATH.length + 1), [{ key }]]),
      );
      const store = await KvStore.open({ ...optionsOn(disk), path: SALVAGED });
      const wrong: unknown[] = [];
      for (let key = 0; key < KEYS; key++) if ((await store.get(key)) !== expected(key)) wrong.push(key);
      // The hot log has newer versions of what was damaged in the cold one.
      expect(wrong).toEqual(log === 'cold' ? [] : [300, 600, 900]);
      const told = report.doubtful.keys.map(({ key }) => key);
      expect(told).toEqual(expect.arrayContaining(wrong));
      expect(told.length).toBeLessThan(6);
      expect(report.lost).toMatchObject({ keys: [], atLeast: false });
      await store.close();
    },
  );

  it('with damaged records of keys that have no others says which are lost', async () => {
    const disk = await largerStore();
    const cold = disk.paths().find((path) => path.startsWith(`${PATH}/cold-`)) as string;
    const hot = disk.paths().filter((path) => path.startsWith(`${PATH}/hot-`));
    disk.flip(cold, (disk.contents(cold).indexOf(valueOf(601, 'cold')) + 50) * 8);
    // A piece of a large value.
    const large = hot.find((path) => disk.contents(path).includes(valueOf(1000, 'large'))) as string;
    disk.flip(large, (disk.contents(large).indexOf(valueOf(1000, 'large')) + 50) * 8);
    const report = await KvStore.salvage(PATH, SALVAGED, { env: disk.env(), ...SMALL });
    expect(report.lost.keys).toEqual(expect.arrayContaining([{ key: 601 }, { key: 'large 1000' }]));
    expect(report.lost).toMatchObject({ count: 2, atLeast: false });
    expect(report.doubtful.count).toBe(0);
    const store = await KvStore.open({ ...optionsOn(disk), path: SALVAGED });
    expect(await store.get(601)).toBeUndefined();
    expect(await store.get('large 1000')).toBeUndefined();
    expect(await store.get('large 1050')).toBe(valueOf(1050, 'large').repeat(500));
    expect(store.stats().keys).toBe(KEYS + KEYS / 50 - 2);
    await store.close();
  });

  it('leaves nothing when it fails or is ended', async () => {
    const disk = await largerStore();
    const left = () => disk.paths().filter((path) => path.startsWith(SALVAGED) && !path.endsWith('LOCK'));
    const ended = AbortSignal.abort(new Error('enough'));
    await expect(
      KvStore.salvage(PATH, SALVAGED, { env: disk.env(), ...SMALL, signal: ended }),
    ).rejects.toThrow('enough');
    expect(left()).toEqual([]);
    let bytes = 0;
    for (const path of disk.paths()) bytes += disk.sizeOf(path);
    disk.capacityBytes = bytes + 200_000;
    await expect(KvStore.salvage(PATH, SALVAGED, { env: disk.env(), ...SMALL })).rejects.toThrow(KvDiskError);
    expect(left()).toEqual([]);
    disk.capacityBytes = Infinity;
    expect(await KvStore.salvage(PATH, SALVAGED, { env: disk.env(), ...SMALL })).toMatchObject({
      complete: true,
    });
  });

  it('that was killed leaves nothing, a directory that does not open, or all of it', async () => {
    const { disk } = await smallStore('killed');
    const states: SimulatedDisk[] = [];
    let isDone = false;
    const env = watched(disk.env(), (operation) => {
      if (CHANGES.includes(operation) && !isDone) states.push(disk.fork());
    });
    await KvStore.salvage(PATH, SALVAGED, { env, ...SMALL });
    isDone = true;
    const outcomes: string[] = [];
    for (const killed of states) {
      const hasManifest = killed.paths().includes(`${SALVAGED}/MANIFEST`);
      const store = await KvStore.open({ ...optionsOn(killed), path: SALVAGED }).catch((e: unknown) => e);
      if (store instanceof KvStore) {
        outcomes.push(hasManifest ? `opened with ${store.stats().keys} keys` : 'new');
        continue;
      }
      expect(String(store)).toMatch(/is what a salvage left that did not end/);
      outcomes.push('refused');
      await expect(KvStore.salvage(PATH, SALVAGED, { env: killed.env(), ...SMALL })).rejects.toThrow(
        /is what a salvage left that did not end/,
      );
      // A part of the data would pass for all of it.
      await expect(KvStore.salvage(SALVAGED, '/again', { env: killed.env(), ...SMALL })).rejects.toThrow(
        /is what a salvage left that did not end/,
      );
    }
    // In this order, and at the end it is whole.
    const order = outcomes.filter((outcome, i) => outcome !== outcomes[i - 1]);
    expect(order).toEqual(['new', 'refused', 'opened with 10 keys']);
  });
});

describe('KvStore.salvage()', () => {
  it('needs no more than the right to read, beside others that read', async () => {
    const { disk } = await smallStore('killed');
    const env = disk.env();
    const before = [...filesOf(disk)];
    const reader = await KvStore.open({ ...optionsOn(disk), readOnly: true });
    const { fs } = env;
    const opened: [string, boolean | undefined][] = [];
    const open: typeof fs.open = (path, options) => {
      if (path.startsWith(PATH)) opened.push([path, options.readOnly]);
      return fs.open(path, options);
    };
    const report = await KvStore.salvage(PATH, SALVAGED, { env: { ...env, fs: { ...fs, open } }, ...SMALL });
    expect(report.damages).toEqual([]);
    expect(opened.length).toBeGreaterThan(5);
    expect(opened.filter(([, readOnly]) => !readOnly)).toEqual([]);
    expect([...filesOf(disk)]).toEqual(before);
    await reader.close();
  });

  it.each(['EACCES', 'EROFS', 'EIO'] as const)(
    'lets %s through, which is no damage of the manifest',
    async (code) => {
      const { disk } = await smallStore('closed');
      disk.failAt({
        operation: code === 'EIO' ? 'read' : 'open',
        path: 'MANIFEST',
        nth: 1,
        code: code,
        sticky: true,
      });
      await expect(KvStore.salvage(PATH, SALVAGED, { env: disk.env(), ...SMALL })).rejects.toMatchObject({
        code: 'KV_DISK',
        errno: code,
      });
    },
  );

  it('does not call complete what has dropped the last commit', async () => {
    const { disk } = await smallStore('killed');
    const file = disk.paths().findLast((path) => path.startsWith(`${PATH}/hot-`)) as string;
    const { length } = disk.contents(file);
    disk.flip(file, (length - 20) * 8);
    const report = await KvStore.salvage(PATH, SALVAGED, { env: disk.env(), ...SMALL });
    expect(report).toMatchObject({
      complete: false,
      damageCount: 0,
      dropped: [{ file: file.slice(PATH.length + 1) }],
    });
  });

  it.each([
    ['gone', undefined],
    ['cut to nothing', 0],
    ['zeros', 4096],
  ])(
    'does not call complete what is left of a store that was never closed, and whose log is %s',
    async (_, zeros) => {
      const disk = new SimulatedDisk();
      const store = await KvStore.open(optionsOn(disk));
      await store.set('key', 'value');
      await store.flush();
      disk.kill();
      const file = `${PATH}/hot-00000000.log`;
      if (zeros === undefined) disk.env().fs.unlinkSync(file);
      else disk.put(file, Buffer.alloc(zeros));
      await expect(KvStore.open(optionsOn(disk))).rejects.toThrow(KvCorruptionError);
      const report = await KvStore.salvage(PATH, SALVAGED, { env: disk.env(), ...SMALL });
      expect(report).toMatchObject({
        complete: false,
        keys: 0,
        damages: [{ what: 'missing', file: 'hot-00000000.log', address: 64 }],
        lost: { keys: [], count: 0, atLeast: true },
      });
    },
  );

  it('keeps of a commit that is lost what is intact, if a hint says that it was on stable storage', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(optionsOn(disk));
    await store.set('updated', 'old');
    await store.flush();
    await store.set('updated', 'new');
    // One commit, which ends in the second file.
    for (let i = 0; i < 1200; i++) await store.set(i, 'x'.repeat(1000));
    await store.flush();
    await store['core'].parts.hints?.close();
    disk.kill();
    disk.env().fs.unlinkSync(`${PATH}/hot-00000001.log`);
    await expect(KvStore.open(optionsOn(disk))).rejects.toThrow(KvCorruptionError);
    const report = await KvStore.salvage(PATH, SALVAGED, { env: disk.env(), ...SMALL });
    expect(report).toMatchObject({ complete: false, dropped: [], lost: { atLeast: true } });
    expect(report.keys).toBeGreaterThan(1000);
    expect(report.doubtful.count).toBe(report.keys);
    const salvaged = await KvStore.open({ ...optionsOn(disk), path: SALVAGED });
    expect(await salvaged.get('updated')).toBe('new');
    await salvaged.close();
  });

  it('keeps what has expired and is in its stale window, and not what was deleted in it', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(optionsOn(disk));
    const options = { ttl: 1000, staleIfError: 3_600_000 };
    for (const key of ['stale', 'deleted', 'set anew']) await store.getOrSet(key, () => key, options);
    await store.set('expired', 1, { ttl: 1000 });
    disk.clock.advance(2000);
    await store.flush();
    await store.delete('deleted');
    await store.getOrSet('set anew', () => 'new', options);
    await store.close();
    const report = await KvStore.salvage(PATH, SALVAGED, { env: disk.env(), ...SMALL });
    expect(report).toMatchObject({ complete: true, keys: 2 });
    const salvaged = await KvStore.open({ ...optionsOn(disk), path: SALVAGED });
    const fails = () => Promise.reject(new Error('no source'));
    expect(await salvaged.getOrSet('stale', fails, options)).toBe('stale');
    expect(await salvaged.getOrSet('set anew', fails, options)).toBe('new');
    await expect(salvaged.getOrSet('deleted', fails, options)).rejects.toThrow('no source');
    expect(await salvaged.get('stale')).toBeUndefined();
    await salvaged.close();
  });

  it('does not call lost what was deleted, or has expired, behind a value that cannot be read', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(optionsOn(disk));
    const keys = ['deleted', 'expired', 'set anew', 'lost'];
    for (const key of keys) await store.set(key, `large ${key} `.repeat(20_000));
    await store.flush();
    await store.delete('deleted');
    await store.set('expired', 1, { ttl: 1000 });
    await store.set('set anew', 1);
    disk.clock.advance(2000);
    await store.close();
    const file = `${PATH}/hot-00000000.log`;
    for (const key of keys) disk.flip(file, disk.contents(file).indexOf(`large ${key} `) * 8);
    const report = await KvStore.salvage(PATH, SALVAGED, { env: disk.env(), ...SMALL });
    expect(report).toMatchObject({ keys: 1, damageCount: keys.length });
    expect(report.lost).toEqual({ keys: [{ key: 'lost' }], count: 1, atLeast: false });
  });

  it('takes no value for another where the dictionary is gone and the commit that needs it is damaged', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(optionsOn(disk));
    await store.set('object', { field: 1 });
    await store.set('text', 'plain');
    await store.close();
    disk.env().fs.unlinkSync(`${PATH}/DICTIONARY`);
    const file = `${PATH}/hot-00000000.log`;
    // The last one, which says how many entries there were.
    disk.flip(file, (disk.contents(file).length - 20) * 8);
    const report = await KvStore.salvage(PATH, SALVAGED, { env: disk.env(), ...SMALL });
    expect(report.damages.map(({ what }) => what).sort()).toEqual(['dictionary', 'record']);
    expect(report.lost.keys).toEqual([{ key: 'object' }]);
    const salvaged = await KvStore.open({ ...optionsOn(disk), path: SALVAGED });
    expect(await salvaged.get('object')).toBeUndefined();
    expect(await salvaged.get('text')).toBe('plain');
    await salvaged.close();
  });

  it('refuses what it cannot use, and creates nothing', async () => {
    const { disk } = await smallStore('closed');
    const env = disk.env();
    const salvaging = (from: string, to: string, more = {}) =>
      KvStore.salvage(from, to, { env, ...SMALL, ...more });
    const paths = disk.paths();
    await expect(salvaging(PATH, PATH)).rejects.toThrow(KvOptionsError);
    await expect(salvaging(PATH, `${PATH}/inside`)).rejects.toThrow(KvOptionsError);
    await expect(salvaging('', SALVAGED)).rejects.toThrow(KvOptionsError);
    await expect(salvaging(PATH, SALVAGED, { full: true })).rejects.toThrow(KvOptionsError);
    await expect(salvaging('/nowhere', SALVAGED)).rejects.toThrow(KvFormatError);
    expect(disk.paths()).toEqual(paths);
    disk.put('/other/file', Buffer.from('text'));
    await expect(salvaging(PATH, '/other')).rejects.toThrow(KvFormatError);
    await expect(salvaging('/other', SALVAGED)).rejects.toThrow(KvFormatError);
    const store = await KvStore.open(optionsOn(disk));
    await expect(salvaging(PATH, SALVAGED)).rejects.toThrow(KvLockedError);
    await store.close();
    disk.put(`${PATH}/MANIFEST`, Buffer.from('{}\n00000000\n'));
    await expect(salvaging(PATH, SALVAGED)).rejects.toThrow(/Put a copy of this file back/);
    await expect(salvaging(PATH, SALVAGED)).rejects.toThrow(KvCorruptionError);
    const json = JSON.stringify({ format: 99 });
    disk.put(`${PATH}/MANIFEST`, Buffer.from(`${json}\n${crc32(json).toString(16).padStart(8, '0')}\n`));
    await expect(salvaging(PATH, SALVAGED)).rejects.toThrow(/format version 99/);
  });
});
