/**
 * Whether a read from disk may be synchronous. `readSync` is the fastest there is as long as the operating system
 * holds the bytes in its page cache, and blocks the event loop when it does not; the thread pool is the other way round
 * (docs/decisions/0007). So: synchronously while that is cheap, and no more than a budget in one turn of the event
 * loop; after a read that was slow, through the thread pool, with a synchronous one now and then to see whether it is
 * cheap again.
 */
import type { EnvClock } from '../device/env.js';

/** Milliseconds of synchronous reads in one turn of the event loop. */
const TURN_BUDGET_MS = 1;
/** A read that takes longer than this came from the disk. */
const SLOW_MS = 0.06;
/** Reads through the thread pool before a synchronous one is tried again: doubled each time it is slow. */
const FIRST_PAUSE = 16;
const LONGEST_PAUSE = 4096;

export class ReadPacer {
  private spentMs = 0;
  private turnAwaited = false;
  private pause = 0;
  private nextPause = FIRST_PAUSE;
  private startMs = 0;

  constructor(private readonly clock: EnvClock) {}

  /** Whether the next read may block; a read that follows is bracketed by `began` and `ended`. */
  maySync(): boolean {
    if (this.pause > 0) {
      this.pause--;
      return false;
    }
    return this.spentMs < TURN_BUDGET_MS;
  }

  began(): void {
    this.startMs = this.clock.tick();
  }

  ended(): void {
    const tookMs = this.clock.tick() - this.startMs;
    this.spentMs += tookMs;
    if (!this.turnAwaited) {
      this.turnAwaited = true;
      void this.clock.turn().then(() => {
        this.turnAwaited = false;
        this.spentMs = 0;
      });
    }
    if (tookMs > SLOW_MS) {
      this.pause = this.nextPause;
      this.nextPause = Math.min(this.nextPause * 2, LONGEST_PAUSE);
    } else {
      this.nextPause = FIRST_PAUSE;
    }
  }
}
