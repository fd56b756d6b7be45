/**
 * Copies of records at the tail of the cold log, entered into its index. A value in extents goes there piece by
 * piece, but cut anew, as the pages of the cold log ask; a record that is longer than one of those gets extents there.
 */
import type { ColdTier } from '../cold/cold-tier.js';
import { KvCorruptionError } from '../errors.js';
import type { LogAddress } from '../log/address.js';
import { attributesOf, keptUntil } from '../log/attributes.js';
import { ExtentList, ExtentWriter } from '../log/extents.js';
import type { HybridLog } from '../log/hybrid-log.js';
import {
  FLAG_ATTRIBUTES,
  FLAG_EXPIRY,
  FLAG_EXTENTS,
  keyLengthOf,
  KIND_TOMBSTONE,
  KIND_VALUE,
  recordBytes,
  sequenceOf,
} from '../log/record.js';
import { valueEnd, valueStart } from '../log/record-key.js';

/** A record in the buffer of a compaction, with its hash. */
export interface HashedRecord {
  words: Int32Array;
  bytes: Uint8Array;
  at: number;
  low: number;
  high: number;
}

export class RecordCopier {
  copiedRecords = 0;
  copiedBytes = 0;
  /** Of a large value, as long as a page: one is copied at a time. */
  private piece: Buffer | undefined;

  constructor(private readonly cold: ColdTier) {}

  /** Whether a value has to be copied by `copyLarge`. */
  isLarge(words: Int32Array, at: number): boolean {
    const flags = words[at + 1] & 0xff;
    if ((flags & FLAG_EXTENTS) !== 0) return true;
    return recordBytes(flags, keyLengthOf(words, at), words[at + 2]) > this.cold.log.log.maxRecordBytes;
  }

  /** Copies a value that is one record in both logs. */
  copy({ words, at, low, high }: HashedRecord): void {
    const flags = words[at + 1] & 0xff;
    const address = this.cold.log.append(words, at, flags);
    const bytes = recordBytes(flags, keyLengthOf(words, at), words[at + 2]);
    this.enter(low, high, address, bytes, flags, keptUntil(words, at));
  }

  /** Leaves a tombstone in the place of a record: with its version, so that nothing older shines through. */
  bury({ words, at, low, high }: HashedRecord): void {
    const address = this.cold.log.append(words, at, KIND_TOMBSTONE, NO_VALUE);
    const bytes = recordBytes(KIND_TOMBSTONE, keyLengthOf(words, at), 0);
    this.enter(low, high, address, bytes, KIND_TOMBSTONE, Infinity);
  }

  /**
   * Copies a large value, waiting for reads and writes on the way.
   * @param from the log that its extents lie in
   * @param isWanted asked right before the record itself is appended: its pieces alone are garbage
   * @returns whether it was copied
   */
  async copyLarge(record: HashedRecord, from: HybridLog, isWanted: () => boolean): Promise<boolean> {
    const { words, bytes, at, low, high } = record;
    const { log } = this.cold.log;
    const writer = new ExtentWriter(log, sequenceOf(words, at));
    const start = log.tail;
    // As long as pages allow: pieces that are copied as they are would be cut at other borders, and be more each time.
    const piece = (this.piece ??= Buffer.allocUnsafeSlow(log.maxRecordBytes));
    let length = 0;
    const add = async (source: Uint8Array, from: number, to: number): Promise<void> => {
      for (let next = from; next < to;) {
        const end = Math.min(next + writer.nextBytes - length, to);
        piece.set(source.subarray(next, end), length);
        length += end - next;
        next = end;
        if (length < writer.nextBytes) continue;
        writer.add(piece, 0, length);
        length = 0;
        if (this.cold.log.isFull) await this.cold.log.drain();
      }
    };
    if ((words[at + 1] & FLAG_EXTENTS) !== 0) {
      const list = new ExtentList(words, at);
      for (let i = 0; i < list.count; i++) {
        const extent = await list.load(from, i);
        if (!extent)
          throw new KvCorruptionError('A piece of a value is gone', from.fileOf(from.begin), from.begin);
        const begin = valueStart(extent.words, extent.at);
        await add(extent.bytes, begin, begin + list.bytesOf(i));
      }
    } else {
      await add(bytes, valueStart(words, at), valueEnd(words, at));
    }
    writer.add(piece, 0, length);
    if (!isWanted()) return false;
    const flags = KIND_VALUE | FLAG_EXTENTS | (words[at + 1] & (FLAG_EXPIRY | FLAG_ATTRIBUTES));
    const value = Int32Array.of(...(attributesOf(words, at) ?? NO_VALUE), ...writer.list());
    const address = this.cold.log.append(words, at, flags, value);
    this.enter(low, high, address, log.tail - start, flags, keptUntil(words, at));
    return true;
  }

  private enter(
    low: number,
    high: number,
    address: LogAddress,
    bytes: number,
    flags: number,
    expiresAt: number,
  ): void {
    this.cold.enter(low, high, address, bytes, flags, expiresAt);
    this.copiedRecords++;
    this.copiedBytes += bytes;
  }
}

const NO_VALUE = new Int32Array(0);
