import { CheckedColdIndex, LateDevice, type CheckedOptions } from '../../test/support/checked-cold-index.js';
import { SeededRandom } from '../../test/support/seeded-random.js';
import { MemoryDevice } from '../device/memory-device.js';

const KIB = 1024;
const MIB = 1024 * KIB;

// The machine may be busy with other specs.

describe('CacheFiller', () => {
  const WANTED = 60_000;
  /** Slots whose chunks are not in the cache: reads that it takes to ask for all keys. */
  const readsOf = async (checked: CheckedColdIndex): Promise<number> => {
    const before = checked.index.stats.chunkReads;
    expect(await checked.wrong()).toEqual([]);
    return checked.index.stats.chunkReads - before;
  };
  const turns = async ({ clock }: CheckedColdIndex, count: number): Promise<void> => {
    for (let i = 0; i < count; i++) await clock.turn();
  };
  const filled = async (options: CheckedOptions = {}): Promise<CheckedColdIndex> => {
    const checked = new CheckedColdIndex({
      cacheBytes: 2 * MIB,
      pendingEntries: 16_384,
      sync: 'all',
      fills: true,
      ...options,
    });
    await checked.fill(WANTED);
    await checked.flush();
    return checked;
  };
  const lookUp = ({ index, keys }: CheckedColdIndex): unknown => index.tryFind(keys[0].low, keys[0].high);

  it('fills the cache with what lies in the log, from the first look-up on that has to read', async () => {
    const checked = await filled();
    await turns(checked, 500);
    expect(checked.index.stats.cacheBytes).toBe(0);
    lookUp(checked);
    await turns(checked, 500);
    expect(await readsOf(checked)).toBeLessThan(checked.index.stats.slots * 0.02);

    // Without it, each chunk is read when it is asked for.
    const without = await filled({ fills: false });
    lookUp(without);
    await turns(without, 500);
    expect(await readsOf(without)).toBeGreaterThan(without.index.stats.slots * 0.6);
  });

  it('goes on behind what it has gone through', async () => {
    const device = new LateDevice(new SeededRandom(7));
    const checked = await filled({ device, cacheBytes: 8 * MIB });
    lookUp(checked);
    await turns(checked, 1000);
    const { bytesWritten } = checked.index.stats;
    expect(device.bytesRead).toBeGreaterThan(bytesWritten * 0.5);
    await checked.fill(WANTED);
    await checked.flush();
    const { bytesRead } = device;
    lookUp(checked);
    await turns(checked, 1000);
    const grown = checked.index.stats.bytesWritten - bytesWritten;
    expect(device.bytesRead - bytesRead).toBeGreaterThan(grown * 0.5);
    expect(device.bytesRead - bytesRead).toBeLessThan(grown * 1.5);
    expect(await readsOf(checked)).toBeLessThan(checked.index.stats.slots * 0.02);
  });

  it('fills it anew after a restart, once the directory is loaded', async () => {
    const device = new MemoryDevice(64 * MIB);
    const checked = await filled({ device });
    const image = await checked.image();
    await checked.index.close();
    checked.reopen(image);
    lookUp(checked);
    await turns(checked, 500);
    expect(checked.index.directory.isLoaded).toBe(false);
    expect(checked.index.stats.chunkReads).toBe(1);
    await checked.load();
    checked.index.tryFind(checked.keys[1].low, checked.keys[1].high);
    await turns(checked, 500);
    expect(checked.index.workedMs).toBeGreaterThan(0);
    expect(await readsOf(checked)).toBeLessThan(checked.index.stats.slots * 0.02);
  });

  it('reads no more of the log than it has room for, and nothing once it is closed', async () => {
    const device = new LateDevice(new SeededRandom(5));
    const checked = await filled({ device, cacheBytes: 64 * KIB });
    lookUp(checked);
    await turns(checked, 500);
    expect(device.bytesRead).toBeGreaterThan(0);
    expect(device.bytesRead).toBeLessThan(checked.index.stats.chunkLogBytes * 0.7);
    await checked.index.close();

    const late = new LateDevice(new SeededRandom(6));
    const closing = await filled({ device: late });
    lookUp(closing);
    await turns(closing, 2);
    const { bytesRead } = late;
    await closing.index.close();
    expect(late.bytesRead - bytesRead).toBeLessThanOrEqual(512 * KIB);
  });

  it('leaves damage for who needs what is there', async () => {
    const device = new MemoryDevice(64 * MIB);
    const checked = await filled({ device });
    const names = device.list().filter((name) => name.startsWith('index'));
    const file = device.open(names[1], { create: false });
    const damaged = Buffer.alloc(file.size() - 1024, 1);
    file.writeSync(damaged, 0, damaged.length, 1024);
    lookUp(checked);
    await turns(checked, 500);
    expect(checked.index.damage).toBeUndefined();
    expect(checked.index.stats.cacheBytes).toBeGreaterThan(0);
    const { chunkReads } = checked.index.stats;
    let failures = 0;
    for (const { low, high } of checked.keys) await checked.index.find(low, high).catch(() => failures++);
    expect(failures).toBeGreaterThan(0);
    expect(checked.index.stats.chunkReads - chunkReads).toBeLessThan(failures * 1.1);
  });
});
