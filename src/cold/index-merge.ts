/**
 * How entries get into chunks: those that wait are merged, slot by slot, and when the log of chunks holds more garbage
 * than chunks, what lives in its oldest segment is appended again. One at a time; between any two steps look-ups give
 * right answers, because each slot changes from its old chunk to the new one within one turn of the event loop.
 */
import { assert } from '../assert.js';
import { KvCorruptionError } from '../errors.js';
import type { LogAddress } from '../log/address.js';
import type { ReadPacer } from '../log/read-pacer.js';
import type { Slices } from '../log/slices.js';
import { SlotFilter, type ChunkDirectory } from './chunk-directory.js';
import type { ChunkLog } from './chunk-log.js';
import {
  addressOf,
  chunkBytes,
  classCodeOf,
  ENTRY_BYTES,
  EntryList,
  hashLowOf,
  slotOfChunk,
  widthOfChunk,
  type ChunkView,
} from './hash-chunk.js';
import { PendingEntries } from './pending-entries.js';
import { isDense } from './read-windows.js';

/** Chunks read at the same time: the disk has something to choose from, and each takes half a KiB. */
const MAX_READS = 64;

/** The log of chunks is collected when it is longer than this many times its live bytes, and a segment. */
const MAX_GARBAGE_FACTOR = 1.5;

/** Bytes of a chunk beside its entries: header and padding. */
const CHUNK_OVERHEAD = chunkBytes(0) + 4;

export interface IndexParts {
  directory: ChunkDirectory;
  pending: PendingEntries;
  chunks: ChunkLog;
  pacer: ReadPacer | undefined;
  segmentSize: number;
  coldBegin: () => LogAddress;
  /** By class code: records of the cold log that a later one with the same tag took the place of. */
  superseded: Float64Array;
}

export class IndexMerge {
  /** Entries in chunks, those counted once that slots share; an estimate, and no whole number, once slots were lost. */
  entries = 0;
  private running = false;
  private readonly list = new EntryList();
  private readonly filter = new SlotFilter();
  /** Slots whose chunks are being read. */
  private readonly reading = new Set<number>();
  /** Slots with more entries than a chunk holds: what waits for them goes on waiting. */
  private readonly overfull = new Set<number>();
  private dense = false;
  private failure: { error: unknown } | undefined;
  private wake: () => void = () => {};

  constructor(private readonly parts: IndexParts) {}

  /**
   * Merges everything that was pending at the call into chunks, unless it fits into none.
   * @param mayGrow whether slots may be split
   * @throws KvDiskError, KvCorruptionError: what could not be merged stays pending
   */
  async flush(slices: Slices, mayGrow = true): Promise<void> {
    assert(!this.running, 'INV-C4');
    this.running = true;
    this.overfull.clear();
    try {
      if (mayGrow) await this.grow(slices);
      await this.mergePending(slices);
      await this.collect(slices);
    } finally {
      this.running = false;
    }
  }

  /** Only here, so that slots stay the same during a merge. */
  private async grow(slices: Slices): Promise<void> {
    const { directory, pending } = this.parts;
    while (directory.growFor(this.entries + pending.count)) {
      if ((directory.slots & 63) === 0 && slices.over) await slices.next();
    }
  }

  private async mergePending(slices: Slices): Promise<void> {
    const { chunks, pending, directory } = this.parts;
    this.failure = undefined;
    this.dense = isDense(pending.count, directory.slots);
    try {
      for (let turn = pending.nextTurn(0); turn < PendingEntries.buckets; turn = pending.nextTurn(turn + 1)) {
        const bucket = PendingEntries.bucketAt(turn);
        for (let slot = this.nextSlot(bucket); slot >= 0; slot = this.nextSlot(bucket)) {
          if (!this.mergeAtOnce(slot)) await this.mergeLater(slot, slices);
          if (chunks.crowded) await chunks.written();
          if (slices.over) await slices.next();
        }
      }
    } finally {
      while (this.reading.size > 0) await this.nextRead();
    }
    this.throwFailure();
  }

  /** A slot with entries in this bucket that is not being merged already; -1 when there is none. */
  private nextSlot(bucket: number): number {
    const { pending, directory } = this.parts;
    for (let link = pending.linkAfter(bucket, 0); link !== 0; link = pending.linkAfter(bucket, link)) {
      const slot = directory.slotOf(pending.hashLowAt(bucket, link));
      if (!this.reading.has(slot) && !this.overfull.has(slot)) return slot;
    }
    return -1;
  }

  /** @returns false when the slot's chunk has to be read first, and without blocking */
  private mergeAtOnce(slot: number): boolean {
    const { directory, chunks, pacer } = this.parts;
    const place = directory.placeOf(slot);
    if (place === 0) this.merge(slot, undefined);
    else {
      const address = chunks.addressOf(place);
      const chunk = chunks.inMemory(address) ?? chunks.inOrder(address, pacer, this.dense);
      if (!chunk) return false;
      this.merge(slot, chunk);
    }
    return true;
  }

  private async mergeLater(slot: number, slices: Slices): Promise<void> {
    if (this.reading.size === 0) {
      // Perhaps only the time for synchronous reads in this turn was used up: waiting for the next is cheaper.
      await slices.next();
      if (this.mergeAtOnce(slot)) return;
    }
    void this.mergeAfterRead(slot);
    while (this.reading.size >= MAX_READS) await this.nextRead();
    this.throwFailure();
  }

  /** Never rejects: a failure ends the run. */
  private async mergeAfterRead(slot: number): Promise<void> {
    const { directory, chunks } = this.parts;
    this.reading.add(slot);
    try {
      const place = directory.placeOf(slot);
      const chunk = await chunks.read(chunks.addressOf(place));
      assert(directory.placeOf(slot) === place, 'INV-C5');
      this.merge(slot, chunk);
    } catch (error) {
      this.failure ??= { error };
    } finally {
      this.reading.delete(slot);
      this.wake();
    }
  }

  private async nextRead(): Promise<void> {
    await new Promise<void>((resolve) => (this.wake = resolve));
  }

  private throwFailure(): void {
    if (this.failure) throw this.failure.error;
  }

  /**
   * Whether the last flush met a slot with more entries than a chunk holds: records of a few keys that were written again and
   * again. They are found as before, and a rewrite of the cold log makes garbage of all but the newest.
   */
  get isOverfull(): boolean {
    return this.overfull.size > 0;
  }

  /**
   * Writes the slot's chunk anew: what waits for it, and what is its own in the old one and no garbage. Hot path
   * (`bench/micro/cold-index.mjs`).
   * @param moves whether the old one has to go, even if what waits does not fit
   */
  private merge(slot: number, chunk: ChunkView | undefined, moves = false): void {
    const { directory, pending, chunks } = this.parts;
    const { list, filter } = this;
    const begin = this.parts.coldBegin();
    const width = directory.widthOf(slot);
    list.clear();
    pending.gather(slot, width, begin, list);
    let added = list.count;
    const before = chunk ? addOwn(list, chunk, slot, width, begin) : 0;
    const fits = list.count <= chunks.mostEntries;
    if (!fits) {
      this.overfull.add(slot);
      if (!chunk || !moves) return;
      list.clear();
      added = 0;
      addOwn(list, chunk, slot, width, begin);
    }
    this.countSuperseded(added);
    const place = list.count > 0 ? chunks.append(slot, width, list) : 0;
    filter.clear();
    for (let i = 0; i < list.count; i++) filter.add(list.tags[i]);
    directory.set(slot, place, filter);
    if (fits) pending.remove(slot, width);
    this.entries += list.count - before;
  }

  /** Each new entry takes the place of the newest older one with its tag. */
  private countSuperseded(added: number): void {
    const { count, tags, highs } = this.list;
    for (let i = 0; i < added; i++) {
      const tag = tags[i];
      for (let j = i + 1; j < count; j++) {
        if (tags[j] !== tag) continue;
        this.parts.superseded[classCodeOf(highs[j])]++;
        break;
      }
    }
  }

  private async collect(slices: Slices): Promise<void> {
    const { chunks, directory, segmentSize } = this.parts;
    for (;;) {
      const live = this.entries * ENTRY_BYTES + directory.slots * CHUNK_OVERHEAD;
      if (chunks.bytes <= MAX_GARBAGE_FACTOR * live + segmentSize || !chunks.canDropOldest) return;
      try {
        await chunks.visitOldest(slices, (chunk, words, at, place) => {
          // The chunk's slot, and those that were split from it since, as far as they have no chunk of their own.
          const step = 2 ** widthOfChunk(words, at);
          for (let slot = slotOfChunk(words, at); slot < directory.slots; slot += step) {
            if (directory.placeOf(slot) === place) this.merge(slot, chunk, true);
          }
        });
      } catch (error) {
        if (!(error instanceof KvCorruptionError)) throw error;
        await this.collectBySlot(slices);
      }
      await chunks.dropOldest();
    }
  }

  /**
   * Where the oldest segment is damaged, the directory says where the chunks lie that are needed.
   * @throws KvCorruptionError when one of those is damaged
   */
  private async collectBySlot(slices: Slices): Promise<void> {
    const { chunks, directory } = this.parts;
    for (let slot = 0; slot < directory.slots; slot++) {
      const place = directory.placeOf(slot);
      const address = chunks.addressOf(place);
      if (place !== 0 && chunks.isInOldest(address)) {
        const chunk = await chunks.read(address);
        assert(directory.placeOf(slot) === place, 'INV-C5');
        this.merge(slot, chunk, true);
      }
      if (chunks.crowded) await chunks.written();
      if (slices.over) await slices.next();
    }
  }

  /** A slot has lost its chunk. Of how many entries nobody knows, so it is taken for that share of all. */
  entriesLost(share: number): void {
    this.entries *= 1 - share;
  }
}

/**
 * Adds to the list what is the slot's own in a chunk and no garbage.
 * @returns how many entries are the slot's own, garbage included
 */
export function addOwn(
  list: EntryList,
  chunk: ChunkView,
  slot: number,
  width: number,
  begin: LogAddress,
): number {
  const mask = (1 << width) - 1;
  let own = 0;
  for (let i = 0; i < chunk.count; i++) {
    const tag = chunk.tag(i);
    if (((hashLowOf(slot, tag) ^ slot) & mask) !== 0) continue;
    own++;
    const low = chunk.low(i);
    const high = chunk.high(i);
    if (addressOf(low, high) >= begin) list.add(tag, low, high);
  }
  return own;
}
