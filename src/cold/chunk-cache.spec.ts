import { SeededRandom } from '../../test/support/seeded-random.js';
import type { LogAddress } from '../log/address.js';
import { ChunkCache } from './chunk-cache.js';
import { ChunkView, entryWords } from './hash-chunk.js';

/** A chunk that tells where it is from. */
function chunkAt(address: number, count: number): ChunkView {
  const words = new Int32Array(3 + entryWords(count)).map((_, i) => address * 31 + i);
  return new ChunkView().set(words, 3, count);
}

function contents({ words, at, count }: ChunkView): number[] {
  return [...words.slice(at, at + entryWords(count))];
}

function check(cache: ChunkCache, address: number, count: number): boolean {
  const view = new ChunkView();
  if (!cache.get(address as LogAddress, view)) return false;
  expect(view.count).toBe(count);
  expect(contents(view)).toEqual(contents(chunkAt(address, count)));
  return true;
}

const countAt = (address: number): number => 1 + ((address / 8) % 15);

describe('ChunkCache', () => {
  it('gives back what was put, whole and unmixed, within its memory', () => {
    const cache = new ChunkCache(100_000);
    expect(cache.memoryBytes).toBe(0);
    const random = new SeededRandom(1);
    let hits = 0;
    for (let i = 0; i < 20_000; i++) {
      const address = 8 * (1 + random.below(2000)) + 2 ** 40;
      if (check(cache, address, countAt(address))) hits++;
      else cache.put(address as LogAddress, chunkAt(address, countAt(address)));
    }
    expect(cache.memoryBytes).toBeGreaterThan(99_000);
    expect(cache.memoryBytes).toBeLessThanOrEqual(100_000);
    // Some 1,100 lines of 22 words for 2,000 chunks.
    expect(hits).toBeGreaterThan(9000);
    expect(hits).toBeLessThan(12_000);
  });

  it('keeps what is used rather than what is not', () => {
    const cache = new ChunkCache(50_000);
    const view = new ChunkView();
    const used = Array.from({ length: 30 }, (_, i) => 8 * (i + 1));
    for (let address = 8000; address < 20_000; address += 8) {
      for (const one of used) {
        if (!cache.get(one as LogAddress, view)) cache.put(one as LogAddress, chunkAt(one, 5));
      }
      cache.put(address as LogAddress, chunkAt(address, 5));
    }
    expect(used.filter((address) => check(cache, address, 5)).length).toBeGreaterThan(25);
  });

  it('takes 12 bytes for an entry of usual chunks', () => {
    const cache = new ChunkCache(120_000);
    const addresses = Array.from({ length: 1666 }, (_, i) => 8 * (i + 1));
    for (const address of addresses) cache.put(address as LogAddress, chunkAt(address, 6));
    // Blocks are not filled evenly: what overflows some is room left in others.
    expect(addresses.filter((address) => check(cache, address, 6)).length).toBeGreaterThan(1500);
  });

  it('keeps one copy of what is put twice, and none of what is too long', () => {
    // One block of 255 words: four lines of 53.
    const cache = new ChunkCache(1024);
    const view = new ChunkView();
    const put = (address: number, count: number): void =>
      cache.put(address as LogAddress, chunkAt(address, count));
    for (const address of [64, 72, 80, 64, 72, 80, 64, 88]) put(address, 20);
    put(96, 51);
    expect([64, 72, 80, 88, 96].map((address) => cache.get(address as LogAddress, view))).toEqual([
      true,
      true,
      true,
      true,
      false,
    ]);
    put(96, 50);
    // All had been used: the two oldest are gone.
    expect([64, 72].map((address) => check(cache, address, 20))).toEqual([false, false]);
    expect([80, 88].map((address) => check(cache, address, 20))).toEqual([true, true]);
    expect(check(cache, 96, 50)).toBe(true);
  });

  it('has room until it is full, also where the chunks are long', () => {
    for (const count of [6, 36]) {
      const cache = new ChunkCache(10_240);
      let address = 8;
      while (cache.hasRoom && address < 8 * 2000) {
        cache.put(address as LogAddress, chunkAt(address, count));
        address += 8;
      }
      expect([count, cache.hasRoom]).toEqual([count, false]);
      expect(address / 8).toBeGreaterThan(20);
    }
    expect(new ChunkCache(0).hasRoom).toBe(false);
  });

  it('puts what nobody asked for only where there is room', () => {
    const cache = new ChunkCache(1024);
    for (const address of [64, 72, 80, 88]) cache.putIfRoom(address as LogAddress, chunkAt(address, 20));
    cache.putIfRoom(96 as LogAddress, chunkAt(96, 20));
    expect([64, 72, 80, 88].every((address) => check(cache, address, 20))).toBe(true);
    expect(check(cache, 96, 20)).toBe(false);
  });

  it('tells addresses apart that only their high bits tell', () => {
    const cache = new ChunkCache(1024);
    const [low, high] = [64, 64 + 2 ** 35];
    cache.put(low as LogAddress, chunkAt(low, 3));
    expect(check(cache, high, 4)).toBe(false);
    cache.put(high as LogAddress, chunkAt(high, 4));
    expect([check(cache, low, 3), check(cache, high, 4)]).toEqual([true, true]);
  });

  it('is off without memory', () => {
    for (const bytes of [0, 100]) {
      const cache = new ChunkCache(bytes);
      cache.put(64 as LogAddress, chunkAt(64, 2));
      expect(check(cache, 64, 2)).toBe(false);
      expect(cache.memoryBytes).toBe(0);
    }
  });
});
