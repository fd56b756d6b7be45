/**
 * What is put into the hot index late: all of a range when a key of it is looked up for the first time, and one range after
 * the other beside everything else. Opening a store does not wait for it (decision 20).
 */
import type { LogAddress } from '../log/address.js';
import type { Slices } from '../log/slices.js';
import type { HashIndex } from './hash-index.js';
import { CLASS_SHIFT, hashIn, rangeOf, RANGES, WORDS_PER_ROW } from './index-rows.js';

/** Rows whose buckets are fetched from memory at once. */
const TOUCHED_AHEAD = 32;

/** Something that has entries for the ranges of an index. */
export interface LateSource {
  /**
   * Puts those of a range into the index; again after an error, from the first on.
   * @throws KvCorruptionError, KvDiskError when a part of the index cannot be loaded
   */
  enter(index: HashIndex, range: number): void;
}

/** What is still to come into an index, from several sources in this order. */
export class LateEntries {
  private readonly entered = new Uint8Array(RANGES);
  private left = RANGES;
  private next = 0;
  private busy = false;

  constructor(private readonly sources: LateSource[]) {}

  /** Whether all of them are in the index. */
  get isDone(): boolean {
    return this.left === 0;
  }

  /**
   * Puts those of the range of a hash into the index, if they are not there yet.
   * @throws KvCorruptionError, KvDiskError when a part of the index cannot be loaded: then they are still to come
   */
  enter(index: HashIndex, hashLow: number): void {
    const range = rangeOf(hashLow);
    // While they are entered they are looked up themselves; and what is mended meanwhile does not put back anything newer.
    if (this.busy || this.entered[range] === 1) return;
    this.busy = true;
    try {
      for (const source of this.sources) source.enter(index, range);
    } finally {
      this.busy = false;
    }
    this.entered[range] = 1;
    this.left--;
  }

  /** The same for a range whose turn it is. */
  enterNext(index: HashIndex): void {
    while (this.next < RANGES && this.entered[this.next] === 1) this.next++;
    if (this.next < RANGES) this.enter(index, hashIn(this.next));
  }
}

/** Rows of a stretch of log. */
export class LateRows implements LateSource {
  /**
   * @param from where the stretch begins
   * @param ranges the rows of each
   * @param begin of the log: what lies below is left out
   */
  constructor(
    private readonly from: LogAddress,
    private readonly ranges: Uint32Array[],
    private readonly begin: LogAddress,
  ) {}

  enter(index: HashIndex, range: number): void {
    const { begin, from } = this;
    const words = this.ranges[range];
    for (let at = 0; at < words.length;) {
      const end = Math.min(at + TOUCHED_AHEAD * WORDS_PER_ROW, words.length);
      for (let row = at; row < end; row += WORDS_PER_ROW) index.touch(words[row]);
      for (; at < end; at += WORDS_PER_ROW) {
        const address = (from + words[at + 1] * 8) as LogAddress;
        if (address >= begin) index.enter(words[at], address, words[at] >>> CLASS_SHIFT);
      }
    }
  }
}

/**
 * Puts everything into an index that is still to come, in slices.
 * @throws KvCorruptionError, KvDiskError when a part of the index cannot be loaded
 */
export async function enterLate(
  index: HashIndex,
  slices: Slices,
  mayGoOn: () => boolean = () => true,
): Promise<void> {
  while (mayGoOn() && index.enterNext()) if (slices.over) await slices.next();
}
