/**
 * One run of compaction: hot → cold, then cold → cold, each in portions of a log that a `CompactionPass` goes through and
 * that is given up behind it (`DurableSteps`). Here is how far a run goes, and what it does between two portions: indexes
 * are mended, a checkpoint is taken if one is due, damage is remembered. When a run begins, and that there is one at a
 * time, is the business of the `Compactor`.
 *
 * A run that is ended from outside does so at the next commit record, with all durable steps behind it.
 */
import { InvariantError } from '../assert.js';
import type { EnvClock } from '../device/env.js';
import { KvCorruptionError } from '../errors.js';
import { enterRest } from '../hot/late-rows.js';
import type { LogAddress } from '../log/address.js';
import { LogCursor, type ReadBuffer } from '../log/log-cursor.js';
import type { SegmentFiles } from '../log/segment-files.js';
import type { Slices } from '../log/slices.js';
import type { Checkpointer } from './checkpointer.js';
import { ColdCompaction, type ColdCompactionParts } from './cold-compaction.js';
import { CompactionPass, type Boundary } from './compaction-pass.js';
import { newReport, type KvCompactionReason, type KvCompactionReport } from './compaction-report.js';
import type { DurableSteps } from './durable-steps.js';
import type { GroupCommit } from './group-commit.js';
import { isFull, type Health } from './health.js';
import { HotCompaction } from './hot-compaction.js';
import type { IndexMender } from './index-mender.js';
import type { ResolvedOptions } from './options.js';
import { RecordCopier } from './record-copier.js';
import type { Versions } from './versions.js';

export interface CompactionRunParts extends ColdCompactionParts {
  options: ResolvedOptions;
  clock: EnvClock;
  segments: SegmentFiles;
  commits: GroupCommit;
  versions: Versions;
  checkpointer: Checkpointer;
  mender: IndexMender;
  health: Health;
  writeAmplification: () => number;
  onError: (error: Error) => void;
}

/** What one run leaves to the next. */
export interface CompactionTools {
  slices: Slices;
  steps: DurableSteps;
  /** Used by one pass after the other, and what those of the cold log look ahead with. */
  buffer: ReadBuffer;
  aheadBuffer: ReadBuffer;
  /** Why a log cannot be compacted. */
  damage: { hot?: KvCorruptionError; cold?: KvCorruptionError };
}

/** A truncation for each so many bytes at the most, so that space is given back on the way. */
const MAX_PORTION = 64 * 1024 * 1024;

/** The hot log is brought down to this share of its budget, so that a run is worth its costs. */
const HOT_AFTER = 0.75;

/** The cold log is rewritten until its garbage is below this part of the share that it may have. */
const COLD_AFTER = 0.8;

/** Files that the hot log may have beyond those that its budget fills: each unclean stop leaves one, and all of them are open. */
const SHORT_FILES = 64;

/** Garbage is worth rewriting the cold log from this share on where room is short. */
const SHORT_GARBAGE = 0.05;

/** How much of what it may have the hot log has: above 1 is too much. */
export function hotShareOf({ log, index, options, segments }: CompactionRunParts): number {
  const { diskBudget, maxIndexEntries } = options.hot;
  const files = segments.count / (diskBudget / segments.segmentSize + SHORT_FILES);
  return Math.max(log.bytes / diskBudget, index.expectedEntries / maxIndexEntries, files);
}

/** The same of the hot log and of the device, where that knows how much it has. */
export function dueShareOf(parts: CompactionRunParts): number {
  return Math.max(hotShareOf(parts), parts.health.room?.share ?? 0);
}

export class CompactionRun {
  private readonly startMs: number;
  private readonly report: KvCompactionReport;
  private readonly copier: RecordCopier;
  /** Bytes that it has gone through, and those that it may have to. */
  private doneBytes = 0;
  private goalBytes = 0;

  constructor(
    private readonly parts: CompactionRunParts,
    private readonly tools: CompactionTools,
    private readonly reason: KvCompactionReason,
    /** Whether to go through all of both logs. */
    private readonly full: boolean,
    private readonly mayGoOn: () => boolean,
    /** Told of the bytes that it went through, each time before it waits. */
    private readonly onProgress: (log: 'hot' | 'cold', bytes: number) => void,
  ) {
    this.startMs = parts.clock.tick();
    this.report = newReport(reason, this.bytes());
    this.copier = new RecordCopier(parts.cold);
  }

  /** How far it has come, 0 to 1. It may end before: a cold log is rewritten only as far as it has to be. */
  get progress(): number {
    return this.goalBytes === 0 ? 0 : Math.min(1, this.doneBytes / this.goalBytes);
  }

  /** @throws KvCorruptionError at damage; what was passed before it is truncated */
  async run(): Promise<KvCompactionReport> {
    const { copier, mayGoOn, report } = this;
    const { clock, index, writeAmplification } = this.parts;
    const { slices } = this.tools;
    slices.restart();
    await enterRest(index, slices, mayGoOn);
    let done = true;
    let damage: KvCorruptionError | undefined;
    if (this.isDue('hot')) {
      await this.watched('hot', async () => {
        done = await this.compactHot();
      }).catch((error: unknown) => {
        // The cold log can do without the hot one.
        if (!(error instanceof KvCorruptionError)) throw error;
        damage = error;
      });
    }
    // What was copied before damage was met, and again afterwards, is no record more.
    report.hot.droppedRecords = Math.max(0, report.hot.records - copier.copiedRecords);
    if (this.isDue('cold') && mayGoOn()) {
      await this.watched('cold', async () => {
        done = (await this.compactCold()) && done;
      });
    } else {
      done = false;
    }
    if (mayGoOn()) await this.checkpointIfDue();
    if (damage) throw damage;
    const copiedHot = report.hot.records - report.hot.droppedRecords;
    report.cold.droppedRecords = Math.max(0, report.cold.records + copiedHot - copier.copiedRecords);
    report.copiedRecords = copier.copiedRecords;
    report.copiedBytes = copier.copiedBytes;
    report.bytesAfter = this.bytes();
    report.tookMs = clock.tick() - this.startMs;
    report.writeAmplification = writeAmplification();
    report.aborted = !done && !mayGoOn();
    return report;
  }

  private isDue(log: 'hot' | 'cold'): boolean {
    return this.reason === 'manual' || !this.tools.damage[log];
  }

  /** Remembers damage: the schedule leaves that log alone, because begin cannot move past it. */
  private async watched(log: 'hot' | 'cold', compact: () => Promise<void>): Promise<void> {
    const { damage } = this.tools;
    try {
      await compact().catch((error: unknown) => this.mendAndRepeat(error, compact));
      delete damage[log];
    } catch (error) {
      if (error instanceof KvCorruptionError) damage[log] = error;
      throw error;
    }
  }

  /** A run that met a damaged chunk of the cold index goes on from where the log begins now, once it was made anew. */
  private async mendAndRepeat(error: unknown, compact: () => Promise<void>): Promise<void> {
    if (!(error instanceof KvCorruptionError) || !this.parts.cold.index.damage) throw error;
    await this.mendIfDamaged();
    await compact();
  }

  /** That it could not be mended is told by the mender; those who can do without what is lost go on. */
  private async mendIfDamaged(): Promise<void> {
    const { cold, mender } = this.parts;
    const { slices, steps } = this.tools;
    if (!cold.index.damage) return;
    await steps.settle();
    await mender.run().catch((error: unknown) => {
      if (!(error instanceof KvCorruptionError)) throw error;
    });
    slices.restart();
  }

  /** A disk that is full for the checkpoint may have room for what is compacted, and the one before stays in force. */
  private async checkpointIfDue(): Promise<void> {
    const { checkpointer, cold, onError } = this.parts;
    const { slices, steps } = this.tools;
    if (!checkpointer.isDue) return;
    await steps.settle();
    await cold.index.directory.loadAll(slices);
    await this.mendIfDamaged();
    // Not with an index that could not be mended.
    if (!checkpointer.isDue) return;
    try {
      await checkpointer.take();
    } catch (error) {
      if (!isFull(error)) throw error;
      onError(error as Error);
    }
    slices.restart();
  }

  private get needsRoom(): boolean {
    return (this.parts.health.room?.share ?? 0) > 1;
  }

  /** Up to where the hot log is to be moved. */
  private hotGoal(): LogAddress {
    const { log } = this.parts;
    // Where room is short, what was deleted last is not known to be garbage before its mark is in the cold tier.
    if (this.full || (this.reason === 'manual' && this.needsRoom)) return log.tail;
    const share = dueShareOf(this.parts);
    const due = share <= 1 ? log.begin : ((log.tail - (log.bytes / share) * HOT_AFTER) as LogAddress);
    return this.reason === 'manual' && log.head > due ? log.head : due;
  }

  /** Resolves to whether it came to its goal. */
  private async compactHot(): Promise<boolean> {
    const { mayGoOn } = this;
    const { commits, log } = this.parts;
    const goal = this.hotGoal();
    if (goal <= log.begin) return true;
    await commits.commit();
    // The log may begin behind any commit but the last.
    if (goal > commits.usable.end) await commits.mark();
    const end = Math.min(goal, commits.usable.end) as LogAddress;
    this.goalBytes += Math.max(0, end - log.begin);
    while (log.begin < end && mayGoOn()) {
      await this.pass('hot', log.begin, end, mayGoOn);
    }
    return log.begin >= end;
  }

  /**
   * Resolves to whether there is no more to do. A full run goes through all of it, if there is any garbage: how much is
   * only an estimate.
   */
  private async compactCold(): Promise<boolean> {
    const { full, parts, reason } = this;
    const { cold, options, versions } = parts;
    const { slices, steps } = this.tools;
    const { log } = cold.log;
    const most = options.cold.garbageShare;
    const garbageShare = this.needsRoom ? Math.min(SHORT_GARBAGE, most) : most;
    const share = () => cold.garbageShare(versions.now());
    // What was superseded shows when entries are merged.
    await cold.index.flush(slices);
    const { isOverfull } = cold.index;
    if (!isOverfull && share() <= (full ? 0 : garbageShare)) return true;
    await steps.commitCold(false);
    const end = cold.log.synced.tail;
    this.goalBytes += end - log.begin;
    // A scheduled run leaves off when the hot log needs one again, unless there is far too much garbage.
    const mayLeave = () => hotShareOf(parts) > 1 && share() <= 2 * garbageShare;
    const mayGoOn = () => this.mayGoOn() && (reason === 'manual' || !mayLeave());
    const whole = full || isOverfull;
    const isDone = () => log.begin >= end || (!whole && share() <= garbageShare * COLD_AFTER);
    cold.beginRewrite();
    try {
      do {
        await this.pass('cold', log.begin, end, mayGoOn);
      } while (!isDone() && mayGoOn());
    } finally {
      cold.endRewrite(log.begin >= end);
    }
    return isDone();
  }

  /** Goes through a portion of a log, and truncates it as far as it came. */
  private async pass(
    log: 'hot' | 'cold',
    from: LogAddress,
    end: LogAddress,
    mayGoOn: () => boolean,
  ): Promise<void> {
    const { copier, parts } = this;
    const { cold, commits, hash, health, options, segments } = parts;
    const { aheadBuffer, buffer, slices, steps } = this.tools;
    const isHot = log === 'hot';
    const cursor = isHot
      ? new LogCursor(segments, from, commits.usable.end, buffer)
      : new LogCursor(cold.log.segments, from, end, buffer);
    const { segmentSize } = isHot ? segments : cold.log.segments;
    // Where there is little room, it has to be given back before more is taken.
    const portion = health.room ? segmentSize : Math.min(MAX_PORTION, options.hot.diskBudget);
    const goal = Math.min(end, from + portion) as LogAddress;
    const policy = isHot
      ? new HotCompaction(parts, cursor, copier)
      : new ColdCompaction(parts, cursor, copier, goal, end, slices, aheadBuffer);
    let reported: number = from;
    const pass = new CompactionPass(cursor, cold, hash, policy, slices, (address) => {
      this.doneBytes += address - reported;
      this.onProgress(log, address - reported);
      reported = address;
    });
    const truncate = (passed: Boundary) =>
      policy instanceof ColdCompaction
        ? steps.truncateCold(passed, pass.bytes - policy.coveredBytes)
        : steps.truncateHot(passed);
    try {
      await pass.run(goal, mayGoOn);
    } catch (error) {
      // What lies before the damage need not be copied again by the next run.
      if (error instanceof KvCorruptionError && pass.passed) await truncate(pass.passed);
      throw error;
    }
    const part = this.report[log];
    part.records += pass.records;
    if (!pass.passed) throw new InvariantError('INV-6');
    part.truncatedBytes += pass.passed.end - from;
    await truncate(pass.passed);
    // Readers may be waiting for it.
    await this.mendIfDamaged();
    await this.checkpointIfDue();
  }

  private bytes(): number {
    return this.parts.segments.totalSize() + this.parts.cold.log.segments.totalSize();
  }
}
