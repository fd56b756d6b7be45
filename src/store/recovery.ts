/**
 * Recovery by log scan: the state as of the last complete commit, and nothing after it.
 *
 * Records are handed on only once an intact commit record closes their range. Where the chain of commits breaks off,
 * everything behind is searched for commit records that name commits known to be on stable storage: if one of the
 * missing commits is among them (or the manifest names it), bytes that were safe are gone, and that is corruption;
 * otherwise it is the torn tail of an unclean stop, which is cut off and reported.
 */
import { KvCorruptionError } from '../errors.js';
import { FIRST_ADDRESS, type LogAddress } from '../log/address.js';
import { readCommit, type Commit } from '../log/commit.js';
import { KIND_COMMIT, KIND_MASK } from '../log/record.js';
import { findCommits, scanSegment } from '../log/scan.js';
import type { SegmentFiles } from '../log/segment-files.js';
import type { LogManifest } from './manifest.js';

/** What opening the store found on disk. */
export interface KvOpenReport {
  /** Whether the directory was new. */
  created: boolean;
  /** Whether the store had been closed in order. */
  clean: boolean;
  /** Records (versions of entries, deletes included) behind the checkpoint, as the logs or hints beside them have them. */
  records: number;
  /** How many of them hints told of, so that the log was not read for them. */
  hinted: number;
  /** Number of the checkpoint that the indexes come from; missing when they were built from the logs. */
  checkpoint?: number | undefined;
  /** Number of the last commit, which is the state that the store has now. */
  commit: number;
  /** Bytes of the torn tail of an unclean stop: written after the last complete commit, and dropped. */
  droppedBytes: number;
  /** Where the dropped bytes began, as "file, address". */
  droppedFrom?: string;
}

export interface Recovered {
  report: KvOpenReport;
  /** Where the log goes on. */
  tail: LogAddress;
  /** The last commit, or `undefined` for an empty log. */
  last: Commit | undefined;
  /** Where the last commit ended. */
  lastEnd: LogAddress;
}

/** Where recovery begins, if not at the begin of the log: right behind a commit on stable storage. */
export interface RecoveryStart {
  commit: Commit;
  end: LogAddress;
}

/** What recovery does with each record; called in the order of the log. */
export interface RecoverySink {
  /** Takes a record up; it is not part of the state yet. `words` is only valid during the call. */
  stage(words: Int32Array, at: number, address: LogAddress, bytes: number): void;
  /** Everything staged belongs to a complete commit: apply it. */
  apply(): Promise<void>;
}

export class Recovery {
  private last: Commit | undefined;
  private lastEnd: LogAddress;
  private readonly start: LogAddress;
  private rangeFrom: LogAddress;
  private rangeSum = 0;
  private staged = 0;
  private records = 0;
  /** Ends of the last commits, from the one known synced on. */
  private readonly ends: { number: number; end: LogAddress }[] = [];
  /** Set when a commit record does not continue the last one. */
  private broken = false;

  constructor(
    private readonly segments: SegmentFiles,
    private readonly manifest: LogManifest,
    private readonly sink: RecoverySink,
    from?: RecoveryStart,
  ) {
    this.last = from?.commit;
    this.start = this.lastEnd = this.rangeFrom = from?.end ?? manifest.begin;
  }

  /**
   * Reads the log and changes nothing.
   * @returns the last commit
   * @throws KvCorruptionError where `run` would refuse it
   */
  async check(): Promise<Commit | undefined> {
    await this.requireNothingSynced(await this.replay());
    return this.last;
  }

  /** Reads the log, cuts off a torn tail, and makes sure that the rest is on stable storage. */
  async run(): Promise<Recovered> {
    this.removeTruncated();
    const stop = await this.replay();
    await this.requireNothingSynced(stop);
    const recovered = this.cut();
    if (!recovered.report.clean) await this.segments.harden(this.syncedEnd(), this.lastEnd);
    return recovered;
  }

  private get lastNumber(): number {
    return this.last?.number ?? this.manifest.beginCommit;
  }

  /** Where the last commit ended that is known to be on stable storage. */
  private syncedEnd(): LogAddress {
    return this.ends.find(({ number }) => number === this.last?.knownSynced)?.end ?? this.start;
  }

  /** What a truncation that was interrupted left. */
  private removeTruncated(): void {
    const first = this.segments.segmentOf(this.manifest.begin);
    for (const segment of this.segments.numbers()) if (segment < first) this.segments.removeSync(segment);
  }

  /** Applies commit after commit. Returns where the chain of commits ends. */
  private async replay(): Promise<LogAddress> {
    const first = this.segments.segmentOf(this.start);
    const numbers = this.segments.numbers().filter((segment) => segment >= first);
    let stop = this.lastEnd;
    let previous = -1;
    for (const segment of numbers) {
      const start = this.segments.startOf(segment);
      if (previous >= 0 && stop < this.segments.startOf(previous + 1)) {
        // The file before ended early: right only where a cut left it, exactly behind a commit.
        if (stop !== this.lastEnd) return stop;
        this.startRange(start);
      } else if (previous >= 0 && segment !== previous + 1) {
        // A whole segment is missing; only a cut at the very end of one explains that.
        if (stop !== this.lastEnd) return stop;
        this.startRange(start);
      }
      const from = Math.max(start, this.start, FIRST_ADDRESS) as LogAddress;
      if (previous < 0 && from !== this.start) this.startRange(from);
      const end = await scanSegment(this.segments, from, (words, at, address, bytes) => {
        return this.broken ? undefined : this.visit(words, at, address, bytes);
      });
      if (this.broken) return this.lastEnd;
      stop = end;
      previous = segment;
    }
    return stop;
  }

  private visit(
    words: Int32Array,
    at: number,
    address: LogAddress,
    bytes: number,
  ): Promise<void> | undefined {
    if ((words[at + 1] & KIND_MASK) === KIND_COMMIT) return this.visitCommit(words, at, address, bytes);
    this.sink.stage(words, at, address, bytes);
    this.staged++;
    this.rangeSum = (this.rangeSum + words[at]) | 0;
    return undefined;
  }

  private async visitCommit(
    words: Int32Array,
    at: number,
    address: LogAddress,
    bytes: number,
  ): Promise<void> {
    const commit = readCommit(words, at);
    const continues =
      commit.number === this.lastNumber + 1 &&
      commit.from === this.rangeFrom &&
      commit.previousEnd === this.lastEnd &&
      commit.rangeSum === this.rangeSum;
    if (!continues) {
      this.broken = true;
      return;
    }
    await this.sink.apply();
    this.records += this.staged;
    this.last = commit;
    this.lastEnd = (address + bytes) as LogAddress;
    this.ends.push({ number: commit.number, end: this.lastEnd });
    while (this.ends[0].number < commit.knownSynced) this.ends.shift();
    this.startRange(this.lastEnd);
  }

  private startRange(from: LogAddress): void {
    this.rangeFrom = from;
    this.rangeSum = 0;
    this.staged = 0;
  }

  /** Corruption, if anything says that a commit behind the last one was on stable storage. */
  private async requireNothingSynced(stop: LogAddress): Promise<void> {
    // A log is truncated only up to a commit behind which another one was on stable storage.
    const { begin, beginCommit, closed, synced = 0 } = this.manifest;
    let knownSynced = Math.max(closed?.commit ?? 0, synced, begin > FIRST_ADDRESS ? beginCommit + 1 : 0);
    const numbers = this.segments.numbers();
    for (const segment of numbers) {
      const from = Math.max(this.segments.startOf(segment), this.lastEnd) as LogAddress;
      if (this.segments.segmentOf(from) !== segment) continue;
      await findCommits(this.segments, from, (commit) => {
        knownSynced = Math.max(knownSynced, commit.knownSynced);
      });
    }
    if (knownSynced <= this.lastNumber) return;
    throw new KvCorruptionError(
      `The log is damaged: commits up to ${knownSynced} were on stable storage, the last one that can be read is ` +
        `${this.lastNumber}`,
      this.segments.nameOf(this.segments.segmentOf(stop)),
      stop,
    );
  }

  private cut(): Recovered {
    const numbers = this.segments.numbers();
    const lastSegment = this.segments.segmentOf(this.lastEnd);
    let droppedBytes = 0;
    let droppedFrom: string | undefined;
    for (const segment of numbers) {
      const start = this.segments.startOf(segment);
      const keep = Math.max(0, Math.min(this.lastEnd - start, this.segments.segmentSize));
      const dropped = this.segments.writtenBehind(segment, keep);
      droppedBytes += dropped;
      if (dropped > 0) droppedFrom ??= `${this.segments.nameOf(segment)}, address ${start + keep}`;
    }
    const closed = this.manifest.closed;
    const clean =
      droppedBytes === 0 &&
      (closed ? closed.commit === this.lastNumber && closed.tail === this.lastEnd : !this.last);
    let tail = this.lastEnd;
    if (!clean) {
      for (const segment of numbers) {
        if (
          segment > lastSegment ||
          (segment === lastSegment && this.lastEnd === this.segments.startOf(segment))
        ) {
          this.segments.removeSync(segment);
        }
      }
      this.segments.cut(this.lastEnd);
      // Addresses are never used again, not even those of a tail that was dropped.
      const highest = Math.max(lastSegment, ...numbers);
      tail = this.segments.startOf(highest + 1);
    }
    const report: KvOpenReport = {
      created: false,
      clean,
      records: this.records,
      hinted: 0,
      commit: this.lastNumber,
      droppedBytes,
    };
    if (droppedFrom) report.droppedFrom = droppedFrom;
    return { report, tail, last: this.last, lastEnd: this.lastEnd };
  }
}
