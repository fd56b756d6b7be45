/**
 * What went wrong in the reference implementations (microsoft/FASTER's C++ F2, oxifaster), each as a test named after the
 * defect, and FASTER's own cases by their names. Each was seen to fail with the mechanism it is about taken out.
 */
import type { KvStore } from 'nestjs-hotcold/store';
import { KeyCodec } from '../src/codec/key-codec.js';
import { KeyedHash } from '../src/codec/keyed-hash.js';
import {
  differences,
  HeldReads,
  manifestOf,
  MIB,
  openOn,
  segmentsOf,
  turns,
  valueOf,
} from './support/compacting.js';
import { SimulatedDisk } from './support/simulated-disk.js';

const VALUE_BYTES = 2000;

let disk: SimulatedDisk;
let reads: HeldReads;
let store: KvStore;

async function open(): Promise<void> {
  reads = new HeldReads(disk);
  store = await openOn(disk, { env: reads.env });
}

beforeEach(async () => {
  disk = new SimulatedDisk();
  await open();
});

afterEach(async () => {
  reads.release();
  await store.close();
});

async function reopen(): Promise<void> {
  await store.close();
  await open();
}

const full = () => store.compact({ full: true });

/** Keys with values of their own. */
function keys(count: number, round = 0): Map<string, string> {
  return new Map(
    Array.from({ length: count }, (_, i) => [`k${i}`, valueOf(`k${i}`, round, VALUE_BYTES)] as const),
  );
}

/** Two keys whose hashes agree in the bits that make a chain of the hot index. */
function keysOfOneChain(): [string, string] {
  const { hashKey } = manifestOf(disk);
  const hash = new KeyedHash(Buffer.from(hashKey, 'hex'));
  const codec = new KeyCodec();
  const seen = new Map<number, string>();
  for (let i = 0; ; i++) {
    const encoded = codec.encode(0, `chained${i}`);
    hash.hash(encoded.words, encoded.length);
    const chain = hash.low & 0xfffffff;
    const other = seen.get(chain);
    if (other !== undefined) return [other, `chained${i}`];
    seen.set(chain, `chained${i}`);
  }
}

/** Pushes everything out of the hot log's memory. */
async function spill(): Promise<void> {
  const filler = store.namespace('filler');
  for (let i = 0; i < 12; i++) await filler.set(i, Buffer.alloc(32 * 1024, i));
  await store.flush();
}

/** The value of a key in the cold log and an old one of the hot log, each on disk only. */
async function setCold(key: string, value: unknown): Promise<void> {
  await store.set(key, value);
  await full();
  expect(store.peek(key)).toBeUndefined();
}

describe('upsert, then delete, of a key that is cold, while the hot record is mutable', () => {
  it.each(['at once', 'after a compaction', 'after two', 'after a restart'])(
    'leaves it deleted: %s',
    async (when) => {
      await setCold('k', 'old');
      await store.set('k', 'new');
      expect(await store.delete('k')).toBe(true);
      if (when !== 'at once') await full();
      if (when === 'after two') await full();
      if (when === 'after a restart') await reopen();
      expect(await store.get('k')).toBeUndefined();
      expect(await store.has('k')).toBe(false);
      expect(await store.delete('k')).toBe(false);
    },
  );
});

describe('a manual and an automatic compaction at once', () => {
  it('are one: every key is there all the time', async () => {
    await store.close();
    store = await openOn(disk, { env: reads.env, compaction: { every: 1000 } });
    const expected = keys(1000);
    const wrong: unknown[] = [];
    for (const [key, value] of expected) {
      await store.set(key, value);
      if (key.endsWith('99')) void full().catch((error: unknown) => wrong.push(error));
      const earlier = `k${Math.floor(Number(key.slice(1)) / 2)}`;
      const found = await store.get(earlier);
      if (found !== expected.get(earlier)) wrong.push([earlier, found]);
    }
    const automatic = store.stats().compaction.last;
    await Promise.all([
      full(),
      full(),
      ...Array.from({ length: 20 }, () => store.set('k0', expected.get('k0'))),
    ]);
    expect(wrong).toEqual([]);
    expect(automatic).toBeDefined();
    expect(await differences(store, expected)).toEqual([]);
  });
});

describe('compaction unlinks what is needed', () => {
  it('not at any moment: whenever a file goes, what is durable is the whole store', async () => {
    const snapshots: SimulatedDisk[] = [];
    await store.close();
    const env = disk.env();
    const unlink: typeof env.fs.unlink = async (path) => {
      const isLog = path.endsWith('.log') && !path.includes('index-');
      // What a power cut would leave that loses all it can, and what is there when the file is gone.
      const before = disk.fork();
      before.crash('none');
      if (isLog) snapshots.push(before);
      await env.fs.unlink(path);
      if (isLog) snapshots.push(disk.fork());
    };
    store = await openOn(disk, { env: { ...env, fs: { ...env.fs, unlink } } });
    const expected = keys(1000);
    for (let round = 0; round < 3; round++) {
      for (const [key, value] of keys(1000, round)) {
        expected.set(key, value);
        await store.set(key, value);
      }
      await store.flush();
      const before = snapshots.length;
      await full();
      for (const snapshot of snapshots.splice(before)) {
        const other = await openOn(snapshot);
        expect(await differences(other, expected)).toEqual([]);
        await other.close();
        snapshots.push(snapshot);
      }
    }
    expect(snapshots.length).toBeGreaterThan(4);
  });
});

describe('compaction that spins when nothing can be freed', () => {
  it('ends, when everything is in memory, and when everything lives', async () => {
    for (const [key, value] of keys(50)) await store.set(key, value);
    expect((await store.compact()).hot.records).toBe(0);
    expect((await full()).hot.records).toBe(50);
    for (let i = 0; i < 3; i++) {
      expect(await full()).toMatchObject({ copiedRecords: 0, aborted: false });
      expect(await store.compact()).toMatchObject({ copiedRecords: 0, aborted: false });
    }
    expect(await differences(store, keys(50))).toEqual([]);
  });

  it('does not start again and again under a budget that cannot be kept', async () => {
    await store.close();
    store = await openOn(disk, { env: reads.env, compaction: { every: 1000 } });
    let runs = 0;
    store.on('compaction', () => runs++);
    // Everything is one range, which no run can give up before there is a second one.
    for (const [key, value] of keys(1000)) void store.set(key, value);
    await turns(2000);
    expect(store.stats().compaction.running).toBe(false);
    expect(runs).toBeLessThan(5);
    expect(await differences(store, keys(1000))).toEqual([]);
  });
});

describe.each(['before', 'after'] as const)('a read under way, held %s it reaches the disk', (moment) => {
  /** Reads a key that is not in memory while something happens. */
  async function during<T>(read: () => Promise<T>, what: () => Promise<unknown>, skip = 0): Promise<T> {
    await reads.slowDown(store, decoys);
    reads.hold(moment, skip);
    const result = read();
    result.catch(() => undefined);
    for (let i = 0; i < 1000 && reads.held === 0; i++) await turns(1);
    expect(reads.held).toBe(1);
    await what();
    reads.release();
    return result;
  }

  const decoys = [...keys(1000).keys()].slice(500);

  beforeEach(async () => {
    for (const [key, value] of keys(1000)) await store.set(key, value);
    await store.flush();
    await spill();
  });

  it('finds a record that moved from the hot to the cold log meanwhile', async () => {
    for (const read of [
      () => store.get('k1'),
      async () => (await store.getEntry('k1'))?.value,
      async () => ((await store.has('k1')) ? keys(2).get('k1') : undefined),
    ]) {
      const first = segmentsOf(disk, 'hot')[0];
      expect(await during(read, full)).toBe(keys(2).get('k1'));
      expect(segmentsOf(disk, 'hot')).not.toContain(first);
      for (const [key, value] of keys(1000)) await store.set(key, value);
      await spill();
    }
  });

  it('finds a record that moved within the cold log meanwhile', async () => {
    await full();
    const { begin } = manifestOf(disk).cold;
    const value = await during(
      () => store.get('k1'),
      async () => {
        for (const [key, changed] of keys(1000, 1)) if (key !== 'k1') await store.set(key, changed);
        await full();
      },
    );
    expect(value).toBe(keys(2).get('k1'));
    expect(manifestOf(disk).cold.begin).toBeGreaterThan(begin);
  });

  it('finds a record behind that of another key of its hash chain, when both move meanwhile', async () => {
    const [below, above] = keysOfOneChain();
    await store.set(below, 'the one that is looked for');
    await store.set(above, 'the one on the way to it');
    await spill();
    const value = await during(() => store.get(below), full);
    expect(value).toBe('the one that is looked for');
    await store.set(above, 'the one on the way to a cold one');
    await spill();
    expect(await during(() => store.get(below), full)).toBe('the one that is looked for');
    expect(await store.get(above)).toBe('the one on the way to a cold one');
  });

  it('finds a record that moved twice meanwhile', async () => {
    const value = await during(
      () => store.get('k1'),
      async () => {
        await full();
        for (const [key, changed] of keys(1000, 1)) if (key !== 'k1') await store.set(key, changed);
        await full();
        await full();
      },
    );
    expect(value).toBe(keys(2).get('k1'));
  });

  it('says that a key is absent that was deleted before, and nothing older', async () => {
    await full();
    await store.delete('k1');
    await spill();
    const value = await during(() => store.get('k1'), full);
    expect(value).toBeUndefined();
    const again = await during(() => store.get('k2'), full);
    expect(again).toBe(keys(3).get('k2'));
  });

  it('does not fill the read cache with a value that was overwritten meanwhile', async () => {
    for (const place of ['hot', 'cold']) {
      await store.close();
      store = await openOn(disk, { env: reads.env, readCache: { memory: '1mb' } });
      if (place === 'cold') await full();
      const value = await during(
        () => store.get('k1'),
        async () => {
          await store.set('k1', 'new');
          await spill();
          if (place === 'cold') await full();
        },
      );
      expect([keys(2).get('k1'), 'new']).toContain(value);
      expect(await store.get('k1')).toBe('new');
      expect(await store.get('k1')).toBe('new');
      expect(store.stats().reads.cacheHits).toBeGreaterThan(0);
      await store.set('k1', keys(2).get('k1'));
      await spill();
    }
  });

  it('does not fill the read cache with a value that was deleted meanwhile', async () => {
    await store.close();
    store = await openOn(disk, { env: reads.env, readCache: { memory: '1mb' } });
    await during(
      () => store.get('k1'),
      async () => {
        await store.delete('k1');
        await full();
        await full();
      },
    );
    expect(await store.get('k1')).toBeUndefined();
    expect(await store.get('k1')).toBeUndefined();
  });

  /** A read-modify-write that saw the old value has to start over. */
  describe.each(['hot', 'cold'])('of a read-modify-write, with the record in the %s log', (place) => {
    beforeEach(async () => {
      await store.set('n', 1);
      await spill();
      if (place === 'cold') await full();
    });

    it('sees an increment of somebody else', async () => {
      const result = await during(
        () => store.increment('n', 10),
        async () => {
          // Of a key in memory, so that nobody waits for a read.
          await store.set('n', 2);
        },
      );
      expect(result).toBe(12);
      expect(await store.get('n')).toBe(12);
    });

    it('sees an increment of somebody else that compaction has moved away', async () => {
      const result = await during(
        () => store.increment('n', 10),
        async () => {
          await store.set('n', 2);
          await full();
        },
      );
      expect(result).toBe(12);
      expect(await store.get('n')).toBe(12);
      await full();
      expect(await store.get('n')).toBe(12);
    });

    it('sees a delete that compaction has moved away', async () => {
      const result = await during(
        () => store.update<number>('n', (n) => (n === undefined ? 100 : n + 10)),
        async () => {
          await store.set('n', 2);
          await store.delete('n');
          await full();
          await full();
        },
      );
      expect(result).toBe(100);
      expect(await store.get('n')).toBe(100);
    });

    it('writes once where compaction moves the record and nothing else happens', async () => {
      expect(await during(() => store.increment('n', 10), full)).toBe(11);
      expect(await store.get('n')).toBe(11);
      await full();
      await reopen();
      expect(await store.get('n')).toBe(11);
    });

    it('does not set if absent what is set, nor set at a version that is gone', async () => {
      const absent = await during(() => store.setIfAbsent('n', 'wrong'), full);
      expect(absent).toBe(false);
      const { version } = (await store.getEntry('n')) as { version: number };
      const outcome = during(
        () => store.set('n', 'wrong', { ifVersion: version }),
        async () => {
          await store.set('n', 'right');
          await full();
        },
      );
      await expect(outcome).rejects.toThrow('version');
      expect(await store.get('n')).toBe('right');
    });
  });

  it('of a value in extents finds it whole, where it has moved meanwhile', async () => {
    const value = Buffer.alloc(300_000, 'a value in pieces, ');
    await store.set('large', value);
    await spill();
    // The record that lists the pieces, and then each of them.
    for (let skip = 0; skip < 4; skip++) {
      const found = await during(() => store.get<Buffer>('large'), full, skip);
      expect([skip, found?.equals(value)]).toEqual([skip, true]);
      await store.set('large', value);
      await spill();
    }
  });
});

describe('a read of a value in extents that lies in memory', () => {
  it('is not of other bytes when the pages are used again in between', async () => {
    for (let hops = 0; hops < 12; hops++) {
      const value = Buffer.alloc(150_000, 100 + hops);
      await store.set('large', value);
      const result = store.get<Buffer>('large');
      let writer = Promise.resolve();
      for (let i = 0; i < hops; i++) writer = writer.then(() => undefined);
      void writer.then(() => {
        for (let i = 0; i < 20; i++) void store.set(`other${i}`, Buffer.alloc(50_000, 1));
      });
      expect([hops, (await result)?.equals(value)]).toEqual([hops, true]);
    }
  });
});

describe('cold → cold compaction as bare truncation', () => {
  it('copies what lives: every key is there, with the newest value, whichever tier it is in', async () => {
    const expected = keys(500);
    for (const [key, value] of expected) await store.set(key, value);
    await full();
    for (let round = 1; round < 6; round++) {
      for (const [key, value] of keys(500, round)) {
        // A fifth of them each time; so some live for long in the oldest part of the log.
        if (Number(key.slice(1)) % 5 !== round % 5) continue;
        expected.set(key, value);
        await store.set(key, value);
      }
      const { begin } = manifestOf(disk).cold;
      await full();
      expect(manifestOf(disk).cold.begin).toBeGreaterThan(begin);
      expect(await differences(store, expected)).toEqual([]);
      // Newer ones in the hot log's memory: the cold tier is never asked first.
      await store.set('k0', round);
      expected.set('k0', round as never);
      expect(await store.get('k0')).toBe(round);
    }
    await reopen();
    expect(await differences(store, expected)).toEqual([]);
  });
});

describe('a corrupt record makes the chain end early', () => {
  it.each([
    ['hot', 'at once'],
    ['cold', 'at once'],
    ['hot', 'by the thread pool'],
    ['cold', 'by the thread pool'],
  ] as const)('never: it is an error, and no older version appears (%s, read %s)', async (log, how) => {
    const decoys = Array.from({ length: 500 }, (_, i) => `decoy ${i}`);
    for (const key of decoys) await store.set(key, valueOf(key, 0, VALUE_BYTES));
    await setCold('k', 'the oldest value of the key');
    await store.set('k', 'the newest value of the key');
    await store.flush();
    if (log === 'cold') {
      // So that the garbage stays: a plain compaction of what is spilled.
      await spill();
      await spill();
      await store.compact();
    }
    await spill();
    const path = segmentsOf(disk, log).find((name) =>
      disk.contents(name).includes('the newest value'),
    ) as string;
    disk.flip(path, (disk.contents(path).indexOf('the newest value') + 4) * 8);
    if (how === 'by the thread pool') await reads.slowDown(store, decoys);
    for (let i = 0; i < 2; i++) await expect(store.get('k')).rejects.toMatchObject({ code: 'KV_CORRUPTION' });
    await expect(store.increment('k')).rejects.toMatchObject({ code: 'KV_CORRUPTION' });
    await expect(full()).rejects.toMatchObject({ code: 'KV_CORRUPTION' });
    await expect(store.get('k')).rejects.toMatchObject({ code: 'KV_CORRUPTION' });
  });
});

describe('index growth', () => {
  it('finds every key before, during and after: both indexes grow while keys move', async () => {
    await store.close();
    disk = new SimulatedDisk();
    store = await openOn(disk, { compaction: { every: 1000 }, hot: { memory: '8mb', diskBudget: '3mb' } });
    const { indexBuckets } = store.stats().hot;
    const count = 150_000;
    const wrong: number[] = [];
    for (let i = 0; i < count; i++) {
      await store.set(i, i);
      if (i % 997 !== 0) continue;
      for (let j = 0; j < i; j += 1009) if ((await store.get(j)) !== j) wrong.push(j);
    }
    expect(wrong).toEqual([]);
    expect(store.stats().hot.indexBuckets).toBeGreaterThan(indexBuckets);
    // More than make the slots of the cold one split.
    expect(store.stats().cold.indexEntries).toBeGreaterThan(60_000);
    for (let i = 0; i < count; i++) if ((await store.get(i)) !== i) wrong.push(i);
    expect(wrong).toEqual([]);
    expect(await store.get(count)).toBeUndefined();
  });
});

/** FASTER's own tests, by their names. */
describe('FASTER', () => {
  it('OnDiskReadCompactionRaceCondition', async () => {
    const expected = keys(1000);
    for (const [key, value] of expected) await store.set(key, value);
    await spill();
    await reads.slowDown(store, expected.keys());
    for (let round = 0; round < 3; round++) {
      const run = full();
      const found = new Map<string, unknown>();
      while (store.stats().compaction.running) {
        const some = [...expected.keys()].filter((_, i) => i % 7 === round);
        await Promise.all(some.map(async (key) => found.set(key, await store.get(key))));
      }
      await run;
      expect(found.size).toBeGreaterThan(100);
      for (const [key, value] of found) expect(value).toBe(expected.get(key));
      for (const [key, value] of expected) if (Number(key.slice(1)) % 2) await store.set(key, value);
      await spill();
    }
  });

  it('DeleteAndReInsert', async () => {
    const expected = keys(300);
    for (const [key, value] of expected) await store.set(key, value);
    await full();
    for (const key of expected.keys()) await store.delete(key);
    for (const [key, value] of keys(300, 1)) {
      if (Number(key.slice(1)) % 2) continue;
      await store.set(key, value);
      expected.set(key, value);
    }
    for (const key of expected.keys()) if (Number(key.slice(1)) % 2) expected.set(key, undefined as never);
    for (let i = 0; i < 3; i++) {
      await full();
      expect(await differences(store, expected)).toEqual([]);
    }
    await reopen();
    expect(await differences(store, expected)).toEqual([]);
  });

  it('UpsertDeleteHalf', async () => {
    const expected = keys(400);
    for (const [key, value] of expected) await store.set(key, value);
    for (const key of expected.keys()) {
      if (Number(key.slice(1)) % 2) continue;
      await store.delete(key);
      expected.set(key, undefined as never);
    }
    for (let i = 0; i < 2; i++) {
      await full();
      expect(await differences(store, expected)).toEqual([]);
    }
    expect(store.stats().cold.diskBytes).toBeLessThan(2 * MIB);
  });

  it('ConcurrentUpdates: RMW of cold keys during compaction loses none', async () => {
    const names = Array.from({ length: 50 }, (_, i) => `n${i}`);
    for (const name of names) await store.set(name, 0);
    await full();
    let rounds = 0;
    for (let i = 0; i < 20; i++) {
      const run = full();
      const calls: Promise<unknown>[] = [];
      for (let moment = 0; moment < 5; moment++) {
        calls.push(...names.map((name) => store.increment(name)));
        rounds++;
        await turns(1);
      }
      await Promise.all([run, ...calls]);
      await spill();
    }
    await full();
    await reopen();
    for (const name of names) expect([name, await store.get(name)]).toEqual([name, rounds]);
  });
});
