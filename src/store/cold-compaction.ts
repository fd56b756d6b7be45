/**
 * Cold → cold compaction: of the oldest part of the cold log, what is the newest of its key there goes to the tail again.
 * Dead and expired records are left behind, and tombstones end here: whatever they cover is older, and so it lay below
 * and is gone already. Records that a newer one in the hot log's memory covers are left behind as well; the store
 * commits the hot log before it truncates, so that they are not lost with it.
 */
import type { ColdTier } from '../cold/cold-tier.js';
import type { HashIndex } from '../hot/hash-index.js';
import type { LogAddress } from '../log/address.js';
import { inMemory, type HybridLog } from '../log/hybrid-log.js';
import type { LogCursor } from '../log/log-cursor.js';
import { previousOf, totalBytes } from '../log/record.js';
import type { HotCompactionParts } from './hot-compaction.js';
import type { PassPolicy, PassRecord } from './compaction-pass.js';
import type { RecordRef } from './read-path.js';
import type { RecordCopier } from './record-copier.js';
import { keyStart, sameKey, spaceOf } from '../log/record-key.js';

export class ColdCompaction implements PassPolicy {
  /** Bytes of records that the hot log covers: the cold index, from which garbage is estimated, knows nothing of that. */
  coveredBytes = 0;
  private readonly coldLog: HybridLog;

  constructor(
    private readonly parts: HotCompactionParts,
    private readonly cursor: LogCursor,
    private readonly copier: RecordCopier,
  ) {
    this.coldLog = parts.cold.log.log;
  }

  isNewest(record: PassRecord): boolean | Promise<boolean> {
    if (isInHotMemory(this.parts.index, this.parts.log, record)) {
      this.coveredBytes += totalBytes(record.words, record.at);
      return false;
    }
    const candidates = this.parts.cold.index.tryFind(record.low, record.high);
    if (!candidates) return this.isNewestOnDisk(record, this.parts.cold);
    for (let i = 0; i < candidates.count; i++) {
      const address = candidates.addresses[i] as LogAddress;
      if (address <= record.address) break;
      const other = this.atHand(address) ?? this.coldLog.tryReadRecord(address, candidates.sizeClasses[i]);
      if (!other) return this.isNewestOnDisk(record, this.parts.cold);
      if (sameKey(other.words, other.at, record.words, record.at)) return false;
    }
    return true;
  }

  private async isNewestOnDisk(record: PassRecord, { index }: ColdTier): Promise<boolean> {
    const { count, addresses, sizeClasses } = await index.find(record.low, record.high);
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
    if (!parts.reads.isKept(record.words, record.at, space)) return true;
    if (copier.isLarge(record.words, record.at)) return copier.copyLarge(record, this.coldLog, () => true);
    copier.copy(record);
    return true;
  }

  /** Everything that the mark declared dead lay below it. */
  mark(): void {}

  private atHand(address: LogAddress): RecordRef | undefined {
    if (address >= this.coldLog.head) return inMemory(this.coldLog, address);
    const at = this.cursor.find(address);
    return at < 0 ? undefined : { words: this.cursor.words, bytes: this.cursor.loadedBytes, at };
  }
}

/** Whether the hot log has a record of the same key, as far as its memory tells. */
function isInHotMemory(index: HashIndex, log: HybridLog, { words, at, low }: PassRecord): boolean {
  for (let address = index.find(low); address >= log.head;) {
    const other = log.ring.wordsAt(address);
    const otherAt = log.ring.wordOffset(address);
    if (sameKey(other, otherAt, words, at)) return true;
    address = previousOf(other, otherAt);
  }
  return false;
}
