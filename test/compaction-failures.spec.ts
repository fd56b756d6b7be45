/**
 * Compaction that meets damage, a disk that fails or is full, or the end of the store: it stops, says so, gives up
 * nothing that it could not read, and holds nobody up; once the cause is gone, it goes on as if nothing had been.
 */
import { KvCorruptionError, KvDiskError, KvReadOnlyError, type KvStore } from 'nestjs-hotcold/store';
import {
  COMPACTING,
  differences,
  manifestOf,
  MIB,
  openOn,
  segmentsOf,
  turns,
  valueOf,
} from './support/compacting.js';
import { SimulatedDisk, type DiskOperation } from './support/simulated-disk.js';

const KEYS = 250;
const VALUE_BYTES = 8000;

let disk: SimulatedDisk;
let store: KvStore;
let expected: Map<string, unknown>;

beforeEach(async () => {
  disk = new SimulatedDisk({ completion: 'random' });
  store = await openOn(disk);
  expected = new Map();
});

afterEach(async () => {
  disk.clearFaults();
  await store.close().catch(() => undefined);
});

async function put(key: string, round: number): Promise<void> {
  expected.set(key, valueOf(key, round, VALUE_BYTES));
  await store.set(key, expected.get(key));
}

/** Two megabytes, or more, with a commit after every tenth key. */
async function fill(round = 0, keys = KEYS): Promise<void> {
  for (let i = 0; i < keys; i++) {
    await put(`k${i}`, round);
    if (i % 10 === 9) await store.flush();
  }
}

async function check(): Promise<void> {
  expect(await differences(store, expected)).toEqual([]);
  await store.close();
  store = await openOn(disk);
  expect(store.opened.droppedBytes).toBe(0);
  expect(await differences(store, expected)).toEqual([]);
}

const full = () => store.compact({ full: true });

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** The first key whose value lies in the second segment of a log, and a bit in the middle of that value. */
function victimIn(log: 'hot' | 'cold'): { path: string; bit: number; key: string } {
  const path = segmentsOf(disk, log)[1];
  const bytes = disk.contents(path);
  for (const [key, value] of expected) {
    const at = bytes.indexOf(String(value).slice(0, 20));
    if (at >= 0) return { path, bit: (at + 1000) * 8, key };
  }
  throw new Error('no value found');
}

describe.each(['hot', 'cold'] as const)('damage in the %s log', (log) => {
  let victim: { path: string; bit: number; key: string };

  beforeEach(async () => {
    await fill();
    if (log === 'cold') {
      await full();
      // Garbage, or nobody would look at the cold log.
      for (let i = 0; i < KEYS; i += 2) await put(`k${i}`, 1);
    }
    await store.flush();
    victim = victimIn(log);
    disk.flip(victim.path, victim.bit);
  });

  it('ends a compaction with an error that names it, and nothing behind it is given up', async () => {
    const failure = await full().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(KvCorruptionError);
    expect((failure as KvCorruptionError).file).toBe(victim.path.split('/').at(-1));
    expect(manifestOf(disk)[log].begin).toBeLessThanOrEqual((failure as KvCorruptionError).address);
    expect(segmentsOf(disk, log)).toContain(victim.path);
    // A damaged record is an error for whoever asks for it, all others are as they were.
    await expect(store.get(victim.key)).rejects.toThrow(KvCorruptionError);
    const others = new Map([...expected].filter(([key]) => key !== victim.key));
    expect(await differences(store, others)).toEqual([]);
    // Writes go on.
    await put('new', 0);
    expect(await store.get('new')).toBe(expected.get('new'));
  });

  it('costs nothing once it is mended', async () => {
    const failure = (await full().catch((error: unknown) => error)) as KvCorruptionError;
    disk.flip(victim.path, victim.bit);
    await full();
    await check();
    expect(manifestOf(disk)[log].begin).toBeGreaterThan(failure.address);
  });

  it('does not let the cold log grow with each attempt', async () => {
    await expect(full()).rejects.toThrow(KvCorruptionError);
    const { diskBytes } = store.stats().cold;
    for (let i = 0; i < 5; i++) await expect(full()).rejects.toThrow(KvCorruptionError);
    // The range that the damage is in is tried again: ten records.
    expect(store.stats().cold.diskBytes - diskBytes).toBeLessThan(5 * 15 * VALUE_BYTES);
  });
});

describe('a disk that fails', () => {
  it('leaves the store as it was when it is full, and compaction goes on when there is room', async () => {
    await fill();
    const used = disk.paths().reduce((sum, path) => sum + disk.sizeOf(path), 0);
    disk.capacityBytes = used + MIB;
    await expect(full()).rejects.toThrow(KvDiskError);
    expect(store.stats().compaction.running).toBe(false);
    // A compaction needs room, and so do writes; reads do not.
    expect(await differences(store, expected)).toEqual([]);
    disk.capacityBytes = Infinity;
    disk.clock.advance(1000);
    await turns(50);
    await put('new', 0);
    await full();
    await check();
    expect(store.stats().hot.diskBytes).toBeLessThan(2 * MIB);
  });

  it.each<[DiskOperation, string]>([
    ['write', '/cold-00000000.log'],
    ['sync', '/cold-00000000.log'],
    ['sync', '.log'],
    ['open', '/cold-00000001.log'],
    ['read', '/hot-00000001.log'],
    ['write', '/MANIFEST.tmp'],
    ['sync', '/MANIFEST.tmp'],
    ['rename', '/MANIFEST.tmp'],
    ['unlink', '/hot-00000000.log'],
    ['syncDirectory', ''],
  ])('in %s of %s: the run ends with an error, and nothing is lost', async (operation, path) => {
    await fill();
    for (let i = 0; i < 10; i++) await store.delete(`k${i}`);
    for (let i = 0; i < 10; i++) expected.set(`k${i}`, undefined);
    await store.flush();
    disk.failAt({ operation, path, nth: 1, code: 'EIO' });
    await expect(full()).rejects.toThrow(/EIO/);
    expect(store.stats().compaction.running).toBe(false);
    expect(await differences(store, expected)).toEqual([]);
    await store.close().catch(() => undefined);
    // The same after a power cut that loses all it can.
    disk.crash('none');
    store = await openOn(disk);
    expect(await differences(store, expected)).toEqual([]);
    await full();
    await check();
  });

  it('in a sync of the cold log while it is written: its commit fails, and nothing is given up', async () => {
    await store.close();
    store = await openOn(disk, { hot: { ...COMPACTING.hot, diskBudget: '32mb' } });
    await fill(0, 5 * KEYS);
    const { begin } = manifestOf(disk).hot;
    const { length } = disk.trace;
    // Once: whoever would sync again would succeed, and the bytes would be gone.
    disk.failAt({ operation: 'sync', path: '/cold-00000000.log', nth: 1, code: 'EIO' });
    await expect(full()).rejects.toThrow(/EIO/);
    const calls = disk.trace.slice(length);
    const failed = calls.findIndex(({ fault }) => fault);
    expect(
      calls.slice(failed).some(({ operation, path }) => operation === 'write' && /cold-/.test(path)),
    ).toBe(true);
    await expect(store.set('new', 1)).rejects.toThrow(KvReadOnlyError);
    await expect(full()).rejects.toThrow(KvReadOnlyError);
    expect(manifestOf(disk).hot.begin).toBe(begin);
    expect(await differences(store, expected)).toEqual([]);
    await expect(store.close()).rejects.toThrow(KvReadOnlyError);
    disk.crash('none');
    store = await openOn(disk);
    expect(await differences(store, expected)).toEqual([]);
    await full();
    await check();
  });

  it.each<DiskOperation>(['read', 'write', 'sync', 'open', 'unlink', 'rename', 'syncDirectory', 'truncate'])(
    'in any %s: every call gets an answer, and nothing is lost',
    async (operation) => {
      await fill();
      for (let i = 0; i < KEYS; i += 2) await put(`k${i}`, 1);
      await store.close();
      const before = disk;
      let failed = 0;
      for (let nth = 1; ; nth += operation === 'read' || operation === 'write' ? 5 : 1) {
        disk = before.fork();
        store = await openOn(disk);
        const { length } = disk.trace;
        const release = disk.failAt({ operation, nth, code: 'EIO' });
        const first = await full().catch((error: unknown) => error);
        const second = await full().catch((error: unknown) => error);
        release();
        const struck = disk.trace.slice(length).some(({ fault }) => fault);
        if (first instanceof Error || second instanceof Error) failed++;
        expect(await differences(store, expected)).toEqual([]);
        await store.close().catch(() => undefined);
        disk.crash('none');
        store = await openOn(disk);
        expect(await differences(store, expected)).toEqual([]);
        await store.close();
        if (!struck) break;
      }
      if (operation !== 'truncate') expect(failed).toBeGreaterThan(0);
    },
  );
});

describe('close()', () => {
  it('ends a compaction that is under way at its next safe point, at any moment', async () => {
    await fill();
    for (let i = 0; i < KEYS; i += 3) await put(`k${i}`, 1);
    await store.close();
    const before = disk;
    const outcomes = { whole: 0, part: 0, nothing: 0 };
    for (let moment = 0; moment < 60; moment++) {
      disk = before.fork();
      // Slices end after every group of records.
      disk.clock.tickMs = 100;
      store = await openOn(disk);
      const run = full();
      await turns(moment);
      await store.close();
      const report = await run;
      if (!report.aborted) outcomes.whole++;
      else if (report.hot.truncatedBytes > 0) outcomes.part++;
      else outcomes.nothing++;
      expect(disk.clock.pending).toBe(0);
      const { open, close } = disk.counts();
      expect(close).toBe(open);
      store = await openOn(disk);
      // What opening has of the logs comes from a checkpoint, which needs the files of the cold index.
      expect(store.opened).toMatchObject({
        clean: true,
        droppedBytes: 0,
        checkpoint: expect.any(Number) as number,
      });
      expect(await differences(store, expected)).toEqual([]);
      await store.close();
    }
    expect(outcomes.part).toBeGreaterThan(0);
    expect(outcomes.nothing).toBeGreaterThan(0);
  });

  it('finishes reads that compaction overtakes', async () => {
    await fill();
    disk.clock.tickMs = 100;
    const run = full();
    await turn();
    const reads = [...expected.keys()].map((key) => store.get(key));
    await turns(2);
    const closed = store.close();
    expect(await Promise.all(reads)).toEqual([...expected.values()]);
    await Promise.all([run, closed]);
    store = await openOn(disk, COMPACTING);
  });
});
