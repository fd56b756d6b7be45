/** What somebody found who used the store from its README alone; each was wrong once. */
import { inspect } from 'node:util';
import { KvStoreService } from 'nestjs-hotcold';
import { KvSessionStore } from 'nestjs-hotcold/session';
import { KvEncodingError, KvOptionsError, KvStore, kvTestingOptions } from 'nestjs-hotcold/store';
import { SimulatedDisk } from './support/simulated-disk.js';

const open = (disk: SimulatedDisk, level: 'always' | 'interval' = 'always') =>
  KvStore.open({ path: '/data', env: disk.env(), hot: { memory: '8mb' }, durability: { level } });

it('setMany at always that meets close() is not acknowledged before it is on stable storage', async () => {
  const disk = new SimulatedDisk();
  const store = await open(disk);
  const sync = disk.failAt({ operation: 'sync', path: '.log', nth: 1, code: 'EIO', sticky: true });
  const entries = Array.from({ length: 500 }, (_, i): [number, number] => [i, i]);
  const set = store.setMany(entries).then(
    () => 'acknowledged',
    () => 'refused',
  );
  const closed = store.close().then(
    () => 'closed',
    () => 'failed',
  );
  expect(await set).toBe('refused');
  expect(await closed).toBe('failed');
  sync();
});

it('deleteMany with a key that cannot be one deletes the others, durably', async () => {
  const disk = new SimulatedDisk();
  const store = await open(disk);
  await store.setMany([
    ['a', 1],
    ['b', 2],
  ]);
  const keys = ['a', () => 1, 'b'] as never[];
  await expect(store.deleteMany(keys)).rejects.toThrow(KvEncodingError);
  disk.crash('none');
  const again = await open(disk);
  expect(await again.getMany(['a', 'b'])).toEqual([undefined, undefined]);
  await again.close();
});

it('getMany whose keys end in an exception leaves no rejection unhandled', async () => {
  const store = await KvStore.open({});
  function* keys(): Generator<never> {
    yield (() => 1) as never;
    throw new Error('mine');
  }
  await expect(store.getMany(keys())).rejects.toThrow('mine');
  await expect(store.deleteMany(keys())).rejects.toThrow('mine');
  await store.close();
});

it('a subclass of a typed array is refused, because it could not be read again', async () => {
  class Bytes extends Uint8Array {}
  const store = await KvStore.open({});
  await expect(store.set('k', new Bytes([1]))).rejects.toThrow(KvEncodingError);
  await expect(store.set('k', { nested: [new Bytes([1])] })).rejects.toThrow(KvEncodingError);
  await store.set('k', Buffer.from([1]));
  await store.close();
});

it('a misspelt option of set is told', async () => {
  const store = await KvStore.open({});
  await expect(store.set('k', 1, { tll: 5000 } as never)).rejects.toThrow(KvOptionsError);
  await expect(store.set('k', 1, 5000 as never)).rejects.toThrow(KvOptionsError);
  await expect(store.setMany([['k', 1, { tll: 5000 } as never]])).rejects.toThrow(
    /tll: is not an option; did you mean 'ttl'\?/,
  );
  await expect(store.increment('k', 1, { tll: 5000 } as never)).rejects.toThrow("did you mean 'ttl'?");
  await expect(store.increment('k', 1, { tags: ['t'] } as never)).rejects.toThrow(KvOptionsError);
  await expect(store.increment('k', 1, { ttl: 'soon' })).rejects.toThrow(KvOptionsError);
  const never = jest.fn();
  await expect(store.update('k', never, { tll: 5000 } as never)).rejects.toThrow("did you mean 'ttl'?");
  await expect(store.update('k', never, { ttl: -1 })).rejects.toThrow(KvOptionsError);
  expect(never).not.toHaveBeenCalled();
  await expect(store.touch('k', undefined as never)).rejects.toThrow(KvOptionsError);
  expect(await store.has('k')).toBe(false);
  await store.close();
});

it('a store that is printed says what it is, and not what is within', async () => {
  const store = await KvStore.open({ name: 'carts' });
  const users = store.namespace('users');
  const service = new KvStoreService(store, 'shop');
  await store.set('a', 1);
  expect(inspect(store)).toBe("KvStore { name: 'carts', location: 'memory', isOpen: true, keys: 1 }");
  expect(inspect(users)).toBe("KvNamespace { name: 'users', store: 'carts' }");
  expect(inspect({ users })).toBe("{ users: KvNamespace { name: 'users', store: 'carts' } }");
  expect(inspect(service)).toBe("KvStoreService { name: 'shop', location: 'memory', isOpen: true, keys: 1 }");
  await store.close();
  expect(inspect(store)).toContain('isOpen: false');
});

it('a store in memory takes updates of one key without end', async () => {
  const disk = new SimulatedDisk();
  const store = await KvStore.open({ env: disk.env(), memoryLimit: '1mb', hot: { memory: '8mb' } });
  const value = 'x'.repeat(1000);
  for (let i = 0; i < 20_000; i++) {
    await store.set('k', value + i);
    if (i % 100 === 0) disk.clock.advance(1000);
  }
  expect(await store.get('k')).toBe(`${value}19999`);
  expect(store.stats().hot.diskBytes).toBeLessThan(100_000);
  await store.close();
});

it('options that are none are told with an example of what is right', async () => {
  const store = await KvStore.open({});
  const told = async (call: () => unknown) => {
    const error = await Promise.resolve()
      .then(call)
      .catch((e: unknown) => e);
    expect(error).toBeInstanceOf(KvOptionsError);
    return (error as KvOptionsError).problems;
  };
  const not = (example: string, kind: string) => [
    { path: 'options', problem: `must be an object, such as ${example}, not ${kind}` },
  ];
  const calls: [() => unknown, string, string][] = [
    [() => KvStore.open('./data' as never), "KvStore.open({ path: './data' })", 'a string'],
    [() => store.set('k', 1, '5m' as never), "{ ttl: '5m' }", 'a string'],
    [() => store.set('k', 1, ['5m'] as never), "{ ttl: '5m' }", 'an array'],
    [() => store.setIfAbsent('k', 1, 5000 as never), "{ ttl: '5m' }", 'a number'],
    [() => store.increment('k', 1, '5m' as never), "{ ttl: '1m' }", 'a string'],
    [() => store.delete('k', 7 as never), '{ ifVersion: 7 }', 'a number'],
    [() => store.getOrSet('k', () => 1, '5m' as never), "{ ttl: '5m' }", 'a string'],
    [() => store.namespace('n', '10m' as never), "{ ttl: '10m' }", 'a string'],
    [() => store.compact(true as never), '{ full: true }', 'a boolean'],
    [() => store.verify(null as never), '{ signal }', 'null'],
    [() => store.scan(10 as never).next(), '{ limit: 100 }', 'a number'],
    [() => store.batch((b) => b.set('k', 1, '5m' as never)), "{ ttl: '5m' }", 'a string'],
    [() => KvStore.salvage('./a', './b', 'x' as never), '{ signal }', 'a string'],
    [() => kvTestingOptions('x' as never), '{ clock }', 'a string'],
    [() => new KvSessionStore(store, 'x' as never), "{ namespace: 'cache' }", 'a string'],
  ];
  for (const [call, example, kind] of calls) expect(await told(call)).toEqual(not(example, kind));
  expect(await told(() => store.getOrSet('k', () => 1, { tags: [], staleIfEror: 1 } as never))).toEqual([
    { path: 'staleIfEror', problem: "is not an option; did you mean 'staleIfError'?" },
  ]);
  expect(await told(() => store.scan({ limits: 1 } as never).next())).toEqual([
    { path: 'limits', problem: "is not an option of scan(); did you mean 'limit'?" },
  ]);
  expect(await told(() => kvTestingOptions({ clok: 1, nam: 'x', path: './data' } as never))).toMatchObject([
    { path: 'path' },
    { path: 'clok', problem: "is not an option; did you mean 'clock'?" },
    { path: 'nam', problem: "is not an option; did you mean 'name'?" },
  ]);
  expect(await store.has('k')).toBe(false);
  await store.close();
});
