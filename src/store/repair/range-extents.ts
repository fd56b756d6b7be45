/**
 * Large values of a log, checked while the log is read in order: the pieces of a value lie in the range of the same
 * commit as the record that lists them, in front of it or behind it. So at each commit all lists can be compared with
 * the pieces that were met, and forgotten.
 */
import type { LogAddress } from '../../log/address.js';
import { ExtentList } from '../../log/extents.js';
import { FLAG_EXTENTS, KIND_COMMIT, KIND_EXTENT, KIND_MASK } from '../../log/record.js';

export class RangeExtents {
  private readonly pieces = new Map<number, number>();
  private lists: { words: Int32Array; list: ExtentList }[] = [];

  /** @param broken told of each record, a copy of it, of which a piece is not there, and where it should be */
  constructor(private readonly broken: (words: Int32Array, piece: LogAddress) => void) {}

  /** Takes the next intact record of the log. */
  take(words: Int32Array, at: number, address: LogAddress, bytes: number): void {
    const kind = words[at + 1] & KIND_MASK;
    if (kind === KIND_EXTENT) this.pieces.set(address, words[at + 2]);
    else if ((words[at + 1] & FLAG_EXTENTS) !== 0)
      this.lists.push({ words: words.slice(at, at + (bytes >> 2)), list: new ExtentList(words, at) });
    else if (kind === KIND_COMMIT) this.endRange();
  }

  /** Forgets what was met: the log was truncated. */
  reset(): void {
    this.pieces.clear();
    this.lists = [];
  }

  private endRange(): void {
    for (const { words, list } of this.lists) {
      for (let piece = 0; piece < list.count; piece++) {
        const address = list.addressOf(piece);
        if (this.pieces.get(address) === list.bytesOf(piece)) continue;
        this.broken(words, address);
        break;
      }
    }
    this.reset();
  }
}
