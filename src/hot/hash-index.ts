/**
 * The hot tier's hash index: from the hash of a key to the newest record of its hash chain. Buckets of one cache
 * line (seven entries of 8 bytes and a link to an overflow bucket) in typed arrays outside the JavaScript heap.
 *
 * An entry stands for a *chain*: all keys whose hashes agree in their low 28 bits. It holds the address of the
 * chain's newest record, 15 of the 28 bits as a tag, and a size class that says how many bytes to read from disk.
 * Older records of the chain are reached over each record's previous address. Because membership of a chain depends
 * on fixed bits of the hash and never on the size of the index, the previous addresses in the log stay right while
 * the index grows and after it was rebuilt. (FASTER, SIGMOD 2018, section 3, has the same entries, but a bucket's
 * share of the hash there grows with the index.)
 *
 * Growth is linear hashing (Litwin 1980): buckets are split one after the other, `SPLITS_PER_INSERT` at each new entry
 * beyond the wanted load. The bit that decides is in the tag, so a split touches no record, and there is never a
 * second table. After 15 doublings (some 10^9 keys) growth ends and overflow buckets take over.
 *
 * An index that comes from a checkpoint has its chunks loaded when they are needed (`chunk-loader.ts`); as long as some
 * are not there, nothing is split.
 *
 * Not here: what is done to a bucket with its overflow buckets (`linked-buckets.ts`).
 */
import { assert } from '../assert.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import {
  addressOf,
  BASE_BITS,
  BucketStore,
  CHANGED_WORD,
  CHUNK_BITS,
  CHUNK_BUCKETS,
  CHUNK_BYTES,
  CHUNK_MASK,
  ChunkMemory,
  chunksFor,
  LAST_ENTRY_WORD,
  LINK_WORD,
  TAG_BITS,
  TWO_32,
  UNLOADED_LINK,
  WORDS_PER_BUCKET,
} from './bucket-store.js';
import { ChunkLoader, type ChunkSource, type EntryVisitor } from './chunk-loader.js';
import type { LateEntries } from './late-rows.js';
import { LinkedBuckets } from './linked-buckets.js';

/** The hashes fall into so many parts, by their low bits, for whoever goes through all keys. */
export const PARTITIONS = 1 << BASE_BITS;
const TAG_MASK = (1 << TAG_BITS) - 1;
const TAG_SHIFT = 17;
const CLASS_SHIFT = 13;
const CLASS_MASK = 15;
/** Entries per bucket (of 7) beyond which the next bucket is split: measured 15 bytes an entry. */
const WANTED_LOAD = 5;
const SPLITS_PER_INSERT = 2;

/** What has to be known beside its chunks to have an index again. */
export interface HashIndexShape {
  level: number;
  split: number;
  primary: number;
  overflow: number;
  entries: number;
}

export class HashIndex {
  /** Whether no entry goes to another bucket, while a checkpoint writes chunk after chunk. */
  frozen = false;
  /** Entries in use. As long as not all of it is in memory an estimate. */
  entries = 0;
  /** Chunks that were damaged in the checkpoint, and were made anew. */
  mendedChunks = 0;
  /** Loads the chunks that are not in memory yet; missing when all are. */
  private loader: ChunkLoader | undefined;
  /** Entries that are still to come; missing when all are here. */
  private late: LateEntries | undefined;
  private readonly memory = new ChunkMemory();
  private readonly primary = new BucketStore(this.memory);
  private readonly overflow = new BucketStore(this.memory);
  private readonly linked = new LinkedBuckets(this.primary, this.overflow);
  /** Buckets below `split` (and from `1 << level` on) use one bit more than `level`. */
  private level = BASE_BITS;
  private split = 0;
  /** Entries that the checkpoint says there are. */
  private estimate = 0;
  // Where the last `find` ended: the entry, or nothing.
  private foundChunk: Uint32Array;
  private foundAt = -1;

  /**
   * @param expectedKeys sizes the table for so many keys at once, instead of growing into it
   * @param shape of an index whose chunks are still to be loaded
   */
  constructor(expectedKeys = 0, shape?: HashIndexShape) {
    if (shape) this.unload(shape);
    while (this.level < BASE_BITS + TAG_BITS && WANTED_LOAD * 2 ** this.level < expectedKeys) this.level++;
    while (this.primary.count < 1 << this.level) this.primary.add();
    this.foundChunk = this.primary.chunks[0];
  }

  /** Bytes in use, outside the heap. */
  get memoryBytes(): number {
    return (this.primary.chunks.length + this.overflow.chunks.length) * CHUNK_BYTES;
  }

  /** Bytes that wait to be used. */
  get spareBytes(): number {
    return this.memory.spare.length * CHUNK_BYTES;
  }

  /** Grows at once to what so many keys need, and not while they come. All of it has to be loaded. */
  reserve(keys: number): void {
    const buckets = Math.min(Math.ceil(keys / WANTED_LOAD), 2 ** (BASE_BITS + TAG_BITS));
    if (this.entries === 0 && buckets > this.primary.count) {
      // Nothing to be split.
      while (this.primary.count < buckets) this.primary.add();
      this.level = 31 - Math.clz32(buckets);
      this.split = buckets - 2 ** this.level;
    }
    while (this.primary.count < buckets) this.splitNext();
  }

  /**
   * Takes over memory that nobody else needs any more. The log's pages make room for the index this way: just dropped,
   * they would stay allocated until the garbage collector comes round.
   */
  adopt(buffer: Uint8Array): void {
    for (let at = 0; at + CHUNK_BYTES <= buffer.length; at += CHUNK_BYTES) {
      this.memory.spare.push(new Uint32Array(buffer.buffer, buffer.byteOffset + at, CHUNK_BYTES >> 2));
    }
  }

  get buckets(): number {
    return this.primary.count;
  }

  get overflowBuckets(): number {
    return this.overflow.count - this.linked.freeOverflow.length;
  }

  /**
   * Address of the newest record in the chain of this hash, or `NO_ADDRESS`; a following `foundSizeClass` or `put`
   * refers to it. Hot path (`npm run bench`).
   * @throws KvCorruptionError, KvDiskError when it is not in memory yet, and damaged, and cannot be made anew
   */
  find(hashLow: number): LogAddress {
    if (this.late) this.takeLate(hashLow);
    const tag = (hashLow >>> BASE_BITS) & TAG_MASK;
    let bucket = this.bucketOf(hashLow);
    let chunks = this.primary.chunks;
    for (;;) {
      const chunk = chunks[bucket >>> CHUNK_BITS];
      const base = (bucket & CHUNK_MASK) * WORDS_PER_BUCKET;
      for (let at = base; at <= base + LAST_ENTRY_WORD; at += 2) {
        const high = chunk[at + 1];
        if (high >>> TAG_SHIFT === tag && high !== 0) {
          this.foundChunk = chunk;
          this.foundAt = at;
          return addressOf(chunk, at);
        }
      }
      const link = chunk[base + LINK_WORD];
      if (link === 0) break;
      if (link === UNLOADED_LINK) return this.findLoaded(hashLow);
      bucket = link - 1;
      chunks = this.overflow.chunks;
    }
    this.foundAt = -1;
    return NO_ADDRESS;
  }

  private takeLate(hashLow: number): void {
    this.late?.enter(this, hashLow);
    this.dropLateIfDone();
  }

  /** Also in the midst of the last range, when what is entered is looked up. */
  private dropLateIfDone(): void {
    if (this.late?.isDone) this.late = undefined;
  }

  private findLoaded(hashLow: number): LogAddress {
    this.loader?.loadChain(this.bucketOf(hashLow));
    return this.find(hashLow);
  }

  /**
   * Reads a word of the bucket of a hash, so that it is in the processor's cache by the time it is needed: whoever does so
   * for several hashes before using them waits once for memory instead of once for each. Returns the word.
   */
  touch(hashLow: number): number {
    const bucket = this.bucketOf(hashLow);
    return this.primary.chunks[bucket >>> CHUNK_BITS][(bucket & CHUNK_MASK) * WORDS_PER_BUCKET];
  }

  /** Size class of the entry that `find` found last. */
  foundSizeClass(): number {
    return (this.foundChunk[this.foundAt + 1] >>> CLASS_SHIFT) & CLASS_MASK;
  }

  /**
   * Points the entry that the last `find` of this hash found, or a new one, to `address`. Nothing else may have
   * touched the index in between.
   */
  put(hashLow: number, address: LogAddress, sizeClass: number): void {
    if (this.foundAt >= 0) {
      const units = address / 8;
      const chunk = this.foundChunk;
      const at = this.foundAt;
      chunk[CHANGED_WORD] = 1;
      chunk[at] = units;
      chunk[at + 1] =
        (chunk[at + 1] & (TAG_MASK << TAG_SHIFT)) | (sizeClass << CLASS_SHIFT) | Math.floor(units / TWO_32);
      return;
    }
    this.insert(hashLow, address, sizeClass);
    this.entries++;
    if (!this.mayMove) return;
    for (let i = 0; i < SPLITS_PER_INSERT && this.entries > this.primary.count * WANTED_LOAD; i++)
      this.splitNext();
  }

  /** Removes the entry of a hash (none of the chain's records may be needed any more). */
  remove(hashLow: number): void {
    if (this.find(hashLow) === NO_ADDRESS) return;
    this.foundChunk[CHANGED_WORD] = 1;
    this.foundChunk[this.foundAt] = 0;
    this.foundChunk[this.foundAt + 1] = 0;
    this.foundAt = -1;
    this.entries--;
  }

  /**
   * Removes the entries of `count` buckets from `from` on that point below `address`: what the log's truncation left. Where
   * the first bucket has room for all that is kept, its overflow buckets are free afterwards, unless entries may not move now: each
   * bucket overflows once in a while, and would keep its own.
   * @returns the bucket to go on with, or `undefined` behind the last
   */
  removeBelow(address: LogAddress, from: number, count: number): number | undefined {
    const end = Math.min(from + count, this.primary.count);
    for (let bucket = from; bucket < end; bucket++) {
      if (!this.late && this.linked.isEmpty(bucket)) continue;
      this.bringAll(bucket);
      this.entries -= this.linked.removeBelow(bucket, address, this.mayMove);
    }
    this.foundAt = -1;
    return end < this.primary.count ? end : undefined;
  }

  /**
   * Visits the entries of all hashes with `hashLow & (PARTITIONS - 1) === partition`; `chain` is what the hashes of its
   * keys have in common: their low 28 bits.
   */
  partition(partition: number, visit: EntryVisitor): void {
    for (let bucket = partition; bucket < this.primary.count; bucket += PARTITIONS) {
      this.bringAll(bucket);
      this.linked.each(bucket, (chunk, at) =>
        visit(
          addressOf(chunk, at),
          (chunk[at + 1] >>> CLASS_SHIFT) & CLASS_MASK,
          partition | ((chunk[at + 1] >>> TAG_SHIFT) << BASE_BITS),
        ),
      );
    }
  }

  /** Sees to it that all entries of a bucket are here. */
  private bringAll(bucket: number): void {
    if (this.late) this.takeLate(bucket);
    this.loader?.loadChain(bucket);
  }

  /**
   * The memory of the index for a checkpoint, chunk by chunk, all primary ones first. They may change while they are written
   * one after the other, as long as growth is `frozen`: an entry that is newer than the checkpoint may be missing,
   * because recovery puts it again, and overflow buckets come behind the primary ones that link to them.
   */
  primaryChunk(number: number): Uint32Array | undefined {
    assert(!this.loader && !this.late, 'INV-7');
    return this.primary.chunks[number];
  }

  overflowChunk(number: number): Uint32Array | undefined {
    return this.overflow.chunks[number];
  }

  get shape(): HashIndexShape {
    const { level, split, primary, overflow, entries } = this;
    return { level, split, primary: primary.count, overflow: overflow.count, entries };
  }

  /** Whether a chunk has changed since it was last asked. */
  static takeChanged(chunk: Uint32Array): boolean {
    const changed = chunk[CHANGED_WORD] !== 0;
    chunk[CHANGED_WORD] = 0;
    return changed;
  }

  static readonly chunkBytes = CHUNK_BYTES;

  /**
   * An index as a checkpoint has it, whose chunks are loaded when they are needed.
   * @param shape as it was when the last chunk was written
   * @param begin of the log: what a truncation has left since is not taken over
   * @returns `undefined` when shape and chunks do not fit together
   */
  static from(
    shape: HashIndexShape,
    source: ChunkSource,
    begin: LogAddress = NO_ADDRESS,
  ): HashIndex | undefined {
    const { level, split, primary, overflow } = shape;
    const { primaryChunks, overflowChunks } = source;
    const fits = primaryChunks === chunksFor(primary) && overflowChunks === chunksFor(overflow);
    if (!fits || primary !== 2 ** level + split || level < BASE_BITS) return undefined;
    const index = new HashIndex(0, shape);
    index.loader = new ChunkLoader(index.primary, index.overflow, source, begin, index);
    return index;
  }

  private unload({ level, split, primary, overflow, entries }: HashIndexShape): void {
    this.level = level;
    this.split = split;
    this.entries = this.estimate = entries;
    this.primary.unload(primary);
    // New ones begin in a chunk of their own; those up to there are found to be free when all are loaded.
    this.overflow.unload(chunksFor(overflow) * CHUNK_BUCKETS);
  }

  /** Whether all of it is in memory. */
  get isLoaded(): boolean {
    return !this.loader;
  }

  /**
   * Loads a chunk that is not in memory yet. Returns whether there was one; `false` also when all others have failed.
   * @throws KvCorruptionError, KvDiskError when it is damaged and could not be made anew
   */
  loadNext(): boolean {
    return this.loader?.loadNext() ?? false;
  }

  /** Entries that are newer than what is here: each comes when it is needed, or with `enterNext`. All has to be loaded. */
  enterLater(entries: LateEntries): void {
    assert(!this.loader, 'INV-8');
    this.late = entries;
  }

  /** Whether no entries are still to come. */
  get isEntered(): boolean {
    return !this.late;
  }

  /** Entries, and about those that are still to come. */
  get expectedEntries(): number {
    return this.entries + (this.late?.count ?? 0);
  }

  /** Puts some of the entries here that are still to come. Returns whether there were any. */
  enterNext(): boolean {
    if (!this.late) return false;
    this.late.enterNext(this);
    this.dropLateIfDone();
    return true;
  }

  /** All chunks are here: the loader tells which overflow buckets are free, and how many entries came. */
  loaded(freeOverflow: number[], entries: number): void {
    this.linked.freeOverflow = freeOverflow;
    this.entries += entries - this.estimate;
    this.loader = undefined;
  }

  /** Some chunks were damaged, and are empty: what is lost with them is put again. Whatever is newer here stays. */
  mended(chunks: number, visitAll: (visit: EntryVisitor) => void): void {
    this.mendedChunks += chunks;
    visitAll((address, sizeClass, chain) => this.enter(chain, address, sizeClass));
    this.foundAt = -1;
  }

  /**
   * Whether entries may go from one bucket to another: not while a checkpoint may have written the other one before, and not
   * before it is known which overflow buckets are free.
   */
  private get mayMove(): boolean {
    return !this.frozen && !this.loader;
  }

  private bucketOf(hashLow: number): number {
    const next = 1 << this.level;
    const bucket = hashLow & (next - 1);
    // Without a branch: it would be guessed wrong every other time. The mask has all bits set where the bucket is split.
    const isSplit = (bucket - this.split) >> 31;
    return bucket | (hashLow & next & isSplit);
  }

  /** Points a chain to `address`, unless it points further already. */
  enter(hashLow: number, address: LogAddress, sizeClass: number): void {
    if (this.find(hashLow) < address) this.put(hashLow, address, sizeClass);
  }

  private insert(hashLow: number, address: LogAddress, sizeClass: number): void {
    const units = address / 8;
    const tag = (hashLow >>> BASE_BITS) & TAG_MASK;
    const high = ((tag << TAG_SHIFT) | (sizeClass << CLASS_SHIFT) | Math.floor(units / TWO_32)) >>> 0;
    this.linked.insert(this.bucketOf(hashLow), units, high);
  }

  /** Splits one bucket: of its entries, those go to a new one whose next bit of the hash says so. */
  private splitNext(): void {
    if (this.level >= BASE_BITS + TAG_BITS) return;
    this.linked.split(this.split, this.primary.add(), TAG_SHIFT + this.level - BASE_BITS);
    this.split++;
    if (this.split === 1 << this.level) {
      this.level++;
      this.split = 0;
    }
    this.foundAt = -1;
  }
}
