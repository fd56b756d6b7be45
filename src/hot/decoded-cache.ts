/**
 * Decoded values of the hottest keys, so that a hit costs what a `Map` look-up costs. Shared with callers, and therefore
 * frozen, all the way down; a value that cannot be frozen (bytes, Map, Set, Date and other instances) is not kept.
 * Eviction is CLOCK: one hand over a fixed number of places, a second chance for what was used since it last came by. Where no place
 * is free, only one in `ADMIT_ONE_IN` of those that are read is kept: most are not read again before they would have to go, and cost more
 * than they save.
 *
 * Each key space has a map of its own, because what a key is depends on the space; the places are shared.
 */
import { attributesOf } from '../log/attributes.js';
import type { DiskRecord } from '../log/hybrid-log.js';
import { expiryOf, sequenceOf } from '../log/record.js';

export interface DecodedEntry {
  map: Map<unknown, DecodedEntry>;
  key: unknown;
  value: unknown;
  /**
   * Seconds since 1970 that it surely outlives, or `NEVER`. A small integer, which lies in the object itself and not
   * beside it.
   */
  sureSeconds: number;
  /** Milliseconds since 1970, `Infinity` for never. */
  expiresAt: number;
  /** Version and attributes of an entry that has some. */
  version: number;
  attributes: Int32Array | undefined;
  used: boolean;
}

/** In the place of seconds. The largest integer that V8 keeps within an object, on 64 bits. */
export const NEVER = 2 ** 31 - 1;

/** With each that is read kept, hits did not pay for what came and went (docs/decisions/0006). */
const ADMIT_ONE_IN = 16;

export type DecodedMap = Map<unknown, DecodedEntry>;

export class DecodedCache {
  private readonly places: (DecodedEntry | undefined)[];
  private hand = 0;
  private passedOver = 0;

  /** @param entries most values to keep */
  constructor(entries: number) {
    this.places = new Array<DecodedEntry | undefined>(entries).fill(undefined);
  }

  /** Freezes a value if it can be shared, as callers expect of all of them; returns whether it can. */
  share(value: unknown): boolean {
    if (!isPlain(value)) return false;
    freeze(value);
    return true;
  }

  /** Freezes a value that can be shared, and keeps it if it is to be. Only keys that a `Map` compares by value. */
  keep(map: DecodedMap, key: unknown, value: unknown, { words, at }: Pick<DiskRecord, 'words' | 'at'>): void {
    if (!this.share(value) || (typeof key !== 'string' && typeof key !== 'number')) return;
    const place = this.takePlace();
    if (place < 0) return;
    const expiresAt = expiryOf(words, at);
    const entry: DecodedEntry = {
      map,
      key,
      value,
      sureSeconds: expiresAt === Infinity ? NEVER : Math.min(Math.floor(expiresAt / 1000), NEVER - 1),
      expiresAt,
      version: sequenceOf(words, at),
      attributes: attributesOf(words, at),
      used: false,
    };
    this.places[place] = entry;
    map.set(key, entry);
  }

  /** Forgets the values of all entries with attributes. */
  dropTagged(): void {
    for (const entry of this.places)
      if (entry?.attributes && entry.map.get(entry.key) === entry) entry.map.delete(entry.key);
  }

  /** A place for one more; -1 where none is free, and none is to become so. */
  private takePlace(): number {
    if (this.isFree(this.hand)) return this.advance();
    if (++this.passedOver < ADMIT_ONE_IN) {
      // Somewhere there may be one that is free.
      this.advance();
      return -1;
    }
    this.passedOver = 0;
    for (;;) {
      const place = this.advance();
      const entry = this.places[place];
      if (!entry || this.isFree(place)) return place;
      if (!entry.used) {
        entry.map.delete(entry.key);
        return place;
      }
      entry.used = false;
    }
  }

  /** Empty, or its key was written or kept anew since. */
  private isFree(place: number): boolean {
    const entry = this.places[place];
    return !entry || entry.map.get(entry.key) !== entry;
  }

  /** Returns where the hand was. */
  private advance(): number {
    const place = this.hand;
    this.hand = place + 1 === this.places.length ? 0 : place + 1;
    return place;
  }
}

/** Whether a value consists of primitives, arrays and plain objects alone. */
function isPlain(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true;
  if (Array.isArray(value)) {
    for (const element of value) if (!isPlain(element)) return false;
    return true;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  for (const name in value) if (!isPlain((value as Record<string, unknown>)[name])) return false;
  return true;
}

function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) value.forEach(freeze);
  else for (const name in value) freeze((value as Record<string, unknown>)[name]);
  Object.freeze(value);
}
