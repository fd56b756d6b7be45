/**
 * Whether a read from disk may be synchronous. `readSync` is the fastest there is as long as the operating system
 * holds the bytes in its page cache, and blocks the event loop when it does not; the thread pool is the other way
 * round. So synchronous reads are made in windows of some total time, and each window is judged by what its reads
 * cost (docs/decisions/0007 has the figures):
 *
 * - While others want the event loop, synchronous reads may hold it no longer on average than the pool would. A reader
 *   who has the loop to himself may wait for a quick disk in it: he would wait for the thread pool, too. Background work of
 *   the store is nobody else.
 * - What cheap windows save is a credit, of some eighty windows at the most, on which costly ones live. Without credit, all
 *   reads go through the pool for a while, and then a small window shows whether they are cheap again.
 *
 * The bound: one turn of the event loop is blocked by no more than `windowMs` and one read, however long that takes,
 * because after a window nobody reads synchronously until the loop has turned. A window also ends when the loop turns
 * by itself after half of it: so that callers who take turns anyway never meet its end. Windows that cost too much get the
 * credit and one chance; those that follow take 1 % of the time, and come after 64 reads at the earliest.
 */
import type { EnvClock } from '../device/env.js';

export interface Pace {
  /** Milliseconds of synchronous reads until the event loop has to turn. */
  windowMs: number;
  /** The same after a pause: one read from the disk ends it. */
  probeMs: number;
  /** What a synchronous read saves: about as long as one through the pool keeps the event loop busy. */
  poolMs: number;
  /** The same for a reader alone: so much longer would he have waited for the pool. */
  detourMs: number;
  /** What of each read does not count for a reader alone. Beyond it, the detour through the pool is small change. */
  aloneMs: number;
  /** The event loop has other work when it takes longer than this to turn. */
  busyMs: number;
}

const PACE: Pace = {
  windowMs: 0.5,
  probeMs: 0.06,
  poolMs: 0.015,
  detourMs: 0.03,
  aloneMs: 0.2,
  busyMs: 0.05,
};

/** Enough for some reads during which others had the processor: 4 to 36 ms where much is written beside. */
const CREDIT_MS = 40;
/** What is counted of the debt of two windows in a row; four times as much of each that follows. */
const MOST_DEBT_MS = 5;
/** Reads through the thread pool after the first window that nothing pays for: that may be chance. */
const FIRST_PAUSE_READS = 16;
/** After two in a row, pauses last that many reads and that many times the debt, whichever is longer. */
const PAUSE_READS = 64;
const PAUSE_PER_DEBT = 100;

export class ReadPacer {
  /** Milliseconds that synchronous reads have held the event loop since the start. */
  totalMs = 0;
  /** Milliseconds that background work of the store has taken of the event loop so far: it may wait for a reader. */
  backgroundMs: () => number = () => 0;
  private limitMs: number;
  private spentMs = 0;
  /** Of `spentMs`, what single reads took beyond `aloneMs`. */
  private excessMs = 0;
  private reads = 0;
  private startMs = 0;

  /** From the middle of a window to the turn of the event loop. */
  private turning: Promise<void> | undefined;
  /** When it began, when the window was used up, or when somebody was refused for the first time. */
  private turningSinceMs = 0;
  private backgroundThenMs = 0;
  private closed = false;
  private refused = 0;

  private pauseReads = 0;
  private pauseUntilMs = 0;
  private creditMs = 0;
  private debtsInARow = 0;

  constructor(
    private readonly clock: EnvClock,
    private readonly pace: Pace = PACE,
  ) {
    this.limitMs = pace.probeMs;
  }

  /** Whether the next read may block; a read that follows is bracketed by `began` and `ended`. Hot path. */
  maySync(): boolean {
    if (this.closed) {
      // What a reader does until it asks again is no work of others.
      if (++this.refused === 1) this.waitsSince(this.clock.tick());
      return false;
    }
    return this.pauseReads === 0 || this.pauseEnds();
  }

  began(): void {
    this.startMs = this.clock.tick();
  }

  ended(): void {
    const nowMs = this.clock.tick();
    const tookMs = nowMs - this.startMs;
    this.spentMs += tookMs;
    this.totalMs += tookMs;
    if (tookMs > this.pace.aloneMs) this.excessMs += tookMs - this.pace.aloneMs;
    this.reads++;
    if (this.spentMs * 2 >= this.limitMs) this.pastMiddle(nowMs);
  }

  /**
   * When the answer was no because the event loop has to turn first: settles when it has. Asking once more then costs
   * less than the thread pool, if reads are cheap.
   */
  turned(): Promise<void> | undefined {
    return this.closed ? this.turning : undefined;
  }

  /** A single long wait says nothing of how slow the disk is, one after the other does. */
  private debt(): number {
    return Math.min(-this.creditMs, MOST_DEBT_MS * 4 ** (this.debtsInARow - 2));
  }

  private pauseEnds(): boolean {
    if (this.pauseReads > 1) {
      this.pauseReads--;
      return false;
    }
    if (this.clock.tick() < this.pauseUntilMs) return false;
    this.pauseReads = 0;
    return true;
  }

  private pastMiddle(nowMs: number): void {
    const closes = this.spentMs >= this.limitMs && !this.closed;
    if (closes || !this.turning) this.waitsSince(nowMs);
    if (closes) {
      this.closed = true;
      this.refused = 0;
    }
    this.turning ??= this.clock.turn().then(() => this.judge(this.clock.tick()));
  }

  private waitsSince(nowMs: number): void {
    this.turningSinceMs = nowMs;
    this.backgroundThenMs = this.backgroundMs();
  }

  private judge(nowMs: number): void {
    const { windowMs, probeMs, poolMs, detourMs, busyMs } = this.pace;
    const turnMs = nowMs - this.turningSinceMs - (this.backgroundMs() - this.backgroundThenMs);
    // A single chain of awaited reads is refused once, then it waits.
    const shared = this.refused > 1 || turnMs > busyMs;
    const savedMs = shared ? this.reads * poolMs - this.spentMs : this.reads * detourMs - this.excessMs;
    this.creditMs = Math.min(this.creditMs + savedMs, CREDIT_MS);
    if (this.creditMs >= 0) {
      // A probe is too short to prove much.
      if (this.limitMs === windowMs) this.debtsInARow = 0;
      this.limitMs = windowMs;
    } else {
      const chance = ++this.debtsInARow === 1;
      this.pauseReads = 1 + (chance ? FIRST_PAUSE_READS : PAUSE_READS);
      this.pauseUntilMs = chance ? nowMs : nowMs + this.debt() * PAUSE_PER_DEBT;
      this.creditMs = 0;
      this.limitMs = probeMs;
    }
    this.turning = undefined;
    this.closed = false;
    this.refused = 0;
    this.spentMs = 0;
    this.excessMs = 0;
    this.reads = 0;
  }
}
