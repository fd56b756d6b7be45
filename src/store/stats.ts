/** What `stats()` tells: counters since the store was opened, and sizes as of now. */
import type { StoreCore } from './store-core.js';

export interface KvStats {
  /**
   * Live keys, as far as memory knows: overwriting a key whose newest record is on disk only counts as an update, and
   * expired entries count until they are found. Exact as long as everything fits in memory and nothing expires;
   * after a restart a close estimate (two keys of one hash chain count once).
   */
  keys: number;
  reads: {
    /** Answered from memory, from disk, and with "absent". */
    memoryHits: number;
    diskHits: number;
    misses: number;
    /** Share of reads that found the key, 0 to 1; 0 before the first read. */
    hitRatio: number;
    /** Records read from the device. */
    diskReads: number;
  };
  writes: {
    /** Records appended to the log, and updates made in place. */
    appended: number;
    inPlace: number;
    /** Number of the last durable commit. */
    commits: number;
    /** Writes that wait for stable storage now. */
    backlog: number;
  };
  hot: {
    /** `hot.memory` in bytes, and how much of it is allocated now. */
    memoryBudgetBytes: number;
    memoryBytes: number;
    indexBytes: number;
    indexEntries: number;
    indexBuckets: number;
    /** Bytes of the log in memory: the immutable and the mutable region together, and the mutable one. */
    residentBytes: number;
    mutableBytes: number;
    /** Bytes of the log's files. */
    diskBytes: number;
    /** Bytes written synchronously because memory was full: a caller wrote faster than the disk. */
    pressureBytes: number;
  };
  /** Why writes are refused, if they are. */
  failure: string | undefined;
}

export function statsOf(core: StoreCore): KvStats {
  const { reads, writes, parts } = core;
  const { log, index, health, commits, segments, spaces, options } = parts;
  const found = reads.memoryHits + reads.diskHits;
  const asked = found + reads.misses;
  return {
    keys: spaces.keys(),
    reads: {
      memoryHits: reads.memoryHits,
      diskHits: reads.diskHits,
      misses: reads.misses,
      hitRatio: asked === 0 ? 0 : found / asked,
      diskReads: log.diskReads,
    },
    writes: {
      appended: writes.appends,
      inPlace: writes.inPlace,
      commits: commits.synced,
      backlog: commits.backlog,
    },
    hot: {
      memoryBudgetBytes: options.hot.memoryBytes,
      memoryBytes: index.memoryBytes + index.spareBytes + log.usedMemory,
      indexBytes: index.memoryBytes,
      indexEntries: index.entries,
      indexBuckets: index.buckets,
      residentBytes: log.residentBytes,
      mutableBytes: log.tail - log.readOnly,
      diskBytes: segments.totalSize(),
      pressureBytes: log.pressureBytes,
    },
    failure: (health.failure ?? health.full)?.message,
  };
}
