import fc from 'fast-check';
import { EncodedKey } from '../codec/key-codec.js';
import { type LogAddress } from '../log/address.js';
import { FLAG_EXPIRY, KIND_VALUE, recordBytes, totalBytes, valueOffset, writeHeader } from '../log/record.js';
import { ReadCache } from './read-cache.js';

const KIB = 1024;
const MIB = 1024 * KIB;
/** Where records lie in their array: a cache that mixes up indices shows. */
const AT = 6;

/** A constant, because Jest looks globals up through a proxy, at a hundred times the cost. */
const { imul } = Math;

/** A hash that is as good as random for each number (the finalizer of MurmurHash3). */
function mixed(number: number): number {
  let hash = imul(number ^ (number >>> 16), 0x85ebca6b);
  hash = imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

function keyOf(text: string, hashLow: number): EncodedKey {
  const key = new EncodedKey(new Uint8Array((text.length + 3) & ~3));
  key.bytes.set(Buffer.from(text, 'latin1'));
  key.length = text.length;
  key.hashLow = hashLow;
  return key;
}

const nameOf = (key: EncodedKey): string => Buffer.from(key.bytes).toString('latin1', 0, key.length);
const numbered = (number: number): EncodedKey => keyOf(`key ${number}`, mixed(number));

/** Keys that fill all buckets alike, so that only the ring decides what goes. */
const spread = (number: number): EncodedKey => keyOf(`key ${number}`, number);

interface Kind {
  valueLength: number;
  slack?: number;
  flags?: number;
}

/** A record of a key at `AT`, filled with what only this `version` has. */
function recordOf(key: EncodedKey, version: number, { valueLength, slack = 0, flags = 0 }: Kind): Int32Array {
  const bytes = recordBytes(flags, key.length, valueLength) + slack;
  const words = new Int32Array(AT + (bytes >> 2) + 4).fill(0x5a5a5a5a);
  words.fill(0, AT + (recordBytes(flags, key.length, valueLength) >> 2) - 2, AT + (bytes >> 2));
  words[AT] = mixed(version);
  writeHeader(
    words,
    AT,
    KIND_VALUE | flags,
    slack,
    key.length,
    valueLength,
    version,
    (version * 8) as LogAddress,
  );
  const view = new Uint8Array(words.buffer);
  const start = AT * 4 + valueOffset(flags, key.length);
  const keyStart = AT * 4 + valueOffset(flags, 0);
  view.fill(0, keyStart, start);
  view.set(key.bytes.subarray(0, key.length), keyStart);
  for (let i = 0; i < valueLength; i++) view[start + i] = version * 31 + i;
  return words;
}

/** What a copy should be, and what the last `find` has found, as text that a failure can show. */
const expected = (words: Int32Array): string => {
  const info = words[AT + 1];
  const bytes = recordBytes(info & 0xff, info >>> 16, words[AT + 2]);
  const copy = words.slice(AT, AT + (bytes >> 2));
  copy[1] &= ~0xff00;
  return Buffer.from(copy.buffer).toString('hex');
};
const found = (cache: ReadCache): string =>
  cache.bytes.toString('hex', cache.at * 4, cache.at * 4 + totalBytes(cache.words, cache.at));

/** A cache beside a `Map` of what was filled last. */
class Checked {
  private readonly model = new Map<string, Int32Array>();
  readonly wrong: string[] = [];
  private version = 0;

  constructor(
    readonly cache: ReadCache,
    private readonly budget: number,
  ) {}

  fill(key: EncodedKey, kind: Kind): void {
    const words = recordOf(key, ++this.version, kind);
    const before = words.slice();
    this.cache.fill(key, words, AT);
    if (!words.every((word, i) => word === before[i])) this.wrong.push('source changed');
    this.model.set(nameOf(key), words);
    if (this.cache.memoryBytes > this.budget) this.wrong.push(`${this.cache.memoryBytes} bytes`);
  }

  find(key: EncodedKey): boolean {
    const hit = this.cache.find(key);
    const words = this.model.get(nameOf(key));
    if (hit && (!words || found(this.cache) !== expected(words))) {
      this.wrong.push(`${nameOf(key)}: not the record filled last`);
    }
    return hit;
  }

  drop(key: EncodedKey): void {
    this.cache.drop(key);
    this.model.delete(nameOf(key));
  }

  clear(): void {
    this.cache.clear();
    this.model.clear();
  }

  /** Looks all keys up: what is found is right, and as much as `entries` says. */
  check(keys: readonly EncodedKey[]): void {
    const hits = keys.filter((key) => this.find(key)).length;
    expect(this.wrong).toEqual([]);
    expect(hits).toBe(this.cache.entries);
  }
}

/** Keys of all kinds of likeness: same bucket, same slot bits, same hash; one the beginning of the other. */
const keys = Array.from({ length: 600 }, (_, i) => {
  const text = 'ab'.repeat(i % 23) + String.fromCharCode(i & 0xff, i >>> 8);
  const hashes = [mixed(i), i & 7, mixed(i & 3), mixed(i) & ~0xff, mixed(i) & 0xff];
  return keyOf(text, hashes[i % hashes.length]);
});

const key = fc.nat({ max: keys.length - 1 }).map((i) => keys[i]);
const kind = fc.record({
  valueLength: fc.oneof(
    { weight: 6, arbitrary: fc.nat({ max: 300 }) },
    { weight: 1, arbitrary: fc.nat({ max: 5 * KIB }) },
  ),
  slack: fc.constantFrom(0, 0, 8, 64, 2040),
  flags: fc.constantFrom(0, 0, FLAG_EXPIRY),
});
/** What runs against the model: mostly whole runs of fills, so that the ring goes round a few times. */
const step = fc.oneof(
  {
    weight: 30,
    arbitrary: fc
      .record({ key, kind, run: fc.nat({ max: 60 }) })
      .map(({ key, kind, run }) => (checked: Checked) => {
        const first = keys.indexOf(key);
        for (let i = 0; i <= run; i++) checked.fill(keys[(first + i * 7) % keys.length], kind);
      }),
  },
  {
    weight: 30,
    arbitrary: fc.record({ key, run: fc.nat({ max: 100 }) }).map(({ key, run }) => (checked: Checked) => {
      const first = keys.indexOf(key);
      for (let i = 0; i <= run; i++) checked.find(keys[(first + i * 3) % keys.length]);
    }),
  },
  { weight: 20, arbitrary: key.map((key) => (checked: Checked) => checked.drop(key)) },
  { weight: 1, arbitrary: fc.constant((checked: Checked) => checked.clear()) },
);

describe('ReadCache', () => {
  it.each([8 * KIB, 64 * KIB, 100_001])(
    'with %d bytes finds nothing but the record of a key that was filled last',
    (budget) => {
      let [evictions, secondChances] = [0, 0];
      fc.assert(
        fc.property(fc.array(step, { minLength: 50, maxLength: 150 }), (steps) => {
          const checked = new Checked(new ReadCache(budget), budget);
          for (const run of steps) run(checked);
          checked.check(keys);
          evictions += checked.cache.evictions;
          secondChances += checked.cache.secondChances;
        }),
        { numRuns: 60 },
      );
      // What the test is about has happened.
      expect(evictions).toBeGreaterThan(1000);
      expect(secondChances).toBeGreaterThan(1000);
    },
  );

  it('counts each entry once: filled, and then dropped, evicted or still there', () => {
    const checked = new Checked(new ReadCache(64 * KIB), 64 * KIB);
    let gone = 0;
    for (let i = 0; i < 20_000; i++) {
      const key = keys[(mixed(i) >>> 8) & 511];
      const before = checked.cache.entries;
      if (i % 5 === 0) checked.drop(key);
      if (i % 5 === 1) checked.find(key);
      gone += before - checked.cache.entries;
      if (i % 5 > 1) {
        if (checked.find(key)) gone++;
        checked.fill(key, { valueLength: i % 200 });
      }
    }
    checked.check(keys);
    const { fills, evictions, entries } = checked.cache;
    expect(fills).toBe(12_000);
    expect(evictions).toBeGreaterThan(1000);
    expect(gone).toBeGreaterThan(1000);
    expect(fills - evictions - gone).toBe(entries);
  });

  it('finds everything as long as there is room, and counts hits and misses', () => {
    const checked = new Checked(new ReadCache(MIB), MIB);
    const many = Array.from({ length: 3000 }, (_, i) => numbered(i));
    for (const [i, key] of many.entries()) checked.fill(key, { valueLength: i % 200 });
    checked.check(many);
    expect(checked.cache).toMatchObject({ entries: 3000, fills: 3000, hits: 3000, misses: 0, evictions: 0 });
    for (let i = 3000; i < 6000; i++) checked.find(numbered(i));
    expect(checked.cache).toMatchObject({ hits: 3000, misses: 3000 });
  });

  it('tells keys of the same hash apart, and drops only the one that is meant', () => {
    const checked = new Checked(new ReadCache(64 * KIB), 64 * KIB);
    const alike = ['', 'a', 'ab', 'ab\0', 'abcd', 'abce', 'abcd\0'].map((text) => keyOf(text, -77));
    for (const key of alike) checked.fill(key, { valueLength: 50 });
    checked.drop(alike[4]);
    checked.drop(keyOf('ab\0\0', -77));
    checked.check(alike);
    expect(alike.map((key) => checked.find(key))).toEqual([true, true, true, true, false, true, true]);
  });

  it('gives up the oldest entry of a full bucket, but a referenced one only if all are', () => {
    const checked = new Checked(new ReadCache(64 * KIB), 64 * KIB);
    const alike = Array.from({ length: 17 }, (_, i) => keyOf(`key ${i}`, 5));
    const there = (): number[] => alike.flatMap((key, i) => (checked.find(key) ? [i] : []));
    for (const key of alike.slice(0, 8)) checked.fill(key, { valueLength: 10 });
    for (const i of [0, 1, 2, 4]) checked.find(alike[i]);
    for (const key of alike.slice(8, 11)) checked.fill(key, { valueLength: 10 });
    expect(there()).toEqual([0, 1, 2, 4, 7, 8, 9, 10]);
    checked.fill(alike[11], { valueLength: 10 });
    expect(there()).toEqual([1, 2, 4, 7, 8, 9, 10, 11]);
    expect(checked.cache.evictions).toBe(4);
    checked.check(alike);
  });

  it('takes for old in a full bucket what lies ahead of the tail, also after the ring has gone round', () => {
    const checked = new Checked(new ReadCache(64 * KIB), 64 * KIB);
    const alike = Array.from({ length: 10 }, (_, i) => keyOf(`key ${i}`, 5));
    let others = 100;
    // One other key takes most of a page, of which there are 14.
    const fill = (pages: number, some: EncodedKey[]): void => {
      for (let i = 0; i < pages; i++) checked.fill(spread(others++), { valueLength: 4000 });
      for (const key of some) checked.fill(key, { valueLength: 10 });
    };
    fill(10, alike.slice(0, 4));
    fill(6, alike.slice(4));
    expect(checked.cache.evictions).toBeGreaterThan(2);
    expect(alike.map((key) => checked.find(key))).toEqual(alike.map((_, i) => i > 1));
    expect(checked.wrong).toEqual([]);
  });

  it('replaces a copy, whatever their lengths, and hides what was there', () => {
    const checked = new Checked(new ReadCache(64 * KIB), 64 * KIB);
    const one = numbered(1);
    for (const valueLength of [100, 100, 0, 3000, 8]) {
      checked.fill(one, { valueLength, slack: 16 });
      checked.check([one]);
      expect(checked.cache.entries).toBe(1);
    }
    checked.drop(one);
    checked.check([one]);
    expect([checked.cache.entries, checked.cache.evictions]).toEqual([0, 0]);
  });

  it('evicts first what was written first', () => {
    const cache = new ReadCache(64 * KIB);
    for (let i = 0; i < 10_000; i++) cache.fill(spread(i), recordOf(spread(i), i, { valueLength: 100 }), AT);
    const kept = Array.from({ length: 10_000 }, (_, i) => i).filter((i) => cache.find(spread(i)));
    expect(kept).toEqual(Array.from({ length: cache.entries }, (_, i) => 10_000 - cache.entries + i));
    // 144 bytes each in 60 KiB, less what stays free at the end of pages.
    expect(cache.entries).toBeGreaterThan(350);
    expect(cache.secondChances).toBe(0);
  });

  it('keeps what was found since, while a scan goes by', () => {
    const checked = new Checked(new ReadCache(256 * KIB), 256 * KIB);
    const { cache } = checked;
    const old: EncodedKey[] = [];
    let next = 0;
    const scan = (): number => {
      const before = cache.evictions + cache.secondChances;
      checked.fill(spread(next++), { valueLength: 90 + (next % 20) });
      return cache.evictions + cache.secondChances - before;
    };
    while (cache.evictions === 0) {
      old.push(spread(next));
      scan();
    }
    old.shift();
    const hot = old.filter((_, i) => i % 3 === 0);
    const idle = old.filter((_, i) => i % 3 !== 0);
    for (const key of hot) checked.find(key);
    // As many as are passed over in one round.
    for (let passed = 0; passed < old.length - 10;) passed += scan();
    expect(cache.secondChances).toBeGreaterThan(hot.length * 0.95);
    const [hotKept, idleKept] = [hot, idle].map((all) => all.filter((key) => checked.find(key)).length);
    expect(hotKept).toBeGreaterThan(hot.length * 0.95);
    expect(idleKept).toBeLessThan(idle.length * 0.05);
    // Found again just now, they stay for another round, and then no longer.
    for (let i = 0; i < old.length * 3; i++) scan();
    expect(hot.filter((key) => checked.find(key))).toEqual([]);
    expect(checked.wrong).toEqual([]);
  });

  it('holds on to hot keys in a stream of keys that are read once', () => {
    const checked = new Checked(new ReadCache(256 * KIB), 256 * KIB);
    const hot = Array.from({ length: 500 }, (_, i) => numbered(i));
    let hits = 0;
    // Each hot key comes back after 500 others. First in, first out would lose it every third time or so.
    for (let i = 0; i < 50_000; i++) {
      const key = hot[i % hot.length];
      const hit = checked.find(key);
      if (i >= 1000 && hit) hits++;
      if (!hit) checked.fill(key, { valueLength: 100 });
      checked.fill(numbered(10_000 + i), { valueLength: 100 });
    }
    expect(hits / 49_000).toBeGreaterThan(0.99);
    expect(checked.wrong).toEqual([]);
  });

  describe('the doorkeeper', () => {
    /** With bits of their own for what is kept of a refusal. */
    const withTag = (number: number): EncodedKey => {
      const key = numbered(number);
      key.hashHigh = 1 + (number % 255);
      return key;
    };

    function fullCache(): Checked {
      const checked = new Checked(new ReadCache(256 * KIB), 256 * KIB);
      for (let i = 0; i < 3000; i++) checked.fill(numbered(1_000_000 + i), { valueLength: 100 });
      return checked;
    }

    function offerOthers(checked: Checked): void {
      for (let i = 1000; i < 20_000; i++) checked.fill(withTag(i), { valueLength: 100 });
    }

    it('stands aside as long as there is free room', () => {
      const checked = new Checked(new ReadCache(256 * KIB), 256 * KIB);
      for (let i = 0; i < 1000; i++) checked.fill(withTag(i), { valueLength: 100 });
      expect(checked.cache).toMatchObject({ fills: 1000, refused: 0 });
    });

    it('lets in what is offered twice, and nothing that is offered once', () => {
      const checked = fullCache();
      const before = checked.cache.fills;
      for (let i = 0; i < 200; i++) checked.fill(withTag(i), { valueLength: 100 });
      expect(checked.cache).toMatchObject({ fills: before, refused: 200 });
      for (let i = 0; i < 100; i++) checked.fill(withTag(i), { valueLength: 100 });
      const found = Array.from({ length: 200 }, (_, i) => i).filter((i) => checked.find(withTag(i)));
      // Hardly any two share the place where a refusal is kept.
      expect(found.length).toBeGreaterThan(90);
      expect(Math.max(...found)).toBeLessThan(100);
      expect(checked.wrong).toEqual([]);
    });

    it('forgets a refusal when others have been refused since', () => {
      const checked = fullCache();
      checked.fill(withTag(0), { valueLength: 100 });
      offerOthers(checked);
      const { fills } = checked.cache;
      checked.fill(withTag(0), { valueLength: 100 });
      expect(checked.cache.fills).toBe(fills);
    });

    it('drops the older copy of what it refuses', () => {
      const checked = fullCache();
      const key = withTag(7);
      for (let i = 0; i < 2; i++) checked.fill(key, { valueLength: 100 });
      expect(checked.find(key)).toBe(true);
      offerOthers(checked);
      checked.fill(key, { valueLength: 100 });
      expect(checked.find(key)).toBe(false);
    });

    it('stands aside again after clear', () => {
      const checked = fullCache();
      checked.clear();
      checked.fill(withTag(1), { valueLength: 100 });
      expect(checked.find(withTag(1))).toBe(true);
    });
  });

  it('bounds the second chances of one fill, even if everything is referenced', () => {
    const checked = new Checked(new ReadCache(256 * KIB), 256 * KIB);
    const { cache } = checked;
    let most = 0;
    for (let i = 0; i < 5000; i++) {
      const before = cache.secondChances;
      checked.fill(numbered(i), { valueLength: 100 });
      most = Math.max(most, cache.secondChances - before);
      checked.find(numbered(i));
    }
    checked.check(Array.from({ length: 5000 }, (_, i) => numbered(i)));
    expect(most).toBe(4);
  });

  it('takes a record of a sixteenth of its memory, and none that is larger', () => {
    const budget = 64 * KIB;
    const checked = new Checked(new ReadCache(budget), budget);
    const [small, large] = [numbered(1), numbered(2)];
    const overhead = recordBytes(0, large.length, 0);
    checked.fill(small, { valueLength: 100 });
    checked.fill(large, { valueLength: budget / 16 - overhead });
    expect(checked.find(large)).toBe(true);
    checked.check([small, large]);
    // The copy that it replaces is out of date, and so goes.
    checked.fill(large, { valueLength: budget / 16 - overhead + 8 });
    expect([checked.find(large), checked.find(small), checked.cache.fills]).toEqual([false, true, 2]);
    for (let i = 0; i < 100; i++)
      checked.fill(numbered(i), { valueLength: budget / 16 - overhead - (i % 50) });
    checked.check(Array.from({ length: 100 }, (_, i) => numbered(i)));
    expect(checked.cache.entries).toBeGreaterThanOrEqual(12);
  });

  it('allocates nothing before the first fill, grows as it fills up, and never beyond its budget', () => {
    for (const budget of [1000, 1 + 8 * KIB, 64 * KIB, 333_333, MIB, 3 * MIB - 1]) {
      const cache = new ReadCache(budget);
      cache.find(numbered(1));
      cache.drop(numbered(1));
      cache.clear();
      expect(cache.memoryBytes).toBe(0);
      const one = recordOf(numbered(1), 1, { valueLength: 4 });
      cache.fill(numbered(1), one, AT);
      expect(cache.find(numbered(1))).toBe(true);
      expect(cache.memoryBytes).toBeLessThan(budget / 4);
      const kind = { valueLength: Math.min(Math.floor(budget / 20), 4000) };
      const count = (2 * budget) / (kind.valueLength + 20);
      for (let i = 0; i < count; i++) cache.fill(numbered(i), recordOf(numbered(i), i, kind), AT);
      expect(cache.memoryBytes).toBeLessThanOrEqual(budget);
      if (budget > 8 * KIB) expect(cache.memoryBytes).toBeGreaterThan(budget * 0.98);
    }
  });

  it('is empty after clear, uses its memory again, and finds nothing old', () => {
    const checked = new Checked(new ReadCache(64 * KIB), 64 * KIB);
    const many = Array.from({ length: 800 }, (_, i) => numbered(i));
    for (let round = 0; round < 3; round++) {
      for (const key of many.slice(0, 700 - round * 100)) checked.fill(key, { valueLength: 100 + round });
      checked.check(many);
      const memory = checked.cache.memoryBytes;
      checked.clear();
      checked.check(many);
      expect([checked.cache.entries, checked.cache.memoryBytes]).toEqual([0, memory]);
    }
  });

  it.each([0, 500])('is off with %d bytes', (budget) => {
    const cache = new ReadCache(budget);
    const key = numbered(1);
    cache.fill(key, recordOf(key, 1, { valueLength: 4 }), AT);
    cache.drop(key);
    expect(cache.find(key)).toBe(false);
    cache.clear();
    expect(cache).toMatchObject({ entries: 0, memoryBytes: 0, hits: 0, misses: 0, fills: 0, evictions: 0 });
  });
});
