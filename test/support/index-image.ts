/** The image of a hash index in memory, as a checkpoint has it on disk; its chunks can be damaged. */
import type { ChunkSource, EntryVisitor } from '../../src/hot/chunk-loader.js';
import { HashIndex, type HashIndexShape } from '../../src/hot/hash-index.js';

export class IndexImage implements ChunkSource {
  /** `primary 3`: chunks that cannot be read. */
  readonly damaged = new Set<string>();
  /** Chunks that were read, in their order. */
  readonly reads: string[] = [];
  closed = 0;
  rebuild: () => (visit: EntryVisitor) => void = () => {
    throw new Error('Nothing should be damaged.');
  };

  constructor(
    readonly shape: HashIndexShape,
    readonly primary: readonly Uint32Array[],
    readonly overflow: readonly Uint32Array[],
  ) {}

  get primaryChunks(): number {
    return this.primary.length;
  }

  get overflowChunks(): number {
    return this.overflow.length;
  }

  read(kind: 'primary' | 'overflow', number: number): Uint32Array | undefined {
    this.reads.push(`${kind} ${number}`);
    return this.damaged.has(`${kind} ${number}`) ? undefined : this[kind][number].slice();
  }

  close(): void {
    this.closed++;
  }

  /** The index, with next to nothing in memory. */
  open(begin?: number): HashIndex {
    const index = HashIndex.from(this.shape, this, begin as never);
    if (!index) throw new Error('The image does not fit.');
    return index;
  }
}
