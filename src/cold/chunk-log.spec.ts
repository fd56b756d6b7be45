import {
  CheckedColdIndex,
  indexToDamage,
  LateDevice,
  type Key,
} from '../../test/support/checked-cold-index.js';
import { SeededRandom } from '../../test/support/seeded-random.js';
import { MemoryDevice } from '../device/memory-device.js';
import type { LogAddress } from '../log/address.js';
import { ChunkLog } from './chunk-log.js';
import { chunkBytes, EntryList } from './hash-chunk.js';

const KIB = 1024;
const MIB = 1024 * KIB;

// The machine may be busy with other specs.

describe('ChunkLog', () => {
  it('finds chunks where an address looks like none, and where places begin anew', async () => {
    const page = 64 * KIB;
    const checked = new CheckedColdIndex({ firstAddress: (2 ** 35 - page) as LogAddress, cacheBytes: 0 });
    await checked.fill(30_000);
    await checked.flush();
    expect(checked.index.stats.chunkLogBytes).toBeGreaterThan(6 * page);
    expect(await checked.wrong()).toEqual([]);
    await checked.index.close();
  });

  it.each(['all', 'none'] as const)(
    'is an error, never a wrong answer (synchronous reads: %s)',
    async (sync) => {
      const { checked, flip, bytes } = await indexToDamage(sync);
      const random = new SeededRandom(3);
      let noticed = 0;
      for (let round = 0; round < 8; round++) {
        const at = 64 + random.below(bytes - 64);
        flip(at);
        const errors: unknown[] = [];
        const wrong: Key[] = [];
        for (const key of checked.keys) {
          try {
            if (!(await checked.isRight(key))) wrong.push(key);
          } catch (error) {
            errors.push(error);
          }
        }
        expect(wrong).toEqual([]);
        for (const error of errors) {
          expect(error).toMatchObject({ code: 'KV_CORRUPTION', file: 'index-00000000.log' });
        }
        if (errors.length > 0) noticed++;
        flip(at);
      }
      // The rest hit fillers.
      expect(noticed).toBeGreaterThan(5);
      expect(await checked.wrong()).toEqual([]);
    },
  );

  it('begins empty, and leaves no files', async () => {
    const device = new MemoryDevice(64 * MIB);
    device.open('cold-00000000.log', { create: true }).close();
    const first = new CheckedColdIndex({ device });
    await first.fill(30_000);
    expect(device.list().filter((name) => name.startsWith('index-')).length).toBeGreaterThan(0);
    // A process that ended here is followed by another.
    const second = new CheckedColdIndex({ device, seed: 2 });
    expect(device.list()).toEqual(['cold-00000000.log']);
    expect(second.index.stats.entries).toBe(0);
    expect((await second.index.find(first.keys[0].low, first.keys[0].high)).count).toBe(0);
    await second.fill(30_000);
    expect(await second.wrong()).toEqual([]);
    await second.index.close();
    expect(device.list()).toEqual(['cold-00000000.log']);
  });

  it('is written up to its tail where that is the end of a page', async () => {
    const pageSize = 64 * KIB;
    const device = new LateDevice(new SeededRandom(31));
    const failures: unknown[] = [];
    const options = { pageSize, segmentSize: MIB, salt: 1, cacheBytes: 0 };
    const chunks = new ChunkLog({ ...options, device, onWriteError: (error) => failures.push(error) });
    const list = new EntryList();
    const append = (entries: number): void => {
      list.clear();
      for (let i = 0; i < entries; i++) list.add(i, 8 * i, 0);
      chunks.append(7, 13, list);
    };
    const sizes = Array.from({ length: 100 }, (_, i) => i + 1);
    /** Two chunks that take exactly so many bytes. */
    const pairFor = (bytes: number): number[] | undefined =>
      sizes.flatMap((a) =>
        sizes.filter((b) => chunkBytes(a) + chunkBytes(b) === bytes).map((b) => [a, b]),
      )[0];
    let open = (): void => {};
    device.gate = new Promise((resolve) => (open = resolve));
    for (let pages = 0; pages < 3; pages++) {
      for (let pair; !pair;) {
        pair = pairFor(pageSize - (chunks.log.tail % pageSize));
        (pair ?? [20]).forEach(append);
      }
      expect(chunks.log.tail % pageSize).toBe(0);
    }
    expect(chunks.crowded).toBe(true);
    open();
    await chunks.written();
    expect(chunks.log.flushed).toBe(chunks.log.tail);
    expect(chunks.crowded).toBe(false);
    append(20);
    await chunks.close();
    expect(failures).toEqual([]);
  });

  it('waits for a write that is under way before it closes, and leaves no files', async () => {
    const device = new LateDevice(new SeededRandom(31));
    const checked = new CheckedColdIndex({ device, pendingEntries: 16_384 });
    let open = (): void => {};
    device.gate = new Promise((resolve) => (open = resolve));
    for (let i = 0; i < 2500; i++) checked.put(checked.newKey());
    await checked.flush();
    expect(checked.index.stats.chunkLogBytes).toBeGreaterThan(64 * KIB);
    let closed = false;
    const closing = checked.index.close().then(() => (closed = true));
    for (let i = 0; i < 10; i++) await checked.clock.turn();
    expect(closed).toBe(false);
    open();
    await closing;
    for (let i = 0; i < 10; i++) await checked.clock.turn();
    expect(device.list()).toEqual([]);
    expect(checked.writeErrors).toEqual([]);
  });
});
