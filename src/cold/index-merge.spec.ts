import {
  CheckedColdIndex,
  indexToDamage,
  LateDevice,
  type Key,
} from '../../test/support/checked-cold-index.js';
import { SeededRandom } from '../../test/support/seeded-random.js';
import { MemoryDevice } from '../device/memory-device.js';
import { FIRST_ADDRESS, type LogAddress } from '../log/address.js';
import type { ReadPacer } from '../log/read-pacer.js';
import { LARGEST_SIZE_CLASS } from '../log/size-class.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Slots of an empty index. */
const FIRST_SLOTS = 8192;

// The machine may be busy with other specs.

describe('IndexMerge', () => {
  it.each([64, 256])(
    'keeps its log in bounds while keys are updated, and loses nothing (pages of %d KiB)',
    async (page) => {
      const checked = new CheckedColdIndex({ sync: 'all', cacheBytes: 0, pageSize: page * KIB });
      const { index } = checked;
      // One partition that is left in peace: its chunk is shared by ever more slots.
      const still = Array.from({ length: 300 }, (_, i) => checked.newKey((checked.bits() & ~8191) | 4711, i));
      for (const key of still) checked.put(key);
      await checked.flush();
      await checked.fill(20_000);
      let worst = 0;
      for (let round = 0; round < 60; round++) {
        for (let i = 0; i < 2048; i++) checked.put(round < 20 ? checked.newKey() : checked.anyKey());
        if (round % 4 === 3) checked.begin = Math.max(FIRST_ADDRESS, checked.tail - 2_000_000);
        await checked.flush();
        const { entries, slots, chunkLogBytes } = index.stats;
        const live = entries * 10 + slots * 28;
        worst = Math.max(worst, (chunkLogBytes - checked.segmentSize) / live);
        expect(await checked.wrong(still)).toEqual([]);
      }
      // Apart from what is still in pages.
      expect(worst).toBeLessThan(page === 64 ? 2.5 : 5);
      expect(index.stats.bytesWritten).toBeGreaterThan(4 * index.stats.chunkLogBytes);
      expect(await checked.wrong()).toEqual([]);
      expect(await checked.partitionIsRight(4711)).toBe(true);
    },
  );

  it('collects chunks that many slots share', async () => {
    const checked = new CheckedColdIndex({ sync: 'all', pendingEntries: 16_384 });
    const still = Array.from({ length: 500 }, () => checked.newKey(checked.bits() & ~8191));
    for (const key of still) checked.put(key);
    await checked.flush();
    // Growth by keys of all other partitions, so that slot 0 becomes five, all with the chunk of the first.
    while (checked.index.stats.slots < 4 * FIRST_SLOTS + 2) {
      checked.put(checked.newKey(checked.bits() | 1));
      if (checked.index.full) await checked.flush();
      if (checked.keys.length % 20_000 === 0) expect(await checked.wrong(still)).toEqual([]);
    }
    const { bytesWritten, chunkLogBytes } = checked.index.stats;
    expect(bytesWritten - chunkLogBytes).toBeGreaterThan(checked.segmentSize);
    expect(await checked.wrong(still)).toEqual([]);
    expect(await checked.partitionIsRight(0)).toBe(true);
    expect(checked.index.stats.entries).toBe(checked.keys.length);
  });

  it('reads up to 64 chunks at a time for a flush, up to 32 for a partition', async () => {
    const device = new LateDevice(new SeededRandom(12));
    const checked = new CheckedColdIndex({ device, cacheBytes: 0, pendingEntries: 16_384 });
    await checked.fill(60_000);
    expect(device.mostReading).toBeGreaterThan(32);
    expect(device.mostReading).toBeLessThanOrEqual(64);
    device.mostReading = 0;
    await Promise.all(Array.from({ length: 2 }, (_, i) => checked.index.partition(i)));
    expect(device.mostReading).toBeLessThanOrEqual(64);
  });

  it('waits for its pages to be written rather than write synchronously', async () => {
    const device = new LateDevice(new SeededRandom(51));
    const checked = new CheckedColdIndex({ device, sync: 'all', pendingEntries: 16_384 });
    for (let i = 0; i < 60_000; i++) {
      checked.put(checked.newKey());
      // In one slice, so that nothing else makes it wait.
      if (checked.index.full) await checked.flush(1e9);
    }
    expect(checked.index.stats.bytesWritten).toBeGreaterThan(20 * 64 * KIB);
    expect(device.syncWrites).toBe(0);
  });

  it('does not collect what is not on the device yet', async () => {
    const device = new LateDevice(new SeededRandom(52));
    const checked = new CheckedColdIndex({
      device,
      sync: 'all',
      pageSize: MIB,
      segmentSize: MIB,
      pendingEntries: 5000,
    });
    let open = (): void => {};
    device.gate = new Promise((resolve) => (open = resolve));
    while (checked.index.stats.chunkLogBytes < 1.8 * MIB) {
      for (let i = 0; i < 5000; i++) checked.put(checked.newKey());
      await checked.flush();
      checked.begin = checked.tail - 8;
    }
    open();
    while (checked.index.stats.chunkLogBytes > 1.8 * MIB) {
      checked.put(checked.newKey());
      await checked.flush();
    }
    expect(await checked.wrong()).toEqual([]);
  });

  it('reads ahead when it needs most chunks, and single chunks when it needs few', async () => {
    const device = new LateDevice(new SeededRandom(61));
    const checked = new CheckedColdIndex({ device, sync: 'all', cacheBytes: 0, pendingEntries: 16_384 });
    const { index } = checked;
    const reads = async (count: number): Promise<number> => {
      for (let i = 0; i < count; i++) checked.put(checked.newKey());
      device.longestSyncRead = 0;
      const before = index.stats.chunkReads;
      await checked.flush();
      return index.stats.chunkReads - before;
    };
    for (let i = 0; i < 3; i++) await reads(16_384);
    expect(await reads(16_384)).toBeLessThan(8192 / 5);
    expect(device.longestSyncRead).toBe(16 * KIB);
    // Some of them lie in pages that are still in memory.
    expect(await reads(200)).toBeGreaterThan(50);
    expect(device.longestSyncRead).toBe(512);
  });

  it('has a pacer of its own, if it is given one', async () => {
    const device = new LateDevice(new SeededRandom(71));
    const all = { maySync: () => true, began: () => {}, ended: () => {} } as unknown as ReadPacer;
    const checked = new CheckedColdIndex({ device, flushPacer: all, cacheBytes: 0, pendingEntries: 16_384 });
    await checked.fill(60_000);
    // Merges read at once; only the collection of old chunks reads in order, one piece at a time.
    expect(device.mostReading).toBeLessThanOrEqual(1);
    const waiting = checked.keys.filter(({ low, high }) => !checked.index.tryFind(low, high));
    expect(waiting.length).toBeGreaterThan(1000);
  });

  it('lets the event loop turn during a flush', async () => {
    const checked = new CheckedColdIndex({ sync: 'all', pendingEntries: 16_384 });
    await checked.fill(16_383);
    checked.put(checked.newKey());
    let turns = 0;
    let done = false;
    const flushing = checked.flush().then(() => (done = true));
    while (!done) {
      await checked.clock.turn();
      turns++;
    }
    await flushing;
    // A merge looks at the clock once, and there are thousands.
    expect(turns).toBeGreaterThan(100);
  });

  it.each(['all', 'none'] as const)(
    'ends a flush, and nothing is lost (synchronous reads: %s)',
    async (sync) => {
      const { checked, flip, bytes } = await indexToDamage(sync);
      for (let at = 64; at < bytes; at += 40) flip(at);
      for (let i = 0; i < 8192; i++) checked.put(checked.newKey());
      const pending = checked.keys.slice(-8192);
      const flushing = checked.flush();
      await expect(flushing).rejects.toMatchObject({ code: 'KV_CORRUPTION' });
      expect(checked.index.stats.pending).toBeGreaterThan(0);
      for (const { low, high } of pending) expect(checked.index.mayHold(low, high)).toBe(true);
      for (let at = 64; at < bytes; at += 40) flip(at);
      await checked.flush();
      expect(checked.index.stats.pending).toBe(0);
      expect(await checked.wrong()).toEqual([]);
    },
  );

  it('does not end the collection of the log, if nobody needs the damaged chunk', async () => {
    const device = new MemoryDevice(256 * MIB);
    const checked = new CheckedColdIndex({
      device,
      cacheBytes: 0,
      pendingEntries: 8192,
      segmentSize: 256 * KIB,
    });
    await checked.fill(8192);
    const file = device.open('index-00000000.log', { create: false });
    const update = async (): Promise<void> => {
      for (let round = 0; round < 20; round++) {
        for (let i = 0; i < 8192; i++) checked.put(checked.anyKey());
        // So that the first segment holds nothing but garbage, which no merge reads.
        if (round === 1) file.writeSync(new Uint8Array([1, 2, 3]), 0, 3, 1000);
        checked.begin = Math.max(checked.begin, checked.tail - 1_000_000);
        await checked.flush();
      }
    };
    await update();
    file.close();
    expect(device.list()).not.toContain('index-00000000.log');
    expect(await checked.wrong()).toEqual([]);
  });

  it('goes on when writing works again', async () => {
    const device = new LateDevice(new SeededRandom(21));
    const checked = new CheckedColdIndex({ device, sync: 'all', pendingEntries: 8192 });
    await checked.fill(8192);
    device.writeError = Object.assign(new Error('full'), { code: 'ENOSPC' });
    for (let i = 0; i < 40_000; i++) checked.put(checked.newKey());
    for (let attempt = 0; attempt < 3; attempt++) {
      await expect(checked.flush()).rejects.toMatchObject({ code: 'KV_DISK' });
      expect(await checked.wrong(checked.some(3000))).toEqual([]);
    }
    expect(checked.writeErrors.length).toBeGreaterThan(0);
    expect(checked.index.stats.pending).toBeGreaterThan(0);
    device.writeError = undefined;
    await checked.flush();
    expect(checked.index.stats.pending).toBe(0);
    expect(await checked.wrong()).toEqual([]);
  });

  it('counts what was superseded, by size class', async () => {
    const checked = new CheckedColdIndex({ pendingEntries: 100_000 });
    const { index } = checked;
    let address = FIRST_ADDRESS as number;
    const put = (key: Key, sizeClass: number): void => {
      address += 8;
      key.addresses.push(address);
      index.put(key.low, key.high, address as LogAddress, sizeClass);
    };
    const keys = Array.from({ length: 10 }, () => checked.newKey());
    for (const key of keys) put(key, 1);
    expect([...index.superseded]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    await checked.flush();
    expect([...index.superseded]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    // In one flush: each takes the place of the one before.
    put(keys[0], 7);
    put(keys[0], LARGEST_SIZE_CLASS);
    put(keys[1], 8);
    await checked.flush();
    expect([...index.superseded]).toEqual([2, 0, 0, 0, 0, 0, 1, 0]);
    put(keys[0], 1);
    put(keys[1], 1);
    await checked.flush();
    expect([...index.superseded]).toEqual([2, 0, 0, 0, 0, 0, 1, 2]);
    // What is garbage by its address is not counted.
    checked.begin = address + 8;
    put(keys[0], 1);
    put(keys[5], 1);
    await checked.flush();
    expect([...index.superseded]).toEqual([2, 0, 0, 0, 0, 0, 1, 2]);
    expect(index.stats.entries).toBe(2 + 3 + 7);
  });

  it('lets more entries wait when there are many, up to four times as many', async () => {
    const checked = new CheckedColdIndex({ sync: 'all', pendingEntries: 256 });
    const waiting: number[] = [];
    for (let keys = 0; keys < 60_000;) {
      let count = 0;
      for (; !checked.index.full; count++) checked.put(checked.newKey());
      await checked.flush();
      waiting.push(count);
      keys += count;
    }
    expect(waiting[0]).toBe(256);
    expect(Math.max(...waiting)).toBe(1024);
    expect(waiting.every((count, i) => i === 0 || count >= waiting[i - 1])).toBe(true);
    expect(await checked.wrong()).toEqual([]);
  });

  it('takes more than it wants before a flush, and gives the memory back', async () => {
    const checked = new CheckedColdIndex({ pendingEntries: 1024 });
    for (let i = 0; i < 1024; i++) {
      expect(checked.index.full).toBe(false);
      checked.put(checked.newKey());
    }
    expect(checked.index.full).toBe(true);
    const { pendingBytes } = checked.index.stats;
    for (let i = 0; i < 10_000; i++) checked.put(checked.newKey());
    expect(checked.index.stats.pendingBytes).toBeGreaterThan(pendingBytes);
    expect(await checked.wrong()).toEqual([]);
    await checked.flush();
    expect(checked.index.stats.pendingBytes).toBe(pendingBytes);
    expect(checked.index.full).toBe(false);
    expect(await checked.wrong()).toEqual([]);
  });

  it('lets entries wait that fit into no chunk, until truncation has made garbage of most of them', async () => {
    const checked = new CheckedColdIndex({ pendingEntries: 4096 });
    const { index } = checked;
    const key = checked.newKey();
    const flushIfFull = async (): Promise<void> => {
      if (index.full) await checked.flush();
    };
    for (let i = 0; i < 7000; i++) {
      checked.put(key);
      await flushIfFull();
    }
    await checked.flush();
    expect([index.isOverfull, index.stats.pending > 0]).toEqual([true, true]);
    expect(await checked.wrong()).toEqual([]);
    // All others go on, and the log of chunks is collected with what the slot has in it.
    const { pending } = index.stats;
    const { bytesWritten } = index.stats;
    while (index.stats.bytesWritten - bytesWritten < 4 * index.stats.chunkLogBytes) {
      for (let i = 0; i < 4096; i++) checked.put(i % 2 === 0 ? checked.newKey() : checked.anyKey());
      await checked.flush();
    }
    expect(index.stats.pending).toBeLessThan(pending + 100);
    expect(index.isOverfull).toBe(true);
    expect(await checked.wrong()).toEqual([]);
    checked.begin = key.addresses[6500];
    await checked.flush();
    expect([index.isOverfull, index.stats.pending]).toEqual([false, 0]);
    expect(await checked.wrong()).toEqual([]);
  });
});
