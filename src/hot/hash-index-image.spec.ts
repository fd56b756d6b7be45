import { HashIndex } from './hash-index.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { IndexImage } from '../../test/support/index-image.js';
import { SeededRandom } from '../../test/support/seeded-random.js';
import { CHANGED_WORD, chunksFor } from './bucket-store.js';

/** An index beside a map of what it holds, by the 28 bits that tell chains apart. */
class Checked {
  readonly index = new HashIndex();
  readonly model = new Map<number, number>();
  private readonly random = new SeededRandom(7);
  private readonly hashes: number[] = [];
  private address = 64;

  put(hash = (this.random.next() * 2 ** 28) | 0): void {
    this.address += 8;
    this.index.find(hash);
    this.index.put(hash, this.address as LogAddress, 3);
    if (!this.model.has(hash)) this.hashes.push(hash);
    this.model.set(hash, this.address);
  }

  /** Goes on at an address. */
  startAt(address: number): void {
    this.address = address;
  }

  update(): void {
    this.put(this.hashes[(this.random.next() * this.hashes.length) | 0]);
  }

  /** Hashes that another index answers differently, of those up to an address. */
  wrongIn(index: HashIndex, model: ReadonlyMap<number, number> = this.model): number[] {
    return [...model].filter(([hash, address]) => index.find(hash) !== address).map(([hash]) => hash);
  }
}

/** Every chunk of an index, primary ones first. */
function* chunksOf(index: HashIndex): Generator<Uint32Array> {
  for (let i = 0, chunk; (chunk = index.primaryChunk(i)); i++) yield chunk;
  for (let i = 0, chunk; (chunk = index.overflowChunk(i)); i++) yield chunk;
}

/** Copies chunk after chunk, with something happening in between. */
function imageOf(index: HashIndex, between: () => void = () => undefined): IndexImage {
  const primary = chunksFor(index.buckets);
  const chunks: Uint32Array[] = [];
  index.frozen = true;
  for (const chunk of chunksOf(index)) {
    HashIndex.takeChanged(chunk);
    chunks.push(chunk.slice());
    between();
  }
  index.frozen = false;
  return new IndexImage(index.shape, chunks.slice(0, primary), chunks.slice(primary));
}

/** The index of an image, all of it in memory. */
function loaded(image: IndexImage, begin?: number): HashIndex {
  const index = image.open(begin);
  while (index.loadNext());
  return index;
}

describe('the image of a hash index', () => {
  it('is refused when it does not fit', () => {
    const checked = new Checked();
    for (let i = 0; i < 100_000; i++) checked.put();
    const { overflow, primary, shape } = imageOf(checked.index);
    const open = (image: IndexImage) => HashIndex.from(image.shape, image);
    expect(open(new IndexImage(shape, primary, overflow))).toBeDefined();
    expect(open(new IndexImage({ ...shape, split: shape.split + 1 }, primary, overflow))).toBeUndefined();
    expect(open(new IndexImage({ ...shape, overflow: 5000 }, primary, overflow))).toBeUndefined();
    expect(open(new IndexImage(shape, primary.slice(1), overflow))).toBeUndefined();
    expect(open(new IndexImage(shape, primary, []))).toBeUndefined();
    const tooSmall = { ...shape, level: 12, split: 0, primary: 4096 };
    expect(open(new IndexImage(tooSmall, primary.slice(0, 4), overflow))).toBeUndefined();
  });

  it('leaves out what lies below the begin of the log', () => {
    const checked = new Checked();
    // Where an address has more than 32 bits of units.
    for (const start of [64, 2 ** 35 - 8 * 5000, 2 ** 37]) {
      checked.startAt(start);
      for (let i = 0; i < 10_000; i++) checked.put();
    }
    const image = imageOf(checked.index);
    const addresses = [...checked.model.values()];
    for (const begin of [0, addresses[3000], 2 ** 35 - 8, 2 ** 35, addresses[25_000], 2 ** 38]) {
      const again = loaded(image, begin);
      const kept = addresses.filter((address) => address >= begin);
      expect(again.entries).toBe(kept.length);
      const expected = new Map([...checked.model].map(([hash, at]) => [hash, at >= begin ? at : NO_ADDRESS]));
      expect(checked.wrongIn(again, expected)).toEqual([]);
      expect([...chunksOf(again)].some((chunk) => HashIndex.takeChanged(chunk))).toBe(
        kept.length < addresses.length,
      );
    }
  });

  it('takes overflow buckets that nothing links to for free ones, whatever is in them', () => {
    const checked = new Checked();
    // Twenty in one bucket: two overflow buckets.
    for (let i = 0; i < 20; i++) checked.put((i << 13) | 7);
    const { index } = checked;
    expect(index.overflowBuckets).toBe(2);
    const image = imageOf(index);
    // The link to the second one had not been written yet.
    const overflow = image.overflow[0];
    expect(overflow[14]).toBe(2);
    overflow[14] = 0;
    const again = loaded(image);
    expect([again.overflowBuckets, again.entries]).toEqual([1, 14]);
    expect(HashIndex.takeChanged(again.overflowChunk(0) as Uint32Array)).toBe(true);
    // It is used again, and does not bring back what was in it.
    const found = [...checked.model].filter(([hash, address]) => again.find(hash) === address).length;
    expect(found).toBe(14);
    again.find((1 << 20) | 7);
    again.put((1 << 20) | 7, 800 as LogAddress, 1);
    expect([again.overflowBuckets, again.entries]).toEqual([2, 15]);
    expect([...checked.model].filter(([hash, address]) => again.find(hash) === address)).toHaveLength(14);
    expect(again.memoryBytes).toBe(index.memoryBytes);
  });

  it('tells which chunks have changed since', () => {
    const checked = new Checked();
    for (let i = 0; i < 100_000; i++) checked.put();
    const { index } = checked;
    const changed = (): number => {
      let count = 0;
      for (const chunk of chunksOf(index)) if (HashIndex.takeChanged(chunk)) count++;
      return count;
    };
    expect(changed()).toBeGreaterThan(10);
    expect(changed()).toBe(0);
    const [hash] = checked.model.keys();
    checked.put(hash);
    expect(changed()).toBe(1);
    expect(index.find(hash)).not.toBe(NO_ADDRESS);
    index.remove(hash);
    expect(changed()).toBe(1);
    index.removeBelow(1000 as LogAddress, 0, index.buckets);
    expect(changed()).toBeGreaterThan(0);
    checked.put(hash);
    expect(changed()).toBeGreaterThan(0);
  });

  it('tells which chunks a truncation has changed, also where no bucket overflows', () => {
    const checked = new Checked();
    for (let i = 0; i < 100; i++) checked.put();
    const { index } = checked;
    expect(index.overflowBuckets).toBe(0);
    for (const chunk of chunksOf(index)) HashIndex.takeChanged(chunk);
    const before = [...chunksOf(index)].map((chunk) => chunk.slice());
    index.removeBelow(200 as LogAddress, 0, index.buckets);
    const differ = [...chunksOf(index)].map((chunk, i) =>
      chunk.some((word, at) => at !== CHANGED_WORD && word !== before[i][at]),
    );
    expect(differ).toContain(true);
    expect([...chunksOf(index)].map((chunk) => HashIndex.takeChanged(chunk))).toEqual(differ);
  });

  it.each([0, 1000, 100_000, 300_000])('gives the same index again (%i entries)', (entries) => {
    const checked = new Checked();
    for (let i = 0; i < entries; i++) checked.put();
    const again = loaded(imageOf(checked.index));
    const { overflow } = checked.index.shape;
    expect(again.shape).toEqual({ ...checked.index.shape, overflow: chunksFor(overflow) * 1024 });
    expect(checked.wrongIn(again)).toEqual([]);
    expect(again.overflowBuckets).toBe(checked.index.overflowBuckets);
    // And it goes on growing.
    const { index } = checked;
    Object.assign(checked, { index: again });
    for (let i = 0; i < 50_000; i++) checked.put();
    expect(checked.wrongIn(again)).toEqual([]);
    expect(index.entries).toBeLessThan(again.entries);
  });

  it('may be taken while entries come and change: what is newer is put again, what is older is there', () => {
    const checked = new Checked();
    for (let i = 0; i < 100_000; i++) checked.put();
    const before = new Map(checked.model);
    const image = imageOf(checked.index, () => {
      for (let i = 0; i < 300; i++) {
        if (i % 3 === 0) checked.update();
        else checked.put();
      }
    });
    const again = loaded(image);
    // Nothing older than the image is missing, or older than it was.
    expect([...before].filter(([hash, address]) => again.find(hash) < address)).toEqual([]);
    for (const [hash, address] of checked.model) {
      if (before.get(hash) === address) continue;
      again.find(hash);
      again.put(hash, address as LogAddress, 3);
    }
    expect(checked.wrongIn(again)).toEqual([]);
    expect(again.entries).toBe(checked.index.entries);
    // Growth catches up with what it was held back from.
    const buckets = again.buckets;
    for (let i = 0; i < 10_000; i++) checked.put();
    expect(checked.index.buckets).toBeGreaterThan(buckets);
    expect(checked.wrongIn(checked.index)).toEqual([]);
  });
});
