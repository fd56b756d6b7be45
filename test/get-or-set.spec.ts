/**
 * `getOrSet`: one run for all who wait, stale values while it is made anew or when that fails, and results that were
 * overtaken while they were made.
 */
import { KvStore, type KvGetOrSetOptions, type KvStoreOptions } from 'nestjs-hotcold/store';
import { HeldReads, openOn, turns, valueOf } from './support/compacting.js';
import { envWith } from './support/places.js';
import { SimulatedClock } from './support/simulated-clock.js';
import { SimulatedDisk } from './support/simulated-disk.js';

/** A factory whose runs end when the test says so. */
class Source {
  runs = 0;
  private waiting: { resolve: (value: unknown) => void; reject: (error: unknown) => void }[] = [];

  readonly make = (): Promise<any> => {
    this.runs++;
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  };

  async end(value: unknown): Promise<void> {
    for (const { resolve } of this.waiting.splice(0)) resolve(value);
    await turns(3);
  }

  async fail(message: string): Promise<void> {
    for (const { reject } of this.waiting.splice(0)) reject(new Error(message));
    await turns(3);
  }
}

const clock = new SimulatedClock();
const open = (options: KvStoreOptions = {}) => KvStore.open({ env: envWith(clock), ...options });

describe('getOrSet', () => {
  it('runs the factory where there is nothing, and keeps what it makes', async () => {
    await using store = await open();
    let runs = 0;
    const get = (options?: KvGetOrSetOptions<any>) => store.getOrSet('a', () => ({ run: ++runs }), options);
    expect(await get({ ttl: 1000 })).toEqual({ run: 1 });
    expect(await get({ ttl: 1000 })).toEqual({ run: 1 });
    expect(await store.get('a')).toEqual({ run: 1 });
    expect(await store.ttl('a')).toBe(1000);
    clock.advance(1000);
    expect(await get()).toEqual({ run: 2 });
    expect(await store.ttl('a')).toBe(Infinity);
    expect((await get()) === (await get())).toBe(false);
  });

  it('takes the default of the namespace for a ttl, and functions of the value for ttl and tags', async () => {
    await using store = await open();
    const space = store.namespace<{ team: number; ms?: number }>('n', { ttl: 500 });
    const options: KvGetOrSetOptions<{ team: number; ms?: number }> = {
      ttl: ({ ms }) => ms,
      tags: ({ team }) => [`team:${team}`],
    };
    await space.getOrSet('default', () => ({ team: 1 }), options);
    await space.getOrSet('own', async () => ({ team: 2, ms: 70 }), options);
    await space.getOrSet('none', () => ({ team: 2, ms: 0 }), options);
    expect([await space.ttl('default'), await space.ttl('own'), await space.has('none')]).toEqual([
      500,
      70,
      false,
    ]);
    await space.invalidateTags('team:1');
    expect([await space.has('default'), await space.has('own')]).toEqual([false, true]);
    await expect(space.getOrSet('bad', () => ({ team: 1 }), { tags: () => [''] })).rejects.toThrow('tags[0]');
    await expect(space.getOrSet('bad', () => ({ team: 1 }), { ttl: () => 'soon' as any })).rejects.toThrow(
      'ttl',
    );
  });

  it('keeps null, and undefined when asked', async () => {
    await using store = await open({ readCache: { decodedEntries: 10 } });
    const runs: unknown[] = [];
    const get = (key: string, value: unknown, options?: KvGetOrSetOptions) =>
      store.getOrSet<unknown>(key, () => (runs.push(key), value), options);
    for (let i = 0; i < 3; i++) {
      expect(await get('null', null)).toBeNull();
      expect(await get('undefined', undefined)).toBeUndefined();
      expect(await get('kept', undefined, { cacheUndefined: true })).toBeUndefined();
    }
    expect(runs).toEqual(['null', 'undefined', 'kept', 'undefined', 'undefined']);
    expect([await store.has('kept'), await store.has('undefined')]).toEqual([true, false]);
  });

  it('does not use what was kept with another version', async () => {
    await using store = await open({ readCache: { decodedEntries: 10 } });
    let runs = 0;
    const get = (version?: number) =>
      store.getOrSet('a', () => ++runs, version === undefined ? {} : { version });
    expect([await get(), await get(0), await get(1), await get(1), await get(), await get()]).toEqual([
      1, 1, 2, 2, 3, 3,
    ]);
  });

  it('does not share a run with calls of another version', async () => {
    await using store = await open();
    const sources = [new Source(), new Source()];
    const calls = [0, 1, 0, 1].map((version) => store.getOrSet('a', sources[version].make, { version }));
    for (const [version, source] of sources.entries()) await source.end(`shape ${version}`);
    expect(await Promise.all(calls)).toEqual(['shape 0', 'shape 1', 'shape 0', 'shape 1']);
    expect(sources.map(({ runs }) => runs)).toEqual([1, 1]);
    // The run that ended last was not overtaken by the other.
    expect(await store.getOrSet('a', () => 'made anew', { version: 1 })).toBe('shape 1');
  });

  it('runs the factory once for 10,000 calls', async () => {
    await using store = await open();
    const source = new Source();
    const calls = Array.from({ length: 10_000 }, () => store.getOrSet('a', source.make));
    await source.end({ value: 1 });
    expect(new Set(await Promise.all(calls)).size).toBe(1);
    expect(source.runs).toBe(1);
    expect(store.stats().reads.misses).toBe(1);
  });

  it('runs it once also for calls that have to ask the disk first', async () => {
    const disk = new SimulatedDisk();
    const reads = new HeldReads(disk);
    const store = await openOn(disk, { env: reads.env });
    for (let i = 0; i < 200; i++) await store.set(`k${i}`, valueOf(i, 0, 5000), { ttl: 1000 });
    await store.flush();
    await reads.slowDown(
      store,
      Array.from({ length: 200 }, (_, i) => `k${i}`),
    );
    const source = new Source();
    expect(await store.getOrSet('k5', source.make)).toBe(valueOf(5, 0, 5000));
    disk.clock.advance(1000);
    const calls = Array.from({ length: 50 }, () => store.getOrSet('k6', source.make));
    await turns(50);
    await source.end('new');
    expect(new Set(await Promise.all(calls))).toEqual(new Set(['new']));
    expect(source.runs).toBe(1);
    expect(await store.get('k6')).toBe('new');
    await store.close();
  });

  it('keeps what the factory made, whatever is done to it while the write waits for the disk', async () => {
    const disk = new SimulatedDisk();
    const reads = new HeldReads(disk);
    const store = await openOn(disk, { env: reads.env });
    const keys = Array.from({ length: 200 }, (_, i) => `k${i}`);
    for (const key of keys) await store.set(key, valueOf(key, 0, 5000), { ttl: 1000 });
    await store.flush();
    await reads.slowDown(store, keys);
    disk.clock.advance(1000);
    const told: unknown[] = [];
    const options = { tags: ['users'], onError: (error: unknown) => told.push(error) };
    const user = await store.getOrSet<any>('k6', () => ({ id: 6, password: 'p' }), options);
    delete user.password;
    const unkept = await store.getOrSet<any>('k7', () => ({ call: () => 7 }), options);
    delete unkept.call;
    await turns(50);
    expect(await store.get('k6')).toEqual({ id: 6, password: 'p' });
    expect(await store.get('k7')).toBeUndefined();
    expect(told).toEqual([expect.objectContaining({ code: 'KV_ENCODING' })]);
    await store.close();
  });

  it('passes errors on to all who wait, and keeps none', async () => {
    await using store = await open();
    const source = new Source();
    const calls = Promise.allSettled([1, 2, 3].map(() => store.getOrSet('a', source.make)));
    await source.fail('no');
    expect((await calls).map((call) => (call as PromiseRejectedResult).reason.message)).toEqual([
      'no',
      'no',
      'no',
    ]);
    expect(await store.getOrSet('a', () => 'fine')).toBe('fine');
    const thrown = store.getOrSet('b', () => {
      throw new Error('at once');
    });
    await expect(thrown).rejects.toThrow('at once');
    expect(await store.getOrSet('b', () => 'fine')).toBe('fine');
    expect(source.runs).toBe(1);
  });

  it('shortens ttls by chance, within the share that was asked for', async () => {
    await using store = await open();
    const ttls: number[] = [];
    for (let i = 0; i < 200; i++) {
      await store.getOrSet(i, () => i, { ttl: 1000, jitter: 0.2 });
      ttls.push((await store.ttl(i)) as number);
    }
    expect(Math.min(...ttls)).toBeGreaterThanOrEqual(800);
    expect(Math.max(...ttls)).toBeLessThanOrEqual(1000);
    expect(Math.max(...ttls) - Math.min(...ttls)).toBeGreaterThan(100);
  });

  it('checks its options as a whole', async () => {
    await using store = await open();
    const options: any = {
      ttl: -1,
      tags: [1],
      staleWhileRevalidate: '50d',
      jitter: 2,
      cacheUndefined: 1,
      version: -1,
      timeout: 'x',
      onError: 1,
      colour: 1,
    };
    const problems = (await store.getOrSet('a', () => 1, options).catch((error) => error)).problems;
    expect(problems.map(({ path }: { path: string }) => path)).toEqual([
      'colour',
      'ttl',
      'tags[0]',
      'staleWhileRevalidate',
      'jitter',
      'cacheUndefined',
      'version',
      'timeout',
      'onError',
    ]);
    await expect(store.getOrSet((() => 1) as any, () => 1)).rejects.toMatchObject({ code: 'KV_ENCODING' });
  });
});

describe('a stale value', () => {
  const swr: KvGetOrSetOptions = { ttl: 1000, staleWhileRevalidate: 500 };

  it.each(['in memory', 'cold', 'decoded'])(
    'is answered at once while it is made anew, %s',
    async (place) => {
      const disk = new SimulatedDisk();
      const store = await openOn(disk, place === 'decoded' ? { readCache: { decodedEntries: 10 } } : {});
      const source = new Source();
      await store.getOrSet('a', () => 'old', swr);
      await store.get('a');
      disk.clock.advance(1200);
      if (place === 'cold') await store.compact({ full: true });
      // For all other calls it has expired.
      expect([await store.get('a'), await store.has('a'), await store.ttl('a')]).toEqual([
        undefined,
        false,
        undefined,
      ]);
      for (let i = 0; i < 5; i++) expect(await store.getOrSet('a', source.make, swr)).toBe('old');
      expect(source.runs).toBe(1);
      await source.end('new');
      expect(await store.getOrSet('a', source.make, swr)).toBe('new');
      expect([source.runs, await store.ttl('a')]).toEqual([1, 1000]);
      await store.close();
    },
  );

  it('is not answered beyond its window, nor by a call without one', async () => {
    await using store = await open();
    let runs = 0;
    const make = () => ++runs;
    await store.getOrSet('a', make, swr);
    clock.advance(1499);
    expect(await store.getOrSet('a', make, { ttl: 1000 })).toBe(2);
    clock.advance(1500);
    expect(await store.getOrSet('a', make, { ...swr, staleWhileRevalidate: '1h' })).toBe(3);
    await store.set('b', 'set', { ttl: 10 });
    clock.advance(10);
    expect(await store.getOrSet('b', () => 'made', swr)).toBe('made');
  });

  it('survives a restart and compactions until its window ends, and not longer', async () => {
    const disk = new SimulatedDisk();
    let store = await openOn(disk);
    await store.getOrSet('a', () => 'old', { ...swr, tags: ['x'] });
    disk.clock.advance(1300);
    for (let i = 0; i < 2; i++) {
      await store.set('garbage', i);
      await store.compact({ full: true });
      await store.close();
      store = await openOn(disk);
    }
    expect(await store.getOrSet('a', () => 'new', { ...swr, tags: ['x'] })).toBe('old');
    await turns(5);
    disk.clock.advance(1500);
    expect((await store.compact({ full: true })).copiedRecords).toBeLessThan(3);
    expect(await store.getOrSet('a', () => 'newest', swr)).toBe('newest');
    await store.close();
  });

  it('is gone with its tag, with a clear, and with a delete that finds it expired', async () => {
    await using store = await open();
    const options = { ...swr, tags: ['x'] };
    for (const how of ['tag', 'clear'] as const) {
      await store.getOrSet('a', () => 'old', options);
      clock.advance(1100);
      await (how === 'tag' ? store.invalidateTags('x') : store.clear());
      expect(await store.getOrSet('a', () => 'new', options)).toBe('new');
      await store.clear();
    }
    await store.getOrSet('a', () => 'old', options);
    clock.advance(1100);
    expect(await store.delete('a')).toBe(false);
    expect(await store.getOrSet('a', () => 'new', options)).toBe('new');
  });

  it('stays when making it anew fails in the background, which is told once', async () => {
    await using store = await open();
    const told: string[] = [];
    store.on('error', ({ message }) => told.push(message));
    const source = new Source();
    await store.getOrSet('a', () => 'old', swr);
    clock.advance(1100);
    for (let i = 0; i < 3; i++) expect(await store.getOrSet('a', source.make, swr)).toBe('old');
    await source.fail('down');
    expect(told).toEqual(['down']);
    expect(await store.getOrSet('a', source.make, swr)).toBe('old');
    await source.end('new');
    expect(await store.getOrSet('a', source.make, swr)).toBe('new');
    expect(source.runs).toBe(2);
  });

  it('is answered if making it anew fails, with staleIfError', async () => {
    await using store = await open();
    const told: unknown[] = [];
    const options: KvGetOrSetOptions = {
      ttl: 1000,
      staleIfError: 1000,
      onError: (error, during) => told.push([(error as Error).message, during]),
    };
    const source = new Source();
    await store.getOrSet('a', () => 'old', options);
    clock.advance(1500);
    const failed = Promise.all([1, 2].map(() => store.getOrSet('a', source.make, options)));
    await source.fail('down');
    expect(await failed).toEqual(['old', 'old']);
    expect(told).toEqual([['down', 'refresh']]);
    clock.advance(500);
    const tooOld = store.getOrSet('a', source.make, options);
    const rejected = expect(tooOld).rejects.toThrow('down');
    await source.fail('down');
    await rejected;
  });
});

describe('a result that was overtaken', () => {
  it.each<[string, (store: KvStore) => Promise<unknown>]>([
    ['a write', (store) => store.set('a', 'written')],
    ['a delete of what is not there', (store) => store.delete('a')],
    ['deleteMany', (store) => store.deleteMany(['a', 'b'])],
    ['a batch', (store) => store.batch((b) => b.delete('a'))],
    ['a write and a delete', (store) => store.set('a', 1).then(() => store.delete('a'))],
    ['a clear', (store) => store.clear()],
    ['a tag', (store) => store.invalidateTags('x')],
  ])('by %s is given to those who waited, and not kept', async (_, overtake) => {
    await using store = await open();
    const source = new Source();
    const options = { tags: ['x'] };
    const early = store.getOrSet('a', source.make, options);
    await overtake(store);
    const after = await store.get('a');
    // Who calls now does not join the run from before.
    const late = store.getOrSet('a', after === undefined ? () => 'late' : source.make, options);
    expect(await late).toBe(after ?? 'late');
    await source.end('early');
    expect(await early).toBe('early');
    expect(await store.get('a')).toBe(after ?? 'late');
    const runs = (store as any).core.parts.spaces.get(0).runs;
    expect(runs.size).toBe(0);
  });

  it.each<[string, (store: KvStore) => Promise<unknown>]>([
    ['a write', (store) => store.set('a', 'written')],
    ['a clear', (store) => store.clear()],
    ['a tag', (store) => store.invalidateTags('x')],
  ])('by %s is not kept either behind one of another version that began later', async (_, overtake) => {
    await using store = await open();
    const source = new Source();
    const early = store.getOrSet('a', source.make, { tags: ['x'] });
    await overtake(store);
    await store.getOrSet('a', () => 'late', { version: 1, tags: ['x'] });
    await source.end('early');
    expect([await early, await store.get('a')]).toEqual(['early', 'late']);
  });

  it('is kept when other keys and tags were written meanwhile', async () => {
    await using store = await open();
    const source = new Source();
    const early = store.getOrSet('a', source.make, { tags: ['x'] });
    await store.set('b', 1);
    await store.delete('b');
    await store.invalidateTags('y');
    await source.end('early');
    expect([await early, await store.get('a')]).toEqual(['early', 'early']);
  });
});

describe('a store that fails', () => {
  it('fails the call, unless onError is there', async () => {
    const store = await open();
    const told: unknown[] = [];
    const onError = (error: any, during: string) => told.push([error.code, during]);
    await expect(store.getOrSet('a', () => Symbol('no') as any)).rejects.toMatchObject({
      code: 'KV_ENCODING',
    });
    expect(typeof (await store.getOrSet('a', () => Symbol('no') as any, { onError }))).toBe('symbol');
    await store.close();
    await expect(store.getOrSet('a', () => 1)).rejects.toMatchObject({ code: 'KV_CLOSED' });
    let runs = 0;
    const both = [1, 2].map(() => store.getOrSet('a', async () => ++runs, { onError }));
    expect(await Promise.all(both)).toEqual([1, 1]);
    await turns(2);
    expect(told).toEqual([
      ['KV_ENCODING', 'write'],
      ['KV_CLOSED', 'read'],
      ['KV_CLOSED', 'read'],
      ['KV_CLOSED', 'write'],
    ]);
  });

  it('tells what onError throws, and answers all the same', async () => {
    await using store = await open();
    const told: string[] = [];
    store.on('error', ({ message }) => told.push(message));
    const onError = (error: any, during: string) => {
      throw new Error(`thrown at ${during}: ${error.message}`);
    };
    const options: KvGetOrSetOptions = { ttl: 1000, staleWhileRevalidate: 500, staleIfError: 1000, onError };
    const fail = () => Promise.reject(new Error('down'));
    expect(typeof (await store.getOrSet('a', () => Symbol('no') as any, { onError }))).toBe('symbol');
    await turns(2);
    expect(told).toEqual([expect.stringContaining('thrown at write: The value is or contains a symbol')]);
    await store.getOrSet('b', () => 'old', options);
    for (const late of [1200, 500]) {
      clock.advance(late);
      expect(await store.getOrSet('b', fail, options)).toBe('old');
      await turns(2);
    }
    expect(told.slice(1)).toEqual(['thrown at refresh: down', 'thrown at refresh: down']);
  });

  it('is not waited for longer than the timeout', async () => {
    const disk = new SimulatedDisk();
    const reads = new HeldReads(disk);
    const store = await openOn(disk, { env: reads.env });
    const keys = Array.from({ length: 200 }, (_, i) => `k${i}`);
    for (const key of keys) await store.set(key, valueOf(key, 0, 5000));
    await store.flush();
    await reads.slowDown(store, keys);
    disk.hangAt({ operation: 'read', nth: 1 });
    const told: unknown[] = [];
    store.on('error', ({ message }) => told.push(message));
    const onError = (error: any, during: string) => {
      told.push([error.code, during]);
      throw new Error('thrown');
    };
    const call = store.getOrSet('k7', () => 'made', { timeout: 100, onError });
    await turns(20);
    disk.clock.advance(100);
    expect(await call).toBe('made');
    expect(told).toEqual([['KV_OVERLOADED', 'read'], 'thrown']);
    disk.letGo();
    await store.close();
  });
});
