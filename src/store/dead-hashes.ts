/**
 * Hashes whose newest record, as far as the logs were read, is no key: while a store is opened its keys are counted, and the
 * indexes know only that there is a record. So many are kept; beyond that the count is an estimate.
 */
const MAX_HASHES = 64 * 1024;

export class DeadHashes {
  private readonly lows = new Set<number>();

  has(low: number): boolean {
    return this.lows.size > 0 && this.lows.has(low);
  }

  /** The newest record of a hash is a key, or it is none. */
  note(low: number, isKey: boolean): void {
    if (!isKey) {
      if (this.lows.size < MAX_HASHES) this.lows.add(low);
    } else if (this.lows.size > 0) {
      this.lows.delete(low);
    }
  }
}
