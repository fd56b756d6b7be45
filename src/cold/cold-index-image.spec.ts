import { BlockCopies, CheckedColdIndex, type Key } from '../../test/support/checked-cold-index.js';
import { KvCorruptionError } from '../errors.js';
import { MemoryDevice } from '../device/memory-device.js';
import { ChunkDirectory } from './chunk-directory.js';
import { ChunkLog } from './chunk-log.js';

const KIB = 1024;
const MIB = 1024 * KIB;

const indexFiles = (device: MemoryDevice): string[] =>
  device.list().filter((name) => name.startsWith('index-'));

/** An index with keys that is opened again, of whose directory nothing is in memory. */
async function reopened(keys = 100_000): Promise<{ checked: CheckedColdIndex; source: BlockCopies }> {
  const checked = new CheckedColdIndex({ sync: 'all' });
  await checked.fill(keys);
  checked.reopen(await checked.image());
  return { checked, source: checked.source };
}

/** The block of the directory that has the slot of a key. */
function blockOf({ index }: CheckedColdIndex, { low }: Key): number {
  return Math.floor(index.directory.slotOf(low) / 4096);
}

describe('the image of a cold index', () => {
  it.each([0, 1000, 40_000])(
    'gives the same index again, pending entries included (%i keys)',
    async (keys) => {
      const checked = new CheckedColdIndex({ sync: 'all' });
      await checked.fill(keys);
      const image = await checked.image();
      const { entries, slots, pending } = checked.index.stats;
      checked.reopen(image);
      expect(checked.index.stats).toMatchObject({ entries, slots, pending });
      expect(await checked.wrong()).toEqual([]);
      expect(await checked.partitionIsRight(77)).toBe(true);
      await checked.fill(10_000);
      expect(await checked.wrong()).toEqual([]);
    },
  );

  it('is right after a process went on and ended without another one', async () => {
    const device = new MemoryDevice(64 * MIB);
    const checked = new CheckedColdIndex({ device, sync: 'all' });
    await checked.fill(30_000);
    const image = await checked.image();
    // Enough for chunks to be collected: their segments have to stay.
    for (let i = 0; i < 60_000; i++) {
      checked.put(checked.anyKey());
      if (i % 3 === 0) checked.begin += 8;
      if (checked.index.full) await checked.flush();
    }
    checked.reopen(image);
    await checked.flush();
    expect(await checked.wrong()).toEqual([]);
  });

  it('holds over many lives, in bounded room', async () => {
    const device = new MemoryDevice(64 * MIB);
    const checked = new CheckedColdIndex({ device, sync: 'all', cacheBytes: 0 });
    await checked.fill(5000);
    let image = await checked.image();
    const sizes: number[] = [];
    for (let life = 0; life < 12; life++) {
      checked.reopen(image);
      for (let i = 0; i < 6000; i++) {
        checked.put(checked.anyKey());
        if (checked.index.full) await checked.flush();
      }
      // Only the newest record of each key is no garbage, as a compaction would leave it.
      checked.begin = Math.min(...checked.keys.map(({ addresses }) => addresses.at(-1) as number));
      for (const key of checked.keys.filter(
        ({ addresses }) => (addresses.at(-1) as number) < checked.tail - 400_000,
      )) {
        checked.put(key);
        if (checked.index.full) await checked.flush();
      }
      await checked.flush();
      if (life % 4 !== 3) image = await checked.image();
      expect(await checked.wrong()).toEqual([]);
      sizes.push(indexFiles(device).length * 256 * KIB);
    }
    expect(Math.max(...sizes.slice(6))).toBeLessThanOrEqual(Math.max(...sizes.slice(0, 6)) * 1.5);
  });

  it('removes what was written since, and keeps its files when it is closed', async () => {
    const device = new MemoryDevice(64 * MIB);
    const checked = new CheckedColdIndex({ device, sync: 'all' });
    await checked.fill(30_000);
    const image = await checked.image();
    const kept = indexFiles(device);
    await checked.fill(30_000);
    expect(indexFiles(device).length).toBeGreaterThan(kept.length);
    checked.reopen(image);
    expect(indexFiles(device)).toEqual(kept);
    await checked.index.close();
    expect(indexFiles(device).slice(0, kept.length)).toEqual(kept);
    expect(ChunkLog.has(device, 256 * KIB, image.shape.chunks)).toBe(true);
    device.removeSync(kept[0]);
    expect(ChunkLog.has(device, 256 * KIB, image.shape.chunks)).toBe(false);
  });

  it('is refused when its directory does not fit', async () => {
    const checked = new CheckedColdIndex({ sync: 'all' });
    await checked.fill(60_000);
    const { shape } = await checked.index.persist();
    const blocks: Uint32Array[] = [];
    for (let i = 0, block; (block = checked.index.directory.blockAt(i)); i++) blocks.push(block.slice());
    const from = (more: number, of: Uint32Array[]): ChunkDirectory | undefined =>
      ChunkDirectory.from({ ...shape.directory, split: shape.directory.split + more }, new BlockCopies(of));
    expect(from(1, blocks)).toBeUndefined();
    expect(from(0, blocks.slice(1))).toBeUndefined();
    expect(from(0, blocks)?.shape).toEqual(shape.directory);
  });

  it('has its directory read block by block, when a look-up needs one', async () => {
    const { checked, source } = await reopened();
    expect(source.reads).toEqual([]);
    expect(() => checked.index.directory.blockAt(0)).toThrow('INV-C8');
    const [key] = checked.keys;
    expect(await checked.wrong([key])).toEqual([]);
    expect(source.reads).toEqual([blockOf(checked, key)]);
    await checked.load();
    expect([...source.reads].sort((a, b) => a - b)).toEqual([...source.reads.keys()]);
    expect(source.reads).toHaveLength(source.count);
    expect(source.isClosed).toBe(true);
    expect(await checked.wrong()).toEqual([]);
  });

  it.each(['put', 'partition', 'image', 'storedSlot'])(
    'is whole for whoever needs more of it: %s',
    async (how) => {
      const { checked } = await reopened();
      if (how === 'put') await checked.fill(10_000);
      if (how === 'partition') expect(await checked.partitionIsRight(77)).toBe(true);
      if (how === 'image') checked.reopen(await checked.image());
      if (how === 'storedSlot')
        for (let slot = 0; slot < checked.index.stats.slots; slot++) await checked.index.storedSlot(slot);
      expect(await checked.wrong()).toEqual([]);
    },
  );

  it.each([4000, 100_000])(
    'with a damaged part of its directory answers none of its keys, until they are entered again (of %i)',
    async (keys) => {
      const { checked, source } = await reopened(keys);
      source.damagedBlocks.add(1);
      const told: unknown[] = [];
      checked.index.lost['parts'].onDamage = () => told.push(checked.index.damage);
      const [lost, others] = [true, false].map((is) =>
        checked.keys.filter((key) => (blockOf(checked, key) === 1) === is),
      );
      expect(lost.length).toBeGreaterThan(1000);
      expect(checked.index.mayHold(lost[0].low, lost[0].high)).toBe(true);
      expect(told).toEqual([expect.objectContaining({ file: 'the checkpoint', address: 1 })]);
      for (const { low, high } of lost.slice(0, 50)) {
        expect(checked.index.tryFind(low, high)).toBeUndefined();
        await expect(checked.index.find(low, high)).rejects.toThrow(KvCorruptionError);
      }
      await expect(checked.image()).rejects.toThrow(KvCorruptionError);
      expect(await checked.wrong(others)).toEqual([]);
      const entriesOf = (keys: typeof lost) => keys.reduce((sum, { addresses }) => sum + addresses.length, 0);
      const isAbout = (entries: number) => Math.abs(checked.index.stats.entries / entries - 1) < 0.04;
      expect(isAbout(entriesOf(others))).toBe(true);

      await checked.mend();
      expect(await checked.wrong()).toEqual([]);
      expect(isAbout(entriesOf(checked.keys))).toBe(true);
      checked.reopen(await checked.image());
      expect(await checked.wrong()).toEqual([]);
    },
  );

  it('tells which blocks of the directory have changed since', async () => {
    const checked = new CheckedColdIndex({ sync: 'all' });
    await checked.fill(60_000);
    await checked.flush();
    const { directory } = checked.index;
    const changed = (): number[] => {
      const numbers: number[] = [];
      for (let i = 0; directory.blockAt(i); i++) if (directory.takeChanged(i)) numbers.push(i);
      return numbers;
    };
    expect(changed().length).toBeGreaterThan(1);
    expect(changed()).toEqual([]);
    checked.put(checked.newKey(5, 0));
    await checked.flush();
    // Beside it, the slot that grew.
    const numbers = changed();
    expect(numbers).toContain(0);
    expect(numbers.length).toBeLessThan(3);
  });
});
