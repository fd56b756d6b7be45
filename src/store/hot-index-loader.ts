/**
 * The hot index behind the opening: its chunks come from the checkpoint when they are needed, and all others right after
 * the store was opened, in slices beside everything else. Reading, checking and counting them would be most of what
 * opening takes (decision 16).
 *
 * A chunk that is damaged is met late this way. While the store is being opened it makes the checkpoint useless, as any
 * damage in one does. Later, what it had is read from the log at once, and the next checkpoint is written whole.
 */
import type { KeyedHash } from '../codec/keyed-hash.js';
import type { EnvClock } from '../device/env.js';
import { KvClosedError, KvCorruptionError } from '../errors.js';
import type { ChunkSource, EntryVisitor } from '../hot/chunk-loader.js';
import { HashIndex, type HashIndexShape } from '../hot/hash-index.js';
import type { LogAddress } from '../log/address.js';
import type { SegmentFiles } from '../log/segment-files.js';
import { Slices } from '../log/slices.js';
import type { BlockReader, Checkpoint } from './checkpoint-file.js';
import type { ManifestFile } from './manifest.js';
import { entriesOfLog } from './rebuilt-entries.js';

/** Names of the sections of a checkpoint that have the chunks. */
export const HOT_INDEX = 'hotIndex';
export const HOT_OVERFLOW = 'hotOverflow';

/** Milliseconds of one slice: reads that come right after the opening should not wait. */
const SLICE_MS = 1;

/** After an attempt that failed, whoever asks within this time gets its error: each reads the log as far as it can. */
const RETRY_MS = 10_000;

/** What mends the index of an open store. */
export interface MendingParts {
  /** Name of the store. */
  name: string;
  clock: EnvClock;
  segments: SegmentFiles;
  manifest: ManifestFile;
  hash: KeyedHash;
  /** Up to where the log was when the store was opened. */
  end: LogAddress;
  /** The index is whole again, and the checkpoint is not. */
  onMended: () => void;
  onError: (error: Error) => void;
}

export class HotIndexLoader implements ChunkSource {
  private mending: MendingParts | undefined;
  private stopped = false;
  private closed = false;
  /** Why the index could not be mended. */
  private failure: { error: unknown; untilMs: number } | undefined;

  private constructor(
    private readonly blocks: BlockReader,
    /** Called when a chunk is damaged before the store is open. */
    private readonly onDamage: () => void,
  ) {}

  /**
   * The hot index of a checkpoint.
   * @returns `undefined` when it is not what it should be
   * @throws KvDiskError
   */
  static open(
    checkpoint: Checkpoint,
    shape: HashIndexShape,
    begin: LogAddress,
    onDamage: () => void,
  ): { index: HashIndex; loader: HotIndexLoader } | undefined {
    const loader = new HotIndexLoader(checkpoint.reader(HOT_INDEX, HOT_OVERFLOW), onDamage);
    const index = HashIndex.from(shape, loader, begin);
    if (index) return { index, loader };
    loader.close();
    return undefined;
  }

  get primaryChunks(): number {
    return this.blocks.count(HOT_INDEX);
  }

  get overflowChunks(): number {
    return this.blocks.count(HOT_OVERFLOW);
  }

  read(kind: 'primary' | 'overflow', number: number): Uint32Array | undefined {
    if (this.closed) throw new KvClosedError(this.mending?.name ?? '');
    const bytes = this.blocks.read(kind === 'primary' ? HOT_INDEX : HOT_OVERFLOW, number);
    if (bytes?.length !== HashIndex.chunkBytes) return undefined;
    return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  }

  /** The store is open: what is damaged from now on is mended. */
  serve(mending: MendingParts): void {
    this.mending = mending;
  }

  /** @throws KvCorruptionError, KvDiskError */
  rebuild(): (visit: EntryVisitor) => void {
    const { mending } = this;
    if (!mending) {
      this.onDamage();
      throw this.damaged('Opening the store reads the logs instead.');
    }
    const { clock, end, hash, manifest, segments } = mending;
    if (this.failure && clock.tick() < this.failure.untilMs) throw this.failure.error;
    try {
      const entries = entriesOfLog(segments, manifest.current.hot, end, hash.copy());
      mending.onMended();
      this.tell(this.damaged('It was built anew from the log, and nothing is lost. Check the disk.'));
      return entries;
    } catch (error) {
      this.failure = { error, untilMs: clock.tick() + RETRY_MS };
      this.tell(error as Error);
      throw error;
    }
  }

  /** Loads what is not in memory yet, and never rejects: what is damaged is told as always. */
  async loadBehind(index: HashIndex, clock: EnvClock): Promise<void> {
    try {
      await this.load(index, clock, () => !this.stopped);
    } catch (error) {
      if (error !== this.failure?.error) this.tell(error as Error);
    }
  }

  /** `loadBehind` ends soon. */
  stop(): void {
    this.stopped = true;
  }

  /**
   * Resolves when all of the index is in memory.
   * @throws KvCorruptionError, KvDiskError when it cannot be
   */
  async rest(index: HashIndex, clock: EnvClock): Promise<void> {
    await this.load(index, clock, () => true);
  }

  close(): void {
    this.stopped = true;
    this.closed = true;
    this.blocks.close();
  }

  private async load(index: HashIndex, clock: EnvClock, mayGoOn: () => boolean): Promise<void> {
    const slices = new Slices(clock, SLICE_MS);
    let failure: unknown;
    for (let goesOn = true; goesOn && !index.isLoaded && mayGoOn();) {
      try {
        goesOn = index.loadNext();
      } catch (error) {
        failure = error;
      }
      if (slices.over) await slices.next();
    }
    if (!index.isLoaded && mayGoOn()) throw failure;
  }

  private damaged(remedy: string): KvCorruptionError {
    const { file, position } = this.blocks.damage ?? { file: '', position: 0 };
    return new KvCorruptionError('The hot index is damaged in the checkpoint', file, position, { remedy });
  }

  /** Not at once: somebody is in the middle of a look-up. */
  private tell(error: Error): void {
    queueMicrotask(() => this.mending?.onError(error));
  }
}
