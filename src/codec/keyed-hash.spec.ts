import { SeededRandom } from '../../test/support/seeded-random.js';
import { KeyedHash } from './keyed-hash.js';

const WORD = 0xffffffffn;
const rotate = (x: bigint, by: bigint): bigint => ((x << by) | (x >> (32n - by))) & WORD;

/**
 * `halfsiphash.c` of the reference implementation, line by line: cROUNDS and dROUNDS as given, outlen 8. Big integers
 * instead of 32-bit tricks, so that it shares no mistake with ours.
 */
function reference(key: Uint8Array, bytes: Uint8Array, compressions: number, finalizations: number): bigint {
  const little = (from: Uint8Array, at: number): bigint =>
    BigInt(from[at]) |
    (BigInt(from[at + 1]) << 8n) |
    (BigInt(from[at + 2]) << 16n) |
    (BigInt(from[at + 3]) << 24n);
  const k0 = little(key, 0);
  const k1 = little(key, 4);
  let v0 = 0n ^ k0;
  let v1 = 0n ^ k1 ^ 0xeen;
  let v2 = 0x6c796765n ^ k0;
  let v3 = 0x74656462n ^ k1;
  const round = (): void => {
    v0 = (v0 + v1) & WORD;
    v1 = rotate(v1, 5n) ^ v0;
    v0 = rotate(v0, 16n);
    v2 = (v2 + v3) & WORD;
    v3 = rotate(v3, 8n) ^ v2;
    v0 = (v0 + v3) & WORD;
    v3 = rotate(v3, 7n) ^ v0;
    v2 = (v2 + v1) & WORD;
    v1 = rotate(v1, 13n) ^ v2;
    v2 = rotate(v2, 16n);
  };
  const left = bytes.length % 4;
  const end = bytes.length - left;
  for (let at = 0; at < end; at += 4) {
    const m = little(bytes, at);
    v3 ^= m;
    for (let i = 0; i < compressions; i++) round();
    v0 ^= m;
  }
  let b = (BigInt(bytes.length) << 24n) & WORD;
  for (let i = 0; i < left; i++) b |= BigInt(bytes[end + i]) << BigInt(8 * i);
  v3 ^= b;
  for (let i = 0; i < compressions; i++) round();
  v0 ^= b;
  v2 ^= 0xeen;
  for (let i = 0; i < finalizations; i++) round();
  const low = v1 ^ v3;
  v1 ^= 0xddn;
  for (let i = 0; i < finalizations; i++) round();
  return ((v1 ^ v3) << 32n) | low;
}

function hashOf(hash: KeyedHash, bytes: Uint8Array): bigint {
  const words = new Int32Array((bytes.length >> 2) + 2);
  new Uint8Array(words.buffer).set(bytes);
  hash.hash(words, bytes.length);
  return (BigInt(hash.high >>> 0) << 32n) | BigInt(hash.low >>> 0);
}

describe('KeyedHash', () => {
  it('checks against a transcription that gives the published vectors of HalfSipHash-2-4', () => {
    const key = Uint8Array.from({ length: 8 }, (_, i) => i);
    const vectors = [0x21_8d_1f_59_b9_b8_3c_c8n, 0xbe_55_24_12_f8_38_73_15n, 0x06_4f_39_ef_7c_50_eb_57n];
    const bigEndian = (value: bigint): bigint => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(value);
      return bytes.readBigUInt64BE();
    };
    for (const [length, vector] of vectors.entries()) {
      const input = Uint8Array.from({ length }, (_, i) => i);
      expect(bigEndian(reference(key, input, 2, 4))).toBe(vector);
    }
  });

  it('is HalfSipHash-1-3 for all lengths from 0 to 70', () => {
    const random = new SeededRandom(1);
    for (let length = 0; length <= 70; length++) {
      for (const key of [new Uint8Array(8), new Uint8Array(8).fill(0xff), random.bytes(8)]) {
        const bytes = random.bytes(length);
        expect(hashOf(new KeyedHash(key), bytes)).toBe(reference(key, bytes, 1, 3));
      }
    }
  });

  it('counts a length of more than 255 bytes modulo 256, as the reference does', () => {
    const random = new SeededRandom(2);
    for (const length of [255, 256, 257, 16384]) {
      const [key, bytes] = [random.bytes(8), random.bytes(length)];
      expect(hashOf(new KeyedHash(key), bytes)).toBe(reference(key, bytes, 1, 3));
    }
  });

  it('reads its key where it lies in a larger buffer', () => {
    const key = Uint8Array.of(9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9).subarray(3, 11);
    const bytes = Buffer.from('some key');
    expect(hashOf(new KeyedHash(key), bytes)).toBe(reference(key, bytes, 1, 3));
  });

  it('gives another hash with every single bit of the key flipped', () => {
    const bytes = Buffer.from('user:17');
    const hashes = new Set([hashOf(new KeyedHash(new Uint8Array(8)), bytes)]);
    for (let bit = 0; bit < 64; bit++) {
      const key = new Uint8Array(8);
      key[bit >> 3] = 1 << (bit & 7);
      hashes.add(hashOf(new KeyedHash(key), bytes));
    }
    expect(hashes.size).toBe(65);
  });

  it('tells zeros at the end apart', () => {
    const hash = new KeyedHash(new Uint8Array(8));
    const hashes = new Set(Array.from({ length: 33 }, (_, length) => hashOf(hash, new Uint8Array(length))));
    expect(hashes.size).toBe(33);
  });

  it('spreads running keys evenly over every part of its low 28 bits', () => {
    const hash = new KeyedHash(new SeededRandom(3).bytes(8));
    const keys = 64 * 1024;
    const words = new Int32Array(2);
    for (const shift of [0, 6, 13, 20]) {
      const counts = new Int32Array(256);
      for (let key = 0; key < keys; key++) {
        words[0] = key;
        hash.hash(words, 4);
        counts[(hash.low >>> shift) & 0xff]++;
      }
      const expected = keys / 256;
      let chiSquare = 0;
      for (const count of counts) chiSquare += (count - expected) ** 2 / expected;
      // 255 degrees of freedom: the middle is 255, and one time in a million it is above 375 or below 155.
      expect(chiSquare).toBeGreaterThan(155);
      expect(chiSquare).toBeLessThan(375);
    }
  });
});
