/**
 * Looking a key up in order to write it: what was seen is noted, and found again right before the write. If it is still
 * so, nothing has come in between; otherwise whoever wanted to write starts over. This holds across any `await`.
 */
import type { EncodedKey, KvKey } from '../codec/key-codec.js';
import { expiryOf, sequenceOf } from '../log/record.js';
import { ABSENT, IN_MEMORY, ON_DISK, type RecordRef } from './read-path.js';
import type { Space } from './spaces.js';
import type { StoreCore } from './store-core.js';

/** The newest record of a key as one look-up saw it; enough to tell later whether it still is. */
export interface Seen {
  /** The record, if it is alive. One in memory is valid only until the next `await`. */
  record: RecordRef | undefined;
  version: number;
  expiresAt: number;
  where: number;
  address: number;
  clearedBelow: number;
  /** `StoreCore.stamp` when it was looked up, or `NO_STAMP` once the event loop may have turned. */
  stamp: number;
}

/** Never the stamp of a store. */
export const NO_STAMP = -1;

export class LookUp {
  constructor(
    private readonly core: StoreCore,
    private readonly space: Space,
  ) {}

  /**
   * Looks a key up, on disk if need be. What is found in memory is returned at once and must be used at once: even an
   * `await` of something that is already there lets others write, and reuse the page.
   */
  seen(key: KvKey): Seen | Promise<Seen> {
    this.core.assertOpen();
    const reads = this.core.reads;
    const encoded = this.core.key(this.space.id, key);
    const where = reads.find(encoded);
    if (where === ON_DISK) return this.seenOnDisk(encoded.copy());
    return this.see(where === IN_MEMORY ? reads : undefined, where, reads.address, this.core.stamp);
  }

  private async seenOnDisk(key: EncodedKey): Promise<Seen> {
    const { reads } = this.core;
    const from = reads.address;
    const record = await reads.findOnDisk(key, from, reads.sizeClass);
    return this.see(record, ON_DISK, from, NO_STAMP);
  }

  private see(found: RecordRef | undefined, where: number, address: number, stamp: number): Seen {
    const reads = this.core.reads;
    const record =
      found && reads.isAlive(found.words, found.at, this.space)
        ? { words: found.words, bytes: found.bytes, at: found.at }
        : undefined;
    return {
      record,
      version: found ? sequenceOf(found.words, found.at) : 0,
      expiresAt: found ? expiryOf(found.words, found.at) : Infinity,
      where,
      address,
      clearedBelow: this.space.clearedBelow,
      stamp,
    };
  }

  /**
   * Finds the key again, and returns it if its newest record is the one that was seen. Where nobody has used the store
   * since, the look-up before is still good.
   */
  findSame(key: KvKey, seen: Seen): EncodedKey | undefined {
    const { core, space } = this;
    const { reads } = core;
    if (seen.stamp === core.stamp) return core.lastKey;
    const encoded = core.key(space.id, key);
    const where = reads.find(encoded);
    if (where !== seen.where || space.clearedBelow !== seen.clearedBelow) return undefined;
    if (where === ABSENT) return encoded;
    if (reads.address !== seen.address) return undefined;
    return where === ON_DISK || sequenceOf(reads.words, reads.at) === seen.version ? encoded : undefined;
  }
}
