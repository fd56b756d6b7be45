/**
 * From a key to its newest record: hot index → hot log in memory → read cache → hot log on disk → cold index → cold log.
 * What memory can answer is synchronous and leaves its result in fields, so that a hit allocates nothing; so is a read
 * from disk that the pacer lets block. Whoever has to wait copies the key before, and looks again afterwards where the
 * logs were truncated in the meantime. Hot path (`npm run bench`, reads).
 */
import type { EncodedKey } from '../codec/key-codec.js';
import type { ColdTier } from '../cold/cold-tier.js';
import { KvCorruptionError } from '../errors.js';
import type { HashIndex } from '../hot/hash-index.js';
import type { ReadCache } from '../hot/read-cache.js';
import { MAX_DISK_READS } from '../limits.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { ExtentList } from '../log/extents.js';
import { inMemory, type HybridLog } from '../log/hybrid-log.js';
import { keptUntil } from '../log/attributes.js';
import {
  expiryOf,
  FLAG_ATTRIBUTES,
  FLAG_EXTENTS,
  KIND_MASK,
  KIND_VALUE,
  previousOf,
  sequenceOf,
  totalBytes,
} from '../log/record.js';
import { sizeClassOf } from '../log/size-class.js';
import { hasKey } from '../log/record-key.js';
import type { Space } from './spaces.js';
import type { Versions } from './versions.js';

/** Where a look-up in the hot log ended. */
export const ABSENT = 0;
export const IN_MEMORY = 1;
/** The chain goes on below the head of the log: `address` is its first record there. */
export const ON_DISK = 2;
export type Where = typeof ABSENT | typeof IN_MEMORY | typeof ON_DISK;

/** How far a look-up beyond memory came without waiting. */
export const NOTHING = 0;
export const FOUND = 1;
export const WAIT = 2;
export type Further = typeof NOTHING | typeof FOUND | typeof WAIT;

/** Where records are found. */
export const FROM_MEMORY = 0;
export const FROM_CACHE = 1;
export const FROM_DISK = 2;
export const FROM_COLD = 3;
export const FROM_DECODED = 4;

/** The read size of a record that is not at the head of its chain: its size class is not known. */
const GUESSED_CLASS = sizeClassOf(512);

/**
 * So often somebody who could not read at once waits for the next turn and begins anew, before he goes his way read by read:
 * a long chain may take more reads than fit into a turn.
 */
export const MOST_TRIES = 16;

/** A record somewhere in memory: in a page, or read from disk. */
export interface RecordRef {
  words: Int32Array;
  bytes: Uint8Array;
  /** Index of its first word. */
  at: number;
  /** The value, if it lies in extents and was gathered. */
  value?: Uint8Array | undefined;
}

/** A record that had to be waited for, and what the hot log looked like when it was looked for. */
export interface Loaded {
  record: RecordRef | undefined;
  /** Of the newest record, also where the pieces of its value are forgotten; 0 where there is none. */
  version: number;
  source: number;
  where: Where;
  address: LogAddress;
  truncations: number;
}

/** A record with the log that its extents lie in. */
interface Located extends RecordRef {
  log: HybridLog;
  source: number;
}

export class ReadPath {
  // Result of the last `find`.
  where: Where = ABSENT;
  address: LogAddress = NO_ADDRESS;
  /** Newest record of the chain, whosever it is. */
  chainHead: LogAddress = NO_ADDRESS;
  sizeClass = 0;
  // Result of the last `find` or `tryFurther` that found something.
  words: Int32Array = new Int32Array(0);
  bytes: Uint8Array = new Uint8Array(0);
  at = 0;
  /** How often a log was truncated: an absence found before is looked at again. */
  truncations = 0;
  /** Where it was found: an index of `hits`. */
  source = FROM_MEMORY;
  /** Reads that found a living value, by where: hot memory, read cache, hot log on disk, cold log, decoded. */
  readonly hits = new Float64Array(5);
  misses = 0;
  /** Has the cold index mended; resolves once it is. */
  mend: () => Promise<void> = () => Promise.resolve();
  /** Look-ups on disk that have not ended, and those among them that wait for their turn. */
  private pending = 0;
  private readonly queue: (() => void)[] = [];
  private queueHead = 0;
  private whenIdle: (() => void)[] = [];

  constructor(
    private readonly index: HashIndex,
    private readonly log: HybridLog,
    private readonly cache: ReadCache,
    /** Missing on a device that cannot be read back. */
    private readonly cold: ColdTier | undefined,
    private readonly versions: Versions,
  ) {}

  /** Looks a key up in the hot log as far as memory goes; `address`, `words`, `bytes` and `at` tell where it is. */
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
        this.source = FROM_MEMORY;
        return IN_MEMORY;
      }
      address = previousOf(words, at);
    }
    return ABSENT;
  }

  /** Whether a key that is not in the hot log may be in the cold one. Seldom wrong; no disk, once the index is loaded. */
  mayBeCold(key: EncodedKey): boolean {
    return this.cold?.index.mayHold(key.hashLow, key.hashHigh) ?? false;
  }

  /** Behind a `find` that did not end in memory: looks further as long as nobody has to wait. */
  tryFurther(key: EncodedKey): Further {
    if (this.findCached(key)) return FOUND;
    if (this.where === ON_DISK) {
      const further = this.tryChain(key, this.log, this.address, this.sizeClass);
      this.source = FROM_DISK;
      if (further !== NOTHING) return further;
    }
    return this.tryCold(key);
  }

  /** Looks into the read cache, behind a `find` that did not end in memory. */
  findCached(key: EncodedKey): boolean {
    const { cache } = this;
    if (!cache.find(key)) return false;
    this.words = cache.words;
    this.bytes = cache.bytes;
    this.at = cache.at;
    this.source = FROM_CACHE;
    return true;
  }

  private tryChain(key: EncodedKey, log: HybridLog, from: LogAddress, sizeClass: number): Further {
    let address = from;
    let read = sizeClass;
    while (address !== NO_ADDRESS && address >= log.begin) {
      const record = log.tryReadRecord(address, read);
      if (!record) return WAIT;
      if (hasKey(record.words, record.at, key)) return this.foundOnDisk(key, record);
      address = previousOf(record.words, record.at);
      read = GUESSED_CLASS;
    }
    return NOTHING;
  }

  private tryCold(key: EncodedKey): Further {
    const { cold } = this;
    if (!cold?.index.mayHold(key.hashLow, key.hashHigh)) return NOTHING;
    const candidates = cold.index.tryFind(key.hashLow, key.hashHigh);
    if (!candidates) return WAIT;
    const { log } = cold.log;
    for (let i = 0; i < candidates.count; i++) {
      const address = candidates.addresses[i] as LogAddress;
      const record =
        address >= log.head ? inMemory(log, address) : log.tryReadRecord(address, candidates.sizeClasses[i]);
      if (!record) return WAIT;
      if (!hasKey(record.words, record.at, key)) continue;
      this.source = FROM_COLD;
      return this.foundOnDisk(key, record);
    }
    return NOTHING;
  }

  private foundOnDisk(key: EncodedKey, record: RecordRef): Further {
    this.words = record.words;
    this.bytes = record.bytes;
    this.at = record.at;
    this.keep(key, record);
    return FOUND;
  }

  /** Puts a record of a key that is not in the hot log's memory into the read cache. */
  private keep(key: EncodedKey, record: RecordRef): void {
    if ((record.words[record.at + 1] & FLAG_EXTENTS) === 0) this.cache.fill(key, record.words, record.at);
  }

  /** A key is about to be written whose newest record is not in memory. */
  forget(key: EncodedKey): void {
    this.cache.drop(key);
  }

  /**
   * Looks a key up wherever it is, value included. Where a chunk of the cold index is damaged, it waits until that was made
   * anew from the log.
   * @param key a copy of its own
   * @returns with the newest record, dead or alive; valid until somebody else uses the store
   * @throws KvCorruptionError at a damaged record: what lies behind it is older, and would be a wrong answer
   */
  async load(key: EncodedKey): Promise<Loaded> {
    const turn = this.begin();
    if (turn) await turn;
    let mended = false;
    try {
      for (;;) {
        let where = this.find(key);
        let { address, truncations } = this;
        try {
          let further: Further = WAIT;
          for (let tries = 0, turned; tries < MOST_TRIES && further === WAIT; tries++) {
            // Too much was read at once: after a turn of the event loop it may go on so, which beats the thread pool.
            if (where === IN_MEMORY || !(turned = this.log.turned())) break;
            await turned;
            where = this.find(key);
            ({ address, truncations } = this);
            if (where !== IN_MEMORY) further = this.tryFurther(key);
          }
          const found = further === WAIT ? await this.newest(key, where) : this.located(further);
          // What was truncated while we read has moved on: an absence means nothing then.
          if (!found && truncations !== this.truncations) continue;
          const record = found && (await this.gather(found)) ? found : undefined;
          // Nor does a tag: the mark by which the record is dead may be forgotten by now.
          if (found && truncations !== this.truncations && hasAttributes(found)) continue;
          const version = found ? sequenceOf(found.words, found.at) : 0;
          return { record, version, source: found?.source ?? FROM_MEMORY, where, address, truncations };
        } catch (error) {
          if (truncations !== this.truncations) continue;
          if (mended || !this.isMendable(error)) throw error;
          mended = true;
          await this.waitMended();
        }
      }
    } finally {
      this.end();
    }
  }

  private isMendable(error: unknown): boolean {
    return error instanceof KvCorruptionError && this.cold?.index.damage !== undefined;
  }

  /** So that those who wait do not take the places of others, who can read. */
  private async waitMended(): Promise<void> {
    this.end();
    try {
      await this.mend();
    } finally {
      await this.begin();
    }
  }

  private begin(): Promise<void> | undefined {
    if (++this.pending <= MAX_DISK_READS) return undefined;
    return new Promise<void>((resolve) => this.queue.push(resolve));
  }

  private end(): void {
    this.pending--;
    this.wakeNext();
    if (this.pending === 0) for (const resolve of this.whenIdle.splice(0)) resolve();
  }

  /** What `tryFurther` found, for a caller who will wait. */
  private located(further: Further): Located | undefined {
    if (further === NOTHING) return undefined;
    const { cold, log, source } = this;
    return { ...copyOf(this), log: cold && source === FROM_COLD ? cold.log.log : log, source };
  }

  private async newest(key: EncodedKey, where: Where): Promise<Located | undefined> {
    const { cache, cold, log, truncations, address } = this;
    if (where === IN_MEMORY) return { ...copyOf(this), log, source: FROM_MEMORY };
    if (cache.find(key)) return { ...copyOf(cache), log, source: FROM_CACHE };
    let found: Located | undefined;
    const hot = where === ON_DISK ? await this.followOnDisk(key, address, this.sizeClass) : undefined;
    if (hot) found = { ...hot, log, source: FROM_DISK };
    else if (cold) {
      const record = await this.findCold(key, cold);
      if (record) found = { ...record, log: cold.log.log, source: FROM_COLD };
    }
    if (!found) return undefined;
    // Only if nothing was written in the meantime: a cache that is filled with an old value would serve it.
    const same = this.find(key) === where && truncations === this.truncations;
    if (same && (where === ABSENT || this.address === address)) this.keep(key, found);
    return found;
  }

  private async followOnDisk(
    key: EncodedKey,
    from: LogAddress,
    sizeClass: number,
  ): Promise<RecordRef | undefined> {
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

  private async findCold(key: EncodedKey, { log: { log }, index }: ColdTier): Promise<RecordRef | undefined> {
    if (!index.mayHold(key.hashLow, key.hashHigh)) return undefined;
    const candidates = await index.find(key.hashLow, key.hashHigh);
    for (let i = 0; i < candidates.count; i++) {
      const address = candidates.addresses[i] as LogAddress;
      if (address < log.begin) return undefined;
      const record =
        address >= log.head
          ? copyOf(inMemory(log, address))
          : await log.readRecord(address, candidates.sizeClasses[i]);
      if (hasKey(record.words, record.at, key)) return record;
    }
    return undefined;
  }

  /** Reads a value that lies in extents. Resolves to whether the value is there. */
  private async gather(record: Located): Promise<boolean> {
    const { words, at, log } = record;
    if ((words[at + 1] & FLAG_EXTENTS) === 0) return true;
    record.value = await new ExtentList(words, at).read(log);
    if (record.value) return true;
    // A device that retains nothing has forgotten them.
    if (!this.cold) return false;
    throw new KvCorruptionError('The pieces of a value are gone', log.fileOf(log.begin), log.begin);
  }

  /** First come, first served; not `shift()`, which moves a long queue each time. */
  private wakeNext(): void {
    if (this.queueHead === this.queue.length) return;
    this.queue[this.queueHead++]();
    if (this.queueHead < this.queue.length) return;
    this.queue.length = 0;
    this.queueHead = 0;
  }

  /** Resolves when no read from disk is under way. */
  idle(): Promise<void> {
    return this.pending === 0 ? Promise.resolve() : new Promise((resolve) => this.whenIdle.push(resolve));
  }

  /** Whether a record is a value that is neither cleared, nor dead by a tag, nor expired. */
  isAlive(words: Int32Array, at: number, space: Space): boolean {
    if ((words[at + 1] & KIND_MASK) !== KIND_VALUE || !space.isValid(words, at)) return false;
    const expiry = expiryOf(words, at);
    return expiry === Infinity || expiry > this.versions.now();
  }

  /** Whether a record is alive, or expired and in its stale window. */
  isKept(words: Int32Array, at: number, space: Space): boolean {
    if ((words[at + 1] & KIND_MASK) !== KIND_VALUE || !space.isValid(words, at)) return false;
    return keptUntil(words, at) > this.versions.now();
  }
}

function hasAttributes({ words, at }: RecordRef): boolean {
  return (words[at + 1] & FLAG_ATTRIBUTES) !== 0;
}

/** A copy that stays while others use the store. */
export function copyOf({ words, at }: RecordRef): RecordRef {
  const bytes = Buffer.allocUnsafeSlow(totalBytes(words, at));
  const copy = new Int32Array(bytes.buffer, 0, bytes.length >> 2);
  copy.set(words.subarray(at, at + copy.length));
  return { words: copy, bytes, at: 0 };
}
