/**
 * Bytes on disk that are not what was written: every byte of a small store flipped, its files cut at every length, and
 * records damaged under an open store. Whatever is damaged, the answer is right or it is a KvCorruptionError that names
 * the place; never another value, and never "not found".
 */
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KvCorruptionError, KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { copyOf, missingPath } from './support/temp-directory.js';
import { SimulatedDisk } from './support/simulated-disk.js';

const PATH = '/store';
const LOG = 'hot-00000000.log';
const FILES = ['MANIFEST', 'DICTIONARY', LOG];

/** What the small store holds: values by key, with what was deleted and what had several versions. */
const CONTENT: Record<string, unknown> = {
  text: 'plain text',
  object: { field: 1, nested: { list: [1, 2, 3] } },
  buffer: Buffer.alloc(100, 7),
  rewritten: 'newest',
  deleted: undefined,
  expiring: ['later'],
  counter: 3,
  last: 'from the second life',
};

/** Commits in the small store before it was closed or killed: the first opening, two flushes, and one close. */
const COMMITS = 4;

const optionsOn = (disk: SimulatedDisk): KvStoreOptions => ({
  path: PATH,
  env: disk.env(),
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' },
  durability: { level: 'checkpoint' },
});

/** A store on a simulated disk closed in order or killed behind the last one. */
async function smallStore(end: 'closed' | 'killed'): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  let store = await KvStore.open(optionsOn(disk));
  const space = store.namespace('n');
  for (const key of ['text', 'object', 'buffer']) await store.set(key, CONTENT[key]);
  await store.set('rewritten', 'oldest');
  await store.set('deleted', 'was here');
  await space.set('text', 'in the namespace');
  await store.flush();
  await store.set('rewritten', 'newest');
  await store.delete('deleted');
  await store.set('expiring', ['later'], { ttl: '1h' });
  await store.increment('counter', 3);
  await store.close();
  store = await KvStore.open(optionsOn(disk));
  await store.set('last', CONTENT.last);
  await store.flush();
  expect(store.stats().writes.commits).toBe(COMMITS);
  if (end === 'closed') await store.close();
  else disk.kill();
  return disk;
}

/** Opens and reads everything. Returns what went wrong with the answers: nothing, or a list. */
async function readAll(disk: SimulatedDisk): Promise<'right' | 'refused' | 'dropped' | unknown[]> {
  let store: KvStore;
  try {
    store = await KvStore.open(optionsOn(disk));
  } catch (error) {
    return isGoodError(error) ? 'refused' : [error];
  }
  const wrong: unknown[] = [];
  // A file that ends exactly behind a commit looks as if later ones had never been: the number of the commit tells.
  const dropped = store.opened.droppedBytes > 0 || store.opened.commit < COMMITS;
  let refused = false;
  for (const [key, expected] of Object.entries(CONTENT)) {
    try {
      const found = await store.get(key);
      if (!sameBytes(found, expected) && !(dropped && key === 'last' && found === undefined))
        wrong.push([key, found]);
    } catch (error) {
      refused = true;
      if (!isGoodError(error)) wrong.push([key, error]);
    }
  }
  const inSpace = await store.namespace('n').get('text');
  if (inSpace !== 'in the namespace') wrong.push(['n/text', inSpace]);
  await store.close();
  return wrong.length > 0 ? wrong : refused ? 'refused' : dropped ? 'dropped' : 'right';
}

/** A corruption (or for the MANIFEST a later format) whose file is named. */
function isGoodError(error: unknown): boolean {
  if (!(error instanceof KvCorruptionError)) return (error as { code?: string }).code === 'KV_FORMAT';
  return (
    FILES.includes(error.file) && Number.isSafeInteger(error.address) && error.message.includes(error.file)
  );
}

function sameBytes(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** How often each outcome came; wrong answers are listed with where they came from. */
class Tally {
  readonly counts = { right: 0, refused: 0, dropped: 0 };
  readonly wrong: unknown[] = [];

  add(where: string, outcome: Awaited<ReturnType<typeof readAll>>): void {
    if (typeof outcome === 'string') this.counts[outcome]++;
    else this.wrong.push([where, ...outcome]);
  }
}

describe('a flipped bit', () => {
  it.each(['closed', 'killed'] as const)(
    'in any byte of a store that was %s',
    async (end) => {
      const intact = await smallStore(end);
      expect(await readAll(intact.fork())).toBe('right');
      const tally = new Tally();
      for (const file of FILES) {
        const { length } = intact.contents(`${PATH}/${file}`);
        for (let byte = 0; byte < length; byte++) {
          // Another bit in each byte.
          const bit = byte * 8 + ((byte * 5) % 8);
          const disk = intact.fork();
          disk.flip(`${PATH}/${file}`, bit);
          tally.add(`${file} bit ${bit}`, await readAll(disk));
        }
      }
      expect(tally.wrong).toEqual([]);
      expect(tally.counts.refused).toBeGreaterThan(500);
      // Only the last commit of a store that was not closed may be taken for torn.
      expect(tally.counts.dropped > 0).toBe(end === 'killed');
    },
    60_000,
  );
});

describe('a file cut short', () => {
  it.each(['closed', 'killed'] as const)(
    'at any length of a store that was %s',
    async (end) => {
      const intact = await smallStore(end);
      const tally = new Tally();
      for (const file of FILES) {
        const bytes = intact.contents(`${PATH}/${file}`);
        for (let length = 0; length < bytes.length; length++) {
          const disk = intact.fork();
          disk.put(`${PATH}/${file}`, bytes.subarray(0, length));
          tally.add(`${file} cut to ${length}`, await readAll(disk));
        }
      }
      expect(tally.wrong).toEqual([]);
      expect(tally.counts.refused).toBeGreaterThan(500);
      expect(tally.counts.dropped > 0).toBe(end === 'killed');
      // A cut loses something, except for the last line's end of a small file.
      expect(tally.counts.right).toBeLessThan(5);
    },
    60_000,
  );

  it('or with bytes behind its end', async () => {
    for (const end of ['closed', 'killed'] as const) {
      const intact = await smallStore(end);
      const bytes = intact.contents(`${PATH}/${LOG}`);
      for (const tail of [
        Buffer.alloc(1),
        Buffer.alloc(5000),
        Buffer.alloc(5000, 0xff),
        bytes.subarray(64),
      ]) {
        const disk = intact.fork();
        disk.put(`${PATH}/${LOG}`, Buffer.concat([bytes, tail]));
        expect(['right', 'dropped', 'refused']).toContain(await readAll(disk));
      }
    }
  });
});

it('a new store that was killed before its first commit says that it was not closed', async () => {
  const disk = new SimulatedDisk();
  const store = await KvStore.open(optionsOn(disk));
  await store.set('a', 1);
  disk.kill();
  const again = await KvStore.open(optionsOn(disk));
  expect(again.opened).toMatchObject({ created: false, clean: false, droppedBytes: 0 });
  await again.close();
  const closed = await KvStore.open(optionsOn(disk));
  expect(closed.opened).toMatchObject({ created: false, clean: true });
  await closed.close();
});

describe('a torn tail', () => {
  it('is dropped and reported, once, and the store goes on', async () => {
    const disk = await smallStore('killed');
    const bytes = disk.contents(`${PATH}/${LOG}`);
    disk.put(`${PATH}/${LOG}`, bytes.subarray(0, bytes.length - 1));
    const store = await KvStore.open(optionsOn(disk));
    expect(store.opened).toMatchObject({
      created: false,
      clean: false,
      droppedFrom: expect.stringContaining(LOG) as string,
    });
    expect(store.opened.droppedBytes).toBeGreaterThan(0);
    expect(await store.get('last')).toBeUndefined();
    expect(await store.get('rewritten')).toBe('newest');
    const version = await store.set('last', 'again');
    await store.close();
    const again = await KvStore.open(optionsOn(disk));
    expect(again.opened).toMatchObject({ clean: true, droppedBytes: 0 });
    expect(await again.getEntry('last')).toMatchObject({ value: 'again', version });
    await again.close();
  });
});

describe('a record damaged on disk under an open store', () => {
  const hot = { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', expectedKeys: 500_000 } as const;

  /** A store whose record of 'k' is on disk only, and where its value lies in the file. */
  async function spilled(): Promise<{ store: KvStore; file: string; at: number }> {
    const path = missingPath();
    const store = await KvStore.open({ path, hot, readCache: { memory: 0 } });
    await store.set('k', 'an older value');
    await store.flush();
    await store.set('k', 'MARK of the value');
    for (let i = 0; i < 30; i++) await store.set(i, Buffer.alloc(30_000));
    await store.flush();
    expect(store.peek('k')).toBeUndefined();
    const file = join(path, LOG);
    return { store, file, at: readFileSync(file).indexOf('MARK') };
  }

  const calls: [string, (store: KvStore) => Promise<unknown>][] = [
    ['get', (s) => s.get('k')],
    ['getMany', (s) => s.getMany([1, 'k'])],
    ['getEntry', (s) => s.getEntry('k')],
    ['has', (s) => s.has('k')],
    ['update', (s) => s.update('k', () => 'new')],
    ['increment', (s) => s.increment('k')],
    ['touch', (s) => s.touch('k', 1000)],
    ['ttl', (s) => s.ttl('k')],
    ['delete', (s) => s.delete('k')],
    ['setIfAbsent', (s) => s.setIfAbsent('k', 1)],
    ['set with a condition', (s) => s.set('k', 1, { ifPresent: true })],
  ];

  it('makes every call that needs it fail, naming file and address', async () => {
    const { store, file, at } = await spilled();
    const bytes = readFileSync(file);
    // In the value, the key, the header, and the checksum.
    for (const offset of [0, -4, -8, -12, -16, -20, -24, -28]) {
      const damaged = Buffer.from(bytes);
      damaged[at + offset] ^= 0x40;
      writeFileSync(file, damaged);
      for (const [name, call] of calls) {
        const error = await call(store).catch((thrown: unknown) => thrown);
        expect([offset, name, error]).toEqual([offset, name, expect.any(KvCorruptionError)]);
        expect(error).toMatchObject({ file: LOG, address: expect.any(Number) as number });
      }
      writeFileSync(file, bytes);
      expect(await store.get('k')).toBe('MARK of the value');
    }
    // Others are not affected, and a new value takes its place.
    expect(await store.get<Buffer>(1)).toHaveLength(30_000);
    await store.set('k', 'new');
    expect(await store.get('k')).toBe('new');
    await store.close();
  });

  it('is found when the file is cut short', async () => {
    const { store, file, at } = await spilled();
    truncateSync(file, at + 2);
    await expect(store.get('k')).rejects.toThrow(KvCorruptionError);
    await expect(store.get(1)).rejects.toThrow(KvCorruptionError);
    await store.close();
  });

  it('is found when all records have moved', async () => {
    const { store, file } = await spilled();
    const bytes = readFileSync(file);
    const records = [1, 2].map((n) => store.getEntry(n));
    await Promise.all(records);
    // The same records, moved by a multiple of 8: right in themselves, but not at home.
    writeFileSync(file, Buffer.concat([bytes.subarray(0, 64), Buffer.alloc(8), bytes.subarray(64, -8)]));
    await expect(store.get('k')).rejects.toThrow(KvCorruptionError);
    for (let i = 0; i < 20; i++) {
      if (store.peek(i) === undefined) await expect(store.get(i)).rejects.toThrow(KvCorruptionError);
    }
    await store.close();
  });
});

/** The record of 'k' with a text value that begins at `at`: header, key, and one byte in front of the text. */
const recordAt = (at: number, text: string) => {
  const from = at - 29;
  return { from, to: from + ((29 + text.length + 7) & ~7) };
};

describe('a whole record in the place of another', () => {
  it('is not taken for it: an older value of the same key', async () => {
    const path = missingPath();
    const hot = { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', expectedKeys: 500_000 } as const;
    const store = await KvStore.open({ path, hot });
    for (const text of ['MARK of the older', 'MARK of the newer']) {
      await store.set('k', text);
      await store.flush();
    }
    for (let i = 0; i < 30; i++) await store.set(i, Buffer.alloc(30_000));
    await store.flush();
    expect(store.peek('k')).toBeUndefined();
    const file = join(path, LOG);
    const bytes = readFileSync(file);
    const older = recordAt(bytes.indexOf('MARK of the older'), 'MARK of the older');
    const newer = recordAt(bytes.indexOf('MARK of the newer'), 'MARK of the newer');
    expect(older.from % 8).toBe(0);
    bytes.copy(bytes, newer.from, older.from, older.to);
    expect(bytes.indexOf('MARK of the newer')).toBe(-1);
    writeFileSync(file, bytes);
    await expect(store.get('k')).rejects.toThrow(KvCorruptionError);
    await store.close();
    // Opening with a checkpoint reads only what lies behind it: a read finds it then, or a compaction.
    const again = await KvStore.open({ path, hot });
    expect(again.opened.checkpoint).toBe(1);
    await expect(again.get('k')).rejects.toThrow(KvCorruptionError);
    await expect(again.compact({ full: true })).rejects.toThrow(KvCorruptionError);
    await expect(again.get('k')).rejects.toThrow(KvCorruptionError);
    await again.close();
    // Without one, opening reads everything.
    rmSync(join(path, 'checkpoint-00000001.dat'));
    await expect(KvStore.open({ path, hot })).rejects.toThrow(KvCorruptionError);
  });

  it('is not taken for it: a record of another history, right in itself and in its place', async () => {
    const base = await smallStore('closed');
    /** The log after a set and a flush, and then more of them. */
    const historyOf = async (text: string, more: number) => {
      const disk = base.fork();
      const store = await KvStore.open(optionsOn(disk));
      await store.set('k', text);
      await store.flush();
      for (let i = 0; i < more; i++) {
        await store.set('other', i);
        await store.flush();
      }
      disk.kill();
      return disk;
    };
    const strange = (await historyOf('MARK of elsewhere', 0)).contents(`${PATH}/${LOG}`);
    for (const more of [0, 2]) {
      const disk = await historyOf('MARK of this one.', more);
      const bytes = disk.contents(`${PATH}/${LOG}`);
      const at = bytes.indexOf('MARK of this one.');
      expect(strange.indexOf('MARK of elsewhere')).toBe(at);
      const { from, to } = recordAt(at, 'MARK of this one.');
      strange.copy(bytes, from, from, to);
      disk.put(`${PATH}/${LOG}`, bytes);
      const opened = await KvStore.open(optionsOn(disk)).catch((error: unknown) => error);
      if (more > 0) {
        expect(opened).toBeInstanceOf(KvCorruptionError);
      } else {
        // Nothing says that the only commit was on stable storage: it is dropped as torn, and with it the record.
        expect((opened as KvStore).opened.droppedBytes).toBeGreaterThan(0);
        expect(await (opened as KvStore).get('k')).toBeUndefined();
        await (opened as KvStore).close();
      }
    }
  });
});

describe('a copy of an open store', () => {
  it('opens as of a commit, wherever it was taken', async () => {
    const path = missingPath();
    const store = await KvStore.open({ path, durability: { level: 'checkpoint' } });
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 50; i++) await store.set(i, { round, i });
      if (round % 2 === 0) await store.flush();
      const copy = await KvStore.open({ path: copyOf(path) });
      const committed = round - (round % 2);
      expect(copy.opened).toMatchObject({ clean: false, droppedBytes: 0 });
      for (let i = 0; i < 50; i++) expect(await copy.get(i)).toEqual({ round: committed, i });
      await copy.close();
    }
    await store.close();
  });
});
