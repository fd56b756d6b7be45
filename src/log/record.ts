/**
 * The record: what a log is a row of. This file is the format as data (offsets, flags) and the few functions that
 * read and write it in memory; `docs/format.md` is the same in prose, with an example in bytes. All numbers are
 * little-endian 32-bit words, because records lie on multiples of 8 and pages are seen as `Int32Array`s.
 *
 *   word 0   checksum: XXH32 of words 1 to the end of the value, seeded with its own address and the log's salt
 *   word 1   flags (8 bits) · slack in units of 8 bytes (8) · key length in bytes (16)
 *   word 2   value length in bytes, attributes included
 *   word 3   sequence number, low 32 bits
 *   word 4   sequence number, high 16 bits · previous address / 8, high 16 bits
 *   word 5   previous address / 8, low 32 bits
 *   [word 6, 7   expiry in milliseconds since 1970: low, high; where FLAG_EXPIRY is set]
 *   key, padded to 4 · [attributes] value · padded to 8 · slack
 *
 * A filler, which takes the rest of a page, may be as short as 8 bytes: word 1 holds the flags and, in its upper 24
 * bits, the length in units of 8 bytes; its checksum covers word 1 only.
 */
import { align8, type LogAddress } from './address.js';
import { xxh32 } from './checksum.js';

/** Kinds of record: the low three bits of the flags. 0 marks bytes that were never written. */
export const KIND_MASK = 7;
export const KIND_NONE = 0;
export const KIND_VALUE = 1;
export const KIND_TOMBSTONE = 2;
export const KIND_FILLER = 3;
export const KIND_COMMIT = 4;
export const KIND_CLEAR = 5;
/** A piece of a value that is too long for one record. */
export const KIND_EXTENT = 6;
/** A hash chunk of the cold index. */
export const KIND_CHUNK = 7;

export const FLAG_EXPIRY = 8;
/** The value is a list of where its pieces lie (`src/log/extents.ts`). */
export const FLAG_EXTENTS = 16;
/** Attributes lie in front of the value (`src/log/attributes.ts`). A clear mark with it is the invalidation of a tag. */
export const FLAG_ATTRIBUTES = 32;

export const HEADER_BYTES = 24;
export const HEADER_WORDS = HEADER_BYTES >> 2;
export const EXPIRY_BYTES = 8;
export const MIN_RECORD_BYTES = 8;
/** The slack field is a byte that counts units of 8. */
export const MAX_SLACK_BYTES = 255 * 8;

const TWO_32 = 2 ** 32;

/** Bytes from the start of a record to its value. */
export function valueOffset(flags: number, keyLength: number): number {
  return HEADER_BYTES + (flags & FLAG_EXPIRY) + ((keyLength + 3) & ~3);
}

/** Bytes of a record without slack. `FLAG_EXPIRY` has the value of the bytes that it adds. */
export function recordBytes(flags: number, keyLength: number, valueLength: number): number {
  return align8(valueOffset(flags, keyLength) + valueLength);
}

/** Whole length in bytes, from the first three words of any record (also a filler). */
export function totalBytes(words: Int32Array, at: number): number {
  const info = words[at + 1];
  if ((info & KIND_MASK) === KIND_FILLER) return (info >>> 8) * 8;
  return recordBytes(info & 0xff, info >>> 16, words[at + 2]) + ((info >>> 8) & 0xff) * 8;
}

export function keyLengthOf(words: Int32Array, at: number): number {
  return words[at + 1] >>> 16;
}

export function sequenceOf(words: Int32Array, at: number): number {
  return (words[at + 4] & 0xffff) * TWO_32 + (words[at + 3] >>> 0);
}

export function previousOf(words: Int32Array, at: number): LogAddress {
  return (((words[at + 4] >>> 16) * TWO_32 + (words[at + 5] >>> 0)) * 8) as LogAddress;
}

/** Expiry in milliseconds since 1970, `Infinity` without one. */
export function expiryOf(words: Int32Array, at: number): number {
  if ((words[at + 1] & FLAG_EXPIRY) === 0) return Infinity;
  return words[at + 7] * TWO_32 + (words[at + 6] >>> 0);
}

export function writeExpiry(words: Int32Array, at: number, expiresAt: number): void {
  words[at + 6] = expiresAt;
  words[at + 7] = Math.floor(expiresAt / TWO_32);
}

/** Writes words 1 to 5; the checksum comes when the record is sealed. */
export function writeHeader(
  words: Int32Array,
  at: number,
  flags: number,
  slackBytes: number,
  keyLength: number,
  valueLength: number,
  sequence: number,
  previous: LogAddress,
): void {
  const previousUnits = previous / 8;
  words[at + 1] = flags | (slackBytes << 5) | (keyLength << 16);
  words[at + 2] = valueLength;
  words[at + 3] = sequence;
  words[at + 4] = Math.floor(sequence / TWO_32) | (Math.floor(previousUnits / TWO_32) << 16);
  words[at + 5] = previousUnits;
}

/** Writes a filler of `bytes` (a multiple of 8) and its checksum. */
export function writeFiller(words: Int32Array, at: number, bytes: number, address: LogAddress): void {
  words[at + 1] = KIND_FILLER | ((bytes / 8) << 8);
  words[at] = checksumOf(words, at, address);
}

/**
 * The checksum that the record at `at` should carry when it lies at `address` of the log with this salt. Signed, as the
 * word is read.
 */
export function checksumOf(words: Int32Array, at: number, address: LogAddress, salt = 0): number {
  const units = address / 8;
  const seed = salt ^ (units | 0) ^ Math.imul(Math.floor(units / TWO_32), 0x9e3779b1);
  const info = words[at + 1];
  const end = (info & KIND_MASK) === KIND_FILLER ? 8 : recordBytes(info & 0xff, info >>> 16, words[at + 2]);
  return xxh32(words, at + 1, at + (end >> 2), seed) | 0;
}

/**
 * Whether the bytes at `at` are a whole record that lies at `address`: a known kind, a length within
 * `availableBytes`, a checksum that holds.
 */
export function isIntact(
  words: Int32Array,
  at: number,
  availableBytes: number,
  address: LogAddress,
  salt = 0,
): boolean {
  if (availableBytes < MIN_RECORD_BYTES) return false;
  const info = words[at + 1];
  const kind = info & KIND_MASK;
  if (kind === KIND_NONE) return false;
  if (kind === KIND_FILLER) {
    if (info >>> 8 === 0) return false;
  } else {
    // The length is checked on its own first: added to the rest it might overflow.
    if (availableBytes < HEADER_BYTES || words[at + 2] < 0 || words[at + 2] > availableBytes) return false;
    if (totalBytes(words, at) > availableBytes) return false;
  }
  return checksumOf(words, at, address, salt) === words[at];
}
