/**
 * The hot index of a checkpoint is loaded behind the opening, chunk by chunk. Whatever is damaged there is met late, by
 * whoever needs it: nobody gets a wrong answer, nothing is lost, and the next checkpoint is whole again. Only where the
 * log is damaged as well is there an error, and only for the keys that it may concern.
 */
import { KvCorruptionError, KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { MemoryDevice } from '../src/device/memory-device.js';
import type { StoreCore } from '../src/store/store-core.js';
import { filesOf } from './support/damaged-store.js';
import { SimulatedDisk } from './support/simulated-disk.js';
import { watched } from './support/watched-fs.js';

const PATH = '/store';
const KEYS = 70_000;
const STEP = 13;

const optionsOn = (disk: SimulatedDisk): KvStoreOptions => ({
  path: PATH,
  env: disk.env(),
  hot: { memory: '16mb', pageSize: '256kb', segmentSize: '1mb' },
  readCache: { memory: 0 },
  compaction: false,
  durability: { level: 'checkpoint' },
});

const valueOf = (key: number, round = 1) => key * 10 + round;

async function write(store: KvStore, from: number, to: number, round = 1): Promise<void> {
  const entries: [number, number][] = [];
  for (let key = from; key < to; key++) entries.push([key, valueOf(key, round)]);
  await store.setMany(entries);
}

interface Block {
  file: string;
  position: number;
  bytes: number;
}

/** Where the newest checkpoint has its blocks, by section. */
function blocksOf(disk: SimulatedDisk): Record<string, Block[]> {
  const file = disk
    .paths()
    .filter((path) => path.includes('/checkpoint-'))
    .at(-1) as string;
  const contents = disk.contents(file);
  const end = contents.length - 16;
  const table = JSON.parse(contents.toString('utf8', end - contents.readUInt32LE(end), end)) as {
    sections: Record<string, [number, number, number, number][]>;
  };
  const blockAt = ([number, position, bytes]: [number, number, number, number]): Block => ({
    file: `${PATH}/checkpoint-${number.toString(16).padStart(8, '0')}.dat`,
    position,
    bytes,
  });
  return Object.fromEntries(
    Object.entries(table.sections).map(([name, places]) => [name, places.map(blockAt)]),
  );
}

/** A bit that no program makes use of is as good as any other: the checksum covers it. */
function flip(disk: SimulatedDisk, { file, position, bytes }: Block, share = 0.4): void {
  disk.flip(file, (position + Math.floor(bytes * share)) * 8 + 3);
}

/** Keys with wrong answers, an error being one. */
async function wrongIn(store: KvStore, round = 1, step = STEP): Promise<[key: unknown, answer: unknown][]> {
  const wrong: [unknown, unknown][] = [];
  for (let key = 0; key < KEYS; key += step) {
    const answer = await store.get(key).catch((error: unknown) => error);
    if (answer !== valueOf(key, round)) wrong.push([key, answer]);
  }
  if ((await store.get('never there')) !== undefined) wrong.push(['never there', '']);
  return wrong;
}

let closed: SimulatedDisk;
beforeAll(async () => {
  closed = new SimulatedDisk();
  const store = await KvStore.open(optionsOn(closed));
  await write(store, 0, KEYS);
  await store.close();
  const { hotIndex, hotOverflow } = blocksOf(closed);
  expect([hotIndex.length > 12, hotOverflow.length > 1]).toEqual([true, true]);
});

const opened: KvStore[] = [];
async function open(disk: SimulatedDisk, options: KvStoreOptions = {}): Promise<KvStore> {
  const store = await KvStore.open({ ...optionsOn(disk), ...options });
  opened.push(store);
  return store;
}
afterEach(async () => {
  for (const store of opened.splice(0)) await store.close().catch(() => undefined);
});

/** Lets the background come to an end. */
async function allLoaded(store: KvStore): Promise<void> {
  while (!store['core'].parts.index.isLoaded) await new Promise((resolve) => setImmediate(resolve));
}

describe('opening', () => {
  it('reads of the index what the first read needs, and the rest in the background', async () => {
    const disk = closed.fork();
    let reads = 0;
    const env = watched(disk.env(), (operation, file) => {
      if (operation === 'read' && file.startsWith('checkpoint-')) reads++;
    });
    const store = await open(disk, { env });
    expect(await store.get(5)).toBe(valueOf(5));
    const { hotIndex, hotOverflow } = blocksOf(disk);
    const all = hotIndex.length + hotOverflow.length;
    // Footer, table, directory, pending; one chunk and perhaps another one for the key.
    expect(reads).toBeLessThanOrEqual(6);
    await allLoaded(store);
    expect(reads).toBeGreaterThan(all);
    expect(reads).toBeLessThanOrEqual(all + 4);
    expect(store.stats().hot.indexEntries).toBeLessThanOrEqual(KEYS);
    expect(await wrongIn(store)).toEqual([]);
  });

  it('goes on in the background after a while, also where a read is always under way', async () => {
    const disk = closed.fork();
    const store = await open(disk);
    const { reads } = store['core'];
    const idle = reads.idle.bind(reads);
    reads.idle = () => new Promise(() => undefined);
    for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve));
    expect(store['core'].parts.index.isLoaded).toBe(false);
    disk.clock.advance(100);
    await allLoaded(store);
    reads.idle = idle;
  });

  it('and closing at once leaves the checkpoint as it is', async () => {
    const disk = closed.fork();
    const [name] = disk.paths().filter((path) => path.includes('/checkpoint-'));
    for (let i = 0; i < 3; i++) {
      const store = await open(disk);
      expect(store.opened).toMatchObject({ checkpoint: 1, records: 0, clean: true });
      await store.close();
      expect(disk.paths().filter((path) => path.includes('/checkpoint-'))).toEqual([name]);
    }
    expect(await wrongIn(await open(disk))).toEqual([]);
  });

  it('with deleteOnClose leaves nothing', async () => {
    const disk = closed.fork();
    const store = await open(disk, { deleteOnClose: true });
    await store.close();
    expect(disk.paths().filter((path) => path.startsWith(`${PATH}/`))).toEqual([]);
  });

  it('is followed by checkpoints that wait for what is not loaded, and have all of it', async () => {
    const disk = closed.fork();
    // The first write waits for a commit, and loading goes on meanwhile: a slice at each turn.
    disk.clock.tickMs = 1;
    let store = await open(disk);
    await write(store, 0, 3, 2);
    expect(store['core'].parts.index.isLoaded).toBe(false);
    disk.clock.tickMs = 0.001;
    expect(await store.checkpoint()).toMatchObject({ checkpoint: 2, incremental: true });
    disk.kill();
    store = await open(disk);
    expect(store.opened).toMatchObject({ checkpoint: 2, records: 0 });
    await write(store, 0, 200, 3);
    expect(await store.checkpoint()).toMatchObject({ checkpoint: 3, incremental: true });
    await write(store, KEYS, KEYS + 500);
    await store.flush();
    disk.kill();
    store = await open(disk);
    expect(store.opened.checkpoint).toBe(3);
    for (let key = 0; key < KEYS + 500; key += 7)
      expect(await store.get(key)).toBe(valueOf(key, key < 200 ? 3 : 1));
    await allLoaded(store);
    expect(store.stats().hot.mendedChunks).toBe(0);
  });

  it('loses nothing when the machine stops while the index is half loaded', async () => {
    const disk = closed.fork();
    disk.clock.tickMs = 1;
    let store = await open(disk);
    for (let key = 0; key < 3; key++) {
      await store.set(key, valueOf(key, 2));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(store['core'].parts.index.isLoaded).toBe(false);
    await store.flush();
    disk.crash('none');
    store = await open(disk);
    expect(store.opened).toMatchObject({ checkpoint: 1, records: 3 });
    for (let key = 0; key < KEYS; key += 7) expect(await store.get(key)).toBe(valueOf(key, key < 3 ? 2 : 1));
  });
});

/** Ways to meet a damage. */
const MEETINGS: Record<string, (store: KvStore) => Promise<unknown>> = {
  reads: (store) => wrongIn(store),
  writes: (store) => write(store, 0, KEYS),
  'a scan': async (store) => {
    const keys = new Set<unknown>();
    for await (const key of store.keys()) keys.add(key);
    expect(keys.size).toBe(KEYS);
  },
  'the background': allLoaded,
  verification: (store) => store.verify(),
  'a checkpoint': (store) => store.checkpoint(),
  'a compaction': (store) => store.compact({ full: true }),
};

const DAMAGES: Record<string, (disk: SimulatedDisk) => number> = {
  'one chunk': (disk) => {
    flip(disk, blocksOf(disk).hotIndex[2]);
    return 1;
  },
  'a chunk of overflow buckets': (disk) => {
    flip(disk, blocksOf(disk).hotOverflow[0]);
    return 1;
  },
  'all chunks': (disk) => {
    const { hotIndex, hotOverflow } = blocksOf(disk);
    const damaged = [...hotIndex, ...hotOverflow];
    for (const block of damaged) flip(disk, block, 0.9);
    return damaged.length;
  },
};

describe.each(Object.keys(DAMAGES))('damage of %s', (damage) => {
  it.each(Object.keys(MEETINGS))('is mended where it is met by %s', async (meeting) => {
    const disk = closed.fork();
    const damaged = DAMAGES[damage](disk);
    let store = await open(disk);
    expect(store.opened.checkpoint).toBe(1);
    const errors: Error[] = [];
    store.on('error', (error) => errors.push(error));
    await MEETINGS[meeting](store);
    await allLoaded(store);
    expect(await wrongIn(store)).toEqual([]);
    expect(store.stats().hot.mendedChunks).toBe(damaged);
    expect(store.stats().keys).toBe(KEYS);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toBeInstanceOf(KvCorruptionError);
    expect(errors[0]).toMatchObject({ file: 'checkpoint-00000001.dat' });
    expect(errors[0].message).toContain('nothing is lost');
    expect(await store.verify()).toMatchObject({ ok: true });
    // The next one is whole, and at close at the latest.
    await store.close();
    store = await open(disk);
    expect(store.opened).toMatchObject({ checkpoint: 2, clean: true });
    await allLoaded(store);
    expect(store.stats().hot.mendedChunks).toBe(0);
    expect(await wrongIn(store, 1, 1)).toEqual([]);
  });
});

describe('damage of the index', () => {
  it('of every kind of bit is met, and never believed', async () => {
    const blocks = Object.values(blocksOf(closed)).flat();
    for (let i = 0; i < 60; i++) {
      const disk = closed.fork();
      flip(disk, blocks[i % blocks.length], ((i * 7919) % 1000) / 1000);
      const store = await open(disk);
      expect([i, await wrongIn(store, 1, 199)]).toEqual([i, []]);
      disk.kill();
    }
  });

  it('is mended again by the next opening, if the process is killed before there is another checkpoint', async () => {
    const disk = closed.fork();
    flip(disk, blocksOf(disk).hotIndex[2]);
    let store = await open(disk);
    expect(await wrongIn(store)).toEqual([]);
    await write(store, 0, 100, 2);
    await store.flush();
    disk.crash('none');
    store = await open(disk);
    await write(store, 0, 100, 1);
    expect(await wrongIn(store)).toEqual([]);
    expect(await store.checkpoint()).toMatchObject({ incremental: false });
  });

  it('keeps what was written before it was met, also where a file has lost its end, or cannot be read', async () => {
    for (const how of ['lost its end', 'cannot be read']) {
      const disk = closed.fork();
      let store = await open(disk);
      await store.set(0, valueOf(0, 2));
      // Its table goes to a second file.
      await store.checkpoint();
      await store.close();
      const [block] = blocksOf(disk).hotIndex.filter(({ file }) => file.endsWith('1.dat'));
      store = await open(disk);
      expect(store.opened.checkpoint).toBe(2);
      await store.set(0, valueOf(0, 3));
      if (how === 'lost its end') {
        const fd = disk.env().fs.open(block.file, { create: false });
        disk.env().fs.truncate(fd, block.position + 1000);
      } else
        disk.failAt({
          operation: 'read',
          path: 'checkpoint-00000001.dat',
          nth: 1,
          code: 'EIO',
          sticky: true,
        });
      await write(store, 1, 100, 3);
      for (let key = 0; key < KEYS; key += STEP)
        expect(await store.get(key)).toBe(valueOf(key, key < 100 ? 3 : 1));
      await allLoaded(store);
      expect(store.stats().hot.mendedChunks).toBeGreaterThan(0);
      expect(store.stats().failure).toBeUndefined();
    }
  });

  it('makes the checkpoint useless where replay meets it', async () => {
    const disk = closed.fork();
    let store = await open(disk);
    await write(store, 0, KEYS, 2);
    await store.flush();
    disk.kill();
    flip(disk, blocksOf(disk).hotIndex[2]);
    store = await open(disk);
    expect(store.opened.checkpoint).toBeUndefined();
    expect(await wrongIn(store, 2)).toEqual([]);
  });

  it('is mended in a store that is only read, and nothing is changed', async () => {
    const disk = closed.fork();
    flip(disk, blocksOf(disk).hotIndex[2]);
    const files = filesOf(disk);
    const store = await open(disk, { readOnly: true });
    expect(await wrongIn(store)).toEqual([]);
    await allLoaded(store);
    expect(store.stats().hot.mendedChunks).toBe(1);
    await store.close();
    expect(filesOf(disk)).toEqual(files);
  });

  it('counts for nothing where the log begins behind the checkpoint', async () => {
    const disk = closed.fork();
    let store = await open(disk);
    await store.compact({ full: true });
    disk.kill();
    for (const block of blocksOf(disk).hotIndex) flip(disk, block);
    store = await open(disk);
    expect(store.opened.checkpoint).toBe(1);
    expect(await wrongIn(store)).toEqual([]);
    expect(store.stats().hot.mendedChunks).toBe(0);
  });

  it('is told by its error where the log is damaged as well, for the keys that it may concern', async () => {
    const disk = closed.fork();
    flip(disk, blocksOf(disk).hotIndex[2]);
    const log = `${PATH}/hot-00000000.log`;
    disk.flip(log, 500_000 * 8);
    let store = await open(disk);
    const errors: Error[] = [];
    store.on('error', (error) => errors.push(error));
    const failed = new Set<number>();
    for (let key = 0; key < KEYS; key += STEP) {
      const answer = await store.get(key).catch((error: unknown) => error);
      if (answer === valueOf(key)) continue;
      expect(answer).toBeInstanceOf(KvCorruptionError);
      expect(answer).toMatchObject({ file: 'hot-00000000.log' });
      failed.add(key);
    }
    expect(failed.size).toBeGreaterThan(KEYS / STEP / 40);
    expect(failed.size).toBeLessThan(KEYS / STEP / 5);
    expect(errors.length).toBeGreaterThan(0);
    // A batch is written as a whole or not at all.
    const [key] = failed;
    const other = [...Array(KEYS).keys()].find((k) => k % STEP === 0 && !failed.has(k)) as number;
    await expect(store.batch((b) => b.set(other, -1).set(key, -1))).rejects.toThrow(KvCorruptionError);
    expect(await store.get(other)).toBe(valueOf(other));
    await expect(store.checkpoint()).rejects.toThrow(KvCorruptionError);
    // What can be looked up can be written.
    await store.set(other, valueOf(other, 2));
    await store.close();
    store = await open(disk);
    expect(await store.get(other)).toBe(valueOf(other, 2));
  });

  it('is mended on a memory device', async () => {
    const device = new MemoryDevice(2 ** 28);
    const options = { device, hot: { memory: '16mb' } } as const;
    let store = await KvStore.open(options);
    await write(store, 0, KEYS);
    await store.checkpoint();
    await store.close();
    const file = device.open('checkpoint-00000001.dat', { create: false });
    file.writeSync(Buffer.from('damage'), 0, 6, 3 * 65_536 + 500);
    file.close();
    store = await KvStore.open(options);
    opened.push(store);
    expect(store.opened.checkpoint).toBe(1);
    expect(await wrongIn(store)).toEqual([]);
    await allLoaded(store);
    expect(store.stats().hot.mendedChunks).toBe(1);
  });
});

describe('the directory of the cold index', () => {
  let cold: SimulatedDisk;
  beforeAll(async () => {
    cold = closed.fork();
    const store = await KvStore.open(optionsOn(cold));
    await store.compact({ full: true });
    await store.close();
    expect(blocksOf(cold).directory.length).toBeGreaterThan(2);
  });

  /** Lets the background come to an end, and what it mends. */
  async function allThere(store: KvStore): Promise<void> {
    const { index } = store['core'].parts.cold as NonNullable<StoreCore['parts']['cold']>;
    while (!index.directory.isLoaded) await new Promise((resolve) => setImmediate(resolve));
    await store['core'].mended();
  }

  it('is read as far as the first read needs it, and the rest in the background', async () => {
    const disk = cold.fork();
    let reads = 0;
    const env = watched(disk.env(), (operation, file) => {
      if (operation === 'read' && file.startsWith('checkpoint-')) reads++;
    });
    const store = await open(disk, { env });
    const before = reads;
    expect(await store.get(5)).toBe(valueOf(5));
    expect(reads).toBeLessThanOrEqual(before + 2);
    await allThere(store);
    expect(await wrongIn(store)).toEqual([]);
  });

  it.each([
    ...Object.entries({ ...MEETINGS, 'the background': allThere }),
    ['a process that is killed', async () => undefined] as const,
  ])('is mended where damage of it is met by %s', async (_name, meeting) => {
    const disk = cold.fork();
    for (const block of blocksOf(disk).directory.slice(1)) flip(disk, block);
    let store = await open(disk);
    expect(store.opened.checkpoint).toBeGreaterThan(0);
    const errors: Error[] = [];
    store.on('error', (error) => errors.push(error));
    await meeting(store);
    await allThere(store);
    expect(await wrongIn(store)).toEqual([]);
    expect(store.stats().keys).toBe(KEYS);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toBeInstanceOf(KvCorruptionError);
    expect(errors[0].message).toContain('nothing is lost');
    expect(errors[0]).toMatchObject({ file: expect.stringContaining('checkpoint-') as string });
    expect((await store.verify()).damages).toEqual([]);
    await store.close();
    store = await open(disk);
    expect(store.opened).toMatchObject({ clean: true });
    await allThere(store);
    expect(store.stats().cold.mendedChunks).toBe(0);
    expect(await wrongIn(store, 1, 1)).toEqual([]);
  });

  it('makes the checkpoint useless where replay meets damage of it', async () => {
    const disk = cold.fork();
    let store = await open(disk);
    await write(store, 0, KEYS, 2);
    await store.flush();
    disk.kill();
    for (const block of blocksOf(disk).directory) flip(disk, block);
    store = await open(disk);
    expect(store.opened.checkpoint).toBeUndefined();
    expect(await wrongIn(store, 2)).toEqual([]);
  });

  it('is mended in a store that is only read, and nothing is changed', async () => {
    const disk = cold.fork();
    for (const block of blocksOf(disk).directory) flip(disk, block);
    const files = filesOf(disk);
    const store = await open(disk, { readOnly: true });
    expect(await wrongIn(store)).toEqual([]);
    await allThere(store);
    await store.close();
    expect(filesOf(disk)).toEqual(files);
  });

  it('is none the worse for a checkpoint that cannot be closed', async () => {
    const disk = cold.fork();
    const env = disk.env();
    const { fs } = env;
    const of = new Set<number>();
    let failed = 0;
    let isOpen = false;
    const store = await open(disk, {
      env: {
        ...env,
        fs: {
          ...fs,
          open: (path, options) => {
            const fd = fs.open(path, options);
            if (path.includes('checkpoint-')) of.add(fd);
            return fd;
          },
          close: (fd) => {
            fs.close(fd);
            if (!of.delete(fd) || !isOpen) return;
            failed++;
            throw Object.assign(new Error('EIO: i/o error, close'), { code: 'EIO' });
          },
        },
      },
    });
    isOpen = true;
    // Somebody reads the last part before the background does.
    const values = await Promise.all(Array.from({ length: KEYS }, (_, key) => store.get(key)));
    expect(failed).toBeGreaterThan(0);
    expect(values.every((value, key) => value === valueOf(key))).toBe(true);
    await allThere(store);
  });

  it('is followed by the chunks that its cache has room for, once one of them was read', async () => {
    const indexReads = async (indexCache: string | number): Promise<number> => {
      const store = await open(cold.fork(), { cold: { indexCache } });
      expect(await store.get(5)).toBe(valueOf(5));
      await allThere(store);
      expect(await store.get(5 + STEP)).toBe(valueOf(5 + STEP));
      for (let turns = 0; turns < 1000; turns++) await new Promise((resolve) => setImmediate(resolve));
      expect(await wrongIn(store)).toEqual([]);
      return store.stats().reads.indexReads;
    };
    expect(await indexReads(0)).toBeGreaterThan((KEYS / STEP) * 0.5);
    expect(await indexReads('8mb')).toBeLessThan((KEYS / STEP) * 0.02);
  });

  it('leaves no file open, whenever the store is closed', async () => {
    const disk = cold.fork();
    for (let turns = 0; turns < 4; turns++) {
      const store = await open(disk);
      for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
      await store.close();
      const of = (operation: string): number =>
        disk.trace.filter((entry) => entry.operation === operation && entry.path.includes('checkpoint-'))
          .length;
      expect(of('open')).toBe(of('close'));
    }
  });
});
