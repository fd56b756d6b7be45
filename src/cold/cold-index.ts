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
 * compaction at a time. Chunks that cannot be read are made anew from the log (`lost-slots.ts`, by `IndexMender`): until
 * then their slots are lost, and whoever asks for one of their keys gets an error.
 */
import { assert } from '../assert.js';
import type { Device } from '../device/device.js';
import type { EnvClock } from '../device/env.js';
import { KvCorruptionError } from '../errors.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import type { ReadPacer } from '../log/read-pacer.js';
import type { Slices } from '../log/slices.js';
import { CacheFiller } from './cache-filler.js';
import { ChunkDirectory, SlotFilter, type DirectoryShape } from './chunk-directory.js';
import { ChunkLog, type KeptChunks } from './chunk-log.js';
import {
  addressOf,
  CLASS_CODES,
  EntryList,
  sizeClassOfEntry,
  tagOf,
  type Candidates,
  type ChunkView,
} from './hash-chunk.js';
import { addOwn, IndexMerge } from './index-merge.js';
import { LostSlots } from './lost-slots.js';
import { NewestSweep } from './newest-sweep.js';
import { PendingEntries } from './pending-entries.js';
import { SlotReader, type PartitionEntries } from './slot-reader.js';

/** Entries that wait before a flush is due: 1 MiB. Twice as many would save a fifth of the writes at a million keys. */
const PENDING_ENTRIES = 65_536;
/**
 * With many keys more of them may wait, up to 4 MiB, or hardly any two would go into one chunk: at 8 million, four times
 * as many save a sixth of the writes, three of four reads and a third of the time of a flush.
 */
const PENDING_SHARE = 1 / 16;
const MAX_PENDING_FACTOR = 4;

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

export interface ColdIndexStats {
  /** Records of the cold log that have an entry: also superseded ones, and garbage that was not dropped yet. */
  entries: number;
  pending: number;
  slots: number;
  directoryBytes: number;
  filterBytes: number;
  cacheBytes: number;
  pendingBytes: number;
  /** Pages of the log of chunks, and what a flush or the filling of the cache reads ahead. */
  ringBytes: number;
  chunkLogBytes: number;
  /** Reads of chunks from disk, for look-ups and for merges. */
  chunkReads: number;
  cacheHits: number;
  bytesWritten: number;
}

export class ColdIndex {
  /** What has been superseded since the beginning, by size class: `min(class, 8) - 1`. An estimate, from tags. */
  readonly superseded = new Float64Array(CLASS_CODES);
  readonly directory: ChunkDirectory;
  private readonly pending: PendingEntries;
  private readonly leastPending: number;
  private readonly chunks: ChunkLog;
  private readonly flushPacer: ReadPacer | undefined;
  private readonly merger: IndexMerge;
  /** What of it is damaged, and has to be made anew from the log. */
  readonly lost: LostSlots;
  private readonly reader: SlotReader;
  private readonly filler: CacheFiller | undefined;
  private lastAddress = NO_ADDRESS;
  /** What `tryFind` returns, and the entries it comes from. */
  private readonly found: Candidates = {
    count: 0,
    addresses: new Float64Array(16),
    sizeClasses: new Uint8Array(16),
  };
  private readonly list = new EntryList();

  constructor(private readonly options: ColdIndexOptions) {
    this.leastPending = options.pendingEntries ?? PENDING_ENTRIES;
    this.pending = new PendingEntries(this.leastPending);
    const { clock, coldBegin, image, onDamage, pacer, segmentSize } = options;
    this.flushPacer = options.flushPacer ?? pacer;
    this.directory = image?.directory ?? new ChunkDirectory();
    this.chunks = new ChunkLog({ ...options, kept: image?.shape.chunks });
    const { chunks, directory, flushPacer, pending, superseded } = this;
    const parts = { directory, pending, chunks, coldBegin };
    const merger = new IndexMerge({ ...parts, pacer: flushPacer, segmentSize, superseded });
    const lost = new LostSlots({ directory, pending, chunks, merger, pacer: flushPacer, onDamage });
    this.merger = merger;
    this.lost = lost;
    this.reader = new SlotReader({ ...parts, lost, pacer });
    if (clock) this.filler = new CacheFiller({ directory, chunks, clock });
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
    this.lost.assertNone();
    const chunks = await this.chunks.persist();
    const { directory, lastAddress, merger, pending, superseded } = this;
    const shape = {
      directory: directory.shape,
      entries: Math.round(merger.entries),
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

  /** Whether a record of this hash may be there. No disk, once all is loaded. Hot path (`bench/micro/cold-index.mjs`). */
  mayHold(hashLow: number, hashHigh: number): boolean {
    // Nothing was ever put: no need to fetch the slot from memory.
    if (this.lastAddress === NO_ADDRESS) return false;
    const tag = tagOf(hashLow, hashHigh);
    const { directory } = this;
    const slot = directory.slotOf(hashLow);
    return directory.mayHold(slot, tag) || this.pending.has(hashLow, tag) || this.lost.has(slot);
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
   * Merges everything that was put before the call into chunks, in slices, unless it fits into none (`isOverfull`). One at a time.
   * @throws KvDiskError, KvCorruptionError: what could not be merged stays pending, and is found as before
   */
  async flush(slices: Slices): Promise<void> {
    try {
      // A merge writes what a slot has: it has to be known which of them are lost.
      await this.directory.loadAll(slices);
      await this.merger.flush(slices, this.lost.count === 0);
    } catch (error) {
      throw this.lost.told(error);
    }
    this.limitPending();
  }

  /** Whether entries wait that fit into no chunk: a rewrite of the cold log makes garbage of most of them. */
  get isOverfull(): boolean {
    return this.merger.isOverfull;
  }

  private limitPending(): void {
    const { leastPending, pending, merger } = this;
    const share = Math.floor(merger.entries * PENDING_SHARE);
    const limit = Math.min(Math.max(share, leastPending), leastPending * MAX_PENDING_FACTOR);
    // Those that fit into no chunk would ask for one flush after the other.
    pending.limit = merger.isOverfull ? pending.count + limit : limit;
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
    if (this.lost.has(slot)) return undefined;
    list.clear();
    this.pending.collect(hashLow, tag, this.options.coldBegin(), list);
    if (directory.mayHold(slot, tag)) {
      const address = chunks.addressOf(directory.placeOf(slot));
      let chunk = chunks.inMemory(address);
      if (!chunk) {
        this.filler?.begin();
        try {
          chunk = chunks.atOnce(address, this.options.pacer);
        } catch (error) {
          if (!(this.lost.told(error) instanceof KvCorruptionError)) throw error;
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
      this.lost.assertThere(slot);
      const place = directory.placeOf(slot);
      let chunk: ChunkView | undefined;
      if (directory.mayHold(slot, tag)) {
        const address = chunks.addressOf(place);
        chunk = chunks.inMemory(address);
        if (!chunk) {
          chunk = await this.reader.readPlace(hashLow, place);
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
  partition(partition: number): Promise<PartitionEntries> {
    return this.reader.partition(partition);
  }

  /** The same at once, if nothing has to be waited for; `undefined` otherwise. */
  tryPartition(partition: number): PartitionEntries | undefined {
    return this.reader.tryPartition(partition);
  }

  /** All entries of one slot as they are stored (`SlotReader.stored`). */
  storedSlot(slot: number): PartitionEntries | undefined | Promise<PartitionEntries | undefined> {
    return this.reader.stored(slot);
  }

  /** To find out for many records at a time whether they are the newest of their hashes. */
  newestSweep(): NewestSweep {
    const { chunks, directory, flushPacer: pacer, lost, options, pending } = this;
    return new NewestSweep({ directory, pending, chunks, lost, pacer, coldBegin: options.coldBegin });
  }

  /** Damage that was met in a chunk that was not made anew since. */
  get damage(): KvCorruptionError | undefined {
    return this.lost.damage;
  }

  get stats(): ColdIndexStats {
    const { directory, pending, chunks, filler, merger } = this;
    return {
      entries: Math.round(merger.entries) + pending.count,
      pending: pending.count,
      slots: directory.slots,
      directoryBytes: directory.placeBytes,
      filterBytes: directory.filterBytes,
      cacheBytes: chunks.cache.memoryBytes,
      pendingBytes: pending.memoryBytes,
      ringBytes: chunks.bufferBytes + (filler?.bufferBytes ?? 0),
      chunkLogBytes: chunks.bytes,
      chunkReads: chunks.chunkReads,
      cacheHits: chunks.cacheHits,
      bytesWritten: chunks.bytesWritten,
    };
  }

  /** Closes the files and removes them, once nothing is written to them any more. No flush may be under way. */
  async close(): Promise<void> {
    await this.filler?.close();
    this.directory.close();
    await this.chunks.close();
  }

  /** Milliseconds of the event loop that filling the cache has taken. */
  get workedMs(): number {
    return this.filler?.workedMs ?? 0;
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
}
