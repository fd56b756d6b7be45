import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { LARGEST_SIZE_CLASS } from '../log/size-class.js';
import { HashIndex } from './hash-index.js';

/** Constants, because Jest looks globals up through a proxy, at a hundred times the cost. */
const { ceil, max } = Math;

/** Membership in a chain: the low 28 bits of a hash. */
const CHAIN_MASK = 2 ** 28 - 1;
/** Buckets of an empty index. */
const FIRST_BUCKETS = 8192;

/** The index beside a `Map` that says what it should hold. */
class Checked {
  readonly model = new Map<number, { hash: number; address: LogAddress; sizeClass: number }>();
  private next = 8;

  constructor(
    readonly index: HashIndex,
    private readonly step = 8,
  ) {}

  put(hash: number): void {
    const address = (this.next += this.step) as LogAddress;
    const sizeClass = 1 + ((this.next / 8) % LARGEST_SIZE_CLASS);
    this.index.find(hash);
    this.index.put(hash, address, sizeClass);
    this.model.set(hash & CHAIN_MASK, { hash, address, sizeClass });
  }

  remove(hash: number): void {
    this.index.remove(hash);
    this.model.delete(hash & CHAIN_MASK);
  }

  /** Hashes that the index answers wrongly. */
  wrong(
    entries: Iterable<{ hash: number; address: LogAddress; sizeClass: number }> = this.model.values(),
  ): number[] {
    const wrong: number[] = [];
    for (const { hash, address, sizeClass } of entries) {
      if (this.index.find(hash) !== address || this.index.foundSizeClass() !== sizeClass) wrong.push(hash);
    }
    return wrong;
  }
}

/** Hashes, by xorshift: as good as any for this, and without a global in its loop. */
function hashes(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    return (state ^= state << 5);
  };
}

describe('HashIndex', () => {
  it('takes hashes that agree in their low 28 bits for one chain, and no others', () => {
    const index = new HashIndex();
    const put = (hash: number, address: number): void => {
      index.find(hash);
      index.put(hash, address as LogAddress, 1);
    };
    put(0x0abcdef1, 64);
    put(0x7abcdef1 | 0x80000000, 72);
    expect([index.find(0x3abcdef1), index.entries]).toEqual([72, 1]);
    for (let bit = 0; bit < 28; bit++) expect(index.find(0x0abcdef1 ^ (1 << bit))).toBe(NO_ADDRESS);
    put(0, 80);
    put(-1, 88);
    expect([index.find(0), index.find(-1), index.entries]).toEqual([80, 88, 3]);
  });

  it('keeps addresses up to 2^48 and every size class, apart from the tag', () => {
    const index = new HashIndex();
    const addresses = [
      8,
      64,
      2 ** 31,
      2 ** 32,
      2 ** 34 - 8,
      2 ** 35,
      2 ** 40,
      2 ** 40 + 8,
      2 ** 47,
      2 ** 48 - 8,
    ];
    for (const hash of [0, 0x0fffffff, -1, 0x0aaa_a000]) {
      for (const address of addresses) {
        for (let sizeClass = 1; sizeClass <= LARGEST_SIZE_CLASS; sizeClass++) {
          index.find(hash);
          index.put(hash, address as LogAddress, sizeClass);
          expect([index.find(hash), index.foundSizeClass()]).toEqual([address, sizeClass]);
        }
      }
    }
    expect(index.entries).toBe(3);
  });

  it('fills the place of a removed entry again, in overflow buckets, too', () => {
    const checked = new Checked(new HashIndex());
    // One bucket: the low 13 bits are alike.
    const hashes = Array.from({ length: 50 }, (_, i) => (i << 13) | 77);
    hashes.forEach((hash) => checked.put(hash));
    const overflow = checked.index.overflowBuckets;
    expect(overflow).toBe(Math.ceil((50 - 7) / 7));
    for (let round = 0; round < 20; round++) {
      for (let i = round % 7; i < 50; i += 7) checked.remove(hashes[i]);
      expect(checked.wrong()).toEqual([]);
      for (let i = round % 7; i < 50; i += 7) checked.put(hashes[i]);
    }
    expect(checked.wrong()).toEqual([]);
    expect(checked.index.overflowBuckets).toBe(overflow);
  });

  it('removes nothing for a key that is absent', () => {
    const checked = new Checked(new HashIndex());
    checked.put(1);
    checked.index.remove(2);
    checked.index.remove(1 | (1 << 13));
    expect([checked.index.entries, ...checked.wrong()]).toEqual([1]);
  });

  it('keeps addresses beyond 2^40 through growth', () => {
    const random = hashes(23758);
    const checked = new Checked(new HashIndex(), 2 ** 30 + 8);
    for (let i = 0; i < 60_000; i++) checked.put(random());
    expect(Math.max(...[...checked.model.values()].map(({ address }) => address))).toBeGreaterThan(2 ** 45);
    expect(checked.index.buckets).toBeGreaterThan(FIRST_BUCKETS);
    expect(checked.wrong()).toEqual([]);
  });

  it('takes at most 16 bytes an entry beyond 150,000 entries', () => {
    const random = hashes(39596);
    const index = new HashIndex();
    let worst = 0;
    for (let i = 1; i <= 350_000; i++) {
      const hash = random();
      index.find(hash);
      index.put(hash, (i * 8) as LogAddress, 1);
      if (i >= 150_000 && i % 1000 === 0) worst = max(worst, index.memoryBytes / index.entries);
    }
    expect(worst).toBeLessThanOrEqual(16);
  });

  it('uses overflow buckets again that a split has emptied', () => {
    const checked = new Checked(new HashIndex());
    const { index } = checked;
    const random = hashes(31677);
    const overflowMemory = (): number => index.memoryBytes - ceil(index.buckets / 1024) * 65_536;
    // A thousand overflow buckets under the first bucket of all, which is split first.
    for (let i = 0; i < 7000; i++) checked.put(i << 13);
    expect(index.overflowBuckets).toBe(999);
    let memory = 0;
    while (index.buckets === FIRST_BUCKETS) {
      memory = overflowMemory();
      checked.put(random() | 1);
    }
    expect(checked.wrong()).toEqual([]);
    expect(index.overflowBuckets).toBeGreaterThan(999);
    expect(overflowMemory()).toBe(memory);
  });

  it('agrees with a map through several doublings, with updates, removals and keys that are absent', () => {
    const random = hashes(7920);
    const checked = new Checked(new HashIndex());
    const used: number[] = [];
    let checkAt = 1000;
    while (checked.index.buckets < FIRST_BUCKETS * 4) {
      const hash = random();
      const known = used.length > 0 ? used[(hash >>> 8) % used.length] : hash;
      const choice = hash & 15;
      if (choice > 3) {
        used.push(hash);
        checked.put(hash);
      } else if (choice > 1) checked.put(known);
      else checked.remove(known);
      if (used.length >= checkAt) {
        checkAt *= 2;
        expect(checked.wrong()).toEqual([]);
        expect(checked.index.entries).toBe(checked.model.size);
      }
    }
    expect(checked.wrong()).toEqual([]);
    expect(
      used.filter((h) => !checked.model.has(h & CHAIN_MASK) && checked.index.find(h) !== NO_ADDRESS),
    ).toEqual([]);
    const found: number[] = [];
    for (let i = 0; i < 10_000; i++) {
      const hash = random();
      if (!checked.model.has(hash & CHAIN_MASK) && checked.index.find(hash) !== NO_ADDRESS) found.push(hash);
    }
    expect(found).toEqual([]);
  });

  it('finds every key of a bucket right after its split, and all keys at every eighth of a doubling', () => {
    const random = hashes(15839);
    const checked = new Checked(new HashIndex());
    const { index } = checked;
    const byBucket: number[][] = Array.from({ length: FIRST_BUCKETS * 2 }, () => []);
    const wrong: number[] = [];
    while (index.buckets < FIRST_BUCKETS * 2.5) {
      const hash = random();
      byBucket[hash & (byBucket.length - 1)].push(hash);
      const before = index.buckets;
      checked.put(hash);
      for (let bucket = before; bucket < index.buckets; bucket++) {
        // With 2^n buckets and more, number `from` is split into `from` and `from + 2^n`.
        const level = bucket < 2 * FIRST_BUCKETS ? FIRST_BUCKETS : 2 * FIRST_BUCKETS;
        const from = bucket - level;
        const touched =
          level > FIRST_BUCKETS ? byBucket[from] : [...byBucket[from], ...byBucket[from + level]];
        wrong.push(...checked.wrong(touched.map((h) => checked.model.get(h & CHAIN_MASK) as never)));
        if (bucket % (FIRST_BUCKETS / 4) === 0) wrong.push(...checked.wrong());
      }
    }
    wrong.push(...checked.wrong());
    expect(wrong).toEqual([]);
  });

  it('sized for its keys at once, answers alike and does not grow', () => {
    const [grown, sized] = [new Checked(new HashIndex()), new Checked(new HashIndex(100_000))];
    const buckets = sized.index.buckets;
    const random = hashes(47515);
    for (let i = 0; i < 100_000; i++) {
      const hash = random();
      grown.put(hash);
      sized.put(hash);
    }
    expect(sized.index.buckets).toBe(buckets);
    expect(sized.index.entries).toBe(grown.index.entries);
    expect([...sized.wrong(), ...grown.wrong()]).toEqual([]);
    while (sized.index.buckets < buckets + 1000) sized.put(random());
    expect(sized.wrong()).toEqual([]);
  });
});
