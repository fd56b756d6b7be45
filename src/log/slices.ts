/**
 * Background work in slices: after some milliseconds the event loop turns. A slice is as long as the others took in the
 * turn before, within bounds: so that half of the time is theirs when they have much to do, and nearly all is ours when
 * they have nothing. Work that nobody waits for leaves three turns out before each slice: four fifths of the time are theirs.
 *
 *   for (const record of records) {
 *     work(record);
 *     if (slices.over) await slices.next();
 *   }
 */
import type { EnvClock } from '../device/env.js';

/** Shortest slice: a turn of an idle event loop takes a tenth of it. */
const LEAST_MS = 0.25;
/** Others want the event loop when it takes longer than this to turn. */
const IDLE_TURN_MS = 0.1;
/** Turns from one slice to the next of work that nobody waits for. */
const LEISURE_TURNS = 4;

export class Slices {
  /** Least milliseconds of a slice, for who is in a hurry. */
  leastMs = 0;
  /**
   * Milliseconds of the event loop that were taken, in slices that have ended: each to the last look at the clock, and no more
   * than it was given, because what was awaited in one (a read from disk) was not its work.
   */
  workedMs = 0;
  private startMs: number;
  private endMs: number;
  /** When it was last asked whether the slice is used up. */
  private lookedMs: number;

  constructor(
    private readonly clock: EnvClock,
    /** Most milliseconds of one slice. */
    private readonly mostMs: number,
    /** Whether somebody waits for the work. */
    private readonly isAwaited: () => boolean = () => true,
  ) {
    this.lookedMs = this.startMs = clock.tick();
    this.endMs = this.startMs + mostMs;
  }

  /** Whether the slice is used up. */
  get over(): boolean {
    this.lookedMs = this.clock.tick();
    return this.lookedMs >= this.endMs;
  }

  /** Lets the event loop turn, and begins the next slice. */
  async next(): Promise<void> {
    let nowMs = (this.lookedMs = this.clock.tick());
    this.end();
    let othersMs = 0;
    for (let turns = 1; turns <= LEISURE_TURNS; turns++) {
      const endedMs = nowMs;
      await this.clock.turn();
      nowMs = this.clock.tick();
      othersMs = nowMs - endedMs;
      if (othersMs < IDLE_TURN_MS || this.isAwaited()) break;
    }
    this.begin(nowMs, Math.min(Math.max(othersMs, LEAST_MS), this.mostMs));
  }

  /** Begins a slice where something else was awaited. */
  restart(): void {
    this.end();
    this.begin(this.clock.tick(), Math.min(LEAST_MS, this.mostMs));
  }

  /** Counts what was worked since the last time: several callers may share the slices. */
  private end(): void {
    const toMs = Math.min(this.lookedMs, this.endMs);
    if (toMs <= this.startMs) return;
    this.workedMs += toMs - this.startMs;
    this.startMs = toMs;
  }

  private begin(nowMs: number, givenMs: number): void {
    this.lookedMs = this.startMs = nowMs;
    this.endMs = nowMs + Math.max(givenMs, this.leastMs);
  }
}
