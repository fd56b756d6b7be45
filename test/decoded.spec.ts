/** Values that are kept decoded (`readCache.decodedEntries`): shared, frozen, and never older than the last write. */
import fc from 'fast-check';
import { KvStore } from 'nestjs-hotcold/store';
import { envWith } from './support/places.js';
import { SimulatedClock } from './support/simulated-clock.js';

const open = (decodedEntries: number, clock = new SimulatedClock()) =>
  KvStore.open({ readCache: { decodedEntries }, env: envWith(clock) });

describe('values that are kept decoded', () => {
  it('are shared and frozen, all the way down', async () => {
    const store = await open(10);
    await store.set('k', { list: [{ n: 1 }] });
    const first = await store.get<{ list: { n: number }[] }>('k');
    expect(await store.get('k')).toBe(first);
    expect(() => (first as { list: unknown[] }).list.push(2)).toThrow(TypeError);
    expect(() => ((first as { list: { n: number }[] }).list[0].n = 2)).toThrow(TypeError);
    expect(store.stats().reads).toMatchObject({ decodedHits: 1, memoryHits: 1 });
    await store.close();
  });

  it('are the caller’s own where the option is off', async () => {
    const store = await open(0);
    await store.set('k', { n: 1 });
    const first = await store.get<{ n: number }>('k');
    (first as { n: number }).n = 2;
    expect(await store.get('k')).toEqual({ n: 1 });
    await store.close();
  });

  it.each([[Buffer.from('x')], [new Date(0)], [new Map([[1, 2]])], [{ deep: [new Set([1])] }]])(
    'are the caller’s own where they cannot be frozen: %p',
    async (value) => {
      const store = await open(10);
      await store.set('k', value);
      const first = await store.get('k');
      expect(await store.get('k')).toEqual(first);
      expect(await store.get('k')).not.toBe(first);
      await store.close();
    },
  );

  it('expire', async () => {
    const clock = new SimulatedClock();
    const store = await open(10, clock);
    await store.set('k', 1, { ttl: 100 });
    expect([await store.get('k'), await store.get('k')]).toEqual([1, 1]);
    clock.advance(100);
    expect(await store.get('k')).toBeUndefined();
    await store.close();
  });

  it.each([1, 100, 999, 1000, 1001, 3_599_999, 40 * 365 * 86_400_000])(
    'expire to the millisecond: a ttl of %i ms',
    async (ttl) => {
      const clock = new SimulatedClock();
      clock.advance(123);
      const store = await open(10, clock);
      await store.set('k', { a: 1 }, { ttl });
      const kept = await store.get('k');
      clock.advance(ttl - 1);
      // The same object: it was not decoded anew.
      expect(await store.get('k')).toBe(kept);
      clock.advance(1);
      expect(await store.get('k')).toBeUndefined();
      await store.close();
    },
  );

  it('stay where they never expire, however late it is', async () => {
    const clock = new SimulatedClock();
    const store = await open(10, clock);
    await store.set('k', { a: 1 });
    const kept = await store.get('k');
    // Beyond 2038, where seconds no longer are a small integer.
    clock.advance(40 * 365 * 86_400_000);
    expect(await store.get('k')).toBe(kept);
    await store.close();
  });

  it('follow every kind of write, in every namespace, however few there are', async () => {
    const write = fc.record({
      do: fc.constantFrom(
        'set',
        'update',
        'delete',
        'touch',
        'increment',
        'clear',
        'clear all',
        'deleteMany',
        'get',
      ),
      key: fc.constantFrom<string | number>('a', 'b', 1, '1'),
      space: fc.constantFrom('x', 'y'),
      value: fc.nat(1000),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5 }),
        fc.array(write, { maxLength: 60 }),
        async (entries, writes) => {
          const store = await open(entries);
          const model = new Map<string, number>();
          const nameOf = (space: string, key: string | number) => `${space} ${typeof key} ${key}`;
          for (const { do: call, key, space, value } of writes) {
            // Two objects of one space share what is kept.
            const name = nameOf(space, key);
            const target = store.namespace<number>(space);
            if (call === 'set') await target.set(key, value);
            else if (call === 'update') await target.update(key, (old = 0) => old + value);
            else if (call === 'increment') await target.increment(key, value);
            else if (call === 'delete') await target.delete(key);
            else if (call === 'deleteMany') await target.deleteMany([key]);
            else if (call === 'touch') await target.touch(key, '1h');
            else if (call === 'clear') await target.clear();
            else if (call === 'clear all') await store.clear();
            if (call === 'set') model.set(name, value);
            else if (call === 'update' || call === 'increment')
              model.set(name, (model.get(name) ?? 0) + value);
            else if (call === 'delete' || call === 'deleteMany') model.delete(name);
            else if (call === 'clear') {
              for (const each of model.keys()) if (each.startsWith(space)) model.delete(each);
            } else if (call === 'clear all') model.clear();
            for (const each of ['a', 'b', 1, '1'])
              expect(await store.namespace(space).get(each)).toBe(model.get(nameOf(space, each)));
          }
          await store.close();
        },
      ),
      { numRuns: 100 },
    );
  });

  it('are no more than asked for', async () => {
    const store = await open(3);
    const values = [1, 2, 3, 4, 5].map((n) => ({ n }));
    for (const value of values) await store.set(value.n, value);
    const get = (n: number) => store.get(n);
    const kept = async (n: number) => (await get(n)) === (await get(n));
    for (const { n } of values) expect(await kept(n)).toBe(true);
    const hits = store.stats().reads.decodedHits;
    expect(hits).toBe(5);
    // The last three are kept, of which the first was used: it gets a second chance when the next one comes.
    const [three, four] = [await get(3), await get(4)];
    expect(store.stats().reads.decodedHits).toBe(hits + 2);
    expect([three, four]).toEqual([{ n: 3 }, { n: 4 }]);
    await get(1);
    expect(store.stats().reads.decodedHits).toBe(hits + 2);
    await store.close();
  });
});
