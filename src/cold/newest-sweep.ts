/**
 * Which of many records of the cold log are the newest of their hashes, for whoever rewrites it: asked together, and answered
 * in the order in which chunks lie, so that one read brings many of them. One by one each takes a read of its own, which is
 * two thirds of a rewrite.
 *
 *   sweep.clear();
 *   for (const { low, high, address } of next) sweep.add(low, high, address);
 *   await sweep.answer(slices);
 *   for (const { address } of next) if (sweep.find(address)) use(sweep.newest);
 */
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { KvCorruptionError } from '../errors.js';
import type { Slices } from '../log/slices.js';
import { addressOf, EntryList, sizeClassOfEntry, tagOf, type ChunkView } from './hash-chunk.js';
import { PendingEntries } from './pending-entries.js';
import { isDense } from './read-windows.js';
import type { SlotReaderParts } from './slot-reader.js';

/** Records that are asked for together, 33 bytes each: with a million slots, each read answers for some five. */
const MOST_RECORDS = 65_536;

const FIRST_RECORDS = 256;

/** Records between two looks at the clock. */
const LOOK_EVERY = 16;

export class NewestSweep {
  /** The newest address of the record's hash, if `find` found it: `NO_ADDRESS` where that is not known. */
  newest: LogAddress = NO_ADDRESS;
  /** And the size class of what lies there. */
  newestClass = 0;
  private count = 0;
  private dense = false;
  private lows = new Int32Array(FIRST_RECORDS);
  private highs = new Int32Array(FIRST_RECORDS);
  private addresses = new Float64Array(FIRST_RECORDS);
  private answers = new Float64Array(FIRST_RECORDS);
  private classes = new Uint8Array(FIRST_RECORDS);
  /** Where `find` goes on: it is asked in about the order of addresses. */
  private at = 0;
  private readonly list = new EntryList();

  constructor(private readonly parts: SlotReaderParts) {}

  get full(): boolean {
    return this.count === MOST_RECORDS;
  }

  clear(): void {
    this.count = this.at = 0;
  }

  /** @param address higher than those of all before */
  add(hashLow: number, hashHigh: number, address: LogAddress): void {
    if (this.count === this.lows.length) this.grow();
    const at = this.count++;
    this.lows[at] = hashLow;
    this.highs[at] = hashHigh;
    this.addresses[at] = address;
    this.answers[at] = NO_ADDRESS;
  }

  /**
   * Looks all of them up. Nothing may be put or flushed meanwhile; what is put later is not in the answers.
   * @throws KvDiskError
   */
  async answer(slices: Slices): Promise<void> {
    const { count, parts } = this;
    this.dense = isDense(count, parts.directory.slots);
    const order = this.inOrder();
    for (let turn = 0; turn < count; turn++) {
      // Without a turn that is missing reads are not cheap now: whoever asks for the record makes one that does not block.
      if (!this.lookUp(order[turn]) && parts.pacer?.turned()) {
        await slices.next();
        this.lookUp(order[turn]);
      }
      if (turn % LOOK_EVERY === 0 && slices.over) await slices.next();
    }
  }

  /** Whether the record at an address was asked for: `newest` and `newestClass` are what was found. */
  find(address: LogAddress): boolean {
    const { addresses, count } = this;
    let { at } = this;
    while (at < count && addresses[at] < address) at++;
    while (at > 0 && addresses[at - 1] >= address) at--;
    this.at = at;
    if (at === count || addresses[at] !== address) return false;
    this.newest = this.answers[at] as LogAddress;
    this.newestClass = this.classes[at];
    return true;
  }

  /** Their numbers in the order in which a flush meets their slots, or about: which is that of the chunks that it wrote. */
  private inOrder(): Uint32Array {
    const { count, lows } = this;
    // About as many buckets as there are records.
    const shift = Math.max(0, Math.clz32(count) - Math.clz32(PendingEntries.buckets));
    const starts = new Uint32Array((PendingEntries.buckets >>> shift) + 1);
    const order = new Uint32Array(count);
    for (let i = 0; i < count; i++) starts[(PendingEntries.turnOf(lows[i]) >>> shift) + 1]++;
    for (let bucket = 1; bucket < starts.length; bucket++) starts[bucket] += starts[bucket - 1];
    for (let i = 0; i < count; i++) order[starts[PendingEntries.turnOf(lows[i]) >>> shift]++] = i;
    return order;
  }

  private grow(): void {
    const { addresses, answers, classes, highs, lows } = this;
    const length = lows.length * 2;
    (this.lows = new Int32Array(length)).set(lows);
    (this.highs = new Int32Array(length)).set(highs);
    (this.addresses = new Float64Array(length)).set(addresses);
    (this.answers = new Float64Array(length)).set(answers);
    (this.classes = new Uint8Array(length)).set(classes);
  }

  /** @returns false when a chunk has to be read and must not be now */
  private lookUp(at: number): boolean {
    const { list } = this;
    const { chunks, coldBegin, directory, lost, pacer, pending } = this.parts;
    const hashLow = this.lows[at];
    const tag = tagOf(hashLow, this.highs[at]);
    const slot = directory.slotOf(hashLow);
    directory.load(slot);
    if (lost.has(slot)) return true;
    list.clear();
    pending.collect(hashLow, tag, coldBegin(), list);
    if (list.count > 0) return this.found(at, list.lows[0], list.highs[0]);
    if (!directory.mayHold(slot, tag)) return true;
    const address = chunks.addressOf(directory.placeOf(slot));
    let chunk: ChunkView | undefined;
    try {
      chunk = chunks.inMemory(address) ?? chunks.inOrder(address, pacer, this.dense);
    } catch (error) {
      // Whoever asks for the record meets it, and says so.
      if (error instanceof KvCorruptionError) return true;
      throw error;
    }
    if (!chunk) return false;
    for (let i = 0; i < chunk.count; i++)
      if (chunk.tag(i) === tag) return this.found(at, chunk.low(i), chunk.high(i));
    return true;
  }

  private found(at: number, low: number, high: number): true {
    this.answers[at] = addressOf(low, high);
    this.classes[at] = sizeClassOfEntry(high);
    return true;
  }
}
