/**
 * Keys to canonical bytes. The bytes are the key: two keys are the same when their bytes are, so `1` and `'1'`
 * differ and the order of an object's fields does not matter. The encoding keeps order (numbers before strings,
 * numbers by value, strings by code point, arrays element by element), so that ordered namespaces can stand on it;
 * the idea of tags, escaped terminators and nesting is that of FoundationDB's tuple layer.
 *
 * A key is encoded into a scratch buffer that every call reuses; whoever needs it across an `await` takes a copy.
 * The first one or two bytes are the number of the namespace. Layout: `docs/format.md`. Hot path: `npm run bench`.
 */
import { KvEncodingError, KvTooLargeError } from '../errors.js';
import { MAX_KEY_BYTES, MAX_KEY_DEPTH } from '../limits.js';
import {
  ESCAPE,
  MAX_BIGINT_BYTES,
  TAG_ARRAY,
  TAG_BIGINT,
  TAG_BYTES,
  TAG_END,
  TAG_FALSE,
  TAG_NUMBER,
  TAG_OBJECT,
  TAG_STRING,
  TAG_TRUE,
} from './key-tags.js';

/** What may be a key: scalars, byte arrays, and arrays and plain objects of these. */
export type KvKey =
  string | number | bigint | boolean | Uint8Array | readonly KvKey[] | { readonly [field: string]: KvKey };

/** Room behind the longest key, for what is written before the length is checked. */
const SCRATCH_SLACK = 64;

/** An encoded key and its hash. `words` views the same bytes; the bytes up to the next multiple of 4 are zero. */
export class EncodedKey {
  readonly words: Int32Array;
  length = 0;
  hashLow = 0;
  hashHigh = 0;

  constructor(readonly bytes: Uint8Array) {
    this.words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  }

  /** A copy that stays when the scratch buffer is used again. */
  copy(): EncodedKey {
    const copy = new EncodedKey(new Uint8Array((this.length + 3) & ~3));
    copy.bytes.set(this.bytes.subarray(0, this.length));
    copy.length = this.length;
    copy.hashLow = this.hashLow;
    copy.hashHigh = this.hashHigh;
    return copy;
  }
}

const float = new Float64Array(1);
const floatWords = new Uint32Array(float.buffer);

export class KeyCodec {
  /** The key encoded last, until the next call of `encode`. */
  readonly current = new EncodedKey(new Uint8Array(MAX_KEY_BYTES + SCRATCH_SLACK));
  private readonly bytes = this.current.bytes;
  private at = 0;

  /**
   * Encodes `key` within a namespace into `current` (its hash is not computed here).
   * @throws KvEncodingError for what cannot be a key
   * @throws KvTooLargeError when the bytes exceed `MAX_KEY_BYTES`
   */
  encode(namespace: number, key: KvKey): EncodedKey {
    const bytes = this.bytes;
    let at = 0;
    if (namespace < 0x80) {
      bytes[at++] = namespace;
    } else {
      bytes[at++] = 0x80 | (namespace >>> 8);
      bytes[at++] = namespace & 0xff;
    }
    if (typeof key === 'string' && key.length <= MAX_KEY_BYTES) {
      bytes[at++] = TAG_STRING;
      const length = key.length;
      let i = 0;
      for (; i < length; i++) {
        const unit = key.charCodeAt(i);
        if (unit >= 0x80) break;
        bytes[at++] = unit;
      }
      this.at = at;
      if (i < length) this.utf8(key, i, false);
    } else {
      this.at = at;
      this.write(key, 0);
    }
    at = this.at;
    if (at > MAX_KEY_BYTES) throw tooLarge();
    this.current.length = at;
    bytes[at] = 0;
    bytes[at + 1] = 0;
    bytes[at + 2] = 0;
    return this.current;
  }

  private write(key: unknown, depth: number): void {
    const nested = depth > 0;
    this.room(16);
    switch (typeof key) {
      case 'string':
        this.bytes[this.at++] = TAG_STRING;
        if (key.length > MAX_KEY_BYTES) throw tooLarge();
        this.utf8(key, 0, nested);
        if (nested) this.bytes[this.at++] = TAG_END;
        return;
      case 'number':
        this.number(key);
        return;
      case 'bigint':
        this.bigint(key);
        return;
      case 'boolean':
        this.bytes[this.at++] = key ? TAG_TRUE : TAG_FALSE;
        return;
      case 'object':
        if (key === null) break;
        if (depth >= MAX_KEY_DEPTH) {
          throw new KvEncodingError(
            `A key is nested deeper than ${MAX_KEY_DEPTH} levels (or contains itself).`,
          );
        }
        if (key instanceof Uint8Array) this.byteArray(key, nested);
        else if (Array.isArray(key)) this.array(key, depth);
        else this.object(key, depth);
        return;
    }
    throw notAKey(key === null ? 'null' : typeof key);
  }

  private array(key: readonly unknown[], depth: number): void {
    this.bytes[this.at++] = TAG_ARRAY;
    for (const element of key) this.write(element, depth + 1);
    this.room(1);
    this.bytes[this.at++] = TAG_END;
  }

  private object(key: object, depth: number): void {
    const prototype: unknown = Object.getPrototypeOf(key);
    if (prototype !== Object.prototype && prototype !== null) {
      throw notAKey(`an instance of ${key.constructor?.name || 'a class'}`);
    }
    if (Object.getOwnPropertySymbols(key).length > 0) throw notAKey('an object with symbol fields');
    this.bytes[this.at++] = TAG_OBJECT;
    for (const field of Object.keys(key).sort()) {
      this.write(field, depth + 1);
      this.write((key as Record<string, unknown>)[field], depth + 1);
    }
    this.room(1);
    this.bytes[this.at++] = TAG_END;
  }

  /** IEEE 754 in big-endian order, with the bits turned so that bytes compare as the numbers do. */
  private number(key: number): void {
    float[0] = key === 0 ? 0 : key; // -0 and 0 are one key, as in a Map
    let low = floatWords[0];
    let high = floatWords[1];
    if (Number.isNaN(key)) {
      low = 0;
      high = 0x7ff80000;
    }
    if (high >>> 31 === 1) {
      low = ~low;
      high = ~high;
    } else {
      high ^= 0x80000000;
    }
    const bytes = this.bytes;
    let at = this.at;
    bytes[at++] = TAG_NUMBER;
    for (let shift = 24; shift >= 0; shift -= 8) bytes[at++] = high >>> shift;
    for (let shift = 24; shift >= 0; shift -= 8) bytes[at++] = low >>> shift;
    this.at = at;
  }

  /** Sign and length in one byte, then the magnitude; of negative numbers everything is complemented. */
  private bigint(key: bigint): void {
    const negative = key < 0n;
    const hex = key === 0n ? '' : (negative ? -key : key).toString(16);
    const length = (hex.length + 1) >>> 1;
    if (length > MAX_BIGINT_BYTES) {
      throw new KvTooLargeError(`A bigint in a key has more than ${MAX_BIGINT_BYTES * 8} bits.`);
    }
    this.room(length + 2);
    const magnitude = hex.padStart(length * 2, '0');
    const bytes = this.bytes;
    bytes[this.at++] = TAG_BIGINT;
    bytes[this.at++] = negative ? 0x7f - length : 0x80 + length;
    for (let i = 0; i < length; i++) {
      const byte = Number.parseInt(magnitude.slice(i * 2, i * 2 + 2), 16);
      bytes[this.at++] = negative ? ~byte : byte;
    }
  }

  private byteArray(key: Uint8Array, nested: boolean): void {
    this.bytes[this.at++] = TAG_BYTES;
    this.room(key.length);
    if (!nested) {
      this.bytes.set(key, this.at);
      this.at += key.length;
      return;
    }
    for (const byte of key) {
      // Checked for each byte, because only zeros take two.
      if (this.at > MAX_KEY_BYTES) throw tooLarge();
      this.bytes[this.at++] = byte;
      if (byte === 0) this.bytes[this.at++] = ESCAPE;
    }
    this.bytes[this.at++] = TAG_END;
  }

  /** UTF-8 from code unit `from` on; a lone surrogate takes three bytes (WTF-8), so that no two strings meet. */
  private utf8(key: string, from: number, escape: boolean): void {
    const bytes = this.bytes;
    let at = this.at;
    for (let i = from; i < key.length; i++) {
      // Checked for each character, because one may take four bytes and a nested one two more.
      if (at > MAX_KEY_BYTES) throw tooLarge();
      const unit = key.charCodeAt(i);
      if (unit < 0x80) {
        bytes[at++] = unit;
        if (unit === 0 && escape) bytes[at++] = ESCAPE;
      } else if (unit < 0x800) {
        bytes[at++] = 0xc0 | (unit >>> 6);
        bytes[at++] = 0x80 | (unit & 0x3f);
      } else {
        const next = (unit & 0xfc00) === 0xd800 ? key.charCodeAt(i + 1) : 0;
        if ((next & 0xfc00) === 0xdc00) {
          const point = 0x10000 + ((unit & 0x3ff) << 10) + (next & 0x3ff);
          i++;
          bytes[at++] = 0xf0 | (point >>> 18);
          bytes[at++] = 0x80 | ((point >>> 12) & 0x3f);
          bytes[at++] = 0x80 | ((point >>> 6) & 0x3f);
          bytes[at++] = 0x80 | (point & 0x3f);
        } else {
          bytes[at++] = 0xe0 | (unit >>> 12);
          bytes[at++] = 0x80 | ((unit >>> 6) & 0x3f);
          bytes[at++] = 0x80 | (unit & 0x3f);
        }
      }
    }
    this.at = at;
  }

  private room(bytes: number): void {
    if (this.at + bytes > MAX_KEY_BYTES + SCRATCH_SLACK / 2) throw tooLarge();
  }
}

function tooLarge(): KvTooLargeError {
  return new KvTooLargeError(
    `A key takes more than ${MAX_KEY_BYTES} bytes. Use a shorter key, such as a hash of it.`,
  );
}

function notAKey(what: string): KvEncodingError {
  return new KvEncodingError(
    `${what} cannot be (part of) a key. Keys are strings, numbers, bigints, booleans, byte arrays, and arrays and ` +
      `plain objects of these.`,
  );
}
