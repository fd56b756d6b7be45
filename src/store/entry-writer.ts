/**
 * Writes of single entries in one key space. What depends on nothing is written at once (`put`). Whatever depends on what
 * is there (conditions, updates, deletes) notes what it saw and writes only if a second look finds the same; otherwise it
 * starts over. That holds across any `await`.
 *
 * What may be one of several writes (`put`, `setIf`, `remove`) ends in memory: its caller has it acknowledged, once for
 * all of them. The others are whole calls.
 */
import type { KvKey } from '../codec/key-codec.js';
import { KvVersionConflictError } from '../errors.js';
import { MAX_UPDATE_ATTEMPTS } from '../limits.js';
import { makeAttributes } from '../log/attributes.js';
import { valueEnd, valueStart } from '../log/record-key.js';
import type { LookUp, Seen } from './look-up.js';
import { parseTtl, type KvDuration } from './options.js';
import { isPromise } from './promises.js';
import type { RecordRef } from './read-path.js';
import {
  checkEntryOptions,
  checkFunction,
  checkTtlOptions,
  isOtherVersion,
  type KvEntryOptions,
  type KvSetOptions,
  type KvTtlOptions,
} from './set-options.js';
import type { Space } from './spaces.js';
import type { StoreCore } from './store-core.js';

export class EntryWriter {
  constructor(
    readonly core: StoreCore,
    readonly space: Space,
    readonly lookUp: LookUp,
    private readonly defaultTtlMs: number,
  ) {}

  /** Writes an entry, whatever is there. Hot path (`npm run bench`, load and updates). */
  put(key: KvKey, value: unknown, expiresAt: number, attributes: Int32Array | undefined): number {
    const { core } = this;
    const { values } = core;
    // The value first: a toJSON of the caller may use the store, and with it the scratch buffer of the key.
    values.encode(value);
    this.forgetDecoded(key);
    const encoded = core.key(this.space.id, key);
    core.reads.find(encoded);
    const { bytes, start, end } = values;
    return core.writes.upsert(this.space, encoded, bytes, start, end, expiresAt, attributes);
  }

  /**
   * Writes an entry if its conditions hold.
   * @throws KvVersionConflictError
   */
  async setIf(key: KvKey, value: unknown, options: KvSetOptions): Promise<number> {
    const { ifVersion, ifPresent, keepTtl } = options;
    const attributes = this.attributes(options.tags);
    const { values } = this.core;
    values.encode(value);
    let copy: Uint8Array | undefined;
    let seen: Seen | undefined;
    for (;;) {
      const looked = this.lookUp.seen(key, seen);
      // Others encode values meanwhile, and whose this one is may change it.
      if (isPromise(looked)) copy ??= values.copy();
      seen = isPromise(looked) ? await looked : looked;
      const actual = seen.record && seen.version;
      if (isOtherVersion(ifVersion, actual) || (ifPresent && actual === undefined)) {
        throw new KvVersionConflictError(ifVersion, actual);
      }
      const expiresAt = keepTtl && seen.record ? seen.expiresAt : this.expiry(options.ttl);
      const version = this.putIfSame(key, seen, copy, expiresAt, attributes);
      if (version !== undefined) return version;
    }
  }

  /**
   * Deletes a key in memory; nobody is told yet that it is durable.
   * @returns whether it was present
   * @throws KvVersionConflictError
   */
  async remove(key: KvKey, ifVersion: number | undefined): Promise<boolean> {
    const { core, space } = this;
    if (core.parts.health.isTooShort) {
      key = ownKey(key);
      await core.giveBack();
    }
    core.assertRemovable();
    if (space.runs.size > 0) space.runs.cancel(core.key(space.id, key));
    // Where the device cannot be read back, the record may be gone and the value still be kept.
    this.forgetDecoded(key);
    let seen: Seen | undefined;
    for (;;) {
      const looked = this.lookUp.seen(key, seen);
      seen = isPromise(looked) ? await looked : looked;
      const actual = seen.record && seen.version;
      if (isOtherVersion(ifVersion, actual)) throw new KvVersionConflictError(ifVersion, actual);
      if (!seen.record && !seen.isStale) return false;
      if (!this.removeIfSame(key, seen)) continue;
      if (seen.record) return true;
      await core.acknowledge();
      return false;
    }
  }

  /** See `KeySpace.setIfAbsent`. */
  async setIfAbsent(key: KvKey, value: unknown, options: KvEntryOptions | undefined): Promise<boolean> {
    this.core.assertWritable();
    if (options) checkEntryOptions(options);
    const expiresAt = this.expiry(options?.ttl);
    const attributes = this.attributes(options?.tags);
    const { values } = this.core;
    values.encode(value);
    let copy: Uint8Array | undefined;
    let seen: Seen | undefined;
    for (;;) {
      const looked = this.lookUp.seen(key, seen);
      if (isPromise(looked)) copy ??= values.copy();
      seen = isPromise(looked) ? await looked : looked;
      if (seen.record) return false;
      if (this.putIfSame(key, seen, copy, expiresAt, attributes) === undefined) continue;
      await this.core.acknowledge();
      return true;
    }
  }

  /** See `KeySpace.update`. */
  async update<T>(
    key: KvKey,
    change: (current: T | undefined) => T | undefined | Promise<T | undefined>,
    options?: KvTtlOptions,
  ): Promise<T | undefined> {
    this.core.assertWritable();
    checkFunction('change', change);
    if (options) checkTtlOptions(options);
    // Read now: the caller may change the object while `change` runs.
    const ttl = options?.ttl;
    const { sampler } = this.core;
    if (sampler?.isDue('update')) return sampler.time('update', () => this.update(key, change, options));
    let seen: Seen | undefined;
    let expected: number | null = null;
    for (let attempts = 0; ; attempts++) {
      const looked = this.lookUp.seen(key, seen);
      seen = isPromise(looked) ? await looked : looked;
      const present = seen.record !== undefined;
      const actual = present ? seen.version : undefined;
      if (attempts === MAX_UPDATE_ATTEMPTS)
        throw new KvVersionConflictError(expected, actual, undefined, attempts);
      expected = actual ?? null;
      const result = change(seen.record && (this.core.decode(seen.record) as T));
      if (isPromise(result)) this.lookUp.hold(key, seen);
      const next = isPromise(result) ? await result : result;
      if (next === undefined) {
        if (!present) {
          this.forgetDecoded(key);
          return undefined;
        }
        if (!this.removeIfSame(key, seen)) continue;
      } else {
        const expiresAt = present ? seen.expiresAt : this.expiry(ttl);
        this.core.values.encode(next);
        if (this.putIfSame(key, seen, undefined, expiresAt, seen.attributes) === undefined) continue;
      }
      await this.core.acknowledge();
      return next;
    }
  }

  /** See `KeySpace.touch`. */
  async touch(key: KvKey, ttl: KvDuration): Promise<boolean> {
    this.core.assertWritable();
    const expiresAt = this.core.parts.versions.expiryIn(parseTtl(ttl));
    let seen: Seen | undefined;
    for (;;) {
      const looked = this.lookUp.seen(key, seen);
      seen = isPromise(looked) ? await looked : looked;
      if (!seen.record) return false;
      const value = valueOf(seen.record);
      if (this.putIfSame(key, seen, value, expiresAt, seen.attributes) === undefined) continue;
      await this.core.acknowledge();
      return true;
    }
  }

  /** When an entry that is written now expires. */
  expiry(ttl: KvDuration | undefined): number {
    return this.core.parts.versions.expiryIn(ttl === undefined ? this.defaultTtlMs : parseTtl(ttl));
  }

  /** What an entry with these tags has in front of its value. */
  attributes(tags: readonly string[] | undefined): Int32Array | undefined {
    if (tags === undefined || tags.length === 0) return undefined;
    return makeAttributes(this.core.tagHash.hashes(tags), 0, 0);
  }

  /**
   * Like `put`, if what was seen of the key is still so.
   * @param value its bytes; without them, it is what was encoded last
   * @returns the version; `undefined` if nothing was written
   */
  private putIfSame(
    key: KvKey,
    seen: Seen,
    value: Uint8Array | undefined,
    expiresAt: number,
    attributes: Int32Array | undefined,
  ): number | undefined {
    const { core } = this;
    core.assertWritable();
    this.forgetDecoded(key);
    const encoded = this.lookUp.findSame(key, seen);
    const { bytes, start, end } = value ? { bytes: value, start: 0, end: value.length } : core.values;
    return encoded && core.writes.upsert(this.space, encoded, bytes, start, end, expiresAt, attributes);
  }

  private removeIfSame(key: KvKey, seen: Seen): boolean {
    this.core.assertRemovable();
    this.forgetDecoded(key);
    const encoded = this.lookUp.findSame(key, seen);
    if (encoded) this.core.writes.remove(this.space, encoded);
    return encoded !== undefined;
  }

  /** A key is about to be written. */
  private forgetDecoded(key: KvKey): void {
    if (this.core.decoded) this.space.decoded.delete(key);
  }
}

/** For whoever waits before a key is encoded: its owner may change it. What cannot be copied is no key, and is told to be none later. */
export function ownKey(key: KvKey): KvKey {
  if (typeof key !== 'object') return key;
  try {
    return structuredClone(key);
  } catch {
    return key;
  }
}

/** A copy of a record's value, because the value moves within its record when it gets (or loses) an expiry. */
function valueOf({ words, bytes, at, value: whole }: RecordRef): Uint8Array {
  const source = whole ?? bytes.subarray(valueStart(words, at), valueEnd(words, at));
  // Its buffer ends with a whole word, because the write path copies words.
  const value = new Uint8Array(new ArrayBuffer((source.length + 3) & ~3), 0, source.length);
  value.set(source);
  return value;
}
