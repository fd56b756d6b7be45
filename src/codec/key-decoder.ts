/**
 * Canonical bytes back to keys: what a scan finds in the log becomes what the caller had set. The key comes back in
 * its one canonical form: 0 for -0, a plain `Uint8Array` for any byte array, objects with their fields in order.
 *
 * Each key has one encoding, and nothing else is taken for one: what decodes encodes to the same bytes again. A record
 * has passed its checksum before its key is decoded, so malformed bytes are a fault of this program, not of the disk.
 * Layout: `docs/format.md`. Hot path of scans: `string`.
 */
import { KvEncodingError } from '../errors.js';
import { MAX_KEY_BYTES, MAX_KEY_DEPTH } from '../limits.js';
import type { KvKey } from './key-codec.js';
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

/** The code units of the string being decoded, and the same memory as the bytes of one that is ASCII so far. */
const units = new Uint16Array(MAX_KEY_BYTES);
const scratch = Buffer.from(units.buffer);

const float = new Float64Array(1);
const floatWords = new Uint32Array(float.buffer);

/**
 * Number of the namespace at the front of an encoded key. The key proper begins behind it: one byte further for
 * numbers below 0x80, two for the others.
 */
export function namespaceOf(bytes: Uint8Array, at: number): number {
  const first = bytes[at];
  return first < 0x80 ? first : ((first & 0x7f) << 8) | bytes[at + 1];
}

/**
 * Decodes the key in `bytes[from, to)`, which begins with the number of its namespace, into one that shares nothing
 * with the bytes.
 * @throws KvEncodingError when the bytes are not those of a key
 */
export function decodeKey(bytes: Uint8Array, from: number, to: number): KvKey {
  if (from < 0 || to > bytes.length || to - from > MAX_KEY_BYTES) throw malformed('its range');
  const namespace = namespaceOf(bytes, from);
  const long = bytes[from] >= 0x80;
  if (long && namespace < 0x80) throw malformed('the number of its namespace');
  const reader = new KeyReader(bytes, from + (long ? 2 : 1), to);
  const key = reader.read(0);
  if (reader.at !== to) throw malformed('bytes behind its end');
  return key;
}

class KeyReader {
  constructor(
    private readonly bytes: Uint8Array,
    /** What is read next; never beyond `to`. */
    public at: number,
    private readonly to: number,
  ) {}

  read(depth: number): KvKey {
    const tag = this.byte();
    switch (tag) {
      case TAG_STRING:
        return this.string(depth > 0);
      case TAG_NUMBER:
        return this.number();
      case TAG_BIGINT:
        return this.bigint();
      case TAG_FALSE:
        return false;
      case TAG_TRUE:
        return true;
    }
    if (depth >= MAX_KEY_DEPTH) throw malformed('its depth');
    switch (tag) {
      case TAG_BYTES:
        return this.byteArray(depth > 0);
      case TAG_ARRAY:
        return this.array(depth);
      case TAG_OBJECT:
        return this.object(depth);
    }
    throw malformed('a tag');
  }

  private byte(): number {
    if (this.at >= this.to) throw malformed('its length');
    return this.bytes[this.at++];
  }

  private array(depth: number): KvKey[] {
    const elements: KvKey[] = [];
    while (!this.ends()) elements.push(this.read(depth + 1));
    return elements;
  }

  private object(depth: number): { readonly [field: string]: KvKey } {
    const fields: Record<string, KvKey> = {};
    let previous: string | undefined;
    while (!this.ends()) {
      if (this.byte() !== TAG_STRING) throw malformed('the name of a field');
      const name = this.string(true);
      if (previous !== undefined && name <= previous) throw malformed('the order of its fields');
      previous = name;
      const value = this.read(depth + 1);
      // What the prototype has is defined rather than assigned: '__proto__' would set it, and a frozen one refuses.
      if (name in fields) {
        Object.defineProperty(fields, name, { value, writable: true, enumerable: true, configurable: true });
      } else {
        fields[name] = value;
      }
    }
    return fields;
  }

  /** Steps over the end of an array or object, if it is here. */
  private ends(): boolean {
    if (this.at >= this.to) throw malformed('its length');
    if (this.bytes[this.at] !== TAG_END) return false;
    this.at++;
    return true;
  }

  private number(): number {
    let high = this.word();
    let low = this.word();
    if (high >>> 31 === 1) {
      high ^= 0x80000000;
    } else {
      high = ~high;
      low = ~low;
    }
    floatWords[0] = low;
    floatWords[1] = high;
    const number = float[0];
    if (Object.is(number, -0) || (Number.isNaN(number) && (high !== 0x7ff80000 || low !== 0))) {
      throw malformed('a second form of a number');
    }
    return number;
  }

  private word(): number {
    const { bytes, at } = this;
    if (this.to - at < 4) throw malformed('its length');
    this.at = at + 4;
    return (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
  }

  private bigint(): bigint {
    const head = this.byte();
    const negative = head < 0x80;
    const length = negative ? 0x7f - head : head - 0x80;
    if (length > MAX_BIGINT_BYTES || (negative && length === 0)) throw malformed('the length of a bigint');
    if (length === 0) return 0n;
    let hex = '0x';
    for (let i = 0; i < length; i++) {
      const byte = this.byte();
      const magnitude = negative ? byte ^ 0xff : byte;
      if (i === 0 && magnitude === 0) throw malformed('a second form of a bigint');
      hex += (magnitude < 0x10 ? '0' : '') + magnitude.toString(16);
    }
    return negative ? -BigInt(hex) : BigInt(hex);
  }

  private byteArray(nested: boolean): Uint8Array {
    const { bytes, to } = this;
    if (!nested) {
      const from = this.at;
      this.at = to;
      return new Uint8Array(bytes.subarray(from, to));
    }
    let length = 0;
    for (let next = this.unescaped(); next >= 0; next = this.unescaped()) scratch[length++] = next;
    return new Uint8Array(scratch.subarray(0, length));
  }

  /** The next byte of a nested byte array; -1 is its end. */
  private unescaped(): number {
    const byte = this.byte();
    if (byte !== TAG_END) return byte;
    if (this.at >= this.to || this.bytes[this.at] !== ESCAPE) return -1;
    this.at++;
    return 0;
  }

  /** The loop is for ASCII; at the first other character `wtf8` begins anew. A top-level string ends with the key. */
  private string(nested: boolean): string {
    const { bytes, at, to } = this;
    let length = 0;
    let i = at;
    for (; i < to; i++) {
      const byte = bytes[i];
      if (byte >= 0x80) return this.wtf8(nested);
      if (byte === 0 && nested) {
        // A zero that another part of the key follows, or nothing: the end. (No part begins with ESCAPE.)
        if (i + 1 >= to || bytes[i + 1] !== ESCAPE) break;
        i++;
      }
      scratch[length++] = byte;
    }
    if (nested && i >= to) throw malformed('its length');
    this.at = nested ? i + 1 : i;
    return scratch.toString('latin1', 0, length);
  }

  /** UTF-8, in which a lone surrogate has three bytes: TextDecoder would replace it, and accept what is not canonical. */
  private wtf8(nested: boolean): string {
    const { bytes, to } = this;
    let length = 0;
    let at = this.at;
    for (;;) {
      if (at >= to) {
        if (nested) throw malformed('its length');
        break;
      }
      const lead = bytes[at++];
      if (lead < 0x80) {
        if (lead === 0 && nested) {
          if (at >= to || bytes[at] !== ESCAPE) break;
          at++;
        }
        units[length++] = lead;
        continue;
      }
      const more = lead < 0xc2 ? -1 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : lead < 0xf5 ? 3 : -1;
      if (more < 0 || at + more > to) throw malformed('a character');
      let point = lead & (0x3f >>> more);
      for (let i = 0; i < more; i++) {
        const byte = bytes[at++];
        if ((byte & 0xc0) !== 0x80) throw malformed('a character');
        point = (point << 6) | (byte & 0x3f);
      }
      if (more === 3) {
        if (point < 0x10000 || point > 0x10ffff) throw malformed('a character');
        units[length++] = 0xd800 | ((point - 0x10000) >>> 10);
        units[length++] = 0xdc00 | (point & 0x3ff);
        continue;
      }
      if (more === 2) {
        if (point < 0x800) throw malformed('a character');
        // Two surrogates that make a pair are four bytes, not three and three.
        const low = (point & 0xfc00) === 0xdc00;
        if (low && length > 0 && (units[length - 1] & 0xfc00) === 0xd800) throw malformed('a character');
      }
      units[length++] = point;
    }
    this.at = at;
    return scratch.toString('utf16le', 0, length * 2);
  }
}

function malformed(what: string): KvEncodingError {
  return new KvEncodingError(`A stored key cannot be decoded: ${what} cannot be right. Please report this.`);
}
