/**
 * HalfSipHash-1-3 with 64 bits of output (Aumasson and Bernstein; the reference implementation's `halfsiphash` with
 * one compression and three finalization rounds), keyed per store with random bytes: keys may come from strangers,
 * and an unkeyed hash would let them choose keys that collide. Works on the words of a scratch array, because keys
 * are encoded there; the result is left in two fields instead of an allocated pair. Hot path: `npm run bench`.
 */

export class KeyedHash {
  /** Low 32 bits of the last hash, signed. */
  low = 0;
  /** High 32 bits of the last hash, signed. */
  high = 0;
  private readonly k0: number;
  private readonly k1: number;

  /** @param key eight random bytes */
  constructor(key: Uint8Array) {
    const view = new DataView(key.buffer, key.byteOffset, 8);
    this.k0 = view.getInt32(0, true);
    this.k1 = view.getInt32(4, true);
  }

  /** Another one with the same key. */
  copy(): KeyedHash {
    return new KeyedHash(new Uint8Array(new Int32Array([this.k0, this.k1]).buffer));
  }

  /**
   * Hashes `length` bytes of `words` from word `from` on; the bytes behind, up to the next multiple of 4, must be zero.
   */
  hash(words: Int32Array, length: number, from = 0): void {
    const k0 = this.k0;
    const k1 = this.k1;
    let v0 = k0;
    let v1 = k1 ^ 0xee;
    let v2 = 0x6c796765 ^ k0;
    let v3 = 0x74656462 ^ k1;
    const whole = from + (length >>> 2);
    // The last block holds the remaining bytes and the length in its top byte.
    const last = ((length & 3) === 0 ? 0 : words[whole]) | (length << 24);
    for (let i = from; i <= whole; i++) {
      const m = i < whole ? words[i] : last;
      v3 ^= m;
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
      v0 ^= m;
    }
    v2 ^= 0xee;
    for (let output = 0; output < 2; output++) {
      for (let i = 0; i < 3; i++) {
        v0 = (v0 + v1) | 0;
        v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
        v0 = (v0 << 16) | (v0 >>> 16);
        v2 = (v2 + v3) | 0;
        v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
        v0 = (v0 + v3) | 0;
        v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
        v2 = (v2 + v1) | 0;
        v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
        v2 = (v2 << 16) | (v2 >>> 16);
      }
      if (output === 0) {
        this.low = v1 ^ v3;
        v1 ^= 0xdd;
      } else {
        this.high = v1 ^ v3;
      }
    }
  }
}
