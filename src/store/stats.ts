/** What `stats()` tells: counters since the store was opened, and sizes as of now. */
import type { KvFailure } from './activity.js';
import type { KvCheckpointReport } from './checkpointer.js';
import type { KvCompactionReport } from './compaction-report.js';
import type { StoreCore } from './store-core.js';

export interface KvStats {
  /**
   * Live keys, as far as memory knows: overwriting a key whose newest record is on disk only counts as an update, and
   * expired entries count until a compaction drops them. Exact as long as everything fits in memory and nothing expires;
   * after a restart a close estimate (two keys of one hash chain count once), in which a key that was deleted before the last
   * checkpoint and set again behind it may be missing, and so may those that are set again behind a `clear()` while the cold
   * tier has them; after a kill, keys that a compaction has moved since may count twice.
   */
  keys: number;
  reads: {
    /** Answered with a value that was kept decoded. */
    decodedHits: number;
    /** Answered from the hot log in memory, from the read cache, from the hot log on disk, from the cold log. */
    memoryHits: number;
    cacheHits: number;
    diskHits: number;
    coldHits: number;
    /** Answered with "absent". */
    misses: number;
    /** Share of reads that found the key, 0 to 1; 0 before the first read. */
    hitRatio: number;
    /**
     * Reads of records from the device, of both logs (a scan reads many at once), and of chunks of the cold index, also those of
     * compaction.
     */
    diskReads: number;
    indexReads: number;
  };
  writes: {
    /** Records appended to the log, and updates made in place. */
    appended: number;
    inPlace: number;
    /** Bytes of the records that callers wrote, and bytes that were appended to all logs and the cold index. */
    userBytes: number;
    deviceBytes: number;
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
    /** Parts of the index (64 KiB each) that were damaged in the checkpoint, and were made anew from the log. */
    mendedChunks: number;
    /** Bytes of the log in memory: the immutable and the mutable region together, and the mutable one. */
    residentBytes: number;
    mutableBytes: number;
    /** Bytes of the log's files. */
    diskBytes: number;
    /** Bytes written synchronously because memory was full: a caller wrote faster than the disk. */
    pressureBytes: number;
  };
  readCache: {
    /** `readCache.memory` in bytes, and how much of it is allocated now. */
    memoryBudgetBytes: number;
    memoryBytes: number;
    entries: number;
  };
  /** The cold tier; all zero on a device that cannot be read back. */
  cold: {
    /** Bytes of memory in all, and those of the index: directory and filter grow with the keys. */
    memoryBytes: number;
    directoryBytes: number;
    filterBytes: number;
    indexCacheBytes: number;
    /** Records in the log that the index knows of, superseded ones included. */
    indexEntries: number;
    /** Parts of the index that were damaged on disk, and made anew from the log since the store was opened. */
    mendedChunks: number;
    /** Bytes of the log's files, and of those of the index. */
    diskBytes: number;
    indexDiskBytes: number;
    /** Estimated bytes of the log that nobody needs any more. */
    garbageBytes: number;
  };
  compaction: {
    /** Whether one is under way, and how far it has come, 0 to 1; it may end before 1. */
    running: boolean;
    progress: number | undefined;
    /** What the last one did that had something to do, and when it ended: milliseconds since 1970. */
    last: KvCompactionReport | undefined;
    lastAt: number | undefined;
    /** Of all that had something to do: how many, and bytes of log read, records and bytes copied, records dropped. */
    runs: number;
    readBytes: number;
    copiedRecords: number;
    copiedBytes: number;
    droppedRecords: number;
    /** Bytes written to the logs and the cold index for each byte that callers wrote, since the store was opened. */
    writeAmplification: number;
    /** Scheduled runs that failed, and why the last one did. */
    failures: number;
    failure: string | undefined;
  };
  checkpoints: {
    /** How many were taken, the last one, and when it was: milliseconds since 1970. */
    taken: number;
    last: KvCheckpointReport | undefined;
    lastAt: number | undefined;
  };
  /** What failed in the background (the event `error`): how often, and the last one. */
  errors: { count: number; last: KvFailure | undefined };
  /** Milliseconds of the event loop that were taken. */
  eventLoop: {
    /** By compactions, checkpoints and mending, as far as their slices have ended. */
    backgroundMs: number;
    /** By reads from disk that were made synchronously. */
    readMs: number;
  };
  /** Whether changes are taken: not with `readOnly`, nor while there is a `failure`. */
  writable: boolean;
  /** Why writes are refused, if they are. */
  failure: string | undefined;
}

export function statsOf(core: StoreCore): KvStats {
  const { reads, writes, parts } = core;
  const { activity, cache, cold, log, index, health, pacer, commits, segments, spaces, options } = parts;
  const [memoryHits, cacheHits, diskHits, coldHits, decodedHits] = reads.hits;
  const found = memoryHits + cacheHits + diskHits + coldHits + decodedHits;
  const asked = found + reads.misses;
  return {
    keys: spaces.keys(),
    reads: {
      decodedHits,
      memoryHits,
      cacheHits,
      diskHits,
      coldHits,
      misses: reads.misses,
      hitRatio: asked === 0 ? 0 : found / asked,
      diskReads: log.diskReads + (cold?.log.log.diskReads ?? 0),
      indexReads: cold?.index.stats.chunkReads ?? 0,
    },
    writes: {
      appended: writes.appends,
      inPlace: writes.inPlace,
      userBytes: writes.userBytes,
      deviceBytes: core.deviceBytes,
      commits: commits.synced,
      backlog: commits.backlog,
    },
    hot: {
      memoryBudgetBytes: options.hot.memoryBytes,
      memoryBytes: index.memoryBytes + index.spareBytes + log.usedMemory,
      indexBytes: index.memoryBytes,
      indexEntries: index.entries,
      indexBuckets: index.buckets,
      mendedChunks: index.mendedChunks,
      residentBytes: log.residentBytes,
      mutableBytes: log.tail - log.readOnly,
      diskBytes: segments.totalSize(),
      pressureBytes: log.pressureBytes,
    },
    readCache: {
      memoryBudgetBytes: options.readCache.memoryBytes,
      memoryBytes: cache.memoryBytes,
      entries: cache.entries,
    },
    cold: coldStats(core),
    compaction: {
      running: core.compactor?.running !== undefined,
      progress: core.compactor?.progress,
      last: core.compactor?.last,
      ...activity.compactions,
      writeAmplification: core.writeAmplification,
      failures: core.schedule?.failures ?? 0,
      failure: core.schedule?.lastFailure?.message,
    },
    checkpoints: { ...activity.checkpoints },
    errors: { ...activity.errors },
    eventLoop: {
      backgroundMs: core.backgroundMs,
      readMs: pacer.totalMs,
    },
    writable: health.writable,
    failure: (health.failure ?? health.full)?.message,
  };
}

function coldStats({ mender, parts: { cold, versions } }: StoreCore): KvStats['cold'] {
  const index = cold?.index.stats;
  return {
    memoryBytes: cold?.memoryBytes ?? 0,
    directoryBytes: index?.directoryBytes ?? 0,
    filterBytes: index?.filterBytes ?? 0,
    indexCacheBytes: index?.cacheBytes ?? 0,
    indexEntries: index?.entries ?? 0,
    mendedChunks: mender?.mendedSlots ?? 0,
    diskBytes: cold?.log.segments.totalSize() ?? 0,
    indexDiskBytes: index?.chunkLogBytes ?? 0,
    garbageBytes: cold?.garbage(versions.now()) ?? 0,
  };
}
