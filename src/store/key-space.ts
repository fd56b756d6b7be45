/**
 * The calls on keys: what `KvStore` and every `KvNamespace` offer, within one key space. Each call does what memory can
 * answer within the turn of the event loop it was made in; only what has to wait for the disk goes on after an `await`,
 * with a copy of its key, and looks again whether the world has changed.
 *
 * Reads are here; writes are made by `EntryWriter`, `getOrSet` by `CachedEntries`, batches by `BatchWrites`.
 */
import type { EncodedKey, KvKey } from '../codec/key-codec.js';
import { KvEncodingError, KvOptionsError } from '../errors.js';
import { ExtentList } from '../log/extents.js';
import { FLAG_EXTENTS } from '../log/record.js';
import type { KvGetOrSetOptions } from './cache-options.js';
import { CachedEntries } from './cached-entries.js';
import { BatchWrites, KvBatch } from './batch.js';
import { clearSpace, invalidateTags } from './clear-marks.js';
import { EntryWriter, ownKey } from './entry-writer.js';
import { LookUp } from './look-up.js';
import type { KvDuration } from './options.js';
import { isPromise } from './promises.js';
import { ABSENT, FROM_DECODED, IN_MEMORY, NOTHING, WAIT, type RecordRef } from './read-path.js';
import {
  checkDeleteOptions,
  checkIterable,
  checkPair,
  checkSetOptions,
  isConditional,
  type KvDeleteOptions,
  type KvSetOptions,
  type KvTtlOptions,
  type KvEntryOptions,
} from './set-options.js';
import { Scan, type KvScanOptions } from './scan.js';
import type { Space } from './spaces.js';
import type { StoreCore } from './store-core.js';

/** An entry with what the store knows about it. */
export interface KvEntry<V> {
  value: V;
  /** Unique over the whole store, and larger than that of any earlier write. */
  version: number;
  /** Milliseconds since 1970; `undefined` without expiry. */
  expiresAt: number | undefined;
}

const PASS_ON_EVERY = 500;

/** More than there may be reads from disk under way. */
const DELETED_AT_ONCE = 1024;

export class KeySpace<V = unknown> {
  /** @internal */
  protected readonly space: Space;
  private readonly lookUp: LookUp;
  /** @internal */
  readonly writer: EntryWriter;
  /** What `getOrSet` does. @internal */
  readonly cached: CachedEntries;

  /** @internal */
  constructor(
    /** @internal */
    protected readonly core: StoreCore,
    id: number,
    defaultTtlMs: number,
  ) {
    this.space = core.parts.spaces.get(id);
    this.lookUp = new LookUp(core, this.space);
    this.writer = new EntryWriter(core, this.space, this.lookUp, defaultTtlMs);
    this.cached = new CachedEntries(core, this.space, this.lookUp, defaultTtlMs);
  }

  /**
   * The value of a key.
   *
   * @returns `undefined` when the key is absent or expired, or `getOrSet` has kept `undefined` (`cacheUndefined`), and never
   *   otherwise; the caller's own copy, or, with the option `readCache.decodedEntries`, a frozen value that others may have
   *   as well
   * @throws KvClosedError, KvEncodingError (not a key), KvCorruptionError, KvDiskError
   * @example
   * const user = await users.get('u-17');
   */
  get<T extends V = V>(key: KvKey): Promise<T | undefined> {
    // Hot path (`npm run bench`, reads): not an async function, because that costs 40 to 100 ns more.
    try {
      const { core, space } = this;
      core.assertOpen();
      if (core.sampler?.isDue('get')) return core.sampler.time('get', () => this.get<T>(key));
      const { reads, decoded } = core;
      if (decoded) {
        const kept = space.decoded.get(key);
        if (kept && core.isKeptAlive(kept, space)) {
          if (!kept.used) kept.used = true;
          reads.hits[FROM_DECODED]++;
          return Promise.resolve(kept.value as T);
        }
      }
      const encoded = core.key(space.id, key);
      if (reads.find(encoded) !== IN_MEMORY) {
        const further = reads.tryFurther(encoded);
        if (further === WAIT) return this.getLater<T>(encoded.copy());
        if (further === NOTHING) {
          reads.misses++;
          return Promise.resolve(undefined);
        }
      }
      const { words, at } = reads;
      if (!reads.isAlive(words, at, space)) {
        reads.misses++;
        return Promise.resolve(undefined);
      }
      if ((words[at + 1] & FLAG_EXTENTS) !== 0) return this.getLater<T>(encoded.copy());
      reads.hits[reads.source]++;
      const value = core.decode(reads) as T;
      if (decoded) decoded.keep(space.decoded, key, value, reads);
      return Promise.resolve(value);
    } catch (error) {
      return rejected(error);
    }
  }

  /**
   * The values of several keys, in their order, `undefined` where a key is absent. Reads from disk run side by side.
   *
   * @example
   * const [a, b] = await store.getMany(['a', 'b']);
   */
  async getMany<T extends V = V>(keys: Iterable<KvKey>): Promise<(T | undefined)[]> {
    this.core.assertOpen();
    checkIterable('keys', keys);
    return Promise.all([...keys].map((key) => this.get<T>(key)));
  }

  /**
   * The value of a key if it is in memory. Nothing is read from the disk for it, but for a part of an index that is not loaded
   * yet, right after the opening.
   *
   * @returns `undefined` when the key is absent, expired, or on disk only
   */
  peek<T extends V = V>(key: KvKey): T | undefined {
    const { core, space } = this;
    core.assertOpen();
    const { reads } = core;
    const encoded = core.key(space.id, key);
    const where = reads.find(encoded);
    if (where !== IN_MEMORY && !reads.findCached(encoded)) {
      // What may be on disk is neither found nor missing.
      if (where === ABSENT && !reads.mayBeCold(encoded)) reads.misses++;
      return undefined;
    }
    const { words, at, bytes } = reads;
    if (!reads.isAlive(words, at, space)) {
      reads.misses++;
      return undefined;
    }
    const record: RecordRef = { words, at, bytes };
    if ((words[at + 1] & FLAG_EXTENTS) !== 0) {
      record.value = new ExtentList(words, at).gather(core.parts.log);
      if (!record.value) return undefined;
    }
    reads.hits[reads.source]++;
    return this.core.decode(record) as T;
  }

  /** The value of a key with its version and expiry, or `undefined`. */
  async getEntry<T extends V = V>(key: KvKey): Promise<KvEntry<T> | undefined> {
    const looked = this.lookUp.seen(key);
    const seen = isPromise(looked) ? await looked : looked;
    if (!seen.record) return undefined;
    return {
      value: this.core.decode(seen.record) as T,
      version: seen.version,
      expiresAt: seen.expiresAt === Infinity ? undefined : seen.expiresAt,
    };
  }

  /** Whether a key is present. */
  async has(key: KvKey): Promise<boolean> {
    const looked = this.lookUp.seen(key);
    return (isPromise(looked) ? await looked : looked).record !== undefined;
  }

  /**
   * Sets a key.
   *
   * @param options `ttl`: without it, the namespace's default, else none. `ifVersion`, `ifPresent`: conditions.
   * @returns the version of the entry
   * @throws KvEncodingError when key or value cannot be carried (`undefined` is no value); nothing was written
   * @throws KvTooLargeError when the value takes more than 64 MiB encoded, or the key more than 16 KiB
   * @throws KvVersionConflictError when a condition does not hold
   * @throws KvReadOnlyError, KvDiskError, KvOverloadedError when the store cannot take it now
   * @example
   * await store.set('greeting', { text: 'hello' }, { ttl: '10m' });
   */
  set(key: KvKey, value: V, options?: KvSetOptions): Promise<number> {
    // Hot path (`npm run bench`, load and updates): not an async function, as `get` is none.
    try {
      const { core, writer } = this;
      core.assertWritable();
      if (core.sampler?.isDue('set')) return core.sampler.time('set', () => this.set(key, value, options));
      if (options) {
        checkSetOptions(options);
        if (isConditional(options)) return this.setConditionally(key, value, options);
      }
      const version = writer.put(key, value, writer.expiry(options?.ttl), writer.attributes(options?.tags));
      const durable = core.acknowledge();
      return durable ? once(durable, version) : Promise.resolve(version);
    } catch (error) {
      return rejected(error);
    }
  }

  /**
   * Sets a key unless it is present.
   *
   * @returns whether it was set
   * @throws KvOptionsError for conditions: it has its own
   */
  setIfAbsent(key: KvKey, value: V, options?: KvEntryOptions): Promise<boolean> {
    return this.writer.setIfAbsent(key, value, options);
  }

  /**
   * Sets many keys, in order: as many `set`s, one wait. When one of them fails, those before it are set.
   *
   * @param entries keys and values, each with its own options if needed
   * @example
   * await store.setMany(new Map([['a', 1], ['b', 2]]));
   */
  async setMany(entries: Iterable<readonly [KvKey, V, KvSetOptions?]>): Promise<void> {
    checkIterable('entries', entries);
    const { core, writer } = this;
    let count = 0;
    try {
      for (const entry of entries) {
        checkPair(entry);
        const [key, value, options] = entry;
        core.assertWritable();
        if (options) checkSetOptions(options);
        if (options && isConditional(options)) await writer.setIf(key, value, options);
        else writer.put(key, value, writer.expiry(options?.ttl), writer.attributes(options?.tags));
        if (++count % PASS_ON_EVERY !== 0) continue;
        // Lets the event loop turn, and commits and compaction run: a long import must not hold up everybody else.
        await core.slowedDown();
        await core.parts.clock.turn();
      }
    } finally {
      if (count > 0) await core.acknowledge();
    }
  }

  /**
   * Deletes a key.
   *
   * @returns whether it was present
   * @throws KvVersionConflictError when it is not at `ifVersion`
   */
  async delete(key: KvKey, options?: KvDeleteOptions): Promise<boolean> {
    const { sampler } = this.core;
    if (sampler?.isDue('delete')) return sampler.time('delete', () => this.delete(key, options));
    if (options) checkDeleteOptions(options);
    const deleted = await this.writer.remove(key, options?.ifVersion);
    if (deleted) await this.core.acknowledge();
    return deleted;
  }

  /**
   * Deletes several keys. When one of them fails, the others are deleted.
   *
   * @returns how many of them were present
   */
  async deleteMany(keys: Iterable<KvKey>): Promise<number> {
    this.core.assertOpen();
    this.core.parts.health.assertSound();
    checkIterable('keys', keys);
    // Where room is short, some has to be given back on the way.
    const { isShort } = this.core.parts.health;
    const all = isShort ? Array.from(keys, ownKey) : [...keys];
    const atOnce = isShort ? DELETED_AT_ONCE : all.length;
    let deleted = 0;
    let failed: PromiseRejectedResult | undefined;
    for (let from = 0; from < all.length; from += atOnce) {
      const some = all.slice(from, from + atOnce);
      const removals = await Promise.allSettled(some.map((key) => this.writer.remove(key, undefined)));
      for (const removal of removals)
        if (removal.status === 'rejected') failed ??= removal;
        else if (removal.value) deleted++;
    }
    // Also if one of them failed: the others are deleted.
    if (deleted > 0) await this.core.acknowledge();
    if (failed) throw failed.reason;
    await this.core.giveBack();
    return deleted;
  }

  /**
   * Replaces a value by what `change` makes of it, atomically: if the key has changed by the time the new value is
   * known (from disk, or from an asynchronous `change`), `change` runs again with the value it has then. Expiry and tags
   * are kept.
   *
   * @param options `ttl`: of an entry that the call makes; without it, the namespace's default, else none
   * @param change gets the value, `undefined` when the key is absent; `undefined` as its result deletes the key. It must not
   *   write the key itself
   * @returns the new value
   * @throws KvVersionConflictError when the key has changed in each of 10,000 runs of `change`; nothing was written
   * @throws KvOptionsError when `ttl` is none, or there is no such option
   * @throws whatever `change` throws; KvEncodingError and others as `set` does
   * @example
   * await store.update('cart:1', (cart = { items: [] }) => ({ items: [...cart.items, 'apple'] }));
   */
  update<T extends V = V>(
    key: KvKey,
    change: (current: T | undefined) => T | undefined | Promise<T | undefined>,
    options?: KvTtlOptions,
  ): Promise<T | undefined> {
    return this.writer.update(key, change, options);
  }

  /**
   * Adds to a number, atomically; an absent key counts as 0. Expiry and tags are kept.
   *
   * @param by what to add, 1 by default
   * @param options `ttl`: of an entry that the call makes; without it, the namespace's default, else none
   * @returns the new number
   * @throws KvEncodingError when the value is not a number, `by` not a finite one, or the sum farther from 0 than 2^53 - 1;
   *   nothing was written
   * @throws KvOptionsError when `ttl` is none, or there is no such option
   * @example
   * const requests = await store.increment(['requests', ip], 1, { ttl: '1m' });
   */
  async increment(key: KvKey, by = 1, options?: KvTtlOptions): Promise<number> {
    if (!Number.isFinite(by)) throw new KvEncodingError('increment() adds a finite number.');
    const add = (current: V | undefined) => {
      if (current !== undefined && typeof current !== 'number') {
        throw new KvEncodingError('increment() needs a number; the entry holds another kind of value.');
      }
      const sum = ((current as number | undefined) ?? 0) + by;
      // From there on it would stand still: not every whole number is one of JavaScript's.
      if (Math.abs(sum) > Number.MAX_SAFE_INTEGER)
        throw new KvEncodingError(
          'increment() would leave the numbers that are exact, which end at 2^53 - 1. Keep a bigint, and change it by update().',
        );
      return sum as V;
    };
    const next = await this.update(key, add, options);
    return next as number;
  }

  /**
   * The value of a key; where it is absent, what `factory` makes, which is kept. Calls for one key that come while its
   * factory runs wait for that run, and get the same object. What is found is each caller's own copy.
   *
   * A result is given to those who waited but not kept if the key was written or deleted, or one of its tags invalidated,
   * since the factory began: it may be older than that. Errors of the factory are passed on and not kept. A factory that
   * waits for its own key (`getOrSet` of it again, behind an `await`) waits for ever.
   *
   * @param factory makes the value; `undefined` is not kept, unless `cacheUndefined` is set
   * @throws whatever `factory` throws
   * @throws KvOptionsError, KvEncodingError, KvTooLargeError when options, key or value are not usable
   * @throws KvClosedError, KvCorruptionError, KvDiskError, KvReadOnlyError, KvOverloadedError unless `onError` is there
   * @example
   * const user = await users.getOrSet(id, () => db.find(id), { ttl: '5m', staleWhileRevalidate: '1m', tags: ['users'] });
   */
  getOrSet<T extends V = V>(
    key: KvKey,
    factory: () => T | Promise<T>,
    options?: KvGetOrSetOptions<T>,
  ): Promise<T> {
    return this.cached.call(key, factory, options as KvGetOrSetOptions | undefined) as Promise<T>;
  }

  /**
   * Gives an entry a new time to live.
   *
   * @param ttl milliseconds or text, from now; `Infinity` removes the expiry
   * @returns whether the key is present
   */
  touch(key: KvKey, ttl: KvDuration): Promise<boolean> {
    return this.writer.touch(key, ttl);
  }

  /**
   * How long an entry still lives.
   *
   * @returns milliseconds, `Infinity` without expiry, `undefined` when the key is absent
   */
  async ttl(key: KvKey): Promise<number | undefined> {
    const looked = this.lookUp.seen(key);
    const seen = isPromise(looked) ? await looked : looked;
    if (!seen.record) return undefined;
    return seen.expiresAt === Infinity ? Infinity : seen.expiresAt - this.core.parts.versions.now();
  }

  /**
   * Several writes as one: all or nothing, also across a crash and for whoever reads meanwhile; at `always`, one wait.
   * Conditions are checked together; where one of them does not hold, nothing is written. A later write of a key
   * supersedes an earlier one. `getMany` of keys that are on disk may still see some before and some after a batch.
   *
   * @param build collects the writes; may be asynchronous. What it throws ends the batch, and nothing is written
   * @returns the version of each write, in their order; `undefined` where there was nothing to delete
   * @throws KvVersionConflictError when a condition does not hold
   * @throws KvTooLargeError when the writes take more than half of the memory of the hot log
   * @throws KvEncodingError, KvReadOnlyError, KvDiskError, KvOverloadedError as `set` does
   * @example
   * await store.batch((b) => {
   *   b.set('balance:ada', 70, { ifVersion: ada.version });
   *   b.set('balance:bob', 80, { ifVersion: bob.version });
   *   b.in(transfers).delete('pending');
   * });
   */
  async batch(build: (batch: KvBatch<V>) => unknown): Promise<(number | undefined)[]> {
    this.core.assertWritable();
    if (typeof build !== 'function')
      throw new KvOptionsError([{ path: 'batch', problem: 'takes a function that gets the batch' }]);
    const { sampler } = this.core;
    if (sampler?.isDue('batch')) return sampler.time('batch', () => this.batch(build));
    const writes = new BatchWrites(this.core);
    try {
      const built = build(new KvBatch<V>(writes, this.writer, writerOf));
      if (isPromise(built)) await built;
    } finally {
      writes.end();
    }
    if (writes.isEmpty) return [];
    const versions = await writes.apply();
    await this.core.acknowledge();
    return versions;
  }

  /**
   * Goes through all entries of this key space, in no order and in bounded memory: both tiers, while reads, writes and
   * compaction go on. An entry that is there all the time comes exactly once; one that is set or deleted meanwhile may
   * come or not. Reads the whole store, those of other namespaces included.
   *
   * @throws KvClosedError when the store is closed meanwhile; KvCorruptionError, KvDiskError
   * @example
   * for await (const [key, value] of users.scan({ limit: 100 })) console.log(key, value);
   */
  async *scan<T extends V = V>(options: KvScanOptions = {}): AsyncGenerator<[key: KvKey, value: T]> {
    const { core } = this;
    const scan = new Scan(core, this.space, options, true);
    do {
      while (scan.next()) yield [scan.key(), core.decode(scan) as T];
    } while (await scan.wait());
  }

  /** The keys of `scan`, without their values. */
  async *keys(options: KvScanOptions = {}): AsyncGenerator<KvKey> {
    const scan = new Scan(this.core, this.space, options, false);
    do {
      while (scan.next()) yield scan.key();
    } while (await scan.wait());
  }

  /** The values of `scan`, without their keys. */
  async *values<T extends V = V>(options: KvScanOptions = {}): AsyncGenerator<T> {
    const { core } = this;
    const scan = new Scan(core, this.space, options, true);
    do {
      while (scan.next()) yield core.decode(scan) as T;
    } while (await scan.wait());
  }

  /** Deletes every key of this key space, in one step. */
  async clear(): Promise<void> {
    await clearSpace(this.core, this.space.id);
  }

  /**
   * Invalidates tags: every entry of this key space that was set with one of them is gone, in one step, however many there
   * are, and also after a restart. Called on the store, this holds for the entries of all namespaces.
   *
   * @param tags as they were given to `set`; together they are one step, also across a crash
   * @throws KvOptionsError when a tag is no text of 1 to 512 bytes
   * @throws KvReadOnlyError, KvDiskError, KvOverloadedError when the store cannot take it now
   * @example
   * await users.set('u-17', user, { tags: ['team:7'] });
   * await users.invalidateTags('team:7');
   */
  async invalidateTags(...tags: string[]): Promise<void> {
    await invalidateTags(this.core, tags, this.space.id);
  }

  private async setConditionally(key: KvKey, value: V, options: KvSetOptions): Promise<number> {
    const version = await this.writer.setIf(key, value, options);
    await this.core.acknowledge();
    return version;
  }

  private async getLater<T>(key: EncodedKey): Promise<T | undefined> {
    const { reads, decoded } = this.core;
    const { record, source } = await reads.load(key);
    if (!record || !reads.isAlive(record.words, record.at, this.space)) {
      reads.misses++;
      return undefined;
    }
    reads.hits[source]++;
    const value = this.core.decode(record) as T;
    // Not kept: it may have been written anew since it was read.
    decoded?.share(value);
    return value;
  }
}

function writerOf(space: unknown): EntryWriter {
  if (space instanceof KeySpace) return space.writer;
  // What Nest injects has the store within.
  const store = (space as { store?: unknown } | null | undefined)?.store;
  if (store instanceof KeySpace) return store.writer;
  throw new KvOptionsError([{ path: 'batch.in', problem: 'must be what KvStore.namespace() returned' }]);
}

/** Apart from the call that has the value, so that the values of many who wait do not stay in memory with them. */
function once(durable: Promise<void>, version: number): Promise<number> {
  return durable.then(() => version);
}

/** What an async function would make of an exception. */
function rejected(error: unknown): Promise<never> {
  // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what a caller's toJSON throws is his own
  return Promise.reject(error);
}
