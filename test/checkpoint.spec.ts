/**
 * Checkpoints of a whole store: what opening takes from them, that every key is there afterwards, when they are taken,
 * and what becomes of their files.
 */
import { KvClosedError, KvReadOnlyError, KvStore } from 'nestjs-hotcold/store';
import { MemoryDevice } from '../src/device/memory-device.js';
import { manifestOf, openOn, PATH, segmentsOf, turns } from './support/compacting.js';
import { SimulatedDisk, type DiskOperation } from './support/simulated-disk.js';
import { History, tieredOptions } from './support/tiered-store.js';
import { CHANGES, watched } from './support/watched-fs.js';

const checkpointsOf = (disk: SimulatedDisk) =>
  disk
    .paths()
    .filter((path) => path.includes('/checkpoint-'))
    .map((path) => Number.parseInt(path.slice(-12, -4), 16));

/** A copy of the disk as a killed process leaves it. */
function killed(disk: SimulatedDisk): SimulatedDisk {
  const copy = disk.fork();
  copy.kill();
  return copy;
}

let disk: SimulatedDisk;
let store: KvStore;
beforeEach(async () => {
  disk = new SimulatedDisk({ completion: 'random' });
  store = await KvStore.open(tieredOptions(disk));
});
afterEach(async () => {
  disk.clearFaults();
  await store.close().catch(() => undefined);
});

/** Opens the disk as a killed process leaves it, and looks every key up. */
async function reopened(history: History, least = history.durable): Promise<KvStore> {
  const again = await KvStore.open(tieredOptions(killed(disk)));
  await history.stateOf(again, least);
  return again;
}

describe('opening with a checkpoint', () => {
  it('reads the indexes from it, and of the logs what came later', async () => {
    const history = new History(disk, 40);
    await history.fill(store);
    await store.compact({ full: true });
    await history.rewrite(store);
    const first = await store.checkpoint();
    expect(first).toMatchObject({ checkpoint: 1, incremental: false });
    expect((await reopened(history)).opened).toMatchObject({ checkpoint: 1, records: 0, droppedBytes: 0 });
    await history.set(store, 0, 1, 50);
    await history.delete(store, 2, 3);
    await history.flush(store);
    expect((await reopened(history)).opened).toMatchObject({ checkpoint: 1, records: 2 });
    const second = await store.checkpoint();
    expect(second).toMatchObject({ checkpoint: 2, incremental: true });
    expect(second.bytes).toBeLessThan(first.bytes);
    expect((await reopened(history)).opened).toMatchObject({ checkpoint: 2, records: 0 });
  });

  it('is right after changes of every kind, life after life, with incremental checkpoints and without', async () => {
    let history = new History(disk, 40);
    await history.fill(store);
    const seen = { full: 0, incremental: 0, checkpoint: 0 };
    for (let life = 0; life < 12; life++) {
      store.on('checkpoint', ({ incremental }) => seen[incremental ? 'incremental' : 'full']++);
      if (life % 3 === 0) await store.compact({ full: life % 2 === 0 });
      if (life % 4 === 1) await store.checkpoint();
      if (life % 5 === 2) await history.rewrite(store);
      for (let i = 0; i < 40; i++) await history.any(store);
      if (life % 4 === 2) await store.checkpoint();
      for (let i = 0; i < 5; i++) await history.any(store);
      await history.flush(store);
      if (life % 3 === 1) disk.kill();
      else await store.close();
      store = await KvStore.open(tieredOptions(disk));
      if (store.opened.checkpoint !== undefined) seen.checkpoint++;
      expect(await history.stateOf(store)).toBe(history.last);
      // At most four files, and none that nobody needs.
      expect(checkpointsOf(disk).length).toBeLessThanOrEqual(4);
      expect(store.opened.droppedBytes).toBe(0);
      const { last } = history;
      history = new History(disk, 40, life + 2);
      history.goOnFrom(last);
    }
    expect(seen.checkpoint).toBeGreaterThan(9);
    expect(Math.min(seen.full, seen.incremental)).toBeGreaterThan(2);
  });

  it('has the index as it had grown, also while it was written', async () => {
    const keys = 60_000;
    // Nothing else is done while the checkpoint is written than one slice of it and one batch.
    disk.clock.tickMs = 5;
    const write = (from: number, count: number) =>
      store.setMany(Array.from({ length: count }, (_, i) => [from + i, from + i] as [number, number]));
    await write(0, 30_000);
    const checkpoint = store.checkpoint();
    let next = 30_000;
    let done = false;
    void checkpoint.finally(() => (done = true));
    while (!done && next < keys) {
      await write(next, 500);
      next += 500;
      await turns(1);
    }
    await checkpoint;
    expect(next).toBeGreaterThan(35_000);
    await store.flush();
    const again = await KvStore.open(tieredOptions(killed(disk)));
    expect(again.opened.checkpoint).toBe(1);
    expect(again.opened.records).toBeGreaterThan(1000);
    expect(again.opened.records).toBeLessThanOrEqual(next - 30_000);
    let wrong = 0;
    for (let key = 0; key < next; key++)
      if (again.peek(key) !== key && (await again.get(key)) !== key) wrong++;
    expect(wrong).toBe(0);
    expect(await again.get(next)).toBeUndefined();
    // And it goes on growing.
    for (let key = next; key < keys; key++) await again.set(key, key);
    wrong = 0;
    for (let key = 0; key < keys; key++) if ((await again.get(key)) !== key) wrong++;
    expect(wrong).toBe(0);
  });

  it('has every overflow bucket in its place when the index has grown between two checkpoints', async () => {
    disk.clock.tickMs = 0;
    let keys = 0;
    const write = async (count: number) => {
      await store.setMany(Array.from({ length: count }, (_, i) => [keys + i, keys + i] as [number, number]));
      keys += count;
    };
    await write(130_000);
    // Several chunks of overflow buckets, and the last chunk in front of them full.
    while (store.stats().hot.indexBuckets % 1024 !== 0) await write(1);
    await store.checkpoint();
    const { indexBytes } = store.stats().hot;
    while (store.stats().hot.indexBytes === indexBytes) await write(1);
    expect(await store.checkpoint()).toMatchObject({ incremental: true });
    const again = await KvStore.open(tieredOptions(killed(disk)));
    expect(again.opened).toMatchObject({ checkpoint: 2, records: 0 });
    let wrong = 0;
    for (let key = 0; key < keys; key++)
      if (again.peek(key) !== key && (await again.get(key)) !== key) wrong++;
    expect(wrong).toBe(0);
  });

  it('has the counters as they were, and counts on behind it', async () => {
    const users = store.namespace('users');
    const value = 'x'.repeat(500);
    for (let i = 0; i < 300; i++) await store.set(i, value);
    for (let i = 0; i < 200; i++) await users.set(i, value);
    await store.compact({ full: true });
    for (let i = 0; i < 100; i++) await store.set(i, value);
    for (let i = 0; i < 50; i++) await store.set(`new ${i}`, value);
    for (let i = 0; i < 20; i++) await store.delete(100 + i);
    await store.compact({ full: true });
    await store.checkpoint();
    const { keys, cold, hot } = store.stats();
    expect(keys).toBe(530);
    let again = await KvStore.open(tieredOptions(killed(disk)));
    expect(again.opened).toMatchObject({ checkpoint: 1, records: 0 });
    expect(again.stats().keys).toBe(keys);
    expect(again.stats().cold.garbageBytes).toBe(cold.garbageBytes);
    expect(again.stats().cold.indexEntries).toBe(cold.indexEntries);
    expect(again.stats().hot.indexEntries).toBe(hot.indexEntries);

    for (let i = 0; i < 10; i++) await store.set(`later ${i}`, value);
    await store.delete(0);
    await users.clear();
    await store.flush();
    again = await KvStore.open(tieredOptions(killed(disk)));
    expect(again.opened.checkpoint).toBe(1);
    expect(again.stats().keys).toBe(keys + 10 - 1 - 200);
    // What was cleared is garbage of the cold log, as it is where it was cleared.
    expect(again.stats().cold.garbageBytes).toBeGreaterThan(cold.garbageBytes + 200 * 500);
    expect(again.stats().cold.garbageBytes).toBe(store.stats().cold.garbageBytes);
  });

  describe.each(['set', 'set, flush', 'set, compact'])(
    'without one, behind "%s", counts keys that',
    (first) => {
      const setAll = async () => {
        for (let i = 0; i < 100; i++) await store.set(i, 'value');
      };
      beforeEach(async () => {
        await setAll();
        if (first !== 'set') await store.flush();
        if (first === 'set, compact') await store.compact({ full: true });
      });

      it.each([
        ['were deleted and set again', () => store.deleteMany(Array.from({ length: 100 }, (_, i) => i))],
        ['were cleared and set again', () => store.clear()],
      ])('%s', async (_, end) => {
        await end();
        await store.set('other', 'value');
        for (const flushes of [false, true]) {
          if (flushes) await store.flush();
          await setAll();
        }
        await store.delete(0);
        await store.flush();
        const again = await KvStore.open(tieredOptions(killed(disk)));
        expect(again.opened.checkpoint).toBeUndefined();
        expect(again.stats().keys).toBe(100);
      });
    },
  );

  it('drops entries of the hot index that a later compaction has moved', async () => {
    for (let i = 0; i < 500; i++) await store.set(i, 'x'.repeat(1000));
    await store.checkpoint();
    await store.compact({ full: true });
    const again = await KvStore.open(tieredOptions(killed(disk)));
    expect(again.opened.checkpoint).toBe(1);
    expect(again.stats().hot.indexEntries).toBe(store.stats().hot.indexEntries);
    for (let i = 0; i < 500; i++) expect(await again.get(i)).toBe('x'.repeat(1000));
  });

  it('rebuilds the indexes where a chunk turns out to be damaged while the log is replayed', async () => {
    const keys = 40_000;
    const options = { ...tieredOptions(disk), hot: { memory: '32mb' } } as const;
    await store.close();
    store = await KvStore.open(options);
    for (let i = 0; i < keys; i++) await store.set(i, i);
    await store.compact({ full: true });
    await store.checkpoint();
    // More than may be pending: opening has to merge them into the chunks.
    for (let i = keys; i < 3 * keys; i++) await store.set(i, i);
    await store.compact({ full: true });
    disk.kill();
    for (const path of segmentsOf(disk, 'index')) {
      const { length } = disk.contents(path);
      for (let at = 500; at < length; at += 700) disk.flip(path, at * 8);
    }
    store = await KvStore.open({ ...options, env: disk.env() });
    expect(store.opened.checkpoint).toBeUndefined();
    for (let i = 0; i < 3 * keys; i += 7) expect(await store.get(i)).toBe(i);
  });
});

describe('checkpoint()', () => {
  it('is joined by a second caller, whose writes are durable when it resolves', async () => {
    for (let i = 0; i < 300; i++) await store.set(i, 'x'.repeat(500));
    const first = store.checkpoint();
    await turns(12);
    await store.set('late', 1);
    const [a, b] = await Promise.all([first, store.checkpoint()]);
    expect([a.checkpoint, b.checkpoint]).toEqual([1, 1]);
    disk.crash('none');
    store = await KvStore.open(tieredOptions(disk));
    expect(store.opened.checkpoint).toBe(1);
    expect(await store.get('late')).toBe(1);
  });

  it.each(['checkpoint first', 'compaction first'])('and compact() do not meet: %s', async (order) => {
    const history = new History(disk, 40);
    await history.fill(store);
    await store.compact({ full: true });
    await history.rewrite(store);
    disk.clock.tickMs = 5;
    const events: string[] = [];
    store.on('checkpoint', () => events.push('checkpoint'));
    store.on('compaction', () => events.push('compaction'));
    const calls = [() => store.checkpoint(), () => store.compact({ full: true })];
    if (order === 'compaction first') calls.reverse();
    // In the same turn of the event loop.
    await Promise.all([...calls.map((call) => call()), store.checkpoint()]);
    expect(events).toHaveLength(2);
    const again = await reopened(history);
    expect(again.opened.checkpoint).toBe(1);
    await again.compact({ full: true });
    await history.stateOf(again);
  });

  it('waits for a compaction that close() ends, and is refused then', async () => {
    const history = new History(disk, 40);
    await history.fill(store);
    disk.clock.tickMs = 50;
    const run = store.compact({ full: true });
    await turns(3);
    const checkpoint = store.checkpoint().catch((error: unknown) => error);
    await turns(3);
    await store.close();
    await run;
    const outcome = await checkpoint;
    if (outcome instanceof Error) expect(outcome).toBeInstanceOf(KvClosedError);
    store = await KvStore.open(tieredOptions(disk));
    expect(store.opened.clean).toBe(true);
    await history.stateOf(store);
  });

  it('works on a memory device, where none is taken at close', async () => {
    const device = new MemoryDevice(2 ** 28);
    let other = await KvStore.open({ device, hot: { memory: '8mb' } });
    for (let i = 0; i < 2000; i++) await other.set(i, 'x'.repeat(100));
    await other.close();
    expect(device.list().filter((name) => name.startsWith('checkpoint'))).toEqual([]);
    other = await KvStore.open({ device, hot: { memory: '8mb' } });
    expect(await other.checkpoint()).toMatchObject({ checkpoint: 1 });
    await other.close();
    other = await KvStore.open({ device, hot: { memory: '8mb' } });
    expect(other.opened.checkpoint).toBe(1);
    for (let i = 0; i < 2000; i++) expect(await other.get(i)).toBe('x'.repeat(100));
    await other.close();
  });

  it('is refused by a store that forgets, that is closed, or that is read-only', async () => {
    const forgetful = await KvStore.open({ device: 'null', hot: { memory: '8mb' } });
    await expect(forgetful.checkpoint()).rejects.toThrow(KvReadOnlyError);
    await forgetful.close();
    await expect(forgetful.checkpoint()).rejects.toThrow(KvClosedError);
    await store.set('k', 1);
    disk.failAt({ operation: 'sync', nth: 1, code: 'EIO' });
    await expect(store.flush()).rejects.toThrow();
    await expect(store.checkpoint()).rejects.toThrow(KvReadOnlyError);
  });

  it('fails on a full disk, and the one before stays in force', async () => {
    const history = new History(disk, 40);
    await history.fill(store);
    await store.checkpoint();
    await history.rewrite(store);
    const told: Error[] = [];
    store.on('error', (error) => told.push(error));
    disk.failAt({
      operation: 'write',
      path: 'checkpoint-00000002.dat',
      nth: 1,
      code: 'ENOSPC',
      sticky: true,
    });
    await expect(store.checkpoint()).rejects.toMatchObject({ code: 'KV_DISK', full: true });
    expect(checkpointsOf(disk)).toEqual([1]);
    expect((await reopened(history)).opened.checkpoint).toBe(1);
    for (let i = 0; i < 20; i++) await history.any(store);
    expect(store.stats().failure).toBeUndefined();
    expect(told).toEqual([]);
    await store.close();
    expect(told).toMatchObject([{ code: 'KV_DISK', full: true }]);
    disk.clearFaults();
    store = await KvStore.open(tieredOptions(disk));
    expect(store.opened).toMatchObject({ clean: true, checkpoint: 1 });
    expect(await history.stateOf(store)).toBe(history.last);
  });
});

describe('the files of checkpoints', () => {
  it('are those of the last one; what an interrupted one left is removed at opening', async () => {
    const copies: SimulatedDisk[] = [];
    await store.close();
    const env = watched(disk.env(), (operation, file) => {
      if (operation === 'sync' && file.startsWith('checkpoint-')) copies.push(disk.fork());
    });
    store = await KvStore.open({ ...tieredOptions(disk), env });
    for (let round = 1; round <= 9; round++) {
      for (let i = 0; i < 100; i++) await store.set(`${round}/${i}`, i);
      await store.checkpoint();
      expect(checkpointsOf(disk)).toContain(round);
      expect(checkpointsOf(disk).length).toBeLessThanOrEqual(4);
    }
    for (const [i, copy] of copies.entries()) {
      expect(checkpointsOf(copy)).toContain(i + 1);
      const again = await KvStore.open(tieredOptions(copy));
      expect(again.opened.checkpoint).toBe(i === 0 ? undefined : i);
      expect(checkpointsOf(copy)).not.toContain(i + 1);
      for (let round = 1; round <= i; round++) expect(await again.get(`${round}/7`)).toBe(7);
      await again.close();
    }
  });

  it('say what the logs had: the manifest knows a commit of each', async () => {
    const history = new History(disk, 40);
    await history.fill(store);
    await store.compact({ full: true });
    await store.checkpoint();
    const manifest = manifestOf(disk) as unknown as { hot: { synced: number }; checkpoint: number };
    expect(manifest.checkpoint).toBe(1);
    expect(manifest.hot.synced).toBe(store.stats().writes.commits);
  });
});

/** The calls of a second checkpoint that may fail. */
async function callsOf(base: SimulatedDisk): Promise<{ operation: DiskOperation; file: string }[]> {
  const copy = base.fork();
  const calls: { operation: DiskOperation; file: string }[] = [];
  let on = false;
  const env = watched(copy.env(), (operation, file) => {
    if (on && CHANGES.includes(operation)) calls.push({ operation, file });
  });
  const other = await KvStore.open({ ...tieredOptions(copy), env });
  await new History(copy, 40, 9).rewrite(other);
  await other.compact({ full: true });
  on = true;
  await other.checkpoint();
  on = false;
  await other.close();
  return calls;
}

describe.each<['EIO' | 'ENOSPC', boolean]>([
  ['EIO', false],
  ['EIO', true],
  ['ENOSPC', false],
  ['ENOSPC', true],
])('%s at every call of a checkpoint (from then on: %s)', (code, sticky) => {
  it('loses nothing, and says what happened', async () => {
    const before = new History(disk, 40);
    await before.fill(store);
    await store.compact({ full: true });
    await store.close();
    const base = disk;
    const calls = await callsOf(base);
    const outcomes = { failed: 0, readOnly: 0, done: 0 };
    for (const [nth, { operation, file }] of calls.entries()) {
      disk = base.fork();
      const history = new History(disk, 40, 9);
      history.goOnFrom(before.last);
      let left = -1;
      const env = watched(disk.env(), (kind) => {
        if (left < 0 || !CHANGES.includes(kind) || left-- > 0) return;
        for (const one of sticky ? CHANGES : [kind]) disk.failAt({ operation: one, nth: 1, code, sticky });
      });
      store = await KvStore.open({ ...tieredOptions(disk), env });
      await history.rewrite(store);
      await store.compact({ full: true });
      left = nth;
      const failure = await store.checkpoint().catch((error: unknown) => error as Error);
      left = -1;
      await history.stateOf(store);
      disk.clearFaults();
      const isSync = operation === 'sync' || operation === 'syncDirectory';
      const { failure: told } = store.stats();
      if (isSync || (code === 'EIO' && operation === 'write'))
        expect([file, operation, told]).toEqual([file, operation, expect.stringContaining(code)]);
      if (!isSync && code === 'ENOSPC' && !sticky)
        expect([file, operation, told]).toEqual([file, operation, undefined]);
      if (failure instanceof Error) outcomes[told === undefined ? 'failed' : 'readOnly']++;
      else outcomes.done++;
      if (told === undefined) {
        await history.set(store, 0, 1, 100);
        await store.checkpoint();
        await history.flush(store);
      }
      if (nth % 2 === 0) await store.close().catch(() => undefined);
      disk.crash(nth % 3 === 0 ? 'none' : { seed: nth });
      store = await KvStore.open(tieredOptions(disk));
      expect(store.opened.checkpoint === undefined).toBe(false);
      expect(await history.stateOf(store)).toBe(history.last);
      disk.kill();
    }
    if (process.env.TALLY) console.log(code, sticky, JSON.stringify(outcomes));
    expect(outcomes.readOnly).toBeGreaterThan(0);
    expect(outcomes.failed + outcomes.done).toBeGreaterThan(0);
    disk = new SimulatedDisk();
    store = await openOn(disk);
  });
});

it('a checkpoint that cannot be read is as good as none', async () => {
  const history = new History(disk, 40);
  await history.fill(store);
  await store.close();
  disk.failAt({ operation: 'read', path: '.dat', nth: 1, code: 'EIO' });
  store = await KvStore.open(tieredOptions(disk));
  const errors: Error[] = [];
  store.on('error', (error) => errors.push(error));
  expect(store.opened).toMatchObject({ clean: true, checkpoint: undefined });
  await history.stateOf(store);
  // It is the disk that has to be looked at.
  expect(errors.map(String)).toEqual([
    expect.stringMatching(
      /^KvCorruptionError: The checkpoint is damaged or of another version .* built from the logs \(file checkpoint-0+1\.dat/,
    ),
  ]);
  expect(store.stats().errors.count).toBe(1);
  await store.close();
  store = await KvStore.open(tieredOptions(disk));
  await turns(2);
  expect(store.stats().errors.count).toBe(0);
});

it('a checkpoint that could not be used is followed by another one at close, also in a store that needs none', async () => {
  await store.set('key', 'value');
  await store.checkpoint();
  await store.close();
  disk.unlinkSync(`${PATH}/checkpoint-00000001.dat`);
  const told: number[] = [];
  for (let life = 0; life < 3; life++) {
    store = await KvStore.open(tieredOptions(disk));
    await turns(2);
    told.push(store.stats().errors.count);
    await store.close();
  }
  expect(told).toEqual([1, 0, 0]);
  expect(checkpointsOf(disk)).toEqual([2]);
});

it('is taken when more of the cold index is on disk for its sake alone than is in use', async () => {
  const disk = new SimulatedDisk();
  const store = await openOn(disk);
  const keys = 40_000;
  const checkpoints: number[] = [];
  store.on('checkpoint', ({ checkpoint }) => checkpoints.push(checkpoint));
  const rewrite = async (round: number) => {
    for (let key = 0; key < keys; key++) await store.set(key, round);
    await store.compact({ full: true });
  };
  const indexFiles = () => segmentsOf(disk, 'index').length;
  await rewrite(0);
  await store.checkpoint();
  let most = 0;
  for (let round = 1; round <= 12; round++) {
    await rewrite(round);
    most = Math.max(most, indexFiles());
  }
  // 29 without.
  expect(most).toBeLessThanOrEqual(14);
  expect(checkpoints.length).toBeGreaterThan(1);
  disk.kill();
  const again = await openOn(disk);
  expect(await again.get(keys - 1)).toBe(12);
  await again.close();
});
