/**
 * When commits happen, and who waits for them. One commit runs at a time, or two; everybody who asks meanwhile shares the
 * next one: one write and one sync acknowledge them all (group commit; the idea is as old as System R's log).
 */
import type { EnvClock } from '../device/env.js';
import { KvOverloadedError } from '../errors.js';
import type { HybridLog } from '../log/hybrid-log.js';
import { SEQUENCE_RESERVE } from '../limits.js';
import type { LogAddress } from '../log/address.js';
import type { SegmentFiles } from '../log/segment-files.js';
import type { Dictionary } from './dictionary.js';
import type { Health } from './health.js';
import type { Hints } from './hints.js';
import type { ResolvedOptions } from './options.js';
import type { Versions } from './versions.js';

/** How long a full disk is left alone before the same bytes are tried again, in milliseconds. */
const FULL_RETRY_MS = 250;

/** Where fewer writers wait, all of them share each commit: two at once take a disk longer than one (decision 15). */
const LEAST_CROWD = 60;

/** Writes between two looks at the clock. */
const LOOK_EVERY = 64;

/** What `flush()` did. */
export interface KvFlushReport {
  /** Number of the commit that covers everything written before the call. */
  commit: number;
  /** Bytes of the log up to which everything is on stable storage. */
  durableBytes: number;
}

export interface CommitParts {
  log: HybridLog;
  segments: SegmentFiles;
  dictionary: Dictionary;
  versions: Versions;
  health: Health;
  /** Told of commits; missing where there are no hints. */
  hints: Pick<Hints, 'committed' | 'synced'> | undefined;
  clock: EnvClock;
  /** Where the cold log begins. */
  coldBegin: () => LogAddress;
  /** At `checkpoint` a commit is made at least every so many bytes, because a log can only be truncated behind one. */
  maxUncommitted: number;
}

/** A commit that is about to start, and what its promise will follow. */
interface Queued {
  start: (run: Promise<void>) => void;
  done: Promise<void>;
}

export class GroupCommit {
  /** Highest commit known to be on stable storage. */
  synced: number;
  /** The commit that is about to start. */
  private queued: Queued | undefined;
  /** The commit that was started last, and those before it. */
  private running: Promise<void> | undefined;
  /** How many commits are under way: two at the most. */
  private underWay = 0;
  private waiting = 0;
  /** How many of those wait for the commit that is about to start. */
  private joined = 0;
  /** How many were waiting at the most when one of the last commits started. */
  private crowd = 0;
  private cancelTimer: (() => void) | undefined;
  /** When what was written has to be committed by, at `interval`; writes are let pass without a look at the clock. */
  private dueMs = Infinity;
  private unlooked = 0;
  private closing = false;
  /** The last commit before this opening, the first one behind it, and how many writes have waited for that. */
  private readonly found: number;
  private first: Promise<void> | undefined;
  private beginners = 0;
  /** The last commit known to be on stable storage to the last one that was appended. */
  private named = 0;
  /** Whether the next commit is written even if there is nothing to commit. */
  private forced = false;
  /** Where the last commit on stable storage ended. */
  syncedEnd: LogAddress;
  /** The last commit behind which the log may begin: another one behind it is on stable storage. */
  usable: { commit: number; end: LogAddress };

  /**
   * @param number of the last commit there is
   * @param lastEnd where it ended
   */
  constructor(
    private readonly parts: CommitParts,
    private readonly durability: ResolvedOptions['durability'],
    private readonly maxBacklog: number,
    private number: number,
    private lastEnd: LogAddress,
  ) {
    this.found = this.synced = this.named = number;
    this.syncedEnd = lastEnd;
    this.usable = { commit: number, end: lastEnd };
    parts.health.whenFull = () => this.retrySoon();
  }

  /** Whether a write's promise has to wait for `durable()`. */
  get waits(): boolean {
    return this.durability.level === 'always';
  }

  /** Writes that wait for stable storage now. */
  get backlog(): number {
    return this.waiting;
  }

  /** @throws KvOverloadedError when as many writes wait as may */
  assertRoom(): void {
    if (this.waiting < this.maxBacklog) return;
    throw new KvOverloadedError(
      `${this.waiting} writes wait for stable storage already (maxBacklog). Await the writes, or send fewer at once.`,
    );
  }

  /**
   * A write was made: sees to it that it is committed in time. Returns what the writer waits for when a commit is overdue:
   * who awaits nothing but answers from memory never lets the event loop turn, and neither timer nor disk would get on. The
   * first writes wait for the first commit: before it, no versions are reserved. Not more of them than may wait at all: who
   * writes so much without waiting for any of it holds no version yet.
   *
   * What is returned may be dropped.
   */
  written(): Promise<void> | undefined {
    const overdue = this.overdue();
    if (this.synced > this.found || ++this.beginners > this.maxBacklog) return overdue;
    return this.begin();
  }

  private overdue(): Promise<void> | undefined {
    const { clock, health, log, maxUncommitted } = this.parts;
    if (this.durability.level === 'interval') {
      if (!this.cancelTimer && !this.closing) {
        this.retryAfter(this.durability.everyMs);
        if (this.dueMs === Infinity) this.dueMs = clock.tick() + this.durability.everyMs;
      }
      if (++this.unlooked < LOOK_EVERY) return undefined;
      this.unlooked = 0;
      if (clock.tick() > this.dueMs) return clock.turn();
    } else if (log.uncommittedBytes > maxUncommitted && !this.closing) {
      if (!this.queued) void this.commit().catch(() => undefined);
      // The caller does not let the event loop turn, and compaction has to end somewhere (`Room`).
      else if (health.room && log.uncommittedBytes > 2 * maxUncommitted) this.append(SEQUENCE_RESERVE);
    }
    return undefined;
  }

  /**
   * Resolves once everything written before the call is on stable storage. All who share a commit get the same promise:
   * one for each would cost more than the write. Hot path (`npm run bench`, W8).
   */
  durable(): Promise<void> {
    this.waiting++;
    this.joined++;
    const committed = this.commit();
    if (this.joined * 2 >= this.crowd && this.crowd >= LEAST_CROWD && this.queued)
      this.startHalf(this.queued);
    return committed;
  }

  /** Commits everything written before the call; joins the commit that is about to start. */
  commit(): Promise<void> {
    return (this.queued ??= this.enqueue()).done;
  }

  /** Writes a commit record even if nothing has happened since the last one. */
  mark(): Promise<void> {
    this.forced = true;
    return this.commit();
  }

  async flush(): Promise<KvFlushReport> {
    await this.commit();
    return { commit: this.synced, durableBytes: this.syncedEnd };
  }

  /**
   * The first commit after opening: from here on, versions handed out before a crash are never handed out again, and a
   * log that was cut has its continuation on record.
   */
  async open(): Promise<{ commit: number; tail: LogAddress }> {
    try {
      await this.run(SEQUENCE_RESERVE, true);
    } catch (error) {
      this.closing = true;
      this.cancelTimer?.();
      throw error;
    }
    return { commit: this.number, tail: this.lastEnd };
  }

  /** The same after a clean stop, where it can wait until there is nothing else to do. What is returned may be dropped. */
  begin(): Promise<void> {
    if (this.synced > this.found) return Promise.resolve();
    if (!this.first) {
      this.first = this.commit().finally(() => (this.first = undefined));
      this.first.catch(() => undefined);
    }
    return this.first;
  }

  /** The last commit, which leaves no sequence numbers reserved. Resolves to its number and end. */
  async close(): Promise<{ commit: number; tail: LogAddress }> {
    this.closing = true;
    this.cancelTimer?.();
    this.cancelTimer = undefined;
    for (let last; (last = this.queued?.done ?? this.running);) await last.catch(() => undefined);
    // Whoever asks for a commit from now on waits for this one.
    this.running = this.run(0, true).finally(() => (this.running = undefined));
    await this.running;
    return { commit: this.number, tail: this.lastEnd };
  }

  private enqueue(): Queued {
    let start: (run: Promise<void>) => void = () => undefined;
    const done = new Promise<void>((resolve) => (start = resolve));
    const queued = { start, done };
    void this.startInTime(queued);
    return queued;
  }

  private async startInTime(queued: Queued): Promise<void> {
    if (this.running) {
      await this.running.catch(() => undefined);
      // Those whom it has released, and who write again at once, belong into this commit.
      await this.parts.clock.turn();
    } else {
      // One turn of the microtask queue, so that writes made together are committed together.
      await Promise.resolve();
    }
    if (this.queued === queued) this.start(queued);
  }

  /**
   * Of many writers, each of whom waits for his commit before he writes again, one half works while the disk has what the
   * other half wrote: as soon as half of them are there, their commit starts. Where two cannot be under way at once, each half
   * would wait for the commit of the other.
   */
  private startHalf(queued: Queued): void {
    const { log } = this.parts;
    if (this.underWay < 2 && log.overlaps && log.hasUncommitted) this.start(queued);
  }

  private start(queued: Queued): void {
    this.queued = undefined;
    const served = this.joined;
    this.joined = 0;
    this.crowd = Math.max(this.waiting, this.crowd - 1 - (this.crowd >> 5));
    this.underWay++;
    const before = this.running;
    const run: Promise<void> = this.run(SEQUENCE_RESERVE, false, before).finally(async () => {
      // Whoever waits for the last one waits for all.
      await before?.catch(() => undefined);
      if (this.running === run) this.running = undefined;
      this.underWay--;
      this.waiting -= served;
      if (this.named < this.synced - 1) void this.nameLast();
    });
    this.running = run;
    queued.start(run);
  }

  /**
   * Of two commits that were under way at once neither says of the other that it is on stable storage. When no more come, one
   * more does: so it stays that damage takes the very last commit at the most without being noticed.
   */
  private async nameLast(): Promise<void> {
    await this.parts.clock.turn();
    if (!this.running && !this.queued && !this.closing && this.named < this.synced - 1)
      await this.mark().catch(() => undefined);
  }

  /**
   * @param reserve sequence numbers to reserve
   * @param always whether to write a commit record even if nothing has happened since the last one
   * @param before the commit that is under way, without which this one counts for nothing
   */
  private async run(reserve: number, always: boolean, before?: Promise<void>): Promise<void> {
    const { log, segments, health } = this.parts;
    if (health.failure) throw health.failure;
    try {
      // A full disk is tried with a commit record when there is nothing else to write.
      const probes = health.full !== undefined && this.synced === this.number;
      if (log.hasUncommitted || always || probes || this.forced || this.number === this.found)
        this.append(reserve);
      this.forced = false;
      const { number, lastEnd } = this;
      if (this.synced === number) {
        this.dueFromNow();
        return;
      }
      if (before) {
        await log.flushBeside(lastEnd);
        await before;
        // There was nothing to add to the one before.
        if (this.synced === number) return;
      } else {
        await log.flushTo(lastEnd, this.waits);
      }
      // What came since may not have found room.
      if (this.number === number) health.written();
      await this.sync(segments);
      this.usable = { commit: this.synced, end: this.syncedEnd };
      this.synced = number;
      this.syncedEnd = lastEnd;
      this.parts.hints?.synced(number);
      this.dueFromNow();
    } catch (error) {
      if (!health.failure && !this.closing) this.retryAfter(FULL_RETRY_MS);
      // A durable write does not say whether it was its sync that failed: so both are told alike.
      throw health.failure ?? error;
    }
  }

  /** Everything is committed but what the timer is for, if it runs. */
  private dueFromNow(): void {
    this.dueMs = this.cancelTimer ? this.parts.clock.tick() + this.durability.everyMs : Infinity;
  }

  private append(reserve: number): void {
    const { log, dictionary, versions } = this.parts;
    const end = log.appendCommit(
      {
        number: this.number + 1,
        previousEnd: this.lastEnd,
        knownSynced: this.synced,
        nextSequence: versions.last + 1 + reserve,
        hotBegin: log.begin,
        coldBegin: this.parts.coldBegin(),
        maxTime: versions.now(),
        dictionaryEntries: dictionary.entries,
      },
      versions.last,
    );
    this.number++;
    this.named = this.synced;
    this.lastEnd = end;
    this.parts.hints?.committed(this.number, end);
  }

  private async sync(segments: SegmentFiles): Promise<void> {
    try {
      await segments.sync();
    } catch (error) {
      this.parts.health.fail(error);
      throw this.parts.health.failure ?? error;
    }
  }

  /** The disk is full: it is looked at again soon, however long the interval is. */
  private retrySoon(): void {
    if (this.closing) return;
    this.cancelTimer?.();
    this.cancelTimer = undefined;
    this.retryAfter(FULL_RETRY_MS);
  }

  /** Commits after `ms`; the failure, if it fails, was reported by whoever met it. */
  private retryAfter(ms: number): void {
    if (this.cancelTimer) return;
    this.cancelTimer = this.parts.clock.after(ms, () => {
      this.cancelTimer = undefined;
      void this.commit().catch(() => undefined);
    });
  }
}
