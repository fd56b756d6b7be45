/** Values that are kept decoded (`readCache.decodedEntries`): shared, frozen, and never older than the last write. */
import fc from 'fast-check';
import { KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { envWith } from './support/places.js';
import { SimulatedClock } from './support/simulated-clock.js';
import { SimulatedDisk } from './support/simulated-disk.js';

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
        'setMany',
        'setIfAbsent',
        'set if present',
        'getOrSet',
        'batch set',
        'batch delete',
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
            else if (call === 'setMany') await target.setMany([[key, value]]);
            else if (call === 'setIfAbsent') await target.setIfAbsent(key, value);
            else if (call === 'set if present' && model.has(name))
              await target.set(key, value, { ifPresent: true });
            else if (call === 'getOrSet')
              expect(await target.getOrSet(key, () => value)).toBe(model.get(name) ?? value);
            else if (call === 'batch set') await store.batch((batch) => batch.in(target).set(key, value));
            else if (call === 'batch delete') await store.batch((batch) => batch.in(target).delete(key));
            else if (call === 'clear') await target.clear();
            else if (call === 'clear all') await store.clear();
            const sets = ['set', 'setMany', 'batch set'].includes(call);
            if (sets || (call === 'set if present' && model.has(name))) model.set(name, value);
            else if ((call === 'setIfAbsent' || call === 'getOrSet') && !model.has(name))
              model.set(name, value);
            else if (call === 'update' || call === 'increment')
              model.set(name, (model.get(name) ?? 0) + value);
            else if (['delete', 'deleteMany', 'batch delete'].includes(call)) model.delete(name);
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

  it('are no more than asked for, and those that are read most', async () => {
    const store = await open(3);
    for (const n of [1, 2, 3, 4, 5]) await store.set(n, { n });
    const isKept = async (n: number) => (await store.get(n)) === (await store.get(n));
    const kept = async (): Promise<boolean[]> => {
      const all: boolean[] = [];
      for (const n of [1, 2, 3, 4, 5]) all.push(await isKept(n));
      return all;
    };
    expect(await kept()).toEqual([true, true, true, false, false]);
    // One after the other, what is read once now and then does not push out what is read all the time.
    for (let round = 0; round < 200; round++) for (const n of [2, 3, 2, 3, 4]) await store.get(n);
    const [, two, three, four, five] = await kept();
    expect([two, three, five]).toEqual([true, true, false]);
    expect(four).toBe(true);
    // And what is read all the time now takes the place of what was.
    for (let round = 0; round < 200; round++) for (const n of [1, 5]) await store.get(n);
    expect([await isKept(1), await isKept(5)]).toEqual([true, true]);
    await store.close();
  });

  it('of other keys are not touched by a write, those of its key are', async () => {
    const store = await open(10_000);
    for (let n = 0; n < 200; n++) await store.set(n, { n });
    const before: unknown[] = [];
    for (let n = 0; n < 200; n++) before.push(await store.get(n));
    for (let n = 0; n < 200; n += 2) await store.set(n, { n: n + 1000 });
    for (let n = 0; n < 200; n++) {
      const found = await store.get(n);
      if (n % 2 === 0) expect(found).toEqual({ n: n + 1000 });
      else expect(found).toBe(before[n]);
    }
    await store.close();
  });

  it('of a namespace go when it is cleared, of the store when all of it is', async () => {
    const store = await open(1000);
    const [a, b] = [store.namespace('a'), store.namespace('b')];
    for (const space of [store, a, b]) await space.set('k', { n: 1 });
    const [top, first, second] = [await store.get('k'), await a.get('k'), await b.get('k')];
    await a.clear();
    expect([await store.get('k'), await a.get('k'), await b.get('k')]).toEqual([
      { n: 1 },
      undefined,
      { n: 1 },
    ]);
    expect(await store.get('k')).toBe(top);
    expect(await b.get('k')).toBe(second);
    await a.set('k', { n: 1 });
    expect(await a.get('k')).not.toBe(first);
    await store.clear();
    expect([await store.get('k'), await a.get('k'), await b.get('k')]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    await store.close();
  });

  it('go with their key where the device has forgotten it', async () => {
    const store = await KvStore.open({
      device: 'null',
      hot: { memory: '8mb' },
      readCache: { decodedEntries: 1000 },
    });
    for (const key of ['a', 'b', 'c']) {
      await store.set(key, { key });
      await store.get(key);
    }
    for (let n = 0; n < 4000; n++) await store.set(n, Buffer.alloc(4000));
    await store.delete('a');
    await store.batch((batch) => batch.delete('b'));
    await store.update('c', () => undefined);
    for (const key of ['a', 'b', 'c']) expect(await store.get(key)).toBeUndefined();
    await store.close();
  });

  it('are frozen where they come from the disk by the thread pool as well, whatever the key is', async () => {
    const disk = new SimulatedDisk();
    // Where everything seems to take long, no read is synchronous.
    disk.clock.tickMs = 5;
    const options: KvStoreOptions = {
      path: '/store',
      env: disk.env(),
      hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', diskBudget: '1mb' },
      readCache: { memory: 0, decodedEntries: 10 },
      compaction: false,
    };
    const store = await KvStore.open(options);
    const keys = ['text', 7, Uint8Array.of(1)];
    for (const key of keys) await store.set(key, { n: { deep: [1] } });
    for (const key of keys) await store.getOrSet(['made', key], () => ({ n: { deep: [1] } }));
    await store.compact({ full: true });
    const isFrozen = (value: unknown): boolean =>
      Object.isFrozen(value) && Object.isFrozen((value as { n: { deep: number[] } }).n.deep);
    for (const key of keys) {
      const before = store.stats().reads.coldHits;
      expect([key, isFrozen(await store.get(key))]).toEqual([key, true]);
      const made = await store.getOrSet(['made', key], () => 'not there');
      expect([key, isFrozen(made)]).toEqual([key, true]);
      expect(store.stats().reads.coldHits).toBe(before + 2);
    }
    await store.close();
  });

  it('are frozen where there is no room for them as well', async () => {
    const store = await open(1);
    for (let n = 0; n < 10; n++) await store.set(n, { n: [n] });
    for (let n = 0; n < 10; n++) {
      const found = await store.get<{ n: number[] }>(n);
      expect([Object.isFrozen(found), Object.isFrozen(found?.n)]).toEqual([true, true]);
    }
    await store.close();
  });
});
