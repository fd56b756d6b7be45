/**
 * Attributes of an entry: what few entries have, in front of the value of those, where `FLAG_ATTRIBUTES` is set. They
 * count as part of the value wherever a record is only moved; who reads the value begins behind them.
 *
 *   word 0   number of tags
 *   word 1   stale window: milliseconds behind the expiry during which `getOrSet` may still answer with the value
 *   word 2   version of the value's shape, as `getOrSet` was told
 *   two words a tag: its hash (low, high)
 */
import { expiryOf, FLAG_ATTRIBUTES, keyLengthOf, valueOffset } from './record.js';

const TAGS = 0;
const STALE_MS = 1;
const SHAPE = 2;
export const ATTRIBUTE_WORDS = 3;
export const WORDS_PER_TAG = 2;

/** Longest stale window: 49 days, as its word has 32 bits. */
export const MAX_STALE_MS = 2 ** 32 - 1;

/** @param tags hashes of the tags, low and high */
export function makeAttributes(tags: ArrayLike<number>, staleMs: number, shape: number): Int32Array {
  const block = new Int32Array(ATTRIBUTE_WORDS + tags.length);
  block[TAGS] = tags.length / WORDS_PER_TAG;
  block[STALE_MS] = staleMs;
  block[SHAPE] = shape;
  block.set(tags, ATTRIBUTE_WORDS);
  return block;
}

export function tagCountOf(block: Int32Array, from = 0): number {
  return block[from + TAGS];
}

export function staleMsOf(block: Int32Array, from = 0): number {
  return block[from + STALE_MS] >>> 0;
}

export function shapeOf(block: Int32Array, from = 0): number {
  return block[from + SHAPE];
}

/** Index of the first word behind the key of a record: of its attributes, if it has some, else of its value. */
export function attributesStart(words: Int32Array, at: number): number {
  return at + (valueOffset(words[at + 1] & 0xff, keyLengthOf(words, at)) >> 2);
}

/** Words that the attributes of a record take; 0 when it has none. */
export function attributeWords(words: Int32Array, at: number): number {
  if ((words[at + 1] & FLAG_ATTRIBUTES) === 0) return 0;
  return ATTRIBUTE_WORDS + tagCountOf(words, attributesStart(words, at)) * WORDS_PER_TAG;
}

/** A copy of the attributes of a record; `undefined` when it has none. */
export function attributesOf(words: Int32Array, at: number): Int32Array | undefined {
  const count = attributeWords(words, at);
  if (count === 0) return undefined;
  const start = attributesStart(words, at);
  return words.slice(start, start + count);
}

/** Up to when a record has to be kept, milliseconds since 1970: to its expiry, and to the end of its stale window. */
export function keptUntil(words: Int32Array, at: number): number {
  const expiresAt = expiryOf(words, at);
  if ((words[at + 1] & FLAG_ATTRIBUTES) === 0) return expiresAt;
  return expiresAt + staleMsOf(words, attributesStart(words, at));
}
