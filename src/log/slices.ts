/**
 * Background work in slices: no longer than some milliseconds at a time, then the event loop turns.
 *
 *   for (const record of records) {
 *     work(record);
 *     if (slices.over) await slices.next();
 *   }
 */
import type { EnvClock } from '../device/env.js';

export class Slices {
  private endMs: number;

  constructor(
    private readonly clock: EnvClock,
    /** Milliseconds of one slice. */
    public sliceMs: number,
  ) {
    this.endMs = clock.tick() + sliceMs;
  }

  /** Whether the slice is used up. */
  get over(): boolean {
    return this.clock.tick() >= this.endMs;
  }

  /** Lets the event loop turn, and begins the next slice. */
  async next(): Promise<void> {
    await this.clock.turn();
    this.endMs = this.clock.tick() + this.sliceMs;
  }

  /** Begins a slice where something else was awaited. */
  restart(): void {
    this.endMs = this.clock.tick() + this.sliceMs;
  }
}
