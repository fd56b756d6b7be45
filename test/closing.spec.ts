/** After close() every call is refused; calls under way finish; closing again is harmless. */
import { KvClosedError, KvStore, type KvNamespace } from 'nestjs-hotcold/store';
import { PlacedStore } from './support/places.js';
import { SimulatedDisk } from './support/simulated-disk.js';

const CALLS: [string, (store: KvStore | KvNamespace) => unknown][] = [
  ['get', (s) => s.get('k')],
  ['getMany', (s) => s.getMany(['k'])],
  ['getMany of nothing', (s) => s.getMany([])],
  ['peek', (s) => s.peek('k')],
  ['getEntry', (s) => s.getEntry('k')],
  ['has', (s) => s.has('k')],
  ['set', (s) => s.set('k', 2)],
  ['set with a condition', (s) => s.set('k', 2, { ifPresent: true })],
  ['setIfAbsent', (s) => s.setIfAbsent('k', 2)],
  ['setMany', (s) => s.setMany([['k', 2]])],
  ['delete', (s) => s.delete('k')],
  ['deleteMany', (s) => s.deleteMany(['k'])],
  ['update', (s) => s.update('k', () => 2)],
  ['increment', (s) => s.increment('k')],
  ['touch', (s) => s.touch('k', 1000)],
  ['ttl', (s) => s.ttl('k')],
  ['clear', (s) => s.clear()],
];

const STORE_CALLS: [string, (store: KvStore) => unknown][] = [
  ['flush', (s) => s.flush()],
  ['namespace', (s) => s.namespace('new')],
];

/** What a call throws or rejects with. */
async function failureOf(call: () => unknown): Promise<unknown> {
  try {
    return ['resolved to', await call()];
  } catch (error) {
    return error;
  }
}

describe('a closed store', () => {
  it.each(['in memory', 'after a reopen'] as const)('refuses every call: %s', async (place) => {
    const placed = await PlacedStore.open(place);
    await placed.store.set('k', 1);
    await placed.store.namespace('n').set('k', 1);
    await placed.settle();
    const { store } = placed;
    const space = store.namespace('n');
    expect(store.isOpen).toBe(true);
    const closed = store.close();
    // From the moment of the call on, not only when it is done.
    for (const moment of ['closing', 'closed']) {
      expect(store.isOpen).toBe(false);
      for (const [name, call] of CALLS) {
        for (const target of [store, space]) {
          expect([moment, name, await failureOf(() => call(target))]).toEqual([
            moment,
            name,
            expect.any(KvClosedError),
          ]);
        }
      }
      for (const [name, call] of STORE_CALLS) {
        expect([moment, name, await failureOf(() => call(store))]).toEqual([
          moment,
          name,
          expect.any(KvClosedError),
        ]);
      }
      await closed;
    }
    await placed.reopen();
    expect(await placed.store.get('k')).toBe(1);
    expect(await placed.store.namespace('n').get('k')).toBe(1);
    await placed.close();
  });

  it('may be closed again, at once and later', async () => {
    const store = await KvStore.open();
    await Promise.all([store.close(), store.close()]);
    await store.close();
    await store[Symbol.asyncDispose]();
  });

  it('names itself in the error', async () => {
    const store = await KvStore.open({ name: 'sessions' });
    await store.close();
    await expect(store.get('k')).rejects.toThrow(/"sessions" is closed/);
  });
});

describe('calls under way at close', () => {
  it('finish when they read from disk', async () => {
    // Reads that take long are not made synchronously.
    const placed = await PlacedStore.open('after a reopen', { readCache: { memory: 0 } });
    placed.clock.tickMs = 100;
    for (let i = 0; i < 100; i++) await placed.store.set(i, `value ${i}`);
    await placed.settle();
    const keys = Array.from({ length: 100 }, (_, i) => i);
    const reads = placed.store.getMany(keys);
    const entry = placed.store.getEntry(5);
    const change = placed.store.update(7, () => 'too late');
    const outcome = change.catch((error: unknown) => error);
    await placed.store.close();
    expect(await reads).toEqual(keys.map((i) => `value ${i}`));
    expect(await entry).toMatchObject({ value: 'value 5' });
    // Its new value is known only after the close.
    expect(await outcome).toBeInstanceOf(KvClosedError);
    await placed.reopen();
    expect(await placed.store.get(7)).toBe('value 7');
    await placed.close();
  });

  it('refuse a new value that comes too late', async () => {
    const placed = await PlacedStore.open('in memory');
    await placed.store.set('k', 1);
    let finish = (_: number) => {};
    const change = placed.store.update('k', () => new Promise<number>((resolve) => (finish = resolve)));
    await placed.store.close();
    finish(2);
    await expect(change).rejects.toThrow(KvClosedError);
    await placed.reopen();
    expect(await placed.store.get('k')).toBe(1);
    await placed.close();
  });

  it('keep every write that was made before, acknowledged or not', async () => {
    const placed = await PlacedStore.open('after a reopen', { durability: { level: 'always' } });
    const writes = Array.from({ length: 500 }, (_, i) => placed.store.set(i, i));
    const closed = placed.store.close();
    await Promise.all([...writes, closed]);
    await placed.reopen();
    expect(placed.store.opened.clean).toBe(true);
    for (let i = 0; i < 500; i++) expect(await placed.store.get(i)).toBe(i);
    await placed.close();
  });

  it('stop setMany where it is, and keep what it wrote', async () => {
    const placed = await PlacedStore.open('after a reopen');
    const entries = Array.from({ length: 5000 }, (_, i) => [i, i] as const);
    const outcome = placed.store.setMany(entries).catch((error: unknown) => error);
    await placed.store.close();
    placed.clock.advance(1000);
    expect(await outcome).toBeInstanceOf(KvClosedError);
    await placed.reopen();
    const found = await placed.store.getMany(entries.map(([key]) => key));
    const count = found.indexOf(undefined);
    expect(count).toBeGreaterThan(0);
    expect(found).toEqual(entries.map(([key]) => (key < count ? key : undefined)));
    await placed.close();
  });

  it('leave nothing behind: no timer, no descriptor, no byte that is not safe', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open({ path: '/store', env: disk.env() });
    await store.set('k', { a: 1 });
    await store.namespace('n').set('k', 1);
    await store.close();
    expect(disk.clock.pending).toBe(0);
    const { open, close } = disk.counts();
    expect(close).toBe(open);
    disk.crash('none');
    const again = await KvStore.open({ path: '/store', env: disk.env() });
    expect(again.opened).toMatchObject({ clean: true, droppedBytes: 0 });
    expect(await again.get('k')).toEqual({ a: 1 });
    await again.close();
  });
});

it('waits for a checkpoint that nobody awaited', async () => {
  const disk = new SimulatedDisk();
  const store = await KvStore.open({ path: '/store', env: disk.env(), hot: { memory: '8mb' } });
  await store.set('k', 1);
  const checkpoint = store.checkpoint();
  await store.close();
  const calls = disk.trace.length;
  expect((await checkpoint).checkpoint).toBeGreaterThan(0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(disk.trace.slice(calls)).toEqual([]);
});

describe('a disk that fails when a file is closed', () => {
  const optionsOn = (disk: SimulatedDisk) => ({ path: '/s', env: disk.env(), compaction: false as const });

  it.each(['hot-00000000.log', 'LOCK'])(
    'leaves a store closed, and its directory to others: %s',
    async (path) => {
      const disk = new SimulatedDisk();
      const store = await KvStore.open(optionsOn(disk));
      await store.set('k', 1);
      await store.flush();
      disk.failAt({ operation: 'close', path, nth: 1, code: 'EIO' });
      await expect(store.close()).rejects.toMatchObject({ code: 'KV_DISK', errno: 'EIO' });
      disk.clearFaults();
      const next = await KvStore.open(optionsOn(disk));
      expect(await next.get('k')).toBe(1);
      await next.close();
    },
  );

  it('does not hide why a store could not be opened, nor keeps its directory', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(optionsOn(disk));
    await store.set('k', 1);
    await store.close();
    disk.failAt({ operation: 'read', path: 'hot-00000000.log', nth: 1, code: 'EIO', sticky: true });
    disk.failAt({ operation: 'close', path: 'hot-00000000.log', nth: 1, code: 'EIO' });
    await expect(KvStore.open(optionsOn(disk))).rejects.toMatchObject({ operation: 'read' });
    disk.clearFaults();
    const next = await KvStore.open(optionsOn(disk));
    expect(await next.get('k')).toBe(1);
    await next.close();
  });
});
