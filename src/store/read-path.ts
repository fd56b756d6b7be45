/**
 * From a key to its newest record: hash index → hybrid log in memory → one device read a record on disk. The part in
 * memory is synchronous and leaves its result in fields, so that a hit allocates nothing; whoever goes to disk copies
 * the key before and looks again afterwards where it matters. Hot path (`npm run bench`, reads).
 */
import type { EncodedKey } from '../codec/key-codec.js';
import type { HashIndex } from '../hot/hash-index.js';
import { sizeClassOf } from '../log/size-class.js';
import type { DiskRecord, HybridLog } from '../log/hybrid-log.js';
import { MAX_DISK_READS } from '../limits.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import {
  expiryOf,
  keyLengthOf,
  KIND_MASK,
  KIND_VALUE,
  previousOf,
  sequenceOf,
  valueOffset,
} from '../log/record.js';
import type { Space } from './spaces.js';
import type { Versions } from './versions.js';

/** Where a look-up in memory ended. */
export const ABSENT = 0;
export const IN_MEMORY = 1;
/** The chain goes on below the head of the log: `address` is its first record there. */
export const ON_DISK = 2;
export type Where = typeof ABSENT | typeof IN_MEMORY | typeof ON_DISK;

/** Size class read for a record whose length no index entry tells: 512 bytes. */
const GUESSED_CLASS = sizeClassOf(512);

/** A record somewhere in memory: in a page, or read from disk. */
export interface RecordRef {
  words: Int32Array;
  bytes: Uint8Array;
  /** Index of its first word. */
  at: number;
}

export class ReadPath {
  // Result of the last `find`.
  where: Where = ABSENT;
  address: LogAddress = NO_ADDRESS;
  words: Int32Array = new Int32Array(0);
  bytes: Uint8Array = new Uint8Array(0);
  at = 0;
  /** Newest record of the chain, whosever it is. */
  chainHead: LogAddress = NO_ADDRESS;
  sizeClass = 0;
  // Counters.
  memoryHits = 0;
  diskHits = 0;
  misses = 0;
  /** Look-ups on disk that have not ended, and those among them that wait for their turn. */
  private pending = 0;
  private readonly queue: (() => void)[] = [];
  private queueHead = 0;
  private whenIdle: (() => void)[] = [];

  constructor(
    private readonly index: HashIndex,
    private readonly log: HybridLog,
    private readonly versions: Versions,
  ) {}

  /** Looks a key up as far as memory goes; `address`, `words`, `bytes` and `at` tell where it is. */
  find(key: EncodedKey): Where {
    return (this.where = this.walk(key));
  }

  private walk(key: EncodedKey): Where {
    const log = this.log;
    let address = this.index.find(key.hashLow);
    this.chainHead = address;
    while (address !== NO_ADDRESS) {
      if (address < log.head) {
        if (address < log.begin) return ABSENT;
        this.address = address;
        this.sizeClass = address === this.chainHead ? this.index.foundSizeClass() : GUESSED_CLASS;
        return ON_DISK;
      }
      const words = log.ring.wordsAt(address);
      const at = log.ring.wordOffset(address);
      if (hasKey(words, at, key)) {
        this.address = address;
        this.words = words;
        this.bytes = log.ring.bytesAt(address);
        this.at = at;
        return IN_MEMORY;
      }
      address = previousOf(words, at);
    }
    return ABSENT;
  }

  /**
   * Follows a chain on disk from where `find` left it.
   * @returns the newest record of the key, dead or alive, or `undefined`
   * @throws KvCorruptionError at a damaged record: what lies behind it is older, and would be a wrong answer
   */
  async findOnDisk(key: EncodedKey, from: LogAddress, sizeClass: number): Promise<DiskRecord | undefined> {
    this.pending++;
    if (this.pending > MAX_DISK_READS) await new Promise<void>((resolve) => this.queue.push(resolve));
    try {
      return await this.followOnDisk(key, from, sizeClass);
    } finally {
      this.pending--;
      this.wakeNext();
      if (this.pending === 0) for (const resolve of this.whenIdle.splice(0)) resolve();
    }
  }

  /** First come, first served; not `shift()`, which moves a long queue each time. */
  private wakeNext(): void {
    if (this.queueHead === this.queue.length) return;
    this.queue[this.queueHead++]();
    if (this.queueHead < this.queue.length) return;
    this.queue.length = 0;
    this.queueHead = 0;
  }

  private async followOnDisk(
    key: EncodedKey,
    from: LogAddress,
    sizeClass: number,
  ): Promise<DiskRecord | undefined> {
    let address = from;
    let read = sizeClass;
    while (address !== NO_ADDRESS && address >= this.log.begin) {
      const record = await this.log.readRecord(address, read);
      if (hasKey(record.words, record.at, key)) return record;
      address = previousOf(record.words, record.at);
      read = GUESSED_CLASS;
    }
    return undefined;
  }

  /** Resolves when no read from disk is under way. */
  idle(): Promise<void> {
    return this.pending === 0 ? Promise.resolve() : new Promise((resolve) => this.whenIdle.push(resolve));
  }

  /** Whether a record is a value that is neither cleared nor expired. */
  isAlive(words: Int32Array, at: number, space: Space): boolean {
    if ((words[at + 1] & KIND_MASK) !== KIND_VALUE) return false;
    if (space.clearedBelow > 0 && sequenceOf(words, at) < space.clearedBelow) return false;
    const expiry = expiryOf(words, at);
    return expiry === Infinity || expiry > this.versions.now();
  }
}

/** Index of the first byte of a record's value. */
export function valueStart(words: Int32Array, at: number): number {
  return at * 4 + valueOffset(words[at + 1] & 0xff, keyLengthOf(words, at));
}

function hasKey(words: Int32Array, at: number, key: EncodedKey): boolean {
  const info = words[at + 1];
  const length = key.length;
  if (info >>> 16 !== length) return false;
  // A key lies behind the header, which is 2 words longer with an expiry.
  const start = at + (valueOffset(info & 0xff, 0) >> 2);
  const keyWords = key.words;
  const count = (length + 3) >> 2;
  for (let i = 0; i < count; i++) {
    if (words[start + i] !== keyWords[i]) return false;
  }
  return true;
}
