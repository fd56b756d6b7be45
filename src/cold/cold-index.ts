/**
 * The cold index: from the hash of a key to the addresses in the cold log where a record of such a key may lie, newest
 * first (F2, PVLDB 18(12), section 5). In memory are the directory of slots (`chunk-directory.ts`), entries on their way
 * into chunks (`pending-entries.ts`) and a bounded cache; the chunks lie in a log of their own (`chunk-log.ts`).
 *
 * An entry stands for one record. Entries with the same tag are the same key in several versions or, hardly ever, another
 * key with the same 45 bits of its hash: whoever looks up compares keys. Nothing is ever deleted or replaced; an entry
 * whose address is below the begin of the cold log is garbage, ignored at once and dropped when its chunk is written again.
 *
 * Derived data: it is opened as a checkpoint has it, or empty, and fed with what the cold log has besides. Written by one
 * compaction at a time. Chunks that cannot be read are made anew from the log (`beginMending`, by `IndexMender`): until
 * then their slots are lost, and whoever asks for one of their keys gets an error.
 */
import { assert } from '../assert.js';
import type { Device } from '../device/device.js';
import type { EnvClock } from '../device/env.js';
import { KvCorruptionError } from '../errors.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import type { ReadPacer } from '../log/read-pacer.js';
import { Slices } from '../log/slices.js';
import { ChunkDirectory, SlotFilter, type DirectoryShape } from './chunk-directory.js';
import { ChunkLog, type KeptChunks } from './chunk-log.js';
import {
  addressOf,
  CLASS_CODES,
  EntryList,
  PARTITIONS,
  sizeClassOfEntry,
  tagOf,
  type ChunkView,
} from './hash-chunk.js';
import { addOwn, IndexMerge } from './index-merge.js';
import { NewestSweep } from './newest-sweep.js';
import { PendingEntries } from './pending-entries.js';

/** Entries that wait before a flush is due: 1 MiB. Twice as many would save a fifth of the writes at a million keys. */
const PENDING_ENTRIES = 65_536;
/**
 * With many keys more of them may wait, up to 4 MiB, or hardly any two would go into one chunk: at 8 million, four times
 * as many save a sixth of the writes, three of four reads and a third of the time of a flush.
 */
const PENDING_SHARE = 1 / 16;
const MAX_PENDING_FACTOR = 4;

/** Milliseconds of one slice of filling the cache: look-ups should not wait. */
const FILL_SLICE_MS = 1;

/** Chunks of a partition that are read at the same time. */
const PARTITION_READS = 32;

export interface ColdIndexOptions {
  device: Device;
  pageSize: number;
  segmentSize: number;
  salt: number;
  /** Most bytes of the cache of chunks. */
  cacheBytes: number;
  /** Entries that wait before the index is `full`; up to four times as many if there are many in all. */
  pendingEntries?: number;
  /** Says when a look-up may read synchronously; without it, none does. */
  pacer: ReadPacer | undefined;
  /** The same for a flush: one of its own, or look-ups would find their time used up. By default that of look-ups. */
  flushPacer?: ReadPacer | undefined;
  /** Where the cold log begins: entries below are garbage. */
  coldBegin: () => LogAddress;
  /** To fill the cache with beside look-ups. Without it, only what they have read is there. */
  clock?: EnvClock;
  onWriteError: (error: unknown) => void;
  /** Told when a chunk is damaged. */
  onDamage?: (() => void) | undefined;
  /** What a checkpoint has of the index. */
  image?: ColdIndexImage | undefined;
  /** Where the log of chunks begins, for tests of high addresses. */
  firstAddress?: LogAddress;
}

/** What has to be known beside directory and pending entries to have an index again. */
export interface ColdIndexShape {
  directory: DirectoryShape;
  entries: number;
  lastAddress: LogAddress;
  superseded: number[];
  chunks: KeptChunks;
}

/** The index as a checkpoint has it. */
export interface ColdIndexImage {
  shape: ColdIndexShape;
  directory: ChunkDirectory;
  pending: Int32Array;
}

/** Where records of a key may lie, newest first. */
export interface Candidates {
  count: number;
  addresses: Float64Array;
  /** As in `size-class.ts`; those of long records are all `LARGEST_SIZE_CLASS`. */
  sizeClasses: Uint8Array;
}

/** Where the records of a partition lie, newest first. Entries with different tags are of different keys. */
export interface PartitionEntries extends Candidates {
  tags: Int32Array;
}

export interface ColdIndexStats {
  /** Records of the cold log that have an entry: also superseded ones, and garbage that was not dropped yet. */
  entries: number;
  pending: number;
  slots: number;
  directoryBytes: number;
  filterBytes: number;
  cacheBytes: number;
  pendingBytes: number;
  /** Pages of the log of chunks, and what a flush reads ahead. */
  ringBytes: number;
  chunkLogBytes: number;
  /** Reads of chunks from disk, for look-ups and for merges. */
  chunkReads: number;
  cacheHits: number;
  bytesWritten: number;
}

export class ColdIndex {
  /** Damage that was met in a chunk that was not made anew since. */
  damage: KvCorruptionError | undefined;
  /** Slots whose chunk is gone, and of which not every record has been entered again. */
  private readonly lost = new Set<number>();
  /** What has been superseded since the beginning, by size class: `min(class, 8) - 1`. An estimate, from tags. */
  readonly superseded = new Float64Array(CLASS_CODES);
  readonly directory: ChunkDirectory;
  private readonly pending: PendingEntries;
  private readonly leastPending: number;
  private readonly chunks: ChunkLog;
  private readonly merger: IndexMerge;
  private lastAddress = NO_ADDRESS;
  /** What `tryFind` returns, and the entries it comes from. */
  private readonly found: Candidates = {
    count: 0,
    addresses: new Float64Array(16),
    sizeClasses: new Uint8Array(16),
  };
  private readonly list = new EntryList();
  /** As long as the cache is being filled. */
  private filling: Promise<void> | undefined;
  private readonly fillSlices: Slices | undefined;
  private closed = false;

  constructor(private readonly options: ColdIndexOptions) {
    this.leastPending = options.pendingEntries ?? PENDING_ENTRIES;
    this.pending = new PendingEntries(this.leastPending);
    const { clock, image } = options;
    if (clock) this.fillSlices = new Slices(clock, FILL_SLICE_MS);
    this.directory = image?.directory ?? new ChunkDirectory();
    this.directory.onDamage = (from, to, error) => this.loseBlock(from, to, error);
    this.chunks = new ChunkLog({
      ...options,
      kept: image?.shape.chunks,
      isCurrent: (slot, width, place) => this.directory.isAt(slot, width, place),
    });
    this.merger = new IndexMerge({
      directory: this.directory,
      pending: this.pending,
      chunks: this.chunks,
      pacer: options.flushPacer ?? options.pacer,
      segmentSize: options.segmentSize,
      coldBegin: options.coldBegin,
      superseded: this.superseded,
    });
    if (image) this.restore(image);
  }

  private restore({ shape, pending }: ColdIndexImage): void {
    this.pending.restore(pending);
    this.merger.entries = shape.entries;
    this.lastAddress = shape.lastAddress;
    this.superseded.set(shape.superseded);
    this.limitPending();
  }

  /**
   * Makes the log of chunks durable for a checkpoint, of which `directory` is the other part; all of that has to be loaded.
   * Nothing may be put or flushed meanwhile.
   * @throws KvDiskError
   * @throws KvCorruptionError while slots are lost
   */
  async persist(): Promise<{ shape: ColdIndexShape; pending: Int32Array }> {
    if (this.lost.size > 0) throw this.damage ?? this.chunks.damaged();
    const chunks = await this.chunks.persist();
    const { directory, lastAddress, merger, pending, superseded } = this;
    const shape = {
      directory: directory.shape,
      entries: merger.entries,
      lastAddress,
      superseded: [...superseded],
      chunks,
    };
    return { shape, pending: pending.toWords() };
  }

  /** The checkpoint is there: what only the one before needed can go. */
  async persisted({ chunks }: ColdIndexShape): Promise<void> {
    await this.chunks.keepFrom(chunks.begin);
  }

  /** Whether more of the log of chunks is on disk for the last checkpoint alone than is in use, and than so many bytes. */
  keepsBeyond(bytes: number): boolean {
    const { chunks } = this;
    return chunks.keptBytes > Math.max(bytes, chunks.bytes);
  }

  /**
   * Loads what is not in memory yet of the directory that a checkpoint had.
   * @param mayGoOn ends it
   */
  async load(slices: Slices, mayGoOn: () => boolean = () => true): Promise<void> {
    const { directory } = this;
    while (!directory.isLoaded && mayGoOn()) {
      directory.loadNext();
      if (slices.over) await slices.next();
    }
  }

  /** Whether a record of this hash may be there. No disk, once all is loaded. Hot path (`bench/micro/cold-index.mjs`). */
  mayHold(hashLow: number, hashHigh: number): boolean {
    // Nothing was ever put: no need to fetch the slot from memory.
    if (this.lastAddress === NO_ADDRESS) return false;
    const tag = tagOf(hashLow, hashHigh);
    const { directory } = this;
    const slot = directory.slotOf(hashLow);
    return directory.mayHold(slot, tag) || this.pending.has(hashLow, tag) || this.isLost(slot);
  }

  /**
   * A record was appended to the cold log, at a higher address than all before. Never fails for want of room; whoever
   * goes on when the index is `full` makes it grow.
   */
  put(hashLow: number, hashHigh: number, address: LogAddress, sizeClass: number): void {
    assert(address > this.lastAddress, 'INV-C6');
    this.lastAddress = address;
    this.pending.put(hashLow, hashHigh, address, sizeClass);
  }

  /** Whether it is time for a `flush`. */
  get full(): boolean {
    return this.pending.full;
  }

  /**
   * Merges everything that was put before the call into chunks, in slices. One at a time.
   * @throws KvDiskError, KvCorruptionError: what could not be merged stays pending, and is found as before
   */
  async flush(slices: Slices): Promise<void> {
    try {
      // A merge writes what a slot has: it has to be known which of them are lost.
      await this.load(slices);
      await this.merger.flush(slices, this.lost.size === 0);
    } catch (error) {
      throw this.told(error);
    }
    this.limitPending();
  }

  private limitPending(): void {
    const { leastPending, pending, merger } = this;
    const share = Math.floor(merger.entries * PENDING_SHARE);
    pending.limit = Math.min(Math.max(share, leastPending), leastPending * MAX_PENDING_FACTOR);
  }

  /**
   * Where records of this hash may lie, if that is in memory or may be read synchronously; `undefined` otherwise, also
   * where `find` will tell of damage. The result is used again by the next call. Hot path (`bench/micro/cold-index.mjs`).
   */
  tryFind(hashLow: number, hashHigh: number): Candidates | undefined {
    const { directory, chunks, list } = this;
    const tag = tagOf(hashLow, hashHigh);
    const slot = directory.slotOf(hashLow);
    directory.load(slot);
    if (this.isLost(slot)) return undefined;
    list.clear();
    this.pending.collect(hashLow, tag, this.options.coldBegin(), list);
    if (directory.mayHold(slot, tag)) {
      const address = chunks.addressOf(directory.placeOf(slot));
      let chunk = chunks.inMemory(address);
      if (!chunk) {
        this.fillCache();
        try {
          chunk = chunks.atOnce(address, this.options.pacer);
        } catch (error) {
          if (!(this.told(error) instanceof KvCorruptionError)) throw error;
        }
        if (!chunk) return undefined;
        chunks.cache.put(address, chunk);
      }
      this.addFrom(slot, tag, chunk);
    }
    return this.toFound();
  }

  /**
   * Where records of this hash may lie. Exact as of the moment it resolves.
   * @throws KvCorruptionError, KvDiskError
   */
  async find(hashLow: number, hashHigh: number): Promise<Candidates> {
    const { directory, chunks, list } = this;
    const tag = tagOf(hashLow, hashHigh);
    for (;;) {
      const slot = directory.slotOf(hashLow);
      directory.load(slot);
      this.assertThere(slot);
      const place = directory.placeOf(slot);
      let chunk: ChunkView | undefined;
      if (directory.mayHold(slot, tag)) {
        const address = chunks.addressOf(place);
        chunk = chunks.inMemory(address);
        if (!chunk) {
          chunk = await this.readPlace(hashLow, place);
          if (!chunk) continue;
          chunks.cache.put(address, chunk);
        }
      }
      list.clear();
      this.pending.collect(hashLow, tag, this.options.coldBegin(), list);
      if (chunk) this.addFrom(directory.slotOf(hashLow), tag, chunk);
      const { count, addresses, sizeClasses } = this.toFound();
      return { count, addresses: addresses.slice(0, count), sizeClasses: sizeClasses.slice(0, count) };
    }
  }

  /**
   * All entries of the hashes with these low bits, garbage left out.
   * @param partition `hashLow & 8191`
   */
  async partition(partition: number): Promise<PartitionEntries> {
    const { directory } = this;
    const entries = new EntryList();
    let next = partition;
    // Slots that come to be by splits meanwhile lie behind all that there are, so they are met, too.
    const reader = async (): Promise<void> => {
      while (next < directory.slots) {
        const slot = next;
        next += PARTITIONS;
        await this.gather(slot, entries);
      }
    };
    await Promise.all(Array.from({ length: PARTITION_READS }, reader));
    return newestFirst(entries);
  }

  /**
   * All entries of one slot, garbage left out, its chunk read from where it is stored: for whoever checks the index.
   * @returns `undefined` where there is none; a promise where that cannot be told at once
   * @throws KvCorruptionError, KvDiskError
   */
  storedSlot(slot: number): PartitionEntries | undefined | Promise<PartitionEntries | undefined> {
    const { chunks, directory } = this;
    directory.load(slot);
    this.assertThere(slot);
    const place = directory.placeOf(slot);
    if (place === 0) return this.entriesOf(slot, undefined);
    const address = chunks.addressOf(place);
    const chunk = chunks.isStored(address)
      ? chunks.atOnce(address, this.options.pacer)
      : chunks.inMemory(address);
    return chunk ? this.entriesOf(slot, chunk) : this.storedSlotLater(slot);
  }

  private async storedSlotLater(slot: number): Promise<PartitionEntries | undefined> {
    const { chunks, directory } = this;
    for (;;) {
      this.assertThere(slot);
      const place = directory.placeOf(slot);
      const address = chunks.addressOf(place);
      if (place === 0 || !chunks.isStored(address))
        return this.entriesOf(slot, place === 0 ? undefined : chunks.inMemory(address));
      const chunk = await this.readPlace(slot, place);
      if (chunk) return this.entriesOf(slot, chunk);
    }
  }

  private entriesOf(slot: number, chunk: ChunkView | undefined): PartitionEntries | undefined {
    const { directory, list, pending } = this;
    const width = directory.widthOf(slot);
    const begin = this.options.coldBegin();
    list.clear();
    pending.gather(slot, width, begin, list);
    if (chunk) addOwn(list, chunk, slot, width, begin);
    return list.count === 0 ? undefined : newestFirst(list);
  }

  /** To find out for many records at a time whether they are the newest of their hashes. */
  newestSweep(): NewestSweep {
    const { chunks, directory, options, pending } = this;
    const pacer = options.flushPacer ?? options.pacer;
    const { coldBegin } = options;
    return new NewestSweep({
      directory,
      pending,
      chunks,
      pacer,
      coldBegin,
      isLost: (slot) => this.isLost(slot),
    });
  }

  // ── Mending ──

  /**
   * Gives up the chunks that cannot be read. From now on all records of the cold log that are `wanted` have to be entered
   * again, in their order; nothing else may be put meanwhile, and look-ups of their keys fail until `endMending`.
   * @param mayGoOn throws to end it
   * @throws KvDiskError
   */
  async beginMending(slices: Slices, mayGoOn: () => void): Promise<void> {
    const { directory, lost } = this;
    await this.load(slices);
    const damaged = [...lost];
    let partition = 0;
    let next = 0;
    // In the order in which chunks lie.
    const nextSlot = (): number => {
      if (next >= directory.slots) next = ++partition;
      if (partition >= PARTITIONS) return -1;
      const slot = next;
      next += PARTITIONS;
      return slot;
    };
    const reader = async (): Promise<void> => {
      for (let slot = nextSlot(); slot >= 0; slot = nextSlot()) {
        if (!lost.has(slot) && !(await this.isReadable(slot))) damaged.push(slot);
        if (slices.over) await slices.next();
        mayGoOn();
      }
    };
    await Promise.all(Array.from({ length: PARTITION_READS }, reader));
    for (const slot of damaged) this.lose(slot);
  }

  /** How many slots are lost. */
  get lostSlots(): number {
    return this.lost.size;
  }

  /** Whether a record of this hash has to be entered again. */
  wants(hashLow: number): boolean {
    return this.isLost(this.directory.slotOf(hashLow));
  }

  /** Enters a record again. */
  putAgain(hashLow: number, hashHigh: number, address: LogAddress, sizeClass: number): void {
    this.pending.put(hashLow, hashHigh, address, sizeClass);
  }

  /** All of them were entered: the index is whole. */
  endMending(): void {
    this.lost.clear();
    this.damage = undefined;
  }

  /** Nobody else writes chunks meanwhile. */
  private async isReadable(slot: number): Promise<boolean> {
    const { chunks, directory, options } = this;
    const place = directory.placeOf(slot);
    const address = chunks.addressOf(place);
    if (place === 0 || !chunks.isStored(address)) return true;
    try {
      // Not as a cache or a window has it: whoever looks up reads it from the device.
      if (!chunks.atOnce(address, options.flushPacer ?? options.pacer)) await chunks.read(address);
      return true;
    } catch (error) {
      if (error instanceof KvCorruptionError) return false;
      throw error;
    }
  }

  /** A part of the directory is damaged: nobody knows where the chunks of these slots lie. */
  private loseBlock(from: number, to: number, error: KvCorruptionError): void {
    this.told(error);
    for (let slot = from; slot < to; slot++) this.lose(slot);
  }

  private lose(slot: number): void {
    const { directory, merger, pending } = this;
    this.lost.add(slot);
    pending.remove(slot, directory.widthOf(slot));
    directory.set(slot, 0, new SlotFilter());
    merger.entriesLost();
  }

  get stats(): ColdIndexStats {
    const { directory, pending, chunks, merger } = this;
    return {
      entries: merger.entries + pending.count,
      pending: pending.count,
      slots: directory.slots,
      directoryBytes: directory.placeBytes,
      filterBytes: directory.filterBytes,
      cacheBytes: chunks.cache.memoryBytes,
      pendingBytes: pending.memoryBytes,
      ringBytes: chunks.bufferBytes,
      chunkLogBytes: chunks.bytes,
      chunkReads: chunks.chunkReads,
      cacheHits: chunks.cacheHits,
      bytesWritten: chunks.bytesWritten,
    };
  }

  /** Closes the files and removes them, once nothing is written to them any more. No flush may be under way. */
  async close(): Promise<void> {
    this.closed = true;
    await this.filling;
    this.directory.close();
    await this.chunks.close();
  }

  /** Fills the cache beside look-ups, if it has room for what lies in the log, and all that says where has been loaded. */
  private fillCache(): void {
    const { chunks, directory, fillSlices } = this;
    if (!fillSlices || this.filling || !directory.isLoaded || !chunks.canFillCache) return;
    fillSlices.restart();
    this.filling = fillSlices
      .next()
      .then(() => chunks.fillCache(fillSlices, () => !this.closed))
      // Whoever needs what cannot be read is told.
      .catch(() => undefined)
      .finally(() => (this.filling = undefined));
  }

  /** Milliseconds of the event loop that filling the cache has taken. */
  get workedMs(): number {
    return this.fillSlices?.workedMs ?? 0;
  }

  private readInOrder(address: LogAddress): ChunkView | undefined {
    try {
      return this.chunks.inOrder(address, this.options.pacer, true);
    } catch (error) {
      throw this.told(error);
    }
  }

  /** Damage that was met is to be mended. */
  private told(error: unknown): unknown {
    if (!(error instanceof KvCorruptionError)) return error;
    this.damage ??= error;
    this.options.onDamage?.();
    return error;
  }

  private isLost(slot: number): boolean {
    return this.lost.size > 0 && this.lost.has(slot);
  }

  /** @throws KvCorruptionError when the slot is lost: what is pending is only a part of it */
  private assertThere(slot: number): void {
    if (this.isLost(slot)) throw this.told(this.damage ?? this.chunks.damaged());
  }

  /** Reads the chunk at a place, without blocking; `undefined` when the hash's chunk lies elsewhere by then. */
  private async readPlace(hashLow: number, place: number): Promise<ChunkView | undefined> {
    const { directory, chunks } = this;
    let chunk: ChunkView | undefined;
    let failure: { error: unknown } | undefined;
    try {
      chunk = await chunks.read(chunks.addressOf(place));
    } catch (error) {
      failure = { error };
    }
    // Merged or collected meanwhile: its file may even be gone.
    if (directory.placeOf(directory.slotOf(hashLow)) !== place) return undefined;
    if (failure) throw this.told(failure.error);
    return chunk;
  }

  /** Adds what a chunk has of this tag to the list. */
  private addFrom(slot: number, tag: number, chunk: ChunkView): void {
    const { list } = this;
    const begin = this.options.coldBegin();
    const before = list.count;
    for (let i = 0; i < chunk.count; i++) {
      if (chunk.tag(i) !== tag) continue;
      const low = chunk.low(i);
      const high = chunk.high(i);
      if (addressOf(low, high) >= begin) list.add(tag, low, high);
    }
    if (list.count === before) this.tighten(slot, chunk);
  }

  /**
   * The filter let an absent key through. It may cover entries that went to another slot when this one was split, or
   * garbage: from now on only what the slot has.
   */
  private tighten(slot: number, chunk: ChunkView): void {
    const { directory, list } = this;
    const { count } = list;
    addOwn(list, chunk, slot, directory.widthOf(slot), this.options.coldBegin());
    const filter = new SlotFilter();
    for (let i = count; i < list.count; i++) filter.add(list.tags[i]);
    list.count = count;
    directory.set(slot, directory.placeOf(slot), filter);
  }

  private toFound(): Candidates {
    const { list, found } = this;
    if (list.count > found.addresses.length) {
      found.addresses = new Float64Array(list.count * 2);
      found.sizeClasses = new Uint8Array(list.count * 2);
    }
    for (let i = 0; i < list.count; i++) {
      found.addresses[i] = addressOf(list.lows[i], list.highs[i]);
      found.sizeClasses[i] = sizeClassOfEntry(list.highs[i]);
    }
    found.count = list.count;
    return found;
  }

  /** Adds the entries of a slot to a list, as they are at one moment. */
  private async gather(slot: number, into: EntryList): Promise<void> {
    const { directory, chunks, pending } = this;
    for (;;) {
      directory.load(slot);
      this.assertThere(slot);
      const place = directory.placeOf(slot);
      let chunk: ChunkView | undefined;
      if (place !== 0) {
        const address = chunks.addressOf(place);
        chunk = chunks.inMemory(address) ?? this.readInOrder(address) ?? (await this.readPlace(slot, place));
        if (!chunk) continue;
      }
      const width = directory.widthOf(slot);
      const begin = this.options.coldBegin();
      pending.gather(slot, width, begin, into);
      if (chunk) addOwn(into, chunk, slot, width, begin);
      return;
    }
  }
}

function newestFirst({ count, tags, lows, highs }: EntryList): PartitionEntries {
  const addresses = new Float64Array(count);
  const order: number[] = [];
  for (let i = 0; i < count; i++) {
    addresses[i] = addressOf(lows[i], highs[i]);
    order.push(i);
  }
  order.sort((a, b) => addresses[b] - addresses[a]);
  const result = {
    count: 0,
    addresses: new Float64Array(count),
    sizeClasses: new Uint8Array(count),
    tags: new Int32Array(count),
  };
  for (const i of order) {
    // A slot that was split in between was met twice.
    if (result.count > 0 && result.addresses[result.count - 1] === addresses[i]) continue;
    result.addresses[result.count] = addresses[i];
    result.sizeClasses[result.count] = sizeClassOfEntry(highs[i]);
    result.tags[result.count++] = tags[i];
  }
  return result;
}
