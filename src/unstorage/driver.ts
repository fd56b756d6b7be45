/**
 * A driver for unstorage, so that `createStorage()` (Nitro, Nuxt and others stand on it) can keep its items in a store.
 * Items lie in one namespace; raw items (`setItemRaw`) are stored as the values they are. Unstorage's `ttl` is in seconds.
 */
import { KvOptionsError } from '../errors.js';
import { checkAdapter } from '../store/adapters.js';
import type { KvNamespace } from '../store/index.js';

/** What the driver needs: a `KvStore`, or the `KvStoreService` that Nest injects. */
export interface KvStoreForUnstorage {
  namespace(name: string): KvNamespace;
}

export interface KvUnstorageOptions {
  /** Namespace of the store that holds the items. Default `'unstorage'`. */
  namespace?: string;
  /** Seconds that an item lives for which no `ttl` is given. Default: for ever. */
  ttl?: number;
}

const OPTIONS = ['namespace', 'ttl'];

/** Options of a single call. */
interface ItemOptions {
  /** Seconds. */
  ttl?: number;
}

/** An item as unstorage passes it on: text, unless it was set raw. */
type Item = string | number | boolean | object | null;

/** A driver as unstorage takes it. */
export interface KvUnstorageDriver {
  name: string;
  options: KvUnstorageOptions;
  flags: { ttl: boolean };
  getInstance(): KvNamespace;
  hasItem(key: string): Promise<boolean>;
  getItem(key: string): Promise<Item>;
  getItems(items: { key: string }[]): Promise<{ key: string; value: Item }[]>;
  getItemRaw(key: string): Promise<unknown>;
  setItem(key: string, value: string, options?: ItemOptions): Promise<void>;
  setItems(items: { key: string; value: string; options?: ItemOptions }[]): Promise<void>;
  setItemRaw(key: string, value: unknown, options?: ItemOptions): Promise<void>;
  removeItem(key: string): Promise<void>;
  getMeta(key: string): Promise<{ ttl?: number } | null>;
  getKeys(base?: string): Promise<string[]>;
  clear(base?: string): Promise<void>;
}

/**
 * Makes a driver. `storage.dispose()` does not close the store: whoever opened it does.
 *
 * @throws KvOptionsError when the first argument is no store, an option is none, the namespace is not a name, or `ttl` no
 *   number of seconds
 * @example
 * const storage = createStorage({ driver: kvDriver(store) });
 * await storage.setItem('page:1', { title: 'Hello' });
 */
export function kvDriver(store: KvStoreForUnstorage, options: KvUnstorageOptions = {}): KvUnstorageDriver {
  checkAdapter(store, options, OPTIONS);
  // JavaScript may give a duration, which the other adapters take.
  const ttl: unknown = options.ttl ?? 0;
  if (typeof ttl !== 'number' || !(ttl >= 0))
    throw new KvOptionsError([{ path: 'ttl', problem: 'must be a number of seconds, from 0 up' }]);
  const items = store.namespace(options.namespace ?? 'unstorage');
  const setItem = async (key: string, value: unknown, given?: ItemOptions): Promise<void> => {
    const seconds = given?.ttl ?? options.ttl;
    await items.set(key, value, seconds ? { ttl: seconds * 1000 } : undefined);
  };
  const getKeys = async (base = ''): Promise<string[]> => {
    const keys: string[] = [];
    for await (const key of items.keys()) if (typeof key === 'string' && key.startsWith(base)) keys.push(key);
    return keys;
  };
  return {
    name: 'hotcold',
    options,
    flags: { ttl: true },
    getInstance: () => items,
    hasItem: (key) => items.has(key),
    getItem: async (key) => (await items.get<Item>(key)) ?? null,
    getItems: async (wanted) => {
      const values = await items.getMany<Item>(wanted.map(({ key }) => key));
      return wanted.map(({ key }, i) => ({ key, value: values[i] ?? null }));
    },
    getItemRaw: async (key) => (await items.get(key)) ?? null,
    setItem,
    setItems: async (all) => {
      await Promise.all(all.map((item) => setItem(item.key, item.value, item.options)));
    },
    setItemRaw: setItem,
    removeItem: async (key) => {
      await items.delete(key);
    },
    getMeta: async (key) => {
      const ttlMs = await items.ttl(key);
      if (ttlMs === undefined) return null;
      return ttlMs === Infinity ? {} : { ttl: Math.ceil(ttlMs / 1000) };
    },
    getKeys,
    clear: async (base = '') => {
      if (base === '') await items.clear();
      else await items.deleteMany(await getKeys(base));
    },
  };
}
