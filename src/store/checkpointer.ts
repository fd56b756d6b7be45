/**
 * When and how checkpoints are taken: both indexes beside the logs, so that opening reads them instead of the logs. An
 * index is derived data: without a checkpoint, or with a damaged one, all of it comes from the logs.
 *
 * A checkpoint begins at a commit of each log that is on stable storage; recovery replays what lies behind. While the
 * hot index is written, block after block in slices, writes go on: what is newer than the beginning may be in it or not,
 * because it is replayed anyway (FASTER's fuzzy checkpoint, SIGMOD 2018, section 6.5). So the checkpoint counts only
 * once another commit has made durable whatever may be in it, and the manifest names it. Nothing is put into the cold
 * index meanwhile: a checkpoint is taken between compactions, or by one between two portions.
 */
import { INDEX_LOG_NAME } from '../cold/chunk-log.js';
import type { ColdIndexShape } from '../cold/cold-index.js';
import type { ColdTier, ColdTierState } from '../cold/cold-tier.js';
import type { Device } from '../device/device.js';
import type { EnvClock } from '../device/env.js';
import { KvCorruptionError, KvDiskError } from '../errors.js';
import { HashIndex, type HashIndexShape } from '../hot/hash-index.js';
import { enterRest } from '../hot/late-rows.js';
import type { HybridLog } from '../log/hybrid-log.js';
import type { SegmentFiles } from '../log/segment-files.js';
import { Slices } from '../log/slices.js';
import { checkpointName, CheckpointWriter, removeCheckpoints, type Checkpoint } from './checkpoint-file.js';
import type { GroupCommit } from './group-commit.js';
import { isFull, type Health } from './health.js';
import { DIRECTORY } from './directory-loader.js';
import type { Hints } from './hints.js';
import { HOT_INDEX, HOT_OVERFLOW, type HotIndexLoader } from './hot-index-loader.js';
import { pointAt, type LogPoint } from './log-point.js';
import type { ManifestFile } from './manifest.js';
import type { Spaces, SpacesState } from './spaces.js';

/** A checkpoint is due after so many bytes of both logs: half a second of replay at the most. */
const DUE_BYTES = 256 * 1024 * 1024;

/** A checkpoint is due when more of the log of chunks waits to go with the last one: segments, and what that one took to write. */
const KEPT_SEGMENTS = 2;

/** Less is replayed sooner than a checkpoint of it is written. */
const WORTH_BYTES = 64 * 1024;

/** What to do about an index that is wrong. */
const REBUILD = 'Open the store again: that rebuilds the indexes from the logs.';

/** Names of its sections, beside those of the hot index. */
export const PENDING = 'pending';

/** What a checkpoint has beside its blocks. */
export interface CheckpointState {
  hot: LogPoint;
  cold: LogPoint;
  spaces: SpacesState;
  hotIndex: HashIndexShape;
  coldIndex: ColdIndexShape;
  tier: ColdTierState;
}

/** What `checkpoint()` did. */
export interface KvCheckpointReport {
  /** Number of the checkpoint, from 1. */
  checkpoint: number;
  /** Bytes that were written: blocks that had not changed since the last one are not. */
  bytes: number;
  /** Whether blocks of earlier checkpoints are part of it. */
  incremental: boolean;
  tookMs: number;
}

export interface CheckpointParts {
  device: Device;
  clock: EnvClock;
  manifest: ManifestFile;
  index: HashIndex;
  /** Missing when the index does not come from a checkpoint. */
  loader: HotIndexLoader | undefined;
  log: HybridLog;
  segments: SegmentFiles;
  cold: ColdTier;
  commits: GroupCommit;
  hints: Hints | undefined;
  spaces: Spaces;
  health: Health;
  sliceMs: number;
}

export class Checkpointer {
  /** Told of each checkpoint. */
  onDone: (report: KvCheckpointReport) => void = () => undefined;
  /** Whether an index is wrong, so that it has to be built anew. */
  private useless = false;
  /** Whether the next opening would have to make anew what this one has made anew. */
  private isOutdated = false;
  /** After a failure, bytes after which it is tried again. */
  private notBefore = 0;
  private readonly slices: Slices;
  /** Up to where the logs are in the last checkpoint. */
  private hotEnd: number;
  private coldEnd: number;

  constructor(
    private readonly parts: CheckpointParts,
    /** The one that the store was opened with. */
    private last: Checkpoint<CheckpointState> | undefined,
  ) {
    this.slices = new Slices(parts.clock, parts.sliceMs);
    this.hotEnd = last?.state.hot.end ?? parts.log.begin;
    this.coldEnd = last?.state.cold.end ?? parts.cold.log.log.begin;
  }

  /** The checkpoint that the next opening would use, as far as it is known here. */
  get latest(): Checkpoint<CheckpointState> | undefined {
    return this.last;
  }

  /** Milliseconds of the event loop that checkpoints have taken, in slices. */
  get workedMs(): number {
    return this.slices.workedMs;
  }

  /** Whether so much was written since the last one that opening would take long, or so much is on disk for its sake alone. */
  get isDue(): boolean {
    const { index, log } = this.parts.cold;
    const bytes = this.last?.bytes ?? 0;
    if (index.keepsBeyond(Math.max(bytes, KEPT_SEGMENTS * log.segments.segmentSize)))
      return this.worthBeyond(this.notBefore);
    // A large index takes longer to write than its log takes to be read.
    return this.worthBeyond(Math.max(DUE_BYTES, 4 * bytes, this.notBefore));
  }

  /** Whether opening is faster with another one. */
  get isWorthIt(): boolean {
    return this.worthBeyond(this.isOutdated ? -1 : WORTH_BYTES);
  }

  /** An index, or a part of one, was made anew: with the last checkpoint the next opening would have to do that again. */
  outdated(): void {
    this.isOutdated = true;
  }

  /** The last checkpoint is damaged in a part that was made anew: the next one is written whole. */
  damaged(): void {
    this.last = undefined;
    this.isOutdated = true;
  }

  private worthBeyond(bytes: number): boolean {
    const { cold, device } = this.parts;
    if (this.useless || device.volatile || cold.index.damage) return false;
    return this.uncoveredBytes > bytes;
  }

  private get uncoveredBytes(): number {
    const { cold, log } = this.parts;
    return log.tail - this.hotEnd + (cold.log.log.tail - this.coldEnd);
  }

  /**
   * Takes a checkpoint. Nothing may be appended to the cold log meanwhile, and what is there has to be committed.
   * @throws KvReadOnlyError, KvDiskError when the disk refused: the checkpoint before stays in force
   * @throws KvCorruptionError when an index is wrong, or damaged and was not mended
   */
  async take(): Promise<KvCheckpointReport> {
    const { clock, cold, device, health, hints, index, loader, manifest } = this.parts;
    const startMs = clock.tick();
    this.assertUseful();
    // Only what was found intact is left to the file that has it, and no file goes from which something is still read.
    await loader?.rest(index, clock);
    this.slices.restart();
    await enterRest(index, this.slices);
    await cold.index.directory.loadAll(this.slices);
    let checkpoint: Checkpoint<CheckpointState>;
    try {
      checkpoint = await this.write((manifest.current.checkpoint ?? 0) + 1);
    } catch (error) {
      hints?.checkpointFailed();
      // Blocks that were taken for written are not.
      this.last = undefined;
      this.notBefore = this.uncoveredBytes + DUE_BYTES / 4;
      // As everywhere: what a failed sync should have kept may be gone, and a second one would not say so.
      if (error instanceof KvDiskError && !isFull(error)) health.fail(error);
      throw error;
    }
    const { hot, cold: coldPoint, coldIndex } = checkpoint.state;
    this.last = checkpoint;
    this.isOutdated = false;
    this.notBefore = 0;
    this.hotEnd = hot.end;
    this.coldEnd = coldPoint.end;
    await cold.index.persisted(coldIndex);
    await removeCheckpoints(device, checkpoint.files);
    await hints?.checkpointTaken(hot.commit, hot.end);
    const report = {
      checkpoint: checkpoint.number,
      bytes: checkpoint.bytes,
      incremental: checkpoint.numbers().size > 1,
      tookMs: clock.tick() - startMs,
    };
    this.onDone(report);
    return report;
  }

  /** An index is wrong: the next opening builds both from the logs. */
  forget(): void {
    if (this.useless) return;
    this.useless = true;
    this.last = undefined;
    const { device, hints, manifest } = this.parts;
    hints?.forget();
    const name = checkpointName(manifest.current.checkpoint ?? 0);
    try {
      if (device.list().includes(name)) device.removeSync(name);
    } catch {
      // Whoever met the damage is told of that; the next opening meets it again.
    }
  }

  /** @throws KvCorruptionError */
  private assertUseful(): void {
    if (this.useless)
      throw new KvCorruptionError('An index is wrong', INDEX_LOG_NAME, 0, { remedy: REBUILD });
  }

  /** Writes a checkpoint and puts it into force. */
  private async write(number: number): Promise<Checkpoint<CheckpointState>> {
    const { cold, commits, device, hints, manifest, segments, spaces } = this.parts;
    await commits.commit();
    const hot = pointAt(segments, this.parts.log.begin, commits.synced, commits.syncedEnd);
    hints?.checkpointBegins(hot.end);
    const { commit, tail } = cold.log.synced;
    const coldPoint = pointAt(cold.log.segments, cold.log.log.begin, commit, tail);
    const spacesState = spaces.stateFor(cold.meanBytes);
    const writer = CheckpointWriter.begin<CheckpointState>(
      device,
      number,
      manifest.current.storeId,
      this.last,
    );
    let named = false;
    try {
      const coldIndex = await cold.index.persist();
      this.slices.restart();
      const hotIndex = await this.writeHotIndex(writer);
      await this.writeDirectory(writer);
      await writer.add(PENDING, bytesOf(coldIndex.pending), true);
      // Makes durable whatever came into the hot index on the way.
      await commits.commit();
      const checkpoint = await writer.finish({
        hot,
        cold: coldPoint,
        spaces: spacesState,
        hotIndex,
        coldIndex: coldIndex.shape,
        tier: cold.state,
      });
      this.assertUseful();
      named = true;
      await manifest.replace((current) => ({
        ...current,
        hot: { ...current.hot, synced: commits.synced },
        cold: { ...current.cold, closed: cold.log.synced },
        checkpoint: number,
      }));
      // Damage that was met during the replacement has made only the checkpoint before forgotten.
      this.assertUseful();
      return checkpoint;
    } catch (error) {
      // A replacement that failed may still have put the manifest there: it finds the one or the other.
      if (!named || this.useless) writer.abandon();
      throw error;
    }
  }

  /** Resolves to the shape that the index had with its last chunk. */
  private async writeHotIndex(writer: CheckpointWriter<CheckpointState>): Promise<HashIndexShape> {
    const { index } = this.parts;
    index.frozen = true;
    try {
      for (let i = 0, chunk; (chunk = index.primaryChunk(i)); i++) {
        await writer.add(HOT_INDEX, bytesOf(chunk), HashIndex.takeChanged(chunk));
        if (this.slices.over) await this.slices.next();
      }
      for (let i = 0, chunk; (chunk = index.overflowChunk(i)); i++) {
        await writer.add(HOT_OVERFLOW, bytesOf(chunk), HashIndex.takeChanged(chunk));
        if (this.slices.over) await this.slices.next();
      }
      return index.shape;
    } finally {
      index.frozen = false;
    }
  }

  private async writeDirectory(writer: CheckpointWriter<CheckpointState>): Promise<void> {
    const { directory } = this.parts.cold.index;
    for (let i = 0, block; (block = directory.blockAt(i)); i++) {
      await writer.add(DIRECTORY, bytesOf(block), directory.takeChanged(i));
      if (this.slices.over) await this.slices.next();
    }
  }
}

function bytesOf(words: Int32Array | Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}
