/**
 * Hashes whose newest record is no key: deleted, or dead and dropped by a compaction. The indexes know only that there is a
 * record, or may be one, and whoever counts keys need not read it. The latest are known, in two generations; with more, the
 * count is an estimate.
 */
const GENERATION = 32 * 1024;

export class DeadHashes {
  private young = new Set<number>();
  private old = new Set<number>();

  has(low: number): boolean {
    return (this.young.size > 0 || this.old.size > 0) && (this.young.has(low) || this.old.has(low));
  }

  /** The newest record of a hash is a key, or it is none. */
  note(low: number, isKey: boolean): void {
    if (isKey) {
      if (this.young.size > 0) this.young.delete(low);
      if (this.old.size > 0) this.old.delete(low);
      return;
    }
    this.young.add(low);
    if (this.young.size < GENERATION) return;
    this.old = this.young;
    this.young = new Set();
  }
}
