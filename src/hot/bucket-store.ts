/**
 * The buckets of the hot index in memory: one cache line each (seven entries of 8 bytes, and a link to an overflow
 * bucket), in chunks of typed arrays outside the JavaScript heap.
 *
 * In the place of a chunk that a checkpoint has, and that is not in memory yet, stands `UNLOADED`, the same for all. Its
 * buckets have no entries, and a link that no bucket has: so who looks something up meets it where a chain would go on,
 * and need not ask at each bucket whether that is there.
 */
import type { LogAddress } from '../log/address.js';
import { Arena } from '../log/arena.js';

/** Bits of a hash that say which bucket of the smallest index, and those above, which an entry has as its tag. */
export const BASE_BITS = 13;
export const TAG_BITS = 15;
/** All of them: they say which chain a key belongs to. */
export const CHAIN_MASK = (1 << (BASE_BITS + TAG_BITS)) - 1;

export const WORDS_PER_BUCKET = 16;
export const LINK_WORD = 14;
export const LAST_ENTRY_WORD = 12;
/** The last word of a chunk's first bucket: whether the chunk has changed since a checkpoint wrote it. */
export const CHANGED_WORD = 15;

/** Buckets are allocated in chunks, so that growth asks for memory in small steps. */
export const CHUNK_BITS = 10;
export const CHUNK_BUCKETS = 1 << CHUNK_BITS;
export const CHUNK_MASK = CHUNK_BUCKETS - 1;
export const CHUNK_BYTES = CHUNK_BUCKETS * WORDS_PER_BUCKET * 4;

/** Of the second word of an entry, the high bits of the address in units of 8 bytes; the first word has the low 32. */
const ADDRESS_HIGH_MASK = 0x1fff;
export const TWO_32 = 2 ** 32;

/** A small integer, and more than there will ever be of overflow buckets. */
export const UNLOADED_LINK = 0x7fff_ffff;

export const UNLOADED = new Uint32Array(CHUNK_BYTES >> 2);
for (let at = LINK_WORD; at < UNLOADED.length; at += WORDS_PER_BUCKET) UNLOADED[at] = UNLOADED_LINK;

/** An index that grows has at most so much more memory than it uses. */
const ARENA_SHARE = 1 / 8;

/** Chunks for the buckets of an index. */
export class ChunkMemory {
  private readonly arena = new Arena(CHUNK_BYTES, Infinity, ARENA_SHARE);

  /** Chunks in waiting. */
  readonly spare: Uint32Array[] = [];

  /** A chunk of empty buckets. */
  take(): Uint32Array {
    const spare = this.spare.pop();
    if (spare) return spare.fill(0);
    const { buffer, byteOffset } = this.arena.take();
    return new Uint32Array(buffer, byteOffset, CHUNK_BYTES >> 2);
  }
}

export class BucketStore {
  chunks: Uint32Array[] = [];
  count = 0;

  constructor(private readonly memory: ChunkMemory) {}

  add(): number {
    if ((this.count & CHUNK_MASK) === 0) this.chunks.push(this.emptyChunk());
    return this.count++;
  }

  /** Becomes so many buckets, none of which is in memory. */
  unload(count: number): void {
    this.count = count;
    this.chunks = Array.from({ length: chunksFor(count) }, () => UNLOADED);
  }

  emptyChunk(): Uint32Array {
    const chunk = this.memory.take();
    chunk[CHANGED_WORD] = 1;
    return chunk;
  }
}

export function chunksFor(buckets: number): number {
  return Math.ceil(buckets / CHUNK_BUCKETS);
}

/** The address of an entry that is in use. */
export function addressOf(chunk: Uint32Array, at: number): LogAddress {
  return (((chunk[at + 1] & ADDRESS_HIGH_MASK) * TWO_32 + chunk[at]) * 8) as LogAddress;
}
