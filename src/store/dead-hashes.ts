/**
 * Hashes whose newest record is no key: deleted, or dead and dropped by a compaction. The indexes know only that there is a
 * record, or may be one, and whoever counts keys need not read it. So many are known, the latest; with more, the count is an
 * estimate.
 */
const MAX_HASHES = 64 * 1024;

export class DeadHashes {
  private readonly lows = new Set<number>();

  has(low: number): boolean {
    return this.lows.size > 0 && this.lows.has(low);
  }

  /** The newest record of a hash is a key, or it is none. */
  note(low: number, isKey: boolean): void {
    const { lows } = this;
    if (isKey) {
      if (lows.size > 0) lows.delete(low);
      return;
    }
    if (lows.size >= MAX_HASHES) for (const oldest of lows.values()) if (lows.delete(oldest)) break;
    lows.add(low);
  }
}
