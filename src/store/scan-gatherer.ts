/**
 * Gathers for a scan where the records of some partitions of the hash lie, from both indexes, batch after batch. Of each
 * partition first what the hot index has: a key goes from hot to cold only by compaction, which enters it in the cold index
 * before it leaves the hot one, so it cannot slip through. If a log was truncated meanwhile, the batch is gathered anew; and so
 * is, later, whatever was truncated between gathering and visiting.
 */
import type { ColdTier } from '../cold/cold-tier.js';
import { hashLowOf } from '../cold/hash-chunk.js';
import type { PartitionEntries } from '../cold/slot-reader.js';
import { KvCorruptionError } from '../errors.js';
import { CHAIN_MASK } from '../hot/bucket-store.js';
import { PARTITIONS } from '../hot/hash-index.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { previousOf } from '../log/record.js';
import { keyStart, spaceOf } from '../log/record-key.js';
import type { Slices } from '../log/slices.js';
import { MetKeys } from './met-keys.js';
import { ChainQueue, ENTRY_BYTES, ScanEntries } from './scan-entries.js';
import type { Space } from './spaces.js';
import type { StoreCore } from './store-core.js';

/** Entries that are gathered first, for a caller who wants only some, and how many times more each time. */
const FIRST_ENTRIES = 64;
const MORE_EACH_TIME = 4;
/** The last partition may bring more than is wanted. */
const ROOM = 1.125;
/** Of `hot.memory`, what may be taken beside it for entries: the logs are gone through once for so many. */
const ENTRIES_SHARE = 1 / 16;
const LEAST_ENTRIES = 16_384;
const MOST_ENTRIES = 2 ** 19;
/** About what the keys that are kept may take. */
const MET_BYTES = 4 * 1024 * 1024;

export class ScanGatherer {
  readonly entries = new ScanEntries();
  readonly met = new MetKeys();
  /** Borders of the hot log when gathering began: what was written since lies at `hotTail` or above. */
  hotBegin = NO_ADDRESS;
  hotTail = NO_ADDRESS;
  private readonly mostEntries: number;
  /** Whether most keys are those of other spaces: then it pays to look before an entry is kept. */
  private readonly isOneOfOthers: boolean;
  private wantedEntries = FIRST_ENTRIES;
  /** The partition to go on with. */
  private partition = 0;
  /** Chains of which something was truncated before it was visited, and those that are being gathered anew. */
  private moved = new ChainQueue();
  private again = new ChainQueue();
  private wantedChains: Uint8Array | undefined;

  constructor(
    private readonly core: StoreCore,
    private readonly space: Space,
    private readonly slices: Slices,
  ) {
    this.isOneOfOthers = space.keys * 2 < core.parts.spaces.keys();
    const share = Math.floor((core.parts.options.hot.memoryBytes * ENTRIES_SHARE) / ENTRY_BYTES);
    this.mostEntries = Math.min(Math.max(share, LEAST_ENTRIES), MOST_ENTRIES);
  }

  /**
   * Gathers the next batch, once all of the last one has been visited. Resolves to `false` when there is none.
   * @throws KvClosedError, KvCorruptionError, KvDiskError
   */
  async next(): Promise<boolean> {
    this.endBatch();
    if (this.again.isEmpty && this.partition === PARTITIONS) return false;
    const { position } = this.again;
    let truncations: number;
    let partition: number;
    do {
      this.core.assertOpen();
      this.again.position = position;
      truncations = this.beginBatch();
      partition = this.again.isEmpty ? await this.gather() : await this.gatherAgain();
      // What was truncated meanwhile may have been looked for where it was not yet, or not any more.
      if (truncations !== this.core.reads.truncations) this.wantFewer();
    } while (truncations !== this.core.reads.truncations);
    this.partition = partition;
    return true;
  }

  /** An entry was truncated before it was visited: the rest of its chain will be gathered anew. */
  moves(entry: number): void {
    const { entries, met } = this;
    const chain = entries.chains[entry];
    const isAlone = !entries.isOneOfMany[entries.firsts[entry]];
    if (isAlone || !met.move(chain)) this.moved.add(chain);
    entries.left[entries.firsts[entry]]--;
  }

  /** @returns the partition to go on with */
  private async gather(): Promise<number> {
    let { partition } = this;
    do await this.gatherPartition(partition++);
    while (partition < PARTITIONS && this.entries.count < this.wantedEntries);
    return partition;
  }

  private async gatherAgain(): Promise<number> {
    const { again, entries } = this;
    const chains = (this.wantedChains ??= ChainQueue.newWanted());
    do {
      const { partition } = again;
      again.take(chains);
      await this.gatherPartition(partition, chains);
    } while (!again.isEmpty && entries.count < this.wantedEntries);
    return this.partition;
  }

  private beginBatch(): number {
    const { cold, index, log } = this.core.parts;
    this.hotBegin = log.begin;
    this.hotTail = log.tail;
    const all = index.expectedEntries + (cold?.index.stats.entries ?? 0);
    const coldBegin = cold ? cold.log.log.begin : NO_ADDRESS;
    this.entries.clear(log.begin, coldBegin, Math.min(this.wantedEntries * ROOM, all));
    return this.core.reads.truncations;
  }

  private endBatch(): void {
    const { count } = this.entries;
    const bearable = (count * MET_BYTES) / this.met.takeMost();
    if (this.again.isEmpty) {
      this.again.clear();
      [this.again, this.moved] = [this.moved, this.again];
      this.again.sort();
      this.met.beginAnew();
    }
    if (count === 0) return;
    const more = Math.min(this.wantedEntries * MORE_EACH_TIME, bearable, this.mostEntries);
    this.wantedEntries = Math.max(1, Math.floor(more));
  }

  private wantFewer(): void {
    const few = Math.min(this.wantedEntries, this.entries.count);
    this.wantedEntries = Math.max(1, Math.floor(few / MORE_EACH_TIME));
  }

  /** @param wanted only chains that are marked in it */
  private async gatherPartition(partition: number, wanted?: Uint8Array): Promise<void> {
    const { core, entries, met, slices } = this;
    const { cold, index } = core.parts;
    const add = (isHot: boolean, address: number, sizeClass: number, chain: number): void => {
      if (wanted && !ChainQueue.isIn(wanted, chain)) return;
      const entry = entries.add(isHot, address, sizeClass, chain);
      if (wanted && met.has(chain)) entries.isOneOfMany[entries.firsts[entry]] = 1;
    };
    entries.nextPartition();
    index.partition(partition, (address, sizeClass, chain) => {
      if (address < this.hotBegin || (this.isOneOfOthers && this.isForeign(address))) return;
      add(true, address, sizeClass, chain);
    });
    if (cold && cold.log.bytes > 0) {
      const found = cold.index.tryPartition(partition) ?? (await this.coldEntries(cold, partition));
      const { addresses, count, sizeClasses, tags } = found;
      for (let i = 0; i < count; i++)
        add(false, addresses[i], sizeClasses[i], hashLowOf(partition, tags[i]) & CHAIN_MASK);
    }
    if (!slices.over) return;
    await slices.next();
    core.assertOpen();
  }

  /** Whether an entry of the hot index leads to a record in memory that is of another space, and to no further one. */
  private isForeign(address: LogAddress): boolean {
    const { log } = this.core.parts;
    if (address < log.head) return false;
    const words = log.ring.wordsAt(address);
    const at = log.ring.wordOffset(address);
    const previous = previousOf(words, at);
    if (previous !== NO_ADDRESS && previous >= this.hotBegin) return false;
    return spaceOf(words[keyStart(words, at)]) !== this.space.id;
  }

  /** Where a chunk of the index is damaged, it waits until that was made anew. */
  private async coldEntries({ index, log }: ColdTier, partition: number): Promise<PartitionEntries> {
    // What was read synchronously in this turn was enough: waiting for the next is cheaper than the thread pool.
    await log.log.turned();
    this.core.assertOpen();
    try {
      return index.tryPartition(partition) ?? (await index.partition(partition));
    } catch (error) {
      if (!(error instanceof KvCorruptionError)) throw error;
      await this.core.mended();
      return index.partition(partition);
    }
  }
}
