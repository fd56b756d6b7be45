/**
 * Entries of the cold index and the chunks that hold them on disk. An entry stands for one record of the cold log:
 *
 *   tag    32 bits   the bits of the hash above the 13 of its partition: 19 of `hashLow`, 13 of `hashHigh`
 *   low    32 bits   address / 8, low bits
 *   high   16 bits   address / 8, 13 high bits · size class (3)
 *
 * A chunk holds the entries of one slot of the directory, as the value of a record of `KIND_CHUNK`: n tags, n lows,
 * n highs (two in a word), so 10 bytes an entry. Entries of one tag lie newest first. In the record's header the
 * low half of the sequence number is the slot, the high half its width when it was written (how many low bits of the
 * hash are the same for all that is in it): a slot that was split since shares its chunk with those split from it.
 */
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { HEADER_WORDS, KIND_CHUNK, recordBytes, writeHeader } from '../log/record.js';
import { LARGEST_SIZE_CLASS } from '../log/size-class.js';

/** Constants, because Jest looks globals up through a proxy, at a hundred times the cost. */
const { floor, min } = Math;

/** Bits of a hash that are implied by where an entry lies: those of its partition. */
export const PARTITION_BITS = 13;
export const PARTITIONS = 1 << PARTITION_BITS;
const PARTITION_MASK = PARTITIONS - 1;

export const ENTRY_BYTES = 10;

const CLASS_SHIFT = 13;
const ADDRESS_HIGH_MASK = (1 << CLASS_SHIFT) - 1;
/** Three bits have no room for the classes of long records: their length is read from the header first. */
const LARGEST_CLASS_CODE = 7;
export const CLASS_CODES = LARGEST_CLASS_CODE + 1;

const FIRST_LIST_ENTRIES = 64;
const TWO_32 = 2 ** 32;

export function tagOf(hashLow: number, hashHigh: number): number {
  return (hashLow >>> PARTITION_BITS) | (hashHigh << (32 - PARTITION_BITS));
}

/** `hashLow` of the entries with this tag in the partition that a slot (or anything with its low bits) belongs to. */
export function hashLowOf(slot: number, tag: number): number {
  return (tag << PARTITION_BITS) | (slot & PARTITION_MASK);
}

export function packHigh(address: LogAddress, sizeClass: number): number {
  const code = min(sizeClass - 1, LARGEST_CLASS_CODE);
  return floor(address / 8 / TWO_32) | (code << CLASS_SHIFT);
}

export function addressOf(low: number, high: number): LogAddress {
  return (((high & ADDRESS_HIGH_MASK) * TWO_32 + (low >>> 0)) * 8) as LogAddress;
}

/** The size class as three bits: class - 1, and the last for all that are larger. */
export function classCodeOf(high: number): number {
  return high >>> CLASS_SHIFT;
}

export function sizeClassOfEntry(high: number): number {
  const code = high >>> CLASS_SHIFT;
  return code === LARGEST_CLASS_CODE ? LARGEST_SIZE_CLASS : code + 1;
}

/** Words that `count` entries take. */
export function entryWords(count: number): number {
  return count * 2 + ((count + 1) >> 1);
}

/** Length of the record of a chunk. */
export function chunkBytes(count: number): number {
  return recordBytes(KIND_CHUNK, 0, count * ENTRY_BYTES);
}

/** Where records of a key may lie, newest first. */
export interface Candidates {
  count: number;
  addresses: Float64Array;
  /** As in `size-class.ts`; those of long records are all `LARGEST_SIZE_CLASS`. */
  sizeClasses: Uint8Array;
}

/** Entries, as a chunk has them, to be put together or taken apart. Grows as needed. */
export class EntryList {
  count = 0;
  tags = new Int32Array(FIRST_LIST_ENTRIES);
  lows = new Int32Array(FIRST_LIST_ENTRIES);
  highs = new Uint16Array(FIRST_LIST_ENTRIES);

  clear(): void {
    this.count = 0;
  }

  add(tag: number, low: number, high: number): void {
    if (this.count === this.tags.length) this.double();
    const at = this.count++;
    this.tags[at] = tag;
    this.lows[at] = low;
    this.highs[at] = high;
  }

  private double(): void {
    const { tags, lows, highs } = this;
    this.tags = new Int32Array(tags.length * 2);
    this.lows = new Int32Array(tags.length * 2);
    this.highs = new Uint16Array(tags.length * 2);
    this.tags.set(tags);
    this.lows.set(lows);
    this.highs.set(highs);
  }
}

/** Where a chunk lies in memory: `count` entries from `words[at]` on. */
export class ChunkView {
  words: Int32Array = new Int32Array(0);
  at = 0;
  count = 0;

  set(words: Int32Array, at: number, count: number): this {
    this.words = words;
    this.at = at;
    this.count = count;
    return this;
  }

  /** Points to the value of the chunk's record at `at`. */
  setRecord(words: Int32Array, at: number): this {
    return this.set(words, at + HEADER_WORDS, words[at + 2] / ENTRY_BYTES);
  }

  tag(index: number): number {
    return this.words[this.at + index];
  }

  low(index: number): number {
    return this.words[this.at + this.count + index];
  }

  high(index: number): number {
    return (this.words[this.at + 2 * this.count + (index >> 1)] >>> ((index & 1) << 4)) & 0xffff;
  }
}

/** Writes the record of a chunk, without its checksum. Hot path of a merge (`bench/micro/cold-index.mjs`). */
export function writeChunk(
  words: Int32Array,
  at: number,
  slot: number,
  width: number,
  entries: EntryList,
): void {
  const { count, tags, lows, highs } = entries;
  writeHeader(words, at, KIND_CHUNK, 0, 0, count * ENTRY_BYTES, width * TWO_32 + slot, NO_ADDRESS);
  let to = at + HEADER_WORDS;
  // The padding goes into the checksum, too, and the page was used before.
  const end = at + (chunkBytes(count) >> 2);
  words[end - 1] = 0;
  for (let i = 0; i < count; i++) words[to++] = tags[i];
  for (let i = 0; i < count; i++) words[to++] = lows[i];
  for (let i = 0; i < count; i += 2) words[to++] = highs[i] | (i + 1 < count ? highs[i + 1] << 16 : 0);
}

/** The slot of a chunk's record, and its width at the time. */
export function slotOfChunk(words: Int32Array, at: number): number {
  return words[at + 3];
}

export function widthOfChunk(words: Int32Array, at: number): number {
  return words[at + 4] & 0xffff;
}
