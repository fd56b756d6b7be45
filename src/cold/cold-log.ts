/**
 * The cold log: records that have cooled, in segment files of their own. The same records, commits and segments as the
 * hot log, and the same class beneath it, with a ring of a few pages that only gathers what compaction appends into
 * large sequential writes: nothing here is ever changed in place.
 *
 * Written by one compaction at a time, and committed by it: a commit closes each portion of a run, so that
 * after a crash a portion is there as a whole or not at all.
 */
import { MIN_RING_PAGES } from '../limits.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import type { Commit } from '../log/commit.js';
import { HybridLog } from '../log/hybrid-log.js';
import type { ReadPacer } from '../log/read-pacer.js';
import {
  FLAG_EXPIRY,
  HEADER_WORDS,
  keyLengthOf,
  recordBytes,
  sequenceOf,
  valueOffset,
  writeHeader,
} from '../log/record.js';
import type { SegmentFiles } from '../log/segment-files.js';

/** A sync begins each time that so many bytes were written: the one of the commit has little left to do then. */
const SYNC_BYTES = 8 * 1024 * 1024;

/** Pages beyond the one that is being filled that may wait to be written. */
const WAITING_PAGES = 2;

export interface ColdLogOptions {
  pageSize: number;
  pacer: ReadPacer | undefined;
  onWriteError: (error: unknown) => void;
  /** Where the log begins and where it goes on; number and end of its last commit. */
  begin: LogAddress;
  tail: LogAddress;
  commit: number;
  lastEnd: LogAddress;
}

/** What a commit of the cold log takes from the store. */
export type CommitFields = Pick<Commit, 'nextSequence' | 'hotBegin' | 'maxTime' | 'dictionaryEntries'>;

export class ColdLog {
  readonly log: HybridLog;
  /** The last commit on stable storage, and where it ended. */
  synced: { commit: number; tail: LogAddress };
  private number: number;
  private lastEnd: LogAddress;
  /** The last sync that was asked for. */
  private syncing: Promise<void> = Promise.resolve();
  /** When this much is written the next sync begins; none does while another is under way. */
  private nextSync: number;

  constructor(
    readonly segments: SegmentFiles,
    options: ColdLogOptions,
  ) {
    const { pageSize } = options;
    const memory = (MIN_RING_PAGES + 1) * pageSize;
    this.log = new HybridLog(segments, {
      pageSize,
      memoryBudget: () => memory,
      maxMemory: memory,
      mutableFraction: 0,
      retains: true,
      giveAway: () => undefined,
      pacer: options.pacer,
      onWriteError: options.onWriteError,
      begin: options.begin,
      tail: options.tail,
    });
    this.number = options.commit;
    this.lastEnd = options.lastEnd;
    this.synced = { commit: options.commit, tail: options.lastEnd };
    this.nextSync = options.tail + SYNC_BYTES;
  }

  /** Bytes between begin and tail, without gaps. */
  get bytes(): number {
    return this.log.bytes;
  }

  /**
   * Appends a copy of a record, without slack and without a link to an older one.
   * @param flags kind and flags of the copy: a tombstone may take the place of a value
   * @param value of the copy, in whole words; the record's own when it is left out
   * @returns its address
   */
  append(words: Int32Array, at: number, flags: number, value?: Int32Array): LogAddress {
    const keyLength = keyLengthOf(words, at);
    const valueLength = value ? value.length * 4 : words[at + 2];
    const bytes = recordBytes(flags, keyLength, valueLength);
    const address = this.log.reserve(bytes);
    const target = this.log.ring.wordsAt(address);
    let to = this.log.ring.wordOffset(address);
    const end = to + (bytes >> 2);
    writeHeader(target, to, flags, 0, keyLength, valueLength, sequenceOf(words, at), NO_ADDRESS);
    to += HEADER_WORDS;
    if ((flags & FLAG_EXPIRY) !== 0) {
      target[to++] = words[at + HEADER_WORDS];
      target[to++] = words[at + HEADER_WORDS + 1];
    }
    // Key and value lie behind one another, padded to 4.
    let from = at + (valueOffset(words[at + 1] & 0xff, 0) >> 2);
    const keyWords = (keyLength + 3) >> 2;
    const copied = keyWords + (value ? 0 : (valueLength + 3) >> 2);
    for (const last = from + copied; from < last;) target[to++] = words[from++];
    if (value) for (const word of value) target[to++] = word;
    while (to < end) target[to++] = 0;
    this.log.appended();
    this.syncAhead();
    return address;
  }

  /** Whether everything that was appended is on stable storage: a commit whose write failed is not. */
  get isDurable(): boolean {
    return !this.log.hasUncommitted && this.synced.tail === this.lastEnd;
  }

  /** Whether `drain` has to be awaited before more is appended: otherwise memory would fill, and writes would block. */
  get isFull(): boolean {
    return this.log.tail - this.log.flushed > WAITING_PAGES * this.log.maxRecordBytes;
  }

  /** Waits until full pages are written. */
  async drain(): Promise<void> {
    await this.log.flushTo(this.log.readOnly);
    this.syncAhead();
  }

  /**
   * Closes what was appended with a commit record and makes it durable.
   * @param always whether to write a commit record even if nothing was appended
   * @throws KvDiskError
   */
  async commit(fields: CommitFields, always: boolean): Promise<void> {
    const { log } = this;
    if (log.hasUncommitted || always) {
      this.lastEnd = log.appendCommit(
        {
          number: this.number + 1,
          previousEnd: this.lastEnd,
          knownSynced: this.synced.commit,
          coldBegin: log.begin,
          ...fields,
        },
        fields.nextSequence - 1,
      );
      this.number++;
    }
    await log.flushTo(this.lastEnd);
    await this.sync();
    this.synced = { commit: this.number, tail: this.lastEnd };
  }

  private syncAhead(): void {
    if (this.log.flushed < this.nextSync) return;
    // The commit will fail as well.
    this.sync().catch(() => undefined);
  }

  /** One after the other. When one has failed all later ones do: they would not write what it lost. */
  private sync(): Promise<void> {
    this.nextSync = Infinity;
    this.syncing = this.syncing.then(async () => {
      const { flushed } = this.log;
      await this.segments.sync();
      this.nextSync = flushed + SYNC_BYTES;
    });
    return this.syncing;
  }
}
