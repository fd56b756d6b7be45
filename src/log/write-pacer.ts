/**
 * Whether a write may be synchronous. A short one is in the page cache within some 15 µs, where the way through the thread pool
 * takes 100, and whoever waits for a commit waits for that each time (docs/decisions/0015 has the figures). It may block all
 * the same, while the system throttles writers or its journal is busy: after one that did, all go through the pool for so
 * long that the event loop is blocked for 1 % of the time at the most.
 */
import type { EnvClock } from '../device/env.js';

/** Longest write that is made synchronously. */
const SHORT_BYTES = 64 * 1024;

/** A write that takes longer has blocked. */
const SLOW_MS = 1;

/** A pause lasts so many times as long as the write that began it. */
const PAUSE_PER_MS = 100;

export class WritePacer {
  private pausedUntilMs = -Infinity;

  constructor(private readonly clock: EnvClock) {}

  /**
   * Makes a write at once, if that is likely to be quick.
   * @param bytes that it writes
   * @returns whether it was made
   * @throws whatever `write` throws
   */
  trySync(bytes: number, write: () => void): boolean {
    const startMs = this.clock.tick();
    if (bytes > SHORT_BYTES || startMs < this.pausedUntilMs) return false;
    write();
    const endMs = this.clock.tick();
    const tookMs = endMs - startMs;
    if (tookMs > SLOW_MS) this.pausedUntilMs = endMs + tookMs * PAUSE_PER_MS;
    return true;
  }
}
