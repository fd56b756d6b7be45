/** The key of a record, where it lies: compared with an encoded key or with another record's, and the value behind it. */
import { EncodedKey } from '../codec/key-codec.js';
import type { KeyedHash } from '../codec/keyed-hash.js';
import { attributeWords } from './attributes.js';
import { FLAG_ATTRIBUTES, keyLengthOf, valueOffset } from './record.js';

/** Index of the first word of a record's key. */
export function keyStart(words: Int32Array, at: number): number {
  return at + (valueOffset(words[at + 1] & 0xff, 0) >> 2);
}

/** Index of the first byte of a record's value, behind its attributes. */
export function valueStart(words: Int32Array, at: number): number {
  const flags = words[at + 1] & 0xff;
  const start = at * 4 + valueOffset(flags, keyLengthOf(words, at));
  return (flags & FLAG_ATTRIBUTES) === 0 ? start : start + attributeWords(words, at) * 4;
}

/** Index of the byte behind a record's value. */
export function valueEnd(words: Int32Array, at: number): number {
  return at * 4 + valueOffset(words[at + 1] & 0xff, keyLengthOf(words, at)) + words[at + 2];
}

/** Whether a record is one of this key. Hot path (`npm run bench`, reads). */
export function hasKey(words: Int32Array, at: number, key: EncodedKey): boolean {
  const info = words[at + 1];
  const length = key.length;
  if (info >>> 16 !== length) return false;
  // A key lies behind the header, which is 2 words longer with an expiry.
  const start = at + (valueOffset(info & 0xff, 0) >> 2);
  const keyWords = key.words;
  const count = (length + 3) >> 2;
  for (let i = 0; i < count; i++) {
    if (words[start + i] !== keyWords[i]) return false;
  }
  return true;
}

/** Whether two records are of one key. */
export function sameKey(a: Int32Array, atA: number, b: Int32Array, atB: number): boolean {
  const length = keyLengthOf(a, atA);
  if (length !== keyLengthOf(b, atB)) return false;
  const startA = keyStart(a, atA);
  const startB = keyStart(b, atB);
  const count = (length + 3) >> 2;
  for (let i = 0; i < count; i++) if (a[startA + i] !== b[startB + i]) return false;
  return true;
}

/** The key of a record with its hash, in memory of its own. */
export function encodedKeyOf(words: Int32Array, at: number, hash: KeyedHash): EncodedKey {
  const length = keyLengthOf(words, at);
  const start = keyStart(words, at);
  const key = new EncodedKey(new Uint8Array((length + 3) & ~3));
  key.words.set(words.subarray(start, start + key.words.length));
  key.length = length;
  hash.hash(key.words, length);
  key.hashLow = hash.low;
  key.hashHigh = hash.high;
  return key;
}

/** Number of the namespace in front of a key, of which `word` is the first. */
export function spaceOf(word: number): number {
  const first = word & 0xff;
  return first < 0x80 ? first : ((first & 0x7f) << 8) | ((word >>> 8) & 0xff);
}
