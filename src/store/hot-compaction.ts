/**
 * Hot → cold compaction (F2, section 5): what is the newest of its key in the hot log goes to the tail of the cold log; a
 * deleted or dead one as a tombstone where the cold tier may hold the key; everything else is left behind.
 *
 * Conditional insert: between finding that a record is the newest and appending it nobody else runs, or its chain is
 * looked at again. A newer version that appears later is in the hot log, which is always asked first.
 */
import type { ColdTier } from '../cold/cold-tier.js';
import type { HashIndex } from '../hot/hash-index.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { inMemory, type HybridLog } from '../log/hybrid-log.js';
import type { LogCursor } from '../log/log-cursor.js';
import {
  FLAG_ATTRIBUTES,
  KIND_CLEAR,
  KIND_MASK,
  keyLengthOf,
  previousOf,
  sequenceOf,
} from '../log/record.js';
import { sizeClassOf } from '../log/size-class.js';
import type { PassPolicy, PassRecord } from './compaction-pass.js';
import type { ReadPath, RecordRef } from './read-path.js';
import type { RecordCopier } from './record-copier.js';
import { keyStart, sameKey, spaceOf } from '../log/record-key.js';
import type { Spaces } from './spaces.js';

const GUESSED_CLASS = sizeClassOf(512);

export interface HotCompactionParts {
  index: HashIndex;
  log: HybridLog;
  reads: ReadPath;
  spaces: Spaces;
  cold: ColdTier;
}

export class HotCompaction implements PassPolicy {
  constructor(
    private readonly parts: HotCompactionParts,
    private readonly cursor: LogCursor,
    private readonly copier: RecordCopier,
  ) {}

  isNewest(record: PassRecord): boolean | Promise<boolean> {
    const { index, log } = this.parts;
    const head = index.find(record.low);
    let sizeClass = head === NO_ADDRESS ? 0 : index.foundSizeClass();
    let address = head;
    while (address > record.address) {
      const other = this.atHand(address) ?? log.tryReadRecord(address, sizeClass);
      if (!other) return this.isNewestOnDisk(record);
      if (sameKey(other.words, other.at, record.words, record.at)) return false;
      address = previousOf(other.words, other.at);
      sizeClass = GUESSED_CLASS;
    }
    if (address !== record.address) return false;
    record.head = head;
    return true;
  }

  private async isNewestOnDisk(record: PassRecord): Promise<boolean> {
    const { index, log } = this.parts;
    const head = index.find(record.low);
    let sizeClass = index.foundSizeClass();
    let address = head;
    while (address > record.address) {
      const other = this.atHand(address) ?? (await log.readRecord(address, sizeClass));
      if (sameKey(other.words, other.at, record.words, record.at)) return false;
      address = previousOf(other.words, other.at);
      sizeClass = GUESSED_CLASS;
    }
    if (address !== record.address) return false;
    // If the chain has grown in the meantime, `move` will notice.
    record.head = head;
    return true;
  }

  move(record: PassRecord): boolean | Promise<boolean> {
    const { parts, copier } = this;
    if (!this.isSame(record)) return false;
    const space = parts.spaces.get(spaceOf(record.words[keyStart(record.words, record.at)]));
    if (!parts.reads.isKept(record.words, record.at, space)) {
      space.dropped(record.low, record.words, record.at);
      if (parts.cold.index.mayHold(record.low, record.high)) copier.bury(record);
    } else if (copier.isLarge(record.words, record.at)) {
      return copier.copyLarge(record, parts.log, () => this.isSame(record));
    } else {
      copier.copy(record);
    }
    return true;
  }

  mark(record: PassRecord): void {
    const { cold, spaces } = this.parts;
    const { words, at } = record;
    const flags = words[at + 1] & (KIND_MASK | FLAG_ATTRIBUTES);
    const key = keyStart(words, at);
    const id = keyLengthOf(words, at) === 0 ? undefined : spaceOf(words[key]);
    const last =
      flags === KIND_CLEAR ? spaces.clearedBelow(id) : spaces.tags.versionOf(words[key], words[key + 1]);
    // A later mark says it all; and where nothing is cold there is nothing to be dead.
    if (cold.log.bytes > 0 && last === sequenceOf(words, at)) cold.log.append(words, at, flags);
  }

  /** Whether the chain of a record is as it was when the record was found to be the newest. */
  private isSame(record: PassRecord): boolean {
    return this.parts.index.find(record.low) === record.head;
  }

  private atHand(address: LogAddress): RecordRef | undefined {
    if (address >= this.parts.log.head) return inMemory(this.parts.log, address);
    const at = this.cursor.find(address);
    return at < 0 ? undefined : { words: this.cursor.words, bytes: this.cursor.loadedBytes, at };
  }
}
