/** A caller that does not wait for its reads gets all the answers, and does not make the store read without bound. */
import { KvStore } from 'nestjs-hotcold/store';
import type { Device, DeviceFile } from '../src/device/device.js';
import { MemoryDevice } from '../src/device/memory-device.js';
import type { StoreCore } from '../src/store/store-core.js';
import { nodeEnv } from '../src/device/node-env.js';
import { missingPath } from './support/temp-directory.js';

const KEYS = 20_000;

/** A memory device that counts the reads under way. */
class CountingDevice extends MemoryDevice implements Device {
  inFlight = 0;
  most = 0;

  override open(name: string, options: { create: boolean }): DeviceFile {
    const file = super.open(name, options);
    const read = file.read.bind(file);
    file.read = async (...args) => {
      this.most = Math.max(this.most, ++this.inFlight);
      await new Promise((resolve) => setImmediate(resolve));
      const count = await read(...args);
      this.inFlight--;
      return count;
    };
    return file;
  }
}

it('bounds the reads from disk that run at the same time', async () => {
  const device = new CountingDevice(64 * 1024 * 1024);
  const store = await KvStore.open({ device, hot: { memory: '8mb' } });
  const filler = 'x'.repeat(1000);
  for (let i = 0; i < KEYS; i++) await store.set(i, { i, filler });
  const reads: Promise<{ i: number } | undefined>[] = [];
  for (let i = 0; i < KEYS; i++) reads.push(store.get<{ i: number }>(i));
  const values = await Promise.all(reads);
  expect(values.every((value, i) => value?.i === i)).toBe(true);
  expect(store.stats().reads.diskHits).toBeGreaterThan(KEYS / 2);
  expect(device.most).toBeGreaterThan(100);
  expect(device.most).toBeLessThanOrEqual(256);
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
