/**
 * Opening with a checkpoint: both indexes as it has them, and where the logs have to be replayed from. A checkpoint that
 * is missing or damaged, or whose chunks are, is of no use, and nothing else: the logs have it all. One that is intact
 * says in return what the logs have to have. What lies behind it is read by recovery, what lies before it is not read at
 * all; but a file that is missing or short is refused as if it were.
 */
import { ChunkLog } from '../cold/chunk-log.js';
import type { ColdIndexImage } from '../cold/cold-index.js';
import type { Device } from '../device/device.js';
import { KvDiskError } from '../errors.js';
import type { HashIndex } from '../hot/hash-index.js';
import type { SegmentFiles } from '../log/segment-files.js';
import { Checkpoint, removeCheckpoints } from './checkpoint-file.js';
import { PENDING, type CheckpointState } from './checkpointer.js';
import { DirectoryLoader } from './directory-loader.js';
import { HotIndexLoader } from './hot-index-loader.js';
import { recoveryStart } from './log-point.js';
import type { Manifest } from './manifest.js';
import type { RecoveryStart } from './recovery.js';

export interface CheckpointImage {
  checkpoint: Checkpoint<CheckpointState>;
  index: HashIndex;
  /** Loads the chunks of `index`. */
  loader: HotIndexLoader;
  coldIndex: ColdIndexImage;
  /** Loads the directory of `coldIndex`. */
  directory: DirectoryLoader;
}

export interface OpenedCheckpoint extends Pick<CheckpointImage, 'checkpoint' | 'coldIndex' | 'directory'> {
  /** Missing where the log begins further on: then nothing that the checkpoint has of the hot index counts any more. */
  hot: { index: HashIndex; loader: HotIndexLoader; start: RecoveryStart } | undefined;
  /** Missing where the log begins further on. */
  coldStart: RecoveryStart | undefined;
}

/**
 * Reads the checkpoint that the manifest names, and removes the files of all others. Of the hot index nothing is read but
 * where its chunks are.
 * @param onIndexDamage told when one of them turns out to be damaged while the store is being opened; then it throws
 * @returns `undefined` when there is none, or none that can be used: what there is has to be forgotten then
 * @throws KvCorruptionError when the logs do not have what they had when it was taken
 * @throws KvDiskError
 */
export async function openCheckpoint(
  device: Device,
  manifest: Manifest,
  hot: SegmentFiles,
  cold: SegmentFiles,
  onIndexDamage: () => void,
): Promise<OpenedCheckpoint | undefined> {
  const image = unlessUnreadable(() => readImage(device, manifest, onIndexDamage));
  if (!image) return undefined;
  const { checkpoint, coldIndex, directory, index, loader } = image;
  try {
    if (!ChunkLog.has(device, manifest.cold.segmentSize, coldIndex.shape.chunks)) {
      loader.close();
      directory.close();
      return undefined;
    }
    const { state, files } = checkpoint;
    const hotStart = recoveryStart(hot, manifest.hot, state.hot);
    const coldStart = recoveryStart(cold, manifest.cold, state.cold);
    await removeCheckpoints(device, files);
    const opened = { checkpoint, coldIndex, directory, coldStart };
    if (hotStart) return { ...opened, hot: { index, loader, start: hotStart } };
    loader.close();
    return { ...opened, hot: undefined };
  } catch (error) {
    loader.close();
    directory.close();
    throw error;
  }
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

/** Reads all of the checkpoint that the manifest names, and changes nothing. Chunks of its cold index may be missing. */
export function readCheckpoint(device: Device, manifest: Manifest): CheckpointImage | undefined {
  return unlessUnreadable(() => {
    let isDamaged = false;
    const image = readImage(device, manifest, () => (isDamaged = true));
    if (!image) return undefined;
    try {
      while (image.index.loadNext());
      const { directory } = image.coldIndex;
      while (!directory.isLoaded) directory.loadNext();
      return image;
    } catch (error) {
      if (!isDamaged) throw error;
      return undefined;
    } finally {
      image.loader.close();
      image.directory.close();
    }
  });
}

/** What cannot be read is as good as damaged. */
function unlessUnreadable<T>(read: () => T | undefined): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof KvDiskError) return undefined;
    throw error;
  }
}

function readImage(
  device: Device,
  manifest: Manifest,
  onIndexDamage: () => void,
): CheckpointImage | undefined {
  if (manifest.checkpoint === undefined) return undefined;
  const checkpoint = Checkpoint.read<CheckpointState>(device, manifest.checkpoint, manifest.storeId);
  if (!checkpoint) return undefined;
  const { hotIndex, coldIndex } = checkpoint.state;
  const [pending] = checkpoint.section(PENDING) ?? [];
  if (!pending) return undefined;
  const cold = DirectoryLoader.open(checkpoint, coldIndex.directory, onIndexDamage);
  if (!cold) return undefined;
  let hot: ReturnType<typeof HotIndexLoader.open>;
  try {
    hot = HotIndexLoader.open(checkpoint, hotIndex, manifest.hot.begin, onIndexDamage);
  } finally {
    if (!hot) cold.loader.close();
  }
  if (!hot) return undefined;
  const words = new Int32Array(pending.buffer, pending.byteOffset, pending.length >> 2);
  return {
    checkpoint,
    ...hot,
    coldIndex: { shape: coldIndex, directory: cold.directory, pending: words },
    directory: cold.loader,
  };
}
