/**
 * Chunks that look-ups read from disk lately, in one typed array outside the JavaScript heap. It consists of blocks; the
 * address of a chunk says which one it belongs to. A block begins with the number of words in use, its lines follow one
 * behind the other, oldest first, each as long as its chunk needs:
 *
 *   word 0   address / 8, low bits
 *   word 1   address / 8, high bits · entries (8) · referenced (1)
 *   then the entries, as in the chunk
 *
 * Room for a new line is made at the old end. A line that was found since it was written (or since its last chance) moves
 * to the new end instead: CLOCK, in each block by itself. A chunk never changes at its address, and an address is
 * never used again, so nothing has to be taken out. As long as it `hasRoom`, chunks may be put that nobody has asked for
 * yet. Hot path (`bench/micro/cold-index.mjs`).
 */
import type { LogAddress } from '../log/address.js';
import { entryWords, type ChunkView } from './hash-chunk.js';

/** Constants, because Jest looks globals up through a proxy, at a hundred times the cost. */
const { floor, imul } = Math;

/**
 * Some fifteen chunks of six entries: 11.5 bytes an entry where all blocks are full. Larger blocks would be filled more
 * evenly, smaller ones searched faster.
 */
const BLOCK_WORDS = 256;
const LINE_HEADER_WORDS = 2;
/** Half a block, so that a long chunk does not push all others out; longer ones (50 entries) are not kept. */
const LONGEST_LINE = BLOCK_WORDS / 2;
/** Of all words, from which on there is no room: blocks are not filled evenly. */
const FULL_SHARE = 0.9;

const TWO_32 = 2 ** 32;
const COUNT_SHIFT = 23;
const HIGH_MASK = 2 ** COUNT_SHIFT - 1;
const REFERENCED = 1 << 31;
const COUNT_MASK = 255;

export class ChunkCache {
  private readonly blocks: number;
  private words = new Int32Array(0);
  private usedWords = 0;
  /** How often room had to be made. */
  private pushes = 0;
  /** Lines that get another chance, while room is made. */
  private readonly chances = new Int32Array(BLOCK_WORDS);

  /** @param maxBytes 0 for no cache */
  constructor(maxBytes: number) {
    this.blocks = floor(maxBytes / (BLOCK_WORDS * 4));
  }

  get memoryBytes(): number {
    return this.words.byteLength;
  }

  /** Whether most blocks take a chunk without losing another. */
  get hasRoom(): boolean {
    // Of long chunks two fill a block well below its end.
    return this.usedWords < this.blocks * BLOCK_WORDS * FULL_SHARE && this.pushes < this.blocks;
  }

  /** Points `view` to the chunk; valid until the next `put`. */
  get(address: LogAddress, view: ChunkView): boolean {
    const { words } = this;
    if (words.length === 0) return false;
    const at = this.lineOf(address);
    if (at === 0) return false;
    words[at + 1] |= REFERENCED;
    view.set(words, at + LINE_HEADER_WORDS, countIn(words[at + 1]));
    return true;
  }

  /** Keeps a copy of a chunk. */
  put(address: LogAddress, chunk: ChunkView): void {
    this.add(address, chunk, true);
  }

  /**
   * The same, unless another chunk would have to go for it. Not looked for first: where it is there already, the second copy
   * lies idle until it has to go.
   */
  putIfRoom(address: LogAddress, chunk: ChunkView): void {
    this.add(address, chunk, false);
  }

  private add(address: LogAddress, { words: from, at: start, count }: ChunkView, mayPush: boolean): void {
    const length = LINE_HEADER_WORDS + entryWords(count);
    if (length > LONGEST_LINE || this.blocks === 0) return;
    if (this.words.length === 0) this.words = new Int32Array(this.blocks * BLOCK_WORDS);
    // Two look-ups may have waited for the same chunk.
    if (mayPush && this.lineOf(address) !== 0) return;
    const { words } = this;
    const block = this.blockOf(address);
    if (words[block] + length >= BLOCK_WORDS) {
      if (!mayPush) return;
      this.makeRoom(block, length);
    }
    let to = block + 1 + words[block];
    words[block] += length;
    this.usedWords += length;
    words[to++] = address / 8;
    words[to++] = floor(address / 8 / TWO_32) | (count << COUNT_SHIFT);
    const end = start + length - LINE_HEADER_WORDS;
    for (let word = start; word < end; word++) words[to++] = from[word];
  }

  /** Index of the line's first word; 0 if there is none. */
  private lineOf(address: LogAddress): number {
    const { words } = this;
    const block = this.blockOf(address);
    const low = (address / 8) | 0;
    const high = floor(address / 8 / TWO_32);
    const end = block + 1 + words[block];
    let at = block + 1;
    while (at < end) {
      if (words[at] === low && (words[at + 1] & HIGH_MASK) === high) return at;
      at += lineWords(words[at + 1]);
    }
    return 0;
  }

  /** Leaves room for a line in a block. */
  private makeRoom(block: number, length: number): void {
    const { chances, words } = this;
    const begin = block + 1;
    const end = begin + words[block];
    const mustGo = words[block] + length - (BLOCK_WORDS - 1);
    let gone = 0;
    let at = begin;
    let kept = 0;
    while (gone < mustGo && at < end) {
      const line = lineWords(words[at + 1]);
      if (words[at + 1] < 0) {
        words[at + 1] &= ~REFERENCED;
        chances.set(words.subarray(at, at + line), kept);
        kept += line;
      } else gone += line;
      at += line;
    }
    // All were referenced: the oldest of them go after all.
    let first = 0;
    while (gone < mustGo) {
      const line = lineWords(chances[first + 1]);
      first += line;
      gone += line;
    }
    words.copyWithin(begin, at, end);
    words.set(chances.subarray(first, kept), begin + end - at);
    words[block] -= gone;
    this.usedWords -= gone;
    this.pushes++;
  }

  private blockOf(address: LogAddress): number {
    return ((imul(address / 8, 0x9e3779b1) >>> 0) % this.blocks) * BLOCK_WORDS;
  }
}

function countIn(word: number): number {
  return (word >>> COUNT_SHIFT) & COUNT_MASK;
}

/** Length of a line, by its second word. */
function lineWords(word: number): number {
  return LINE_HEADER_WORDS + entryWords(countIn(word));
}
