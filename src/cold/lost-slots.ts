/**
 * What is damaged in the cold index, and how it becomes whole again. A slot whose chunk was given up is *lost*, also one
 * whose place was in a damaged block of the directory: place, filter and pending entries are forgotten, and until all of
 * its records have been entered again look-ups of its keys fail, because what is there of them could lead to older values.
 *
 * Who reads the cold log for that (`IndexMender`), and when, is not decided here:
 *
 *   await lost.beginMending(slices, mayGoOn);
 *   for (const record of log) if (lost.wants(record.low)) lost.putAgain(…);
 *   lost.endMending();
 */
import { KvCorruptionError } from '../errors.js';
import type { LogAddress } from '../log/address.js';
import type { ReadPacer } from '../log/read-pacer.js';
import type { Slices } from '../log/slices.js';
import { SlotFilter, type ChunkDirectory } from './chunk-directory.js';
import type { ChunkLog } from './chunk-log.js';
import { PARTITIONS } from './hash-chunk.js';
import type { IndexMerge } from './index-merge.js';
import type { PendingEntries } from './pending-entries.js';

/** Chunks that are looked at at the same time. */
const MENDING_READS = 32;

export interface LostSlotsParts {
  /** It tells of its damaged blocks here. */
  directory: ChunkDirectory;
  pending: PendingEntries;
  chunks: ChunkLog;
  merger: IndexMerge;
  pacer: ReadPacer | undefined;
  /** Told when damage was met. */
  onDamage: (() => void) | undefined;
}

export class LostSlots {
  /** Damage that was met in a chunk that was not made anew since. */
  damage: KvCorruptionError | undefined;
  /** Slots whose chunk is gone, and of which not every record has been entered again. */
  private readonly slots = new Set<number>();
  /** Of all hashes, those that fall into them. */
  private share = 0;

  constructor(private readonly parts: LostSlotsParts) {
    parts.directory.onDamage = (from, to, error) => this.loseBlock(from, to, error);
  }

  /** How many slots are lost. */
  get count(): number {
    return this.slots.size;
  }

  /** Part of hot paths (`bench/micro/cold-index.mjs`). */
  has(slot: number): boolean {
    return this.slots.size > 0 && this.slots.has(slot);
  }

  /** @throws KvCorruptionError when the slot is lost: what is pending is only a part of it */
  assertThere(slot: number): void {
    if (this.has(slot)) throw this.told(this.error);
  }

  /** @throws KvCorruptionError while any slot is lost */
  assertNone(): void {
    if (this.slots.size > 0) throw this.error;
  }

  /** Damage that was met is to be mended; returns the error, whatever it is. */
  told(error: unknown): unknown {
    if (!(error instanceof KvCorruptionError)) return error;
    this.damage ??= error;
    this.parts.onDamage?.();
    return error;
  }

  /**
   * Gives up the chunks that cannot be read. From now on all records of the cold log that are `wanted` have to be entered
   * again, in their order; nothing else may be put meanwhile, and look-ups of their keys fail until `endMending`.
   * @param mayGoOn throws to end it
   * @throws KvDiskError
   */
  async beginMending(slices: Slices, mayGoOn: () => void): Promise<void> {
    const { slots } = this;
    const { directory } = this.parts;
    await directory.loadAll(slices);
    const damaged = [...slots];
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
        if (!slots.has(slot) && !(await this.isReadable(slot))) damaged.push(slot);
        if (slices.over) await slices.next();
        mayGoOn();
      }
    };
    await Promise.all(Array.from({ length: MENDING_READS }, reader));
    for (const slot of damaged) this.lose(slot);
  }

  /** Whether a record of this hash has to be entered again. */
  wants(hashLow: number): boolean {
    return this.has(this.parts.directory.slotOf(hashLow));
  }

  /** Enters a record again. */
  putAgain(hashLow: number, hashHigh: number, address: LogAddress, sizeClass: number): void {
    this.parts.pending.put(hashLow, hashHigh, address, sizeClass);
  }

  /** All of them were entered: the index is whole. */
  endMending(): void {
    this.slots.clear();
    this.share = 0;
    this.damage = undefined;
  }

  private get error(): KvCorruptionError {
    return this.damage ?? this.parts.chunks.damaged();
  }

  /** Nobody else writes chunks meanwhile. */
  private async isReadable(slot: number): Promise<boolean> {
    const { chunks, directory, pacer } = this.parts;
    const place = directory.placeOf(slot);
    const address = chunks.addressOf(place);
    if (place === 0 || !chunks.isStored(address)) return true;
    try {
      // Not as a cache or a window has it: whoever looks up reads it from the device.
      if (!chunks.atOnce(address, pacer)) await chunks.read(address);
      return true;
    } catch (error) {
      if (error instanceof KvCorruptionError) return false;
      throw error;
    }
  }

  /** A block of the directory is damaged: nobody knows where the chunks of these slots lie. */
  private loseBlock(from: number, to: number, error: KvCorruptionError): void {
    this.told(error);
    for (let slot = from; slot < to; slot++) this.lose(slot);
  }

  private lose(slot: number): void {
    const { slots } = this;
    const { directory, merger, pending } = this.parts;
    const share = 2 ** -directory.widthOf(slot);
    const isNew = !slots.has(slot);
    const others = isNew ? this.share : this.share - share;
    // One that was lost before has no entries, unless some were entered again and merged.
    if (isNew || directory.placeOf(slot) !== 0) merger.entriesLost(share / (1 - others));
    this.share = others + share;
    slots.add(slot);
    pending.remove(slot, directory.widthOf(slot));
    directory.set(slot, 0, new SlotFilter());
  }
}
