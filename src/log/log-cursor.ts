/**
 * Going through a part of a log record by record, in large sequential reads, for compaction. Every record is verified:
 * damage ends the journey with an error, because nobody may truncate what could not be read.
 *
 *   while (await cursor.load()) {
 *     while (cursor.next()) use(cursor.words, cursor.at, cursor.address);
 *   }
 */
import { KvCorruptionError } from '../errors.js';
import { MAX_PAGE_SIZE } from '../limits.js';
import type { LogAddress } from './address.js';
import { isIntact, KIND_COMMIT, KIND_MASK, MIN_RECORD_BYTES, totalBytes } from './record.js';
import type { SegmentFiles } from './segment-files.js';

const READ_BYTES = 512 * 1024;

/**
 * What is read into: not longer than a log that is short, and as long as the longest record. Several cursors can use it, one
 * after the other.
 */
export class ReadBuffer {
  bytes: Uint8Array = new Uint8Array(0);

  /** Bytes that are read at once. */
  get span(): number {
    return Math.max(READ_BYTES, this.bytes.length);
  }

  /** Room for so many bytes; what was there is gone. */
  reserve(length: number): Uint8Array {
    if (this.bytes.length < length) this.bytes = Buffer.allocUnsafeSlow(length);
    return this.bytes;
  }
}

export class LogCursor {
  /** The current record. It stays where it is until the next `load`. */
  words: Int32Array = new Int32Array(0);
  at = 0;
  address: LogAddress;
  bytes = 0;
  /** Behind the current record. */
  position: LogAddress;
  private loadedFrom: LogAddress;
  private loadedWords = 0;
  /** Whether the last record was a commit, or there was none yet: logs begin behind one. */
  private behindCommit = true;

  /**
   * @param from start of a record
   * @param until end of a record; everything before it is on the device
   */
  constructor(
    private readonly segments: SegmentFiles,
    from: LogAddress,
    private readonly until: LogAddress,
    private readonly buffer = new ReadBuffer(),
  ) {
    this.address = this.position = this.loadedFrom = from;
  }

  /** The bytes of what was read last: `words` is a view of the same memory. */
  get loadedBytes(): Uint8Array {
    return this.buffer.bytes;
  }

  /** Behind what was read last. */
  get loadedTo(): LogAddress {
    return (this.loadedFrom + this.loadedWords * 4) as LogAddress;
  }

  /** Index of the first word of a record that was read together with the current one, or -1. */
  find(address: LogAddress): number {
    const at = (address - this.loadedFrom) / 4;
    if (at < 0 || at >= this.loadedWords) return -1;
    const available = (this.loadedWords - at) * 4;
    return isIntact(this.words, at, available, address, this.segments.salt) ? at : -1;
  }

  /** Moves to the next record among those that were read; `false` where there is none. */
  next(): boolean {
    const at = (this.position - this.loadedFrom) / 4;
    const available = (this.loadedWords - at) * 4;
    if (available < MIN_RECORD_BYTES || this.position >= this.until) return false;
    if (!isIntact(this.words, at, available, this.position, this.segments.salt)) return false;
    this.at = at;
    this.address = this.position;
    this.bytes = totalBytes(this.words, at);
    this.position = (this.position + this.bytes) as LogAddress;
    this.behindCommit = (this.words[at + 1] & KIND_MASK) === KIND_COMMIT;
    return true;
  }

  /**
   * Reads on. Resolves to `false` when the end is reached.
   * @throws KvCorruptionError at damage
   */
  async load(): Promise<boolean> {
    const { segments } = this;
    let segment = segments.segmentOf(this.position);
    while (
      this.position < this.until &&
      this.position >= segments.startOf(segment) + segments.sizeOf(segment)
    ) {
      // The log has gaps where a tail was cut off: right behind a commit.
      const isGap = this.position < segments.startOf(segment + 1);
      if (isGap && !this.behindCommit) throw this.damaged();
      this.position = Math.min(segments.startOf(++segment), this.until) as LogAddress;
    }
    if (this.position >= this.until) return false;
    for (let { span } = this.buffer; ; span = Math.min(span * 2, MAX_PAGE_SIZE)) {
      const length = Math.min(span, this.until - this.position);
      const bytes = this.buffer.reserve(length);
      const available = await segments.read(this.position, bytes, length);
      this.words = new Int32Array(bytes.buffer, 0, available >> 2);
      this.loadedFrom = this.position;
      this.loadedWords = available >> 2;
      if (isIntact(this.words, 0, available, this.position, segments.salt)) return true;
      // A record may be longer than what was read.
      if (available < span || span >= MAX_PAGE_SIZE) break;
    }
    throw this.damaged();
  }

  /** What is thrown for a record that is not intact, or is missing. */
  damaged(address = this.position): KvCorruptionError {
    const file = this.segments.nameOf(this.segments.segmentOf(address));
    return new KvCorruptionError('A record is damaged', file, address);
  }
}
