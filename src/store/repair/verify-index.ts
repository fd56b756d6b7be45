/**
 * What `verify` asks the indexes: whether they lead to every record of the logs, and whether their entries lead to
 * records. Both beside writes and compaction: an answer that is not as it should be counts only if the record is still
 * part of the log.
 */
import { hashLowOf, tagOf } from '../../cold/hash-chunk.js';
import type { ColdTier } from '../../cold/cold-tier.js';
import type { PartitionEntries } from '../../cold/slot-reader.js';
import type { KeyedHash } from '../../codec/keyed-hash.js';
import { KvCorruptionError, KvDiskError } from '../../errors.js';
import { type LogAddress } from '../../log/address.js';
import { inMemory, type DiskRecord } from '../../log/hybrid-log.js';
import { keyStart, sameKey } from '../../log/record-key.js';
import {
  KIND_MASK,
  KIND_TOMBSTONE,
  KIND_VALUE,
  keyLengthOf,
  previousOf,
  totalBytes,
} from '../../log/record.js';
import { sizeClassOf } from '../../log/size-class.js';
import type { StoreCore } from '../store-core.js';

const GUESSED_CLASS = sizeClassOf(512);

/** Whether an index leads to a record; not known where damage elsewhere is in the way. */
export type Leads = boolean | undefined;

export class IndexCheck {
  private readonly hash: KeyedHash;

  constructor(private readonly core: StoreCore) {
    this.hash = core.parts.hash.copy();
  }

  /** Whether the hot index leads to a record of the hot log, or to a newer one of the same key. */
  leadsHot(words: Int32Array, at: number, address: LogAddress): Leads | Promise<Leads> {
    const { index, log } = this.core.parts;
    this.hash.hash(words, keyLengthOf(words, at), keyStart(words, at));
    const head = index.find(this.hash.low);
    let sizeClass = head > address ? index.foundSizeClass() : GUESSED_CLASS;
    let next = head;
    try {
      while (next > address) {
        const other = next >= log.head ? inMemory(log, next) : log.tryReadRecord(next, sizeClass);
        if (!other) return this.leadsHotLater(copyOf(words, at), address, head, sizeClass);
        if (sameKey(other.words, other.at, words, at)) return true;
        next = previousOf(other.words, other.at);
        sizeClass = GUESSED_CLASS;
      }
    } catch (error) {
      return unknownIfDamaged(error);
    }
    return next === address || address < log.begin;
  }

  /** The chain as it was: records may have come in front of it since, and none can have left it. */
  private async leadsHotLater(
    words: Int32Array,
    address: LogAddress,
    head: LogAddress,
    headClass: number,
  ): Promise<Leads> {
    const { log } = this.core.parts;
    let next = head;
    let sizeClass = headClass;
    try {
      while (next > address) {
        const other = next >= log.head ? inMemory(log, next) : await log.readRecord(next, sizeClass);
        if (sameKey(other.words, other.at, words, 0)) return true;
        next = previousOf(other.words, other.at);
        sizeClass = GUESSED_CLASS;
      }
    } catch (error) {
      return address < log.begin || unknownIfDamaged(error);
    }
    return next === address || address < log.begin;
  }

  /** Whether the cold index has the entry of a record of the cold log. */
  leadsCold(
    { index, log: { log } }: ColdTier,
    words: Int32Array,
    at: number,
    address: LogAddress,
  ): Leads | Promise<Leads> {
    this.hash.hash(words, keyLengthOf(words, at), keyStart(words, at));
    const { low, high } = this.hash;
    try {
      const found = index.tryFind(low, high);
      if (found) return isAmong(address, found.addresses, found.count) || address < log.begin;
    } catch (error) {
      return unknownIfDamaged(error);
    }
    return index
      .find(low, high)
      .then(
        (found) => isAmong(address, found.addresses, found.count) || address < log.begin,
        unknownIfDamaged,
      );
  }

  /**
   * Whether an entry of the cold index leads to a record whose hash is that of the entry.
   * @param slot whose entry it is
   */
  leadsToRecord(cold: ColdTier, slot: number, entries: PartitionEntries, i: number): Leads | Promise<Leads> {
    const { log } = cold.log;
    const address = entries.addresses[i] as LogAddress;
    const sizeClass = entries.sizeClasses[i];
    const tag = entries.tags[i];
    try {
      const record = address >= log.head ? inMemory(log, address) : log.tryReadRecord(address, sizeClass);
      if (record) return this.hasHash(record, slot, tag) || address < log.begin;
    } catch (error) {
      return address < log.begin || unknownIfDamaged(error);
    }
    return log.readRecord(address, sizeClass).then(
      (record) => this.hasHash(record, slot, tag) || address < log.begin,
      (error: unknown) => address < log.begin || unknownIfDamaged(error),
    );
  }

  /** Whether a record is one of a key with the hash of an entry. */
  private hasHash({ words, at }: DiskRecord, slot: number, tag: number): boolean {
    const kind = words[at + 1] & KIND_MASK;
    if (kind !== KIND_VALUE && kind !== KIND_TOMBSTONE) return false;
    this.hash.hash(words, keyLengthOf(words, at), keyStart(words, at));
    return tagOf(this.hash.low, this.hash.high) === tag && this.hash.low === hashLowOf(slot, tag);
  }
}

function unknownIfDamaged(error: unknown): undefined {
  if (error instanceof KvCorruptionError || error instanceof KvDiskError) return undefined;
  throw error;
}

/** Whether the address is there, and the list in its order: newest first. */
function isAmong(address: LogAddress, addresses: Float64Array, count: number): boolean {
  let found = false;
  for (let i = 0; i < count; i++) {
    if (addresses[i] === address) found = true;
    if (i > 0 && addresses[i] >= addresses[i - 1]) return false;
  }
  return found;
}

function copyOf(words: Int32Array, at: number): Int32Array {
  return words.slice(at, at + (totalBytes(words, at) >> 2));
}
