/** Cuts a range of a file at the borders of its chunks of `chunkBytes`; `done` is what came before the piece. */
export function forEachPiece(
  chunkBytes: number,
  position: number,
  length: number,
  visit: (index: number, start: number, bytes: number, done: number) => void,
): void {
  for (let done = 0; done < length;) {
    const index = Math.floor((position + done) / chunkBytes);
    const start = (position + done) % chunkBytes;
    const bytes = Math.min(length - done, chunkBytes - start);
    visit(index, start, bytes, done);
    done += bytes;
  }
}
