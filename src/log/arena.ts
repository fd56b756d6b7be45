/**
 * Memory outside the JavaScript heap, in pieces of one length. They are carved from blocks, each as long as all before it
 * together (or a share of that): V8 weighs every buffer that is allocated against the size of its heap, and a store that takes
 * its memory page by page has it collect a small heap over and over.
 *
 * What nobody has written to yet is not resident as a rule, so a block costs no more than the pieces of it that are in use.
 */

/** Longest block, where a piece is not longer than that. */
const MAX_BLOCK_BYTES = 64 * 1024 * 1024;

export class Arena {
  private block = Buffer.alloc(0);
  private at = 0;
  /** Pieces in all blocks. */
  private pieces = 0;

  /**
   * @param pieceBytes length of a piece
   * @param mostPieces so many will be asked for at the most, or a few more
   * @param share of what there is by which a block adds to it
   */
  constructor(
    private readonly pieceBytes: number,
    private readonly mostPieces = Infinity,
    private readonly share = 1,
  ) {}

  /** A piece of zeros. */
  take(): Buffer {
    if (this.at === this.block.length) this.grow();
    const from = this.at;
    this.at += this.pieceBytes;
    return this.block.subarray(from, this.at);
  }

  private grow(): void {
    const wanted = Math.floor(
      Math.min(this.pieces * this.share, this.mostPieces - this.pieces, MAX_BLOCK_BYTES / this.pieceBytes),
    );
    const pieces = Math.max(1, wanted);
    this.block = Buffer.alloc(pieces * this.pieceBytes);
    this.at = 0;
    this.pieces += pieces;
  }
}
