/**
 * What recovery does with records: those of a range are staged in compact rows (a commit may close very many of them),
 * and go into an index once the range's commit record was seen.
 */
import type { KeyedHash } from '../codec/keyed-hash.js';
import type { ColdTier } from '../cold/cold-tier.js';
import type { HashIndex } from '../hot/hash-index.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import {
  FLAG_ATTRIBUTES,
  FLAG_EXTENTS,
  keyLengthOf,
  KIND_CHUNK,
  KIND_CLEAR,
  KIND_EXTENT,
  KIND_FILLER,
  KIND_MASK,
  KIND_TOMBSTONE,
  sequenceOf,
} from '../log/record.js';
import { keptUntil } from '../log/attributes.js';
import { ExtentList } from '../log/extents.js';
import { keyStart, spaceOf } from '../log/record-key.js';
import type { DeadHashes } from './dead-hashes.js';
import type { RecoverySink } from './recovery.js';
import { sizeClassOf } from '../log/size-class.js';
import type { Space, Spaces } from './spaces.js';

/** A record as its row has it. */
export interface StagedRecord {
  low: number;
  high: number;
  address: LogAddress;
  /** Bytes of the record, extents included. */
  bytes: number;
  flags: number;
  space: number;
  /** When it need not be kept any longer. */
  expiresAt: number;
  /** Whether it is of a space that was cleared since it was written. */
  isCleared: boolean;
}

/** Room for so few, because a store that was closed has none; it doubles. */
const FIRST_ROWS = 64;

/** Records whose buckets are fetched from memory at once: more than the processor keeps under way at a time. */
const TOUCHED_AHEAD = 32;

/** A record that lists extents is as long as the list. */
const GUESSED_CLASS = sizeClassOf(512);

export class StagedRecords implements RecoverySink {
  private rows = 0;
  /** Where the first of them lies, or a mark in front of it. */
  private rangeFrom: LogAddress = NO_ADDRESS;
  /** Hash low and high, bytes, flags and space of each row. */
  private numbers: Int32Array = new Int32Array(FIRST_ROWS * 4);
  /** Address, expiry and version of each row. */
  private wide: Float64Array = new Float64Array(FIRST_ROWS * 3);
  /** Marks concern versions, so where they stand does not matter: a record in front of one may have been changed in place since. */
  private readonly clears: { space: number | undefined; version: number }[] = [];
  private readonly tags: { low: number; high: number; version: number }[] = [];
  private readonly row: StagedRecord = {
    low: 0,
    high: 0,
    address: 0 as LogAddress,
    bytes: 0,
    flags: 0,
    space: 0,
    expiresAt: 0,
    isCleared: false,
  };

  /**
   * @param enter takes a record into an index; the row is used again by the next one. What it returns is waited for.
   * @param touch is called with the hash of each record a little before `enter`
   * @param isHot whether they are of the hot log
   */
  constructor(
    private readonly hash: KeyedHash,
    private readonly spaces: Spaces,
    private readonly enter: (record: StagedRecord) => Promise<void> | undefined,
    private readonly touch: (low: number) => unknown = () => undefined,
    private readonly isHot = false,
  ) {}

  stage(words: Int32Array, at: number, address: LogAddress, bytes: number): void {
    if (this.rows === 0 && this.clears.length === 0) this.rangeFrom = address;
    const flags = words[at + 1] & 0xff;
    const kind = flags & KIND_MASK;
    if (kind === KIND_FILLER || kind === KIND_EXTENT || kind === KIND_CHUNK) return;
    const key = keyStart(words, at);
    const length = keyLengthOf(words, at);
    if (kind === KIND_CLEAR && (flags & FLAG_ATTRIBUTES) !== 0) {
      this.tags.push({ low: words[key], high: words[key + 1], version: sequenceOf(words, at) });
      return;
    }
    if (kind === KIND_CLEAR) {
      const space = length === 0 ? undefined : spaceOf(words[key]);
      this.clears.push({ space, version: sequenceOf(words, at) });
      return;
    }
    if (this.rows * 3 === this.wide.length) this.grow();
    this.hash.hash(words, length, key);
    const number = this.rows * 4;
    this.numbers[number] = this.hash.low;
    this.numbers[number + 1] = this.hash.high;
    this.numbers[number + 2] =
      (flags & FLAG_EXTENTS) === 0 ? bytes : bytes + new ExtentList(words, at).recordBytes;
    this.numbers[number + 3] = flags | (spaceOf(words[key]) << 8);
    this.wide[this.rows * 3] = address;
    this.wide[this.rows * 3 + 1] = keptUntil(words, at);
    this.wide[this.rows * 3 + 2] = sequenceOf(words, at);
    this.rows++;
  }

  async apply(): Promise<void> {
    const { numbers, wide, row, spaces, touch } = this;
    // A commit seals everything before it, so what a record in front of this range says is older than a mark in it.
    const deadBelow = this.isHot ? this.rangeFrom : NO_ADDRESS;
    for (const { space, version } of this.clears) spaces.clear(space, version, deadBelow);
    for (let i = 0; i < this.rows; i++) {
      if (i % TOUCHED_AHEAD === 0) {
        const end = Math.min(i + TOUCHED_AHEAD, this.rows);
        for (let ahead = i; ahead < end; ahead++) touch(numbers[ahead * 4]);
      }
      row.low = numbers[i * 4];
      row.high = numbers[i * 4 + 1];
      row.bytes = numbers[i * 4 + 2];
      row.flags = numbers[i * 4 + 3] & 0xff;
      row.space = numbers[i * 4 + 3] >>> 8;
      row.address = wide[i * 3] as LogAddress;
      row.expiresAt = wide[i * 3 + 1];
      row.isCleared = wide[i * 3 + 2] < spaces.get(row.space).clearedBelow;
      const waiting = this.enter(row);
      if (waiting) await waiting;
    }
    for (const { low, high, version } of this.tags) spaces.tags.mark(low, high, version);
    this.rows = 0;
    this.clears.length = 0;
    this.tags.length = 0;
  }

  private grow(): void {
    const { numbers, wide } = this;
    this.numbers = new Int32Array(numbers.length * 2);
    this.numbers.set(numbers);
    this.wide = new Float64Array(wide.length * 2);
    this.wide.set(wide);
  }
}

/** Size class that the index has for a record of the hot log. */
export function classInIndex({ bytes, flags }: Pick<StagedRecord, 'bytes' | 'flags'>): number {
  return (flags & FLAG_EXTENTS) === 0 ? sizeClassOf(bytes) : GUESSED_CLASS;
}

/**
 * Takes a record of the hot log into the hot index.
 * @param space whose keys it counts for
 * @param dead what is known of records before it, in both logs
 */
export function enterHot(
  record: Omit<StagedRecord, 'space' | 'expiresAt'>,
  index: Pick<HashIndex, 'find' | 'put'>,
  space: Space,
  cold: ColdTier | undefined,
  dead: DeadHashes,
): void {
  const { low, high, address, flags, isCleared } = record;
  const before = index.find(low);
  const { deadBelow } = space;
  const wasKey =
    !dead.has(low) &&
    (before === NO_ADDRESS
      ? deadBelow === NO_ADDRESS && (cold?.index.mayHold(low, high) ?? false)
      : before >= deadBelow);
  index.put(low, address, classInIndex(record));
  const isKey = (flags & KIND_MASK) !== KIND_TOMBSTONE && !isCleared;
  dead.note(low, isKey);
  // A tombstone that stands alone was a value first, and was changed in place.
  if (isKey) space.keys += wasKey ? 0 : 1;
  else if (wasKey && !isCleared && space.keys > 0) space.keys--;
}
