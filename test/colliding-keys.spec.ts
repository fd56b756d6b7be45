/**
 * Two keys that look like one to every index, wherever their records are: each has its own value, and neither takes the
 * other's place in a compaction, a scan, a recovery or a repair. (`model.spec.ts` has such keys among its own.)
 */
import { KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { COLLIDING_PAIRS, hashBitsOf, withZeroHashKey } from './support/colliding-keys.js';
import { COMPACTING, PATH } from './support/compacting.js';
import { SimulatedDisk } from './support/simulated-disk.js';

const KEYS = COLLIDING_PAIRS.flat();

/** Larger than the memory and the read cache of the log. */
const FILLER_BYTES = 2 * 1024 * 1024;

let disk: SimulatedDisk;
let store: KvStore;
let expected: Map<string, unknown>;

const open = (options: KvStoreOptions = {}) =>
  KvStore.open({ ...COMPACTING, env: withZeroHashKey(disk.env()), ...options });

beforeEach(async () => {
  disk = new SimulatedDisk();
  expected = new Map();
  store = await open();
});
afterEach(() => store.close());

async function set(key: string, value: unknown): Promise<void> {
  expected.set(key, value);
  await store.set(key, value);
}

async function remove(key: string): Promise<void> {
  expected.delete(key);
  await store.delete(key);
}

/** Pushes everything that was written so far out of memory. */
async function spill(): Promise<void> {
  const filler = store.namespace('filler');
  for (let bytes = 0; bytes < FILLER_BYTES; bytes += 32 * 1024)
    await filler.set(bytes, Buffer.alloc(32 * 1024));
  await store.flush();
}

async function check(): Promise<void> {
  for (const key of KEYS) expect([key, await store.get(key)]).toEqual([key, expected.get(key)]);
  expect(await store.getMany([...KEYS])).toEqual(KEYS.map((key) => expected.get(key)));
}

async function checkAll(): Promise<void> {
  await check();
  const scanned = new Map<unknown, unknown>();
  for await (const [key, value] of store.scan()) {
    expect(scanned.has(key)).toBe(false);
    scanned.set(key, value);
  }
  expect(scanned).toEqual(expected);
  expect((await store.verify()).damages).toEqual([]);
}

/** One of each pair written again, one deleted, one set for the first time. */
async function change(round: number): Promise<void> {
  const [[a], [, b], [c, d], [e]] = COLLIDING_PAIRS;
  await set(a, `changed ${round}`);
  await set(b, { round });
  await remove(c);
  await set(d, round);
  if (round % 2 === 0) await remove(e);
  else await set(e, [round]);
}

describe('keys with the same 45 bits of their hashes', () => {
  it('are that: neither index tells them apart', () => {
    for (const [one, other] of COLLIDING_PAIRS) expect(hashBitsOf(one)).toEqual(hashBitsOf(other));
    expect(new Set(KEYS.map((key) => hashBitsOf(key).tag)).size).toBe(COLLIDING_PAIRS.length);
  });

  it('have their own values in memory, on disk, in the cold tier and after each rewrite of it', async () => {
    for (const key of KEYS) await set(key, `first of ${key}`);
    await checkAll();
    for (let round = 1; round <= 3; round++) {
      await change(round);
      await check();
      await spill();
      await check();
      // What is older than the changes is cold, and then rewritten.
      await store.compact({ full: round > 1 });
      await checkAll();
    }
    expect(store.stats().cold.diskBytes).toBeGreaterThan(0);
  });

  it('have their own values from the read cache', async () => {
    await store.close();
    store = await open({ readCache: { memory: '1mb' } });
    for (const key of KEYS) await set(key, `first of ${key}`);
    await spill();
    await store.compact({ full: true });
    await check();
    await check();
    expect(store.stats().reads.cacheHits).toBeGreaterThan(0);
    await change(1);
    await check();
  });

  it.each([
    ['a close', async () => store.close()],
    [
      'a kill',
      async () => {
        await store.flush();
        disk = disk.fork();
        disk.kill();
      },
    ],
    [
      'a kill without a checkpoint',
      async () => {
        await store.flush();
        disk = disk.fork();
        disk.kill();
        for (const path of disk.paths()) if (path.includes('checkpoint-')) await disk.env().fs.unlink(path);
      },
    ],
  ])('have their own values after %s', async (_, end) => {
    for (const key of KEYS) await set(key, `first of ${key}`);
    await spill();
    await store.compact({ full: true });
    await change(1);
    await spill();
    await change(2);
    const before = store;
    await end();
    store = await open();
    await check();
    await store.compact({ full: true });
    await checkAll();
    await before.close().catch(() => undefined);
  });

  it('are all there behind a salvage', async () => {
    for (const key of KEYS) await set(key, `first of ${key}`);
    await spill();
    await store.compact({ full: true });
    await change(1);
    await spill();
    await store.close();
    const to = `${PATH}-saved`;
    await KvStore.salvage(PATH, to, {
      env: withZeroHashKey(disk.env()),
      hot: COMPACTING.hot,
      cold: COMPACTING.cold,
    });
    store = await open({ path: to });
    await checkAll();
  });
});
