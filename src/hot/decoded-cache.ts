/**
 * Decoded values of the hottest keys, so that a hit costs neither the look-up of a record nor its decoding. Shared with
 * callers, and therefore frozen, all the way down; a value that cannot be frozen (bytes, Map, Set, Date and other instances)
 * is not kept.
 *
 * A set-associative table by the key's hash: a `Map` by the key itself would hash each string once more, and be built anew
 * over and over while entries come and go. Where a set is full, one in `ADMIT_ONE_IN` of those that are read takes the place of
 * the least used one: most are not read again before they would have to go, and cost more than they save.
 */
import type { EncodedKey, KvKey } from '../codec/key-codec.js';
import { attributesOf } from '../log/attributes.js';
import type { DiskRecord } from '../log/hybrid-log.js';
import { expiryOf, sequenceOf } from '../log/record.js';

export interface DecodedEntry {
  hashLow: number;
  hashHigh: number;
  /** Number of the namespace. */
  space: number;
  key: KvKey;
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
  /** Hits, halved each time that another of its set had to go. */
  uses: number;
}

/** In the place of seconds. The largest integer that V8 keeps within an object, on 64 bits. */
export const NEVER = 2 ** 31 - 1;

/** Places of a set, or up to twice as many where there are few. */
const WAYS = 8;

/** Hits beyond this say no more. */
const MOST_USES = 255;

/** With each that is read kept, hits did not pay for what comes and goes (docs/decisions/0006). */
const ADMIT_ONE_IN = 16;

export class DecodedCache {
  private readonly ways: number;
  private readonly sets: number;
  private readonly places: (DecodedEntry | undefined)[];
  /** By place, the high half of the hash: so that only the right entry is touched. */
  private readonly hashes: Int32Array;
  private passedOver = 0;

  /** @param entries most values to keep */
  constructor(entries: number) {
    this.sets = Math.max(1, Math.floor(entries / WAYS));
    this.ways = Math.floor(entries / this.sets);
    this.places = new Array<DecodedEntry | undefined>(this.sets * this.ways).fill(undefined);
    this.hashes = new Int32Array(this.places.length);
  }

  /** What is kept of a key. Hot path (`npm run bench`, reads). */
  find({ hashLow, hashHigh }: EncodedKey, space: number, key: KvKey): DecodedEntry | undefined {
    const { hashes, places } = this;
    const first = this.firstOf(hashLow);
    for (let place = first; place < first + this.ways; place++) {
      if (hashes[place] !== hashHigh) continue;
      const entry = places[place];
      if (entry?.hashLow === hashLow && entry.key === key && entry.space === space) return entry;
    }
    return undefined;
  }

  /** It was answered. */
  hit(entry: DecodedEntry): void {
    if (entry.uses < MOST_USES) entry.uses++;
  }

  /** Freezes a value that can be shared, and keeps it if there is room, or is to be. */
  keep(
    { hashLow, hashHigh }: EncodedKey,
    space: number,
    key: KvKey,
    value: unknown,
    { words, at }: Pick<DiskRecord, 'words' | 'at'>,
  ): void {
    if (!share(value) || (typeof key !== 'string' && typeof key !== 'number')) return;
    const place = this.placeFor(hashLow, hashHigh);
    if (place < 0) return;
    const expiresAt = expiryOf(words, at);
    this.hashes[place] = hashHigh;
    this.places[place] = {
      hashLow,
      hashHigh,
      space,
      key,
      value,
      sureSeconds: expiresAt === Infinity ? NEVER : Math.min(Math.floor(expiresAt / 1000), NEVER - 1),
      expiresAt,
      version: sequenceOf(words, at),
      attributes: attributesOf(words, at),
      uses: 0,
    };
  }

  /** A key is written, or what was kept of it is dead. */
  forget({ hashLow, hashHigh }: EncodedKey): void {
    const first = this.firstOf(hashLow);
    for (let place = first; place < first + this.ways; place++)
      if (this.isOf(place, hashLow, hashHigh)) this.places[place] = undefined;
  }

  /** Forgets the values of all entries with attributes. */
  dropTagged(): void {
    this.places.forEach((entry, place) => {
      if (entry?.attributes) this.places[place] = undefined;
    });
  }

  private firstOf(hashLow: number): number {
    return ((hashLow >>> 0) % this.sets) * this.ways;
  }

  private isOf(place: number, hashLow: number, hashHigh: number): boolean {
    return this.hashes[place] === hashHigh && this.places[place]?.hashLow === hashLow;
  }

  /** A place that is free, or is to be; -1 where there is none. */
  private placeFor(hashLow: number, hashHigh: number): number {
    const { places } = this;
    const first = this.firstOf(hashLow);
    const end = first + this.ways;
    let free = -1;
    let least = first;
    for (let place = first; place < end; place++) {
      const entry = places[place];
      // It is there, and dead.
      if (this.isOf(place, hashLow, hashHigh)) return place;
      if (!entry) free = place;
      else if (entry.uses < (places[least]?.uses ?? 0)) least = place;
    }
    if (free >= 0) return free;
    if (++this.passedOver < ADMIT_ONE_IN) return -1;
    this.passedOver = 0;
    for (let place = first; place < end; place++) {
      const entry = places[place];
      if (entry) entry.uses >>= 1;
    }
    return least;
  }
}

/** Freezes a value that many may have, all the way down; `false` where it cannot be frozen. */
export function share(value: unknown): boolean {
  if (!isPlain(value)) return false;
  freeze(value);
  return true;
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
