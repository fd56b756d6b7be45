/**
 * Looking a key up in order to write it: what was seen is noted, and found again right before the write. If it is still
 * so, nothing has come in between; otherwise whoever wanted to write starts over. This holds across any `await`.
 */
import type { EncodedKey, KvKey } from '../codec/key-codec.js';
import { KvCorruptionError } from '../errors.js';
import { attributesOf } from '../log/attributes.js';
import { ExtentList } from '../log/extents.js';
import { expiryOf, FLAG_EXTENTS, sequenceOf } from '../log/record.js';
import { ABSENT, IN_MEMORY, NOTHING, WAIT, type RecordRef } from './read-path.js';
import type { Space } from './spaces.js';
import type { StoreCore } from './store-core.js';

/** The newest record of a key as one look-up saw it; enough to tell later whether it still is. */
export interface Seen {
  /** A copy of the key, where somebody has to wait: by then callers may have changed what they gave. */
  key: EncodedKey | undefined;
  /** The record, if it is alive. One that was not waited for is valid only until the next `await`. */
  record: RecordRef | undefined;
  version: number;
  expiresAt: number;
  /** Whether it has expired, and `getOrSet` may still answer with it. */
  isStale: boolean;
  /** Attributes of the record, if it has some. */
  attributes: Int32Array | undefined;
  /** What the hot log held, and how often the logs had been truncated by then. */
  where: number;
  address: number;
  truncations: number;
  clearedBelow: number;
  /** `StoreCore.stamp` when it was looked up, or `NO_STAMP` if the event loop may have turned. */
  stamp: number;
}

/** Never the stamp of a store. */
const NO_STAMP = -1;

export class LookUp {
  constructor(
    private readonly core: StoreCore,
    private readonly space: Space,
  ) {}

  /**
   * Looks a key up, on disk if need be. What is found without waiting is returned at once and must be used at once: even
   * an `await` of something that is already there lets others write, and reuse the page.
   *
   * @param before what was seen of the key before, for whoever starts over
   */
  seen(key: KvKey, before?: Seen): Seen | Promise<Seen> {
    this.core.assertOpen();
    return this.seenEncoded(before?.key ?? this.core.key(this.space.id, key));
  }

  /** Like `seen`, of a key that is encoded already. */
  seenEncoded(encoded: EncodedKey): Seen | Promise<Seen> {
    const { core } = this;
    const { reads } = core;
    const where = reads.find(encoded);
    const { address, truncations } = reads;
    let found = where === IN_MEMORY;
    if (!found) {
      const further = reads.tryFurther(encoded);
      if (further === WAIT) return this.seenLater(encoded.copy());
      found = further !== NOTHING;
    }
    if (!found) return this.see(encoded, undefined, where, address, truncations, core.stamp);
    const record: RecordRef = { words: reads.words, bytes: reads.bytes, at: reads.at };
    if ((record.words[record.at + 1] & FLAG_EXTENTS) !== 0) {
      // In the hot log's memory they can be gathered at once.
      if (where === IN_MEMORY) record.value = new ExtentList(record.words, record.at).gather(core.parts.log);
      if (!record.value) return this.seenLater(encoded.copy());
    }
    return this.see(encoded, record, where, address, truncations, core.stamp);
  }

  /**
   * Like `seenEncoded`, for whoever writes anew what is there: what is damaged is seen as nothing, and found to be the same
   * as long as nobody has written.
   */
  seenOrDamaged(encoded: EncodedKey): Seen | Promise<Seen> {
    const { reads } = this.core;
    try {
      const looked = this.seenEncoded(encoded);
      if (!(looked instanceof Promise)) return looked;
      const { address, truncations, where } = reads;
      // A record in memory may have pieces on disk that are damaged.
      const version = where === IN_MEMORY ? sequenceOf(reads.words, reads.at) : 0;
      return looked.catch((error: unknown) =>
        this.unlessDamaged(encoded, error, version, where, address, truncations),
      );
    } catch (error) {
      return this.unlessDamaged(encoded, error, 0, reads.where, reads.address, reads.truncations);
    }
  }

  private unlessDamaged(
    encoded: EncodedKey,
    error: unknown,
    version: number,
    where: number,
    address: number,
    truncations: number,
  ): Seen {
    if (!(error instanceof KvCorruptionError)) throw error;
    return { ...this.see(encoded, undefined, where, address, truncations, NO_STAMP), version };
  }

  private async seenLater(key: EncodedKey): Promise<Seen> {
    const { record, version, where, address, truncations } = await this.core.reads.load(key);
    const seen = this.see(key, record, where, address, truncations, NO_STAMP);
    // Also of one whose value is gone: nobody has written since as long as it is the newest.
    seen.version = version;
    return seen;
  }

  private see(
    encoded: EncodedKey,
    found: RecordRef | undefined,
    where: number,
    address: number,
    truncations: number,
    stamp: number,
  ): Seen {
    const isAlive = found !== undefined && this.core.reads.isAlive(found.words, found.at, this.space);
    return {
      key: encoded === this.core.lastKey ? undefined : encoded,
      record: isAlive ? found : undefined,
      version: found ? sequenceOf(found.words, found.at) : 0,
      expiresAt: found ? expiryOf(found.words, found.at) : Infinity,
      isStale: found !== undefined && !isAlive && this.core.reads.isKept(found.words, found.at, this.space),
      attributes: isAlive ? attributesOf(found.words, found.at) : undefined,
      where,
      address,
      truncations,
      clearedBelow: this.space.clearedBelow,
      stamp,
    };
  }

  /** Before an `await` of something else: sees to it that the key that was seen is found again. */
  hold(key: KvKey, seen: Seen): void {
    if (seen.key) return;
    const { core } = this;
    seen.key = (seen.stamp === core.stamp ? core.lastKey : core.key(this.space.id, key)).copy();
  }

  /**
   * Finds the key again, and returns it if its newest record is the one that was seen. Where nobody has used the store
   * since, the look-up before is still good.
   */
  findSame(key: KvKey, seen: Seen): EncodedKey | undefined {
    const { core } = this;
    if (seen.key) {
      // It will be written without being encoded.
      core.stamp++;
      return this.isSame(seen.key, seen) ? seen.key : undefined;
    }
    if (seen.stamp === core.stamp) return core.lastKey;
    const encoded = core.key(this.space.id, key);
    return this.isSame(encoded, seen) ? encoded : undefined;
  }

  /** Finds the key again: whether its newest record is the one that was seen. */
  isSame(encoded: EncodedKey, seen: Seen): boolean {
    const { reads } = this.core;
    const { attributes, version } = seen;
    const { clearedBelow, id, tags } = this.space;
    const where = reads.find(encoded);
    if (where !== seen.where || clearedBelow !== seen.clearedBelow) return false;
    if (attributes && tags.areDead(attributes, 0, version, id)) return false;
    // Not in the hot log then and now: unless something was truncated, nothing can have come and gone.
    if (where === ABSENT) return reads.truncations === seen.truncations;
    if (reads.address !== seen.address) return false;
    return where !== IN_MEMORY || sequenceOf(reads.words, reads.at) === version;
  }
}
