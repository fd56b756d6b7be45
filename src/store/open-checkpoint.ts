/**
 * Opening with a checkpoint: both indexes as it has them, and where the logs have to be replayed from. Whatever is not as
 * it should be makes the checkpoint useless, and nothing else: the logs have it all.
 */
import { ChunkDirectory } from '../cold/chunk-directory.js';
import { ChunkLog } from '../cold/chunk-log.js';
import type { ColdIndexImage } from '../cold/cold-index.js';
import type { Device } from '../device/device.js';
import { HashIndex } from '../hot/hash-index.js';
import { commitBefore } from '../log/scan.js';
import type { SegmentFiles } from '../log/segment-files.js';
import { Checkpoint, removeCheckpoints } from './checkpoint-file.js';
import { DIRECTORY, HOT_INDEX, PENDING, type CheckpointState, type LogPoint } from './checkpointer.js';
import type { LogManifest, Manifest } from './manifest.js';
import type { RecoveryStart } from './recovery.js';

export interface OpenedCheckpoint {
  checkpoint: Checkpoint<CheckpointState>;
  index: HashIndex;
  coldIndex: ColdIndexImage;
}

/**
 * Reads the checkpoint that the manifest names, and removes the files of all others.
 * @returns `undefined` when there is none, or none that can be used
 * @throws KvDiskError
 */
export async function openCheckpoint(
  device: Device,
  manifest: Manifest,
): Promise<OpenedCheckpoint | undefined> {
  const opened = readCheckpoint(device, manifest);
  await removeCheckpoints(device, opened?.checkpoint.files ?? new Set());
  return opened;
}

/** Reads the checkpoint that the manifest names, and changes nothing. */
export function readCheckpoint(device: Device, manifest: Manifest): OpenedCheckpoint | undefined {
  if (manifest.checkpoint === undefined) return undefined;
  const checkpoint = Checkpoint.read<CheckpointState>(device, manifest.checkpoint, manifest.storeId);
  if (!checkpoint) return undefined;
  const { hotIndex, coldIndex } = checkpoint.state;
  if (!ChunkLog.has(device, manifest.cold.segmentSize, coldIndex.chunks)) return undefined;
  const [chunks, blocks, pending] = [HOT_INDEX, DIRECTORY, PENDING].map((name) =>
    checkpoint.section(name)?.map((bytes) => new Uint32Array(bytes.buffer)),
  );
  if (!chunks || !blocks || pending?.length !== 1) return undefined;
  const index = HashIndex.from(hotIndex, chunks);
  const directory = ChunkDirectory.from(coldIndex.directory, blocks);
  if (!index || !directory) return undefined;
  return {
    checkpoint,
    index,
    coldIndex: { shape: coldIndex, directory, pending: new Int32Array(pending[0].buffer) },
  };
}

/**
 * Where a log has to be replayed from: behind the commit of the checkpoint, or at its begin, if that is further on.
 * @returns `false` when the log has no such commit, so that the checkpoint is of no use
 */
export function recoveryStart(
  segments: SegmentFiles,
  { begin }: LogManifest,
  { commit: number, end }: LogPoint,
): RecoveryStart | undefined | false {
  if (end <= begin) return undefined;
  const commit = commitBefore(segments, end);
  return commit?.number === number && { commit, end };
}
