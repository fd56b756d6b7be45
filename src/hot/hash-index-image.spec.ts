import { HashIndex } from './hash-index.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { SeededRandom } from '../../test/support/seeded-random.js';

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

  update(): void {
    this.put(this.hashes[(this.random.next() * this.hashes.length) | 0]);
  }

  /** Hashes that another index answers differently, of those up to an address. */
  wrongIn(index: HashIndex, model: ReadonlyMap<number, number> = this.model): number[] {
    return [...model].filter(([hash, address]) => index.find(hash) !== address).map(([hash]) => hash);
  }
}

function copyOf(chunk: Uint32Array): Uint32Array {
  return chunk.slice();
}

/** Copies chunk after chunk, with something happening in between. */
function imageOf(index: HashIndex, between: () => void = () => undefined): Uint32Array[] {
  const chunks: Uint32Array[] = [];
  index.frozen = true;
  for (let i = 0, chunk; (chunk = index.chunkAt(i)); i++) {
    HashIndex.takeChanged(chunk);
    chunks.push(copyOf(chunk));
    between();
  }
  index.frozen = false;
  return chunks;
}

describe('the image of a hash index', () => {
  it('is refused when it does not fit', () => {
    const checked = new Checked();
    for (let i = 0; i < 100_000; i++) checked.put();
    const { shape } = checked.index;
    const chunks = imageOf(checked.index);
    expect(HashIndex.from({ ...shape, split: shape.split + 1 }, chunks.map(copyOf))).toBeUndefined();
    expect(HashIndex.from({ ...shape, overflow: shape.overflow + 5000 }, chunks.map(copyOf))).toBeUndefined();
    expect(HashIndex.from(shape, chunks.slice(1))).toBeUndefined();
    const circular = chunks.map(copyOf);
    circular[0][14] = 0xffff_ffff;
    expect(HashIndex.from(shape, circular)).toBeUndefined();
  });

  it('tells which chunks have changed since', () => {
    const checked = new Checked();
    for (let i = 0; i < 100_000; i++) checked.put();
    const { index } = checked;
    const changed = (): number => {
      let count = 0;
      for (let i = 0, chunk; (chunk = index.chunkAt(i)); i++) if (HashIndex.takeChanged(chunk)) count++;
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

  it.each([0, 1000, 100_000, 300_000])('gives the same index again (%i entries)', (entries) => {
    const checked = new Checked();
    for (let i = 0; i < entries; i++) checked.put();
    const chunks = imageOf(checked.index);
    const again = HashIndex.from(checked.index.shape, chunks) as HashIndex;
    expect(again.shape).toEqual(checked.index.shape);
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
    const chunks = imageOf(checked.index, () => {
      for (let i = 0; i < 300; i++) {
        if (i % 3 === 0) checked.update();
        else checked.put();
      }
    });
    const again = HashIndex.from(checked.index.shape, chunks) as HashIndex;
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
