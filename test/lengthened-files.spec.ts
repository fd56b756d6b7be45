/**
 * The file of the hot log is lengthened with zeros ahead of what is written, where writers wait for each commit. The zeros
 * are no part of the log: nobody is told of them as of something lost, nothing ends at them, and a closed store has none.
 */
import { KvStore, type KvDurabilityLevel, type KvStoreOptions } from 'nestjs-hotcold/store';
import { SimulatedDisk } from './support/simulated-disk.js';

const LOG = '/store/hot-00000000.log';
const SEGMENT_BYTES = 1024 * 1024;

const on = (disk: SimulatedDisk, level: KvDurabilityLevel = 'always'): KvStoreOptions => ({
  path: '/store',
  env: disk.env(),
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: SEGMENT_BYTES },
  durability: { level },
});

/** Bytes of a file up to its last one that is not zero. */
function writtenBytes(contents: Buffer): number {
  let end = contents.length;
  while (end > 0 && contents[end - 1] === 0) end--;
  return end;
}

async function filled(disk: SimulatedDisk, level?: KvDurabilityLevel): Promise<KvStore> {
  const store = await KvStore.open(on(disk, level));
  for (let i = 0; i < 20; i++) await store.set(i, `value ${i}`);
  await store.flush();
  return store;
}

async function expectAll(store: KvStore): Promise<void> {
  for (let i = 0; i < 20; i++) expect(await store.get(i)).toBe(`value ${i}`);
}

describe('a store whose writers wait', () => {
  it('syncs writes that do not change the length of the file', async () => {
    const disk = new SimulatedDisk();
    const store = await filled(disk);
    const { length } = disk.contents(LOG, 'durable');
    expect(length).toBeGreaterThan(writtenBytes(disk.contents(LOG, 'durable')));
    for (let i = 0; i < 20; i++) await store.set(i, `value ${i}`);
    expect(disk.contents(LOG)).toHaveLength(length);
    await store.close();
  });

  it.each<KvDurabilityLevel>(['interval', 'checkpoint'])('and no others: not at %s', async (level) => {
    const disk = new SimulatedDisk();
    const store = await filled(disk, level);
    // A commit record ends with some zeros.
    expect(disk.sizeOf(LOG) - writtenBytes(disk.contents(LOG))).toBeLessThan(16);
    await store.close();
  });

  it('ends its file where the log ends when it is closed, and goes on there', async () => {
    const disk = new SimulatedDisk();
    await (await filled(disk)).close();
    const closed = disk.contents(LOG);
    expect(closed.length - writtenBytes(closed)).toBeLessThan(16);
    const store = await KvStore.open(on(disk));
    expect(store.opened).toMatchObject({ clean: true, droppedBytes: 0 });
    await store.set('more', 1);
    disk.kill();
    const again = await KvStore.open(on(disk));
    expect(await again.get('more')).toBe(1);
    await expectAll(again);
    await again.close();
  });

  it('never has a file longer than a segment', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(on(disk));
    for (let i = 0; i < 40; i++) await store.set(i, 'x'.repeat(50_000));
    for (const path of disk.paths().filter((name) => name.endsWith('.log')))
      expect(disk.sizeOf(path)).toBeLessThanOrEqual(SEGMENT_BYTES);
    disk.crash('none');
    const again = await KvStore.open(on(disk));
    for (let i = 0; i < 40; i++) expect(await again.get(i)).toBe('x'.repeat(50_000));
    await again.close();
  });
});

describe('what opens a store that was killed', () => {
  it('drops nothing, and cuts the zeros off', async () => {
    const disk = new SimulatedDisk();
    await filled(disk);
    disk.kill();
    const store = await KvStore.open(on(disk));
    expect(store.opened).toMatchObject({ clean: false, droppedBytes: 0 });
    expect(store.opened.droppedFrom).toBeUndefined();
    const cut = disk.contents(LOG, 'durable');
    expect(cut.length - writtenBytes(cut)).toBeLessThan(16);
    await expectAll(store);
    await store.close();
  });

  it('tells of a torn tail among the zeros as of any other', async () => {
    const disk = new SimulatedDisk();
    await filled(disk);
    disk.kill();
    const bytes = disk.contents(LOG);
    const end = writtenBytes(bytes);
    bytes.write('torn', end + 1000);
    disk.put(LOG, bytes);
    const store = await KvStore.open(on(disk));
    expect(store.opened.droppedBytes).toBeGreaterThan(950);
    expect(store.opened.droppedBytes).toBeLessThanOrEqual(1004);
    expect(store.opened.droppedFrom).toContain('hot-00000000.log');
    await expectAll(store);
    await store.close();
  });

  it('is read-only and verified without a word of them', async () => {
    const disk = new SimulatedDisk();
    await filled(disk);
    disk.kill();
    const reader = await KvStore.open({ ...on(disk), readOnly: true });
    await expectAll(reader);
    expect(reader.opened.droppedBytes).toBe(0);
    await reader.close();
    const store = await KvStore.open(on(disk));
    expect(await store.verify()).toMatchObject({ ok: true, damages: [] });
    await store.close();
  });

  it('is salvaged without a word of them', async () => {
    const disk = new SimulatedDisk();
    await filled(disk);
    disk.kill();
    const report = await KvStore.salvage('/store', '/copy', { env: disk.env() });
    expect(report).toMatchObject({ complete: true, damageCount: 0, dropped: [] });
  });
});

describe('a disk without room for zeros', () => {
  it('still takes what fits', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(on(disk));
    await store.set('before', 1);
    // Less than the file is lengthened by at a time.
    disk.capacityBytes = 400_000;
    for (let i = 0; i < 15; i++) await store.set(i, 'x'.repeat(20_000));
    expect(store.stats().failure).toBeUndefined();
    disk.crash('none');
    disk.capacityBytes = Infinity;
    const again = await KvStore.open(on(disk));
    for (let i = 0; i < 15; i++) expect(await again.get(i)).toBe('x'.repeat(20_000));
    await again.close();
  });
});
