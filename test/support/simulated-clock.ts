/**
 * A clock that stands still until a test moves it. `advance` lets time pass and fires timers in their order; `jump`
 * sets the wall clock forwards or backwards as an administrator would, which timers do not notice.
 */
import type { EnvClock } from '../../src/device/env.js';

/** 2026-01-01T00:00:00Z */
const START_MS = 1_767_225_600_000;

interface Timer {
  dueMs: number;
  callback: () => void;
}

export class SimulatedClock implements EnvClock {
  private passedMs = 0;
  private timers: Timer[] = [];

  private ticks = 0;
  /** How long the work between two looks at `tick` seems to take. */
  tickMs = 0.001;

  constructor(private wallAtStartMs = START_MS) {}

  now(): number {
    return this.wallAtStartMs + this.passedMs;
  }

  tick(): number {
    this.ticks += this.tickMs;
    return this.passedMs + this.ticks;
  }

  after(ms: number, callback: () => void): () => void {
    const timer: Timer = { dueMs: this.passedMs + Math.max(ms, 0), callback };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }

  turn(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  /** Timers that wait to fire. */
  get pending(): number {
    return this.timers.length;
  }

  advance(ms: number): void {
    const endMs = this.passedMs + ms;
    for (;;) {
      const next = this.nextTimer();
      if (!next || next.dueMs > endMs) break;
      this.timers = this.timers.filter((other) => other !== next);
      this.passedMs = next.dueMs;
      next.callback();
    }
    this.passedMs = endMs;
  }

  jump(ms: number): void {
    this.wallAtStartMs += ms;
  }

  /** Forgets every timer, as the end of a process does. */
  clearTimers(): void {
    this.timers = [];
  }

  /** The earliest one; of two that are due at once, the one set first. */
  private nextTimer(): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.timers) {
      if (!next || timer.dueMs < next.dueMs) next = timer;
    }
    return next;
  }
}
