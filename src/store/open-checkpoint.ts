/**
 * Opening with a checkpoint: both indexes as it has them, and where the logs have to be replayed from. A checkpoint that
 * is missing or damaged, or whose chunks are, is of no use, and nothing else: the logs have it all. One that is intact
 * says in return what the logs have to have. What lies behind it is read by recovery, what lies before it is not read at
 * all; but a file that is missing or short is refused as if it were.
 */
import { ChunkDirectory } from '../cold/chunk-directory.js';
import { ChunkLog } from '../cold/chunk-log.js';
import type { ColdIndexImage } from '../cold/cold-index.js';
import type { Device } from '../device/device.js';
import { KvCorruptionError, KvDiskError } from '../errors.js';
import { HashIndex } from '../hot/hash-index.js';
import { commitBefore } from '../log/scan.js';
import type { SegmentFiles } from '../log/segment-files.js';
import { Checkpoint, removeCheckpoints } from './checkpoint-file.js';
import { DIRECTORY, HOT_INDEX, PENDING, type CheckpointState, type LogPoint } from './checkpointer.js';
import type { LogManifest, Manifest } from './manifest.js';
import type { RecoveryStart } from './recovery.js';

export interface CheckpointImage {
  checkpoint: Checkpoint<CheckpointState>;
  index: HashIndex;
  coldIndex: ColdIndexImage;
}

export interface OpenedCheckpoint extends CheckpointImage {
  /** Missing where the log begins further on. */
  hotStart: RecoveryStart | undefined;
  coldStart: RecoveryStart | undefined;
}

/**
 * Reads the checkpoint that the manifest names, and removes the files of all others.
 * @returns `undefined` when there is none, or none that can be used: what there is has to be forgotten then
 * @throws KvCorruptionError when the logs do not have what they had when it was taken
 * @throws KvDiskError
 */
export async function openCheckpoint(
  device: Device,
  manifest: Manifest,
  hot: SegmentFiles,
  cold: SegmentFiles,
): Promise<OpenedCheckpoint | undefined> {
  const image = readCheckpoint(device, manifest);
  if (!image || !ChunkLog.has(device, manifest.cold.segmentSize, image.coldIndex.shape.chunks))
    return undefined;
  const { state, files } = image.checkpoint;
  const hotStart = recoveryStart(hot, manifest.hot, state.hot);
  const coldStart = recoveryStart(cold, manifest.cold, state.cold);
  await removeCheckpoints(device, files);
  return { ...image, hotStart, coldStart };
}

/**
 * Removes a checkpoint that is of no use, and what others left. Durably, if the manifest names it: chunks that are
 * written from now on could be taken for its own.
 * @throws KvDiskError
 */
export async function forgetCheckpoint(device: Device, { checkpoint }: Manifest): Promise<void> {
  await removeCheckpoints(device, new Set());
  if (checkpoint !== undefined) await device.syncDirectory();
}

/** Reads the checkpoint that the manifest names, and changes nothing. Chunks of its cold index may be missing. */
export function readCheckpoint(device: Device, manifest: Manifest): CheckpointImage | undefined {
  try {
    return readImage(device, manifest);
  } catch (error) {
    // What cannot be read is as good as damaged.
    if (error instanceof KvDiskError) return undefined;
    throw error;
  }
}

function readImage(device: Device, manifest: Manifest): CheckpointImage | undefined {
  if (manifest.checkpoint === undefined) return undefined;
  const checkpoint = Checkpoint.read<CheckpointState>(device, manifest.checkpoint, manifest.storeId);
  if (!checkpoint) return undefined;
  const { hotIndex, coldIndex } = checkpoint.state;
  const [chunks, blocks, pending] = [HOT_INDEX, DIRECTORY, PENDING].map((name) =>
    checkpoint
      .section(name)
      ?.map(({ buffer, byteOffset, length }) => new Uint32Array(buffer, byteOffset, length >> 2)),
  );
  if (!chunks || !blocks || pending?.length !== 1) return undefined;
  const index = HashIndex.from(hotIndex, chunks, manifest.hot.begin);
  const directory = ChunkDirectory.from(coldIndex.directory, blocks);
  if (!index || !directory) return undefined;
  return {
    checkpoint,
    index,
    coldIndex: { shape: coldIndex, directory, pending: new Int32Array(pending[0]) },
  };
}

/**
 * Where a log has to be replayed from: behind the commit of the checkpoint, or at its begin, if that is further on.
 * @throws KvCorruptionError when the log does not have what lay before
 */
function recoveryStart(
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
