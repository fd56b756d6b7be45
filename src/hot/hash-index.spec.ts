import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { LARGEST_SIZE_CLASS } from '../log/size-class.js';
import { CHAIN_MASK as EXPORTED_CHAIN_MASK } from './bucket-store.js';
import { HashIndex, PARTITIONS } from './hash-index.js';

/** Constants, because Jest looks globals up through a proxy, at a hundred times the cost. */
const { ceil, max } = Math;

/** Membership in a chain: the low 28 bits of a hash. */
const CHAIN_MASK = 2 ** 28 - 1;
/** Buckets of an empty index. */
const FIRST_BUCKETS = 8192;
const CHUNK_BUCKETS = 1024;
const CHUNK_BYTES = CHUNK_BUCKETS * 64;

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
    expect(EXPORTED_CHAIN_MASK).toBe(CHAIN_MASK);
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

  it('visits the last bucket of an index that has not grown, and none behind it', () => {
    const index = new HashIndex();
    for (const hash of [0, PARTITIONS - 1]) {
      index.find(hash);
      index.put(hash, ((hash + 1) * 8) as LogAddress, 1);
      const visited: number[] = [];
      index.partition(hash, (address) => visited.push(address));
      expect(visited).toEqual([(hash + 1) * 8]);
    }
  });

  it('visits each entry once, in the partition of the low 13 bits of its hash', () => {
    const random = hashes(7919);
    const checked = new Checked(new HashIndex(), 2 ** 30 + 8);
    const { index, model } = checked;
    // Some in overflow buckets, and enough for some buckets to be split.
    for (let i = 0; i < 30; i++) checked.put((i << 13) | 5);
    for (let i = 0; i < 42_000; i++) checked.put(random());
    expect(PARTITIONS).toBe(8192);
    expect(index.buckets).toBeGreaterThan(FIRST_BUCKETS);
    const wrong: number[] = [];
    let visited = 0;
    for (let partition = 0; partition < PARTITIONS; partition++) {
      index.partition(partition, (address, sizeClass, chain) => {
        visited++;
        const entry = model.get(chain);
        if ((chain & (PARTITIONS - 1)) !== partition || entry?.address !== address) wrong.push(chain);
        else if (entry.sizeClass !== sizeClass) wrong.push(chain);
      });
    }
    expect([wrong, visited]).toEqual([[], model.size]);
  });

  it('drops what lies below an address, some buckets at a time', () => {
    const random = hashes(7927);
    const checked = new Checked(new HashIndex(), 2 ** 30 + 8);
    const { index, model } = checked;
    for (let i = 0; i < 30; i++) checked.put((i << 13) | 5);
    for (let i = 0; i < 42_000; i++) checked.put(random());
    const { buckets } = index;
    const all = [...model.values()];
    const begin = all[20_000].address;
    const [dropped, kept] = [all.filter((e) => e.address < begin), all.filter((e) => e.address >= begin)];
    const calls: (number | undefined)[] = [];
    for (let from: number | undefined = 0; from !== undefined;)
      calls.push((from = index.removeBelow(begin, from, 1000)));
    expect(calls).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((k) => k * 1000).concat(undefined as never));
    expect(index.buckets).toBe(buckets);
    expect(index.entries).toBe(kept.length);
    expect(checked.wrong(kept)).toEqual([]);
    expect(dropped.filter(({ hash }) => index.find(hash) !== NO_ADDRESS)).toEqual([]);
    // What was found before does not stand any more: it might be put into a place that is another's by now.
    index.find(kept[0].hash);
    index.removeBelow((2 ** 48 - 8) as LogAddress, 0, buckets);
    index.put(kept[0].hash, 64 as LogAddress, 1);
    expect([index.entries, index.find(kept[0].hash)]).toEqual([1, 64]);
  });

  it('keeps no overflow buckets that are not needed behind a truncation, however often the log was truncated', () => {
    const random = hashes(7933);
    const checked = new Checked(new HashIndex());
    const { index, model } = checked;
    const fill = (count: number) => {
      for (let i = 0; i < count; i++) checked.put(random());
    };
    const truncate = () => {
      const all = [...model.values()];
      const begin = all[all.length >> 1].address;
      for (const { hash, address } of all) if (address < begin) model.delete(hash & CHAIN_MASK);
      index.removeBelow(begin, 0, index.buckets);
    };
    fill(80_000);
    const { buckets, overflowBuckets } = index;
    for (let round = 0; round < 10; round++) {
      truncate();
      expect([index.entries, checked.wrong()]).toEqual([model.size, []]);
      // Some 2.5 entries a bucket: hardly one has more than seven.
      expect(index.overflowBuckets).toBeLessThan(buckets / 100);
      fill(40_000);
      expect(index.buckets).toBeLessThan(buckets * 1.01);
      expect(index.overflowBuckets).toBeLessThan(overflowBuckets * 1.1);
    }
    expect(checked.wrong()).toEqual([]);
  });

  it('moves no entry to another bucket while a checkpoint is written', () => {
    const checked = new Checked(new HashIndex());
    const { index } = checked;
    for (let i = 0; i < 14; i++) checked.put((i << 13) | 77);
    const addresses = [...checked.model.values()].map(({ address }) => address);
    const primary = () => index.primaryChunk(0)?.slice(77 * 16, 78 * 16);
    index.frozen = true;
    index.removeBelow(addresses[7], 0, index.buckets);
    // Of the first bucket only the link is left: the checkpoint may have written it before, and comes to the other one.
    expect(primary()?.filter((word) => word !== 0)).toHaveLength(1);
    expect(index.overflowBuckets).toBe(1);
    index.frozen = false;
    index.removeBelow(addresses[7], 0, index.buckets);
    expect(primary()?.filter((word) => word !== 0)).toHaveLength(14);
    expect(index.overflowBuckets).toBe(0);
    expect(addresses.slice(7).map((_, i) => index.find(((i + 7) << 13) | 77))).toEqual(addresses.slice(7));
  });

  it('goes no further than its last bucket', () => {
    const checked = new Checked(new HashIndex());
    for (let i = 0; i < 100; i++) checked.put(i * 83);
    expect(checked.index.removeBelow(64 as LogAddress, 0, FIRST_BUCKETS)).toBeUndefined();
    expect(checked.index.removeBelow(64 as LogAddress, 8000, 191)).toBe(8191);
    expect(checked.index.removeBelow(64 as LogAddress, 8191, 1000)).toBeUndefined();
    expect(checked.index.entries).toBe(100 - 6);
  });

  it('grows into memory that it was given, whatever is in it', () => {
    const random = hashes(7933);
    const checked = new Checked(new HashIndex());
    const { index } = checked;
    expect([index.memoryBytes, index.spareBytes]).toEqual([8 * CHUNK_BYTES, 0]);
    // In the middle of a larger buffer, and not quite three chunks.
    index.adopt(new Uint8Array(CHUNK_BYTES * 4).fill(255).subarray(32, CHUNK_BYTES * 3 + 31));
    expect(index.spareBytes).toBe(2 * CHUNK_BYTES);
    index.adopt(new Uint8Array(CHUNK_BYTES).fill(255));
    expect(index.spareBytes).toBe(3 * CHUNK_BYTES);
    while (index.buckets < FIRST_BUCKETS + 2 * CHUNK_BUCKETS) {
      checked.put(random());
      const inAll = index.memoryBytes + index.spareBytes;
      if (index.spareBytes > 0 && inAll !== 11 * CHUNK_BYTES) expect(inAll).toBe(11 * CHUNK_BYTES);
    }
    expect(index.spareBytes).toBe(0);
    expect(checked.wrong()).toEqual([]);
    expect(index.entries).toBe(checked.model.size);
  });

  it('has a bucket for five expected keys, and the first entry where nobody has looked yet', () => {
    const sizes = [0, 1, 40_960, 40_961, 81_920, 81_921].map((keys) => new HashIndex(keys).buckets);
    expect(sizes).toEqual([8192, 8192, 8192, 16_384, 16_384, 32_768]);
    const index = new HashIndex();
    index.put(77, 64 as LogAddress, 3);
    expect([index.entries, index.find(77), index.foundSizeClass()]).toEqual([1, 64, 3]);
  });

  it('splits a bucket at every fifth entry, and two at each while it has to catch up', () => {
    const checked = new Checked(new HashIndex());
    const { index } = checked;
    let next = 0;
    const put = (count: number) => {
      for (let i = 0; i < count; i++) checked.put(next++);
      return index.buckets;
    };
    expect(put(5 * FIRST_BUCKETS)).toBe(FIRST_BUCKETS);
    expect([put(1), put(4), put(1), put(4), put(1)].map((buckets) => buckets - FIRST_BUCKETS)).toEqual([
      1, 1, 2, 2, 3,
    ]);
    index.frozen = true;
    expect(put(50)).toBe(FIRST_BUCKETS + 3);
    index.frozen = false;
    expect([put(1), put(1), put(1), put(1), put(20)].map((buckets) => buckets - FIRST_BUCKETS)).toEqual([
      5, 7, 9, 11, 17,
    ]);
    expect(checked.wrong()).toEqual([]);
  });

  it('makes a new entry where the one that was found has been removed', () => {
    const index = new HashIndex();
    index.put(77, 64 as LogAddress, 3);
    index.remove(77);
    index.put(77, 72 as LogAddress, 3);
    expect([index.entries, index.find(77)]).toEqual([1, 72]);
  });

  it('touches the bucket in which it looks', () => {
    const index = new HashIndex();
    const touched = [0, 1, 1023, 1024, 5000, 8191].filter((hash) => {
      index.find(hash);
      index.put(hash, (64 + hash * 8) as LogAddress, 1);
      return index.touch(hash | (1 << 13)) === 8 + hash;
    });
    expect(touched).toHaveLength(6);
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
