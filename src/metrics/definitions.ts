/**
 * The metrics as data: names and units by Prometheus' conventions, and how each is read from what `stats()` tells. All have
 * the label `store`. Values are totals since the store was opened, so that `rate()` works as it does on any counter; ratios
 * are left to queries, but for those that cannot be computed from what is here.
 *
 * A new one goes in here, and on the dashboard in `docs/grafana`, if somebody should look at it.
 */
import type { KvCachedStats } from '../decorators/cached-stats.js';
import type { KvDiskSpace, KvStats } from '../store/index.js';

/** What is known of a store at a scrape. */
export interface Observed {
  stats: KvStats;
  /** What became of the calls of its `@Cached` methods. */
  cached: KvCachedStats;
  space: KvDiskSpace | undefined;
}

/** Values by the value of the label; without a label, the one value. `undefined` is left out. */
type Values = number | undefined | Record<string, number | undefined>;

export interface Definition {
  name: string;
  type: 'counter' | 'gauge';
  help: string;
  /** Label beside `store`. */
  label?: string;
  read: (observed: Observed) => Values;
}

const seconds = (ms: number | undefined) => (ms === undefined ? undefined : ms / 1000);

const calls: Definition[] = [
  {
    name: 'hotcold_reads_total',
    type: 'counter',
    help: 'Reads by the tier that answered; none: the key was absent.',
    label: 'tier',
    read: ({ stats: { reads } }) => ({
      decoded: reads.decodedHits,
      memory: reads.memoryHits,
      read_cache: reads.cacheHits,
      hot_disk: reads.diskHits,
      cold_disk: reads.coldHits,
      none: reads.misses,
    }),
  },
  {
    name: 'hotcold_writes_total',
    type: 'counter',
    help: 'Records written, deletions included: appended to the log, or updated in place in memory.',
    label: 'how',
    read: ({ stats: { writes } }) => ({ appended: writes.appended, in_place: writes.inPlace }),
  },
  {
    name: 'hotcold_cached_calls_total',
    type: 'counter',
    help: 'Calls of cached methods: answered from the store, run, answered by a run of another call, and failures of the store.',
    label: 'result',
    read: ({ cached }) => ({
      hit: cached.hits,
      miss: cached.misses,
      shared: cached.shared,
      failure: cached.failures,
    }),
  },
  {
    name: 'hotcold_device_reads_total',
    type: 'counter',
    help: 'Reads from the device: records of both logs, and chunks of the cold index.',
    label: 'what',
    read: ({ stats: { reads } }) => ({ record: reads.diskReads, index: reads.indexReads }),
  },
  {
    name: 'hotcold_user_written_bytes_total',
    type: 'counter',
    help: 'Bytes of the records that callers wrote.',
    read: ({ stats }) => stats.writes.userBytes,
  },
  {
    name: 'hotcold_device_written_bytes_total',
    type: 'counter',
    help: 'Bytes appended to all logs and the cold index.',
    read: ({ stats }) => stats.writes.deviceBytes,
  },
  {
    name: 'hotcold_pressure_written_bytes_total',
    type: 'counter',
    help: 'Bytes written synchronously because a caller wrote faster than the disk.',
    read: ({ stats }) => stats.hot.pressureBytes,
  },
  {
    name: 'hotcold_commits_total',
    type: 'counter',
    help: 'Durable commits since the store was created.',
    read: ({ stats }) => stats.writes.commits,
  },
  {
    name: 'hotcold_backlog_writes',
    type: 'gauge',
    help: 'Writes that wait for stable storage.',
    read: ({ stats }) => stats.writes.backlog,
  },
];

const sizes: Definition[] = [
  {
    name: 'hotcold_keys',
    type: 'gauge',
    help: 'Live keys, as far as memory knows.',
    read: ({ stats }) => stats.keys,
  },
  {
    name: 'hotcold_records',
    type: 'gauge',
    help: 'Records by region; those on disk include superseded ones.',
    label: 'region',
    read: ({ stats: { cold, hot, readCache } }) => ({
      hot: hot.indexEntries,
      read_cache: readCache.entries,
      cold: cold.indexEntries,
    }),
  },
  {
    name: 'hotcold_memory_bytes',
    type: 'gauge',
    help: 'Memory by region.',
    label: 'region',
    read: ({ stats: { cold, hot, readCache } }) => ({
      hot_index: hot.indexBytes,
      hot_log: Math.max(0, hot.memoryBytes - hot.indexBytes),
      read_cache: readCache.memoryBytes,
      cold_directory: cold.directoryBytes,
      cold_filter: cold.filterBytes,
      cold_index_cache: cold.indexCacheBytes,
    }),
  },
  {
    name: 'hotcold_memory_budget_bytes',
    type: 'gauge',
    help: 'The options hot.memory and readCache.memory.',
    label: 'region',
    read: ({ stats: { hot, readCache } }) => ({
      hot: hot.memoryBudgetBytes,
      read_cache: readCache.memoryBudgetBytes,
    }),
  },
  {
    name: 'hotcold_log_memory_bytes',
    type: 'gauge',
    help: 'The hot log in memory: records that are updated in place, and those that are not any more.',
    label: 'region',
    read: ({ stats: { hot } }) => ({
      mutable: hot.mutableBytes,
      immutable: hot.residentBytes - hot.mutableBytes,
    }),
  },
  {
    name: 'hotcold_disk_bytes',
    type: 'gauge',
    help: 'Files on the device by region.',
    label: 'region',
    read: ({ stats: { cold, hot } }) => ({
      hot_log: hot.diskBytes,
      cold_log: cold.diskBytes,
      cold_index: cold.indexDiskBytes,
    }),
  },
  {
    name: 'hotcold_cold_garbage_bytes',
    type: 'gauge',
    help: 'Estimated bytes of the cold log that nobody needs any more.',
    read: ({ stats }) => stats.cold.garbageBytes,
  },
  {
    name: 'hotcold_disk_free_bytes',
    type: 'gauge',
    help: 'Room on the file system of the store, or below the limit of a memory device.',
    read: ({ space }) => space?.freeBytes,
  },
  {
    name: 'hotcold_disk_size_bytes',
    type: 'gauge',
    help: 'Size of the file system of the store, or the limit of a memory device.',
    read: ({ space }) => space?.totalBytes,
  },
];

const background: Definition[] = [
  {
    name: 'hotcold_writable',
    type: 'gauge',
    help: '1 while changes are taken; 0 with readOnly, on a full disk, and after one that failed.',
    read: ({ stats }) => Number(stats.writable),
  },
  {
    name: 'hotcold_background_errors_total',
    type: 'counter',
    help: 'What failed in the background: commits, compactions, checkpoints, damage that was met.',
    read: ({ stats }) => stats.errors.count,
  },
  {
    name: 'hotcold_mended_chunks_total',
    type: 'counter',
    help: 'Damaged parts of the cold index that were made anew.',
    read: ({ stats }) => stats.cold.mendedChunks,
  },
  {
    name: 'hotcold_compactions_total',
    type: 'counter',
    help: 'Compactions that had something to do.',
    read: ({ stats }) => stats.compaction.runs,
  },
  {
    name: 'hotcold_compaction_failures_total',
    type: 'counter',
    help: 'Scheduled compactions that failed.',
    read: ({ stats }) => stats.compaction.failures,
  },
  {
    name: 'hotcold_compaction_running',
    type: 'gauge',
    help: '1 while a compaction is under way.',
    read: ({ stats }) => Number(stats.compaction.running),
  },
  {
    name: 'hotcold_compaction_progress_ratio',
    type: 'gauge',
    help: 'How far the compaction under way has come, 0 to 1.',
    read: ({ stats }) => stats.compaction.progress,
  },
  {
    name: 'hotcold_compaction_read_bytes_total',
    type: 'counter',
    help: 'Bytes of log that compactions read and gave up.',
    read: ({ stats }) => stats.compaction.readBytes,
  },
  {
    name: 'hotcold_compaction_copied_bytes_total',
    type: 'counter',
    help: 'Bytes that compactions copied.',
    read: ({ stats }) => stats.compaction.copiedBytes,
  },
  {
    name: 'hotcold_compaction_records_total',
    type: 'counter',
    help: 'Records that compactions copied, and those that they dropped: superseded, deleted, expired or cleared.',
    label: 'fate',
    read: ({ stats: { compaction } }) => ({
      copied: compaction.copiedRecords,
      dropped: compaction.droppedRecords,
    }),
  },
  {
    name: 'hotcold_compaction_last_timestamp_seconds',
    type: 'gauge',
    help: 'When the last compaction that had something to do ended, since 1970.',
    read: ({ stats }) => seconds(stats.compaction.lastAt),
  },
  {
    name: 'hotcold_write_amplification_ratio',
    type: 'gauge',
    help: 'Bytes written to the device for each byte that callers wrote, since the store was opened.',
    read: ({ stats }) => stats.compaction.writeAmplification,
  },
  {
    name: 'hotcold_checkpoints_total',
    type: 'counter',
    help: 'Checkpoints taken.',
    read: ({ stats }) => stats.checkpoints.taken,
  },
  {
    name: 'hotcold_checkpoint_last_timestamp_seconds',
    type: 'gauge',
    help: 'When the last checkpoint was taken, since 1970.',
    read: ({ stats }) => seconds(stats.checkpoints.lastAt),
  },
  {
    name: 'hotcold_event_loop_seconds_total',
    type: 'counter',
    help: 'Time of the event loop taken by background work in slices, and by reads from disk that were made synchronously.',
    label: 'work',
    read: ({ stats: { eventLoop } }) => ({
      background: eventLoop.backgroundMs / 1000,
      reads: eventLoop.readMs / 1000,
    }),
  },
];

export const DEFINITIONS: readonly Definition[] = [...calls, ...sizes, ...background];
