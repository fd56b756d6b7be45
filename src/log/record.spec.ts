import { type LogAddress } from './address.js';
import { xxh32 } from './checksum.js';
import {
  checksumOf,
  expiryOf,
  FLAG_EXPIRY,
  HEADER_BYTES,
  isIntact,
  keyLengthOf,
  KIND_CHUNK,
  KIND_CLEAR,
  KIND_COMMIT,
  KIND_EXTENT,
  KIND_FILLER,
  KIND_MASK,
  KIND_NONE,
  KIND_TOMBSTONE,
  KIND_VALUE,
  MAX_SLACK_BYTES,
  previousOf,
  recordBytes,
  sequenceOf,
  totalBytes,
  valueOffset,
  writeExpiry,
  writeFiller,
  writeHeader,
} from './record.js';

const MIB = 1024 * 1024;
const HERE = 4096 as LogAddress;

const extremes = {
  sequence: [0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 47, 2 ** 48 - 1],
  previous: [0, 64, 2 ** 31, 2 ** 32, 2 ** 34 - 8, 2 ** 34, 2 ** 35, 2 ** 47, 2 ** 48 - 8],
  keyLength: [0, 1, 255, 256, 16384, 65535],
  slack: [0, 8, 1024, MAX_SLACK_BYTES],
  valueLength: [0, 1, 65536, 4 * MIB, 2 ** 30],
};

/** A sealed record with a value of running bytes, and how many words it takes with its slack. */
function record({ flags = KIND_VALUE, key = 5, value = 11, slack = 0, address = HERE, at = 0 } = {}): {
  words: Int32Array;
  bytes: number;
} {
  const bytes = recordBytes(flags, key, value) + slack;
  const words = new Int32Array(at + (bytes >> 2));
  writeHeader(words, at, flags, slack, key, value, 2 ** 40 + 17, (2 ** 36 + 8) as LogAddress);
  if (flags & FLAG_EXPIRY) writeExpiry(words, at, 1_767_225_600_000);
  const content = new Uint8Array(words.buffer, at * 4 + valueOffset(flags, 0), key + value);
  content.forEach((_, i) => (content[i] = i + 1));
  words[at] = checksumOf(words, at, address);
  return { words, bytes };
}

describe('the header', () => {
  it('keeps every combination of extreme fields apart', () => {
    const words = new Int32Array(16).fill(-1);
    for (const sequence of extremes.sequence)
      for (const previous of extremes.previous)
        for (const keyLength of extremes.keyLength)
          for (const slack of extremes.slack)
            for (const valueLength of extremes.valueLength)
              for (const flags of [KIND_VALUE, KIND_TOMBSTONE, KIND_VALUE | FLAG_EXPIRY, 0xff]) {
                writeHeader(words, 3, flags, slack, keyLength, valueLength, sequence, previous as LogAddress);
                const read = [
                  words[4] & 0xff,
                  ((words[4] >>> 8) & 0xff) * 8,
                  keyLengthOf(words, 3),
                  words[5],
                  sequenceOf(words, 3),
                  previousOf(words, 3),
                ];
                const written = [flags, slack, keyLength, valueLength, sequence, previous];
                // One comparison a header: expect() 10,000 times over would take seconds.
                if (read.some((field, i) => field !== written[i])) expect(read).toEqual(written);
              }
    expect([words[2], words[9]]).toEqual([-1, -1]);
  });

  it.each([0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 1_767_225_600_000, 10 ** 15 + 2 ** 41, 2 ** 53 - 1])(
    'keeps an expiry of %d ms',
    (expiry) => {
      const words = new Int32Array(8);
      writeHeader(words, 0, KIND_VALUE | FLAG_EXPIRY, 0, 0, 0, 1, 0 as LogAddress);
      writeExpiry(words, 0, expiry);
      expect(expiryOf(words, 0)).toBe(expiry);
    },
  );

  it('has no expiry without the flag, whatever lies there', () => {
    expect(expiryOf(record({ value: 100 }).words, 0)).toBe(Infinity);
  });
});

describe('sizes', () => {
  it('counts header, expiry, padded key and padded value', () => {
    expect(HEADER_BYTES).toBe(24);
    expect(recordBytes(KIND_TOMBSTONE, 0, 0)).toBe(24);
    expect(recordBytes(KIND_TOMBSTONE, 1, 0)).toBe(32);
    expect(recordBytes(KIND_VALUE, 4, 4)).toBe(32);
    expect(recordBytes(KIND_VALUE, 4, 5)).toBe(40);
    expect(recordBytes(KIND_VALUE, 5, 0)).toBe(32);
    expect(recordBytes(KIND_VALUE | FLAG_EXPIRY, 4, 4)).toBe(40);
    expect(valueOffset(KIND_VALUE | FLAG_EXPIRY, 5)).toBe(40);
  });

  it.each([KIND_VALUE, KIND_TOMBSTONE, KIND_COMMIT, KIND_CLEAR, KIND_VALUE | FLAG_EXPIRY])(
    'finds the whole length of flags %i in the header',
    (flags) => {
      const words = new Int32Array(8);
      for (const keyLength of extremes.keyLength)
        for (const slack of extremes.slack)
          for (const valueLength of extremes.valueLength) {
            writeHeader(words, 0, flags, slack, keyLength, valueLength, 1, 0 as LogAddress);
            const expected = recordBytes(flags, keyLength, valueLength) + slack;
            expect(totalBytes(words, 0)).toBe(expected);
            expect(expected % 8).toBe(0);
          }
    },
  );

  it.each([8, 16, 24, 4096, 4 * MIB])('a filler of %i bytes says so in two words', (bytes) => {
    const words = new Int32Array(4).fill(-1);
    writeFiller(words, 1, bytes, HERE);
    expect(words[2] & KIND_MASK).toBe(KIND_FILLER);
    expect(totalBytes(words, 1)).toBe(bytes);
    expect(isIntact(words, 1, 8, HERE)).toBe(true);
    expect([words[0], words[3]]).toEqual([-1, -1]);
  });
});

describe('the checksum', () => {
  it.each([
    [8, 1],
    [4096, 512],
    [2 ** 35 - 8, 0xffff_ffff],
    // From 2^35 on the units have a second word.
    [2 ** 35 + 24, 3 ^ 0x9e37_79b1],
    [2 ** 37 + 8, 1 ^ Math.imul(4, 0x9e37_79b1)],
  ])('of a record at %d has the seed %d, changed by the salt of the log', (address, seed) => {
    const { words } = record();
    const seeded = (by: number) => xxh32(words, 1, words.length, by) | 0;
    expect(checksumOf(words, 0, address as LogAddress)).toBe(seeded(seed));
    expect(checksumOf(words, 0, address as LogAddress, 0x1234_5678)).toBe(seeded(seed ^ 0x1234_5678));
  });
});

describe('isIntact', () => {
  const kinds = [
    ['a value', {}],
    ['a value with expiry', { flags: KIND_VALUE | FLAG_EXPIRY }],
    ['a tombstone', { flags: KIND_TOMBSTONE, value: 0 }],
    ['a clear mark', { flags: KIND_CLEAR, key: 2, value: 0 }],
    ['a record that is all header', { flags: KIND_CLEAR, key: 0, value: 0 }],
    ['a commit', { flags: KIND_COMMIT, key: 0, value: 80 }],
  ] as const;

  it.each(kinds)('accepts %s, and refuses it with any one bit flipped', (_name, options) => {
    const { words, bytes } = record(options);
    expect(isIntact(words, 0, bytes, HERE)).toBe(true);
    const accepted: number[] = [];
    for (let bit = 0; bit < bytes * 8; bit++) {
      words[bit >> 5] ^= 1 << (bit & 31);
      if (isIntact(words, 0, bytes, HERE)) accepted.push(bit);
      words[bit >> 5] ^= 1 << (bit & 31);
    }
    expect(accepted).toEqual([]);
  });

  it('refuses a filler with any bit of its two words flipped', () => {
    const words = new Int32Array(4);
    writeFiller(words, 0, 16, HERE);
    const accepted: number[] = [];
    for (let bit = 0; bit < 64; bit++) {
      words[bit >> 5] ^= 1 << (bit & 31);
      if (isIntact(words, 0, 16, HERE)) accepted.push(bit);
      words[bit >> 5] ^= 1 << (bit & 31);
    }
    expect(accepted).toEqual([]);
  });

  it('does not look at what lies behind a filler, and wants all of its two words', () => {
    const words = new Int32Array(64);
    writeFiller(words, 0, 2 ** 20, HERE);
    words.fill(-1, 2);
    expect(isIntact(words, 0, 2 ** 20, HERE)).toBe(true);
    expect([0, 4, 7].filter((available) => isIntact(words, 0, available, HERE))).toEqual([]);
  });

  it('refuses a header that does not fit in, where memory ends within it', () => {
    const words = new Int32Array(2);
    words[1] = KIND_VALUE;
    // Over what a reader would take for the record that went on where there is no memory.
    words[0] = checksumOf(words, 0, HERE);
    expect(isIntact(words, 0, 8, HERE)).toBe(false);
  });

  it('does not look at the slack, which nobody writes', () => {
    const { words, bytes } = record({ slack: 16 });
    words[(bytes >> 2) - 1] = -1;
    expect(isIntact(words, 0, bytes, HERE)).toBe(true);
    expect(isIntact(words, 0, bytes - 8, HERE)).toBe(false);
  });

  const addresses = [64, 72, 2 ** 31, 2 ** 32, 2 ** 34, 2 ** 35, 2 ** 35 + 8, 2 ** 36, 2 ** 47, 2 ** 48 - 64];

  it('refuses a record at any other address than its own, also beyond 2^35', () => {
    for (const own of addresses) {
      const { words, bytes } = record({ address: own as LogAddress });
      const filler = new Int32Array(2);
      writeFiller(filler, 0, 8, own as LogAddress);
      const accepting = addresses.filter((other) => isIntact(words, 0, bytes, other as LogAddress));
      const acceptingFiller = addresses.filter((other) => isIntact(filler, 0, 8, other as LogAddress));
      expect([accepting, acceptingFiller]).toEqual([[own], [own]]);
    }
  });

  it('looks where it is told, not at the start', () => {
    const { words, bytes } = record({ at: 6 });
    expect(isIntact(words, 6, bytes, HERE)).toBe(true);
    expect(isIntact(words, 4, bytes, HERE)).toBe(false);
  });

  it('refuses a record longer than what is available, by as little as 8 bytes', () => {
    const { words, bytes } = record({ value: 100 });
    expect(isIntact(words, 0, bytes, HERE)).toBe(true);
    for (let available = 0; available < bytes; available++)
      expect(isIntact(words, 0, available, HERE)).toBe(false);
  });

  it.each([-1, -(2 ** 31), 2 ** 31 - 1, 2 ** 31 - 40])(
    'refuses a value length of %i with a checksum that would fit',
    (length) => {
      const words = new Int32Array(64);
      writeHeader(words, 0, KIND_VALUE, 0, 65535, length, 1, 0 as LogAddress);
      // Over what a reader that let the length overflow would take for the record.
      words[0] = checksumOf(words, 0, HERE);
      expect(isIntact(words, 0, 256, HERE)).toBe(false);
    },
  );

  it('refuses bytes that were never written, unknown kinds, and a filler of no length', () => {
    const sealed = (info: number): boolean => {
      const words = new Int32Array(8);
      words[1] = info;
      words[0] = checksumOf(words, 0, HERE);
      return isIntact(words, 0, 32, HERE);
    };
    expect(sealed(KIND_CLEAR)).toBe(true);
    expect([KIND_NONE, KIND_EXTENT, KIND_CHUNK].map(sealed)).toEqual([false, true, true]);
    expect([KIND_FILLER, KIND_FILLER | (1 << 8)].map(sealed)).toEqual([false, true]);
    expect(isIntact(new Int32Array(8), 0, 32, HERE)).toBe(false);
  });
});
