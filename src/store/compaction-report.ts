/**
 * What a compaction tells of itself: to whoever asked for it, to the listeners of `compaction`, and in `stats()`. Apart from
 * what compacts, because those who pass a report on need to know no more of it. `CompactionRun` fills it in.
 */

/** Why a compaction ran. */
export type KvCompactionReason = 'budget' | 'interval' | 'manual';

/** What a compaction did with one of the logs. */
export interface KvCompactionPart {
  /** Bytes of the log that were read and given up. */
  truncatedBytes: number;
  /** Records in them, and how many of those were not the newest of their key, deleted, expired or cleared. */
  records: number;
  droppedRecords: number;
}

/** What a compaction did. */
export interface KvCompactionReport {
  reason: KvCompactionReason;
  /** Hot → cold, and cold → cold. */
  hot: KvCompactionPart;
  cold: KvCompactionPart;
  /** Records appended to the cold log (tombstones included), and their bytes. */
  copiedRecords: number;
  copiedBytes: number;
  /** Bytes of both logs before and after. */
  bytesBefore: number;
  bytesAfter: number;
  /** Milliseconds from start to end, waiting included. */
  tookMs: number;
  /** Bytes written to all logs and the cold index for each byte that callers wrote, since the store was opened. */
  writeAmplification: number;
  /** Whether it was ended before it was done. */
  aborted: boolean;
}

/** Of a run that has done nothing yet. */
export function newReport(reason: KvCompactionReason, bytesBefore: number): KvCompactionReport {
  return {
    reason,
    hot: { truncatedBytes: 0, records: 0, droppedRecords: 0 },
    cold: { truncatedBytes: 0, records: 0, droppedRecords: 0 },
    copiedRecords: 0,
    copiedBytes: 0,
    bytesBefore,
    bytesAfter: 0,
    tookMs: 0,
    writeAmplification: 0,
    aborted: false,
  };
}
