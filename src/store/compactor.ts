/**
 * Compaction as a whole: when it runs, in which order its steps become durable, and what it did. One run at a time per
 * store; whoever asks for another joins it. The order, in which nothing can be lost at any point:
 *
 *   cold log synced → cold index knows the new addresses (from the append on) → hot log committed, so that what covers
 *   the records that were left behind is durable as well → manifest with the new begin → hot index entries below it
 *   dropped → segments unlinked
 *
 * A run ends early (signal, shutdown) at the next commit record, after these steps.
 */
import type { KeyedHash } from '../codec/keyed-hash.js';
import type { ColdTier } from '../cold/cold-tier.js';
import type { EnvClock } from '../device/env.js';
import { InvariantError } from '../assert.js';
import { KvCorruptionError } from '../errors.js';
import type { DecodedCache } from '../hot/decoded-cache.js';
import type { HashIndex } from '../hot/hash-index.js';
import { enterRest } from '../hot/late-rows.js';
import type { ReadCache } from '../hot/read-cache.js';
import type { LogAddress } from '../log/address.js';
import type { HybridLog } from '../log/hybrid-log.js';
import { LogCursor, ReadBuffer } from '../log/log-cursor.js';
import { keyStart, spaceOf } from '../log/record-key.js';
import type { SegmentFiles } from '../log/segment-files.js';
import { Slices } from '../log/slices.js';
import type { Checkpointer, KvCheckpointReport } from './checkpointer.js';
import { ColdCompaction } from './cold-compaction.js';
import { CompactionPass, type Boundary } from './compaction-pass.js';
import type { Dictionary } from './dictionary.js';
import type { GroupCommit } from './group-commit.js';
import { isFull, type Health } from './health.js';
import { HotCompaction } from './hot-compaction.js';
import type { IndexMender } from './index-mender.js';
import type { ManifestFile } from './manifest.js';
import type { ResolvedOptions } from './options.js';
import type { ReadPath } from './read-path.js';
import { RecordCopier } from './record-copier.js';
import type { Spaces } from './spaces.js';
import type { Versions } from './versions.js';

/** Why a compaction ran. */
export type KvCompactionReason = 'budget' | 'interval' | 'manual';

export interface KvCompactOptions {
  /**
   * Everything: the hot log is moved whole, what is in memory included, and the cold log is rewritten whole if it has any
   * garbage. Without it, what is in memory stays hot, and the cold log is rewritten where `cold.garbageShare` asks.
   */
  full?: boolean;
  /** Ends the run at the next safe point; what was done until then stays done. */
  signal?: AbortSignal;
}

/** What a compaction did with one of the logs. */
export interface KvCompactionPart {
  /** Bytes of the log that were read and given up. */
  truncatedBytes: number;
  /** Records in them, and how many of those were not the newest of their key, deleted, expired or cleared. */
  records: number;
  droppedRecords: number;
}

/** What a compaction did. */
export interface KvCompactionReport {
  reason: KvCompactionReason;
  /** Hot → cold, and cold → cold. */
  hot: KvCompactionPart;
  cold: KvCompactionPart;
  /** Records appended to the cold log (tombstones included), and their bytes. */
  copiedRecords: number;
  copiedBytes: number;
  /** Bytes of both logs before and after. */
  bytesBefore: number;
  bytesAfter: number;
  /** Milliseconds from start to end, waiting included. */
  tookMs: number;
  /** Bytes written to all logs and the cold index for each byte that callers wrote, since the store was opened. */
  writeAmplification: number;
  /** Whether it was ended before it was done. */
  aborted: boolean;
}

export interface CompactorParts {
  options: ResolvedOptions;
  clock: EnvClock;
  manifest: ManifestFile;
  dictionary: Dictionary;
  segments: SegmentFiles;
  index: HashIndex;
  log: HybridLog;
  cold: ColdTier;
  cache: ReadCache;
  decoded: DecodedCache | undefined;
  reads: ReadPath;
  versions: Versions;
  spaces: Spaces;
  commits: GroupCommit;
  health: Health;
  hash: KeyedHash;
  checkpointer: Checkpointer;
  mender: IndexMender;
  writeAmplification: () => number;
  /** @throws KvClosedError */
  assertOpen: () => void;
  onError: (error: Error) => void;
}

/** A truncation for each so many bytes at the most, so that space is given back on the way. */
const MAX_PORTION = 64 * 1024 * 1024;

/** The hot log is brought down to this share of its budget, so that a run is worth its costs. */
const HOT_AFTER = 0.75;

/** The cold log is rewritten until its garbage is below this part of the share that it may have. */
const COLD_AFTER = 0.8;

/** Buckets of the hot index that are looked through between two looks at the clock. */
const SWEEP_BUCKETS = 512;

/** The same for slots of the read cache. */
const SWEEP_SLOTS = 4096;

const NO_PART: KvCompactionPart = { truncatedBytes: 0, records: 0, droppedRecords: 0 };

export class Compactor {
  /** Told of each run that has ended. */
  onDone: (report: KvCompactionReport) => void = () => undefined;
  /** Told when a run begins and ends, and between of the bytes it went through, each time before it waits. */
  onBegin: () => void = () => undefined;
  onProgress: (log: 'hot' | 'cold', bytes: number) => void = () => undefined;
  onEnd: () => void = () => undefined;
  running: Promise<KvCompactionReport> | undefined;
  private runningFull = false;
  /** A full run that begins when the one under way has ended. */
  private following: Promise<KvCompactionReport> | undefined;
  /** What the last run did that had something to do. */
  last: KvCompactionReport | undefined;
  /** Why a log cannot be compacted. */
  readonly damage: { hot?: KvCorruptionError; cold?: KvCorruptionError } = {};
  /** A checkpoint between two runs, and when it is really being taken. */
  private checkpointing: Promise<KvCheckpointReport> | undefined;
  private pause: Promise<unknown> | undefined;
  private abort = new AbortController();
  /** Bytes that the run under way has gone through, and those that it may have to. */
  private doneBytes = 0;
  private goalBytes = 0;
  private readonly slices: Slices;
  /** Used by one pass after the other, and what those of the cold log look ahead with. */
  private readonly buffer = new ReadBuffer();
  private readonly aheadBuffer = new ReadBuffer();

  /** Whether writers wait for it. */
  holdsWriters = false;
  /** Whether a caller waits for the run under way. */
  private runningAwaited = false;
  /** End of the hot log when a slice began last. */
  private lastTail = 0;

  constructor(private readonly parts: CompactorParts) {
    this.slices = new Slices(parts.clock, parts.options.compaction.sliceMs, () => this.isAwaited());
  }

  /** Whether somebody waits: who writes now would have to sooner. */
  private isAwaited(): boolean {
    const { tail } = this.parts.log;
    const isWritten = tail !== this.lastTail;
    this.lastTail = tail;
    // A full disk refuses writers until something is given back.
    const isFull = this.parts.health.full !== undefined;
    return isWritten || this.holdsWriters || this.runningAwaited || this.pause !== undefined || isFull;
  }

  /** Least milliseconds of one slice: more, when writers who do not wait are faster than compaction. */
  set leastMs(ms: number) {
    this.slices.leastMs = ms;
  }

  /** Milliseconds of the event loop that runs have taken, in slices. */
  get workedMs(): number {
    return this.slices.workedMs;
  }

  /** How far the run under way has come, 0 to 1. It may end before: a cold log is rewritten only as far as it has to be. */
  get progress(): number | undefined {
    if (!this.running) return undefined;
    return this.goalBytes === 0 ? 0 : Math.min(1, this.doneBytes / this.goalBytes);
  }

  /** Starts a run, or joins the one that is under way; a full one is not content with less, and follows it. */
  run(reason: KvCompactionReason, options: KvCompactOptions = {}): Promise<KvCompactionReport> {
    this.runningAwaited ||= reason === 'manual';
    if (this.running && options.full && !this.runningFull) {
      this.following ??= this.running
        .catch(() => undefined)
        .then(() => {
          this.following = undefined;
          return this.run(reason, options);
        });
      return this.following;
    }
    this.runningFull ||= options.full === true;
    this.running ??= this.begin(reason, options).finally(() => {
      this.running = undefined;
      this.runningFull = false;
      this.runningAwaited = false;
      this.onEnd();
    });
    return this.running;
  }

  /**
   * Takes a checkpoint between two runs, or joins the one that is about to be taken.
   * @throws KvClosedError, KvReadOnlyError, KvDiskError
   */
  checkpoint(): Promise<KvCheckpointReport> {
    return (this.checkpointing ??= this.checkpointBetween().finally(() => (this.checkpointing = undefined)));
  }

  private async checkpointBetween(): Promise<KvCheckpointReport> {
    const { checkpointer, cold, mender } = this.parts;
    return this.alone(async () => {
      this.slices.restart();
      await cold.index.directory.loadAll(this.slices);
      await mender.run();
      return checkpointer.take();
    });
  }

  /** Works between two runs: nothing is appended to the cold log meanwhile, and what is there is committed. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    for (let ends; (ends = this.following ?? this.running ?? this.pause);) {
      this.runningAwaited = this.running !== undefined;
      await ends.catch(() => undefined);
    }
    // Nothing is waited for from here on until `pause` is set: a run that began now would not know of it.
    this.parts.assertOpen();
    const done = this.settle().then(work);
    this.pause = done.catch(() => undefined).finally(() => (this.pause = undefined));
    return done;
  }

  /** Ends the run that is under way at its next safe point; resolves when it has ended. */
  async stop(): Promise<void> {
    this.abort.abort();
    await this.ended();
    this.abort = new AbortController();
  }

  private async ended(): Promise<void> {
    for (;;) {
      const ends = this.following ?? this.running ?? this.pause;
      if (!ends) return;
      this.runningAwaited = this.running !== undefined;
      await ends.catch(() => undefined);
    }
  }

  /**
   * Commits what a run that failed left behind, so that it need not be told from a torn tail, and the index has nothing
   * that is not durable. A store that is read-only can do no more for it, and its reads may need an index to be mended.
   */
  async settle(): Promise<void> {
    const { cold, health } = this.parts;
    if (!cold.log.isDurable && !health.failure) await this.commitCold(false);
  }

  private async begin(
    reason: KvCompactionReason,
    { full = false, signal }: KvCompactOptions,
  ): Promise<KvCompactionReport> {
    const { clock, cold, options, versions } = this.parts;
    while (this.pause) await this.pause;
    const startMs = clock.tick();
    const bytesBefore = this.bytes();
    const copier = new RecordCopier(cold);
    const mayGoOn = () => !this.abort.signal.aborted && !signal?.aborted;
    const report: KvCompactionReport = {
      reason,
      hot: { ...NO_PART },
      cold: { ...NO_PART },
      copiedRecords: 0,
      copiedBytes: 0,
      bytesBefore,
      bytesAfter: 0,
      tookMs: 0,
      writeAmplification: 0,
      aborted: false,
    };
    this.doneBytes = 0;
    this.goalBytes = 0;
    this.onBegin();
    this.slices.restart();
    await enterRest(this.parts.index, this.slices, mayGoOn);
    const isDue = (log: 'hot' | 'cold') => reason === 'manual' || !this.damage[log];
    let done = true;
    let damage: KvCorruptionError | undefined;
    if (isDue('hot')) {
      await this.watched('hot', async () => {
        done = await this.compactHot(this.hotGoal(reason, full), copier, report.hot, mayGoOn);
      }).catch((error: unknown) => {
        // The cold log can do without the hot one.
        if (!(error instanceof KvCorruptionError)) throw error;
        damage = error;
      });
    }
    // What was copied before damage was met, and again afterwards, is no record more.
    report.hot.droppedRecords = Math.max(0, report.hot.records - copier.copiedRecords);
    const share = options.cold.garbageShare;
    if (isDue('cold') && mayGoOn()) {
      // A scheduled run leaves off when the hot log needs one again, unless there is far too much garbage.
      const mayLeave = () => this.hotShare > 1 && cold.garbageShare(versions.now()) <= 2 * share;
      const mayGoOnCold = () => mayGoOn() && (reason === 'manual' || !mayLeave());
      await this.watched('cold', async () => {
        done = (await this.compactCold(full, copier, report.cold, mayGoOnCold)) && done;
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
    report.tookMs = clock.tick() - startMs;
    report.writeAmplification = this.parts.writeAmplification();
    report.aborted = !done && !mayGoOn();
    if (report.hot.records + report.cold.records > 0) {
      this.last = report;
      this.onDone(report);
    }
    return report;
  }

  /** How much of what it may have the hot log has: above 1 is too much. */
  get hotShare(): number {
    const { log, index, options } = this.parts;
    const { diskBudget, maxIndexEntries } = options.hot;
    return Math.max((log.tail - log.begin) / diskBudget, index.expectedEntries / maxIndexEntries);
  }

  /** Remembers damage: the schedule leaves that log alone, because begin cannot move past it. */
  private async watched(log: 'hot' | 'cold', compact: () => Promise<void>): Promise<void> {
    try {
      await compact().catch((error: unknown) => this.mendAndRepeat(error, compact));
      delete this.damage[log];
    } catch (error) {
      if (error instanceof KvCorruptionError) this.damage[log] = error;
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
    if (!cold.index.damage) return;
    await this.settle();
    await mender.run().catch((error: unknown) => {
      if (!(error instanceof KvCorruptionError)) throw error;
    });
    this.slices.restart();
  }

  /** Up to where the hot log is to be moved. */
  private hotGoal(reason: KvCompactionReason, full: boolean): LogAddress {
    const { log } = this.parts;
    if (full) return log.tail;
    if (reason === 'manual') return log.head;
    const share = this.hotShare;
    if (share <= 1) return log.begin;
    return (log.tail - ((log.tail - log.begin) / share) * HOT_AFTER) as LogAddress;
  }

  /** Resolves to whether it came to its goal. */
  private async compactHot(
    goal: LogAddress,
    copier: RecordCopier,
    part: KvCompactionPart,
    mayGoOn: () => boolean,
  ): Promise<boolean> {
    const { commits, log } = this.parts;
    if (goal <= log.begin) return true;
    await commits.commit();
    // The log may begin behind any commit but the last.
    if (goal > commits.usable.end) await commits.mark();
    const end = Math.min(goal, commits.usable.end) as LogAddress;
    this.goalBytes += Math.max(0, end - log.begin);
    while (log.begin < end && mayGoOn()) {
      await this.pass('hot', log.begin, end, copier, part, mayGoOn);
    }
    return log.begin >= end;
  }

  /**
   * Resolves to whether there is no more to do.
   * @param full whether to go through all of it, if there is any garbage: how much is only an estimate
   */
  private async compactCold(
    full: boolean,
    copier: RecordCopier,
    part: KvCompactionPart,
    mayGoOn: () => boolean,
  ): Promise<boolean> {
    const { cold, options, versions } = this.parts;
    const { log } = cold.log;
    const { garbageShare } = options.cold;
    // What was superseded shows when entries are merged.
    await cold.index.flush(this.slices);
    const share = () => cold.garbageShare(versions.now());
    if (share() <= (full ? 0 : garbageShare)) return true;
    await this.commitCold(false);
    const end = cold.log.synced.tail;
    this.goalBytes += end - log.begin;
    const isDone = () => log.begin >= end || (!full && share() <= garbageShare * COLD_AFTER);
    cold.beginRewrite();
    try {
      do {
        await this.pass('cold', log.begin, end, copier, part, mayGoOn);
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
    copier: RecordCopier,
    part: KvCompactionPart,
    mayGoOn: () => boolean,
  ): Promise<void> {
    const { cold, commits, hash, options, segments } = this.parts;
    const isHot = log === 'hot';
    const cursor = isHot
      ? new LogCursor(segments, from, commits.usable.end, this.buffer)
      : new LogCursor(cold.log.segments, from, end, this.buffer);
    const portion = Math.min(MAX_PORTION, options.hot.diskBudget);
    const goal = Math.min(end, from + portion) as LogAddress;
    const policy = isHot
      ? new HotCompaction(this.parts, cursor, copier)
      : new ColdCompaction(this.parts, cursor, copier, goal, end, this.slices, this.aheadBuffer);
    let reported: number = from;
    const run = new CompactionPass(cursor, cold, hash, policy, this.slices, (address) => {
      this.doneBytes += address - reported;
      this.onProgress(log, address - reported);
      reported = address;
    });
    const truncate = (passed: Boundary) =>
      policy instanceof ColdCompaction
        ? this.truncateCold(passed, run.bytes - policy.coveredBytes)
        : this.truncateHot(passed);
    try {
      await run.run(goal, mayGoOn);
    } catch (error) {
      // What lies before the damage need not be copied again by the next run.
      if (error instanceof KvCorruptionError && run.passed) await truncate(run.passed);
      throw error;
    }
    part.records += run.records;
    if (!run.passed) throw new InvariantError('INV-6');
    part.truncatedBytes += run.passed.end - from;
    await truncate(run.passed);
    // Readers may be waiting for it.
    await this.mendIfDamaged();
    await this.checkpointIfDue();
  }

  private async truncateHot(passed: Boundary): Promise<void> {
    const { commits, index, log, reads, segments } = this.parts;
    const { end } = passed;
    await this.commitCold(false);
    await commits.commit();
    await this.replaceManifest('hot', passed);
    log.truncate(end);
    reads.truncations++;
    for (let bucket: number | undefined = 0; bucket !== undefined;) {
      bucket = index.removeBelow(end, bucket, SWEEP_BUCKETS);
      if (this.slices.over) await this.slices.next();
    }
    await this.removeSegments(segments, end);
    await this.forgetTags();
  }

  /** @param bytes that were known to be garbage, or are since they were copied */
  private async truncateCold(passed: Boundary, bytes: number): Promise<void> {
    const { cold, commits, reads, versions } = this.parts;
    const { end } = passed;
    await this.commitCold(true);
    // Records that newer ones in the hot log cover were left behind.
    await commits.commit();
    // So that the records that were copied are known to be superseded, by their copies.
    await cold.index.flush(this.slices);
    await this.replaceManifest('cold', passed);
    cold.log.log.truncate(end);
    reads.truncations++;
    cold.dropped(bytes, versions.now());
    await this.removeSegments(cold.log.segments, end);
    await this.forgetTags();
  }

  /**
   * Behind a truncation: forgets the marks of tags that have nothing to cover any more. What they covered may still be in
   * the caches, and would be alive again: it goes first. Nothing more comes, because no index leads there now.
   */
  private async forgetTags(): Promise<void> {
    const { cache, clock, cold, decoded, log, spaces } = this.parts;
    const { begin, tail } = cold.log.log;
    const { tags } = spaces;
    if (!tags.passed({ hotBegin: log.begin, coldBegin: begin, coldTail: tail })) return;
    const isDead = (words: Int32Array, at: number) =>
      !spaces.get(spaceOf(words[keyStart(words, at)])).isValid(words, at);
    for (let slot: number | undefined = 0; slot !== undefined;) {
      slot = cache.dropWhere(isDead, slot, SWEEP_SLOTS);
      if (this.slices.over) await this.slices.next();
    }
    decoded?.dropTagged();
    // Whoever has just been given a record from disk looks whether it is alive before the event loop turns.
    await clock.turn();
    tags.forget(begin);
  }

  /** A disk that is full for the checkpoint may have room for what is compacted, and the one before stays in force. */
  private async checkpointIfDue(): Promise<void> {
    const { checkpointer, cold } = this.parts;
    if (!checkpointer.isDue) return;
    await this.settle();
    await cold.index.directory.loadAll(this.slices);
    await this.mendIfDamaged();
    // Not with an index that could not be mended.
    if (!checkpointer.isDue) return;
    try {
      await checkpointer.take();
    } catch (error) {
      if (!isFull(error)) throw error;
      this.parts.onError(error as Error);
    }
    this.slices.restart();
  }

  private async commitCold(always: boolean): Promise<void> {
    const { cold, dictionary, health, log, versions } = this.parts;
    try {
      await cold.log.commit(
        {
          nextSequence: versions.last + 1,
          hotBegin: log.begin,
          maxTime: versions.now(),
          dictionaryEntries: dictionary.entries,
        },
        always,
      );
    } catch (error) {
      if (!isFull(error)) health.fail(error);
      throw error;
    }
    this.slices.restart();
  }

  private async replaceManifest(log: 'hot' | 'cold', { end, commit }: Boundary): Promise<void> {
    const { cold, health, manifest } = this.parts;
    try {
      await manifest.replace((current) => {
        const logs = { ...current, [log]: { ...current[log], begin: end, beginCommit: commit } };
        return { ...logs, cold: { ...logs.cold, closed: cold.log.synced } };
      });
    } catch (error) {
      if (!isFull(error)) health.fail(error);
      throw error;
    }
    this.slices.restart();
  }

  private async removeSegments(segments: SegmentFiles, begin: LogAddress): Promise<void> {
    for (const segment of segments.numbers()) {
      if (segments.startOf(segment + 1) > begin) return;
      await segments.remove(segment);
      if (this.slices.over) await this.slices.next();
    }
  }

  private bytes(): number {
    return this.parts.segments.totalSize() + this.parts.cold.log.segments.totalSize();
  }
}
