/**
 * Keys that no index of the store can tell apart: with a hash key of zeros, those of a pair agree in 45 bits of their
 * hashes, and so in the 28 of the hot index. Nothing but comparing keys helps. In a store with a random hash key, some
 * eight million keys have one such pair by chance; these were found by going through 24 million.
 */
import { KeyCodec, type KvKey } from '../../src/codec/key-codec.js';
import { KeyedHash } from '../../src/codec/keyed-hash.js';
import { tagOf } from '../../src/cold/hash-chunk.js';
import type { Env } from '../../src/device/env.js';

/** All are strings of the store's own space, which is number 0. */
export const COLLIDING_PAIRS = [
  ['k2072179', 'k23059695'],
  ['k1669270', 'k18834195'],
  ['k6890266', 'k18841056'],
  ['k4246297', 'k12263904'],
] as const;

const HASH_KEY_BYTES = 8;

/** The same environment, in which stores are made with a hash key of zeros. */
export function withZeroHashKey(env: Env): Env {
  const bytes = (length: number) =>
    length === HASH_KEY_BYTES ? new Uint8Array(length) : env.random.bytes(length);
  return { ...env, random: { bytes } };
}

/** So many keys of the store's own space that belong to one partition. */
export function keysOfPartition(partition: number, count: number): string[] {
  const codec = new KeyCodec();
  const hash = new KeyedHash(new Uint8Array(HASH_KEY_BYTES));
  const keys: string[] = [];
  for (let i = 0; keys.length < count; i++) {
    const { words, length } = codec.encode(0, `k${i}`);
    hash.hash(words, length);
    if ((hash.low & 8191) === partition) keys.push(`k${i}`);
  }
  return keys;
}

/** What the indexes see of a key of the store's own space: low bits for the hot one; partition and tag for the cold one. */
export function hashBitsOf(key: KvKey): { hot: number; partition: number; tag: number } {
  const hash = new KeyedHash(new Uint8Array(HASH_KEY_BYTES));
  const { words, length } = new KeyCodec().encode(0, key);
  hash.hash(words, length);
  return {
    hot: hash.low & 0xfff_ffff,
    partition: hash.low & 8191,
    tag: tagOf(hash.low, hash.high),
  };
}
