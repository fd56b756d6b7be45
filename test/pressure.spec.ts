/**
 * Memory pressure while the disk is busy: pages that are being written have to leave memory, and their buffers are
 * wanted again, within one turn of the event loop. The simulated disk takes the bytes of a write when it ends, so a
 * buffer that is used too early is noticed.
 */
import { KvStore, type KvDurabilityLevel, type KvStoreOptions } from 'nestjs-hotcold/store';
import { SimulatedDisk } from './support/simulated-disk.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));
const value = (round: number, key: number) => Buffer.alloc(30_000, `${round}-${key},`);

/** Half of the memory for the index leaves some fifty pages, whose buffers are used again and again. */
const hot = { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', expectedKeys: 250_000 } as const;

describe.each<KvDurabilityLevel>(['always', 'interval', 'checkpoint'])('at %s', (level) => {
  it.each([0, 0.3, 0.9, 1])(
    'with mutableFraction %d every value is what was set last',
    async (mutableFraction) => {
      const disk = new SimulatedDisk({ completion: 'random', seed: 5 });
      const options = (): KvStoreOptions => ({
        path: '/s',
        env: disk.env(),
        hot: { ...hot, mutableFraction },
        durability: { level },
      });
      let store = await KvStore.open(options());
      const keys = 200;
      const newest = new Map<number, Buffer>();
      const pending: Promise<unknown>[] = [];
      for (let round = 0; round < 24; round++) {
        // More than the memory holds in some turns, a few records in others, from anywhere in the key space.
        const count = [1, 7, 30, 150][round % 4] ?? 1;
        for (let i = 0; i < count; i++) {
          const key = (round * 37 + i * 11) % keys;
          newest.set(key, value(round, key));
          pending.push(store.set(key, value(round, key)));
        }
        if (round % 13 === 5) pending.push(store.flush());
        if (round % 5 === 0) pending.push(store.getMany([...newest.keys()]));
        disk.clock.advance(30);
        for (let turns = 0; turns < round % 3; turns++) await turn();
      }
      await Promise.all(pending);
      const wrong = async () => {
        const found = await store.getMany<Buffer>([...newest.keys()]);
        return [...newest].filter(([, bytes], i) => !found[i]?.equals(bytes)).map(([key]) => key);
      };
      expect(store.stats().hot.pressureBytes).toBeGreaterThan(1_000_000);
      expect(await wrong()).toEqual([]);
      await store.close();
      store = await KvStore.open(options());
      expect(store.opened).toMatchObject({ clean: true, droppedBytes: 0 });
      expect(await wrong()).toEqual([]);
      await store.close();
    },
  );
});
