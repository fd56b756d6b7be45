/**
 * When compaction runs: as soon as the hot log is over its budget, and at an interval that doubles after five runs that
 * found nothing to do, and is as it was after one that did (after Jering.KeyValueStore, which doubles its threshold).
 *
 * Writers that are faster than compaction are slowed down to its speed, not stopped: what they may write grows with what
 * the run under way has gone through, and beyond it they wait.
 */
import type { EnvClock } from '../device/env.js';
import { KvClosedError } from '../errors.js';
import type { HashIndex } from '../hot/hash-index.js';
import type { HybridLog } from '../log/hybrid-log.js';
import type { KvCompactionReport } from './compaction-report.js';
import type { Compactor } from './compactor.js';
import type { Health } from './health.js';
import type { ResolvedOptions } from './options.js';

const USELESS_RUNS = 5;
const LONGEST_BACK_OFF = 64;

/**
 * Share of the budget that may be written on top of it before writers have to wait. Not less: when a run has gone through
 * everything, nothing more is granted while it commits and cleans up, which takes tenths of a second.
 */
const CREDIT_SHARE = 1 / 4;

/**
 * Bytes that may be written for each byte of the hot log that a run went through. For those of the cold log it is fewer:
 * with a share g of garbage, a run that moves H goes through up to H / 2g there, and both together have to let in less
 * than H, or the hot log would grow with every run.
 */
const HOT_GRANT = 1 / 2;

/** Slices are this much longer while writers who do not wait leave compaction behind. */
const HURRY = 4;

/**
 * So many writers wait at the most: who has more in flight than that does not await them, and each would keep its promise
 * in memory.
 */
const MAX_WAITING = 4096;

/** Where room is short, compaction looks every so many milliseconds whether something has expired or was deleted. */
const SHORT_EVERY_MS = 1000;

/** Share of the budget that is written between two runs that are due for the sake of the device's room alone. */
const SHORT_STEP = 1 / 16;

/** Shortest record: so many entries more need at least so many bytes more of log. */
const LEAST_BYTES_PER_ENTRY = 32;

export class CompactionScheduler {
  /** A tail beyond this is reported to `pressed`. */
  limit = Infinity;
  /** As of the beginning of the run. */
  private budget = Infinity;
  /** Runs that failed, and why the last one did. */
  failures = 0;
  lastFailure: Error | undefined;
  private started = false;
  private everyMs: number;
  /** End of the hot log when a run ended last. */
  private lastTail = 0;
  private useless = 0;
  private cancelTimer: (() => void) | undefined;
  private waiting: Promise<void> | undefined;
  private waiters = 0;
  private release: () => void = () => undefined;

  constructor(
    private readonly compactor: Compactor,
    private readonly parts: {
      options: ResolvedOptions;
      clock: EnvClock;
      log: HybridLog;
      index: HashIndex;
      health: Health;
      onFailure: (error: Error) => void;
    },
  ) {
    this.everyMs = parts.options.compaction.everyMs;
    compactor.onBegin = () => this.began();
    compactor.onProgress = (log, bytes) => this.progressed(log, bytes);
    compactor.onEnd = () => {
      this.lastTail = parts.log.tail;
      this.look(0);
    };
    parts.health.whenShort = () => this.wanted();
  }

  start(): void {
    if (this.started || !this.parts.options.compaction.scheduled) return;
    this.started = true;
    this.limit = 0;
    this.setTimer();
    if (this.parts.health.isShort) this.wanted();
  }

  /** Ends the schedule, and a run that is under way at its next safe point. */
  async stop(): Promise<void> {
    this.started = false;
    this.limit = Infinity;
    this.cancelTimer?.();
    this.cancelTimer = undefined;
    this.look(Infinity);
    await this.compactor.stop();
  }

  /**
   * The tail of the hot log is beyond `limit`: starts a run if it is time.
   * @returns what writers have to wait for, if they are too fast
   */
  pressed(): Promise<void> | undefined {
    const { log, options } = this.parts;
    if (!this.started) return undefined;
    if (!this.compactor.running) {
      const next = this.nextLook();
      if (next > log.tail) {
        this.limit = next;
        return undefined;
      }
      this.launch();
    }
    const ahead = log.tail - this.limit;
    if (ahead <= 0) return undefined;
    const { sliceMs } = options.compaction;
    this.compactor.leastMs = ahead > this.budget / 2 ? sliceMs * HURRY : 0;
    if (this.waiters === MAX_WAITING) return undefined;
    this.waiters++;
    this.compactor.holdsWriters = true;
    return (this.waiting ??= new Promise((resolve) => (this.release = resolve)));
  }

  /** Room is short: whatever can be given back is given back now. */
  private wanted(): void {
    if (!this.started) return;
    this.soon();
    this.launch();
  }

  /** Something was deleted while room is short. */
  soon(): void {
    const everyMs = Math.min(this.parts.options.compaction.everyMs, SHORT_EVERY_MS);
    this.useless = 0;
    if (!this.started || this.everyMs <= everyMs) return;
    this.everyMs = everyMs;
    this.setTimer();
  }

  /** The next tail at which the budget may be used up; not beyond the tail if it is. */
  private nextLook(): number {
    const { health, log, index, options } = this.parts;
    const { diskBudget, maxIndexEntries } = options.hot;
    if (this.compactor.hotShare > 1) return log.tail;
    const entries = Math.max(maxIndexEntries - index.expectedEntries, 1) * LEAST_BYTES_PER_ENTRY;
    const bytes = Math.min(diskBudget - log.bytes, entries);
    if (!health.room) return log.tail + bytes;
    // A run for its sake may have given nothing back.
    const next = Math.max(log.tail + health.room.untilDue, this.lastTail + diskBudget * SHORT_STEP);
    return Math.min(log.tail + bytes, next);
  }

  /**
   * Bytes that the hot log may have: with short records, the index sets the limit. Not fewer than the shortest records fill
   * it with: it may hold entries that a truncation has left.
   */
  private currentBudget(): number {
    const { log, options } = this.parts;
    const { diskBudget, maxIndexEntries } = options.hot;
    const { hotShare } = this.compactor;
    const budget = hotShare > 0 ? log.bytes / hotShare : diskBudget;
    return Math.max(budget, Math.min(diskBudget, maxIndexEntries * LEAST_BYTES_PER_ENTRY));
  }

  private launch(): void {
    void this.compactor.run('budget').catch((error: unknown) => this.failed(error));
  }

  private began(): void {
    this.budget = this.currentBudget();
    if (this.started) this.limit = this.parts.log.tail + this.budget * CREDIT_SHARE;
  }

  private progressed(log: 'hot' | 'cold', bytes: number): void {
    if (!this.started) return;
    const { garbageShare } = this.parts.options.cold;
    const grant = log === 'hot' ? HOT_GRANT : garbageShare / (1 + 2 * garbageShare);
    const limit = this.limit + bytes * grant;
    // Otherwise a caller with many writes in flight would write so many more at each bit of progress.
    if (this.parts.log.tail <= limit) this.look(limit);
    else this.limit = limit;
  }

  private failed(error: unknown): void {
    // Nobody waits for a compaction that cannot run; it is tried again at the next interval.
    this.look(Infinity);
    if (error instanceof KvClosedError) return;
    this.failures++;
    this.lastFailure = error instanceof Error ? error : new Error(String(error));
    this.parts.onFailure(this.lastFailure);
  }

  /** Sets a limit, and lets those who wait go on; if they are too fast again, they say so. */
  private look(limit: number): void {
    if (this.started) this.limit = this.compactor.damage.hot ? Infinity : limit;
    this.compactor.leastMs = 0;
    this.compactor.holdsWriters = false;
    this.waiting = undefined;
    this.waiters = 0;
    this.release();
  }

  private setTimer(): void {
    // There is one already, if the schedule was stopped and started again during a run.
    this.cancelTimer?.();
    // A process that has nothing else to do need not stay for this.
    this.cancelTimer = this.parts.clock.after(this.everyMs, () => void this.runIdly(), true);
  }

  private async runIdly(): Promise<void> {
    try {
      this.backOff(await this.compactor.run('interval'));
    } catch (error) {
      this.failed(error);
    }
    if (this.started) this.setTimer();
  }

  private backOff(report: KvCompactionReport): void {
    const { health, options } = this.parts;
    const { everyMs } = options.compaction;
    if (health.isShort) {
      if (++this.useless % USELESS_RUNS === 0) this.everyMs = Math.min(this.everyMs * 2, everyMs);
    } else if (report.hot.truncatedBytes + report.cold.truncatedBytes > 0) {
      this.useless = 0;
      this.everyMs = everyMs;
    } else if (++this.useless % USELESS_RUNS === 0) {
      this.everyMs = Math.min(this.everyMs * 2, everyMs * LONGEST_BACK_OFF);
    }
  }
}
