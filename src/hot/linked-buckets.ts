/**
 * The buckets of a hash index, each with the overflow buckets that it links to: entries are put into one, visited,
 * dropped, and moved to another one when it is split. Overflow buckets that a bucket does not need any more are used again.
 *
 * Not here: which bucket a hash belongs to, and when one is split. All overflow buckets of the one in question have to be in
 * memory. Hot path (`npm run bench`): `insert`, `split`.
 */
import type { LogAddress } from '../log/address.js';
import {
  addressOf,
  type BucketStore,
  CHANGED_WORD,
  CHUNK_BITS,
  CHUNK_MASK,
  LAST_ENTRY_WORD,
  LINK_WORD,
  WORDS_PER_BUCKET,
} from './bucket-store.js';

const ENTRIES_PER_BUCKET = LAST_ENTRY_WORD / 2 + 1;

export class LinkedBuckets {
  /** Numbers of overflow buckets that no bucket links to. */
  freeOverflow: number[] = [];
  /** Entries of a bucket that is being split. */
  private moving: Uint32Array = new Uint32Array(8 * WORDS_PER_BUCKET);

  constructor(
    private readonly primary: BucketStore,
    private readonly overflow: BucketStore,
  ) {}

  /** Puts an entry, by its two words, into the first free place. */
  insert(bucket: number, low: number, high: number): void {
    let chunks = this.primary.chunks;
    let chunk = chunks[bucket >>> CHUNK_BITS];
    let base = (bucket & CHUNK_MASK) * WORDS_PER_BUCKET;
    for (;;) {
      for (let at = base; at <= base + LAST_ENTRY_WORD; at += 2) {
        if (chunk[at + 1] !== 0) continue;
        chunk[CHANGED_WORD] = 1;
        chunk[at] = low;
        chunk[at + 1] = high;
        return;
      }
      let link = chunk[base + LINK_WORD];
      if (link === 0) {
        link = (this.freeOverflow.pop() ?? this.overflow.add()) + 1;
        chunk[CHANGED_WORD] = 1;
        chunk[base + LINK_WORD] = link;
      }
      chunks = this.overflow.chunks;
      chunk = chunks[(link - 1) >>> CHUNK_BITS];
      base = ((link - 1) & CHUNK_MASK) * WORDS_PER_BUCKET;
    }
  }

  /** Moves the entries of a bucket that have this bit of their second word set to `to`, which is new: in place, if it has no overflow. */
  split(from: number, to: number, bit: number): void {
    const source = this.primary.chunks[from >>> CHUNK_BITS];
    const first = (from & CHUNK_MASK) * WORDS_PER_BUCKET;
    if (source[first + LINK_WORD] !== 0) {
      this.redistribute(from, to, bit);
      return;
    }
    const target = this.primary.chunks[to >>> CHUNK_BITS];
    let free = (to & CHUNK_MASK) * WORDS_PER_BUCKET;
    for (let at = first; at <= first + LAST_ENTRY_WORD; at += 2) {
      const high = source[at + 1];
      if (((high >>> bit) & 1) === 0) continue;
      target[free] = source[at];
      target[free + 1] = high;
      source[at] = source[at + 1] = 0;
      free += 2;
    }
    source[CHANGED_WORD] = target[CHANGED_WORD] = 1;
  }

  /**
   * Drops the entries that point below `address`. Where the first bucket has room for all that is kept, its overflow buckets are
   * free afterwards, if entries `mayMove`.
   * @returns how many were dropped
   */
  removeBelow(bucket: number, address: LogAddress, mayMove: boolean): number {
    let kept = 0;
    let dropped = 0;
    this.each(bucket, (chunk, at) => {
      if (addressOf(chunk, at) >= address) {
        kept++;
        return;
      }
      chunk[CHANGED_WORD] = 1;
      chunk[at] = chunk[at + 1] = 0;
      dropped++;
    });
    if (kept <= ENTRIES_PER_BUCKET && mayMove && this.overflows(bucket)) this.redistribute(bucket, bucket, 0);
    return dropped;
  }

  /** Visits all entries of a bucket. */
  each(primary: number, visit: (chunk: Uint32Array, at: number) => void): void {
    let chunks = this.primary.chunks;
    let bucket = primary;
    for (;;) {
      const chunk = chunks[bucket >>> CHUNK_BITS];
      const base = (bucket & CHUNK_MASK) * WORDS_PER_BUCKET;
      for (let at = base; at <= base + LAST_ENTRY_WORD; at += 2) if (chunk[at + 1] !== 0) visit(chunk, at);
      const link = chunk[base + LINK_WORD];
      if (link === 0) return;
      bucket = link - 1;
      chunks = this.overflow.chunks;
    }
  }

  /** Whether a bucket is in memory and has neither entries nor overflow buckets. */
  isEmpty(bucket: number): boolean {
    const chunk = this.primary.chunks[bucket >>> CHUNK_BITS];
    const base = (bucket & CHUNK_MASK) * WORDS_PER_BUCKET;
    const link = base + LINK_WORD;
    for (let high = base + 1; high < link; high += 2) if (chunk[high] !== 0) return false;
    return chunk[link] === 0;
  }

  private overflows(bucket: number): boolean {
    return (
      this.primary.chunks[bucket >>> CHUNK_BITS][(bucket & CHUNK_MASK) * WORDS_PER_BUCKET + LINK_WORD] !== 0
    );
  }

  /** All entries of a bucket that has overflow buckets are taken out and put back, to one or the other by a bit of the tag. */
  private redistribute(from: number, to: number, bit: number): void {
    let moved = 0;
    let chunks = this.primary.chunks;
    let bucket = from;
    for (;;) {
      const chunk = chunks[bucket >>> CHUNK_BITS];
      const base = (bucket & CHUNK_MASK) * WORDS_PER_BUCKET;
      for (let at = base; at <= base + LAST_ENTRY_WORD; at += 2) {
        if (chunk[at + 1] === 0) continue;
        this.moving[moved++] = chunk[at];
        this.moving[moved++] = chunk[at + 1];
      }
      const link = chunk[base + LINK_WORD];
      chunk.fill(0, base, base + WORDS_PER_BUCKET);
      chunk[CHANGED_WORD] = 1;
      if (chunks === this.overflow.chunks) this.freeOverflow.push(bucket);
      if (link === 0) break;
      bucket = link - 1;
      chunks = this.overflow.chunks;
      if (moved + WORDS_PER_BUCKET > this.moving.length) this.moving = doubled(this.moving);
    }
    for (let i = 0; i < moved; i += 2) {
      this.insert((this.moving[i + 1] >>> bit) & 1 ? to : from, this.moving[i], this.moving[i + 1]);
    }
  }
}

function doubled(words: Uint32Array): Uint32Array {
  const larger = new Uint32Array(words.length * 2);
  larger.set(words);
  return larger;
}
