/**
 * Cold → cold compaction: of the oldest part of the cold log, what is the newest of its key there goes to the tail again.
 * Dead and expired records are left behind, and tombstones end here: whatever they cover is older, and so it lay below
 * and is gone already. Records that a newer one in the hot log's memory covers are left behind as well; the store
 * commits the hot log before it truncates, so that they are not lost with it.
 */
import type { KeyedHash } from '../codec/keyed-hash.js';
import type { NewestSweep } from '../cold/newest-sweep.js';
import { KvCorruptionError, KvDiskError } from '../errors.js';
import type { HashIndex } from '../hot/hash-index.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { inMemory, type HybridLog } from '../log/hybrid-log.js';
import { LogCursor, type ReadBuffer } from '../log/log-cursor.js';
import { keyLengthOf, KIND_MASK, KIND_TOMBSTONE, KIND_VALUE, previousOf, totalBytes } from '../log/record.js';
import { keyStart, sameKey, spaceOf } from '../log/record-key.js';
import type { Slices } from '../log/slices.js';
import type { PassPolicy, PassRecord } from './compaction-pass.js';
import type { HotCompactionParts } from './hot-compaction.js';
import { MOST_TRIES, type RecordRef } from './read-path.js';
import type { RecordCopier } from './record-copier.js';

/**
 * Most bytes that are looked ahead: what is small is asked for 65,536 at a time, and of what is large hardly more is read twice
 * than the pass goes through.
 */
const MOST_AHEAD = 16 * 1024 * 1024;

/** Records between two looks at the clock. */
const LOOK_EVERY = 64;

export interface ColdCompactionParts extends HotCompactionParts {
  hash: KeyedHash;
}

export class ColdCompaction implements PassPolicy {
  /** Bytes of records that the hot log covers: the cold index, from which garbage is estimated, knows nothing of that. */
  coveredBytes = 0;
  private readonly coldLog: HybridLog;
  private readonly sweep: NewestSweep;
  /** Up to here the records have been asked for together. */
  private preparedTo: LogAddress = NO_ADDRESS;

  constructor(
    private readonly parts: ColdCompactionParts,
    private readonly cursor: LogCursor,
    private readonly copier: RecordCopier,
    /** Where the pass is to end, or right behind. */
    private readonly goal: LogAddress,
    /** End of what is compacted. */
    private readonly until: LogAddress,
    private readonly slices: Slices,
    /** For looking ahead: not the cursor's. */
    private readonly aheadBuffer: ReadBuffer,
  ) {
    this.coldLog = parts.cold.log.log;
    this.sweep = parts.cold.index.newestSweep();
  }

  /** Asks the cold index for the next records together. */
  async prepare(from: LogAddress, to: LogAddress): Promise<void> {
    if (to <= this.preparedTo) return;
    const { hash, index, log, cold } = this.parts;
    const { goal, slices, sweep } = this;
    const ahead = new LogCursor(cold.log.segments, from, this.until, this.aheadBuffer);
    // How far behind its goal the next commit ends the pass is not known: as far again as it has come.
    const wanted = from < goal ? goal : from + (from - goal);
    const limit = Math.max(to, Math.min(wanted, from + MOST_AHEAD));
    sweep.clear();
    let seen = 0;
    try {
      while (ahead.position < limit && !sweep.full && (await ahead.load())) {
        slices.restart();
        while (ahead.position < limit && !sweep.full && ahead.next()) {
          if (++seen % LOOK_EVERY === 0 && slices.over) await slices.next();
          const { words, at, address } = ahead;
          const kind = words[at + 1] & KIND_MASK;
          if (kind !== KIND_VALUE && kind !== KIND_TOMBSTONE) continue;
          hash.hash(words, keyLengthOf(words, at), keyStart(words, at));
          const { low, high } = hash;
          if (!isInHotMemory(index, log, low, words, at)) sweep.add(low, high, address);
        }
      }
    } catch (error) {
      // The pass comes there as well, unless it ends before.
      if (!(error instanceof KvCorruptionError || error instanceof KvDiskError)) throw error;
    }
    this.preparedTo = ahead.position;
    await sweep.answer(slices);
  }

  isNewest(record: PassRecord): boolean | Promise<boolean> {
    return this.isNewestAtOnce(record) ?? this.isNewestLater(record);
  }

  /** `undefined` when something has to be waited for. */
  private isNewestAtOnce(record: PassRecord): boolean | undefined {
    const { words, at, low } = record;
    const { cold, index, log } = this.parts;
    if (isInHotMemory(index, log, low, words, at)) {
      this.coveredBytes += totalBytes(words, at);
      return false;
    }
    const { coldLog, sweep } = this;
    if (sweep.find(record.address)) {
      const { newest, newestClass } = sweep;
      if (newest === record.address) return true;
      if (newest > record.address) {
        const other = this.atHand(newest) ?? this.tryRead(newest, newestClass);
        if (!other) return undefined;
        if (sameKey(other.words, other.at, words, at)) return false;
      }
    }
    // Not asked while it has to be waited: a reader who is alone would be taken for one of many.
    if (coldLog.turned()) return undefined;
    const candidates = cold.index.tryFind(low, record.high);
    if (!candidates) return undefined;
    for (let i = 0; i < candidates.count; i++) {
      const address = candidates.addresses[i] as LogAddress;
      if (address <= record.address) break;
      const other = this.atHand(address) ?? this.tryRead(address, candidates.sizeClasses[i]);
      if (!other) return undefined;
      if (sameKey(other.words, other.at, words, at)) return false;
    }
    return true;
  }

  private async isNewestLater(record: PassRecord): Promise<boolean> {
    for (let tries = 0, turned; tries < MOST_TRIES && (turned = this.coldLog.turned()); tries++) {
      await turned;
      const verdict = this.isNewestAtOnce(record);
      if (verdict !== undefined) return verdict;
    }
    const { count, addresses, sizeClasses } = await this.parts.cold.index.find(record.low, record.high);
    for (let i = 0; i < count; i++) {
      const address = addresses[i] as LogAddress;
      if (address <= record.address) break;
      const other = this.atHand(address) ?? (await this.coldLog.readRecord(address, sizeClasses[i]));
      if (sameKey(other.words, other.at, record.words, record.at)) return false;
    }
    return true;
  }

  move(record: PassRecord): boolean | Promise<boolean> {
    const { parts, copier } = this;
    const space = parts.spaces.get(spaceOf(record.words[keyStart(record.words, record.at)]));
    if (!parts.reads.isKept(record.words, record.at, space)) {
      // Otherwise the hot log may have a newer one.
      if (parts.index.find(record.low) === NO_ADDRESS) space.dropped(record.low, record.words, record.at);
      return true;
    }
    if (copier.isLarge(record.words, record.at)) return copier.copyLarge(record, this.coldLog, () => true);
    copier.copy(record);
    return true;
  }

  /** Everything that the mark declared dead lay below it. */
  mark(): void {}

  private tryRead(address: LogAddress, sizeClass: number): RecordRef | undefined {
    return this.coldLog.turned() ? undefined : this.coldLog.tryReadRecord(address, sizeClass);
  }

  private atHand(address: LogAddress): RecordRef | undefined {
    if (address >= this.coldLog.head) return inMemory(this.coldLog, address);
    const at = this.cursor.find(address);
    return at < 0 ? undefined : { words: this.cursor.words, bytes: this.cursor.loadedBytes, at };
  }
}

/** Whether the hot log has a record of the same key, as far as its memory tells. */
function isInHotMemory(
  index: HashIndex,
  log: HybridLog,
  low: number,
  words: Int32Array,
  at: number,
): boolean {
  for (let address = index.find(low); address >= log.head;) {
    const other = log.ring.wordsAt(address);
    const otherAt = log.ring.wordOffset(address);
    if (sameKey(other, otherAt, words, at)) return true;
    address = previousOf(other, otherAt);
  }
  return false;
}
