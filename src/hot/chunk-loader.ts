/**
 * Takes the chunks of a hot index from a checkpoint, each when it is needed, or one after the other. What the whole of
 * them would tell is gathered on the way: how many entries there are, and which overflow buckets no bucket links to.
 *
 * Until all of them are there the index does not grow, and only takes overflow buckets that are new: so a chunk that is
 * not in memory is as the checkpoint has it. When one is damaged, all are loaded at once, and what is lost is put into the
 * index again from elsewhere (`ChunkSource.rebuild`).
 */
import { FIRST_ADDRESS, type LogAddress } from '../log/address.js';
import {
  addressOf,
  type BucketStore,
  CHANGED_WORD,
  CHUNK_BITS,
  CHUNK_MASK,
  LAST_ENTRY_WORD,
  LINK_WORD,
  UNLOADED,
  WORDS_PER_BUCKET,
} from './bucket-store.js';

export type EntryVisitor = (address: LogAddress, sizeClass: number, chain: number) => void;

/** The chunks of a checkpoint: of the buckets themselves, and of the overflow buckets. */
export interface ChunkSource {
  readonly primaryChunks: number;
  readonly overflowChunks: number;
  /** A chunk, to be kept; `undefined` when it cannot be read, or is not what was written. */
  read(kind: 'primary' | 'overflow', number: number): Uint32Array | undefined;
  /**
   * A chunk is damaged: finds out everything that the checkpoint had, and returns what visits the newest entry of each chain.
   * @throws whatever is to be told to those who need the chunk
   */
  rebuild(): (visit: EntryVisitor) => void;
  /** Nothing is read any more. */
  close(): void;
}

/** What an index is told of its chunks. */
export interface LoadingIndex {
  /** All are there: the overflow buckets that no bucket links to, and how many entries came. */
  loaded(freeOverflow: number[], entries: number): void;
  /** So many were damaged, and are empty. */
  mended(chunks: number, visitAll: (visit: EntryVisitor) => void): void;
}

export class ChunkLoader {
  /** Chunks that are not in memory. */
  private left: number;
  /** Entries in the chunks that are, as they came. */
  private entries = 0;
  /** For each overflow bucket of the checkpoint whether a bucket links to it. */
  private readonly linked: Uint8Array;
  /** The chunk that `loadNext` goes on with. */
  private next = 0;

  /** @param begin of the log: entries below it are dropped */
  constructor(
    private readonly primary: BucketStore,
    private readonly overflow: BucketStore,
    private readonly source: ChunkSource,
    private readonly begin: LogAddress,
    private readonly index: LoadingIndex,
  ) {
    this.left = primary.chunks.length + overflow.chunks.length;
    this.linked = new Uint8Array(overflow.count);
  }

  /**
   * Sees to it that a bucket and all its overflow buckets are in memory.
   * @throws KvCorruptionError, KvDiskError when a chunk is damaged and could not be made anew
   */
  loadChain(primary: number): void {
    let store = this.primary;
    for (let bucket = primary; ;) {
      const number = bucket >>> CHUNK_BITS;
      if (store.chunks[number] === UNLOADED) this.loadOrMend(store, number);
      const link = store.chunks[number][(bucket & CHUNK_MASK) * WORDS_PER_BUCKET + LINK_WORD];
      if (link === 0) return;
      bucket = link - 1;
      store = this.overflow;
    }
  }

  /**
   * Loads a chunk that is not in memory yet. Returns whether there was one; `false` also when all others have failed.
   * @throws KvCorruptionError, KvDiskError when it is damaged and could not be made anew
   */
  loadNext(): boolean {
    const next = this.nextUnloaded();
    if (next) this.loadOrMend(next.store, next.number);
    return next !== undefined;
  }

  private loadOrMend(store: BucketStore, number: number): void {
    if (this.load(store, number)) this.settle();
    else this.mend();
  }

  /** When all chunks are there, the index is told what only all of them tell. */
  private settle(): void {
    if (this.left > 0) return;
    const unlinked = this.takeUnlinked();
    this.index.loaded(unlinked, this.entries);
    this.source.close();
  }

  /** Has the index put again what is lost with damaged chunks. */
  private mend(): void {
    const visitAll = this.source.rebuild();
    const damaged = this.giveUpDamaged();
    this.settle();
    this.index.mended(damaged, visitAll);
  }

  /** Loads a chunk. Returns whether it is what the checkpoint had; if not, it is not in memory. */
  private load(store: BucketStore, number: number): boolean {
    if (store.chunks[number] !== UNLOADED) return true;
    const chunk = this.source.read(store === this.primary ? 'primary' : 'overflow', number);
    if (!chunk || !this.takeLinks(chunk)) return false;
    chunk[CHANGED_WORD] = 0;
    this.dropBelowBegin(chunk);
    this.put(store, number, chunk);
    return true;
  }

  /** Puts empty chunks in the place of those that are damaged, and loads the others. Returns how many are damaged. */
  private giveUpDamaged(): number {
    let damaged = 0;
    for (const store of [this.primary, this.overflow]) {
      for (let number = 0; number < store.chunks.length; number++) {
        if (this.load(store, number)) continue;
        this.put(store, number, store.emptyChunk());
        damaged++;
      }
    }
    return damaged;
  }

  /** A chunk that is not in memory: each comes once, before none comes, and then again those that still are not. */
  private nextUnloaded(): { store: BucketStore; number: number } | undefined {
    const { overflow, primary } = this;
    const all = primary.chunks.length + overflow.chunks.length;
    while (this.next < all) {
      const at = this.next++;
      const isPrimary = at < primary.chunks.length;
      const store = isPrimary ? primary : overflow;
      const number = isPrimary ? at : at - primary.chunks.length;
      if (store.chunks[number] === UNLOADED) return { store, number };
    }
    this.next = 0;
    return undefined;
  }

  /**
   * When all are loaded: empties the overflow buckets that nothing links to. In the image of an index that changed
   * meanwhile they may have entries, and links to others.
   * @returns their numbers
   */
  private takeUnlinked(): number[] {
    const { linked, overflow } = this;
    const unlinked: number[] = [];
    for (let first = 0; first < linked.length; first++) {
      for (let bucket = first; linked[bucket] === 0;) {
        linked[bucket] = 1;
        unlinked.push(bucket);
        const chunk = overflow.chunks[bucket >>> CHUNK_BITS];
        const base = (bucket & CHUNK_MASK) * WORDS_PER_BUCKET;
        const link = chunk[base + LINK_WORD];
        for (let at = base; at <= base + LINK_WORD; at++) {
          if (chunk[at] === 0) continue;
          if (at < base + LINK_WORD && at % 2 === 1) this.entries--;
          chunk[CHANGED_WORD] = 1;
          chunk[at] = 0;
        }
        if (link === 0) break;
        bucket = link - 1;
        linked[bucket] = 0;
      }
    }
    return unlinked;
  }

  private put(store: BucketStore, number: number, chunk: Uint32Array): void {
    store.chunks[number] = chunk;
    this.left--;
  }

  /** Each overflow bucket has one bucket that links to it; `false`, and nothing taken, where that is not so. */
  private takeLinks(chunk: Uint32Array): boolean {
    const { linked } = this;
    for (let at = LINK_WORD; at < chunk.length; at += WORDS_PER_BUCKET) {
      const link = chunk[at];
      if (link === 0) continue;
      if (link <= linked.length && linked[link - 1] === 0) {
        linked[link - 1] = 1;
        continue;
      }
      for (let back = at - WORDS_PER_BUCKET; back > 0; back -= WORDS_PER_BUCKET)
        if (chunk[back] !== 0) linked[chunk[back] - 1] = 0;
      return false;
    }
    return true;
  }

  /** Drops what the log's truncation has left, and counts the rest. The first reads after an opening wait for it. */
  private dropBelowBegin(chunk: Uint32Array): void {
    const nothingBelow = this.begin <= FIRST_ADDRESS;
    for (let base = 0; base < chunk.length; base += WORDS_PER_BUCKET) {
      const last = base + LAST_ENTRY_WORD;
      for (let at = base; at <= last; at += 2) {
        if (chunk[at + 1] === 0) continue;
        if (nothingBelow || addressOf(chunk, at) >= this.begin) {
          this.entries++;
        } else {
          chunk[CHANGED_WORD] = 1;
          chunk[at] = chunk[at + 1] = 0;
        }
      }
    }
  }
}
