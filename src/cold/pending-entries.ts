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
const FIRST_ENTRIES = 1024;
/** Buckets whose turns come one after the other are a region: whether there is anything in one is noted. */
const REGION_BITS = 6;

/** An entry: link to the next of its bucket, tag, low and high word. A checkpoint has the bucket instead of the link. */
const WORDS_PER_ENTRY = 4;
const NEXT = 0;
const TAG = 1;
const LOW = 2;
const HIGH = 3;

export class PendingEntries {
  count = 0;
  /** First entry of each bucket; like all links a number from 1 on, 0 for none. */
  private heads = new Int32Array(0);
  private words: Int32Array = new Int32Array(0);
  /** By region, whether an entry has come since the table was empty. */
  private regions = new Uint8Array(0);
  /** Entries that were ever used, and the first of those that are free again. */
  private used = 0;
  private free = 0;

  /** @param limit entries beyond which the table is `full`: it takes more, but should be emptied */
  constructor(public limit: number) {}

  get memoryBytes(): number {
    return this.heads.byteLength + this.regions.byteLength + this.words.byteLength;
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
    const { words } = this;
    for (let link = this.heads[hashLow & BUCKET_MASK]; link !== 0; link = words[wordOf(link) + NEXT]) {
      // Partition and tag are all there is of the hash, and buckets are narrower than partitions.
      if (words[wordOf(link) + TAG] === tag) return true;
    }
    return false;
  }

  /** Adds the entries of this hash from `begin` on to a list, newest first. */
  collect(hashLow: number, tag: number, begin: LogAddress, into: EntryList): void {
    if (this.count === 0) return;
    const { words } = this;
    for (let link = this.heads[hashLow & BUCKET_MASK]; link !== 0; link = words[wordOf(link) + NEXT]) {
      if (words[wordOf(link) + TAG] === tag) this.addTo(into, wordOf(link), begin);
    }
  }

  /** Adds all entries of a slot from `begin` on to a list; those of one tag newest first. */
  gather(slot: number, width: number, begin: LogAddress, into: EntryList): void {
    if (this.count === 0) return;
    const { words } = this;
    const mask = (1 << width) - 1;
    const step = 1 << min(width, BUCKET_BITS);
    for (let bucket = slot & BUCKET_MASK; bucket < BUCKETS; bucket += step) {
      for (let link = this.heads[bucket]; link !== 0; link = words[wordOf(link) + NEXT]) {
        const at = wordOf(link);
        if (((hashLowOf(bucket, words[at + TAG]) ^ slot) & mask) === 0) this.addTo(into, at, begin);
      }
    }
  }

  /** Removes all entries of a slot. */
  remove(slot: number, width: number): void {
    if (this.count === 0) return;
    const { words } = this;
    const mask = (1 << width) - 1;
    const step = 1 << min(width, BUCKET_BITS);
    for (let bucket = slot & BUCKET_MASK; bucket < BUCKETS; bucket += step) {
      let before = 0;
      for (let link = this.heads[bucket]; link !== 0;) {
        const at = wordOf(link);
        const after = words[at + NEXT];
        if (((hashLowOf(bucket, words[at + TAG]) ^ slot) & mask) === 0) {
          if (before === 0) this.heads[bucket] = after;
          else words[wordOf(before) + NEXT] = after;
          words[at + NEXT] = this.free;
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

  /** The first turn from this one on whose bucket has entries; behind the last one where there is none. */
  nextTurn(turn: number): number {
    if (this.count === 0) return BUCKETS;
    while (turn < BUCKETS) {
      const region = turn >>> REGION_BITS;
      if (this.regions[region] === 0) turn = (region + 1) << REGION_BITS;
      else if (this.heads[PendingEntries.bucketAt(turn)] !== 0) return turn;
      else turn++;
    }
    return BUCKETS;
  }

  static readonly buckets = BUCKETS;

  /** When the bucket of a hash has its turn. */
  static turnOf(hashLow: number): number {
    const perPartition = BUCKET_BITS - PARTITION_BITS;
    return ((hashLow & (PARTITIONS - 1)) << perPartition) | ((hashLow & BUCKET_MASK) >>> PARTITION_BITS);
  }

  /** First entry of a bucket, or the one behind `link`; 0 when there is none. */
  linkAfter(bucket: number, link: number): number {
    if (this.count === 0) return 0;
    return link === 0 ? this.heads[bucket] : this.words[wordOf(link) + NEXT];
  }

  /** `hashLow` of an entry. */
  hashLowAt(bucket: number, link: number): number {
    return hashLowOf(bucket, this.words[wordOf(link) + TAG]);
  }

  /** All entries for a checkpoint, in an order in which `restore` takes them. */
  toWords(): Int32Array {
    const words = new Int32Array(this.count * WORDS_PER_ENTRY);
    let at = words.length;
    for (let bucket = 0; bucket < BUCKETS && at > 0; bucket++) {
      // Newest first, so the array is filled from its end.
      for (let link = this.heads[bucket]; link !== 0; link = this.words[wordOf(link) + NEXT]) {
        at -= WORDS_PER_ENTRY;
        const from = wordOf(link);
        words[at] = bucket;
        for (let word = TAG; word <= HIGH; word++) words[at + word] = this.words[from + word];
      }
    }
    return words;
  }

  /** Takes what `toWords` gave into an empty table, and keeps it. */
  restore(words: Int32Array): void {
    if (words.length === 0) return;
    this.allocateHeads();
    const { heads } = this;
    for (let at = 0, link = 1; at < words.length; at += WORDS_PER_ENTRY, link++) {
      const bucket = words[at] & BUCKET_MASK;
      words[at + NEXT] = heads[bucket];
      heads[bucket] = link;
      this.enterRegion(bucket);
    }
    this.words = words;
    this.count = this.used = words.length / WORDS_PER_ENTRY;
  }

  private add(bucket: number, tag: number, low: number, high: number): void {
    let link = this.free;
    if (link !== 0) this.free = this.words[wordOf(link) + NEXT];
    else {
      if (this.used * WORDS_PER_ENTRY === this.words.length) this.grow();
      link = ++this.used;
    }
    const { words } = this;
    const at = wordOf(link);
    words[at + NEXT] = this.heads[bucket];
    words[at + TAG] = tag;
    words[at + LOW] = low;
    words[at + HIGH] = high;
    this.heads[bucket] = link;
    this.enterRegion(bucket);
    this.count++;
  }

  private enterRegion(bucket: number): void {
    this.regions[PendingEntries.turnOf(bucket) >>> REGION_BITS] = 1;
  }

  private addTo(into: EntryList, at: number, begin: LogAddress): void {
    const { words } = this;
    const low = words[at + LOW];
    const high = words[at + HIGH];
    if (addressOf(low, high) >= begin) into.add(words[at + TAG], low, high);
  }

  private reset(): void {
    this.used = this.free = 0;
    this.regions.fill(0);
    if (this.words.length > this.limit * WORDS_PER_ENTRY) this.allocate(this.limit);
  }

  private grow(): void {
    if (this.heads.length === 0) this.allocateHeads();
    const entries = this.words.length / WORDS_PER_ENTRY;
    // Not beyond the limit, unless there are more.
    this.allocate(entries < this.limit ? min(entries * 2 || FIRST_ENTRIES, this.limit) : entries * 2);
  }

  private allocateHeads(): void {
    this.heads = new Int32Array(BUCKETS);
    this.regions = new Uint8Array(BUCKETS >>> REGION_BITS);
  }

  private allocate(entries: number): void {
    const words = new Int32Array(entries * WORDS_PER_ENTRY);
    words.set(this.words.subarray(0, this.used * WORDS_PER_ENTRY));
    this.words = words;
  }
}

/** The first word of an entry. */
function wordOf(link: number): number {
  return (link - 1) * WORDS_PER_ENTRY;
}
