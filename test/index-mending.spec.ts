/**
 * Chunks of the cold index that are damaged on disk are made anew from the cold log while the store is open: whoever needs
 * one waits, gets the right answer, and nothing is lost. Only where the cold log is damaged as well is there an error.
 */
import { KvClosedError, KvCorruptionError, KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { filesOf } from './support/damaged-store.js';
import { SimulatedDisk } from './support/simulated-disk.js';

const PATH = '/store';
const KEYS = 40_000;
const STEP = 37;

const optionsOn = (disk: SimulatedDisk): KvStoreOptions => ({
  path: PATH,
  env: disk.env(),
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' },
  cold: { segmentSize: '1mb', garbageShare: 0.9, indexCache: 0 },
  readCache: { memory: 0 },
  compaction: false,
  durability: { level: 'checkpoint' },
});

/** Keys below a third were written again, and compacted again. */
const valueOf = (key: number) => (key < KEYS / 3 ? `second of ${key}` : `first of ${key}`);

/** A closed store whose records are all in the cold log, with a checkpoint. */
async function closedStore(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  const store = await KvStore.open(optionsOn(disk));
  for (let key = 0; key < KEYS; key++) await store.set(key, `first of ${key}`);
  await store.compact({ full: true });
  for (let key = 0; key < KEYS / 3; key++) await store.set(key, valueOf(key));
  for (let key = 0; key < KEYS; key += 10) await store.delete(`absent ${key}`);
  await store.namespace('n').set('large', 'x'.repeat(200_000));
  await store.compact({ full: true });
  await store.close();
  return disk;
}

const pathsOf = (disk: SimulatedDisk, log: string) =>
  disk.paths().filter((path) => path.startsWith(`${PATH}/${log}-`));

/** Flips a bit in every so many bytes of the files of a log. */
function flip(disk: SimulatedDisk, log: string, every: number): void {
  for (const file of pathsOf(disk, log))
    for (let byte = every >> 1; byte < disk.sizeOf(file); byte += every)
      disk.flip(file, byte * 8 + (byte % 7));
}

/** Keys with wrong answers, an error being one; of some keys, asked at the same time. */
async function wrongIn(store: KvStore, step = STEP): Promise<[key: unknown, answer: unknown][]> {
  const keys = Array.from({ length: Math.ceil(KEYS / step) }, (_, i) => i * step);
  const answers = await Promise.all(keys.map((key) => store.get(key).catch((error: unknown) => error)));
  const wrong: [unknown, unknown][] = [];
  for (const [i, key] of keys.entries()) if (answers[i] !== valueOf(key)) wrong.push([key, answers[i]]);
  if (((await store.namespace('n').get('large')) as string).length !== 200_000) wrong.push(['large', '']);
  if ((await store.get('never there')) !== undefined) wrong.push(['never there', '']);
  return wrong;
}

let closed: SimulatedDisk;
beforeAll(async () => {
  closed = await closedStore();
  expect(pathsOf(closed, 'index').length).toBeGreaterThan(0);
});

/** A store that was damaged while it was closed. */
async function openDamaged(
  every: number,
  options: KvStoreOptions = {},
): Promise<{ disk: SimulatedDisk; store: KvStore; errors: Error[] }> {
  const disk = closed.fork();
  flip(disk, 'index', every);
  const store = await KvStore.open({ ...optionsOn(disk), ...options });
  const errors: Error[] = [];
  store.on('error', (error) => errors.push(error));
  // The index is that of the checkpoint, and nothing of it has been read.
  expect(store.opened.checkpoint).toBeGreaterThan(0);
  return { disk, store, errors };
}

describe('a store whose cold index was damaged while it was closed', () => {
  it.each([
    ['in one place', 400_000, 0],
    ['in some places', 20_000, 0],
    ['in some places, read by the thread pool', 20_000, 5],
    ['everywhere', 300, 0],
  ])(
    '%s answers rightly from its first read on, and says what was damaged',
    async (_, every, tickMs) => {
      const { disk, store, errors } = await openDamaged(every);
      disk.clock.tickMs = tickMs || disk.clock.tickMs;
      expect(await wrongIn(store)).toEqual([]);
      expect(await wrongIn(store, every === 400_000 ? 3 : STEP)).toEqual([]);
      const { mendedChunks } = store.stats().cold;
      expect(mendedChunks).toBeGreaterThan(0);
      expect(errors).toHaveLength(1);
      expect(errors[0]).toBeInstanceOf(KvCorruptionError);
      expect(errors[0].message).toMatch(/index-[0-9a-f]{8}\.log.*nothing is lost/);
      expect((await store.verify()).damages).toEqual([]);
      await store.close();
      // The next life has an index that is whole.
      const again = await KvStore.open(optionsOn(disk));
      expect(again.opened.checkpoint).toBeGreaterThan(0);
      expect(await wrongIn(again)).toEqual([]);
      expect(again.stats().cold.mendedChunks).toBe(0);
      await again.close();
    },
    60_000,
  );

  it('does so again if it was killed behind the mending', async () => {
    const { disk, store } = await openDamaged(20_000);
    expect(await wrongIn(store)).toEqual([]);
    await store.set(5, 'newer');
    await store.flush();
    disk.kill();
    const again = await KvStore.open(optionsOn(disk));
    expect(await again.get(5)).toBe('newer');
    await again.set(5, valueOf(5));
    expect(await wrongIn(again)).toEqual([]);
    expect(again.stats().cold.mendedChunks).toBeGreaterThan(0);
    await again.checkpoint();
    disk.kill();
    const third = await KvStore.open(optionsOn(disk));
    expect(await wrongIn(third)).toEqual([]);
    expect(third.stats().cold.mendedChunks).toBe(0);
    await third.close();
  });

  it('takes what the disk refuses to read for damaged', async () => {
    const disk = closed.fork();
    const store = await KvStore.open(optionsOn(disk));
    for (const file of pathsOf(disk, 'index'))
      disk.failAt({ operation: 'read', path: file, nth: 1, code: 'EIO', sticky: true });
    expect(await wrongIn(store)).toEqual([]);
    expect(store.stats().cold.mendedChunks).toBeGreaterThan(0);
    disk.kill();
  });

  it('lists all keys', async () => {
    const { store } = await openDamaged(2_000);
    const seen = new Map<unknown, unknown>();
    for await (const [key, value] of store.scan()) seen.set(key, value);
    expect(seen.size).toBe(KEYS);
    for (let key = 0; key < KEYS; key += STEP) expect(seen.get(key)).toBe(valueOf(key));
    expect(store.stats().cold.mendedChunks).toBeGreaterThan(0);
    await store.close();
  });

  it.each(['compact', 'verify', 'checkpoint'] as const)(
    'is mended by %s()',
    async (call) => {
      const { disk, store } = await openDamaged(2_000);
      // So that there is garbage: a cold record is asked for by each record of a compaction.
      if (call === 'compact') for (let key = 0; key < KEYS; key += 3) await store.set(key, valueOf(key));
      // A checkpoint asks for no chunk; a look-up does.
      const read = call === 'checkpoint' ? wrongIn(store, 1000) : undefined;
      const report = await (call === 'compact' ? store.compact({ full: true }) : store[call]());
      if ('damages' in report) {
        expect(report.damages.length).toBeGreaterThan(0);
        for (const damage of report.damages) expect(damage).toMatchObject({ what: 'index', keysAffected: 0 });
      }
      expect((await read) ?? []).toEqual([]);
      expect(store.stats().cold.mendedChunks).toBeGreaterThan(0);
      expect(await store.verify()).toMatchObject({ ok: true });
      const { mendedChunks } = store.stats().cold;
      expect(await wrongIn(store)).toEqual([]);
      expect(store.stats().cold.mendedChunks).toBe(mendedChunks);
      disk.kill();
    },
    60_000,
  );

  it('has readers wait whose chunk is not complete yet, however late they come', async () => {
    const { disk, store } = await openDamaged(2_000);
    // A slice is over at once.
    disk.clock.tickMs = 1;
    const first = wrongIn(store, 400);
    let ended = false;
    void first.finally(() => (ended = true));
    const later: Promise<unknown>[] = [];
    const answered = async (key: number) => [key, await store.get(key).catch((error: unknown) => error)];
    for (let key = 0; !ended; key = (key + 3) % KEYS) {
      if (later.length < 3000) later.push(answered(key));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await first).toEqual([]);
    expect(later.length).toBeGreaterThan(300);
    for (const answer of (await Promise.all(later)) as [number, unknown][])
      expect(answer).toEqual([answer[0], valueOf(answer[0])]);
    disk.kill();
  });

  it('goes on with writes, updates and compaction beside it', async () => {
    const { disk, store } = await openDamaged(2_000);
    const expected = new Map<number, unknown>();
    const work: Promise<unknown>[] = [];
    for (let key = 1; key < KEYS; key += 101) {
      if (key % 2 === 0) {
        work.push(store.update(key, (old) => `${String(old)}, updated`));
        expected.set(key, `${valueOf(key)}, updated`);
      } else if (key % 3 === 0) {
        work.push(store.delete(key));
        expected.set(key, undefined);
      } else {
        work.push(store.get(key).then((value) => expect(value).toBe(valueOf(key))));
        expected.set(key, valueOf(key));
      }
      if (key % 7 === 0) work.push(store.set(`more ${key}`, key));
      if (work.length === 40 || work.length === 200) work.push(store.compact({ full: true }));
    }
    await Promise.all(work);
    for (const [key, value] of expected) expect([key, await store.get(key)]).toEqual([key, value]);
    await store.compact({ full: true });
    for (const [key, value] of expected) expect([key, await store.get(key)]).toEqual([key, value]);
    expect(await store.verify()).toMatchObject({ ok: true });
    disk.kill();
  });

  it('mends in memory alone when it was opened to be read', async () => {
    const { disk, store } = await openDamaged(2_000, { readOnly: true });
    const before = filesOf(disk);
    expect(await wrongIn(store)).toEqual([]);
    expect(store.stats().cold.mendedChunks).toBeGreaterThan(0);
    await store.close();
    expect(filesOf(disk)).toEqual(before);
  });

  it('can be closed meanwhile', async () => {
    const { disk, store } = await openDamaged(2_000);
    const reads = [1, 2, 3].map((key) => store.get(key).catch((error: unknown) => error));
    const closing = store.close();
    for (const [i, answer] of (await Promise.all(reads)).entries())
      if (answer !== valueOf(i + 1)) expect(answer).toBeInstanceOf(KvClosedError);
    await closing;
    const again = await KvStore.open(optionsOn(disk));
    expect(await wrongIn(again)).toEqual([]);
    await again.close();
  });

  it('and whose cold log is damaged as well has an error for keys that need both, and no wrong answer', async () => {
    const disk = closed.fork();
    flip(disk, 'index', 20_000);
    const [file] = pathsOf(disk, 'cold');
    disk.flip(file, 8 * 500_000);
    const store = await KvStore.open(optionsOn(disk));
    const wrong = await wrongIn(store);
    expect(wrong.length).toBeGreaterThan(0);
    expect(wrong.length).toBeLessThan(KEYS / STEP / 2);
    // What has to be restored is the log.
    for (const [, error] of wrong)
      expect(error).toMatchObject({ code: 'KV_CORRUPTION', file: file.slice(PATH.length + 1) });
    await store.set('hot', 1);
    await store.compact();
    await expect(store.checkpoint()).rejects.toThrow(KvCorruptionError);
    expect(await store.verify()).toMatchObject({ ok: false });
    // With the log as it was, the next attempt succeeds.
    disk.flip(file, 8 * 500_000);
    disk.clock.advance(60_000);
    expect(await wrongIn(store)).toEqual([]);
    await store.close();
  });
});
