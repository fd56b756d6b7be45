/**
 * What is put into the hot index late: all of a range when a key of it is looked up for the first time, and one range after
 * the other beside everything else. Opening a store does not wait for it (decision 20).
 */
import type { LogAddress } from '../log/address.js';
import type { Slices } from '../log/slices.js';
import { hashIn, rangeOf, RANGES, ROW_CLASS_SHIFT, WORDS_PER_ROW } from './index-rows.js';

/** Rows whose buckets are fetched from memory at once. */
const TOUCHED_AHEAD = 32;

/** What a hash index does with entries that come late. */
export interface LateIndex {
  touch(hashLow: number): number;
  find(hashLow: number): LogAddress;
  put(hashLow: number, address: LogAddress, sizeClass: number): void;
  enter(hashLow: number, address: LogAddress, sizeClass: number): void;
}

/** Something that has entries for the ranges of an index. */
export interface LateSource {
  /** How many it has. */
  readonly count: number;
  /** Puts those of a range into the index. */
  enter(index: LateIndex, range: number): void;
}

/** What is still to come into an index, from several sources in this order. */
export class LateEntries {
  private readonly entered = new Uint8Array(RANGES);
  private left = RANGES;
  private next = 0;

  constructor(private readonly sources: LateSource[]) {}

  /** Whether all of them are in the index. */
  get isDone(): boolean {
    return this.left === 0;
  }

  /** About how many are still to come. */
  get count(): number {
    return Math.ceil((this.sources.reduce((sum, { count }) => sum + count, 0) * this.left) / RANGES);
  }

  /** Puts those of the range of a hash into the index, if they are not there yet. */
  enter(index: LateIndex, hashLow: number): void {
    const range = rangeOf(hashLow);
    if (this.entered[range] === 1) return;
    // First, because the index looks them up.
    this.entered[range] = 1;
    this.left--;
    for (const source of this.sources) source.enter(index, range);
  }

  /** The same for a range whose turn it is. */
  enterNext(index: LateIndex): void {
    while (this.next < RANGES && this.entered[this.next] === 1) this.next++;
    if (this.next < RANGES) this.enter(index, hashIn(this.next));
  }
}

/** Rows of a stretch of log. */
export class LateRows implements LateSource {
  /** Of the buckets that were fetched, so that nobody takes that for useless. */
  private touched = 0;

  /**
   * @param from where the stretch begins
   * @param ranges the rows of each
   * @param count of all of them
   * @param begin of the log: what lies below is left out
   */
  constructor(
    private readonly from: LogAddress,
    private readonly ranges: Uint32Array[],
    readonly count: number,
    private readonly begin: LogAddress,
  ) {}

  enter(index: LateIndex, range: number): void {
    const { begin, from } = this;
    const words = this.ranges[range];
    for (let at = 0; at < words.length;) {
      const end = Math.min(at + TOUCHED_AHEAD * WORDS_PER_ROW, words.length);
      let touched = 0;
      for (let row = at; row < end; row += WORDS_PER_ROW) touched |= index.touch(words[row]);
      this.touched |= touched;
      for (; at < end; at += WORDS_PER_ROW) {
        const address = (from + words[at + 1] * 8) as LogAddress;
        if (address >= begin) index.enter(words[at], address, words[at] >>> ROW_CLASS_SHIFT);
      }
    }
  }
}

/** Puts everything into an index that is still to come, in slices. */
export async function enterRest(
  index: { enterNext(): boolean },
  slices: Slices,
  mayGoOn: () => boolean = () => true,
): Promise<void> {
  while (mayGoOn() && index.enterNext()) if (slices.over) await slices.next();
}
