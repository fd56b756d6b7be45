/** Scans over both tiers: each entry that is there all the time exactly once, whatever else goes on. */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import {
  KvClosedError,
  KvOptionsError,
  KvStore,
  type KvKey,
  type KvStoreOptions,
} from 'nestjs-hotcold/store';
import { anyKey } from './support/keys.js';
import { inEveryPlace } from './support/places.js';
import { missingPath } from './support/temp-directory.js';

/** Budgets so small that most entries are cold. */
const TINY: KvStoreOptions = {
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', diskBudget: '1mb', expectedKeys: 500_000 },
  cold: { segmentSize: '1mb' },
  compaction: false,
};

async function all<T>(from: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const one of from) found.push(one);
  return found;
}

inEveryPlace((placed) => {
  it('goes through all entries of its space, and of no other', async () => {
    const { store } = placed();
    const users = store.namespace<number>('users');
    for (let i = 0; i < 500; i++) {
      await store.set(`s${i}`, i);
      await users.set(`u${i}`, i + 1000);
    }
    await store.set('gone', 1);
    await store.delete('gone');
    await store.set('expired', 1, { ttl: 10 });
    placed().clock.advance(11);
    await placed().settle();
    const space = placed().store.namespace<number>('users');
    const entries = await all(space.scan());
    expect(entries).toHaveLength(500);
    expect(new Map(entries)).toEqual(new Map(Array.from({ length: 500 }, (_, i) => [`u${i}`, i + 1000])));
    expect((await all(placed().store.keys())).sort()).toEqual(
      Array.from({ length: 500 }, (_, i) => `s${i}`).sort(),
    );
    expect((await all(space.values())).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 500 }, (_, i) => i + 1000),
    );
    await space.clear();
    expect(await all(space.scan())).toEqual([]);
  });

  it('gives back every kind of key and value', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(anyKey, { maxLength: 20, comparator: isDeepStrictEqual }),
        async (some) => {
          const space = placed().store.namespace(`space ${Math.random()}`);
          const wanted: KvKey[] = [];
          for (const key of some) {
            if (!(await space.has(key))) wanted.push(key);
            await space.set(key, { of: wanted.length });
          }
          const found = await all(space.keys());
          expect(found).toHaveLength(wanted.length);
          for (const key of found) expect(await space.has(key)).toBe(true);
        },
      ),
      { numRuns: 15 },
    );
  });
});

describe('a scan', () => {
  it('ends at its limit', async () => {
    const store = await KvStore.open();
    for (let i = 0; i < 100; i++) await store.set(i, i);
    for (const limit of [0, 1, 7, 100, 1000, Infinity]) {
      expect(await all(store.scan({ limit }))).toHaveLength(Math.min(limit, 100));
      expect(await all(store.keys({ limit }))).toHaveLength(Math.min(limit, 100));
      expect(await all(store.values({ limit }))).toHaveLength(Math.min(limit, 100));
    }
    await store.close();
  });

  it.each([
    { limit: -1 },
    { limit: 1.5 },
    { limit: -Infinity },
    { limit: Number.NaN },
    { limit: '3' },
    { prefix: 'a' },
  ])('refuses %p', async (options) => {
    const store = await KvStore.open();
    await expect(store.scan(options as never).next()).rejects.toThrow(KvOptionsError);
    await expect(store.keys(options as never).next()).rejects.toThrow(KvOptionsError);
    await expect(store.values(options as never).next()).rejects.toThrow(KvOptionsError);
    await store.close();
  });

  it('of a store that is closed meanwhile says so', async () => {
    const store = await KvStore.open();
    for (let i = 0; i < 100; i++) await store.set(i, i);
    const scan = store.scan();
    await scan.next();
    await store.close();
    await expect(all(scan)).rejects.toThrow(KvClosedError);
    await expect(store.keys().next()).rejects.toThrow(KvClosedError);
  });

  it('has large values whole', async () => {
    const store = await KvStore.open({ path: missingPath(), ...TINY });
    const large = (i: number) => Buffer.alloc(100_000 + i, i);
    for (let i = 0; i < 30; i++) await store.set(i, large(i));
    await store.compact({ full: true });
    for (let i = 0; i < 5; i++) await store.set(i, large(i));
    const found = new Map(await all(store.scan<Buffer>()));
    expect(found.size).toBe(30);
    for (const [i, value] of found) expect(value.equals(large(i as number))).toBe(true);
    await store.close();
  });

  it('is exact while compaction moves everything, and others write', async () => {
    const store = await KvStore.open({ path: missingPath(), ...TINY });
    const COUNT = 3000;
    const value = (i: number) => `${i} `.padEnd(300, 'x');
    for (let i = 0; i < COUNT; i++) await store.set(i, value(i));
    await store.compact({ full: true });
    for (let i = 0; i < COUNT; i += 3) await store.set(i, value(i));
    const { truncatedBytes } = (await store.compact()).hot;
    expect(truncatedBytes).toBeGreaterThan(0);
    for (let round = 0; round < 2; round++) {
      const counts = new Map<KvKey, number>();
      let compactions = 0;
      let running: Promise<unknown> | undefined;
      for await (const [key, found] of store.scan<string>()) {
        counts.set(key, (counts.get(key) ?? 0) + 1);
        if (typeof key === 'number') expect(found).toBe(value(key));
        if (counts.size % 100 === 0) {
          // A key that is not there all the time, and rewrites of some that are.
          await store.set(`other ${counts.size}`, round);
          for (let i = 0; i < 30; i++)
            await store.set(
              (counts.size * 37 + i * 131) % COUNT,
              value((counts.size * 37 + i * 131) % COUNT),
            );
          running ??= store.compact({ full: true }).finally(() => {
            compactions++;
            running = undefined;
          });
          // A whole scan may be faster than one run.
          if (counts.size === COUNT / 2) await running;
        }
      }
      await running;
      expect(compactions).toBeGreaterThan(1);
      for (let i = 0; i < COUNT; i++)
        if (counts.get(i) !== 1) throw new Error(`${i} came ${counts.get(i)} times`);
      expect(Math.max(...counts.values())).toBe(1);
    }
    await store.close();
  });
});
