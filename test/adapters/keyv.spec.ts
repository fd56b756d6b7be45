/**
 * Keyv on a store: the conformance suite of Keyv 5 that its authors wrote, what Keyv 6 does differently, and the recipe of
 * the README that puts Nest's `CacheModule` on a directory.
 */
import { CACHE_MANAGER, CacheModule, type Cache } from '@nestjs/cache-manager';
import { Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import keyvTestSuite, { keyvIteratorTests } from '@keyv/test-suite';
import Keyv from 'keyv';
import { Keyv as Keyv6 } from 'keyv6';
import { KvModule, KvStoreService } from 'nestjs-hotcold';
import { KvKeyvStore } from 'nestjs-hotcold/keyv';
import { KvStore } from 'nestjs-hotcold/store';
import { missingPath } from '../support/temp-directory.js';

type SuiteTest = Parameters<typeof keyvTestSuite>[0];

/** The suite is written for Vitest, which hands `expect` to each test. */
const suiteTest = {
  it: (name: string, run: (context: { expect: typeof expect }) => unknown) =>
    it(name, async () => {
      await run({ expect });
    }),
  beforeEach,
  afterEach,
} as unknown as SuiteTest;

let store: KvStore;
beforeAll(async () => {
  store = await KvStore.open({ device: 'memory' });
});
afterAll(() => store.close());

describe('conformance with Keyv 5', () => {
  const adapter = () => new KvKeyvStore(store);
  keyvTestSuite(suiteTest, Keyv, adapter as never);
  keyvIteratorTests(suiteTest, Keyv, adapter as never);
});

/** What both versions have in common; their overloads differ. */
type EitherKeyv = Pick<
  Keyv,
  'set' | 'has' | 'delete' | 'clear' | 'setMany' | 'getMany' | 'deleteMany' | 'disconnect'
> & {
  get(key: string): Promise<unknown>;
};

describe.each<[string, (adapter: KvKeyvStore) => EitherKeyv]>([
  ['Keyv 5', (adapter) => new Keyv({ store: adapter, namespace: 'a' })],
  ['Keyv 6', (adapter) => new Keyv6({ store: adapter, namespace: 'a' }) as unknown as EitherKeyv],
])('%s', (_, keyvOn) => {
  const name = 'own';
  const adapter = () => new KvKeyvStore(store, { namespace: name });
  beforeEach(() => store.namespace(name).clear());

  it('sets, gets, counts, and deletes', async () => {
    const keyv = keyvOn(adapter());
    await keyv.set('k', { n: 1 });
    expect(await keyv.get('k')).toEqual({ n: 1 });
    expect(await keyv.has('k')).toBe(true);
    expect(await keyv.get('missing')).toBeUndefined();
    expect(await keyv.delete('k')).toBe(true);
    expect(await keyv.delete('k')).toBe(false);
    expect(await keyv.get('k')).toBeUndefined();
  });

  it('hands the time to live to the store, so that what has expired takes no room', async () => {
    const keyv = keyvOn(adapter());
    await keyv.set('short', 1, 60_000);
    await keyv.set('long', 1);
    const ttls: Record<string, number | undefined> = {};
    for await (const key of store.namespace(name).keys())
      ttls[key as string] = await store.namespace(name).ttl(key);
    const [short, long] = ['short', 'long'].map(
      (key) => ttls[Object.keys(ttls).find((k) => k.endsWith(key))!],
    );
    expect(short).toBeGreaterThan(50_000);
    expect(short).toBeLessThanOrEqual(60_000);
    expect(long).toBe(Infinity);
  });

  it('clears its own namespace alone', async () => {
    const keyv = keyvOn(adapter());
    await keyv.set('k', 1);
    await store.namespace(name).set('other', 2);
    await keyv.clear();
    expect(await keyv.get('k')).toBeUndefined();
    expect(await store.namespace(name).get('other')).toBe(2);
  });

  it('sets and gets many', async () => {
    const keyv = keyvOn(adapter());
    await keyv.setMany([
      { key: 'x', value: 1 },
      { key: 'y', value: 2, ttl: 60_000 },
    ]);
    expect(await keyv.getMany(['x', 'missing', 'y'])).toEqual([1, undefined, 2]);
    await keyv.deleteMany(['x', 'y']);
    expect(await keyv.getMany(['x', 'y'])).toEqual([undefined, undefined]);
  });

  it('leaves the store open when it disconnects', async () => {
    const keyv = keyvOn(adapter());
    await keyv.disconnect();
    expect(store.isOpen).toBe(true);
  });
});

describe('instances that share an adapter', () => {
  const name = 'shared';
  beforeEach(() => store.namespace(name).clear());

  const listed = async (entries: AsyncIterable<unknown>) => {
    const found: unknown[] = [];
    for await (const entry of entries) found.push(entry);
    return found;
  };

  it('of Keyv 6 are cleared and iterated over apart', async () => {
    const adapter = new KvKeyvStore(store, { namespace: name });
    const [one, two] = ['one', 'two'].map((namespace) => new Keyv6({ store: adapter, namespace }));
    await one.set('a', 'of one');
    await two.set('a', 'of two');
    expect(await listed(one.iterator())).toEqual([['a', 'of one']]);
    await one.clear();
    expect([await one.get('a'), await two.get('a')]).toEqual([undefined, 'of two']);
  });

  it.each([
    ['two', (adapter: KvKeyvStore) => new Keyv({ store: adapter, namespace: 'two' })],
    ['none', (adapter: KvKeyvStore) => new Keyv({ store: adapter, namespace: undefined } as never)],
    ['two, set later', (adapter: KvKeyvStore) => (new Keyv({ store: adapter }).namespace = 'two')],
  ])('of Keyv 5 are not cleared (one and %s)', async (_, another) => {
    const adapter = new KvKeyvStore(store, { namespace: name });
    const one = new Keyv({ store: adapter, namespace: 'one', throwOnErrors: true });
    one.on('error', () => undefined);
    await one.set('a', 'of one');
    another(adapter);
    await expect(one.clear()).rejects.toMatchObject({
      code: 'KV_OPTIONS',
      message: expect.stringContaining('an adapter of its own'),
    });
    expect(await one.get('a')).toBe('of one');
  });

  it('of Keyv 5 with one namespace, or one that another namespace is given, are cleared', async () => {
    const adapter = new KvKeyvStore(store, { namespace: name });
    const [one, same] = [0, 1].map(() => new Keyv({ store: adapter, namespace: 'one', throwOnErrors: true }));
    await one.set('a', 1);
    await same.clear();
    expect(await one.get('a')).toBeUndefined();

    const moved = new Keyv({ store: new KvKeyvStore(store, { namespace: name }), throwOnErrors: true });
    moved.namespace = 'moved';
    await moved.set('a', 1);
    await moved.clear();
    expect(await moved.get('a')).toBeUndefined();
  });
});

it('takes what Keyv 5 sets with a time to live below zero for expired', async () => {
  const keyv = new Keyv({ store: new KvKeyvStore(store, { namespace: 'expired' }) });
  const errors: unknown[] = [];
  keyv.on('error', (error) => errors.push(error));
  await keyv.set('k', 1);
  expect(await keyv.set('k', 2, -1)).toBe(true);
  expect(await keyv.get('k')).toBeUndefined();
  expect(errors).toEqual([]);
});

it('tells Keyv of what fails in the background', () => {
  const listeners: ((error: Error) => void)[] = [];
  const keyv = new Keyv({
    store: new KvKeyvStore({
      namespace: (name) => store.namespace(name),
      on: (_event, listener) => {
        listeners.push(listener);
        return () => undefined;
      },
    }),
  });
  const seen: unknown[] = [];
  keyv.on('error', (error) => seen.push(error));
  const failure = new Error('disk');
  listeners.forEach((listener) => listener(failure));
  expect(seen).toEqual([failure]);
});

it('tells Keyv of a read that fails, which Keyv answers with nothing', async () => {
  const closed = await KvStore.open({ device: 'memory' });
  const adapter = new KvKeyvStore(closed);
  const keyv = new Keyv({ store: adapter });
  const seen: unknown[] = [];
  keyv.on('error', (error) => seen.push(error));
  await keyv.set('a', 1);
  await closed.close();
  expect(await keyv.get('a')).toBeUndefined();
  expect(seen).toEqual([expect.objectContaining({ code: 'KV_CLOSED' })]);
  await expect(adapter.get('a')).rejects.toMatchObject({ code: 'KV_CLOSED' });
});

it('leaves it to Keyv 6 to tell of a call that fails: by its event, or by throwing where nobody listens', async () => {
  const closed = await KvStore.open({ device: 'memory' });
  const [heard, unheard] = [0, 1].map(() => new Keyv6({ store: new KvKeyvStore(closed) }));
  const seen: unknown[] = [];
  heard.on('error', (error) => seen.push(error));
  await closed.close();
  const closedError = expect.objectContaining({ code: 'KV_CLOSED' });
  expect([await heard.get('a'), await heard.getMany(['a']), await heard.has('a')]).toEqual([
    undefined,
    [undefined],
    false,
  ]);
  expect(seen).toEqual([closedError, closedError, closedError]);
  await expect(unheard.get('a')).rejects.toEqual(closedError);
});

it('has values as they were where Keyv does not make JSON of them', async () => {
  const values = { date: new Date(0), map: new Map([[1, new Set(['a'])]]) };
  const asJson = new Keyv({ store: new KvKeyvStore(store, { namespace: 'json' }) });
  await asJson.set('values', values);
  expect(await asJson.get('values')).toEqual({ date: '1970-01-01T00:00:00.000Z', map: {} });
  const options = { serialize: undefined, deserialize: undefined };
  const asItIs = new Keyv({ store: new KvKeyvStore(store, { namespace: 'raw' }), ...options } as never);
  await asItIs.set('values', values);
  expect(await asItIs.get('values')).toEqual(values);
});

it.each([
  ['no store', () => new KvKeyvStore('./data' as never), 'the first argument must be a KvStore'],
  ['no store, but options', () => new KvKeyvStore({ path: './data' } as never), 'the first argument'],
  ['an unknown option', () => new KvKeyvStore(store, { namespce: 'x' } as never), 'namespce'],
])('refuses %s', (_what, make, message) => {
  expect(make).toThrow(expect.objectContaining({ code: 'KV_OPTIONS' }));
  expect(make).toThrow(message);
});

describe("Nest's CacheModule on a directory", () => {
  const application = async (path: string) => {
    @Module({
      imports: [
        KvModule.forRoot({ path }),
        CacheModule.registerAsync({
          isGlobal: true,
          inject: [KvStoreService],
          useFactory: (store: KvStoreService) => ({ stores: [new KvKeyvStore(store)], ttl: 60_000 }),
        }),
      ],
    })
    class AppModule {}
    const app = (await Test.createTestingModule({ imports: [AppModule] }).compile()).createNestApplication();
    await app.init();
    return { app, cache: app.get<Cache>(CACHE_MANAGER) };
  };

  it('has its entries after a restart, and closes in order', async () => {
    const path = missingPath();
    const first = await application(path);
    await first.cache.set('user:1', { name: 'Ada', at: [1, 2] });
    let runs = 0;
    const load = () => ({ n: ++runs });
    expect(await first.cache.wrap('wrapped', load)).toEqual({ n: 1 });
    await first.app.close();

    const second = await application(path);
    expect(await second.cache.get('user:1')).toEqual({ name: 'Ada', at: [1, 2] });
    expect(await second.cache.wrap('wrapped', load)).toEqual({ n: 1 });
    expect(await second.cache.ttl('user:1')).toBeGreaterThan(0);
    await second.cache.del('user:1');
    expect(await second.cache.get('user:1')).toBeUndefined();
    await second.cache.clear();
    expect(await second.cache.get('wrapped')).toBeUndefined();
    await second.app.close();
  });
});
