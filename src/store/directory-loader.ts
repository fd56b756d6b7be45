/**
 * The directory of the cold index behind the opening, as `hot-index-loader.ts` has the hot index: its blocks come from the
 * checkpoint when a look-up needs them, all others in slices after the store was opened.
 *
 * A block that is damaged makes the checkpoint useless as long as the store is being opened. Later its slots are lost, as those of
 * a damaged chunk are, and made anew from the cold log (`IndexMender`).
 */
import { ChunkDirectory, type BlockSource, type DirectoryShape } from '../cold/chunk-directory.js';
import { KvClosedError, KvCorruptionError } from '../errors.js';
import type { BlockReader, Checkpoint } from './checkpoint-file.js';

/** Name of the section of a checkpoint that has the blocks. */
export const DIRECTORY = 'directory';

export class DirectoryLoader implements BlockSource {
  /** Name of the store, once it is open. */
  private openedAs: string | undefined;
  private closed = false;

  private constructor(
    private readonly blocks: BlockReader,
    private readonly onDamage: () => void,
  ) {}

  /**
   * The directory of a checkpoint.
   * @param onDamage called when a block is damaged before the store is open
   * @returns `undefined` when it is not what it should be
   * @throws KvDiskError
   */
  static open(
    checkpoint: Checkpoint,
    shape: DirectoryShape,
    onDamage: () => void,
  ): { directory: ChunkDirectory; loader: DirectoryLoader } | undefined {
    const loader = new DirectoryLoader(checkpoint.reader(DIRECTORY), onDamage);
    const directory = ChunkDirectory.from(shape, loader);
    if (directory) return { directory, loader };
    loader.close();
    return undefined;
  }

  get count(): number {
    return this.blocks.count(DIRECTORY);
  }

  /** @throws KvCorruptionError when it is damaged, and the store is not open yet */
  read(block: number): Uint32Array | undefined {
    if (this.closed) throw new KvClosedError(this.openedAs ?? '');
    const bytes = this.blocks.read(DIRECTORY, block);
    if (bytes?.length === ChunkDirectory.blockBytes)
      return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
    if (this.openedAs !== undefined) return undefined;
    this.onDamage();
    throw this.damaged();
  }

  damaged(): KvCorruptionError {
    const { file, position } = this.blocks.damage ?? { file: '', position: 0 };
    return new KvCorruptionError('The cold index is damaged in the checkpoint', file, position, {
      remedy: 'It is made anew from the cold log, unless that is damaged as well.',
    });
  }

  /** The store is open: what is damaged from now on is mended. */
  serve(name: string): void {
    this.openedAs = name;
  }

  close(): void {
    this.closed = true;
    this.blocks.close();
  }
}
