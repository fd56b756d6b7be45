/**
 * What was put into the hot index since some address of the log, in 8 bytes for each record: its chain and size class as the
 * index has them, and its address.
 *
 * Where the records of a long stretch of log are put into an index in their own order, each waits for memory. So rows are
 * given away by range: nine high bits of a bucket's number in the smallest index, in the order of the log within each. In an
 * index of any size the buckets of a range are pieces of 1 KiB, and all of them together a 512th of it.
 */
import type { LogAddress } from '../log/address.js';
import { CHAIN_MASK } from './bucket-store.js';

export const RANGES = 512;
const RANGE_SHIFT = 4;
/** Of the first word of a row: where the size class begins, above the chain. */
export const ROW_CLASS_SHIFT = 28;

/** Highest address of a row, in units of 8 bytes from where the rows begin. */
const MAX_UNITS = 2 ** 32 - 1;

/** Words of a row: chain and size class, and the address in units of 8 bytes from where the rows begin. */
export const WORDS_PER_ROW = 2;

const FIRST_ROWS = 1024;
/** Room for so many is kept. */
const KEPT_ROWS = 128 * 1024;
/** More are not kept: rows of 4 MiB of log are some 50,000. */
const MAX_ROWS = 1024 * 1024;

/** The range of a hash, or of a row by its first word. */
export function rangeOf(hashLow: number): number {
  return (hashLow >>> RANGE_SHIFT) & (RANGES - 1);
}

/** A hash that is in a range. */
export function hashIn(range: number): number {
  return range << RANGE_SHIFT;
}

export class IndexRows {
  count = 0;
  /** Whether rows are missing, because there were too many, or over too long a stretch. */
  lacking = false;
  private words: Uint32Array = new Uint32Array(FIRST_ROWS * WORDS_PER_ROW);
  private sorted: Uint32Array = new Uint32Array(0);

  /** @param from where the stretch of log begins; no address may be below it */
  constructor(private from: LogAddress) {}

  /** A record was put into the index. Hot path (`npm run bench`, load). */
  add(hashLow: number, address: LogAddress, sizeClass: number): void {
    if (this.count * WORDS_PER_ROW === this.words.length && !this.grow()) return;
    const units = (address - this.from) / 8;
    if (units > MAX_UNITS) {
      this.lacking = true;
      return;
    }
    const at = this.count++ * WORDS_PER_ROW;
    this.words[at] = (hashLow & CHAIN_MASK) | (sizeClass << ROW_CLASS_SHIFT);
    this.words[at + 1] = units;
  }

  /**
   * The first rows, by range.
   * @returns the rows, which are good until the next call, and how many each range has
   */
  byRange(count: number): { words: Uint32Array; counts: number[] } {
    const { words } = this;
    const length = count * WORDS_PER_ROW;
    const next = new Uint32Array(RANGES);
    for (let at = 0; at < length; at += WORDS_PER_ROW) next[rangeOf(words[at])]++;
    const counts = [...next];
    let begin = 0;
    for (let range = 0; range < RANGES; range++) {
      next[range] = begin;
      begin += counts[range];
    }
    if (this.sorted.length < length) this.sorted = new Uint32Array(words.length);
    const { sorted } = this;
    for (let at = 0; at < length; at += WORDS_PER_ROW) {
      const to = next[rangeOf(words[at])]++ * WORDS_PER_ROW;
      sorted[to] = words[at];
      sorted[to + 1] = words[at + 1];
    }
    return { words: sorted.subarray(0, length), counts };
  }

  /** Forgets the first rows: the stretch of log begins further on. Rows of `byRange` stay as they are. */
  forget(count: number, from: LogAddress): void {
    const { words } = this;
    const moved = (from - this.from) / 8;
    const length = this.count * WORDS_PER_ROW;
    let to = 0;
    for (let at = count * WORDS_PER_ROW; at < length; at += WORDS_PER_ROW) {
      words[to++] = words[at];
      words[to++] = words[at + 1] - moved;
    }
    this.count = to / WORDS_PER_ROW;
    const kept = KEPT_ROWS * WORDS_PER_ROW;
    if (words.length > kept && to <= kept) {
      this.words = words.slice(0, kept);
      this.sorted = new Uint32Array(0);
    }
    this.from = from;
    this.lacking = false;
  }

  /** Returns whether there is room for another row. */
  private grow(): boolean {
    if (this.count >= MAX_ROWS) {
      this.lacking = true;
      return false;
    }
    const larger = new Uint32Array(this.words.length * 2);
    larger.set(this.words);
    this.words = larger;
    return true;
  }
}
