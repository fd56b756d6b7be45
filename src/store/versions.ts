/**
 * Sequence numbers (the versions of entries: unique, growing over the whole store) and the time by which entries
 * expire. Time never runs backwards here: what was seen expired stays so, whatever the clock does, and commits carry
 * the highest time over a restart.
 */
import type { EnvClock } from '../device/env.js';
import { KvTooLargeError } from '../errors.js';
import { MAX_SEQUENCE } from '../limits.js';

export class Versions {
  /** The sequence number handed out last. */
  last: number;
  private maxTime: number;

  constructor(
    private readonly clock: EnvClock,
    nextSequence: number,
    maxTime: number,
  ) {
    this.last = nextSequence - 1;
    this.maxTime = maxTime;
  }

  next(): number {
    if (this.last >= MAX_SEQUENCE - 1) throw new KvTooLargeError('The store has used up its 2^48 versions.');
    return ++this.last;
  }

  /** Milliseconds since 1970, never less than before. */
  now(): number {
    const now = this.clock.now();
    if (now > this.maxTime) this.maxTime = now;
    return this.maxTime;
  }

  /** When an entry that is written now expires, in whole milliseconds since 1970; `Infinity` for never. */
  expiryIn(ttlMs: number): number {
    return ttlMs === Infinity ? Infinity : Math.ceil(this.now() + ttlMs);
  }
}
