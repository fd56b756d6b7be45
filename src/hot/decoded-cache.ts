/**
 * Decoded values of the hottest keys, so that a hit costs what a `Map` look-up costs. Shared with callers, and therefore
 * frozen, all the way down; a value that cannot be frozen (bytes, Map, Set, Date and other instances) is not kept.
 * Eviction is CLOCK: one hand over a fixed number of places, a second chance for what was used since it last came by.
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

export type DecodedMap = Map<unknown, DecodedEntry>;

export class DecodedCache {
  private readonly places: (DecodedEntry | undefined)[];
  private hand = 0;

  /** @param entries most values to keep */
  constructor(entries: number) {
    this.places = new Array<DecodedEntry | undefined>(entries).fill(undefined);
  }

  /** Keeps a value if it can be shared; freezes it then. Only keys that a `Map` compares by value. */
  keep(map: DecodedMap, key: unknown, value: unknown, { words, at }: Pick<DiskRecord, 'words' | 'at'>): void {
    if (typeof key !== 'string' && typeof key !== 'number') return;
    if (!isPlain(value)) return;
    freeze(value);
    const place = this.freePlace();
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

  private freePlace(): number {
    const { places } = this;
    for (;;) {
      const place = this.hand;
      this.hand = place + 1 === places.length ? 0 : place + 1;
      const entry = places[place];
      // Empty, or its key was written or kept anew since.
      if (!entry || entry.map.get(entry.key) !== entry) return place;
      if (!entry.used) {
        entry.map.delete(entry.key);
        return place;
      }
      entry.used = false;
    }
  }
}

/** Whether a value consists of primitives, arrays and plain objects alone. */
function isPlain(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null) return false;
  return Object.values(value).every(isPlain);
}

function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  Object.values(value).forEach(freeze);
  Object.freeze(value);
}
