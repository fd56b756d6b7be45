import { type LogAddress } from './address.js';
import { COMMIT_BYTES, looksLikeCommit, readCommit, writeCommit, type Commit } from './commit.js';
import {
  checksumOf,
  FLAG_EXPIRY,
  isIntact,
  KIND_COMMIT,
  KIND_VALUE,
  sequenceOf,
  totalBytes,
  writeHeader,
} from './record.js';

/** Every field different, so that none can stand in for another. */
const small: Commit = {
  number: 1,
  from: 64 as LogAddress,
  previousEnd: 72 as LogAddress,
  knownSynced: 2,
  rangeSum: 3,
  nextSequence: 4,
  hotBegin: 80 as LogAddress,
  coldBegin: 88 as LogAddress,
  maxTime: 5,
  dictionaryEntries: 6,
};

const large: Commit = {
  number: 2 ** 48 + 1,
  from: (2 ** 48 - 8) as LogAddress,
  previousEnd: (2 ** 47 + 2 ** 31) as LogAddress,
  knownSynced: 2 ** 48,
  rangeSum: -(2 ** 31),
  nextSequence: 2 ** 48 - 1,
  hotBegin: (2 ** 32 - 8) as LogAddress,
  coldBegin: (2 ** 35 + 2 ** 31) as LogAddress,
  maxTime: 8.64e15,
  dictionaryEntries: 2 ** 32 - 1,
};

const AT = 2;

function written(commit: Commit, sequence = 9): Int32Array {
  const words = new Int32Array(AT + COMMIT_BYTES / 4 + 2).fill(-1);
  writeCommit(words, AT, commit, sequence);
  return words;
}

describe('the commit record', () => {
  it.each([
    ['small', small],
    ['large', large],
  ])('keeps %s numbers in every field', (_name, commit) => {
    expect(readCommit(written(commit), AT)).toEqual(commit);
  });

  it('is a record of its own kind, and writes nothing outside of itself', () => {
    const words = written(large, 2 ** 48 - 1);
    words[AT] = checksumOf(words, AT, 4096 as LogAddress);
    expect(totalBytes(words, AT)).toBe(COMMIT_BYTES);
    expect(sequenceOf(words, AT)).toBe(2 ** 48 - 1);
    expect(isIntact(words, AT, COMMIT_BYTES, 4096 as LogAddress)).toBe(true);
    expect([words[0], words[1], ...words.slice(-2)]).toEqual([-1, -1, -1, -1]);
  });

  it('says that there are no sessions, whatever lay there', () => {
    expect(written(small)[AT + 24 / 4 + 9]).toBe(0);
  });

  it('is covered by its checksum as a whole', () => {
    const words = written(small);
    words[AT] = checksumOf(words, AT, 4096 as LogAddress);
    const accepted: number[] = [];
    for (let word = AT; word < AT + COMMIT_BYTES / 4; word++) {
      words[word] ^= 1 << (word & 31);
      if (isIntact(words, AT, COMMIT_BYTES, 4096 as LogAddress)) accepted.push(word);
      words[word] ^= 1 << (word & 31);
    }
    expect(accepted).toEqual([]);
  });

  it('is recognised by its kind and length, and nothing else is', () => {
    expect(looksLikeCommit(written(small), AT)).toBe(true);
    const like = (flags: number, slack: number, keyLength: number, valueLength: number): boolean => {
      const words = new Int32Array(32);
      writeHeader(words, 0, flags, slack, keyLength, valueLength, 1, 0 as LogAddress);
      return looksLikeCommit(words, 0);
    };
    const length = COMMIT_BYTES - 24;
    expect(like(KIND_COMMIT, 0, 0, length)).toBe(true);
    expect(like(KIND_VALUE, 0, 0, length)).toBe(false);
    expect(like(KIND_COMMIT, 0, 0, length + 8)).toBe(false);
    expect(like(KIND_COMMIT, 8, 0, length)).toBe(false);
    expect(like(KIND_COMMIT, 0, 1, length)).toBe(false);
    expect(like(KIND_COMMIT | FLAG_EXPIRY, 0, 0, length)).toBe(false);
  });
});
