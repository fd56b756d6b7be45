/**
 * Chunks by synchronous reads that bring what lies behind them, too. A flush meets slots in always the same order, so
 * the chunks that an earlier flush wrote lie in the order in which this one needs them; each window follows one of the
 * earlier flushes. Bytes of the log never change at their address, so nothing here gets old.
 *
 * Measured (flushes of up to 262,144 entries at 8 million keys, docs/decisions/0008): 0.05 reads an entry.
 */
import type { LogAddress } from '../log/address.js';
import { isIntact } from '../log/record.js';
import type { SegmentFiles } from '../log/segment-files.js';

const WINDOWS = 16;
const WINDOW_BYTES = 16 * 1024;

/** With more slots than this for each whose chunk is wanted, too little is found in what was read ahead. */
const SPARSE_SLOTS = 48;

/** Whether it pays to read a whole window for so many of the chunks. */
export function isDense(wanted: number, slots: number): boolean {
  return wanted * SPARSE_SLOTS > slots;
}

interface Window {
  start: LogAddress;
  end: number;
  /** When it was used last: the one that was not used for longest goes. */
  used: number;
  words: Int32Array;
  bytes: Uint8Array;
}

function newWindow(): Window {
  const words = new Int32Array(WINDOW_BYTES >> 2);
  return { start: 0 as LogAddress, end: 0, used: 0, words, bytes: new Uint8Array(words.buffer) };
}

export class ReadWindows {
  private readonly windows: Window[] = [];
  private uses = 0;
  /** Where the record lies that was found or read last. */
  words: Int32Array = new Int32Array(0);
  at = 0;

  constructor(private readonly segments: SegmentFiles) {}

  get memoryBytes(): number {
    return this.windows.length * WINDOW_BYTES;
  }

  /** Whether the whole record at `address` is there, and intact. */
  find(address: LogAddress): boolean {
    for (const window of this.windows) {
      if (address < window.start || address >= window.end) continue;
      const at = (address - window.start) >> 2;
      if (!isIntact(window.words, at, window.end - address, address, this.segments.salt)) continue;
      window.used = ++this.uses;
      this.words = window.words;
      this.at = at;
      return true;
    }
    return false;
  }

  /**
   * Reads from `address` on.
   * @param bytes to read, if there is no use for a whole window
   * @returns bytes that were there
   */
  read(address: LogAddress, bytes = WINDOW_BYTES): number {
    if (this.windows.length < WINDOWS) this.windows.push(newWindow());
    let oldest = this.windows[0];
    for (const window of this.windows) if (window.used < oldest.used) oldest = window;
    // Should the read fail, the window is empty.
    oldest.end = 0;
    const available = this.segments.readSync(address, oldest.bytes, bytes);
    oldest.start = address;
    oldest.end = address + available;
    oldest.used = ++this.uses;
    this.words = oldest.words;
    this.at = 0;
    return available;
  }
}
