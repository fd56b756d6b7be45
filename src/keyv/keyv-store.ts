/**
 * A storage adapter for Keyv, so that everything that stands on Keyv (`@nestjs/cache-manager` among it) can keep its
 * entries in a store. One adapter serves Keyv 5 and 6: it takes a relative TTL, which Keyv 6 bridges to.
 *
 * All of an adapter's keys lie in one namespace of the store. Keyv puts its own namespace in front of each key, so instances
 * of Keyv 6 with several namespaces can share an adapter; `clear` of one of them then has to look for its keys. Keyv 5 does
 * not say which instance clears or iterates: it writes its namespace into the adapter when it is made, and the last one
 * stands. Where there were several, `clear` is refused, and an iterator goes over the last one, as Keyv's test suite has it.
 */
import { KvOptionsError } from '../errors.js';
import { checkAdapter } from '../store/adapters.js';
import type { KvNamespace } from '../store/index.js';

/** What the adapter needs: a `KvStore`, or the `KvStoreService` that Nest injects. */
export interface KvStoreForKeyv {
  namespace(name: string): KvNamespace;
  on(event: 'error', listener: (error: Error) => void): () => void;
}

export interface KvKeyvOptions {
  /** Namespace of the store that holds the entries. Default `'keyv'`. */
  namespace?: string;
}

const OPTIONS = ['namespace'];

/** An entry as Keyv's `setMany` gives it; `ttl` in milliseconds. */
export interface KvKeyvEntry {
  key: string;
  value: unknown;
  ttl?: number | undefined;
}

/**
 * Keyv storage over a store.
 *
 * `disconnect()` does not close the store, which others may use: whoever opened it does.
 *
 * @example
 * const keyv = new Keyv({ store: new KvKeyvStore(store) });
 * await keyv.set('greeting', 'hello', 60_000);
 */
export class KvKeyvStore {
  /**
   * Keyv 5 iterates only over adapters whose dialect is one of a list that it has. Any name of the list will do, for it does
   * nothing else with it.
   */
  readonly opts = { dialect: 'redis', url: 'hotcold' };
  /**
   * Set by Keyv 5: the keys that `clear` is about begin with it and a colon. Not there before, or Keyv 6 would not put its
   * namespace in front of the keys.
   */
  declare namespace?: string;
  private readonly entries: KvNamespace;
  private readonly listeners = new Set<(error: Error) => void>();
  /** Namespaces of Keyv 5 that another one has taken the place of, or may soon. */
  private readonly earlier = new Set<string | undefined>();

  /**
   * @param store which stays open when Keyv disconnects
   * @throws KvOptionsError when the first argument is no store, an option is none, or the namespace is not a name
   */
  constructor(
    private readonly store: KvStoreForKeyv,
    options: KvKeyvOptions = {},
  ) {
    checkAdapter(store, options, OPTIONS);
    this.entries = store.namespace(options.namespace ?? 'keyv');
  }

  get<T>(key: string): Promise<T | undefined> {
    return this.told(this.entries.get<T>(key));
  }

  getMany<T>(keys: string[]): Promise<(T | undefined)[]> {
    return this.told(this.entries.getMany<T>(keys));
  }

  /** @param ttl milliseconds; without it, or with 0, the entry does not expire; one below that has expired already */
  async set(key: string, value: unknown, ttl?: number): Promise<boolean> {
    if (value === undefined || (ttl !== undefined && ttl < 0)) await this.entries.delete(key);
    else await this.entries.set(key, value, ttlOptions(ttl));
    return true;
  }

  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- Keyv declares nothing and returns what it gets
  async setMany(entries: KvKeyvEntry[]): Promise<any> {
    return Promise.all(entries.map(({ key, value, ttl }) => this.set(key, value, ttl)));
  }

  delete(key: string): Promise<boolean> {
    return this.entries.delete(key);
  }

  /** Whether any of the keys was present. */
  async deleteMany(keys: string[]): Promise<boolean> {
    return (await this.entries.deleteMany(keys)) > 0;
  }

  has(key: string): Promise<boolean> {
    return this.told(this.entries.has(key));
  }

  hasMany(keys: string[]): Promise<boolean[]> {
    return this.told(Promise.all(keys.map((key) => this.entries.has(key))));
  }

  /**
   * Deletes all entries, or those of Keyv's namespace: the first in one step, the second one by one.
   *
   * @throws KvOptionsError when instances of Keyv 5 with several namespaces share the adapter
   */
  async clear(): Promise<void> {
    this.assertOneNamespace();
    const { namespace } = this;
    if (namespace === undefined) {
      await this.entries.clear();
      return;
    }
    for await (const key of this.entries.keys()) if (isIn(namespace, key)) await this.entries.delete(key);
  }

  /** All entries of a Keyv namespace, in no order. */
  async *iterator<T>(namespace?: string): AsyncGenerator<[key: string, value: T]> {
    for await (const [key, value] of this.entries.scan())
      if (typeof key === 'string' && isIn(namespace, key)) yield [key, value as T];
  }

  /**
   * Passes on what fails in the background of the store, and to Keyv 5 reads that fail; there are no other events. Keyv 5 and
   * with it cache-manager answer a read that fails with `undefined`, and say nothing of it themselves; Keyv 6 does.
   */
  on(event: string, listener: (error: Error) => void): this {
    if (event !== 'error') return this;
    // Each instance of Keyv listens, and one of Keyv 5 writes its namespace right after that.
    if (Object.hasOwn(this, 'namespace')) this.earlier.add(this.namespace);
    this.listeners.add(listener);
    this.store.on('error', listener);
    return this;
  }

  /** The entries of another namespace would be deleted. */
  private assertOneNamespace(): void {
    if (![...this.earlier].some((namespace) => namespace !== this.namespace)) return;
    const problem =
      'Keyv 5 does not tell an adapter which of several Keyv namespaces to clear; give each an adapter of its own, ' +
      "new KvKeyvStore(store, { namespace: 'cache' })";
    throw new KvOptionsError([{ path: 'namespace', problem }]);
  }

  /** Tells Keyv 5 of a read that fails. */
  private told<T>(reading: Promise<T>): Promise<T> {
    if (!Object.hasOwn(this, 'namespace')) return reading;
    reading.catch((error: unknown) => {
      for (const listener of this.listeners) {
        try {
          listener(error as Error);
        } catch {
          // Who reads hears of the failure itself.
        }
      }
    });
    return reading;
  }

  async disconnect(): Promise<void> {
    // Nothing was connected. See the class.
  }
}

function isIn(namespace: string | undefined, key: unknown): key is string {
  return namespace === undefined || (typeof key === 'string' && key.startsWith(`${namespace}:`));
}

function ttlOptions(ttl: number | undefined): { ttl: number } | undefined {
  return ttl === undefined || ttl === 0 ? undefined : { ttl };
}
