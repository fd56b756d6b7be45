/** Every call on keys, wherever the records are: in memory, on disk because memory was short, or read back. */
import { KvEncodingError, KvOptionsError, KvStore } from 'nestjs-hotcold/store';
import { inEveryPlace, PlacedStore } from './support/places.js';

describe('calls on keys', () => {
  inEveryPlace((placed) => {
    it('answers get, has, getEntry and getMany where the place says', async () => {
      await placed().store.set('a', { n: 1 });
      await placed().store.set('b', [2]);
      await placed().settle();
      const { store, place } = placed();
      expect(placed().isInPlace('a')).toBe(true);
      expect(await store.get('a')).toEqual({ n: 1 });
      expect(await store.getMany(['b', 'missing', 'a', 'b'])).toEqual([[2], undefined, { n: 1 }, [2]]);
      expect(await store.has('a')).toBe(true);
      expect(await store.has('missing')).toBe(false);
      expect(await store.get('missing')).toBeUndefined();
      expect(await store.getEntry('missing')).toBeUndefined();
      expect((await store.getEntry('a'))?.value).toEqual({ n: 1 });
      const { reads } = store.stats();
      // The first read of each from disk, the later ones from the read cache.
      expect([reads.memoryHits, reads.diskHits, reads.cacheHits]).toEqual(
        place === 'in memory' ? [5, 0, 0] : [0, 2, 2],
      );
      expect(reads.diskReads > 0).toBe(place !== 'in memory');
    });

    it('peeks into memory only', async () => {
      await placed().store.set('k', 'value');
      await placed().settle();
      const { store, place } = placed();
      expect(store.peek('k')).toBe(place === 'in memory' ? 'value' : undefined);
      expect(store.peek('missing')).toBeUndefined();
      expect(store.stats().reads.diskReads).toBe(0);
      await store.set('k', 'newer');
      expect(store.peek('k')).toBe('newer');
    });

    it('overwrites with shorter, equal and longer values', async () => {
      for (const length of [100, 40, 99, 100, 5000, 1]) {
        await placed().store.set('k', 'x'.repeat(length));
        await placed().settle();
        expect(await placed().store.get('k')).toBe('x'.repeat(length));
      }
    });

    it('gives every write a larger version, which getEntry tells', async () => {
      const first = await placed().store.set('k', 1);
      await placed().settle();
      const second = await placed().store.set('k', 2);
      expect(second).toBeGreaterThan(first);
      await placed().settle();
      expect(await placed().store.getEntry('k')).toEqual({ value: 2, version: second, expiresAt: undefined });
      expect(await placed().store.set('other', 1)).toBeGreaterThan(second);
    });

    it('keeps null apart from absent', async () => {
      await placed().store.set('null', null);
      await placed().settle();
      const { store } = placed();
      expect(await store.get('null')).toBeNull();
      expect(await store.has('null')).toBe(true);
      expect(await store.setIfAbsent('null', 1)).toBe(false);
      expect(await store.update('null', (current) => [current])).toEqual([null]);
    });

    it('deletes: gone at once, after settling, and set again', async () => {
      await placed().store.set('k', 1);
      await placed().settle();
      expect(await placed().store.delete('k')).toBe(true);
      expect(await placed().store.get('k')).toBeUndefined();
      expect(await placed().store.delete('k')).toBe(false);
      await placed().settle();
      const { store } = placed();
      expect(await store.get('k')).toBeUndefined();
      expect(await store.has('k')).toBe(false);
      expect(await store.delete('k')).toBe(false);
      await store.set('k', 2);
      await placed().settle();
      expect(await placed().store.get('k')).toBe(2);
    });

    it('deletes many and tells how many there were', async () => {
      await placed().store.setMany([
        ['a', 1],
        ['b', 2],
        ['c', 3],
      ]);
      await placed().settle();
      expect(await placed().store.deleteMany(['a', 'missing', 'c', 'a'])).toBe(2);
      await placed().settle();
      expect(await placed().store.getMany(['a', 'b', 'c'])).toEqual([undefined, 2, undefined]);
      expect(await placed().store.deleteMany([])).toBe(0);
    });

    it('sets many, in order, each with its own options', async () => {
      const entries: [string, number, { ttl: number }?][] = [
        ['a', 1],
        ['b', 2, { ttl: 1000 }],
        ['a', 3],
      ];
      await placed().store.setMany(new Set(entries));
      await placed().settle();
      expect(await placed().store.getMany(['a', 'b'])).toEqual([3, 2]);
      placed().clock.advance(1000);
      expect(await placed().store.getMany(['a', 'b'])).toEqual([3, undefined]);
    });

    it('keeps what setMany wrote before the entry that fails', async () => {
      const entries = [
        ['a', 1],
        ['b', () => 1],
        ['c', 3],
      ] as [string, unknown][];
      await expect(placed().store.setMany(entries)).rejects.toThrow(KvEncodingError);
      await placed().settle();
      expect(await placed().store.getMany(['a', 'b', 'c'])).toEqual([1, undefined, undefined]);
    });

    it('clears everything, and only what was there', async () => {
      await placed().store.setMany([
        ['a', 1],
        ['b', 2],
      ]);
      await placed().settle();
      await placed().store.clear();
      expect(await placed().store.getMany(['a', 'b'])).toEqual([undefined, undefined]);
      await placed().store.set('a', 'after');
      await placed().settle();
      expect(await placed().store.getMany(['a', 'b'])).toEqual(['after', undefined]);
    });

    it('increments, also from absent, by fractions and negative numbers', async () => {
      expect(await placed().store.increment('n')).toBe(1);
      await placed().settle();
      expect(await placed().store.increment('n', 41)).toBe(42);
      await placed().settle();
      expect(await placed().store.increment('n', -0.5)).toBe(41.5);
      expect(await placed().store.get('n')).toBe(41.5);
    });

    it('loses no increment of many at once', async () => {
      await placed().store.set('n', 0);
      await placed().settle();
      const { store } = placed();
      const results = await Promise.all(Array.from({ length: 100 }, () => store.increment('n')));
      expect(results.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
      expect(await store.get('n')).toBe(100);
    });

    it('refuses to increment what is no number, and by what is none', async () => {
      await placed().store.set('text', '1');
      await placed().settle();
      const { store } = placed();
      await expect(store.increment('text')).rejects.toThrow(KvEncodingError);
      for (const by of [NaN, Infinity, -Infinity])
        await expect(store.increment('n', by)).rejects.toThrow(KvEncodingError);
      await expect(store.increment('n', '1' as never)).rejects.toThrow(KvEncodingError);
      expect(await store.getMany(['text', 'n'])).toEqual(['1', undefined]);
    });

    it('refuses to increment to where numbers stand still', async () => {
      const most = Number.MAX_SAFE_INTEGER;
      await placed().store.set('most', most - 1);
      await placed().store.set('least', -most);
      await placed().settle();
      const { store } = placed();
      expect(await store.increment('most')).toBe(most);
      await expect(store.increment('most')).rejects.toThrow(KvEncodingError);
      await expect(store.increment('least', -1)).rejects.toThrow(KvEncodingError);
      await expect(store.increment('new', 1e300)).rejects.toThrow('2^53');
      expect(await store.getMany(['most', 'least', 'new'])).toEqual([most, -most, undefined]);
      expect(await store.increment('most', -1)).toBe(most - 1);
    });
  });
});

describe('the store as a whole', () => {
  it('flushes, tells the commit, and counts', async () => {
    const store = await KvStore.open({ durability: { level: 'checkpoint' } });
    const before = store.stats().writes.commits;
    await store.set('a', 1);
    await store.set('a', 2);
    await store.set('b', 1);
    const report = await store.flush();
    expect(report.commit).toBe(before + 1);
    expect(await store.flush()).toEqual(report);
    await store.get('a');
    await store.get('missing');
    const stats = store.stats();
    expect(stats).toMatchObject({
      keys: 2,
      reads: { memoryHits: 1, diskHits: 0, misses: 1, hitRatio: 0.5 },
      writes: { appended: 2, inPlace: 1, commits: report.commit, backlog: 0 },
      failure: undefined,
    });
    expect(stats.hot.memoryBytes).toBeLessThanOrEqual(stats.hot.memoryBudgetBytes);
    expect(stats.hot.diskBytes).toBeGreaterThan(0);
    await store.close();
  });

  it('lives in memory without a path, and forgets at close', async () => {
    const options = { name: 'volatile' };
    const store = await KvStore.open(options);
    expect(store.name).toBe('volatile');
    expect(store.opened).toMatchObject({ created: true, records: 0, droppedBytes: 0 });
    await store.set('k', 1);
    await store.close();
    const again = await KvStore.open(options);
    expect(await again.get('k')).toBeUndefined();
    await again.close();
  });

  it('closes at the end of an await using block', async () => {
    let seen: KvStore;
    {
      await using store = await KvStore.open();
      seen = store;
      await store.set('k', 1);
      expect(store.isOpen).toBe(true);
    }
    expect(seen.isOpen).toBe(false);
  });

  it('forgets the oldest on the null device, and never answers wrong', async () => {
    const store = await KvStore.open({ device: 'null', hot: { memory: '8mb' } });
    const value = (i: number) => `${i}`.padEnd(10_000, '.');
    for (let i = 0; i < 2000; i++) await store.set(i, value(i));
    let kept = 0;
    for (let i = 0; i < 2000; i++) {
      const found = await store.get(i);
      if (found === undefined) continue;
      expect(found).toBe(value(i));
      kept++;
    }
    expect(kept).toBeGreaterThan(500);
    expect(kept).toBeLessThan(900);
    expect(await store.get(1999)).toBe(value(1999));
    expect(await store.get(0)).toBeUndefined();
    await store.close();
  });
});

describe('stats().keys', () => {
  it('is right after a reopen, also with keys that were deleted in place', async () => {
    const placed = await PlacedStore.open('after a reopen');
    await placed.store.set('b', 1);
    await placed.store.set('a', 1);
    await placed.store.delete('a');
    expect(placed.store.stats().keys).toBe(1);
    await placed.settle();
    expect(placed.store.stats().keys).toBe(1);
    await placed.close();
  });
});

it('refuses what is no list, no pair and no function by name, and writes nothing', async () => {
  const store = await KvStore.open({ device: 'memory' });
  const calls: [string, (argument: never) => Promise<unknown>, unknown[]][] = [
    ['entries', (entries) => store.setMany(entries), [undefined, { a: 1 }, 7, 'text', [7], ['ab'], [null]]],
    ['keys', (keys) => store.getMany(keys), [undefined, 5, 'text', {}]],
    ['keys', (keys) => store.deleteMany(keys), [undefined, 5, 'text', {}]],
    ['change', (change) => store.update('a', change), [undefined, 5]],
    ['factory', (factory) => store.getOrSet('a', factory), [undefined, 5]],
  ];
  for (const [name, call, wrong] of calls) {
    for (const argument of wrong) {
      const error: unknown = await call(argument as never).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(KvOptionsError);
      expect((error as Error).message).toContain(name);
    }
  }
  expect(() => store.on('error', 5 as never)).toThrow(KvOptionsError);
  expect(store.stats().keys).toBe(0);
  await store.close();
});
