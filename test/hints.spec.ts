/**
 * Hints beside the hot log: after a kill the opening takes up what they have instead of reading the log. Whatever becomes
 * of them, the store that comes out is the one that the log has.
 */
import { KvCorruptionError, KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { SegmentFiles } from '../src/log/segment-files.js';
import { checkMoment, Moments, type Cut } from './support/crash-states.js';
import { SeededRandom, SimulatedDisk } from './support/simulated-disk.js';
import { tally } from './support/tally.js';
import { History, PATH, tieredOptions } from './support/tiered-store.js';

const RUNS = Number(process.env.RUNS ?? 1);
const SEED = Number(process.env.SEED ?? 1);
const KEYS = 40;

jest.setTimeout(120_000 * RUNS);

/** A hint for each 64 KiB of log. */
const SMALL: KvStoreOptions['hot'] = { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' };

const optionsOn = (disk: SimulatedDisk): KvStoreOptions => ({ ...tieredOptions(disk), hot: SMALL });

const turn = () => new Promise((resolve) => setImmediate(resolve));

const hintsOf = (disk: SimulatedDisk) => disk.paths().filter((path) => path.startsWith(`${PATH}/hint-`));

/** A copy of the disk as a killed process leaves it. */
function killed(disk: SimulatedDisk): SimulatedDisk {
  const copy = disk.fork();
  copy.kill();
  return copy;
}

const stores: KvStore[] = [];
async function open(disk: SimulatedDisk, more: KvStoreOptions = {}): Promise<KvStore> {
  const store = await KvStore.open({ ...optionsOn(disk), ...more });
  stores.push(store);
  return store;
}

/** Resolves when nothing is still to come into the index. */
async function allEntered(store: KvStore): Promise<void> {
  const { clock, index } = store['core'].parts;
  for (let i = 0; i < 10_000 && !(index.isEntered && index.isLoaded); i++) {
    if (clock instanceof Object && 'advance' in clock) (clock as { advance(ms: number): void }).advance(1);
    await turn();
  }
  expect(index.isEntered).toBe(true);
}

let disk: SimulatedDisk;
let history: History;
let store: KvStore;
beforeEach(async () => {
  disk = new SimulatedDisk({ completion: 'random', seed: SEED });
  history = new History(disk, KEYS, SEED);
  store = await open(disk);
});
afterEach(async () => {
  disk.clearFaults();
  for (const opened of stores.splice(0)) await opened.close().catch(() => undefined);
});

/** Changes of every kind, committed every now and then. */
async function change(count: number): Promise<void> {
  for (let i = 1; i <= count; i++) {
    await history.any(store);
    if (i % 20 !== 0) continue;
    // What is written while a commit is on its way is not part of it.
    const flushed = history.flush(store);
    await turn();
    await history.any(store);
    await flushed;
  }
  await history.flush(store);
  await store['core'].parts.hints?.close();
}

/** Opens a copy of the disk as a killed process leaves it, and compares everything. */
async function reopened(change: (copy: SimulatedDisk) => void = () => undefined): Promise<KvStore> {
  const copy = killed(disk);
  change(copy);
  const again = await open(copy);
  expect(await history.stateOf(again)).toBe(history.last);
  return again;
}

function unlink(copy: SimulatedDisk, ...paths: string[]): void {
  for (const path of paths) copy.env().fs.unlinkSync(path);
}

describe('hints', () => {
  it('spare the opening most of the log, and tell of its records and of how many keys there are', async () => {
    await history.fill(store);
    await change(300);
    expect(hintsOf(disk).length).toBeGreaterThan(5);
    const { keys } = store.stats();
    const seen: { bytes: number; records: number; hinted: number; miscounted: number }[] = [];
    for (const drop of [false, true]) {
      const copy = killed(disk);
      if (drop) unlink(copy, ...hintsOf(copy));
      const before = copy.trace.length;
      const again = await open(copy);
      const reads = copy.trace.slice(before).filter(({ operation, path }) => {
        return operation === 'read' && path.includes('/hot-');
      });
      await allEntered(again);
      const bytes = reads.reduce((sum, { length = 0 }) => sum + length, 0);
      const { records, hinted } = again.opened;
      seen.push({ bytes, records, hinted, miscounted: Math.abs(again.stats().keys - keys) });
      expect(await history.stateOf(again)).toBe(history.last);
    }
    const [withHints, without] = seen;
    expect(without.hinted).toBe(0);
    expect(withHints.hinted).toBeGreaterThan(without.records * 0.8);
    // Of records that are in no index, such as fillers, only the log tells.
    expect(withHints.records).toBeLessThanOrEqual(without.records);
    expect(withHints.records).toBeGreaterThan(without.records * 0.9);
    expect(without.miscounted).toBe(0);
    // Of a key that was set behind the last hint an index does not tell that it had been deleted.
    expect(withHints.miscounted).toBeLessThan(withHints.records - withHints.hinted);
    expect(withHints.bytes).toBeLessThan(without.bytes / 4);
  });

  it('go on from one life to the next', async () => {
    await history.fill(store);
    for (let life = 0; life < 6; life++) {
      await change(60);
      disk.kill();
      store = await open(disk);
      expect(store.opened.hinted).toBeGreaterThan(store.opened.records / 2);
      if (life % 2 === 0) await allEntered(store);
      expect(await history.stateOf(store)).toBe(history.last);
    }
  });

  it('go with the checkpoint that has it all, and come again behind it', async () => {
    await history.fill(store);
    await change(100);
    expect(hintsOf(disk)).not.toEqual([]);
    disk.failAt({ operation: 'write', path: 'checkpoint-00000001.dat', nth: 1, code: 'ENOSPC' });
    await expect(store.checkpoint()).rejects.toThrow('ENOSPC');
    await change(60);
    const { opened: behindFailed } = await reopened();
    expect(behindFailed.hinted).toBeGreaterThan(behindFailed.records / 2);
    await store.checkpoint();
    expect(hintsOf(disk)).toEqual([]);
    expect((await reopened()).opened).toMatchObject({ checkpoint: 1, records: 0, hinted: 0 });
    await change(100);
    const { opened } = await reopened();
    expect(opened).toMatchObject({ checkpoint: 1 });
    expect(opened.hinted).toBeGreaterThan(opened.records / 2);
    await store.close();
    expect(hintsOf(disk)).toEqual([]);
  });

  it('are taken up where the log begins further on than the checkpoint', async () => {
    await history.fill(store);
    await store.checkpoint();
    await change(200);
    await store.compact({ full: true });
    await change(200);
    await reopened();
    await reopened((copy) => {
      unlink(copy, ...copy.paths().filter((path) => path.includes('/checkpoint-')));
    });
  });

  it.each(['nothing else', 'writes', 'a compaction'])(
    'that are not entered yet keep nothing from being closed, beside %s',
    async (beside) => {
      await history.fill(store);
      await change(200);
      disk.kill();
      store = await open(disk);
      expect(store['core'].parts.index.isEntered).toBe(false);
      const others: Promise<unknown>[] = [];
      if (beside === 'writes') for (let i = 0; i < 50; i++) others.push(history.set(store, 0, i % KEYS, 500));
      if (beside === 'a compaction') others.push(store.compact({ full: true }));
      await store.close();
      await Promise.allSettled(others);
      store = await open(disk);
      expect(store.opened).toMatchObject({ clean: true, hinted: 0 });
      expect(await history.stateOf(store)).toBe(history.last);
      expect(await store.verify()).toMatchObject({ ok: true });
    },
  );

  it('are not written where nothing outlives the process, nor in a store that is read', async () => {
    const memory = await KvStore.open({ device: 'memory', hot: SMALL });
    stores.push(memory);
    expect(memory['core'].parts.hints).toBeUndefined();
    await history.fill(store);
    await change(100);
    const copy = killed(disk);
    const before = copy.paths();
    const reader = await open(copy, { readOnly: true });
    expect(reader.opened.hinted).toBeGreaterThan(reader.opened.records / 2);
    expect(await history.stateOf(reader)).toBe(history.last);
    await reader.close();
    expect(copy.paths()).toEqual(before);
  });

  it('and what lies behind them count keys, whatever is cleared or deleted', async () => {
    const other = store.namespace<string>('other');
    for (let i = 0; i < 300; i++) await other.set(i, 'x'.repeat(1000));
    await store.flush();
    await store['core'].parts.hints?.close();
    for (let i = 0; i < 10; i++) await store.set(`cleared ${i}`, 'before');
    for (let i = 300; i < 310; i++) await other.set(i, 'before');
    await other.clear();
    for (let i = 400; i < 405; i++) await other.set(i, 'behind');
    await other.delete(403);
    await store.set('own', 'x');
    await store.flush();
    const again = await open(killed(disk));
    expect(again.opened.hinted).toBeGreaterThan(0);
    await allEntered(again);
    expect(again.stats().keys).toBe(4 + 11);
    // Deleted and set again, in commits of their own.
    await other.delete(401);
    await store.delete('own');
    await store.flush();
    for (const value of ['again', 'and again']) {
      await store.set('own', value);
      await store.flush();
    }
    const third = await open(killed(disk));
    expect(third.opened.hinted).toBeGreaterThan(0);
    await allEntered(third);
    expect(third.stats().keys).toBe(3 + 11);
    // Cleared before its records were entered: they are counted no more.
    const copy = await open(killed(disk));
    await copy.namespace('other').clear();
    await allEntered(copy);
    expect(copy.stats().keys).toBe(11);
  });
});

describe('hints beside a cold tier', () => {
  /** Enough for some hints, of which each is part of the last but for a few records. */
  async function more(name: string): Promise<void> {
    for (let i = 0; i < 300; i++) await store.namespace('filler').set(`${name} ${i}`, 'x'.repeat(1000));
    await store.flush();
    await store['core'].parts.hints?.close();
  }

  async function killAndOpen(): Promise<void> {
    disk.kill();
    store = await open(disk);
    expect(store.opened.hinted).toBeGreaterThan(100);
    await allEntered(store);
  }

  it.each([false, true])('count the keys of that once (checkpoint before: %s)', async (checkpoint) => {
    await more('first');
    if (checkpoint) await store.checkpoint();
    for (let i = 0; i < 200; i++) await store.set(i, 'cold');
    await store.flush();
    await store.compact({ full: true });
    for (let life = 0; life < 3; life++) {
      await more(`life ${life}`);
      await killAndOpen();
      expect(store.stats().keys).toBe(200 + 300 * (life + 2));
    }
    await store.clear();
    await more('behind');
    await killAndOpen();
    expect(store.stats().keys).toBe(300);
  });

  it('know what was cleared there, so that its room is given back', async () => {
    for (let i = 0; i < 300; i++) await store.namespace('cleared').set(i, 'x'.repeat(3000));
    await store.flush();
    await store.compact({ full: true });
    await store.checkpoint();
    await store.namespace('cleared').clear();
    await more('behind');
    await killAndOpen();
    expect(store.stats().cold.diskBytes).toBeGreaterThan(800_000);
    await store.compact({ full: true });
    expect(store.stats().cold.diskBytes).toBeLessThan(600_000);
  });

  it('know of tags that were invalidated, each of those of its stretch', async () => {
    const tagged = (i: number) => ({ tags: [`tag ${i}`] });
    for (let i = 0; i < 50; i++) await store.set(i, i, tagged(i));
    await store.flush();
    for (let i = 0; i < 5; i++) {
      await store.invalidateTags(...Array.from({ length: i === 0 ? 2000 : 1 }, (_, n) => `none ${n}`));
      await store.invalidateTags(`tag ${i * 10}`);
      await more(`round ${i}`);
      await more(`round ${i}, again`);
    }
    const sizes = hintsOf(disk).map((path) => disk.sizeOf(path));
    // One has the marks of all.
    expect(sizes.filter((bytes) => bytes > 64_000).length).toBe(1);
    expect(sizes.filter((bytes) => bytes < 12_000).length).toBe(sizes.length - 1);
    expect(sizes.length).toBeGreaterThan(2);
    await killAndOpen();
    for (let i = 0; i < 50; i++) expect(await store.get(i)).toBe(i % 10 === 0 ? undefined : i);
  });

  it('know of a tag that was invalidated before a commit that failed and was made again', async () => {
    await store.set('tagged', 1, { tags: ['tag'] });
    for (let i = 0; i < 100; i++) await store.set(i, 'x'.repeat(1000));
    await store.invalidateTags('tag');
    disk.failAt({ operation: 'write', path: '.log', nth: 1, code: 'ENOSPC' });
    const flushed = store.flush();
    for (let i = 0; i < 5; i++) await Promise.resolve();
    // So that there is another commit behind the one that fails.
    await store.set('meanwhile', 1);
    await expect(flushed).rejects.toThrow('ENOSPC');
    disk.clearFaults();
    await store.flush();
    await store['core'].parts.hints?.close();
    await killAndOpen();
    expect(await store.get('tagged')).toBeUndefined();
    expect(await store.get('meanwhile')).toBe(1);
  });

  it('are entered before a compaction that begins at once', async () => {
    await history.fill(store);
    await change(200);
    disk.kill();
    store = await open(disk);
    await store.compact({ full: true });
    expect(await history.stateOf(store)).toBe(history.last);
    expect(await store.verify()).toMatchObject({ ok: true });
    disk.kill();
    store = await open(disk);
    expect(await history.stateOf(store)).toBe(history.last);
  });
});

describe('a hint that is of no use', () => {
  beforeEach(async () => {
    await history.fill(store);
    await change(300);
    expect(hintsOf(disk).length).toBeGreaterThan(4);
  });

  it('because of any damage is left out with all behind it, and removed', async () => {
    const random = new SeededRandom(SEED);
    const whole = (await reopened()).opened;
    for (const [at, path] of hintsOf(disk).entries()) {
      const { length } = disk.contents(path);
      const bits = [0, length - 1, length - 5, length - 9, length - 13].map((byte) => byte * 8 + 3);
      for (let i = 0; i < 6; i++) bits.push(random.below(length * 8));
      for (const bit of bits) {
        const copy = killed(disk);
        copy.flip(path, bit);
        const again = await open(copy);
        expect(await history.stateOf(again)).toBe(history.last);
        expect(again.opened.droppedBytes).toBe(0);
        if (at === 0) expect(again.opened.hinted).toBe(0);
        else expect(again.opened.hinted).toBeLessThan(whole.hinted);
        // In their place there may be one for all that was read from the log.
        const left = hintsOf(copy).filter((name) => hintsOf(disk).includes(name));
        expect(left).toEqual(hintsOf(disk).slice(0, at));
        await again.close();
      }
    }
  });

  it.each([
    ['is missing', (copy: SimulatedDisk, path: string) => unlink(copy, path)],
    [
      'was cut off',
      (copy: SimulatedDisk, path: string) => {
        const { fs } = copy.env();
        const fd = fs.open(path, { create: false });
        fs.truncate(fd, 100);
        fs.close(fd);
      },
    ],
  ])('because it %s is one less', async (_, damage) => {
    const [first, second] = hintsOf(disk);
    for (const path of [first, second]) {
      const again = await reopened((copy) => damage(copy, path));
      if (path === first) expect(again.opened.hinted).toBe(0);
      else expect(again.opened.hinted).toBeGreaterThan(0);
      await again.close();
    }
  });

  it('because a part of its end did not get to the disk is left out', async () => {
    const [, path] = hintsOf(disk);
    const whole = disk.contents(path);
    // Nothing, as of no bytes, has a checksum of 0.
    for (const [from, to] of [
      [16, 8],
      [16, 12],
      [12, 8],
      [8, 4],
      [4, 0],
      [16, 0],
      [600, 16],
    ]) {
      const torn = Buffer.from(whole).fill(0, whole.length - from, whole.length - to);
      const again = await reopened((copy) => copy.put(path, torn));
      expect(again.opened.hinted).toBeGreaterThan(0);
      await again.close();
    }
  });

  it('because it is of another store is left out', async () => {
    const other = new SimulatedDisk({ seed: SEED + 1 });
    const foreign = await open(other);
    for (let i = 0; i < 200; i++) await foreign.set(i, 'x'.repeat(2000));
    await foreign.flush();
    await foreign['core'].parts.hints?.close();
    const [theirs] = hintsOf(other);
    const again = await reopened((copy) => {
      unlink(copy, ...hintsOf(copy));
      copy.put(hintsOf(disk)[0], other.contents(theirs));
    });
    expect(again.opened.hinted).toBe(0);
  });

  it('says all the same what was on stable storage: a log that lacks it is refused', async () => {
    const copy = killed(disk);
    unlink(copy, `${PATH}/hot-00000000.log`);
    await expect(open(copy)).rejects.toThrow(KvCorruptionError);
  });

  it('says so as well where one before it is damaged', async () => {
    const copy = killed(disk);
    copy.flip(hintsOf(copy)[0], 999);
    for (const path of copy
      .paths()
      .filter((name) => name.includes('/hot-'))
      .slice(1))
      unlink(copy, path);
    const before = copy.paths();
    // Whoever supervises the process starts it again.
    for (let attempt = 0; attempt < 3; attempt++) await expect(open(copy)).rejects.toThrow(KvCorruptionError);
    expect(copy.paths()).toEqual(before);
  });

  it('because the index is wrong goes with the checkpoint, and none comes again', async () => {
    store['core'].checkpointer?.forget();
    expect(hintsOf(disk)).toEqual([]);
    await change(60);
    expect(hintsOf(disk)).toEqual([]);
    expect((await reopened()).opened.hinted).toBe(0);
  });

  it('because the size of a file could not be found out does not make its commit fail', async () => {
    const errors: Error[] = [];
    store.on('error', (error) => errors.push(error));
    const written = hintsOf(disk);
    const lengths = jest.spyOn(SegmentFiles.prototype, 'lengths').mockImplementation(() => {
      throw new Error('no size');
    });
    await change(60);
    lengths.mockRestore();
    expect(errors.map(({ message }) => message)).toEqual(['no size']);
    expect(hintsOf(disk)).toEqual(written);
    await reopened();
  });

  it('is told of by verify, and does no harm to anything else', async () => {
    expect(await store.verify()).toMatchObject({ ok: true });
    const [path] = hintsOf(disk);
    disk.flip(path, 999);
    const { ok, damages } = await store.verify();
    expect(ok).toBe(false);
    expect(damages).toMatchObject([{ what: 'hint', file: path.slice(PATH.length + 1), keysAffected: 0 }]);
  });
});

describe('a disk that does not take a hint', () => {
  it.each(['ENOSPC', 'EIO'] as const)('(%s) takes everything else', async (code) => {
    const errors: Error[] = [];
    store.on('error', (error) => errors.push(error));
    await history.fill(store);
    await change(40);
    const written = hintsOf(disk);
    expect(written.length).toBeGreaterThan(0);
    disk.failAt({ operation: 'write', path: '.dat', nth: 1, code, sticky: true });
    await change(100);
    disk.clearFaults();
    await change(100);
    expect(hintsOf(disk)).toEqual(written);
    expect(store.stats()).toMatchObject({ writable: true });
    expect(errors.length).toBe(code === 'EIO' ? 1 : 0);
    const { opened } = await reopened();
    expect(opened.hinted).toBeGreaterThan(0);
    // With the next checkpoint that is taken it is as before.
    disk.failAt({ operation: 'write', path: '.dat', nth: 1, code: 'ENOSPC', sticky: true });
    await expect(store.checkpoint()).rejects.toThrow('ENOSPC');
    disk.clearFaults();
    await change(60);
    expect(hintsOf(disk)).toEqual(written);
    await store.checkpoint();
    await change(60);
    expect((await reopened()).opened.hinted).toBeGreaterThan(0);
  });
});

it('hints, cut off at every call that changes something, have lost nothing and added nothing', async () => {
  const found = new Moments(disk, history);
  await store.close();
  store = await open(disk, { env: found.env() });
  await history.fill(store);
  found.on = true;
  for (let round = 0; round < 3; round++) {
    await change(80);
    if (round === 1) await store.checkpoint();
  }
  found.on = false;
  const random = new SeededRandom(SEED);
  const cuts: Cut[] = ['none', 'all', 'random', 'kill', ...Array<Cut>(RUNS - 1).fill('random')];
  const counts: Record<string, number> = {};
  for (const [at, moment] of found.all.entries()) {
    const isHint = moment.file.startsWith('hint-');
    for (const cut of isHint ? cuts : cuts.slice(at % 4, (at % 4) + 1)) {
      const phase = `${moment.operation} ${moment.file.split('-')[0]}`;
      counts[phase] = (counts[phase] ?? 0) + 1;
      await checkMoment(history, moment, cut, random.below(2 ** 31), at % 16 === 0, optionsOn);
    }
  }
  tally(counts);
  for (const phase of ['open hint', 'write hint', 'unlink hint']) expect(counts[phase]).toBeGreaterThan(0);
});
