/**
 * The commit record: the one mechanism behind prefix consistency, atomic batches, telling a torn tail from damage,
 * and group commit (`docs/format.md`). It closes the range of addresses since the previous one: after a restart
 * exactly the ranges closed by intact commit records exist.
 */
import type { LogAddress } from './address.js';
import { HEADER_WORDS, KIND_COMMIT, recordBytes, writeHeader } from './record.js';

export interface Commit {
  /** Running number, from 1. */
  number: number;
  /** First address of the range that is closed; its end is where the commit record itself ends. */
  from: LogAddress;
  /** Where the previous commit ended. Differs from `from` after an unclean stop, when the log went on further up. */
  previousEnd: LogAddress;
  /** Highest number of a commit known to be on stable storage when this one was written. */
  knownSynced: number;
  /** Sum (modulo 2^32) of the checksums of the records in the range. */
  rangeSum: number;
  /** No version below this was not yet handed out: where versions go on after a crash. */
  nextSequence: number;
  /** Where the hot log begins. */
  hotBegin: LogAddress;
  /** Where the cold log begins; 0 while there is none. */
  coldBegin: LogAddress;
  /** Highest wall-clock time seen, in milliseconds since 1970. */
  maxTime: number;
  /** Entries of the dictionary that records up to here may need. */
  dictionaryEntries: number;
}

// Words of the value: numbers above 32 bits take two (low, high).
const NUMBER = 0;
const FROM = 2;
const PREVIOUS_END = 4;
const KNOWN_SYNCED = 6;
const RANGE_SUM = 8;
const SESSIONS = 9;
const NEXT_SEQUENCE = 10;
const HOT_BEGIN = 12;
const COLD_BEGIN = 14;
const MAX_TIME = 16;
const DICTIONARY_ENTRIES = 18;
const COMMIT_VALUE_BYTES = 20 * 4;

export const COMMIT_BYTES = recordBytes(KIND_COMMIT, 0, COMMIT_VALUE_BYTES);

const TWO_32 = 2 ** 32;

/** Writes the record without its checksum. The number of sessions is 0: there are none yet. */
export function writeCommit(words: Int32Array, at: number, commit: Commit, sequence: number): void {
  writeHeader(words, at, KIND_COMMIT, 0, 0, COMMIT_VALUE_BYTES, sequence, 0 as LogAddress);
  const value = at + HEADER_WORDS;
  put(words, value + NUMBER, commit.number);
  put(words, value + FROM, commit.from);
  put(words, value + PREVIOUS_END, commit.previousEnd);
  put(words, value + KNOWN_SYNCED, commit.knownSynced);
  words[value + RANGE_SUM] = commit.rangeSum;
  words[value + SESSIONS] = 0;
  put(words, value + NEXT_SEQUENCE, commit.nextSequence);
  put(words, value + HOT_BEGIN, commit.hotBegin);
  put(words, value + COLD_BEGIN, commit.coldBegin);
  put(words, value + MAX_TIME, commit.maxTime);
  put(words, value + DICTIONARY_ENTRIES, commit.dictionaryEntries);
}

/** Reads a commit record whose checksum was found right. */
export function readCommit(words: Int32Array, at: number): Commit {
  const value = at + HEADER_WORDS;
  return {
    number: get(words, value + NUMBER),
    from: get(words, value + FROM) as LogAddress,
    previousEnd: get(words, value + PREVIOUS_END) as LogAddress,
    knownSynced: get(words, value + KNOWN_SYNCED),
    rangeSum: words[value + RANGE_SUM],
    nextSequence: get(words, value + NEXT_SEQUENCE),
    hotBegin: get(words, value + HOT_BEGIN) as LogAddress,
    coldBegin: get(words, value + COLD_BEGIN) as LogAddress,
    maxTime: get(words, value + MAX_TIME),
    dictionaryEntries: get(words, value + DICTIONARY_ENTRIES),
  };
}

/** Whether the words at `at` look like the header of a commit record, before its checksum is worth computing. */
export function looksLikeCommit(words: Int32Array, at: number): boolean {
  return words[at + 1] === KIND_COMMIT && words[at + 2] === COMMIT_VALUE_BYTES;
}

function put(words: Int32Array, at: number, value: number): void {
  words[at] = value;
  words[at + 1] = Math.floor(value / TWO_32);
}

function get(words: Int32Array, at: number): number {
  return words[at + 1] * TWO_32 + (words[at] >>> 0);
}
