/**
 * Damage as `verify` and `salvage` report it, as plain data. Lists are bounded, because a disk may lose a whole file of
 * millions of entries; counts are not.
 */
import type { EncodedKey, KvKey } from '../../codec/key-codec.js';
import { decodeKey, namespaceOf } from '../../codec/key-decoder.js';

/** What is damaged. */
export type KvDamageKind =
  /** Bytes of a log that are no intact record. */
  | 'record'
  /** Bytes of a log that are not there: a file is missing, or shorter than it was. */
  | 'missing'
  /** Records that are intact, but not those that were committed there. */
  | 'order'
  /** A large value of which a piece is not where its record says. */
  | 'extent'
  /** An index does not lead to a record, or leads astray. Derived data: the next opening builds it from the logs. */
  | 'index'
  /** A checkpoint. Derived data: opening reads the logs instead. */
  | 'checkpoint'
  /** A hint beside the hot log. Derived data: opening reads the log instead. */
  | 'hint'
  | 'manifest'
  | 'dictionary';

/** A key with the name of its namespace, which the store's own keys do not have. */
export interface KvNamedKey {
  namespace?: string;
  key: KvKey;
}

/** One damaged place. */
export interface KvDamage {
  /** Name of the file. */
  file: string;
  /** Logical address in the log, or position in another file. */
  address: number;
  /** Length of the damaged part in bytes; 0 where that means nothing. */
  bytes: number;
  what: KvDamageKind;
  /** What happened and what to do, for people. */
  message: string;
  /** Keys that are affected, as far as they could be found out; at most 100 of them. */
  keys: KvNamedKey[];
  /** How many keys are affected, those included of which only the index knows. */
  keysAffected: number;
}

/** Most damages that a report lists, and most keys that it lists of one. */
export const MAX_LISTED_DAMAGES = 1000;
export const MAX_LISTED_KEYS = 100;

export class DamageList {
  /** The first of them. */
  readonly listed: KvDamage[] = [];
  count = 0;

  add(damage: Omit<KvDamage, 'keys' | 'keysAffected'>): KvDamage {
    const whole = { ...damage, keys: [], keysAffected: 0 };
    this.count++;
    if (this.listed.length < MAX_LISTED_DAMAGES) this.listed.push(whole);
    return whole;
  }

  /** The damage that has a place; `undefined` when it is none, or not listed. */
  find(file: string, address: number): KvDamage | undefined {
    return this.listed.find(
      (damage) =>
        damage.file === file &&
        address >= damage.address &&
        address < damage.address + Math.max(damage.bytes, 1),
    );
  }
}

/** Ranges of a log, told in about the order of their addresses. */
export class Ranges {
  private readonly ranges: { from: number; to: number }[] = [];
  private sorted = true;

  get isEmpty(): boolean {
    return this.ranges.length === 0;
  }

  /** The highest address behind all of them. */
  get end(): number {
    return this.ranges.reduce((end, { to }) => Math.max(end, to), 0);
  }

  add(from: number, to: number): void {
    this.sorted &&= from >= (this.ranges.at(-1)?.from ?? 0);
    this.ranges.push({ from, to });
  }

  has(address: number): boolean {
    if (this.isEmpty) return false;
    if (!this.sorted) this.ranges.sort((a, b) => a.from - b.from);
    this.sorted = true;
    let low = 0;
    let high = this.ranges.length;
    // The last range that begins at or below the address.
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.ranges[middle].from <= address) low = middle;
      else high = middle;
    }
    const { from, to } = this.ranges[low];
    return address >= from && address < to;
  }
}

/** @throws KvEncodingError when the bytes are not those of a key */
export function namedKey(key: EncodedKey, namespaces: readonly string[]): KvNamedKey {
  const decoded = decodeKey(key.bytes, 0, key.length);
  const number = namespaceOf(key.bytes, 0);
  return number === 0
    ? { key: decoded }
    : { namespace: namespaces[number - 1] ?? `number ${number}`, key: decoded };
}
