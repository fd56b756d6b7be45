/** A store in memory that is full: it takes deletes, gives back what has ended, and takes writes again. */
import { KvOverloadedError, KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { SimulatedClock } from './support/simulated-clock.js';
import { nodeEnv } from '../src/device/node-env.js';

const VALUE = 'v'.repeat(10_000);

/** Writes until the store is full. Resolves to the number of keys that it has taken. */
async function fill(store: KvStore, prefix: string, ttl = Infinity): Promise<number> {
  for (let i = 0; ; i++) {
    try {
      await store.set(`${prefix}${i}`, VALUE + i, { ttl });
    } catch (error) {
      expect(error).toBeInstanceOf(KvOverloadedError);
      return i;
    }
  }
}

describe.each<[string, KvStoreOptions]>([
  ['as it comes', { memoryLimit: '64mb' }],
  ['with less memory on the device than in the hot log', { memoryLimit: '16mb' }],
  ['that is as small as can be', { memoryLimit: '1mb', hot: { memory: '8mb' } }],
  ['with most of it in the cold tier', { memoryLimit: '64mb', hot: { memory: '8mb' } }],
  ['without a schedule', { memoryLimit: '32mb', hot: { memory: '8mb' }, compaction: false }],
])('a store in memory %s', (_, options) => {
  const clock = new SimulatedClock();
  let store: KvStore;

  beforeEach(async () => {
    store = await KvStore.open({ ...options, env: { ...nodeEnv, clock } });
  });

  it('that is full of what has expired takes writes after a compaction, and as many as before', async () => {
    const first = await fill(store, 'a', 5000);
    for (let round = 0; round < 3; round++) {
      clock.advance(6000);
      await store.compact();
      expect(await fill(store, `b${round} `, 5000)).toBeGreaterThan(first * 0.6);
    }
    await store.close();
  });

  it('that is full takes deletes, and writes behind them', async () => {
    const count = await fill(store, 'a');
    expect(await store.delete('a0')).toBe(true);
    for (let i = 1; i < count / 2; i++) await store.delete(`a${i}`);
    await store.compact();
    for (let i = 0; i < count / 4; i++) await store.set(`b${i}`, VALUE);
    expect(await store.get(`a${count - 1}`)).toBe(VALUE + (count - 1));
    expect(await store.get('a1')).toBeUndefined();
    await store.close();
  });

  it('that is full takes writes right behind clear, deleteMany and invalidateTags', async () => {
    await fill(store, 'a');
    await store.clear();
    await store.set('k', VALUE);
    const count = await fill(store, 'b');
    expect(await store.deleteMany(Array.from({ length: count / 2 }, (__, i) => `b${i}`))).toBe(
      Math.ceil(count / 2 - 0.5),
    );
    await store.set('k', VALUE);
    expect(await store.get(`b${count - 1}`)).toBe(VALUE + (count - 1));
    await store.close();
  });
});

it('a store in memory that is full of what has expired takes writes again by itself', async () => {
  const clock = new SimulatedClock();
  const store = await KvStore.open({
    memoryLimit: '32mb',
    hot: { memory: '8mb' },
    env: { ...nodeEnv, clock },
  });
  await fill(store, 'a', 5000);
  let taken = false;
  for (let i = 0; i < 100 && !taken; i++) {
    clock.advance(1000);
    await new Promise((resolve) => setImmediate(resolve));
    taken = await store.set('k', VALUE).then(
      () => true,
      () => false,
    );
  }
  expect(taken).toBe(true);
  await store.close();
});

it('a store in memory whose caller does not wait is full at its limit, and can be cleared and closed', async () => {
  const store = await KvStore.open({ memoryLimit: '16mb', hot: { memory: '8mb' } });
  const sets = Array.from({ length: 4000 }, (_, i) => store.set(i, VALUE));
  const results = await Promise.allSettled(sets);
  const taken = results.filter(({ status }) => status === 'fulfilled').length;
  expect(taken).toBeGreaterThan(1000);
  expect(taken).toBeLessThan(1700);
  await store.clear();
  await store.set('k', VALUE);
  expect((await store.diskSpace())?.freeBytes).toBeGreaterThan(2 * 1024 * 1024);
  await store.close();
});

it('a store in memory that is full of short entries takes deletes as far as they have room, and clear()', async () => {
  const store = await KvStore.open({ memoryLimit: '4mb', hot: { memory: '8mb' } });
  for (let round = 0; round < 2; round++) {
    let count = 0;
    for (let taken = true; taken;) {
      const sets = Array.from({ length: 1000 }, (_, i) => store.set(count + i, i));
      taken = (await Promise.allSettled(sets)).every(({ status }) => status === 'fulfilled');
      if (taken) count += 1000;
    }
    const gone = Array.from({ length: 1000 }, (_, i) => i);
    expect(await store.deleteMany(gone)).toBe(1000);
    // Their marks are as long as they are themselves.
    const rest = Array.from({ length: count - 1000 }, (_, i) => 1000 + i);
    await store.deleteMany(rest).catch((error: unknown) => expect(error).toBeInstanceOf(KvOverloadedError));
    await store.clear();
    await store.set('k', VALUE);
    expect([await store.get(count - 1), await store.get('k')]).toEqual([undefined, VALUE]);
  }
  await store.close();
});

it('a store in memory refuses a value, or a batch, that would need what is kept for compaction', async () => {
  const store = await KvStore.open({ memoryLimit: '64mb' });
  await store.set('a', Buffer.alloc(40_000_000));
  await expect(store.set('b', Buffer.alloc(60_000_000))).rejects.toThrow(KvOverloadedError);
  const batch = store.batch((b) => b.set('c', Buffer.alloc(10_000_000)).set('d', Buffer.alloc(15_000_000)));
  await expect(batch).rejects.toThrow(KvOverloadedError);
  expect(await store.has('c')).toBe(false);
  await store.delete('a');
  await store.compact({ full: true });
  await store.set('b', Buffer.alloc(50_000_000));
  await store.close();
});

it('a full compaction that is called for while another one is to follow is full', async () => {
  const store = await KvStore.open({ memoryLimit: '16mb', hot: { memory: '8mb' }, compaction: false });
  const count = await fill(store, 'a');
  const first = store.compact();
  await store.deleteMany(['a1', 'a2']);
  const second = store.compact();
  const third = store.compact({ full: true });
  await Promise.all([first, second, third]);
  expect(store.stats().hot.diskBytes).toBeLessThan(100_000);
  expect(store.stats().keys).toBe(count - 2);
  await store.close();
});

it.each([
  ['that is not full', false],
  ['that is full', true],
])('deleteMany of a store in memory %s deletes the keys that it was called with', async (_, isFull) => {
  const store = await KvStore.open({ memoryLimit: '16mb', hot: { memory: '8mb' } });
  const keys = Array.from({ length: 1200 }, (__, i) => ['k', i]);
  for (const key of keys) await store.set(key, key[1]);
  if (isFull) await fill(store, 'a');
  const deleting = store.deleteMany(keys);
  // In the turn of the call, unless some has to be given back on the way.
  const seen = store.peek(['k', 1199]);
  for (const key of keys) key[0] = 'other';
  expect(await deleting).toBe(keys.length);
  if (!isFull) expect(seen).toBeUndefined();
  expect(await store.get(['k', 1199])).toBeUndefined();
  await store.close();
});
