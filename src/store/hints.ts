/**
 * Hints beside the hot log: each has what a stretch of it has put into the index, up to a commit on stable storage. After
 * a kill the opening takes the checkpoint and then the hints behind it, one after the other, and reads only the log behind
 * the last. They are written on the way, every 4 MiB, and go with the next checkpoint, which has it all.
 *
 * A hint is an aid: where one could not be written, none is until the next checkpoint, and nothing else.
 */
import type { ColdTier } from '../cold/cold-tier.js';
import type { Device } from '../device/device.js';
import type { HashIndex } from '../hot/hash-index.js';
import { IndexRows } from '../hot/index-rows.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import type { SegmentFiles } from '../log/segment-files.js';
import { hintName, hintsOn, writeHint, type HintState } from './hint-file.js';
import { isFull } from './health.js';
import { pointAt } from './log-point.js';
import type { Spaces } from './spaces.js';
import { classInIndex, type StagedRecord } from './staged-records.js';

/** Bytes of log of one hint; at `checkpoint` those of a commit, if that is more. */
const DUE_BYTES = 4 * 1024 * 1024;

/** What a hint has beside its rows is at most this part of its log, as far as the last one tells. */
const TABLE_SHARE = 1 / 8;

export interface HintParts {
  device: Device;
  storeId: string;
  segments: SegmentFiles;
  index: HashIndex;
  spaces: Spaces;
  cold: ColdTier;
  /** Told of what is worth a look at the disk. */
  onError: (error: Error) => void;
}

/** A hint that is written if its commit gets to stable storage. */
interface Prepared {
  rows: number;
  commit: number;
  end: LogAddress;
  state: Omit<HintState, 'hot'>;
  /** Version of the last mark of a tag that it has. */
  tagsUpTo: number;
}

export class Hints {
  /** What was put into the index since the last one. */
  readonly rows: IndexRows;
  private prepared: Prepared | undefined;
  private writing: Promise<void> | undefined;
  /** Bytes of log that the next one has, as far as they were committed. */
  private bytes = 0;
  /** Where the last commit ended that was made here. */
  private lastEnd: LogAddress | undefined;
  /** From here to `from` nothing is lacking in those that were written. */
  private unbrokenFrom: LogAddress;
  /** Up to where the checkpoint has the log, and up to where one has that is being taken. */
  private covered: LogAddress;
  private coming = NO_ADDRESS;
  /** Version of the last mark of a tag that the hints before have. */
  private tagsUpTo: number;
  private dueBytes: number;

  /**
   * @param from where the log begins that neither checkpoint nor hints have: right behind a commit
   * @param written commits that the hints end with that the store was opened with, and those that came since
   */
  constructor(
    private readonly parts: HintParts,
    private from: LogAddress,
    private written: number[],
  ) {
    this.unbrokenFrom = this.covered = from;
    this.rows = new IndexRows(from);
    this.tagsUpTo = parts.spaces.tags.lastVersion;
    this.dueBytes = this.leastBytes;
  }

  /** Commits that the hints end with that the next opening would take up. */
  get commits(): readonly number[] {
    return this.written;
  }

  private get leastBytes(): number {
    return Math.min(DUE_BYTES, this.parts.segments.segmentSize / 16);
  }

  /** Whether those that are written connect with a checkpoint. */
  private get isConnected(): boolean {
    return this.unbrokenFrom <= Math.max(this.covered, this.coming);
  }

  /** A record was read from the log that no hint has. */
  recovered(record: StagedRecord): void {
    this.rows.add(record.low, record.address, classInIndex(record));
    this.bytes += record.bytes;
  }

  /** A commit record was appended. */
  committed(commit: number, end: LogAddress): void {
    const { cold, index, spaces } = this.parts;
    const { from, rows } = this;
    // Before the first one there may be a part of the log that nothing was written to.
    if (this.lastEnd !== undefined) this.bytes += end - this.lastEnd;
    this.lastEnd = end;
    if (rows.lacking) {
      this.prepared = undefined;
      this.goOnFrom(end, rows.count);
      this.unbrokenFrom = end;
    } else if (this.bytes >= this.dueBytes && !this.prepared && !this.writing && index.isEntered) {
      const state = { from, spaces: spaces.stateFor(cold.meanBytes, this.tagsUpTo), entries: index.entries };
      const tagsUpTo = spaces.tags.lastVersion;
      this.prepared = { rows: rows.count, commit, end, state, tagsUpTo };
    }
  }

  /** A commit is on stable storage, and all before it. */
  synced(commit: number): void {
    const { prepared, rows } = this;
    if (!prepared || commit < prepared.commit) return;
    this.prepared = undefined;
    if (this.isConnected) this.writing = this.write(prepared).finally(() => (this.writing = undefined));
    // Otherwise not all that was written since the commit is there: the next one sees to that.
    if (rows.lacking) return;
    this.goOnFrom(prepared.end, prepared.rows);
    this.tagsUpTo = prepared.tagsUpTo;
  }

  /** A checkpoint begins that has the log up to here. */
  checkpointBegins(end: LogAddress): void {
    this.coming = end;
  }

  checkpointFailed(): void {
    this.coming = NO_ADDRESS;
  }

  /**
   * A checkpoint was taken: what it has needs no hint any more.
   * @throws KvDiskError
   */
  async checkpointTaken(commit: number, end: LogAddress): Promise<void> {
    const { device } = this.parts;
    this.covered = end;
    this.coming = NO_ADDRESS;
    await this.writing;
    this.written = this.written.filter((number) => number > commit);
    for (const number of hintsOn(device)) if (number <= commit) await device.remove(hintName(number));
  }

  /** The index is wrong, and so may be what was noted of it: the next opening builds it from the log. */
  forget(): void {
    this.unbrokenFrom = Infinity as LogAddress;
    for (const commit of this.written.splice(0)) this.remove(commit);
  }

  /** Resolves when nothing is written any more. */
  async close(): Promise<void> {
    await this.writing;
  }

  /** The next hint begins here, and lacks the first rows. */
  private goOnFrom(from: LogAddress, rows: number): void {
    this.rows.forget(rows, from);
    this.from = from;
    this.bytes = 0;
  }

  /** Never rejects. */
  private async write({ commit, end, rows, state }: Prepared): Promise<void> {
    const { device, onError, segments, storeId } = this.parts;
    try {
      const whole = { ...state, hot: pointAt(segments, state.from, commit, end) };
      const tableBytes = await writeHint(device, storeId, whole, this.rows.byRange(rows));
      this.dueBytes = Math.max(this.leastBytes, tableBytes / TABLE_SHARE);
      if (this.isConnected) this.written.push(commit);
      else this.remove(commit);
    } catch (error) {
      this.unbrokenFrom = end;
      if (!isFull(error)) onError(error as Error);
      this.remove(commit);
    }
  }

  private remove(commit: number): void {
    try {
      this.parts.device.removeSync(hintName(commit));
    } catch {
      // It was not even created, or the next opening removes it.
    }
  }
}
