/**
 * The store as an injectable: every call of `KvStore`, passed on. A class of its own rather than `KvStore` itself, so
 * that Nest does not close what it did not open, tests can replace it by its class, and namespaces know the defaults
 * that `KvModule.forFeature` declared. The methods hand back the engine's own promise: a call costs one more function
 * call, which V8 inlines, and no promise of its own. `implements` keeps this complete when the engine gets new calls.
 */
import { KvOptionsError } from '../errors.js';
import type {
  KvBatch,
  KvCheckpointReport,
  KvCompactionReport,
  KvCompactOptions,
  KvDeleteOptions,
  KvDiskSpace,
  KvDuration,
  KvEntry,
  KvEntryOptions,
  KvFlushReport,
  KvGetOrSetOptions,
  KvKey,
  KvNamespace,
  KvOpenReport,
  KvScanOptions,
  KvSetOptions,
  KvStats,
  KvStore,
  KvStoreEvents,
  KvTtlOptions,
  KvVerifyOptions,
  KvVerifyReport,
} from '../store/index.js';
import { INSPECT, type Inspect } from '../store/inspect.js';
import { parseTtl } from '../store/options.js';

/** What belongs to whoever opened the store: reachable as `KvStoreService.store.close()`. */
type NotPassedOn =
  | 'close'
  | 'writer'
  | 'cached'
  | 'summary'
  | 'startCompaction'
  | 'stopCompaction'
  | typeof Symbol.asyncDispose;

/**
 * A whole store, injected by its class (the default store) or by `@InjectKvStore(name)`. All its calls are those of
 * `KvStore`, and mean and throw the same; the application's shutdown closes it.
 *
 * @example
 * constructor(private readonly kv: KvStoreService) {}
 * await this.kv.set('greeting', { text: 'hello' }, { ttl: '10m' });
 */
export class KvStoreService implements Omit<KvStore, NotPassedOn> {
  /** Default TTL of the namespaces that were declared, in milliseconds. */
  private readonly declared = new Map<string, number>();

  constructor(
    /** The engine underneath. Closing it is up to the module, or to whoever opened it. */
    readonly store: KvStore,
    /** Name of the store in the application; one that was opened by hand may have another one itself. */
    readonly name = nameOf(store),
  ) {}

  /** What opening found on disk: whether the last stop was clean, and what was dropped if not. */
  get opened(): KvOpenReport {
    return this.store.opened;
  }

  /** Whether the store takes calls: `false` from the moment its closing began. */
  get isOpen(): boolean {
    return this.store.isOpen;
  }

  /** Whether nothing of the store outlives the process. See `KvStore.isVolatile`. */
  get isVolatile(): boolean {
    return this.store.isVolatile;
  }

  /** The value of a key; `undefined` when it is absent or expired. See `KvStore.get`. */
  get<T = unknown>(key: KvKey): Promise<T | undefined> {
    return this.store.get<T>(key);
  }

  /** The values of several keys, in their order. See `KvStore.getMany`. */
  getMany<T = unknown>(keys: Iterable<KvKey>): Promise<(T | undefined)[]> {
    return this.store.getMany<T>(keys);
  }

  /** The value of a key if it is in memory, at once. See `KvStore.peek`. */
  peek<T = unknown>(key: KvKey): T | undefined {
    return this.store.peek<T>(key);
  }

  /** The value of a key with its version and expiry. See `KvStore.getEntry`. */
  getEntry<T = unknown>(key: KvKey): Promise<KvEntry<T> | undefined> {
    return this.store.getEntry<T>(key);
  }

  /** Whether a key is present. See `KvStore.has`. */
  has(key: KvKey): Promise<boolean> {
    return this.store.has(key);
  }

  /** Sets a key; resolves to the entry's version. See `KvStore.set`. */
  set(key: KvKey, value: unknown, options?: KvSetOptions): Promise<number> {
    return this.store.set(key, value, options);
  }

  /** Sets a key unless it is present; resolves to whether it was set. See `KvStore.setIfAbsent`. */
  setIfAbsent(key: KvKey, value: unknown, options?: KvEntryOptions): Promise<boolean> {
    return this.store.setIfAbsent(key, value, options);
  }

  /** Sets many keys with one wait. See `KvStore.setMany`. */
  setMany(entries: Iterable<readonly [KvKey, unknown, KvSetOptions?]>): Promise<void> {
    return this.store.setMany(entries);
  }

  /** Deletes a key; resolves to whether it was present. See `KvStore.delete`. */
  delete(key: KvKey, options?: KvDeleteOptions): Promise<boolean> {
    return this.store.delete(key, options);
  }

  /** Deletes several keys; resolves to how many were present. See `KvStore.deleteMany`. */
  deleteMany(keys: Iterable<KvKey>): Promise<number> {
    return this.store.deleteMany(keys);
  }

  /** Replaces a value by what `change` makes of it, atomically. See `KvStore.update`. */
  update<T = unknown>(
    key: KvKey,
    change: (current: T | undefined) => T | undefined | Promise<T | undefined>,
    options?: KvTtlOptions,
  ): Promise<T | undefined> {
    return this.store.update<T>(key, change, options);
  }

  /** Adds to a number, atomically; resolves to the new one. See `KvStore.increment`. */
  increment(key: KvKey, by?: number, options?: KvTtlOptions): Promise<number> {
    return this.store.increment(key, by, options);
  }

  /** The value of a key, or what `factory` makes, once for all who wait. See `KvStore.getOrSet`. */
  getOrSet<T>(key: KvKey, factory: () => T | Promise<T>, options?: KvGetOrSetOptions<T>): Promise<T> {
    return this.store.getOrSet<T>(key, factory, options);
  }

  /** Gives an entry a new time to live. See `KvStore.touch`. */
  touch(key: KvKey, ttl: KvDuration): Promise<boolean> {
    return this.store.touch(key, ttl);
  }

  /** How long an entry still lives, in milliseconds. See `KvStore.ttl`. */
  ttl(key: KvKey): Promise<number | undefined> {
    return this.store.ttl(key);
  }

  /** Several writes as one, all or nothing. See `KvStore.batch`. */
  batch(build: (batch: KvBatch) => unknown): Promise<(number | undefined)[]> {
    return this.store.batch(build);
  }

  /** Deletes every key of the store, those of all namespaces included. See `KvStore.clear`. */
  clear(): Promise<void> {
    return this.store.clear();
  }

  /** Invalidates tags, in all namespaces. See `KvStore.invalidateTags`. */
  invalidateTags(...tags: string[]): Promise<void> {
    return this.store.invalidateTags(...tags);
  }

  /**
   * A key space of its own, as `KvStore.namespace` gives it. Without `ttl` it has the default that
   * `KvModule.forFeature` declared for the name, if it did.
   *
   * @example
   * const users = kv.namespace<User>('users');
   */
  namespace<V = unknown>(name: string, options: KvTtlOptions = {}): KvNamespace<V> {
    const declared = this.declared.get(name);
    const ttl = options.ttl ?? declared;
    return this.store.namespace<V>(name, ttl === undefined ? options : { ...options, ttl });
  }

  /** Resolves once everything written before is on stable storage. See `KvStore.flush`. */
  flush(): Promise<KvFlushReport> {
    return this.store.flush();
  }

  /** Goes through all entries, in no order and in bounded memory. See `KvStore.scan`. */
  scan<T = unknown>(options?: KvScanOptions): AsyncGenerator<[key: KvKey, value: T]> {
    return this.store.scan<T>(options);
  }

  /** The keys of `scan`. See `KvStore.keys`. */
  keys(options?: KvScanOptions): AsyncGenerator<KvKey> {
    return this.store.keys(options);
  }

  /** The values of `scan`. See `KvStore.values`. */
  values<T = unknown>(options?: KvScanOptions): AsyncGenerator<T> {
    return this.store.values<T>(options);
  }

  /** Moves what has cooled to the cold tier, and gives disk space back. See `KvStore.compact`. */
  compact(options?: KvCompactOptions): Promise<KvCompactionReport> {
    return this.store.compact(options);
  }

  /** Writes both indexes beside the logs, so that the next opening is fast. See `KvStore.checkpoint`. */
  checkpoint(): Promise<KvCheckpointReport> {
    return this.store.checkpoint();
  }

  /** Reads everything and reports every damage. See `KvStore.verify`. */
  verify(options?: KvVerifyOptions): Promise<KvVerifyReport> {
    return this.store.verify(options);
  }

  /** How much room the disk has. See `KvStore.diskSpace`. */
  diskSpace(): Promise<KvDiskSpace | undefined> {
    return this.store.diskSpace();
  }

  /** Counters since the store was opened, and sizes as of now. See `KvStore.stats`. */
  stats(): KvStats {
    return this.store.stats();
  }

  /** Listens to what happens in the background, or to how long calls take; returns a function that ends it. See `KvStore.on`. */
  on<E extends keyof KvStoreEvents>(event: E, listener: (payload: KvStoreEvents[E]) => void): () => void {
    return this.store.on(event, listener);
  }

  /** @internal */
  [INSPECT](_depth: number, options: object, inspect: Inspect): string {
    return `KvStoreService ${inspect({ ...this.store.summary(), name: this.name }, options)}`;
  }

  /**
   * Remembers the default TTL of a namespace.
   * @internal
   * @throws KvOptionsError when it was declared with another one: which of them holds would depend on who asks first
   */
  declare(name: string, ttl: KvDuration | undefined): void {
    const ttlMs = ttl === undefined ? Infinity : parseTtl(ttl);
    const known = this.declared.get(name) ?? ttlMs;
    if (known !== ttlMs) {
      const problem = `is declared with a ttl of ${known} and one of ${ttlMs} milliseconds; declare the same one everywhere`;
      throw new KvOptionsError([{ path: `forFeature: namespace ${JSON.stringify(name)}`, problem }]);
    }
    this.declared.set(name, ttlMs);
  }
}

/** Nest makes the service with nothing in it where a module has the class among its own providers. @throws KvOptionsError */
function nameOf(store: KvStore | undefined): string {
  if (store) return store.name;
  const problem =
    'needs an open store: where it is in the `providers` of a module, take it out; KvModule.forRoot() provides it';
  throw new KvOptionsError([{ path: 'KvStoreService', problem }]);
}
