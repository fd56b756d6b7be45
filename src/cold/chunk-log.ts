/**
 * Where the chunks of the cold index lie: a log of their own, its tail in a small ring of pages, and a cache of those
 * that look-ups read. Only a checkpoint makes it durable, as far as it was then: the segments that the last one needs
 * stay until the next one is there, and what was written since is removed when the log is opened.
 *
 * A *place* is an address in 32 bits: units of 8 bytes modulo 2^32, seen from the begin of the log, which therefore
 * stays below 32 GiB (more than a billion keys). 0 is no place.
 */
import { assert } from '../assert.js';
import type { Device } from '../device/device.js';
import { KvCorruptionError, KvDiskError } from '../errors.js';
import { FIRST_ADDRESS, type LogAddress } from '../log/address.js';
import { HybridLog } from '../log/hybrid-log.js';
import type { ReadPacer } from '../log/read-pacer.js';
import { isIntact, KIND_CHUNK, KIND_MASK, totalBytes } from '../log/record.js';
import { scanSegment } from '../log/scan.js';
import { SegmentFiles, type SegmentLength } from '../log/segment-files.js';
import { readBytesOf } from '../log/size-class.js';
import type { Slices } from '../log/slices.js';
import { ChunkCache } from './chunk-cache.js';
import { chunkBytes, ChunkView, ENTRY_BYTES, type EntryList, writeChunk } from './hash-chunk.js';
import { ReadWindows } from './read-windows.js';

export const INDEX_LOG_NAME = 'index';

/** Pages in the ring, and one that may be set aside while it is being written. */
const RING_PAGES = 4;
/** Pages that may wait to be written before whoever appends should wait: one is being filled, one has to be free. */
const UNWRITTEN_PAGES = 2;

/** Read for a chunk: 512 bytes, 48 entries. A longer one takes two reads. */
const CHUNK_SIZE_CLASS = 3;
const READ_BYTES = readBytesOf(CHUNK_SIZE_CLASS);

/** What to do about damage. */
const REMEDY = 'It is made anew from the cold log, unless that is damaged as well.';

const MAX_LOG_BYTES = 2 ** 35;
const TWO_32 = 2 ** 32;

export interface ChunkLogOptions {
  device: Device;
  pageSize: number;
  segmentSize: number;
  salt: number;
  cacheBytes: number;
  onWriteError: (error: unknown) => void;
  /** What a checkpoint has of the log; without it, the log is emptied. */
  kept?: KeptChunks | undefined;
  /** Where the log begins, for tests of high addresses. */
  firstAddress?: LogAddress;
}

/** The part of the log that a checkpoint needs. */
export interface KeptChunks {
  begin: LogAddress;
  tail: LogAddress;
  segments: SegmentLength[];
}

export class ChunkLog {
  readonly cache: ChunkCache;
  chunkReads = 0;
  cacheHits = 0;
  bytesWritten = 0;
  readonly segments: SegmentFiles;
  readonly log: HybridLog;
  private readonly pageSize: number;
  private readonly windows: ReadWindows;
  /** Where the log began when the last checkpoint was written. */
  private keptFrom: LogAddress | undefined;
  /** What is returned without waiting. */
  private readonly view = new ChunkView();
  private readonly scratch = new Int32Array(READ_BYTES >> 2);
  private readonly scratchBytes = new Uint8Array(this.scratch.buffer);

  constructor(options: ChunkLogOptions) {
    const { device, pageSize, segmentSize, salt, onWriteError } = options;
    assert(device.retains, 'INV-C1');
    this.pageSize = pageSize;
    this.cache = new ChunkCache(options.cacheBytes);
    this.segments = new SegmentFiles(device, INDEX_LOG_NAME, segmentSize, salt);
    this.windows = new ReadWindows(this.segments);
    const { kept } = options;
    this.keptFrom = kept?.begin;
    // What an earlier process left, behind the checkpoint or before it.
    const keep = new Set(kept?.segments.map(([segment]) => segment));
    for (const segment of this.segments.numbers()) if (!keep.has(segment)) this.segments.removeSync(segment);
    if (kept) this.segments.cut(kept.tail);
    const begin = kept?.begin ?? options.firstAddress ?? FIRST_ADDRESS;
    this.log = new HybridLog(this.segments, {
      pageSize,
      memoryBudget: () => (RING_PAGES + 1) * pageSize,
      maxMemory: (RING_PAGES + 1) * pageSize,
      mutableFraction: 0,
      retains: true,
      giveAway: () => {},
      onWriteError,
      begin,
      // Not in the segment that has the end of what is kept: its file stays as the checkpoint knows it.
      tail: keep.size > 0 ? this.segments.startOf(Math.max(...keep) + 1) : begin,
    });
  }

  static readonly logName = INDEX_LOG_NAME;

  /** The address that a place means in a log that begins there. */
  static addressOf(place: number, begin: LogAddress): LogAddress {
    const beginUnits = begin / 8;
    return ((beginUnits + ((place - beginUnits) >>> 0)) * 8) as LogAddress;
  }

  /** The place that an address is written as. */
  static placeOf(address: LogAddress): number {
    return (address / 8) % TWO_32;
  }

  /** Whether the files have all that a checkpoint needs, as far as their lengths tell. */
  static has(device: Device, segmentSize: number, kept: KeptChunks): boolean {
    const segments = new SegmentFiles(device, INDEX_LOG_NAME, segmentSize);
    try {
      return segments.lacking(kept.segments) === undefined;
    } finally {
      segments.close();
    }
  }

  /**
   * Makes the log durable for a checkpoint. Nothing may be appended meanwhile.
   * @throws KvDiskError
   */
  async persist(): Promise<KeptChunks> {
    const { log, segments } = this;
    if (log.hasUncommitted) log.endPage();
    await log.flushTo(log.tail);
    await segments.sync();
    const { begin, tail } = log;
    return { begin, tail, segments: segments.lengths(begin, tail) };
  }

  /** The checkpoint is there: segments that only the one before needed can go. */
  async keepFrom(begin: LogAddress): Promise<void> {
    this.keptFrom = begin;
    await this.removeUnneeded();
  }

  /** Length of the log, garbage included. */
  get bytes(): number {
    return this.log.tail - this.log.begin;
  }

  /** Bytes before it that are on disk for the last checkpoint alone. */
  get keptBytes(): number {
    return this.log.begin - (this.keptFrom ?? this.log.begin);
  }

  /** Pages of the log, and what was read ahead. */
  get bufferBytes(): number {
    return this.log.usedMemory + this.windows.memoryBytes;
  }

  /** Entries that a chunk has at the most. */
  get mostEntries(): number {
    return Math.floor((this.log.maxRecordBytes - chunkBytes(0)) / ENTRY_BYTES);
  }

  addressOf(place: number): LogAddress {
    return ChunkLog.addressOf(place, this.log.begin);
  }

  /** Whether the chunk at `address` is on the device. */
  isStored(address: LogAddress): boolean {
    return address < this.log.flushed;
  }

  /** The chunk at `address`, if no read is needed; valid until anything else is done here. */
  inMemory(address: LogAddress): ChunkView | undefined {
    const { log, view } = this;
    if (address >= log.head) return view.setRecord(log.ring.wordsAt(address), log.ring.wordOffset(address));
    if (!this.cache.get(address, view)) return undefined;
    this.cacheHits++;
    return view;
  }

  /**
   * The chunk at `address` by a synchronous read, if `pacer` says that one may be made now; valid until anything else is
   * done here. Not for chunks that are longer than most.
   * @throws KvCorruptionError
   */
  atOnce(address: LogAddress, pacer: ReadPacer | undefined): ChunkView | undefined {
    if (!pacer?.maySync()) return undefined;
    const available = this.readSync(address, pacer, () =>
      this.segments.readSync(address, this.scratchBytes, READ_BYTES),
    );
    return this.wholeChunk(this.scratch, available, address);
  }

  /**
   * The same for a caller that goes through chunks in the order of slots.
   * @param dense whether it needs many of them, so that it pays to read more at a time
   */
  inOrder(address: LogAddress, pacer: ReadPacer | undefined, dense: boolean): ChunkView | undefined {
    const { windows } = this;
    if (windows.find(address)) return this.verified(this.view, windows.words, windows.at, address);
    if (!pacer?.maySync()) return undefined;
    const available = this.readSync(address, pacer, () =>
      windows.read(address, dense ? undefined : READ_BYTES),
    );
    return this.wholeChunk(windows.words, available, address);
  }

  /**
   * The chunk at `address`, read without blocking. By the time it comes the chunk may be garbage, or its file gone: the
   * caller looks whether the directory still says that it lies there, also after an error.
   * @throws KvCorruptionError
   */
  async read(address: LogAddress): Promise<ChunkView> {
    this.chunkReads++;
    try {
      const record = await this.log.readRecord(address, CHUNK_SIZE_CLASS);
      return this.verified(new ChunkView(), record.words, record.at, address);
    } catch (error) {
      throw this.failureAt(address, error);
    }
  }

  private readSync(address: LogAddress, pacer: ReadPacer, read: () => number): number {
    pacer.began();
    try {
      return read();
    } catch (error) {
      throw this.failureAt(address, error);
    } finally {
      pacer.ended();
    }
  }

  /** A chunk that the disk does not give back is as good as damaged: its entries are in the cold log. */
  private failureAt(address: LogAddress, error: unknown): unknown {
    const isGone = error instanceof KvDiskError && error.errno === 'EIO';
    return isGone || error instanceof KvCorruptionError ? this.damaged(address, error) : error;
  }

  /**
   * Appends a chunk; returns its place.
   * @throws KvDiskError when the ring is full and cannot be written; nothing has changed then
   */
  append(slot: number, width: number, entries: EntryList): number {
    const { log } = this;
    const bytes = chunkBytes(entries.count);
    assert(bytes <= log.maxRecordBytes, 'INV-C2');
    assert(this.bytes + bytes < MAX_LOG_BYTES, 'INV-C3');
    for (;;) {
      const address = log.reserve(bytes);
      writeChunk(log.ring.wordsAt(address), log.ring.wordOffset(address), slot, width, entries);
      log.appended();
      this.bytesWritten += bytes;
      const place = ChunkLog.placeOf(address);
      // Every 32 GiB one address looks like no place: the chunk is written again behind it.
      if (place !== 0) return place;
    }
  }

  /** Whether whoever appends should wait for `written` before going on. */
  get crowded(): boolean {
    return this.log.tail - this.log.flushed > UNWRITTEN_PAGES * this.pageSize;
  }

  /**
   * Waits until only the page that is being filled is not on the device.
   * @throws KvDiskError
   */
  async written(): Promise<void> {
    const { log } = this;
    const rest = log.tail % this.pageSize;
    // A page that is full to the last byte may still be one that records change in.
    if (rest === 0) log.endPage();
    await log.flushTo((log.tail - rest) as LogAddress);
  }

  /** Whether the oldest segment is on the device as a whole, so that it can be removed. */
  get canDropOldest(): boolean {
    return this.endOfOldest() <= this.log.flushed;
  }

  /**
   * Visits the chunks of the oldest segment in order. `visit` may append; it gets the chunk, its record and its place.
   * @throws KvCorruptionError where the log is damaged
   */
  async visitOldest(
    slices: Slices,
    visit: (chunk: ChunkView, words: Int32Array, at: number, place: number) => void,
  ): Promise<void> {
    const { log, segments } = this;
    const view = new ChunkView();
    const rest = async (): Promise<void> => {
      if (this.crowded) await this.written();
      if (slices.over) await slices.next();
    };
    // The pages of an earlier life may have been of another size, so records are followed from one to the next.
    const stop = await scanSegment(segments, log.begin, (words, at, address) => {
      if ((words[at + 1] & KIND_MASK) === KIND_CHUNK)
        visit(view.setRecord(words, at), words, at, ChunkLog.placeOf(address));
      return this.crowded || slices.over ? rest() : undefined;
    });
    // It may end early: a log that is opened again goes on in a new segment.
    const oldest = segments.segmentOf(log.begin);
    if (stop < segments.startOf(oldest) + segments.sizeOf(oldest)) throw this.damaged(stop);
  }

  /** Whether an address lies in the oldest segment. */
  isInOldest(address: LogAddress): boolean {
    return address < this.endOfOldest();
  }

  /** Forgets the oldest segment: nothing may point into it. */
  async dropOldest(): Promise<void> {
    this.log.begin = this.endOfOldest();
    await this.removeUnneeded();
  }

  /** Waits for writes, then closes the files, and removes them if no checkpoint needs them. */
  async close(): Promise<void> {
    // A failure was reported when it happened, and nobody needs these bytes any more.
    await this.written().catch(() => {});
    try {
      if (this.keptFrom === undefined) await this.removeBelow(Infinity);
    } catch {
      // The next opening removes them.
    }
    this.segments.close();
  }

  private async removeUnneeded(): Promise<void> {
    const { log, segments } = this;
    await this.removeBelow(segments.segmentOf(Math.min(log.begin, this.keptFrom ?? log.begin)));
  }

  private async removeBelow(first: number): Promise<void> {
    for (const segment of this.segments.numbers()) if (segment < first) await this.segments.remove(segment);
  }

  private endOfOldest(): LogAddress {
    const { segments } = this;
    return segments.startOf(segments.segmentOf(this.log.begin) + 1);
  }

  /** The chunk that was read to the beginning of `words`; `undefined` when that is not all of it. */
  private wholeChunk(words: Int32Array, available: number, address: LogAddress): ChunkView | undefined {
    this.chunkReads++;
    if (isIntact(words, 0, available, address, this.segments.salt)) {
      return this.verified(this.view, words, 0, address);
    }
    // Longer, or damaged where it says how long it is: `read` will tell.
    if (available >= READ_BYTES && totalBytes(words, 0) > available) return undefined;
    throw this.damaged(address);
  }

  private verified(view: ChunkView, words: Int32Array, at: number, address: LogAddress): ChunkView {
    if ((words[at + 1] & KIND_MASK) !== KIND_CHUNK) throw this.damaged(address);
    return view.setRecord(words, at);
  }

  /** What is thrown for a chunk that is not intact; without an address, for one that was given up. */
  damaged(address = this.log.begin, cause?: unknown): KvCorruptionError {
    const options = { remedy: REMEDY, cause };
    return new KvCorruptionError(
      'A chunk of the cold index is damaged',
      this.log.fileOf(address),
      address,
      options,
    );
  }
}
