/** The unstorage driver, through unstorage itself. Its authors' driver tests are not published; these cover what they ask. */
import { KvStore } from 'nestjs-hotcold/store';
import { kvDriver } from 'nestjs-hotcold/unstorage';
import { createStorage, prefixStorage, restoreSnapshot, snapshot, type StorageValue } from 'unstorage';
import { missingPath } from '../support/temp-directory.js';

let store: KvStore;
beforeAll(async () => {
  store = await KvStore.open({ device: 'memory' });
});
afterAll(() => store.close());
beforeEach(() => store.clear());

const storageOn = (options?: Parameters<typeof kvDriver>[1]) =>
  createStorage({ driver: kvDriver(store, options) });

it('sets, has, gets, and removes', async () => {
  const storage = storageOn();
  expect(await storage.hasItem('s1:a')).toBe(false);
  expect(await storage.getItem('s1:a')).toBeNull();
  await storage.setItem('s1:a', 'test_data');
  await storage.setItem('s2:a', { nested: [1, null] });
  await storage.setItem('n', 7);
  expect(await storage.hasItem('s1:a')).toBe(true);
  expect(await storage.getItem('s1:a')).toBe('test_data');
  expect(await storage.getItem('s2:a')).toEqual({ nested: [1, null] });
  expect(await storage.getItem('n')).toBe(7);
  await storage.removeItem('s1:a');
  expect(await storage.hasItem('s1:a')).toBe(false);
  expect(await storage.getItem('s1:a')).toBeNull();
});

it('lists keys, all and below a base', async () => {
  const storage = storageOn();
  for (const key of ['a:x', 'a:y:z', 'ab:x', 'b']) await storage.setItem(key, 1);
  expect((await storage.getKeys()).sort()).toEqual(['a:x', 'a:y:z', 'ab:x', 'b']);
  expect((await storage.getKeys('a')).sort()).toEqual(['a:x', 'a:y:z']);
  expect(await prefixStorage(storage, 'a').getKeys('y')).toEqual(['y:z']);
});

it('sets and gets many', async () => {
  const storage = storageOn();
  await storage.setItems<StorageValue>([
    { key: 't:1', value: 'one' },
    { key: 't:2', value: { two: 2 } },
  ]);
  expect(await storage.getItems(['t:1', 't:2', 't:3'])).toEqual([
    { key: 't:1', value: 'one' },
    { key: 't:2', value: { two: 2 } },
    { key: 't:3', value: null },
  ]);
});

it('carries raw values as they are', async () => {
  const storage = storageOn();
  const raw = { at: new Date(5), map: new Map([[1, new Set(['x'])]]) };
  await storage.setItemRaw('raw', raw);
  expect(await storage.getItemRaw('raw')).toEqual(raw);
  const bytes = new Uint8Array([0, 1, 255]);
  await storage.setItemRaw('bytes', bytes);
  expect(new Uint8Array((await storage.getItemRaw('bytes')) as Uint8Array)).toEqual(bytes);
  expect(await storage.getItemRaw('missing')).toBeNull();
});

it('takes a time to live in seconds, by item and by default', async () => {
  const storage = storageOn({ ttl: 100 });
  await storage.setItem('own', 1, { ttl: 10 });
  await storage.setItem('default', 1);
  expect(await storage.getMeta('own')).toMatchObject({ ttl: 10 });
  expect(await storage.getMeta('default')).toMatchObject({ ttl: 100 });
  const ttl = await store.namespace('unstorage').ttl('own');
  expect(ttl).toBeGreaterThan(9_000);
  expect(ttl).toBeLessThanOrEqual(10_000);
});

it('clears all, or what is below a base, and nothing of others', async () => {
  const driver = kvDriver(store);
  const storage = createStorage({ driver });
  await store.set('own', 1);
  for (const key of ['a:x', 'a:y', 'b']) await storage.setItem(key, 1);
  // Unstorage passes a base on only where a mount lies below it.
  await driver.clear('a:');
  expect(await storage.getKeys()).toEqual(['b']);
  await storage.clear();
  expect(await storage.getKeys()).toEqual([]);
  expect(await store.get('own')).toBe(1);
});

it('takes and restores snapshots', async () => {
  const storage = storageOn();
  await storage.setItem('s:a', 'x');
  const taken = await snapshot(storage, 's');
  await storage.clear();
  await restoreSnapshot(storage, taken, 's');
  expect(await storage.getItem('s:a')).toBe('x');
});

it('has its items after a restart, and leaves the store to whoever opened it', async () => {
  const path = missingPath();
  const first = await KvStore.open({ path });
  const storage = createStorage({ driver: kvDriver(first) });
  await storage.setItem('kept', 'yes');
  await storage.dispose();
  expect(first.isOpen).toBe(true);
  await first.close();
  const second = await KvStore.open({ path });
  expect(await createStorage({ driver: kvDriver(second) }).getItem('kept')).toBe('yes');
  await second.close();
});

it('refuses what is no store, and options that there are not', () => {
  expect(() => kvDriver('./data' as never)).toThrow('the first argument must be a KvStore');
  expect(() => kvDriver(store, { bse: 'x' } as never)).toThrow('bse: is not an option');
  for (const ttl of ['5m', -1, NaN])
    expect(() => kvDriver(store, { ttl } as never)).toThrow('ttl: must be a number of seconds');
  for (const ttl of [undefined, 0, 0.5, Infinity]) kvDriver(store, { ttl } as never);
});
