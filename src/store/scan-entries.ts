/**
 * What a scan has gathered from the indexes and not visited yet: addresses in both logs, by the part of the log that they lie in, so
 * that each part is read once. Typed arrays, at 30 bytes an entry.
 *
 * Entries whose hashes agree in their low 28 bits (a _chain_) may be of one key or of several. Where a chain has one entry there is
 * nothing to compare, which is nearly always so: the others are marked `isOneOfMany`.
 */
import { CHAIN_MASK, BASE_BITS, TAG_BITS } from '../hot/bucket-store.js';
import type { LogAddress } from '../log/address.js';

/** Bytes of log whose entries are visited together. */
export const PART_BYTES = 512 * 1024;
export const ENTRY_BYTES = 30;

const FIRST_ENTRIES = 256;
const TAGS = 1 << TAG_BITS;
const TAG_MASK = TAGS - 1;
const PARTITION_MASK = (1 << BASE_BITS) - 1;
/** A position in a part, in units of 8 bytes, and the number of an entry are sorted as one number. */
const MOST_ENTRIES = 2 ** 32;

/** The entries of one log by part: lists, of which `heads` has the first, plus 1. */
class Parts {
  private heads = new Int32Array(0);
  private base = 0;
  private top = -1;

  /** @param from where the log begins */
  clear(from: LogAddress): void {
    this.heads.fill(0);
    this.base = Math.floor(from / PART_BYTES);
    this.top = -1;
  }

  /** @returns the entry behind it, plus 1 */
  add(entry: number, address: number): number {
    const part = Math.floor(address / PART_BYTES) - this.base;
    if (part >= this.heads.length) {
      const heads = new Int32Array(Math.max(part + 1, this.heads.length * 2));
      heads.set(this.heads);
      this.heads = heads;
    }
    if (part > this.top) this.top = part;
    const next = this.heads[part];
    this.heads[part] = entry + 1;
    return next;
  }

  /** Empties the highest part that has entries: the first of them plus 1, or 0 where there are none. */
  take(): number {
    const { heads } = this;
    while (this.top >= 0 && heads[this.top] === 0) this.top--;
    if (this.top < 0) return 0;
    const head = heads[this.top];
    heads[this.top] = 0;
    return head;
  }
}

export class ScanEntries {
  count = 0;
  addresses = new Float64Array(FIRST_ENTRIES);
  sizeClasses = new Uint8Array(FIRST_ENTRIES);
  /** The low 28 bits of their hashes. */
  chains = new Int32Array(FIRST_ENTRIES);
  /** The first entry of the same chain. */
  firsts = new Int32Array(FIRST_ENTRIES);
  /** Of the first entry of a chain: how many of the chain are still to be visited. */
  left = new Int32Array(FIRST_ENTRIES);
  /** Of the first entry of a chain: whether there was ever more than one. */
  isOneOfMany = new Uint8Array(FIRST_ENTRIES);
  isHot = new Uint8Array(FIRST_ENTRIES);
  /** Which log the part that was taken last is of. */
  isHotPart = false;
  private nexts = new Int32Array(FIRST_ENTRIES);
  private readonly hot = new Parts();
  private readonly cold = new Parts();
  /** Of the partition that is being gathered, the first entry of each chain, where `marks` has the number of the partition's turn. */
  private readonly firstOf = new Int32Array(TAGS);
  private readonly marks = new Int32Array(TAGS);
  private turn = 0;
  /** What `takePart` found: see `entryAt`. */
  private order = new Float64Array(0);

  /** @param expected room is made for so many at once, and not by copying what is there already */
  clear(hotBegin: LogAddress, coldBegin: LogAddress, expected = 0): void {
    this.count = 0;
    if (expected > this.chains.length) this.grow(Math.ceil(expected));
    this.hot.clear(hotBegin);
    this.cold.clear(coldBegin);
  }

  /** Entries of another partition follow. */
  nextPartition(): void {
    this.turn++;
  }

  /** Adds an entry of the current partition: all that are in the hot log first. */
  add(isHot: boolean, address: number, sizeClass: number, chain: number): number {
    const entry = this.put(isHot, address, sizeClass, chain);
    const tag = (chain >>> BASE_BITS) & TAG_MASK;
    if (this.marks[tag] === this.turn) {
      const first = this.firstOf[tag];
      this.firsts[entry] = first;
      this.left[first]++;
      this.isOneOfMany[first] = 1;
    } else {
      this.marks[tag] = this.turn;
      this.firstOf[tag] = entry;
    }
    return entry;
  }

  /**
   * The record of an entry leads on to an older one in the hot log, which is still to be visited.
   * @param now whether the caller visits it at once
   * @returns its entry
   */
  follow(entry: number, address: LogAddress, sizeClass: number, now: boolean): number {
    const first = this.firsts[entry];
    // That of the first one has to stay: it says whether the chain has changed.
    const older = entry === first ? this.put(true, address, sizeClass, this.chains[entry], now) : entry;
    if (older === entry) {
      this.addresses[older] = address;
      this.sizeClasses[older] = sizeClass;
      if (!now) this.nexts[older] = this.hot.add(older, address);
    }
    this.firsts[older] = first;
    this.left[first]++;
    this.isOneOfMany[first] = 1;
    return older;
  }

  /** Takes the entries of the highest part, of the hot log as long as there are any, out: how many they are. */
  takePart(): number {
    let link = this.hot.take();
    this.isHotPart = link !== 0;
    if (!this.isHotPart) link = this.cold.take();
    let count = 0;
    for (; link !== 0; link = this.nexts[link - 1]) {
      const entry = link - 1;
      if (count === this.order.length) {
        const order = new Float64Array(Math.max(64, count * 2));
        order.set(this.order);
        this.order = order;
      }
      this.order[count++] = ((this.addresses[entry] % PART_BYTES) / 8) * MOST_ENTRIES + entry;
    }
    this.order.subarray(0, count).sort();
    return count;
  }

  /** The entries of the part that was taken last, by address. */
  entryAt(at: number): number {
    return this.order[at] >>> 0;
  }

  private put(isHot: boolean, address: number, sizeClass: number, chain: number, now = false): number {
    if (this.count === this.chains.length) this.grow(this.count * 2);
    const entry = this.count++;
    this.addresses[entry] = address;
    this.sizeClasses[entry] = sizeClass;
    this.chains[entry] = chain;
    this.firsts[entry] = entry;
    this.left[entry] = 1;
    this.isOneOfMany[entry] = 0;
    this.isHot[entry] = isHot ? 1 : 0;
    if (!now) this.nexts[entry] = (isHot ? this.hot : this.cold).add(entry, address);
    return entry;
  }

  private grow(length: number): void {
    const { count } = this;
    this.addresses = copied(this.addresses, new Float64Array(length), count);
    this.sizeClasses = copied(this.sizeClasses, new Uint8Array(length), count);
    this.chains = copied(this.chains, new Int32Array(length), count);
    this.firsts = copied(this.firsts, new Int32Array(length), count);
    this.left = copied(this.left, new Int32Array(length), count);
    this.isOneOfMany = copied(this.isOneOfMany, new Uint8Array(length), count);
    this.isHot = copied(this.isHot, new Uint8Array(length), count);
    this.nexts = copied(this.nexts, new Int32Array(length), count);
  }
}

/** Chains that have to be gathered anew, because what was gathered of them is not there any more. By partition. */
export class ChainQueue {
  private chains = new Int32Array(0);
  private count = 0;
  private at = 0;

  get isEmpty(): boolean {
    return this.at === this.count;
  }

  add(chain: number): void {
    if (this.count === this.chains.length)
      this.chains = copied(this.chains, new Int32Array(Math.max(64, this.count * 2)), this.count);
    this.chains[this.count++] = turned(chain, BASE_BITS, TAG_BITS);
  }

  /** Those that were added come by partition from now on. */
  sort(): void {
    this.chains.subarray(0, this.count).sort();
  }

  /** The partition of the next one. */
  get partition(): number {
    return this.chains[this.at] >>> TAG_BITS;
  }

  /** Takes all of the next partition out: whether each of its chains is one of them. */
  take(isWanted: Uint8Array): void {
    const { partition } = this;
    isWanted.fill(0);
    while (!this.isEmpty && this.partition === partition) isWanted[this.chains[this.at++] & TAG_MASK] = 1;
  }

  /** How far it has come, to come back to. */
  get position(): number {
    return this.at;
  }

  set position(at: number) {
    this.at = at;
  }

  /** Forgets those that were taken: all of them. */
  clear(): void {
    this.count = this.at = 0;
  }

  static newWanted(): Uint8Array {
    return new Uint8Array(TAGS);
  }

  static isIn(isWanted: Uint8Array, chain: number): boolean {
    return isWanted[(chain >>> BASE_BITS) & TAG_MASK] !== 0;
  }
}

/** A chain with the bits of its partition in front, so that those of one partition are in a row when they are sorted. */
function turned(chain: number, low: number, high: number): number {
  return ((chain & PARTITION_MASK) << high) | ((chain & CHAIN_MASK) >>> low);
}

function copied<T extends Float64Array | Int32Array | Uint8Array>(from: T, to: T, count: number): T {
  to.set(from.subarray(0, count));
  return to;
}
