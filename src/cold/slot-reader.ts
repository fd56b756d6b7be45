/**
 * Reads the slots of the cold index as a whole: all entries of a partition, for whoever goes through all keys, or of one slot
 * as it is stored, for whoever checks the index. Entries are those of one moment, pending ones included and garbage left out,
 * whatever is merged, split or collected while a chunk is being read. Look-ups of single keys are `ColdIndex.find`, which only
 * reads a chunk here.
 */
import { KvCorruptionError } from '../errors.js';
import type { LogAddress } from '../log/address.js';
import type { ReadPacer } from '../log/read-pacer.js';
import type { ChunkDirectory } from './chunk-directory.js';
import type { ChunkLog } from './chunk-log.js';
import {
  addressOf,
  EntryList,
  PARTITIONS,
  sizeClassOfEntry,
  type Candidates,
  type ChunkView,
} from './hash-chunk.js';
import { addOwn } from './index-merge.js';
import type { LostSlots } from './lost-slots.js';
import type { PendingEntries } from './pending-entries.js';

/** Chunks of a partition that are read at the same time. */
const PARTITION_READS = 32;

/** Where the records of a slot or partition lie, newest first. Entries with different tags are of different keys. */
export interface PartitionEntries extends Candidates {
  tags: Int32Array;
}

export interface SlotReaderParts {
  directory: ChunkDirectory;
  pending: PendingEntries;
  chunks: ChunkLog;
  lost: LostSlots;
  pacer: ReadPacer | undefined;
  coldBegin: () => LogAddress;
}

export class SlotReader {
  private readonly list = new EntryList();

  constructor(private readonly parts: SlotReaderParts) {}

  /**
   * All entries of the hashes with these low bits.
   * @param partition `hashLow & 8191`
   * @throws KvCorruptionError, KvDiskError
   */
  async partition(partition: number): Promise<PartitionEntries> {
    const { directory } = this.parts;
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

  /** The same at once; `undefined` when some have to be waited for, also where `partition` will tell of damage. */
  tryPartition(partition: number): PartitionEntries | undefined {
    const { chunks, directory, lost } = this.parts;
    const { list } = this;
    list.clear();
    try {
      for (let slot = partition; slot < directory.slots; slot += PARTITIONS) {
        directory.load(slot);
        lost.assertThere(slot);
        const place = directory.placeOf(slot);
        let chunk: ChunkView | undefined;
        if (place !== 0) {
          const address = chunks.addressOf(place);
          chunk = chunks.inMemory(address) ?? this.readInOrder(address);
          if (!chunk) return undefined;
        }
        this.add(slot, chunk, list);
      }
    } catch (error) {
      if (error instanceof KvCorruptionError) return undefined;
      throw error;
    }
    return newestFirst(list);
  }

  /**
   * All entries of one slot, its chunk read from where it is stored.
   * @returns `undefined` where there is none; a promise where that cannot be told at once
   * @throws KvCorruptionError, KvDiskError
   */
  stored(slot: number): PartitionEntries | undefined | Promise<PartitionEntries | undefined> {
    const { chunks, directory, lost } = this.parts;
    directory.load(slot);
    lost.assertThere(slot);
    const place = directory.placeOf(slot);
    if (place === 0) return this.entriesOf(slot, undefined);
    const address = chunks.addressOf(place);
    const chunk = chunks.isStored(address) ? this.readAtOnce(address) : chunks.inMemory(address);
    return chunk ? this.entriesOf(slot, chunk) : this.storedLater(slot);
  }

  /** Reads the chunk at a place, without blocking; `undefined` when the hash's chunk lies elsewhere by then. */
  async readPlace(hashLow: number, place: number): Promise<ChunkView | undefined> {
    const { chunks, directory, lost } = this.parts;
    let chunk: ChunkView | undefined;
    let failure: { error: unknown } | undefined;
    try {
      chunk = await chunks.read(chunks.addressOf(place));
    } catch (error) {
      failure = { error };
    }
    // Merged or collected meanwhile: its file may even be gone.
    if (directory.placeOf(directory.slotOf(hashLow)) !== place) return undefined;
    if (failure) throw lost.told(failure.error);
    return chunk;
  }

  private async storedLater(slot: number): Promise<PartitionEntries | undefined> {
    const { chunks, directory, lost } = this.parts;
    for (;;) {
      lost.assertThere(slot);
      const place = directory.placeOf(slot);
      const address = chunks.addressOf(place);
      if (place === 0 || !chunks.isStored(address))
        return this.entriesOf(slot, place === 0 ? undefined : chunks.inMemory(address));
      const chunk = await this.readPlace(slot, place);
      if (chunk) return this.entriesOf(slot, chunk);
    }
  }

  private entriesOf(slot: number, chunk: ChunkView | undefined): PartitionEntries | undefined {
    const { list } = this;
    list.clear();
    this.add(slot, chunk, list);
    return list.count === 0 ? undefined : newestFirst(list);
  }

  /** Adds the entries of a slot to a list, as they are at one moment. */
  private async gather(slot: number, into: EntryList): Promise<void> {
    const { directory, chunks, lost } = this.parts;
    for (;;) {
      directory.load(slot);
      lost.assertThere(slot);
      const place = directory.placeOf(slot);
      let chunk: ChunkView | undefined;
      if (place !== 0) {
        const address = chunks.addressOf(place);
        chunk = chunks.inMemory(address) ?? this.readInOrder(address) ?? (await this.readPlace(slot, place));
        if (!chunk) continue;
      }
      this.add(slot, chunk, into);
      return;
    }
  }

  private readAtOnce(address: LogAddress): ChunkView | undefined {
    const { chunks, lost, pacer } = this.parts;
    try {
      return chunks.atOnce(address, pacer);
    } catch (error) {
      throw lost.told(error);
    }
  }

  private readInOrder(address: LogAddress): ChunkView | undefined {
    const { chunks, lost, pacer } = this.parts;
    try {
      return chunks.inOrder(address, pacer, true);
    } catch (error) {
      throw lost.told(error);
    }
  }

  /** Adds what waits for a slot, and what is its own in its chunk. */
  private add(slot: number, chunk: ChunkView | undefined, into: EntryList): void {
    const { coldBegin, directory, pending } = this.parts;
    const width = directory.widthOf(slot);
    const begin = coldBegin();
    pending.gather(slot, width, begin, into);
    if (chunk) addOwn(into, chunk, slot, width, begin);
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
