/**
 * Invalidated tags: of each the version of the last mark, below which every entry that carries the tag is dead, wherever
 * its record lies. So an invalidation costs one logged mark, and a look-up of a tagged entry asks here.
 *
 * A tag is known by its keyed hash of 64 bits, so that entries carry eight bytes each and strangers who choose tags cannot
 * make two alike. One that is invalidated within a namespace alone is known by another hash than in the whole store.
 *
 * A mark is forgotten once compaction has passed everything it covers: first the hot log up to where the mark was made,
 * then the cold log up to where it ended by then, because what was copied until then may be covered; and once what was
 * covered has left the caches (`DurableSteps.forgetTags`). After a restart all of them start over: that keeps some longer
 * than needed, and needs nothing on disk but hash and version.
 */
import { ATTRIBUTE_WORDS, tagCountOf, WORDS_PER_TAG } from '../log/attributes.js';

/** Where the logs begin and end. */
export interface LogEnds {
  hotBegin: number;
  coldBegin: number;
  coldTail: number;
}

/** Bytes of a slot: hash, version, and two addresses. */
const SLOT_BYTES = 32;
const FIRST_SLOTS = 64;
/** Numbers of a mark in a checkpoint. */
const STATE_NUMBERS = 3;

export class TagMarks {
  /** Marks that are kept. */
  count = 0;
  /** Version of the last mark of any tag. */
  lastVersion = 0;
  /** Version of the last mark that was forgotten. */
  forgotten = 0;
  // Open addressing, at most half full; a version of 0 is an empty slot.
  private lows = new Int32Array(0);
  private highs = new Int32Array(0);
  private versions = new Float64Array(0);
  private hotEnds = new Float64Array(0);
  private coldEnds = new Float64Array(0);

  get memoryBytes(): number {
    return this.lows.length * SLOT_BYTES;
  }

  /**
   * Enters the mark of a tag, unless a later one is known.
   * @param hotEnd address in the hot log above which no covered record lies; `Infinity` while the store is opened
   */
  mark(low: number, high: number, version: number, hotEnd = Infinity): void {
    this.lastVersion = Math.max(this.lastVersion, version);
    if (this.count * 2 >= this.lows.length) this.resize(Math.max(FIRST_SLOTS, this.lows.length * 2));
    const slot = this.slotOf(low, high);
    if (version <= this.versions[slot]) return;
    if (this.versions[slot] === 0) this.count++;
    this.set(slot, low, high, version, hotEnd, Infinity);
  }

  /** Version of the last mark of a tag; 0 without one. */
  versionOf(low: number, high: number): number {
    return this.count === 0 ? 0 : this.versions[this.slotOf(low, high)];
  }

  /**
   * Whether an entry with these attributes is dead by one of its tags.
   * @param from index of the first word of the attributes
   * @param version of the entry
   * @param space number of its key space
   */
  areDead(words: Int32Array, from: number, version: number, space: number): boolean {
    if (this.count === 0) return false;
    const end = from + ATTRIBUTE_WORDS + tagCountOf(words, from) * WORDS_PER_TAG;
    for (let i = from + ATTRIBUTE_WORDS; i < end; i += WORDS_PER_TAG) {
      const low = words[i];
      const high = words[i + 1];
      if (this.versions[this.slotOf(low, high)] > version) return true;
      if (this.versions[this.slotOf(lowWithin(low, space), highWithin(high, space))] > version) return true;
    }
    return false;
  }

  /** The store is open: what was marked until now covers nothing behind this end of the hot log. */
  opened(hotTail: number): void {
    for (let slot = 0; slot < this.hotEnds.length; slot++)
      this.hotEnds[slot] = Math.min(this.hotEnds[slot], hotTail);
  }

  /**
   * Whether compaction has passed all that some mark covers. What is kept of covered entries in memory has to go before
   * `forget` is called.
   */
  passed({ hotBegin, coldBegin, coldTail }: LogEnds): boolean {
    let passed = false;
    for (let slot = 0; slot < this.versions.length; slot++) {
      if (this.versions[slot] === 0 || this.hotEnds[slot] > hotBegin) continue;
      if (this.coldEnds[slot] === Infinity) this.coldEnds[slot] = coldTail;
      passed ||= this.coldEnds[slot] <= coldBegin;
    }
    return passed;
  }

  /** Forgets the marks of which compaction has passed all that they cover. */
  forget(coldBegin: number): void {
    let kept = 0;
    for (let slot = 0; slot < this.versions.length; slot++) {
      if (this.versions[slot] === 0) continue;
      if (this.coldEnds[slot] > coldBegin) kept++;
      else this.forgotten = Math.max(this.forgotten, this.versions[slot]);
    }
    this.count = kept;
    this.resize(slotsFor(kept), coldBegin);
  }

  /**
   * Hash and version of each mark, for a checkpoint or a hint: as text, because there may be very many.
   * @param version marks up to this one are left out
   */
  stateSince(version: number): string {
    if (version >= this.lastVersion) return '';
    const numbers = new Float64Array(this.count * STATE_NUMBERS);
    let to = 0;
    for (let slot = 0; slot < this.versions.length; slot++) {
      if (this.versions[slot] <= version) continue;
      numbers[to++] = this.lows[slot];
      numbers[to++] = this.highs[slot];
      numbers[to++] = this.versions[slot];
    }
    return Buffer.from(numbers.buffer, 0, to * 8).toString('base64');
  }

  restore(state: string): void {
    const bytes = Uint8Array.from(Buffer.from(state, 'base64'));
    const numbers = new Float64Array(bytes.buffer);
    for (let i = 0; i < numbers.length; i += STATE_NUMBERS)
      this.mark(numbers[i], numbers[i + 1], numbers[i + 2]);
  }

  private slotOf(low: number, high: number): number {
    const { lows, highs, versions } = this;
    const mask = lows.length - 1;
    let slot = low & mask;
    while (versions[slot] !== 0 && (lows[slot] !== low || highs[slot] !== high)) slot = (slot + 1) & mask;
    return slot;
  }

  private set(slot: number, low: number, high: number, version: number, hotEnd: number, coldEnd: number) {
    this.lows[slot] = low;
    this.highs[slot] = high;
    this.versions[slot] = version;
    this.hotEnds[slot] = hotEnd;
    this.coldEnds[slot] = coldEnd;
  }

  /** @param coldBegin marks that end there are left out */
  private resize(slots: number, coldBegin = 0): void {
    const { lows, highs, versions, hotEnds, coldEnds } = this;
    this.lows = new Int32Array(slots);
    this.highs = new Int32Array(slots);
    this.versions = new Float64Array(slots);
    this.hotEnds = new Float64Array(slots);
    this.coldEnds = new Float64Array(slots);
    for (let old = 0; old < versions.length; old++) {
      if (versions[old] === 0 || coldEnds[old] <= coldBegin) continue;
      const slot = this.slotOf(lows[old], highs[old]);
      this.set(slot, lows[old], highs[old], versions[old], hotEnds[old], coldEnds[old]);
    }
  }
}

/** Slots for so many marks. */
function slotsFor(count: number): number {
  if (count === 0) return 0;
  return Math.max(FIRST_SLOTS, 2 ** Math.ceil(Math.log2(count * 2 + 1)));
}

/** The hash of a tag as it is known within one key space alone; the constants only spread. */
export function lowWithin(low: number, space: number): number {
  return low ^ Math.imul(space + 1, 0x9e3779b1);
}

export function highWithin(high: number, space: number): number {
  return high ^ Math.imul(space + 1, 0x85ebca6b);
}
