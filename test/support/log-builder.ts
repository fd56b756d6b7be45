/**
 * Builds a log by hand, record by record, as bytes that a test can damage before anybody reads them. Uses the engine's
 * record and commit functions for the bytes, and nothing of what writes or reads a log.
 */
import type { Device } from '../../src/device/device.js';
import { FIRST_ADDRESS, type LogAddress } from '../../src/log/address.js';
import { COMMIT_BYTES, writeCommit, type Commit } from '../../src/log/commit.js';
import {
  checksumOf,
  HEADER_WORDS,
  KIND_VALUE,
  recordBytes,
  writeFiller,
  writeHeader,
} from '../../src/log/record.js';

export interface BuiltRecord {
  address: LogAddress;
  bytes: number;
}

export class LogBuilder {
  /** Where the next record goes. */
  tail: LogAddress;
  /** Every record but the commits. */
  readonly records: BuiltRecord[] = [];
  /** Where each commit record ends. */
  readonly commitEnds: LogAddress[] = [];
  private readonly segments = new Map<number, Buffer>();
  private sequence = 0;
  private rangeFrom: LogAddress;
  private rangeSum = 0;

  constructor(
    readonly segmentSize: number,
    begin: LogAddress = FIRST_ADDRESS,
    readonly log = 'hot',
  ) {
    this.tail = this.rangeFrom = begin;
  }

  get lastEnd(): LogAddress {
    return this.commitEnds.at(-1) ?? FIRST_ADDRESS;
  }

  /** Appends a value record of `bytes` in all, with a key of 4 bytes. */
  value(bytes = 64): this {
    const { words, at } = this.take(bytes);
    const length = bytes - recordBytes(KIND_VALUE, 4, 0);
    writeHeader(words, at, KIND_VALUE, 0, 4, length, ++this.sequence, 0 as LogAddress);
    words[at + HEADER_WORDS] = this.sequence;
    words.fill(0x5a5a5a00 + (this.sequence & 0xff), at + HEADER_WORDS + 1, at + (bytes >> 2));
    return this.seal(words, at, bytes);
  }

  filler(bytes: number): this {
    const { words, at } = this.take(bytes);
    writeFiller(words, at, bytes, this.tail);
    return this.seal(words, at, bytes);
  }

  /** Fills up to the end of the segment. */
  fillSegment(): this {
    const rest = this.segmentSize - (this.tail % this.segmentSize);
    return rest === this.segmentSize ? this : this.filler(rest);
  }

  commit(overrides: Partial<Commit> = {}): this {
    const { words, at } = this.take(COMMIT_BYTES);
    const number = this.commitEnds.length + 1;
    const commit: Commit = {
      number,
      from: this.rangeFrom,
      previousEnd: this.lastEnd,
      knownSynced: number - 1,
      rangeSum: this.rangeSum,
      nextSequence: this.sequence + 1,
      hotBegin: FIRST_ADDRESS,
      coldBegin: 0 as LogAddress,
      maxTime: 1_767_225_600_000 + number,
      dictionaryEntries: 0,
      ...overrides,
    };
    writeCommit(words, at, commit, this.sequence);
    words[at] = checksumOf(words, at, this.tail);
    this.tail = this.rangeFrom = (this.tail + COMMIT_BYTES) as LogAddress;
    this.rangeSum = 0;
    this.commitEnds.push(this.tail);
    return this;
  }

  /** Goes on at the start of a segment, as after an unclean stop: what was not committed is cut off. */
  continueInSegment(segment: number): this {
    const cutAt = this.lastEnd;
    for (const [number, bytes] of [...this.segments]) {
      const keep = cutAt - number * this.segmentSize;
      if (keep <= 0) this.segments.delete(number);
      else if (keep < bytes.length) this.segments.set(number, Buffer.from(bytes.subarray(0, keep)));
    }
    this.tail = this.rangeFrom = (segment * this.segmentSize) as LogAddress;
    this.rangeSum = 0;
    return this;
  }

  nameOf(segment: number): string {
    return `${this.log}-${segment.toString(16).padStart(8, '0')}.log`;
  }

  /** Bytes of each segment's file, up to the tail. */
  files(): Map<string, Buffer> {
    const files = new Map<string, Buffer>();
    for (const [segment, bytes] of this.segments) {
      const used = Math.min(bytes.length, this.tail - segment * this.segmentSize);
      files.set(this.nameOf(segment), bytes.subarray(0, used));
    }
    return files;
  }

  /** Bytes from an address on, without zeros at the end of a file: those may be what lengthens it. */
  writtenBehind(address: number): number {
    let written = 0;
    for (const [name, bytes] of this.files()) {
      const start = Number.parseInt(name.slice(-12, -4), 16) * this.segmentSize;
      const end = bytes.findLastIndex((byte) => byte !== 0) + 1;
      written += Math.max(0, end - Math.max(0, address - start));
    }
    return written;
  }

  writeTo(device: Device): void {
    for (const [name, bytes] of this.files()) {
      const file = device.open(name, { create: true });
      file.writeSync(bytes, 0, bytes.length, 0);
      file.syncSync();
      file.close();
    }
    device.syncDirectorySync();
  }

  private take(bytes: number): { words: Int32Array; at: number } {
    const segment = Math.floor(this.tail / this.segmentSize);
    const offset = this.tail % this.segmentSize;
    if (offset + bytes > this.segmentSize) throw new Error('The record would cross the end of its segment.');
    let file = this.segments.get(segment);
    if (!file) this.segments.set(segment, (file = Buffer.alloc(this.segmentSize)));
    return { words: new Int32Array(file.buffer, file.byteOffset, file.length >> 2), at: offset >> 2 };
  }

  private seal(words: Int32Array, at: number, bytes: number): this {
    words[at] = checksumOf(words, at, this.tail);
    this.rangeSum = (this.rangeSum + words[at]) | 0;
    this.records.push({ address: this.tail, bytes });
    this.tail = (this.tail + bytes) as LogAddress;
    return this;
  }
}
