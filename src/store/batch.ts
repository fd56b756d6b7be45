/**
 * Batches: several writes as one. They are collected first (keys and values encoded, so that nothing of the caller's can
 * fail later), then all that depends on what is there is looked up, and then, within one turn of the event loop, checked
 * and written: nobody sees a part of it, and no commit cuts through it, so that after a crash all of it is there or
 * nothing. If one of the keys has changed while another was looked up, all are looked up again.
 */
import type { EncodedKey, KvKey } from '../codec/key-codec.js';
import { KvOptionsError, KvVersionConflictError } from '../errors.js';
import { KIND_VALUE, FLAG_EXPIRY, recordBytes } from '../log/record.js';
import type { EntryWriter } from './entry-writer.js';
import type { Seen } from './look-up.js';
import { IN_MEMORY } from './read-path.js';
import {
  checkDeleteOptions,
  checkSetOptions,
  isConditional,
  isOtherVersion,
  type KvDeleteOptions,
  type KvSetOptions,
} from './set-options.js';
import type { StoreCore } from './store-core.js';

interface BatchWrite {
  target: EntryWriter;
  /** Its place in the batch, from 0. */
  index: number;
  /** As the caller gave it, for decoded values and errors. */
  key: KvKey;
  encoded: EncodedKey;
  /** The encoded value; missing for a delete. */
  value: Uint8Array | undefined;
  expiresAt: number;
  attributes: Int32Array | undefined;
  /** Conditions, and whether what is there matters. */
  options: KvSetOptions | undefined;
  seen: Seen | undefined;
}

/** Collects the writes of a batch; see `KvStore.batch`. Good until the function that got it has ended. */
export class KvBatch<V = unknown> {
  /** @internal */
  constructor(
    private readonly writes: BatchWrites,
    private readonly target: EntryWriter,
    private readonly targetOf: (space: object) => EntryWriter,
  ) {}

  /**
   * Sets a key, as `set` does. Conditions and `keepTtl` look at the entry as it was before the batch.
   *
   * @throws KvEncodingError, KvOptionsError, KvTooLargeError at once: unless it is caught, the batch is dropped
   */
  set(key: KvKey, value: V, options?: KvSetOptions): this {
    if (options) checkSetOptions(options);
    const { target } = this;
    const { values } = target.core;
    const expiresAt = target.expiry(options?.ttl);
    values.encode(value);
    this.writes.add(target, key, values.copy(), expiresAt, options, target.attributes(options?.tags));
    return this;
  }

  /** Deletes a key, if it is there. */
  delete(key: KvKey, options?: KvDeleteOptions): this {
    if (options) checkDeleteOptions(options);
    this.writes.add(this.target, key, undefined, Infinity, options);
    return this;
  }

  /**
   * The same batch within another key space of the same store.
   *
   * @example
   * await store.batch((b) => b.set('total', 2).in(users).delete('u-17'));
   */
  in<W>(space: { batch(build: (batch: KvBatch<W>) => void): Promise<unknown> }): KvBatch<W> {
    return new KvBatch<W>(this.writes, this.targetOf(space), this.targetOf);
  }
}

/** The writes of one batch, in their order. */
export class BatchWrites {
  private readonly writes: BatchWrite[] = [];
  private bytes = 0;
  private ended = false;

  constructor(private readonly core: StoreCore) {}

  add(
    target: EntryWriter,
    key: KvKey,
    value: Uint8Array | undefined,
    expiresAt: number,
    options: KvSetOptions | undefined,
    attributes?: Int32Array,
  ): void {
    const { core } = this;
    if (this.ended)
      throw new KvOptionsError([
        {
          path: 'batch',
          problem: 'has ended already: what belongs to it has to be awaited within its function',
        },
      ]);
    if (target.core !== core)
      throw new KvOptionsError([{ path: 'batch.in', problem: 'must be a namespace of the same store' }]);
    const encoded = core.key(target.space.id, key).copy();
    const index = this.writes.length;
    const write = {
      index,
      target,
      key,
      encoded,
      value,
      expiresAt,
      attributes,
      options,
      seen: undefined,
    };
    this.bytes += sizeOf(write);
    // What cannot succeed need not be collected.
    core.parts.log.requireTogether(this.bytes);
    this.writes.push(write);
  }

  /** No more can be added. */
  end(): void {
    this.ended = true;
  }

  get isEmpty(): boolean {
    return this.writes.length === 0;
  }

  /**
   * Writes all of them, or none.
   * @returns their versions, in their order; `undefined` where there was nothing to delete
   * @throws KvVersionConflictError when a condition does not hold, with the write that has it
   * @throws KvTooLargeError
   */
  async apply(): Promise<(number | undefined)[]> {
    const { core } = this;
    const sizes = this.writes.map(sizeOf);
    const depending = this.writes.filter(dependsOnOld);
    for (;;) {
      // One after the other where nobody has to wait, side by side where reads from disk do.
      const later: Promise<void>[] = [];
      for (const write of depending) {
        const looked = write.target.lookUp.seenEncoded(write.encoded);
        if (!(looked instanceof Promise)) write.seen = looked;
        else later.push(looked.then((seen) => void (write.seen = seen)));
      }
      if (later.length > 0) await Promise.all(later);
      core.assertWritable();
      if (!depending.every(isAsSeen)) continue;
      for (const write of depending) checkCondition(write);
      // What cannot be looked up must not cut the batch in two.
      if (!core.parts.index.isLoaded) for (const { encoded } of this.writes) core.reads.find(encoded);
      core.parts.health.assertRoomFor(this.bytes);
      let versions: (number | undefined)[] = [];
      core.parts.log.appendTogether(sizes, () => {
        versions = this.writes.map((write) => this.write(write));
      });
      return versions;
    }
  }

  private write(write: BatchWrite): number | undefined {
    const { core } = this;
    const { target, encoded, value, attributes, options, seen } = write;
    const { space } = target;
    if (core.decoded) space.decoded.delete(write.key);
    const { reads, writes } = core;
    const inMemory = reads.find(encoded) === IN_MEMORY;
    if (value) {
      const expiresAt = options?.keepTtl && seen?.record ? seen.expiresAt : write.expiresAt;
      return writes.upsert(space, encoded, value, 0, value.length, expiresAt, attributes);
    }
    if (space.runs.size > 0) space.runs.cancel(encoded);
    // An earlier write of the same batch is in memory.
    const isPresent = inMemory ? reads.isAlive(reads.words, reads.at, space) : seen?.record !== undefined;
    if (!isPresent && !seen?.isStale) return undefined;
    const version = writes.remove(space, encoded);
    return isPresent ? version : undefined;
  }
}

/** A delete leaves nothing where there was nothing. */
function dependsOnOld({ value, options }: BatchWrite): boolean {
  return !value || (options !== undefined && isConditional(options));
}

function isAsSeen({ target, encoded, seen }: BatchWrite): boolean {
  return seen !== undefined && target.lookUp.isSame(encoded, seen);
}

/** @throws KvVersionConflictError */
function checkCondition({ index, key, options, seen, target }: BatchWrite): void {
  const actual = seen?.record && seen.version;
  const { ifVersion, ifPresent } = options ?? {};
  if (!isOtherVersion(ifVersion, actual) && !(ifPresent && actual === undefined)) return;
  const { core, space } = target;
  const namespace = core.parts.dictionary.namespaceNames[space.id - 1];
  const write = namespace === undefined ? { index, key } : { index, namespace, key };
  throw new KvVersionConflictError(ifVersion, actual, write);
}

function sizeOf({ attributes, encoded, value }: BatchWrite): number {
  const bytes = (attributes?.byteLength ?? 0) + (value?.length ?? 0);
  return recordBytes(KIND_VALUE | FLAG_EXPIRY, encoded.length, bytes);
}
