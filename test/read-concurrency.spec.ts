/** A caller that does not wait for its reads gets all the answers, and does not make the store read without bound. */
import { KvStore } from 'nestjs-hotcold/store';
import type { Device, DeviceFile } from '../src/device/device.js';
import { MemoryDevice } from '../src/device/memory-device.js';

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
