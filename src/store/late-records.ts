/**
 * Records that were read from the log behind the last hint, and go into the hot index after what the hints have: late, as
 * they do. Only then is it known which of them are new.
 */
import type { ColdTier } from '../cold/cold-tier.js';
import { rangeOf, RANGES } from '../hot/index-rows.js';
import type { LateIndex, LateSource } from '../hot/late-rows.js';
import type { LogAddress } from '../log/address.js';
import type { Spaces } from './spaces.js';
import type { DeadHashes } from './dead-hashes.js';
import { enterHot, type StagedRecord } from './staged-records.js';

/** So many are kept: there are more only where a hint is missing. */
const MAX_RECORDS = 256 * 1024;
const FIRST_RECORDS = 4096;

/**
 * Of each record: hash low and high, flags and space, bytes, how often its space had been cleared (-1 for a record that was
 * cleared itself), the next of its range.
 */
const WORDS = 6;
const CLEARS = 4;
const NEXT = 5;

const NONE = -1;

export class LateRecords implements LateSource {
  count = 0;
  private numbers: Int32Array = new Int32Array(FIRST_RECORDS * WORDS);
  private addresses: Float64Array = new Float64Array(FIRST_RECORDS);
  /** Of each range the first and the last record. */
  private readonly first = new Int32Array(RANGES).fill(NONE);
  private readonly last = new Int32Array(RANGES).fill(NONE);

  constructor(
    private readonly spaces: Spaces,
    private readonly cold: ColdTier | undefined,
    private readonly dead: DeadHashes,
  ) {}

  get isFull(): boolean {
    return this.count === MAX_RECORDS;
  }

  add({ low, high, flags, space, bytes, address, isCleared }: StagedRecord): void {
    if (this.count === this.addresses.length) this.grow();
    const record = this.count++;
    const { numbers } = this;
    const at = record * WORDS;
    numbers[at] = low;
    numbers[at + 1] = high;
    numbers[at + 2] = flags | (space << 8);
    numbers[at + 3] = bytes;
    numbers[at + CLEARS] = isCleared ? NONE : this.spaces.get(space).clears;
    numbers[at + NEXT] = NONE;
    this.addresses[record] = address;
    const range = rangeOf(low);
    const before = this.last[range];
    if (before === NONE) this.first[range] = record;
    else numbers[before * WORDS + NEXT] = record;
    this.last[range] = record;
  }

  enter(index: LateIndex, range: number): void {
    const { cold, dead, numbers, spaces } = this;
    for (let record = this.first[range]; record !== NONE; record = numbers[record * WORDS + NEXT]) {
      const at = record * WORDS;
      const space = spaces.get(numbers[at + 2] >>> 8);
      const entered = {
        low: numbers[at],
        high: numbers[at + 1],
        flags: numbers[at + 2] & 0xff,
        bytes: numbers[at + 3],
        address: this.addresses[record] as LogAddress,
        // What was written before its space was cleared counts no more.
        isCleared: space.clears !== numbers[at + CLEARS],
      };
      enterHot(entered, index, space, cold, dead);
    }
  }

  private grow(): void {
    const { addresses, numbers } = this;
    this.numbers = new Int32Array(numbers.length * 2);
    this.numbers.set(numbers);
    this.addresses = new Float64Array(addresses.length * 2);
    this.addresses.set(addresses);
  }
}
