/**
 * The cold tier as one thing: the log, its index, and an estimate of how much of the log is garbage. The estimate goes by
 * size classes: when the index finds that a record was superseded, it knows the class of the old one, and the mean size
 * of what was appended in that class. Records that expire are counted by when they do, to an eighth of the time left.
 */
import type { LogAddress } from '../log/address.js';
import { FLAG_EXTENTS, KIND_MASK, KIND_TOMBSTONE } from '../log/record.js';
import { LARGEST_SIZE_CLASS, sizeClassOf } from '../log/size-class.js';
import type { ColdIndex } from './cold-index.js';
import type { ColdLog } from './cold-log.js';

/** Classes of the index: those of `size-class.ts`, of which the larger ones are one. */
const CLASSES = 8;
/** Expiry is counted to the second, or to an eighth of the time that is left: so there are few buckets, however far it is. */
const LEAST_BUCKET_MS = 1000;
const BUCKETS_PER_OCTAVE = 8;
/** Records that expire later than all buckets there is room for are not counted until they are met. */
const MAX_EXPIRY_BUCKETS = 4096;

/** What a checkpoint has of the tier, beside its index. */
export interface ColdTierState {
  garbageBytes: number;
  appended: number[];
  counts: number[];
  supersededBefore: number[];
  expiring: [bucket: number, bytes: number][];
}

export class ColdTier {
  private garbageBytes = 0;
  private readonly appended = new Float64Array(CLASSES);
  private readonly counts = new Float64Array(CLASSES);
  private readonly supersededBefore = new Float64Array(CLASSES);
  /** Bytes of records that expire, by when at the latest; while the log is rewritten, also of the copies alone. */
  private expiring = new Map<number, number>();
  private expiringCopies: Map<number, number> | undefined;

  readonly index: ColdIndex;
  /** Records found in the log when it was opened. */
  recovered = 0;
  /** The log, once it was recovered. */
  log!: ColdLog;

  /**
   * @param begin of the log, as long as it is being recovered
   * @param newIndex makes the index, which asks where the log begins
   * @param now wall-clock time, in milliseconds since 1970
   */
  constructor(
    begin: LogAddress,
    newIndex: (coldBegin: () => LogAddress) => ColdIndex,
    private readonly now: () => number,
  ) {
    this.index = newIndex(() => (this.log ? this.log.log.begin : begin));
  }

  get state(): ColdTierState {
    const { appended, counts, expiring, garbageBytes, supersededBefore } = this;
    return {
      garbageBytes,
      appended: [...appended],
      counts: [...counts],
      supersededBefore: [...supersededBefore],
      expiring: [...expiring],
    };
  }

  restore({ appended, counts, expiring, garbageBytes, supersededBefore }: ColdTierState): void {
    this.garbageBytes = garbageBytes;
    this.appended.set(appended);
    this.counts.set(counts);
    this.supersededBefore.set(supersededBefore);
    this.expiring = new Map(expiring);
  }

  /** Bytes of memory: pages and index. */
  get memoryBytes(): number {
    return this.uncachedBytes + this.index.stats.cacheBytes;
  }

  /** The same without the cache of chunks: what no option of the cold tier bounds. */
  get uncachedBytes(): number {
    const { directoryBytes, filterBytes, pendingBytes, ringBytes } = this.index.stats;
    return this.log.log.usedMemory + directoryBytes + filterBytes + pendingBytes + ringBytes;
  }

  async close(): Promise<void> {
    try {
      this.log.segments.close();
    } finally {
      await this.index.close();
    }
  }

  /**
   * Takes a record that was appended to the log (or found there at opening) into the index.
   * @param bytes of the record, and of its extents if it has some
   * @param expiresAt milliseconds since 1970, `Infinity` for never
   */
  enter(
    hashLow: number,
    hashHigh: number,
    address: LogAddress,
    bytes: number,
    flags: number,
    expiresAt: number,
  ): void {
    const sizeClass = (flags & FLAG_EXTENTS) !== 0 ? LARGEST_SIZE_CLASS : sizeClassOf(bytes);
    this.index.put(hashLow, hashHigh, address, sizeClass);
    const at = Math.min(sizeClass, CLASSES) - 1;
    this.appended[at] += bytes;
    this.counts[at]++;
    if ((flags & KIND_MASK) === KIND_TOMBSTONE) this.garbageBytes += bytes;
    else if (expiresAt !== Infinity) this.willExpire(expiresAt, bytes);
  }

  /** Estimated bytes of the log that nobody needs any more. */
  garbage(nowMs: number): number {
    const { superseded } = this.index;
    for (let at = 0; at < CLASSES; at++) {
      const count = superseded[at] - this.supersededBefore[at];
      if (count > 0) this.garbageBytes += (count * this.appended[at]) / this.counts[at];
      this.supersededBefore[at] = superseded[at];
    }
    for (const [latest, bytes] of this.expiring) {
      if (latest > nowMs) continue;
      this.garbageBytes += bytes;
      this.expiring.delete(latest);
    }
    return Math.min(this.garbageBytes, this.log.bytes);
  }

  /** Share of the log that is garbage, 0 to 1. */
  garbageShare(nowMs: number): number {
    return this.log.bytes === 0 ? 0 : this.garbage(nowMs) / this.log.bytes;
  }

  /** Something died that the index does not see: a space was cleared. */
  died(bytes: number): void {
    this.garbageBytes = Math.min(this.garbageBytes + bytes, this.log.bytes);
  }

  /** Bytes were truncated that the index knows to be superseded, or that were garbage otherwise. */
  dropped(bytes: number, nowMs: number): void {
    this.garbageBytes = Math.max(0, Math.min(this.garbage(nowMs) - bytes, this.log.bytes));
  }

  /** The log is about to be rewritten from its begin on. */
  beginRewrite(): void {
    this.expiringCopies = new Map();
  }

  /** @param whole whether all of the log was rewritten: nothing is garbage then, whatever the estimate had come to */
  endRewrite(whole: boolean): void {
    if (whole) {
      this.garbageBytes = 0;
      this.supersededBefore.set(this.index.superseded);
      this.expiring = this.expiringCopies ?? this.expiring;
    }
    this.expiringCopies = undefined;
  }

  /** Mean bytes of a record. */
  get meanBytes(): number {
    const counts = this.counts.reduce((sum, count) => sum + count, 0);
    return counts === 0 ? 0 : this.appended.reduce((sum, bytes) => sum + bytes, 0) / counts;
  }

  private willExpire(expiresAt: number, bytes: number): void {
    // A copy within the log is counted already.
    const buckets = this.expiringCopies ?? this.expiring;
    // At opening, some have expired long ago.
    const leastBuckets = Math.max((expiresAt - this.now()) / BUCKETS_PER_OCTAVE / LEAST_BUCKET_MS, 1);
    const width = LEAST_BUCKET_MS * 2 ** Math.floor(Math.log2(leastBuckets));
    const bucket = Math.ceil(expiresAt / width) * width;
    const sum = buckets.get(bucket);
    if (sum !== undefined) buckets.set(bucket, sum + bytes);
    else if (buckets.size < MAX_EXPIRY_BUCKETS) buckets.set(bucket, bytes);
  }
}
