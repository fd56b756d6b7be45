import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { HashIndex, PARTITIONS } from './hash-index.js';
import { IndexRows, rangeOf, RANGES } from './index-rows.js';
import { enterRest, LateEntries, LateRows, type LateSource } from './late-rows.js';

const at = (address: number) => address as LogAddress;
const hashOf = (key: number) => Math.imul(key + 1, 0x9e3779b1);
const KEYS = 60_000;

/** Rows for keys, in the order of the log, each at 64 bytes more than the one before. */
function rowsFor(keys: Iterable<number>, from: number, begin = 0): LateRows {
  const rows = new IndexRows(at(from));
  let address = from;
  for (const key of keys) rows.add(hashOf(key), at((address += 64)), 3);
  const { words, counts } = rows.byRange(rows.count);
  let position = 0;
  const ranges = counts.map((count) => words.slice(position * 2, (position += count) * 2));
  return new LateRows(at(from), ranges, rows.count, at(begin));
}

function* numbers(from: number, to: number) {
  for (let i = from; i < to; i++) yield i;
}

/** All entries, by chain. */
function entriesOf(index: HashIndex): Map<number, [address: number, sizeClass: number]> {
  const entries = new Map<number, [number, number]>();
  for (let partition = 0; partition < PARTITIONS; partition++)
    index.partition(partition, (address, sizeClass, chain) => entries.set(chain, [address, sizeClass]));
  return entries;
}

/** The same keys put at once. */
function directly(...stretches: [keys: Iterable<number>, from: number][]): HashIndex {
  const index = new HashIndex();
  for (const [keys, from] of stretches) {
    let address = from;
    for (const key of keys) {
      index.find(hashOf(key));
      index.put(hashOf(key), at((address += 64)), 3);
    }
  }
  return index;
}

describe('entries that come late', () => {
  const older = 64;
  const newer = 64 + KEYS * 64;
  const both = () => [rowsFor(numbers(0, KEYS), older), rowsFor(numbers(KEYS / 2, KEYS + 1000), newer)];
  const expected = () => directly([numbers(0, KEYS), older], [numbers(KEYS / 2, KEYS + 1000), newer]);

  it('are found at once, each', () => {
    const index = new HashIndex();
    index.enterLater(new LateEntries(both()));
    const whole = expected();
    expect(index.isEntered).toBe(false);
    for (let key = 0; key < KEYS + 2000; key += 7)
      expect(index.find(hashOf(key))).toBe(whole.find(hashOf(key)));
    index.find(hashOf(1));
    expect(index.foundSizeClass()).toBe(3);
  });

  it('are all there for whoever goes through the index, and in the end anyway', () => {
    const index = new HashIndex();
    index.enterLater(new LateEntries(both()));
    expect(entriesOf(index)).toEqual(entriesOf(expected()));
    expect([index.isEntered, index.entries]).toEqual([true, expected().entries]);
    const other = new HashIndex();
    other.enterLater(new LateEntries(both()));
    let steps = 0;
    while (other.enterNext()) steps++;
    expect([steps, other.isEntered, other.enterNext()]).toEqual([RANGES, true, false]);
    expect(entriesOf(other)).toEqual(entriesOf(expected()));
  });

  it('do not push back what is newer, nor bring what lies below the begin', () => {
    const index = new HashIndex();
    index.find(hashOf(700));
    index.put(hashOf(700), at(10 ** 9 * 8), 1);
    index.enterLater(new LateEntries([rowsFor(numbers(0, 1000), 64, 64 + 500 * 64)]));
    expect(index.find(hashOf(700))).toBe(10 ** 9 * 8);
    expect(index.find(hashOf(400))).toBe(NO_ADDRESS);
    expect(index.find(hashOf(499))).toBe(64 + 500 * 64);
  });

  it('and what is put meanwhile: each has its newest', () => {
    const index = new HashIndex();
    index.enterLater(new LateEntries(both()));
    for (let key = 0; key < KEYS; key += 100) {
      index.find(hashOf(key));
      index.put(hashOf(key), at(2 ** 33 + key * 8), 2);
    }
    index.remove(hashOf(1));
    while (index.enterNext());
    for (let key = 0; key < KEYS; key += 100) expect(index.find(hashOf(key))).toBe(2 ** 33 + key * 8);
    expect(index.find(hashOf(1))).toBe(NO_ADDRESS);
  });

  it('come from several sources in their order, each range once', () => {
    const index = new HashIndex();
    const seen: number[] = [];
    const source: LateSource = {
      count: 512,
      enter: (into, range) => {
        expect(into.find(hashOf(3))).toBe(64 + 4 * 64);
        seen.push(range);
      },
    };
    index.enterLater(new LateEntries([rowsFor([0, 1, 2, 3], 64), source]));
    expect(index.expectedEntries).toBe(516);
    expect(index.find(hashOf(3))).toBe(64 + 4 * 64);
    expect(index.find(hashOf(3))).toBe(64 + 4 * 64);
    expect(seen).toEqual([rangeOf(hashOf(3))]);
    while (index.enterNext());
    expect(new Set(seen).size).toBe(RANGES);
    expect(seen.length).toBe(RANGES);
    expect([index.entries, index.expectedEntries]).toEqual([4, 4]);
  });

  it('come in slices', async () => {
    const index = new HashIndex();
    index.enterLater(new LateEntries(both()));
    let turns = 0;
    const slices = {
      get over() {
        return true;
      },
      next: () => {
        turns++;
        return Promise.resolve();
      },
    };
    await enterRest(index, slices as never, () => turns < 5);
    expect([turns, index.isEntered]).toEqual([5, false]);
    await enterRest(index, slices as never);
    expect([turns, index.isEntered]).toEqual([RANGES, true]);
  });
});

describe('room that is reserved', () => {
  it.each([0, 1, 8192 * 5, 50_000, 81_920, 200_000])(
    'for %i keys is there at once, and all are found',
    (keys) => {
      const index = new HashIndex();
      index.reserve(keys);
      const { buckets } = index;
      expect(buckets).toBe(Math.max(8192, Math.ceil(keys / 5)));
      for (let key = 0; key < keys; key++) {
        index.find(hashOf(key));
        index.put(hashOf(key), at(64 + key * 8), 1);
      }
      expect(index.buckets).toBeLessThanOrEqual(buckets + 2);
      const { level, primary, split } = index.shape;
      expect(primary).toBe(2 ** level + split);
      for (let key = 0; key < keys; key += 11) expect(index.find(hashOf(key))).toBe(64 + key * 8);
    },
  );

  it('for more keys than there are leaves those where they are found', () => {
    const index = directly([numbers(0, 30_000), 64]);
    index.reserve(300_000);
    expect(index.buckets).toBe(60_000);
    index.reserve(10);
    expect(index.buckets).toBe(60_000);
    expect(entriesOf(index)).toEqual(entriesOf(directly([numbers(0, 30_000), 64])));
  });
});
