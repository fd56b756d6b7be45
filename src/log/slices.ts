/**
 * Background work in slices: after some milliseconds the event loop turns. A slice is as long as the others took in the
 * turn before, within bounds: so that half of the time is theirs when they have much to do, and nearly all is ours when
 * they have nothing.
 *
 *   for (const record of records) {
 *     work(record);
 *     if (slices.over) await slices.next();
 *   }
 */
import type { EnvClock } from '../device/env.js';

/** Shortest slice: a turn of an idle event loop takes a tenth of it. */
const LEAST_MS = 0.25;

export class Slices {
  /** Least milliseconds of a slice, for who is in a hurry. */
  leastMs = 0;
  private endMs: number;

  constructor(
    private readonly clock: EnvClock,
    /** Most milliseconds of one slice. */
    private readonly mostMs: number,
  ) {
    this.endMs = clock.tick() + mostMs;
  }

  /** Whether the slice is used up. */
  get over(): boolean {
    return this.clock.tick() >= this.endMs;
  }

  /** Lets the event loop turn, and begins the next slice. */
  async next(): Promise<void> {
    const endedMs = this.clock.tick();
    await this.clock.turn();
    const nowMs = this.clock.tick();
    const fairMs = Math.min(Math.max(nowMs - endedMs, LEAST_MS), this.mostMs);
    this.endMs = nowMs + Math.max(fairMs, this.leastMs);
  }

  /** Begins a slice where something else was awaited. */
  restart(): void {
    this.endMs = this.clock.tick() + Math.max(Math.min(LEAST_MS, this.mostMs), this.leastMs);
  }
}
