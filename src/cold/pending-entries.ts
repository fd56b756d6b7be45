/**
 * Entries on their way into chunks: a hash table in typed arrays, so that many updates become one write of a chunk.
 * Buckets are rows of low bits of the hash, as slots are; so all entries of a slot can be gathered, whatever its width.
 * In a bucket the newest entry comes first. Nothing is allocated before the first entry comes.
 */
import type { LogAddress } from '../log/address.js';
import {
  addressOf,
  hashLowOf,
  packHigh,
  PARTITION_BITS,
  PARTITIONS,
  tagOf,
  type EntryList,
} from './hash-chunk.js';

/** A constant, because Jest looks globals up through a proxy, at a hundred times the cost. */
const { min } = Math;

const BUCKET_BITS = 16;
const BUCKETS = 1 << BUCKET_BITS;
const BUCKET_MASK = BUCKETS - 1;
const ENTRY_BYTES = 14;
const FIRST_ENTRIES = 1024;
/** As a checkpoint has it. */
const WORDS_PER_ENTRY = 4;

export class PendingEntries {
  count = 0;
  /** First entry of each bucket; like all links a number from 1 on, 0 for none. */
  private heads = new Uint32Array(0);
  private next = new Uint32Array(0);
  private tags = new Int32Array(0);
  private lows = new Int32Array(0);
  private highs = new Uint16Array(0);
  /** Entries that were ever used, and the first of those that are free again. */
  private used = 0;
  private free = 0;

  /** @param limit entries beyond which the table is `full`: it takes more, but should be emptied */
  constructor(public limit: number) {}

  get memoryBytes(): number {
    return this.heads.byteLength + this.tags.length * ENTRY_BYTES;
  }

  get full(): boolean {
    return this.count >= this.limit;
  }

  /** Hot path (`bench/micro/cold-index.mjs`). */
  put(hashLow: number, hashHigh: number, address: LogAddress, sizeClass: number): void {
    this.add(hashLow & BUCKET_MASK, tagOf(hashLow, hashHigh), address / 8, packHigh(address, sizeClass));
  }

  /** Whether there is an entry of this hash. */
  has(hashLow: number, tag: number): boolean {
    if (this.count === 0) return false;
    for (let link = this.heads[hashLow & BUCKET_MASK]; link !== 0; link = this.next[link - 1]) {
      // Partition and tag are all there is of the hash, and buckets are narrower than partitions.
      if (this.tags[link - 1] === tag) return true;
    }
    return false;
  }

  /** Adds the entries of this hash from `begin` on to a list, newest first. */
  collect(hashLow: number, tag: number, begin: LogAddress, into: EntryList): void {
    if (this.count === 0) return;
    for (let link = this.heads[hashLow & BUCKET_MASK]; link !== 0; link = this.next[link - 1]) {
      const at = link - 1;
      if (this.tags[at] === tag) this.addTo(into, at, begin);
    }
  }

  /** Adds all entries of a slot from `begin` on to a list; those of one tag newest first. */
  gather(slot: number, width: number, begin: LogAddress, into: EntryList): void {
    if (this.count === 0) return;
    const mask = (1 << width) - 1;
    const step = 1 << min(width, BUCKET_BITS);
    for (let bucket = slot & BUCKET_MASK; bucket < BUCKETS; bucket += step) {
      for (let link = this.heads[bucket]; link !== 0; link = this.next[link - 1]) {
        const at = link - 1;
        if (((hashLowOf(bucket, this.tags[at]) ^ slot) & mask) === 0) this.addTo(into, at, begin);
      }
    }
  }

  /** Removes all entries of a slot. */
  remove(slot: number, width: number): void {
    if (this.count === 0) return;
    const mask = (1 << width) - 1;
    const step = 1 << min(width, BUCKET_BITS);
    for (let bucket = slot & BUCKET_MASK; bucket < BUCKETS; bucket += step) {
      let before = 0;
      for (let link = this.heads[bucket]; link !== 0;) {
        const at = link - 1;
        const after = this.next[at];
        if (((hashLowOf(bucket, this.tags[at]) ^ slot) & mask) === 0) {
          if (before === 0) this.heads[bucket] = after;
          else this.next[before - 1] = after;
          this.next[at] = this.free;
          this.free = link;
          this.count--;
        } else before = link;
        link = after;
      }
    }
    if (this.count === 0) this.reset();
  }

  /**
   * The buckets in the order in which they should be emptied: those of a partition one after the other, so that its
   * chunks come to lie together.
   */
  static bucketAt(turn: number): number {
    const perPartition = BUCKET_BITS - PARTITION_BITS;
    return (turn >>> perPartition) + (turn & ((1 << perPartition) - 1)) * PARTITIONS;
  }

  static readonly buckets = BUCKETS;

  /** First entry of a bucket, or the one behind `link`; 0 when there is none. */
  linkAfter(bucket: number, link: number): number {
    if (this.count === 0) return 0;
    return link === 0 ? this.heads[bucket] : this.next[link - 1];
  }

  /** `hashLow` of an entry. */
  hashLowAt(bucket: number, link: number): number {
    return hashLowOf(bucket, this.tags[link - 1]);
  }

  /** All entries for a checkpoint, in an order in which `restore` takes them. */
  toWords(): Int32Array {
    const words = new Int32Array(this.count * WORDS_PER_ENTRY);
    let at = words.length;
    for (let bucket = 0; bucket < BUCKETS && at > 0; bucket++) {
      // Newest first, so the array is filled from its end.
      for (let link = this.heads[bucket]; link !== 0; link = this.next[link - 1]) {
        at -= WORDS_PER_ENTRY;
        words[at] = bucket;
        words[at + 1] = this.tags[link - 1];
        words[at + 2] = this.lows[link - 1];
        words[at + 3] = this.highs[link - 1];
      }
    }
    return words;
  }

  /** Takes what `toWords` gave, into an empty table. */
  restore(words: Int32Array): void {
    const count = words.length / WORDS_PER_ENTRY;
    if (count === 0) return;
    this.heads = new Uint32Array(BUCKETS);
    this.allocate(count);
    for (let at = 0; at < words.length; at += WORDS_PER_ENTRY)
      this.add(words[at] & BUCKET_MASK, words[at + 1], words[at + 2], words[at + 3]);
  }

  private add(bucket: number, tag: number, low: number, high: number): void {
    let link = this.free;
    if (link !== 0) this.free = this.next[link - 1];
    else {
      if (this.used === this.tags.length) this.grow();
      link = ++this.used;
    }
    const at = link - 1;
    this.tags[at] = tag;
    this.lows[at] = low;
    this.highs[at] = high;
    this.next[at] = this.heads[bucket];
    this.heads[bucket] = link;
    this.count++;
  }

  private addTo(into: EntryList, at: number, begin: LogAddress): void {
    const low = this.lows[at];
    const high = this.highs[at];
    if (addressOf(low, high) >= begin) into.add(this.tags[at], low, high);
  }

  private reset(): void {
    this.used = this.free = 0;
    if (this.tags.length > this.limit) this.allocate(this.limit);
  }

  private grow(): void {
    if (this.heads.length === 0) this.heads = new Uint32Array(BUCKETS);
    const length = this.tags.length;
    // Not beyond the limit, unless there are more.
    this.allocate(length < this.limit ? min(length * 2 || FIRST_ENTRIES, this.limit) : length * 2);
  }

  private allocate(length: number): void {
    const { next, tags, lows, highs, used } = this;
    this.next = new Uint32Array(length);
    this.tags = new Int32Array(length);
    this.lows = new Int32Array(length);
    this.highs = new Uint16Array(length);
    this.next.set(next.subarray(0, used));
    this.tags.set(tags.subarray(0, used));
    this.lows.set(lows.subarray(0, used));
    this.highs.set(highs.subarray(0, used));
  }
}
