/**
 * Chunks that look-ups read from disk lately, in one typed array outside the JavaScript heap: lines of a fixed length
 * in sets of two, of which the one used less recently goes. A chunk never changes at its address, and an address is
 * never used again, so nothing has to be taken out; chunks that are longer than a line are not kept.
 * Hot path (`bench/micro/cold-index.mjs`).
 */
import type { LogAddress } from '../log/address.js';
import { entryWords, type ChunkView } from './hash-chunk.js';

/** A constant, because Jest looks globals up through a proxy, at a hundred times the cost. */
const { imul } = Math;

/**
 * Measured with 8 MiB and 10,000 keys that are read again and again: 3 % miss at 1 million keys, 6 % at 10 million, their
 * chunks being longer or pushed out by others.
 */
const LINE_ENTRIES = 15;
/** The number of entries comes first. */
const LINE_WORDS = 1 + entryWords(LINE_ENTRIES);
const KEY_BYTES = 8;
const SET_BYTES = 2 * (LINE_WORDS * 4 + KEY_BYTES) + 1;

export class ChunkCache {
  private readonly sets: number;
  private keys = new Float64Array(0);
  private lines = new Int32Array(0);
  /** Which line of each set was used last. */
  private recent = new Uint8Array(0);

  /** @param maxBytes 0 for no cache */
  constructor(maxBytes: number) {
    this.sets = Math.floor(maxBytes / SET_BYTES);
  }

  get memoryBytes(): number {
    return this.keys.byteLength + this.lines.byteLength + this.recent.byteLength;
  }

  /** Points `view` to the chunk; valid until the next `put`. */
  get(address: LogAddress, view: ChunkView): boolean {
    if (this.keys.length === 0) return false;
    const set = this.setOf(address);
    const way = this.keys[2 * set] === address ? 0 : 1;
    const line = 2 * set + way;
    if (this.keys[line] !== address) return false;
    this.recent[set] = way;
    const at = line * LINE_WORDS;
    view.set(this.lines, at + 1, this.lines[at]);
    return true;
  }

  /** Keeps a copy of a chunk. */
  put(address: LogAddress, { words, at, count }: ChunkView): void {
    if (count > LINE_ENTRIES || this.sets === 0) return;
    if (this.keys.length === 0) {
      this.keys = new Float64Array(2 * this.sets);
      this.lines = new Int32Array(2 * this.sets * LINE_WORDS);
      this.recent = new Uint8Array(this.sets);
    }
    const set = this.setOf(address);
    // Two look-ups may have waited for the same chunk.
    if (this.keys[2 * set] === address || this.keys[2 * set + 1] === address) return;
    const way = 1 - this.recent[set];
    this.recent[set] = way;
    const line = 2 * set + way;
    this.keys[line] = address;
    let to = line * LINE_WORDS;
    this.lines[to++] = count;
    const end = at + entryWords(count);
    for (let from = at; from < end; from++) this.lines[to++] = words[from];
  }

  private setOf(address: LogAddress): number {
    return (imul(address / 8, 0x9e3779b1) >>> 0) % this.sets;
  }
}
