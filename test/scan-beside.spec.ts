/**
 * Scans beside whatever else goes on, and what they cost. Between two entries of a scan the test writes, deletes and compacts, and
 * waits for it: so what comes next has to be what the store holds just then.
 */
import fc from 'fast-check';
import { KvCorruptionError, KvStore, type KvKey, type KvStoreOptions } from 'nestjs-hotcold/store';
import { COLLIDING_PAIRS, keysOfPartition, withZeroHashKey } from './support/colliding-keys.js';
import { COMPACTING, HeldReads, MIB, openOn, segmentsOf, turns, valueOf } from './support/compacting.js';
import { SimulatedDisk } from './support/simulated-disk.js';
import { missingPath } from './support/temp-directory.js';

jest.setTimeout(120_000);

async function spill(store: KvStore): Promise<void> {
  const filler = store.namespace('filler');
  for (let i = 0; i < 12; i++) await filler.set(i, Buffer.alloc(32 * 1024, i));
  await store.flush();
}

async function collect<T>(from: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const one of from) found.push(one);
  return found;
}

/** A store and what it should hold: in the hot log's memory and on disk, in the cold log, in both, and gone from either. */
class Scanned {
  readonly disk = new SimulatedDisk();
  readonly expected = new Map<string, string>();
  readonly names: string[];
  store!: KvStore;
  private round = 0;

  constructor(
    readonly count: number,
    private readonly bytes: number,
  ) {
    // Keys that no index can tell apart, keys of one partition, and others.
    const others = Array.from({ length: count }, (_, i) => `k${i}`);
    this.names = [...new Set([...COLLIDING_PAIRS.flat(), ...keysOfPartition(77, 6), ...others])];
  }

  async open(): Promise<void> {
    this.store = await openOn(this.disk, { env: withZeroHashKey(this.disk.env()) });
  }

  async set(name: string, bytes = this.bytes): Promise<void> {
    const value = valueOf(name, ++this.round, bytes);
    await this.store.set(name, value);
    this.expected.set(name, value);
  }

  async remove(name: string): Promise<void> {
    await this.store.delete(name);
    this.expected.delete(name);
  }

  /** All of it cold; then a third written anew and a tenth deleted, of which most is on disk. */
  async fill(): Promise<void> {
    await this.open();
    for (const name of this.names) await this.set(name);
    await this.store.compact({ full: true });
    for (const [i, name] of this.names.entries()) {
      if (i % 3 === 0) await this.set(name, i % 2 === 0 ? this.bytes : this.bytes * 2);
      if (i % 10 === 1) await this.remove(name);
    }
    await spill(this.store);
    for (const [i, name] of this.names.entries()) if (i % 7 === 0) await this.set(name);
  }

  /**
   * Scans, and calls `between` after each entry: with how many came, and with those that did not come yet.
   * @returns the names that came
   */
  async scan(between: (count: number, seen: ReadonlySet<string>) => Promise<void>): Promise<Set<string>> {
    const seen = new Set<string>();
    const always = new Set(this.expected.keys());
    for await (const [key, value] of this.store.scan<string>()) {
      const name = key as string;
      if (seen.has(name)) throw new Error(`${name} comes twice`);
      seen.add(name);
      if (value !== this.expected.get(name))
        throw new Error(`${name}: ${value.slice(0, 20)} is not its value`);
      await between(seen.size, seen);
      for (const one of always) if (!this.expected.has(one)) always.delete(one);
    }
    for (const name of always) if (!seen.has(name)) throw new Error(`${name} does not come`);
    return seen;
  }
}

describe('a scan', () => {
  it('brings every key once, with the value it has then, whatever is done between two entries', async () => {
    const step = fc.record({
      do: fc.constantFrom('set', 'set', 'set', 'remove', 'spill', 'compact', 'full', 'nothing'),
      every: fc.integer({ min: 1, max: 40 }),
      which: fc.nat(),
      bytes: fc.constantFrom(20, 800, 3000, 90_000),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 4 }), async (steps) => {
        const scanned = new Scanned(350, 1000);
        await scanned.fill();
        const { names, store } = scanned;
        await scanned.scan(async (count) => {
          for (const { do: what, every, which, bytes } of steps) {
            if (count % every !== 0) continue;
            const name = names[(which + count * 37) % names.length];
            if (what === 'set') await scanned.set(name, bytes);
            else if (what === 'remove') await scanned.remove(name);
            else if (what === 'spill' && count % 5 === 0) await spill(store);
            else if (what === 'compact' && count % 3 === 0) await store.compact();
            else if (what === 'full' && count % 3 === 0) await store.compact({ full: true });
          }
        });
        await store.close();
      }),
      { numRuns: 12 },
    );
  });

  it.each([1, 30, 200])('finds what moved to the cold log and within it after entry %d', async (when) => {
    const scanned = new Scanned(400, 1000);
    await scanned.fill();
    const { store } = scanned;
    let truncated = 0;
    await scanned.scan(async (count) => {
      if (count !== when) return;
      await spill(store);
      truncated += (await store.compact({ full: true })).hot.truncatedBytes;
      truncated += (await store.compact({ full: true })).cold.truncatedBytes;
    });
    expect(truncated).toBeGreaterThan(0);
    await store.close();
  });

  it('finds what moves all the time, beside a compaction that nobody waits for', async () => {
    const scanned = new Scanned(500, 400);
    await scanned.fill();
    const { names, store } = scanned;
    let running: Promise<unknown> | undefined;
    let runs = 0;
    await scanned.scan(async (count) => {
      await scanned.set(names[(count * 41) % names.length]);
      await turns(2);
      running ??= store.compact({ full: true }).finally(() => {
        runs++;
        running = undefined;
      });
      // A whole scan may be faster than one run.
      if (count === 250) await running;
    });
    await running;
    expect(runs).toBeGreaterThan(1);
    await store.close();
  });

  it('finds a key that goes from the cold log to the hot one while the index is read', async () => {
    const disk = new SimulatedDisk();
    const filling = await openOn(disk, { env: withZeroHashKey(disk.env()) });
    const names = keysOfPartition(77, 6);
    // Those that come later in a scan make garbage.
    const others = keysOfPartition(5000, 40);
    for (const name of [...names, ...others]) await filling.set(name, valueOf(name, 0, 5000));
    await filling.compact({ full: true });
    for (const name of others.slice(20)) await filling.set(name, valueOf(name, 1, 5000));
    await filling.compact();
    await filling.close();

    const reads = new HeldReads(disk);
    const store = await openOn(disk, { env: reads.env });
    await reads.slowDown(store, [...others, ...others, ...others]);
    const found: KvKey[] = [];
    reads.hold('after');
    const scanning = (async () => {
      for await (const key of store.keys()) found.push(key);
    })();
    while (reads.held === 0) await turns(1);
    let round = 1;
    let ended = false;
    const compacting = store.compact({ full: true }).finally(() => (ended = true));
    // Written behind where the run will end in the hot log, and before it comes to the old records in the cold one.
    while (!ended) {
      for (const name of names) await store.set(name, valueOf(name, ++round, 5000));
      await turns(1);
    }
    expect((await compacting).cold.truncatedBytes).toBeGreaterThan(0);
    reads.release();
    await scanning;
    expect(found.sort()).toEqual([...names, ...others].sort());
    await store.close();
  });

  it('brings a key that is written behind it and in front of it once', async () => {
    const scanned = new Scanned(400, 500);
    await scanned.fill();
    const { names, store } = scanned;
    const held = [...scanned.expected.keys()];
    const seen = await scanned.scan(async (count) => {
      if (count % 100 !== 1) return;
      for (const name of held) await scanned.set(name, count > 200 ? 2000 : 500);
      if (count > 100) await store.compact();
    });
    expect(seen.size).toBe(held.length);
    expect(names.length).toBeGreaterThan(held.length);
    await store.close();
  });

  it('brings no key that is gone by then, though an older record of it is in the cold log', async () => {
    const scanned = new Scanned(400, 500);
    await scanned.fill();
    const { store } = scanned;
    const seen = await scanned.scan(async (count, before) => {
      if (count !== 20) return;
      for (const name of [...scanned.expected.keys()]) if (!before.has(name)) await scanned.remove(name);
      await spill(store);
      await store.compact();
    });
    expect(seen.size).toBe(20);
    await store.close();
  });

  it('brings the newest of many versions on disk', async () => {
    const scanned = new Scanned(40, 3000);
    await scanned.open();
    for (let round = 0; round < 8; round++) {
      for (const name of scanned.names) await scanned.set(name, 3000 + round * 300);
      await spill(scanned.store);
    }
    const seen = await scanned.scan(() => Promise.resolve());
    expect(seen.size).toBe(scanned.names.length);
    await scanned.store.close();
  });

  it('finds the few entries of a space among many of others, wherever they are', async () => {
    const scanned = new Scanned(0, 200);
    await scanned.fill();
    const others = scanned.store.namespace('others');
    for (let i = 0; i < 2000; i++) await others.set(i, i);
    expect((await scanned.scan(() => Promise.resolve())).size).toBe(scanned.expected.size);
    // In memory and in the cold log at once.
    for (const [one] of COLLIDING_PAIRS) await scanned.set(one);
    expect((await scanned.scan(() => Promise.resolve())).size).toBe(scanned.expected.size);
    await scanned.store.close();
  });

  it('brings nothing that expired, was cleared or lost its tag before its turn', async () => {
    const disk = new SimulatedDisk();
    const store = await openOn(disk);
    const users = store.namespace<string>('users');
    for (const tier of ['cold', 'on disk', 'in memory']) {
      for (let i = 0; i < 150; i++) {
        await users.set(`${tier} ${i}`, valueOf(i, 0, 300));
        await users.set(`${tier} short ${i}`, valueOf(i, 0, 300), { ttl: 1000 });
        await users.set(`${tier} tagged ${i}`, valueOf(i, 0, 300), { tags: ['a'] });
      }
      if (tier !== 'in memory') await spill(store);
      if (tier === 'cold') await store.compact();
    }
    let count = 0;
    let late = 0;
    for await (const key of users.keys()) {
      if (++count === 10) {
        disk.clock.advance(1001);
        await users.invalidateTags('a');
      } else if (count > 10 && /short|tagged/.test(key as string)) late++;
    }
    expect(late).toBe(0);
    expect(count).toBeGreaterThanOrEqual(450);
    count = 0;
    for await (const value of users.values()) {
      expect(value).toMatch(/^\d+\/0\//);
      if (++count === 10) await users.clear();
    }
    expect(count).toBe(10);
    await store.close();
  });

  it.each(['at once', 'by the thread pool'])(
    'brings what it meets before a damaged record, read %s',
    async (how) => {
      const disk = new SimulatedDisk();
      const reads = new HeldReads(disk);
      const store = await openOn(disk, { env: reads.env });
      const names = Array.from({ length: 60 }, (_, i) => `k${i}`);
      // So long that they are read one by one.
      for (const name of names) await store.set(name, valueOf(name, 0, 20_000));
      await spill(store);
      const order = await collect(store.keys());
      const damaged = Buffer.from(valueOf(order[15] as string, 0, 100));
      for (const path of segmentsOf(disk, 'hot')) {
        const at = disk.contents(path).indexOf(damaged);
        if (at >= 0) disk.flip(path, at * 8);
      }
      if (how !== 'at once')
        await reads.slowDown(
          store,
          [...names, ...names].filter((name) => name !== order[15]),
        );
      const found: KvKey[] = [];
      const scanning = async () => {
        for await (const key of store.keys()) found.push(key);
      };
      await expect(scanning()).rejects.toThrow(KvCorruptionError);
      expect(found).toEqual(order.slice(0, 15));
      expect(await collect(store.keys({ limit: 15 }))).toEqual(found);
      await store.close();
    },
  );

  it('has values in pieces whole, also when they move before their turn', async () => {
    const disk = new SimulatedDisk();
    const store = await openOn(disk);
    const large = (i: number) => Buffer.alloc(150_000 + i, i);
    for (let i = 0; i < 24; i++) await store.set(i, large(i));
    const found = new Map<KvKey, Buffer>();
    for await (const [key, value] of store.scan<Buffer>()) {
      found.set(key, value);
      if (found.size === 3) await store.compact({ full: true });
      if (found.size === 9) for (let i = 0; i < 24; i += 2) await store.set(i, large(i));
    }
    expect(found.size).toBe(24);
    for (const [key, value] of found) expect(value.equals(large(key as number))).toBe(true);
    await store.close();
  });
});

describe('a scan of a store that was opened again', () => {
  const COUNT = 20_000;
  const OTHERS = 3;
  let path: string;

  const reads = (store: KvStore) => store.stats().reads.diskReads;
  const reopen = (options: KvStoreOptions = {}) => KvStore.open({ path, compaction: false, ...options });

  beforeEach(async () => {
    path = missingPath();
    const store = await KvStore.open({ path, compaction: false, durability: { level: 'checkpoint' } });
    const entries = Array.from({ length: COUNT }, (_, i): [KvKey, unknown] => [
      `user:${i}`,
      { name: `user ${i}`, i },
    ]);
    await store.setMany(entries);
    await store.namespace('few').setMany(entries.slice(0, OTHERS));
    await store.close();
  });

  it.each(['hot', 'cold'])('reads its %s log in long stretches, and each record once', async (tier) => {
    const store = await reopen();
    if (tier === 'cold') await store.compact({ full: true });
    for (const [scan, count] of [
      [() => store.keys(), COUNT],
      [() => store.scan(), COUNT],
      [() => store.namespace('few').values(), OTHERS],
    ] as const) {
      const before = reads(store);
      expect(await collect<unknown>(scan())).toHaveLength(count);
      // One or two a key would be 20,000 or 40,000.
      expect(reads(store) - before).toBeLessThan(COUNT / 50);
    }
    await store.close();
  });

  it('reads little for who wants little', async () => {
    const store = await reopen();
    expect(await collect(store.scan({ limit: 5 }))).toHaveLength(5);
    expect(reads(store)).toBeLessThan(200);
    await store.close();
  });

  it('reads a record that was superseded, or is in both logs, no more often', async () => {
    const store = await reopen();
    await store.compact({ full: true });
    for (let i = 0; i < COUNT; i += 2) await store.set(`user:${i}`, { name: 'changed', i });
    await store.close();
    const again = await reopen();
    const before = reads(again);
    expect(await collect(again.keys())).toHaveLength(COUNT);
    expect(reads(again) - before).toBeLessThan(COUNT / 50);
    await again.close();
  });
});

describe('keys()', () => {
  it('reads no pieces of values', async () => {
    const store = await KvStore.open({ ...COMPACTING, env: new SimulatedDisk().env() });
    for (let i = 0; i < 20; i++) await store.set(i, Buffer.alloc(MIB / 4, i));
    await spill(store);
    const before = store.stats().reads.diskReads;
    expect(await collect(store.keys())).toHaveLength(20);
    expect(store.stats().reads.diskReads - before).toBeLessThan(40);
    await store.close();
  });
});
