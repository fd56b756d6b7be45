/**
 * Extents: a value too long for one record lies in the same log in pieces, records of `KIND_EXTENT`, under the same
 * commit as the record that lists them. The record has `FLAG_EXTENTS`, and its value is the list:
 *
 *   word 0   bytes of the whole value
 *   word 1   number of pieces
 *   three words a piece: its address / 8 (low, high), its bytes
 */
import { KvCorruptionError } from '../errors.js';
import { NO_ADDRESS, type LogAddress } from './address.js';
import { attributesStart, attributeWords } from './attributes.js';
import { inMemory, type DiskRecord, type HybridLog } from './hybrid-log.js';
import { HEADER_BYTES, HEADER_WORDS, KIND_EXTENT, KIND_MASK, recordBytes, writeHeader } from './record.js';
import { sizeClassOf } from './size-class.js';

/** Less room than this at the end of a page is filled up instead of used. */
const SMALLEST_PIECE = 4096;

const TWO_32 = 2 ** 32;
const WORDS_PER_PIECE = 3;

/** Appends a value piece by piece; the list of the pieces becomes the value of its record. */
export class ExtentWriter {
  private readonly pieces: number[] = [];
  private total = 0;

  /** @param sequence what the pieces carry as their version; nobody looks at it */
  constructor(
    private readonly log: HybridLog,
    private readonly sequence: number,
  ) {}

  /** Bytes that the next piece has at the most. */
  get nextBytes(): number {
    const room = this.log.pageRoom - HEADER_BYTES;
    return room >= SMALLEST_PIECE ? room : this.log.maxRecordBytes - HEADER_BYTES;
  }

  /** Appends `source[from, to)`. */
  add(source: Uint8Array, from: number, to: number): void {
    const { log } = this;
    for (let at = from; at < to;) {
      const length = Math.min(to - at, this.nextBytes);
      const address = log.reserve(recordBytes(KIND_EXTENT, 0, length));
      const words = log.ring.wordsAt(address);
      const word = log.ring.wordOffset(address);
      writeHeader(words, word, KIND_EXTENT, 0, 0, length, this.sequence, NO_ADDRESS);
      const bytes = log.ring.bytesAt(address);
      const start = log.ring.byteOffset(address) + HEADER_BYTES;
      bytes.set(source.subarray(at, at + length), start);
      // Padding: a page that is used again holds older bytes.
      bytes.fill(0, start + length, start + ((length + 7) & ~7));
      log.appended();
      this.pieces.push((address / 8) % TWO_32, Math.floor(address / 8 / TWO_32), length);
      this.total += length;
      at += length;
    }
  }

  /** The list, as the value of a record. */
  list(): Int32Array {
    return new Int32Array([this.total, this.pieces.length / WORDS_PER_PIECE, ...this.pieces]);
  }
}

/** The pieces that a record with `FLAG_EXTENTS` lists. */
export class ExtentList {
  /** Bytes of the whole value. */
  readonly total: number;
  readonly count: number;
  private readonly words: Int32Array;

  constructor(words: Int32Array, at: number) {
    const start = attributesStart(words, at);
    // A copy: the page may be used again while pieces are read.
    this.words = words.slice(start + attributeWords(words, at), start + (words[at + 2] >> 2));
    this.total = this.words[0] >>> 0;
    this.count = this.words[1];
  }

  /** Bytes of the pieces' records. */
  get recordBytes(): number {
    return this.total + this.count * HEADER_BYTES;
  }

  addressOf(piece: number): LogAddress {
    const at = 2 + piece * WORDS_PER_PIECE;
    return ((this.words[at + 1] * TWO_32 + (this.words[at] >>> 0)) * 8) as LogAddress;
  }

  bytesOf(piece: number): number {
    return this.words[2 + piece * WORDS_PER_PIECE + 2];
  }

  /** The whole value, if all of it is in memory. */
  gather(log: HybridLog): Uint8Array | undefined {
    for (let piece = 0; piece < this.count; piece++) if (this.addressOf(piece) < log.head) return undefined;
    const value = Buffer.allocUnsafeSlow(this.total);
    let end = 0;
    for (let piece = 0; piece < this.count; piece++)
      end = this.copy(inMemory(log, this.addressOf(piece)), piece, value, end);
    return value;
  }

  /**
   * The whole value, read where it has to be.
   * @returns `undefined` when the log was truncated behind a piece
   * @throws KvCorruptionError when a piece is damaged
   */
  async read(log: HybridLog): Promise<Uint8Array | undefined> {
    const value = Buffer.allocUnsafeSlow(this.total);
    let end = 0;
    for (let piece = 0; piece < this.count; piece++) {
      const address = this.addressOf(piece);
      const record = address >= log.head ? inMemory(log, address) : await this.load(log, piece);
      if (!record) return undefined;
      end = this.copy(record, piece, value, end);
    }
    return value;
  }

  /** One piece, in memory of its own. `undefined` when the log was truncated behind it. */
  async load(log: HybridLog, piece: number): Promise<DiskRecord | undefined> {
    const address = this.addressOf(piece);
    // A copy: by the time that whoever awaits this has it, others may have used the page again.
    if (address >= log.head)
      return copied(inMemory(log, address), recordBytes(KIND_EXTENT, 0, this.bytesOf(piece)));
    if (address < log.begin) return undefined;
    let record: DiskRecord;
    try {
      record = await log.readRecord(address, sizeClassOf(this.bytesOf(piece) + HEADER_BYTES + 8));
    } catch (error) {
      if (address < log.begin) return undefined;
      throw error;
    }
    const { words, at } = record;
    if ((words[at + 1] & KIND_MASK) === KIND_EXTENT && words[at + 2] === this.bytesOf(piece)) return record;
    throw new KvCorruptionError(
      'A piece of a value is not where its record says',
      log.fileOf(address),
      address,
    );
  }

  private copy({ bytes, at }: DiskRecord, piece: number, value: Uint8Array, end: number): number {
    const start = (at + HEADER_WORDS) * 4;
    value.set(bytes.subarray(start, start + this.bytesOf(piece)), end);
    return end + this.bytesOf(piece);
  }
}

function copied({ words, at }: DiskRecord, length: number): DiskRecord {
  const copy = words.slice(at, at + (length >> 2));
  return { words: copy, bytes: new Uint8Array(copy.buffer), at: 0 };
}
