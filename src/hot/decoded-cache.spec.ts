import { EncodedKey, type KvKey } from '../codec/key-codec.js';
import { writeHeader, KIND_VALUE } from '../log/record.js';
import { NO_ADDRESS } from '../log/address.js';
import { DecodedCache, share } from './decoded-cache.js';

/** A record of which only the header matters here. */
function record(version: number): { words: Int32Array; at: number } {
  const words = new Int32Array(16);
  writeHeader(words, 0, KIND_VALUE, 0, 4, 8, version, NO_ADDRESS);
  return { words, at: 0 };
}

/** A key of which only the hash matters here. */
function hashed(low: number, high: number): EncodedKey {
  const key = new EncodedKey(new Uint8Array(4));
  key.hashLow = low;
  key.hashHigh = high;
  return key;
}

describe('DecodedCache', () => {
  const keep = (cache: DecodedCache, encoded: EncodedKey, space: number, key: KvKey, value: unknown) =>
    cache.keep(encoded, space, key, value, record(1));

  it.each([
    ['another key of the same hash', hashed(5, 7), 0, 'other'],
    ['the key in another namespace', hashed(5, 7), 1, 'key'],
    ['the low half of the hash alone', hashed(5, 8), 0, 'key'],
    ['the high half of the hash alone', hashed(5 + 1000, 7), 0, 'key'],
  ])('does not take for it %s', (_, encoded, space, key) => {
    const cache = new DecodedCache(8);
    keep(cache, hashed(5, 7), 0, 'key', 'value');
    expect(cache.find(hashed(5, 7), 0, 'key')?.value).toBe('value');
    expect(cache.find(encoded, space, key)).toBeUndefined();
    cache.forget(hashed(5 + 1000, 7));
    cache.forget(hashed(5, 8));
    expect(cache.find(hashed(5, 7), 0, 'key')?.value).toBe('value');
  });

  it('has one value a hash, the last one, until it is forgotten', () => {
    const cache = new DecodedCache(8);
    keep(cache, hashed(5, 7), 0, 'key', 'old');
    keep(cache, hashed(5, 7), 0, 'key', 'new');
    expect(cache.find(hashed(5, 7), 0, 'key')?.value).toBe('new');
    cache.forget(hashed(5, 7));
    expect(cache.find(hashed(5, 7), 0, 'key')).toBeUndefined();
  });

  it.each([1, 3, 8, 15, 16, 23, 1000])('has room for %i and no more', (entries) => {
    const cache = new DecodedCache(entries);
    const keys = Array.from({ length: entries * 20 }, (_, i) => hashed(Math.imul(i, 0x9e3779b1), i));
    for (const [i, key] of keys.entries()) keep(cache, key, 0, i, i);
    const kept = keys.filter((key, i) => cache.find(key, 0, i)).length;
    expect(kept).toBeLessThanOrEqual(entries);
    expect(kept).toBeGreaterThan(entries * 0.85 - 1);
  });

  it('gives a place to the one that comes again, and not to who has been of use', () => {
    const cache = new DecodedCache(8);
    const keys = Array.from({ length: 9 }, (_, i) => hashed(i, i));
    for (let i = 0; i < 8; i++) keep(cache, keys[i], 0, i, i);
    for (const key of keys.slice(0, 7)) {
      const entry = cache.find(key, 0, key.hashLow);
      if (entry) cache.hit(entry);
    }
    for (let i = 0; i < 15; i++) keep(cache, keys[8], 0, 8, 8);
    expect(cache.find(keys[8], 0, 8)).toBeUndefined();
    keep(cache, keys[8], 0, 8, 8);
    expect(cache.find(keys[8], 0, 8)?.value).toBe(8);
    expect(keys.filter((key, i) => !cache.find(key, 0, i))).toEqual([keys[7]]);
  });

  it('counts hits up to an end', () => {
    const cache = new DecodedCache(8);
    keep(cache, hashed(1, 1), 0, 'key', 'value');
    const entry = cache.find(hashed(1, 1), 0, 'key');
    for (let i = 0; entry && i < 1000; i++) cache.hit(entry);
    expect(entry?.uses).toBe(255);
  });

  it('keeps nothing that cannot be frozen, nor under keys that are objects', () => {
    const cache = new DecodedCache(8);
    keep(cache, hashed(1, 1), 0, 'key', new Date(0));
    keep(cache, hashed(2, 2), 0, ['key'], 'value');
    expect(cache.find(hashed(1, 1), 0, 'key')).toBeUndefined();
    expect(cache.find(hashed(2, 2), 0, ['key'])).toBeUndefined();
  });

  it('freezes all of a plain value, and nothing of another', () => {
    const plain = { list: [{ deep: [1] }], none: null };
    expect([share(plain), Object.isFrozen(plain), Object.isFrozen(plain.list[0].deep)]).toEqual([
      true,
      true,
      true,
    ]);
    const other = { list: [1], date: new Date(0) };
    expect([share(other), Object.isFrozen(other), Object.isFrozen(other.list)]).toEqual([
      false,
      false,
      false,
    ]);
  });
});
