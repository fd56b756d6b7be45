/** A caller that does not wait for its reads gets all the answers, and does not make the store read without bound. */
import { KvStore } from 'nestjs-hotcold/store';
import type { StoreCore } from '../src/store/store-core.js';
import { nodeEnv } from '../src/device/node-env.js';
import { missingPath } from './support/temp-directory.js';

const KEYS = 20_000;

it('bounds the reads from disk that run at the same time', async () => {
  let ms = 0;
  let underWay = 0;
  let most = 0;
  const { clock, fs } = nodeEnv;
  // So slow that the pacer leaves all but the first to the thread pool, however fast the machine is.
  const readSync: typeof fs.readSync = (...args) => {
    ms += 100;
    return fs.readSync(...args);
  };
  const read: typeof fs.read = async (...args) => {
    most = Math.max(most, ++underWay);
    const count = await fs.read(...args);
    underWay--;
    return count;
  };
  const env = { ...nodeEnv, clock: { ...clock, tick: () => ms }, fs: { ...fs, readSync, read } };
  const store = await KvStore.open({ path: missingPath(), env, hot: { memory: '8mb' }, compaction: false });
  const filler = 'x'.repeat(1000);
  for (let i = 0; i < KEYS; i++) await store.set(i, { i, filler });
  const reads = Array.from({ length: KEYS }, (_, i) => store.get<{ i: number }>(i));
  const values = await Promise.all(reads);
  expect(values.every((value, i) => value?.i === i)).toBe(true);
  expect(store.stats().reads.diskHits).toBeGreaterThan(KEYS / 2);
  expect(most).toBeGreaterThan(100);
  expect(most).toBeLessThanOrEqual(256);
  await store.close();
});

/** Two integers whose records lie in one chain of the hot index: 28 bits of their hashes are the same. */
function twoOfOneChain(store: KvStore): [number, number] {
  const { core } = store as unknown as { core: StoreCore };
  const seen = new Map<number, number>();
  for (let key = 0; ; key++) {
    const chain = core.key(0, key).hashLow & 0x0fffffff;
    const other = seen.get(chain);
    if (other !== undefined) return [other, key];
    seen.set(chain, key);
  }
}

it('finds what lies behind more records than can be read in one turn', async () => {
  let ms = 0;
  const { clock, fs } = nodeEnv;
  // A fifth of what may be read in a turn, which is not slow for somebody who reads alone.
  const readSync: typeof fs.readSync = (...args) => {
    ms += 0.1;
    return fs.readSync(...args);
  };
  const env = { ...nodeEnv, clock: { ...clock, tick: () => ms }, fs: { ...fs, readSync } };
  const store = await KvStore.open({
    path: missingPath(),
    env,
    hot: { memory: '8mb', pageSize: '64kb', expectedKeys: 500_000 },
    readCache: { memory: 0 },
    compaction: false,
  });
  const [old, often] = twoOfOneChain(store);
  await store.set(old, 'old');
  await store.set('other', 'value');
  for (let round = 0; round < 12; round++) {
    await store.set(often, round);
    // Out of memory with it, so that the next is another record.
    for (let i = 0; i < 100; i++) await store.set(`filler ${i}`, 'x'.repeat(10_000));
  }
  await store.get('other');
  const before = store.stats().reads.diskReads;
  expect(await store.get(old)).toBe('old');
  expect(store.stats().reads.diskReads - before).toBeGreaterThan(12);
  await store.close();
});

/** Two looks at the clock make a read: so long does the page cache take. */
const TICK_MS = 0.004;

it('waits for a turn of the event loop, and not for the thread pool, when too much was read at once', async () => {
  let ms = 0;
  let pooled = 0;
  const { clock, fs } = nodeEnv;
  const read: typeof fs.read = (...args) => {
    pooled++;
    return fs.read(...args);
  };
  const env = { ...nodeEnv, clock: { ...clock, tick: () => (ms += TICK_MS) }, fs: { ...fs, read } };
  const filler = 'x'.repeat(700);
  const store = await KvStore.open({ path: missingPath(), env, hot: { memory: '8mb' }, compaction: false });
  for (let i = 0; i < KEYS; i++) await store.set(i, { i, filler });
  await store.compact();
  // The first reads after the opening prove that reads are cheap.
  await store.get(0);
  await new Promise((resolve) => setImmediate(resolve));
  const before = { ...store.stats().reads };
  pooled = 0;
  const reads = Array.from({ length: 3000 }, (_, i) => store.get<{ i: number }>(i));
  expect((await Promise.all(reads)).every((value, i) => value?.i === i)).toBe(true);
  const { coldHits, diskReads, indexReads } = store.stats().reads;
  expect(coldHits - before.coldHits).toBeGreaterThan(2000);
  expect(diskReads - before.diskReads + indexReads - before.indexReads).toBeGreaterThan(2000);
  expect(pooled).toBe(0);
  await store.close();
});

describe('a read that waits for the event loop to turn', () => {
  let store: KvStore;
  let release: () => void;
  let waiting: Promise<unknown>;
  let closed: boolean;

  /** All of it on disk in the hot log; one read has used up what may be read in this turn, which ends at `release`. */
  beforeEach(async () => {
    let ms = 0;
    let hold = false;
    closed = false;
    const { clock, fs } = nodeEnv;
    const env = {
      ...nodeEnv,
      clock: {
        ...clock,
        tick: () => ms,
        turn: (): Promise<void> => {
          if (!hold) return clock.turn();
          hold = false;
          return new Promise((resolve) => (release = resolve));
        },
      },
      fs: {
        ...fs,
        readSync: ((...args) => {
          ms += 0.1;
          return fs.readSync(...args);
        }) as typeof fs.readSync,
      },
    };
    store = await KvStore.open({
      path: missingPath(),
      env,
      hot: { memory: '8mb', pageSize: '64kb', expectedKeys: 500_000 },
      readCache: { memory: 0 },
      compaction: false,
    });
    for (const key of ['first', 'key', 'other']) await store.set(key, `old ${key}`);
    for (let i = 0; i < 200; i++) await store.set(`filler ${i}`, 'x'.repeat(10_000));
    await store.flush();
    hold = true;
    waiting = store.get('first');
    expect(hold).toBe(false);
  });

  afterEach(async () => {
    expect(await waiting).toBe('old first');
    if (!closed) await store.close();
  });

  it('and the key is written meanwhile, keeps nothing old', async () => {
    const reads = [store.get('key'), store.get('other')];
    void store.set('key', 'new key');
    const deleted = store.delete('other');
    release();
    await deleted;
    const [key, other] = await Promise.all(reads);
    expect(['old key', 'new key']).toContain(key);
    expect(['old other', undefined]).toContain(other);
    expect([await store.get('key'), await store.get('other')]).toEqual(['new key', undefined]);
  });

  it('for an update sees what was written meanwhile', async () => {
    const update = store.update<string>('key', (value) => `${value} updated`);
    const once = store.setIfAbsent('other', 'never');
    void store.set('key', 'new key');
    release();
    await Promise.all([update, once]);
    expect([await store.get('key'), await store.get('other')]).toEqual(['new key updated', 'old other']);
  });

  it('finds its record where a compaction has moved it, and the log was truncated', async () => {
    const read = store.get('key');
    const absent = store.get('absent');
    const { hot } = await store.compact({ full: true });
    expect(hot.truncatedBytes).toBeGreaterThan(1_000_000);
    release();
    expect([await read, await absent]).toEqual(['old key', undefined]);
  });

  it('ends before the store is closed', async () => {
    const read = store.get('key');
    const closing = store.close();
    closed = true;
    release();
    expect(await read).toBe('old key');
    await closing;
  });
});
