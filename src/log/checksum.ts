/**
 * XXH32 (Yann Collet, the xxHash specification 0.1.1) over 32-bit words, as the checksum of records.
 *
 * Plain JavaScript over an `Int32Array`: a native CRC-32 costs more for its call than this does for the 100 to 200
 * bytes of a record. Only whole words are needed, because records are padded to multiples of 8 bytes. The hot path
 * is guarded by `npm run bench` (load).
 */

/** A constant, because Jest looks globals up through a proxy: the tests would take a hundred times as long. */
const { imul } = Math;

const PRIME1 = 0x9e3779b1 | 0;
const PRIME2 = 0x85ebca77 | 0;
const PRIME3 = 0xc2b2ae3d | 0;
const PRIME4 = 0x27d4eb2f | 0;
const PRIME5 = 0x165667b1 | 0;

/**
 * XXH32 of `words[from, to)` taken as little-endian bytes.
 *
 * @param words memory as 32-bit words
 * @param from index of the first word
 * @param to index behind the last word
 * @param seed 32-bit seed
 * @returns the hash as an unsigned 32-bit number
 */
export function xxh32(words: Int32Array, from: number, to: number, seed: number): number {
  const bytes = (to - from) << 2;
  let at = from;
  let hash: number;
  if (bytes >= 16) {
    let a = (seed + PRIME1 + PRIME2) | 0;
    let b = (seed + PRIME2) | 0;
    let c = seed | 0;
    let d = (seed - PRIME1) | 0;
    const lastStripe = to - 4;
    do {
      a = (a + imul(words[at], PRIME2)) | 0;
      a = imul((a << 13) | (a >>> 19), PRIME1);
      b = (b + imul(words[at + 1], PRIME2)) | 0;
      b = imul((b << 13) | (b >>> 19), PRIME1);
      c = (c + imul(words[at + 2], PRIME2)) | 0;
      c = imul((c << 13) | (c >>> 19), PRIME1);
      d = (d + imul(words[at + 3], PRIME2)) | 0;
      d = imul((d << 13) | (d >>> 19), PRIME1);
      at += 4;
    } while (at <= lastStripe);
    hash =
      ((a << 1) | (a >>> 31)) + ((b << 7) | (b >>> 25)) + ((c << 12) | (c >>> 20)) + ((d << 18) | (d >>> 14));
    hash |= 0;
  } else {
    hash = (seed + PRIME5) | 0;
  }
  hash = (hash + bytes) | 0;
  while (at < to) {
    hash = (hash + imul(words[at], PRIME3)) | 0;
    hash = imul((hash << 17) | (hash >>> 15), PRIME4);
    at++;
  }
  hash = imul(hash ^ (hash >>> 15), PRIME2);
  hash = imul(hash ^ (hash >>> 13), PRIME3);
  return (hash ^ (hash >>> 16)) >>> 0;
}
