/**
 * Copies of records that were read from disk, in a ring of bounded size outside the JavaScript heap: never the only
 * copy of anything, and without knowledge of where the records come from. When the ring is full, the oldest copies
 * make room, except that one which was found since it was written (or since its last chance) moves to the tail
 * instead: the "second chance" of CLOCK, as a log (F2's read cache does the same). As long as there is free room,
 * every record is taken; from then on only one that was offered before, not long ago: whatever is read once in a
 * while pushes nothing out (the "doorkeeper" of TinyLFU, Einziger et al. 2017; docs/decisions/0012 has its figures).
 *
 * The ring consists of pages that no copy spans, allocated when they are reached for the first time. An entry in it is
 *
 *   word 0   low half of the key's hash
 *   word 1   length of the entry in units of 8 bytes · dead (bit 1) · referenced (bit 0)
 *   then the record without slack
 *
 * The table has buckets of `WAYS` slots. A slot is the address of a record in the ring (page and unit of 8 bytes) and,
 * in the bits that the address leaves over, the high bits of the hash, so that a miss touches the ring hardly ever.
 * Slots and living entries belong together one to one; an entry without a slot is marked dead. A full bucket gives up
 * its oldest entry that is not referenced. Beside it, a byte for each slot holds bits of the hash that was refused
 * there last. Hot path: `find`, `drop`, `fill` (`npm run bench`, reads and writes).
 */
import type { EncodedKey } from '../codec/key-codec.js';
import { MAX_PAGE_SIZE } from '../limits.js';
import { HEADER_BYTES, recordBytes } from '../log/record.js';
import { hasKey } from '../log/record-key.js';

const ENTRY_HEADER_UNITS = 1;
const REFERENCED = 1;
const DEAD = 2;
const FLAG_BITS = 2;

/** Slots of a bucket: half a cache line. */
const WAYS = 8;
const WAY_BITS = 3;
/** At least one slot for so many bytes: with entries of 100 to 200 bytes hardly any bucket is ever full. */
const BYTES_PER_SLOT = 96;

/** Largest record, as a fraction of the memory. */
const LARGEST_FRACTION = 16;
/** Of the table, and of what was refused. */
const BYTES_OF_SLOT = 5;

/** So few pages that the largest record fits in one, with the largest table that there can be (5/48 of the memory). */
const MIN_PAGES = 14;
/** An address has 31 bits: the ring has this many pages (16 GiB) at the most. */
const MAX_PAGES = 2047;
/** Below this, no record would fit. */
const MIN_MEMORY = LARGEST_FRACTION * 2 * HEADER_BYTES;

/** Second chances during one `fill` stop at this multiple of its own length: its work stays bounded. */
const CHANCE_FACTOR = 4;

export class ReadCache {
  // Result of the last `find` that returned true, until the next `fill` or `clear`.
  words: Int32Array = new Int32Array(0);
  bytes: Buffer = Buffer.alloc(0);
  /** Index of the record's first word. */
  at = 0;
  // Counters.
  hits = 0;
  misses = 0;
  fills = 0;
  refused = 0;
  evictions = 0;
  secondChances = 0;

  private count = 0;
  /** Bytes of the largest record that is taken; 0 is a cache that is off. */
  private readonly largest: number = 0;
  // The table: a single empty bucket until the first `fill`.
  private readonly slots: number = WAYS;
  private table = new Int32Array(WAYS);
  private bucketMask = 0;
  private refusals = new Uint8Array(0);
  /** Whether the ring was filled once: new entries take the room of others. */
  private full = false;
  /** An address is a page (the bits from `unitBits` on) and the unit of 8 bytes in it where the record begins. */
  private readonly unitBits: number = 0;
  private readonly unitMask: number = 0;
  private readonly addressBits: number = 0;
  private readonly addressMask: number = 0;
  // The ring. Each page used to its end notes where its last entry ends.
  private readonly pageWords: Int32Array[] = [];
  private readonly pageBytes: Buffer[] = [];
  private readonly ends: number[] = [];
  private readonly pages: number = 0;
  private readonly pageUnits: number = 0;
  // The page being filled, in units: new entries end at `tail`, old ones lie from `head` to `end`.
  private page = 0;
  private tail = 0;
  private head = 0;
  private end = 0;

  /** @param budget bytes, all that it may allocate, the table included; 0 switches it off */
  constructor(budget: number) {
    if (budget < MIN_MEMORY) return;
    while (this.slots * BYTES_PER_SLOT < budget) this.slots *= 2;
    const ringBytes = budget - this.slots * BYTES_OF_SLOT;
    this.pages = Math.min(Math.max(MIN_PAGES, Math.floor(ringBytes / MAX_PAGE_SIZE)), MAX_PAGES);
    const pageBytes = Math.min(Math.floor(ringBytes / this.pages), MAX_PAGE_SIZE * 2);
    this.pageUnits = Math.floor(pageBytes / 8);
    this.largest = Math.min(Math.floor(budget / LARGEST_FRACTION), (this.pageUnits - ENTRY_HEADER_UNITS) * 8);
    this.unitBits = Math.ceil(Math.log2(this.pageUnits));
    this.unitMask = 2 ** this.unitBits - 1;
    this.addressBits = this.unitBits + Math.ceil(Math.log2(this.pages));
    this.addressMask = 2 ** this.addressBits - 1;
  }

  /** Records held. */
  get entries(): number {
    return this.count;
  }

  /** Bytes allocated. */
  get memoryBytes(): number {
    return this.pageWords.length === 0
      ? 0
      : this.slots * BYTES_OF_SLOT + this.pageWords.length * this.pageUnits * 8;
  }

  /**
   * Whether there is a copy of the record of this key, which is then in `words`, `bytes` and `at`. Marks it as
   * referenced.
   */
  find(key: EncodedKey): boolean {
    const slot = this.slotOf(key);
    if (slot < 0) {
      if (this.largest > 0) this.misses++;
      return false;
    }
    const address = this.table[slot] & this.addressMask;
    const page = address >>> this.unitBits;
    const words = this.pageWords[page];
    const at = (address & this.unitMask) << 1;
    words[at - 1] |= REFERENCED;
    this.words = words;
    this.bytes = this.pageBytes[page];
    this.at = at;
    this.hits++;
    return true;
  }

  /**
   * Copies a record of this key, without its slack, in place of an older copy. One that is too large or was not offered
   * lately is not taken, but the older copy goes all the same. The record must not lie in the cache itself.
   */
  fill(key: EncodedKey, words: Int32Array, at: number): void {
    this.drop(key);
    const info = words[at + 1];
    const bytes = recordBytes(info & 0xff, info >>> 16, words[at + 2]);
    if (bytes > this.largest || (this.full && !this.isKnown(key))) return;
    const units = ENTRY_HEADER_UNITS + (bytes >> 3);
    if (this.pageWords.length === 0) this.start();
    this.makeRoom(units);

    const hash = key.hashLow;
    const page = this.pageWords[this.page];
    const to = (this.tail + ENTRY_HEADER_UNITS) << 1;
    page[to - 2] = hash;
    page[to - 1] = units << FLAG_BITS;
    const count = bytes >> 2;
    for (let i = 0; i < count; i++) page[to + i] = words[at + i];
    page[to + 1] = info & ~0xff00;
    const slot = this.freeSlot(hash);
    this.table[slot] = this.slotValue(hash, this.tail);
    this.tail += units;
    this.count++;
    this.fills++;
  }

  /** Whether this key was refused before, and hardly any other one since in its place; if not, it is now. */
  private isKnown({ hashLow, hashHigh }: EncodedKey): boolean {
    const at = hashLow & (this.slots - 1);
    const tag = hashHigh & 0xff;
    if (this.refusals[at] === tag) return true;
    this.refusals[at] = tag;
    this.refused++;
    return false;
  }

  /** Forgets the key, if it is there. */
  drop(key: EncodedKey): void {
    const slot = this.slotOf(key);
    if (slot >= 0) this.kill(slot);
  }

  /**
   * Forgets the records that are to be dropped, in `count` slots of the table from `from` on.
   * @returns where to go on; `undefined` when that was all
   */
  dropWhere(
    isToBeDropped: (words: Int32Array, at: number) => boolean,
    from: number,
    count: number,
  ): number | undefined {
    const { table, addressMask, pageWords, unitBits, unitMask } = this;
    const end = Math.min(from + count, table.length);
    for (let slot = from; slot < end; slot++) {
      if (table[slot] === 0) continue;
      const address = table[slot] & addressMask;
      if (isToBeDropped(pageWords[address >>> unitBits], (address & unitMask) << 1)) this.kill(slot);
    }
    return end < table.length ? end : undefined;
  }

  /** Forgets everything; what is allocated stays so for what comes. */
  clear(): void {
    this.count = 0;
    this.full = false;
    this.table.fill(0);
    this.ends.fill(0);
    if (this.pageWords.length > 0) this.enter(0);
  }

  /** Index of the slot of this key, or -1. */
  private slotOf(key: EncodedKey): number {
    const hash = key.hashLow;
    const table = this.table;
    const addressBits = this.addressBits;
    const first = (hash & this.bucketMask) << WAY_BITS;
    for (let slot = first; slot < first + WAYS; slot++) {
      const value = table[slot];
      if ((value ^ hash) >>> addressBits !== 0 || value === 0) continue;
      const address = value & this.addressMask;
      const words = this.pageWords[address >>> this.unitBits];
      const at = (address & this.unitMask) << 1;
      if (words[at - 2] === hash && hasKey(words, at, key)) return slot;
    }
    return -1;
  }

  /** A slot for an entry that begins at this unit of the page being filled. */
  private slotValue(hash: number, unit: number): number {
    const address = (this.page << this.unitBits) | (unit + ENTRY_HEADER_UNITS);
    return (hash & ~this.addressMask) | address;
  }

  /** Index of an empty slot in the bucket of this hash, if need be one that is emptied. */
  private freeSlot(hash: number): number {
    const first = (hash & this.bucketMask) << WAY_BITS;
    const tail = (this.page << this.unitBits) | this.tail;
    let victim = first;
    let oldest = Infinity;
    for (let slot = first; slot < first + WAYS; slot++) {
      const value = this.table[slot];
      if (value === 0) return slot;
      const address = value & this.addressMask;
      const at = (address & this.unitMask) << 1;
      const referenced = this.pageWords[address >>> this.unitBits][at - 1] & REFERENCED;
      // The way from the tail round the ring: short where the entry is old.
      const order = ((address - tail) & this.addressMask) + referenced * 2 ** this.addressBits;
      if (order >= oldest) continue;
      oldest = order;
      victim = slot;
    }
    this.kill(victim);
    this.evictions++;
    return victim;
  }

  /** Empties a slot and marks its entry as dead. */
  private kill(slot: number): void {
    const address = this.table[slot] & this.addressMask;
    this.pageWords[address >>> this.unitBits][((address & this.unitMask) << 1) - 1] |= DEAD;
    this.table[slot] = 0;
    this.count--;
  }

  /** Lets old entries go until there are so many free units at the tail. */
  private makeRoom(units: number): void {
    // Ends: what is passed over either makes room or uses up the chances, and any empty page has room enough.
    let chances = units * CHANCE_FACTOR;
    for (;;) {
      while (this.head < this.end && this.head - this.tail < units) chances -= this.passOldest(chances > 0);
      if (this.pageUnits - this.tail >= units) return;
      this.ends[this.page] = this.tail;
      this.full ||= this.page + 1 === this.pages;
      this.enter(this.page + 1 < this.pages ? this.page + 1 : 0);
    }
  }

  /**
   * Takes the oldest entry away, or moves it to the tail when it is referenced and may stay.
   * @returns units of it that stayed
   */
  private passOldest(mayStay: boolean): number {
    const words = this.pageWords[this.page];
    const unit = this.head;
    const at = unit << 1;
    const info = words[at + 1];
    const units = info >>> FLAG_BITS;
    this.head += units;
    if ((info & DEAD) !== 0) return 0;
    const hash = words[at];
    const value = this.slotValue(hash, unit);
    const slot = this.table.indexOf(value, (hash & this.bucketMask) << WAY_BITS);
    if (!mayStay || (info & REFERENCED) === 0) {
      this.table[slot] = 0;
      this.count--;
      this.evictions++;
      return 0;
    }
    if (this.tail < unit) words.copyWithin(this.tail << 1, at, at + (units << 1));
    words[(this.tail << 1) + 1] = units << FLAG_BITS;
    this.table[slot] = this.slotValue(hash, this.tail);
    this.tail += units;
    this.secondChances++;
    return units;
  }

  private start(): void {
    this.table = new Int32Array(this.slots);
    this.refusals = new Uint8Array(this.slots);
    this.bucketMask = this.slots / WAYS - 1;
    this.enter(0);
  }

  /** Goes on at the start of a page, which holds nothing yet or the oldest entries of all. */
  private enter(page: number): void {
    if (page === this.pageWords.length) {
      const bytes = Buffer.alloc(this.pageUnits * 8);
      this.pageBytes.push(bytes);
      this.pageWords.push(new Int32Array(bytes.buffer, bytes.byteOffset, this.pageUnits * 2));
      this.ends.push(0);
    }
    this.page = page;
    this.tail = 0;
    this.head = 0;
    this.end = this.ends[page];
  }
}
