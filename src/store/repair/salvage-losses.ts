/**
 * What a salvage could not save, and what it saved that may not be the last: keys whose value is lost although their record
 * is not; keys that may have had a newer version in a damaged place, which the new store shows in an older one or not at
 * all. Found when everything is copied, by a last way through the logs that compares with what the new store has.
 */
import type { EncodedKey } from '../../codec/key-codec.js';
import type { KeyedHash } from '../../codec/keyed-hash.js';
import { encodedKeyOf } from '../../log/record-key.js';
import { KIND_MASK, KIND_VALUE, sequenceOf } from '../../log/record.js';
import type { Slices } from '../../log/slices.js';
import { MAX_LISTED_KEYS, type DamageList, type KvNamedKey } from './damage.js';
import { uncoveredEnd, type Evidence } from './salvage-evidence.js';
import { keysIn, type LogSurvey } from './salvage-source.js';
import type { SalvageTarget } from './salvage-target.js';

const MAX_LISTED = 10_000;
/** Keys of lost values that are remembered; more of them are only counted. */
const MAX_REMEMBERED = 100_000;

class KeyList {
  readonly keys: KvNamedKey[] = [];
  count = 0;

  add(key: KvNamedKey): void {
    this.count++;
    if (this.keys.length < MAX_LISTED) this.keys.push(key);
  }
}

export class SalvageLosses {
  readonly doubtful = new KeyList();
  readonly lost = new KeyList();
  /** Whether keys may be lost of which nothing is left, not even in an index. */
  mayMissMore = false;
  private readonly valuesLost = new Map<string, { key: EncodedKey; version: number }>();
  private valuesLostMore = 0;
  /** Keys in doubt: a compaction that was cut off leaves the same version in both logs. */
  private readonly doubted = new Set<string>();

  /**
   * @param logs in the order of age
   * @param hash that of the damaged store
   */
  constructor(
    private readonly logs: readonly LogSurvey[],
    private readonly hash: KeyedHash,
    private readonly damages: DamageList,
    private readonly target: SalvageTarget,
  ) {}

  /** A record is intact, and its value is not. */
  valueIsLost(key: EncodedKey, version: number): void {
    if (this.valuesLost.size < MAX_REMEMBERED) this.valuesLost.set(nameOf(key), { key: key.copy(), version });
    else this.valuesLostMore++;
  }

  /** A key was deleted, or has expired: a value that it had before is nothing that is missing. */
  wasDeleted(key: EncodedKey, version: number): void {
    if (this.valuesLost.size === 0) return;
    const name = nameOf(key);
    if ((this.valuesLost.get(name)?.version ?? Infinity) < version) this.valuesLost.delete(name);
  }

  /** To be called when everything is copied. */
  async find(evidence: Evidence, slices: Slices, mayGoOn: () => boolean): Promise<void> {
    const { logs, lost, target } = this;
    for (const { key, version } of this.valuesLost.values()) {
      const kept = await target.versionOf(key);
      if (kept === undefined) lost.add(target.named(key));
      // A version that is older, and known to be.
      else if (kept < version) this.doubtful.add(target.named(key));
    }
    lost.count += this.valuesLostMore;
    if (logs.every(({ damages }) => damages.length === 0)) return;
    await this.findDoubtful(evidence, slices, mayGoOn);
    await this.nameDamaged(evidence);
    lost.count += evidence.places.filter(({ named }) => !named).length;
  }

  private async findDoubtful(evidence: Evidence, slices: Slices, mayGoOn: () => boolean): Promise<void> {
    const { logs, target } = this;
    const [cold, hot] = logs;
    const hotEnd = uncoveredEnd(hot.damages, evidence.hotEnd, hot.end);
    const coldEnd = uncoveredEnd(cold.damages, evidence.coldEnd, cold.end);
    this.mayMissMore = hotEnd + coldEnd > 0;
    for (const log of logs) {
      const scan = log.scan(slices, {
        mayGoOn,
        damaged: () => undefined,
        record: (words, at, address) => {
          if (address >= log.committedEnd || (words[at + 1] & KIND_MASK) !== KIND_VALUE) return undefined;
          const { hashLow, hashHigh } = encodedKeyOf(words, at, this.hash);
          const place = evidence.newerThan(log.log, address, hashLow, hashHigh);
          const isBeforeDamage = log === hot ? address < hotEnd : address < coldEnd || hotEnd > 0;
          if (!place && !isBeforeDamage) return undefined;
          const key = target.keyOf(words, at);
          if (this.valuesLost.has(nameOf(key))) return undefined;
          return this.doubt(key, sequenceOf(words, at), place);
        },
      });
      await scan.run();
    }
  }

  /** The version may not have been the last of its key. If it is the one that the new store has, that is in doubt. */
  private async doubt(
    key: EncodedKey,
    version: number,
    place: { named: boolean } | undefined,
  ): Promise<void> {
    if ((await this.target.versionOf(key)) !== version) return;
    if (place) place.named = true;
    if (this.doubted.has(nameOf(key))) return;
    if (this.doubted.size < MAX_REMEMBERED) this.doubted.add(nameOf(key));
    this.doubtful.add(this.target.named(key));
  }

  /** Reads the keys of damaged records, as far as they look like keys. */
  private async nameDamaged(evidence: Evidence): Promise<void> {
    const { target } = this;
    const told = new Set(this.valuesLost.keys());
    for (const { damages, log, segments } of this.logs) {
      const covered = log === 'hot' ? evidence.hotEnd : evidence.coldEnd;
      for (const { what, from, to } of damages) {
        const damage = this.damages.find(segments.nameOf(segments.segmentOf(from)), from);
        if (what !== 'record' || !damage) continue;
        for (const { key, address, isValue } of await keysIn(segments, from, to, this.hash)) {
          const place = evidence.placeAt(log, address, key.hashLow, key.hashHigh);
          const named = target.nameIfKey(key);
          if (!named) continue;
          if (place) place.named = true;
          damage.keysAffected++;
          if (damage.keys.length < MAX_LISTED_KEYS) damage.keys.push(named);
          // Where a checkpoint tells of the newest records, one that it does not name was none of them.
          const mayBeNewest = place !== undefined || to > covered;
          if (!isValue || !mayBeNewest || told.has(nameOf(key))) continue;
          told.add(nameOf(key));
          if ((await target.versionOf(target.rehashed(key))) === undefined) this.lost.add(named);
        }
      }
    }
  }
}

function nameOf(key: EncodedKey): string {
  return Buffer.from(key.bytes.buffer, key.bytes.byteOffset, key.length).toString('latin1');
}
