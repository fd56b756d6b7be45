/** A point of a log up to which everything was on stable storage when it was noted, by a checkpoint or a hint. */
import { KvCorruptionError } from '../errors.js';
import type { LogAddress } from '../log/address.js';
import { commitBefore } from '../log/scan.js';
import type { SegmentFiles, SegmentLength } from '../log/segment-files.js';
import type { LogManifest } from './manifest.js';
import type { RecoveryStart } from './recovery.js';

/** A commit on stable storage: its number, where it ended, and the files of the log up to there. */
export interface LogPoint {
  commit: number;
  end: LogAddress;
  segments: SegmentLength[];
}

/** @param begin from where on the files are noted */
export function pointAt(
  segments: SegmentFiles,
  begin: LogAddress,
  commit: number,
  end: LogAddress,
): LogPoint {
  return { commit, end, segments: segments.lengths(begin, end) };
}

/**
 * Where a log has to be replayed from: behind that commit.
 * @returns `undefined` when the log begins further on
 * @throws KvCorruptionError when the log does not have what lay before
 */
export function recoveryStart(
  segments: SegmentFiles,
  { begin }: LogManifest,
  { commit: number, end, segments: lengths }: LogPoint,
): RecoveryStart | undefined {
  if (end <= begin) return undefined;
  const first = segments.segmentOf(begin);
  const lacking = segments.lacking(lengths.filter(([segment]) => segment >= first));
  if (lacking !== undefined) {
    throw new KvCorruptionError(
      'A part of the log is missing',
      segments.nameOf(lacking),
      segments.startOf(lacking) + segments.sizeOf(lacking),
    );
  }
  const commit = commitBefore(segments, end);
  if (commit?.number === number) return { commit, end };
  throw new KvCorruptionError(
    `Commit ${number} of the log is damaged`,
    segments.nameOf(segments.segmentOf(end - 1)),
    end,
  );
}
