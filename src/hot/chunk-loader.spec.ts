/** A hash index whose chunks are loaded late, beside one that has them all, and beside a map of what both should hold. */
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { IndexImage } from '../../test/support/index-image.js';
import { SeededRandom } from '../../test/support/seeded-random.js';
import type { EntryVisitor } from './chunk-loader.js';
import { HashIndex, PARTITIONS } from './hash-index.js';
import { LINK_WORD, WORDS_PER_BUCKET } from './bucket-store.js';

type Model = Map<number, LogAddress>;

/** Xorshift: Jest looks globals up through a proxy, at a hundred times the cost of the rest. */
let state = 3;
function anyHash(): number {
  state ^= state << 13;
  state ^= state >>> 17;
  return (state ^= state << 5) & 0x0fff_ffff;
}
let tail = 64;

function put(index: HashIndex, model: Model, hash: number): void {
  tail += 8;
  index.find(hash);
  index.put(hash, tail as LogAddress, 3);
  model.set(hash, tail as LogAddress);
}

/** An index with entries, overflow buckets of several chunks, and free ones among them. */
function filled(entries = 150_000): { index: HashIndex; model: Model } {
  const index = new HashIndex();
  const model: Model = new Map();
  while (model.size < entries) put(index, model, anyHash());
  return { index, model };
}

/** Copies all chunks; `between` runs behind each of them. */
function imageOf(index: HashIndex, between: () => void = () => undefined): IndexImage {
  const copies = (chunkAt: (i: number) => Uint32Array | undefined): Uint32Array[] => {
    const chunks: Uint32Array[] = [];
    for (let i = 0, chunk; (chunk = chunkAt(i)); i++) {
      HashIndex.takeChanged(chunk);
      chunks.push(chunk.slice());
      between();
    }
    return chunks;
  };
  index.frozen = true;
  const primary = copies((i) => index.primaryChunk(i));
  const overflow = copies((i) => index.overflowChunk(i));
  index.frozen = false;
  return new IndexImage(index.shape, primary, overflow);
}

function loadAll(index: HashIndex): HashIndex {
  while (index.loadNext());
  return index;
}

function wrongIn(index: HashIndex, model: Model): number[] {
  return [...model].filter(([hash, address]) => index.find(hash) !== address).map(([hash]) => hash);
}

/** Everything that going through all partitions visits. */
function contentOf(index: HashIndex): Model {
  const content: Model = new Map();
  for (let partition = 0; partition < PARTITIONS; partition++) {
    index.partition(partition, (address, _, chain) => {
      if (content.has(chain)) throw new Error(`twice: ${chain}`);
      content.set(chain, address);
    });
  }
  return content;
}

/** Hashes that only one of two has, or with other addresses. */
function differing(a: Model, b: Model): number[] {
  const inOne = (one: Model, other: Model) =>
    [...one].filter(([hash, address]) => other.get(hash) !== address).map(([hash]) => hash);
  return [...inOne(a, b), ...inOne(b, a)];
}

const rebuildFrom = (model: Model) => {
  const copy = [...model];
  return () => (visit: EntryVisitor) => {
    for (const [hash, address] of copy) visit(address, 3, hash);
  };
};

const { image, model: asWritten } = (() => {
  const { index, model } = filled();
  return { image: imageOf(index), model: new Map(model) };
})();
/** A copy, whose chunks can be damaged. */
const copied = () =>
  new IndexImage(
    image.shape,
    image.primary.map((c) => c.slice()),
    image.overflow.map((c) => c.slice()),
  );

describe('an index whose chunks are loaded late', () => {
  it('is what this is about: several chunks of overflow buckets', () => {
    expect(image.overflow.length).toBeGreaterThan(3);
    expect(loadAll(copied().open()).overflowBuckets).toBeGreaterThan(2048);
  });

  it('reads what a look-up needs, once, and everything else when it is asked to', () => {
    const source = copied();
    const index = source.open();
    expect(source.reads).toEqual([]);
    const [hash, address] = [...asWritten][0];
    expect(index.find(hash)).toBe(address);
    expect(source.reads.length).toBeLessThanOrEqual(2);
    const { length } = source.reads;
    expect(index.find(hash)).toBe(address);
    expect(index.foundSizeClass()).toBe(3);
    expect(source.reads.length).toBe(length);
    expect([index.isLoaded, source.closed]).toEqual([false, 0]);
    expect(index.memoryBytes).toBe((image.primary.length + image.overflow.length) * HashIndex.chunkBytes);
    loadAll(index);
    expect([index.isLoaded, source.closed]).toEqual([true, 1]);
    expect(new Set(source.reads).size).toBe(source.reads.length);
    expect(source.reads.length).toBe(image.primary.length + image.overflow.length);
    expect(wrongIn(index, asWritten)).toEqual([]);
    expect(index.shape).toEqual({ ...image.shape, overflow: image.overflow.length * 1024 });
  });

  it.each([1, 2, 3, 4, 5, 6])('answers as one that has all, whatever is done meanwhile (seed %i)', (seed) => {
    const dice = new SeededRandom(seed);
    const model = new Map(asWritten);
    const known = [...model.keys()];
    const lazy = copied().open();
    const eager = loadAll(copied().open());
    const loadEvery = [3, 50, 700][seed % 3];
    for (let i = 0; i < 30_000; i++) {
      if (i % loadEvery === 0 && i > 500) lazy.loadNext();
      const hash = dice.below(3) === 0 ? anyHash() : known[dice.below(known.length)];
      const what = dice.below(100);
      if (what < 40) {
        tail += 8;
        for (const index of [lazy, eager]) {
          index.find(hash);
          index.put(hash, tail as LogAddress, 3);
        }
        if (!model.has(hash)) known.push(hash);
        model.set(hash, tail as LogAddress);
      } else if (what < 50) {
        lazy.remove(hash);
        eager.remove(hash);
        model.delete(hash);
      } else if (what < 52) {
        const partition = hash & (PARTITIONS - 1);
        const [a, b] = [lazy, eager].map((index) => {
          const found: Model = new Map();
          index.partition(partition, (address, _, chain) => found.set(chain, address));
          return found;
        });
        expect(differing(a, b)).toEqual([]);
      } else if (lazy.find(hash) !== (model.get(hash) ?? NO_ADDRESS)) throw new Error(`wrong: ${hash}`);
    }
    expect(wrongIn(lazy, model)).toEqual([]);
    loadAll(lazy);
    expect(wrongIn(lazy, model)).toEqual([]);
    expect(lazy.entries).toBe(model.size);
    expect(differing(contentOf(lazy), model)).toEqual([]);
    // Growth that had to wait is made good, and overflow buckets are used again.
    for (let i = 0; i < 60_000; i++) put(lazy, model, anyHash());
    expect(lazy.entries / lazy.buckets).toBeLessThanOrEqual(5);
    expect(wrongIn(lazy, model)).toEqual([]);
    expect(lazy.memoryBytes / lazy.entries).toBeLessThan(16);
  });

  it('does not grow until all of it is there', () => {
    const index = copied().open();
    const model = new Map(asWritten);
    const { buckets } = index;
    for (let i = 0; i < 200; i++) put(index, model, anyHash() & ~0x7ffff);
    expect(index.isLoaded).toBe(false);
    expect(index.buckets).toBe(buckets);
    loadAll(index);
    for (let i = 0; i < 1000; i++) put(index, model, anyHash());
    expect(index.buckets).toBeGreaterThan(buckets);
    expect(wrongIn(index, model)).toEqual([]);
  });

  it('drops what a truncation has left, at whatever time a chunk comes', () => {
    const begin = [...asWritten.values()][50_000];
    const left = new Map([...asWritten].filter(([, address]) => address >= begin));
    const index = copied().open(begin);
    expect(wrongIn(index, left)).toEqual([]);
    loadAll(index);
    expect(index.entries).toBe(left.size);
    expect(differing(contentOf(index), left)).toEqual([]);
    const later = copied().open(begin);
    for (let i = 0; i < 5; i++) later.loadNext();
    const end = (begin + 80_000) as LogAddress;
    for (let bucket: number | undefined = 0; bucket !== undefined;)
      bucket = later.removeBelow(end, bucket, 512);
    expect(later.entries).toBe([...left.values()].filter((address) => address >= end).length);
    expect(later.isLoaded).toBe(true);
  });

  it('counts and frees right where the image was taken while entries came', () => {
    const { index, model } = filled(120_000);
    const before = new Map(model);
    const fuzzy = imageOf(index, () => {
      for (let i = 0; i < 400; i++) put(index, model, anyHash());
    });
    for (const early of [true, false]) {
      const again = fuzzy.open();
      if (!early) loadAll(again);
      expect([...before].filter(([hash, address]) => again.find(hash) < address)).toEqual([]);
      // Replay.
      for (const [hash, address] of model) {
        if (before.get(hash) === address) continue;
        again.find(hash);
        again.put(hash, address, 3);
      }
      loadAll(again);
      expect(wrongIn(again, model)).toEqual([]);
      expect(again.entries).toBe(model.size);
      expect(differing(contentOf(again), model)).toEqual([]);
    }
  });

  it('frees a row of overflow buckets that nothing links to', () => {
    const source = copied();
    // The bucket that linked to one forgets it: so that one and those behind it are free.
    const chains = new Map<number, { chunk: Uint32Array; at: number }>();
    for (const chunk of source.primary)
      for (let at = LINK_WORD; at < chunk.length; at += WORDS_PER_BUCKET)
        if (chunk[at] !== 0) chains.set(chunk[at] - 1, { chunk, at });
    const target = [...chains.keys()][7];
    const { chunk, at } = chains.get(target) as { chunk: Uint32Array; at: number };
    chunk[at] = 0;
    // Longer than any by chance.
    const of = (bucket: number) => source.overflow[bucket >> 10];
    const used = loadAll(copied().open()).overflowBuckets;
    const tailOf = (bucket: number): number => {
      const link = of(bucket)[(bucket & 1023) * WORDS_PER_BUCKET + LINK_WORD];
      return link === 0 ? bucket : tailOf(link - 1);
    };
    const other = [...chains.keys()][8];
    const { chunk: otherChunk, at: otherAt } = chains.get(other) as { chunk: Uint32Array; at: number };
    otherChunk[otherAt] = 0;
    of(tailOf(target))[(tailOf(target) & 1023) * WORDS_PER_BUCKET + LINK_WORD] = other + 1;
    const index = loadAll(source.open());
    expect(index.overflowBuckets).toBeLessThanOrEqual(used - 2);
    const content = contentOf(index);
    expect(index.entries).toBe(content.size);
    const model = new Map(content);
    for (let i = 0; i < 30_000; i++) put(index, model, anyHash());
    expect(wrongIn(index, model)).toEqual([]);
  });
});

describe('an index of which chunks are damaged', () => {
  const everyChunk = [
    ...image.primary.map((_, i) => `primary ${i}`),
    ...image.overflow.map((_, i) => `overflow ${i}`),
  ];

  it.each([
    ['one of the buckets', ['primary 3']],
    ['one of overflow buckets', ['overflow 1']],
    ['one of each', ['primary 0', 'overflow 0']],
    ['all', everyChunk],
  ])('has everything again: %s', (_, damaged) => {
    for (const when of ['first', 'later', 'last'] as const) {
      const source = copied();
      source.rebuild = rebuildFrom(asWritten);
      for (const chunk of damaged) source.damaged.add(chunk);
      const index = source.open();
      const model = new Map(asWritten);
      const known = [...model.keys()];
      const updates = when === 'first' ? 0 : when === 'later' ? 3 : 3000;
      for (let i = 0; i < updates; i++) put(index, model, i % 3 === 0 ? anyHash() : known[i]);
      if (when === 'last') loadAll(index);
      expect(wrongIn(index, model)).toEqual([]);
      expect(index.isLoaded).toBe(true);
      expect(index.mendedChunks).toBe(damaged.length);
      expect(index.entries).toBe(model.size);
      expect(differing(contentOf(index), model)).toEqual([]);
      for (let i = 0; i < 30_000; i++) put(index, model, anyHash());
      expect(wrongIn(index, model)).toEqual([]);
      expect(index.memoryBytes / index.entries).toBeLessThan(17);
    }
  });

  it('has everything again where going through a partition meets the damage', () => {
    const source = copied();
    source.rebuild = rebuildFrom(asWritten);
    source.damaged.add('overflow 0').add('overflow 2');
    expect(differing(contentOf(source.open()), asWritten)).toEqual([]);
  });

  it('keeps what came before the damage was met', () => {
    const source = copied();
    source.rebuild = rebuildFrom(asWritten);
    source.damaged.add('overflow 1');
    const index = source.open();
    const model = new Map(asWritten);
    // Found in its bucket, a key is changed without a look at what its bucket links to.
    let early = 0;
    for (const hash of asWritten.keys()) {
      put(index, model, hash);
      if (index.mendedChunks > 0) break;
      early++;
    }
    expect(early).toBeGreaterThan(0);
    expect(wrongIn(index, model)).toEqual([]);
  });

  it('throws for what it lacks, and for nothing else, as long as it cannot be had again', () => {
    const source = copied();
    const failure = new Error('The log is damaged as well.');
    source.damaged.add('primary 2').add('overflow 1');
    source.rebuild = () => {
      throw failure;
    };
    const index = source.open();
    const failing = new Set<number>();
    for (const [hash, address] of asWritten) {
      try {
        if (index.find(hash) !== address) throw new Error(`wrong at ${hash}`);
      } catch (error) {
        if (error !== failure) throw error;
        failing.add(hash);
      }
    }
    expect(failing.size).toBeGreaterThan(asWritten.size / image.primary.length / 2);
    expect(failing.size).toBeLessThan(asWritten.size / 5);
    expect(() => loadAll(index)).toThrow(failure);
    expect(index.isLoaded).toBe(false);
    // Others can be written.
    const model = new Map([...asWritten].filter(([hash]) => !failing.has(hash)));
    for (const hash of [...model.keys()].slice(0, 1000)) put(index, model, hash);
    expect(wrongIn(index, model)).toEqual([]);
    // And then it can be.
    source.rebuild = rebuildFrom(asWritten);
    expect(index.find([...failing][0])).toBe(asWritten.get([...failing][0]));
    for (const hash of failing) model.set(hash, asWritten.get(hash) as LogAddress);
    expect(wrongIn(index, model)).toEqual([]);
    expect(index.isLoaded).toBe(true);
  });

  it.each(['a bucket that there is not', 'the bucket of another'])(
    'counts a link to %s as damage',
    (what) => {
      const source = copied();
      source.rebuild = rebuildFrom(asWritten);
      const chunk = source.primary[1];
      const links = [...chunk.keys()].filter((at) => at % WORDS_PER_BUCKET === LINK_WORD && chunk[at] !== 0);
      chunk[links[3]] = what === 'the bucket of another' ? chunk[links[9]] : image.overflow.length * 1024 + 1;
      const index = source.open();
      expect(wrongIn(index, asWritten)).toEqual([]);
      expect(loadAll(index).mendedChunks).toBe(1);
      expect(wrongIn(index, asWritten)).toEqual([]);
      expect(differing(contentOf(index), asWritten)).toEqual([]);
    },
  );
});
