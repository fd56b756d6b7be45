/**
 * A stretch of a log on disk that was read at once, for whoever wants many of its records and knows where they lie. What is
 * not there as a whole, and intact, is not found: whoever asks reads it by itself then, which tells damage.
 */
import type { LogAddress } from './address.js';
import type { HybridLog } from './hybrid-log.js';
import { isIntact } from './record.js';
import type { SegmentFiles } from './segment-files.js';

export class LogWindow {
  bytes: Uint8Array = new Uint8Array(0);
  words: Int32Array = new Int32Array(0);
  /** Index of the first word of the record that `find` found. */
  at = 0;
  private segments: SegmentFiles | undefined;
  private from = 0;
  private to = 0;

  /** @param mostBytes that are read at once */
  constructor(readonly mostBytes: number) {}

  /** Whether the record at this address, in the log that was read last, begins within what was read. */
  covers(address: LogAddress): boolean {
    return address >= this.from && address < this.to;
  }

  /** Whether the record at this address is there. */
  find(address: LogAddress): boolean {
    if (!this.covers(address)) return false;
    this.at = (address - this.from) >> 2;
    return isIntact(this.words, this.at, this.to - address, address, this.segments?.salt);
  }

  clear(): void {
    this.from = this.to = 0;
  }

  /**
   * Reads a stretch, cut where the segment ends. Whoever wants its records looks whether they still are the log's afterwards:
   * it may be truncated meanwhile.
   * @param to at or below the head of the log
   * @throws KvDiskError, KvCorruptionError also where the log was truncated meanwhile
   */
  async load(log: HybridLog, segments: SegmentFiles, from: LogAddress, to: number): Promise<void> {
    this.clear();
    const length = Math.min(to - from, this.mostBytes);
    if (this.bytes.length < length) {
      // A Buffer, as pages are: byte arrays in a value come back as the same class from wherever they are.
      this.bytes = Buffer.allocUnsafeSlow(Math.min(Math.max(length, this.bytes.length * 2), this.mostBytes));
      this.words = new Int32Array(this.bytes.buffer, 0, this.bytes.length >> 2);
    }
    log.diskReads++;
    const available = await segments.read(from, this.bytes, length);
    this.segments = segments;
    this.from = from;
    this.to = from + available;
  }
}
