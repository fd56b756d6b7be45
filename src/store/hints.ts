/**
 * Hints beside the hot log: each has what a stretch of it has put into the index, up to a commit on stable storage. After
 * a kill the opening takes the checkpoint and then the hints behind it, one after the other, and reads only the log behind
 * the last. They are written on the way, every 4 MiB, and go with the next checkpoint, which has it all.
 *
 * A hint is an aid: if one cannot be written, those behind it are of no use until the next checkpoint, and nothing else.
 */
import type { ColdTier } from '../cold/cold-tier.js';
import type { Device } from '../device/device.js';
import type { HashIndex } from '../hot/hash-index.js';
import { IndexRows } from '../hot/index-rows.js';
import type { LogAddress } from '../log/address.js';
import type { SegmentFiles } from '../log/segment-files.js';
import { type HintFile, hintName, hintsOn, writeHint, type HintState } from './hint-file.js';
import { isFull } from './health.js';
import type { Spaces } from './spaces.js';
import { classInIndex, type StagedRecord } from './staged-records.js';

/** Bytes of log of one hint: so much is read after a kill at the most, beside what was not committed for long. */
const DUE_BYTES = 4 * 1024 * 1024;

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

export class Hints {
  readonly rows: IndexRows;
  /** Of the hints that the next opening would take up, the commits that they end with. */
  written: number[];
  /** Whether those that are written connect with the checkpoint. */
  private connected = true;
  /** What the next one says if the commit that was written last gets to stable storage. */
  private ready: { rows: number; commit: number; end: LogAddress; state: Omit<HintState, 'hot'> } | undefined;
  private writing: Promise<void> | undefined;
  /** Bytes of log that the next one has, as far as they were committed. */
  private bytes = 0;
  /** Where the last commit ended that was made here. */
  private lastEnd: LogAddress | undefined;
  private readonly dueBytes: number;

  /**
   * @param from where the log begins that neither checkpoint nor hints have: right behind a commit
   * @param taken the hints that the store was opened with
   */
  constructor(
    private readonly parts: HintParts,
    private from: LogAddress,
    taken: HintFile[],
  ) {
    this.written = taken.map(({ state }) => state.hot.commit);
    this.rows = new IndexRows(from);
    this.dueBytes = Math.min(DUE_BYTES, parts.segments.segmentSize / 16);
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
    this.ready = undefined;
    if (rows.lacking) {
      this.connected = false;
      this.forget(rows.count, end);
    } else if (this.bytes >= this.dueBytes && !this.writing && index.isEntered) {
      const state = { from, spaces: spaces.stateFor(cold.meanBytes), entries: index.entries };
      this.ready = { rows: rows.count, commit, end, state };
    }
  }

  /** The commit that was appended last is on stable storage. */
  synced(): void {
    const { ready } = this;
    this.ready = undefined;
    if (!ready || this.rows.lacking) return;
    const { commit, end, state } = ready;
    if (this.connected) {
      const segments = this.parts.segments.lengths(state.from, end);
      this.writing = this.write({ ...state, hot: { commit, end, segments } }, ready.rows);
    }
    this.forget(ready.rows, end);
  }

  /** A checkpoint begins that has the log up to here. */
  continueFrom(end: LogAddress): void {
    this.connected ||= this.from <= end && !this.rows.lacking;
  }

  /**
   * A checkpoint has what hints up to a commit have.
   * @throws KvDiskError
   */
  async removeUpTo(commit: number): Promise<void> {
    const { device } = this.parts;
    await this.writing;
    this.written = this.written.filter((number) => number > commit);
    for (const number of hintsOn(device)) if (number <= commit) await device.remove(hintName(number));
  }

  /** Resolves when nothing is written any more. */
  async close(): Promise<void> {
    await this.writing;
  }

  private forget(rows: number, from: LogAddress): void {
    this.rows.forget(rows, from);
    this.from = from;
    this.bytes = 0;
  }

  /** Never rejects. */
  private async write(state: HintState, rows: number): Promise<void> {
    const { device, onError, storeId } = this.parts;
    try {
      await writeHint(device, storeId, state, this.rows.byRange(rows));
      this.written.push(state.hot.commit);
    } catch (error) {
      this.connected = false;
      if (!isFull(error)) onError(error as Error);
      this.remove(state.hot.commit);
    } finally {
      this.writing = undefined;
    }
  }

  /** What could be written of one takes room. */
  private remove(commit: number): void {
    try {
      this.parts.device.removeSync(hintName(commit));
    } catch {
      // It was not even created, or the next opening removes it.
    }
  }
}
