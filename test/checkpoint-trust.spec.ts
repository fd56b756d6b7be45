/**
 * What may be trusted of a checkpoint: it is taken while writes go on and counts only once what it has is durable; and
 * when its bytes are damaged it is no checkpoint, and nothing is lost with it.
 */
import { crc32 } from 'node:zlib';
import { KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { ColdIndex } from '../src/cold/cold-index.js';
import { SimulatedDisk } from './support/simulated-disk.js';

const PATH = '/store';

const optionsOn = (disk: SimulatedDisk): KvStoreOptions => ({
  path: PATH,
  env: disk.env(),
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' },
  cold: { segmentSize: '1mb' },
  readCache: { memory: 0 },
  compaction: false,
  durability: { level: 'checkpoint' },
});

const checkpointFile = (disk: SimulatedDisk) =>
  disk.paths().filter((path) => path.startsWith(`${PATH}/checkpoint-`));

describe('a checkpoint that is taken while writes go on', () => {
  it.each(['none', 'all'] as const)('is whole after a power cut that keeps %s of the rest', async (mode) => {
    const disk = new SimulatedDisk();
    // A slice is over at once: something is written behind each block of the index.
    disk.clock.tickMs = 100;
    let store = await KvStore.open(optionsOn(disk));
    for (let i = 0; i < 2000; i++) await store.set(i, 'before');
    const checkpoint = store.checkpoint();
    let ended = false;
    void checkpoint.then(() => (ended = true));
    let written = 0;
    for (; !ended; written++) {
      await store.set(written % 2000, 'meanwhile');
      await store.set(10_000 + written, 'new');
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(written).toBeGreaterThan(10);
    disk.crash(mode);

    store = await KvStore.open(optionsOn(disk));
    expect(store.opened.checkpoint).toBe(1);
    // A prefix of what was written: so many changes are there, and none behind them.
    const values = await store.getMany(Array.from({ length: written }, (_, i) => i));
    const changed = values.findIndex((value) => value !== 'meanwhile');
    const count = changed < 0 ? written : changed;
    for (let i = 0; i < 2000; i++)
      expect([i, await store.get(i)]).toEqual([i, i < count ? 'meanwhile' : 'before']);
    for (let i = 0; i < written + 10; i++) {
      const found = await store.get(10_000 + i);
      // The two changes of a round may be cut off between them.
      if (i !== count - 1) expect([i, found]).toEqual([i, i < count ? 'new' : undefined]);
    }
    await store.close();
  });
});

describe('a checkpoint behind a compaction that failed', () => {
  it.each(['checkpoint()', 'close()'])('has nothing that is not durable, taken by %s', async (by) => {
    const disk = new SimulatedDisk();
    let store = await KvStore.open(optionsOn(disk));
    const valueOf = (i: number) => `${i} `.padEnd(1000, 'x');
    // Enough for a checkpoint to be worth it, of which so little lives that the first write to the cold log is its commit.
    for (let i = 0; i < 100; i++) await store.set(i, valueOf(i));
    await store.flush();
    for (let i = 30; i < 100; i++) await store.delete(i);
    disk.failAt({ operation: 'write', path: 'cold-00000000.log', nth: 1, code: 'ENOSPC' });
    await expect(store.compact({ full: true })).rejects.toMatchObject({ code: 'KV_DISK', full: true });
    if (by === 'close()') await store.close();
    else {
      await store.checkpoint();
      disk.crash('none');
    }
    store = await KvStore.open(optionsOn(disk));
    expect(store.opened.checkpoint).toBe(1);
    await store.compact({ full: true });
    for (let i = 0; i < 100; i++) expect(await store.get(i)).toBe(i < 30 ? valueOf(i) : undefined);
    await store.close();
  });
});

describe('a store that has lost its checkpoint', () => {
  it('has everything from its logs, a clear mark that has moved to the cold one included', async () => {
    const disk = new SimulatedDisk();
    const options = (): KvStoreOptions => ({
      ...optionsOn(disk),
      // Next to no memory, and a cold log that is left as it is.
      hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', expectedKeys: 500_000 },
      cold: { segmentSize: '1mb', garbageShare: 0.9 },
    });
    let store = await KvStore.open(options());
    const spaces = () => [store, store.namespace('cleared')];
    for (let i = 0; i < 300; i++) for (const space of spaces()) await space.set(i, i);
    await store.compact({ full: true });
    await store.namespace('cleared').clear();
    for (let i = 0; i < 20; i++) await store.namespace('filler').set(i, Buffer.alloc(32 * 1024, i));
    await store.compact();
    await store.close();
    for (const file of checkpointFile(disk)) disk.env().fs.unlinkSync(file);
    store = await KvStore.open(options());
    expect(store.opened.checkpoint).toBeUndefined();
    for (let i = 0; i < 300; i++)
      expect(await Promise.all(spaces().map((space) => space.get(i)))).toEqual([i, undefined]);
    await store.close();
  });
});

describe('a checkpoint of a store that is opened with other pages', () => {
  it.each([
    ['256kb', '64kb'],
    ['64kb', '256kb'],
  ])('of %s before, of %s then, serves the cold index as before', async (before, then) => {
    const disk = new SimulatedDisk();
    const optionsWith = (pageSize: string): KvStoreOptions => ({
      ...optionsOn(disk),
      hot: { memory: '8mb', pageSize, segmentSize: '1mb' },
    });
    const rounds = async (store: KvStore, from: number, to: number) => {
      for (let round = from; round < to; round++) {
        for (let i = 0; i < 6000; i++) await store.set(i, round);
        await store.compact({ full: true });
      }
    };
    let store = await KvStore.open(optionsWith(before));
    await rounds(store, 0, 2);
    await store.checkpoint();
    disk.kill();
    store = await KvStore.open(optionsWith(then));
    expect(store.opened.checkpoint).toBe(1);
    // So much garbage in the log of chunks that its oldest part is gone through.
    await rounds(store, 2, 12);
    for (let i = 0; i < 6000; i += 100) expect(await store.get(i)).toBe(11);
    await store.checkpoint();
    expect(disk.paths()).not.toContain(`${PATH}/index-00000000.log`);
    await store.close();
  });
});

describe('a checkpoint with a flipped bit', () => {
  const KEYS = 300;
  let intact: SimulatedDisk;

  beforeAll(async () => {
    intact = new SimulatedDisk();
    let store = await KvStore.open(optionsOn(intact));
    const spaces = [store, store.namespace('cleared'), store.namespace('kept')];
    for (let i = 0; i < KEYS; i++) for (const space of spaces) await space.set(i, i);
    await store.compact({ full: true });
    await store.namespace('cleared').clear();
    for (let i = 0; i < KEYS; i += 2) await store.set(i, -i);
    await store.checkpoint();
    intact.kill();
    store = await KvStore.open(optionsOn(intact.fork()));
    expect(store.opened.checkpoint).toBe(1);
  });

  /** Keys with wrong answers. */
  async function wrongIn(disk: SimulatedDisk): Promise<unknown[]> {
    const store = await KvStore.open(optionsOn(disk));
    const wrong: unknown[] = [];
    for (let i = 0; i < KEYS; i++) {
      const found = await Promise.all([
        store.get(i),
        store.namespace('cleared').get(i),
        store.namespace('kept').get(i),
      ]).catch((error: unknown) => [error]);
      if (JSON.stringify(found) !== JSON.stringify([i % 2 ? i : -i, undefined, i])) wrong.push([i, found]);
    }
    if (store.stats().keys !== 2 * KEYS) wrong.push(store.stats().keys);
    disk.kill();
    return wrong;
  }

  it('has nothing wrong without', async () => {
    expect(await wrongIn(intact.fork())).toEqual([]);
  });

  it('in its table or footer is none, and nothing is lost', async () => {
    const [file] = checkpointFile(intact);
    const bytes = intact.contents(file);
    const table = bytes.lastIndexOf('{"storeId"');
    expect(table).toBeGreaterThan(0);
    for (let byte = table; byte < bytes.length; byte += 3) {
      const disk = intact.fork();
      disk.flip(file, byte * 8 + (byte % 7));
      expect([byte, await wrongIn(disk)]).toEqual([byte, []]);
    }
  });

  it('in one of its blocks is none, and nothing is lost', async () => {
    const [file] = checkpointFile(intact);
    const bytes = intact.contents(file);
    const used = [...bytes.keys()].filter((at) => bytes[at] !== 0);
    for (let i = 0; i < used.length; i += Math.ceil(used.length / 300)) {
      const disk = intact.fork();
      disk.flip(file, used[i] * 8 + (i % 8));
      expect([used[i], await wrongIn(disk)]).toEqual([used[i], []]);
    }
  });
});

it('a checkpoint with a flipped bit in its pending entries is none, and nothing is lost', async () => {
  const KEYS = 100;
  const intact = new SimulatedDisk();
  const store = await KvStore.open(optionsOn(intact));
  for (let i = 0; i < KEYS; i++) await store.set(i, i);
  // As a run leaves it that ended early.
  const flush = jest.spyOn(ColdIndex.prototype, 'flush').mockResolvedValue(undefined);
  await store.compact({ full: true });
  flush.mockRestore();
  await store.checkpoint();
  intact.kill();
  const [file] = checkpointFile(intact);
  const bytes = intact.contents(file);
  const table = JSON.parse(bytes.toString('utf8', bytes.lastIndexOf('{"storeId"'), bytes.length - 16)) as {
    sections: { pending: [[number: number, position: number, length: number]] };
  };
  const [[, position, length]] = table.sections.pending;
  expect(length).toBe(KEYS * 16);
  for (let at = position; at < position + length; at += 37) {
    const disk = intact.fork();
    disk.flip(file, at * 8 + 3);
    const again = await KvStore.open(optionsOn(disk));
    expect(again.opened.checkpoint).toBeUndefined();
    for (let i = 0; i < KEYS; i++) expect(await again.get(i)).toBe(i);
    disk.kill();
  }
});

describe('an opening that is refused', () => {
  it.each(['table', 'chunks'])('leaves a checkpoint whose %s cannot be used to a salvage', async (what) => {
    const disk = new SimulatedDisk();
    let store = await KvStore.open(optionsOn(disk));
    for (let i = 0; i < 12_000; i++) await store.set(i, i);
    await store.compact({ full: true });
    for (let i = 0; i < 3000; i++) await store.set(i, -i);
    await store.close();
    const [checkpoint] = checkpointFile(disk);
    const index = disk.paths().find((path) => path.startsWith(`${PATH}/index-`)) as string;
    if (what === 'table') disk.flip(checkpoint, (disk.sizeOf(checkpoint) - 100) * 8);
    else disk.put(index, Buffer.alloc(0));
    const undamaged = disk.fork();
    const hot = disk.paths().findLast((path) => path.startsWith(`${PATH}/hot-`)) as string;
    disk.flip(hot, (disk.sizeOf(hot) - 1000) * 8);
    const files = () =>
      disk
        .paths()
        .filter((path) => !path.endsWith('LOCK'))
        .map((path) => `${path} ${crc32(disk.contents(path))}`);
    const before = files();
    await expect(KvStore.open(optionsOn(disk))).rejects.toMatchObject({ code: 'KV_CORRUPTION' });
    expect(files()).toEqual(before);
    // Where the logs are intact they take its place.
    store = await KvStore.open(optionsOn(undamaged));
    expect(store.opened.checkpoint).toBeUndefined();
    expect(checkpointFile(undamaged)).toEqual([]);
    for (let i = 1; i < 12_000; i += 7) expect(await store.get(i)).toBe(i < 3000 ? -i : i);
    await store.close();
  });
});
