/**
 * Many writers at `always`: two commits are under way at once, the disk finishes them in any order, and either may fail. Whatever
 * a power cut leaves is a prefix of what was written, with all in it that was acknowledged.
 */
import { KvCorruptionError, KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { FileDevice } from '../src/device/index.js';
import { FIRST_ADDRESS } from '../src/log/address.js';
import { KIND_COMMIT, KIND_MASK } from '../src/log/record.js';
import { scanSegment } from '../src/log/scan.js';
import { SegmentFiles } from '../src/log/segment-files.js';
import type { Manifest } from '../src/store/manifest.js';
import { SeededRandom, SimulatedDisk } from './support/simulated-disk.js';
import { RUNS, tally } from './support/tally.js';

const SEED = Number(process.env.SEED ?? 0);
const seeds = (count: number) => Array.from({ length: count * RUNS }, (_, i) => SEED + i);

const WRITERS = 64;

const optionsOn = (disk: SimulatedDisk): KvStoreOptions => ({
  path: '/s',
  env: disk.env(),
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' },
  durability: { level: 'always' },
});

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** How many durable writes were under way at once, at the most. */
let most = 0;
beforeEach(() => {
  most = 0;
  let underWay = 0;
  const { writeDurably } = SegmentFiles.prototype;
  jest.spyOn(SegmentFiles.prototype, 'writeDurably').mockImplementation(function (
    this: SegmentFiles,
    ...call
  ) {
    const write = writeDurably.apply(this, call);
    if (write) most = Math.max(most, ++underWay);
    const ended = () => void underWay--;
    write?.then(ended, ended);
    return write;
  });
});
afterEach(() => jest.restoreAllMocks());

/** Writers of whom each sets his own key to the number of the write, again and again. */
class Writers {
  /** Key by number of the write. */
  private readonly keys: number[] = [];
  private acknowledged = -1;
  private stopped = false;
  refused = 0;
  private readonly bytes: number;

  constructor(
    readonly disk: SimulatedDisk,
    seed: number,
  ) {
    // Some get to the end of a page often.
    this.bytes = [10, 100, 300][seed % 3];
  }

  get count(): number {
    return this.acknowledged + 1;
  }

  async open(): Promise<KvStore> {
    return KvStore.open(optionsOn(this.disk));
  }

  start(store: KvStore, batches = false): Promise<unknown> {
    this.stopped = false;
    const writer = async (key: number) => {
      while (!this.stopped) {
        const number = this.keys.push(key) - 1;
        const value = [number, 'x'.repeat(this.bytes)];
        try {
          if (batches) await store.batch((batch) => void batch.set(key, value));
          else await store.set(key, value);
          this.acknowledged = Math.max(this.acknowledged, number);
        } catch {
          this.refused++;
          await turn();
        }
      }
    };
    return Promise.all(Array.from({ length: WRITERS }, (_, key) => writer(key)));
  }

  stop(): void {
    this.stopped = true;
  }

  /** After a crash, before which no write was refused: the state is a prefix with all that was acknowledged. */
  async check(): Promise<void> {
    const store = await this.open();
    const found = await this.found(store);
    const last = Math.max(-1, ...found);
    expect(last).toBeGreaterThanOrEqual(this.acknowledged);
    const expected = new Array<number>(WRITERS).fill(-1);
    for (let number = 0; number <= last; number++) expected[this.keys[number]] = number;
    expect(found).toEqual(expected);
    expect(await store.verify()).toMatchObject({ ok: true });
    this.disk.kill();
  }

  async found(store: KvStore): Promise<number[]> {
    const values = (await store.getMany(Array.from({ length: WRITERS }, (_, key) => key))) as [number][];
    return values.map((value) => value?.[0] ?? -1);
  }
}

it.each(seeds(60))('a power cut leaves a prefix, seed %d', async (seed) => {
  const random = new SeededRandom(seed);
  const writers = new Writers(new SimulatedDisk({ completion: 'random', seed }), seed);
  const store = await writers.open();
  void writers.start(store);
  for (let turns = 20 + random.below(120); turns > 0; turns--) await turn();
  writers.stop();
  tally({ 'power cuts': 1, acknowledged: writers.count });
  writers.disk.crash({ seed });
  expect(writers.count).toBeGreaterThan(0);
  expect(most).toBe(2);
  await writers.check();
  writers.disk.crash('none');
  await writers.check();
});

it.each([true, false])('a log is not truncated behind its last commit (batches: %s)', async (batches) => {
  for (let seed = 0; seed < 10; seed++) {
    const writers = new Writers(new SimulatedDisk({ seed }), seed);
    const { disk } = writers;
    const store = await writers.open();
    const done = writers.start(store, batches);
    for (let turns = 60 + seed; turns > 0; turns--) await turn();
    writers.stop();
    await done;
    await store.compact({ full: true });
    const found = await writers.found(store);
    disk.kill();
    const again = await writers.open();
    expect(await writers.found(again)).toEqual(found);
    await again.close();
  }
});

it.each(seeds(20))('close() in the middle keeps what was acknowledged, seed %d', async (seed) => {
  const writers = new Writers(new SimulatedDisk({ completion: 'random', seed }), seed);
  const store = await writers.open();
  const done = writers.start(store);
  for (let turns = 15 + (seed % 60); turns > 0; turns--) await turn();
  const closing = store.close();
  writers.stop();
  await Promise.all([closing, done]);
  expect(most).toBe(2);
  writers.disk.crash('none');
  await writers.check();
});

it('damage of the last but one commit is noticed', async () => {
  for (let seed = 0; seed < 10; seed++) {
    const writers = new Writers(new SimulatedDisk({ seed }), 0);
    const { disk } = writers;
    const store = await writers.open();
    const done = writers.start(store);
    for (let turns = 60 + seed; turns > 0; turns--) await turn();
    writers.stop();
    await done;
    for (let turns = 10; turns > 0; turns--) await turn();
    disk.kill();
    const [manifest] = disk.contents('/s/MANIFEST').toString().split('\n');
    const { salt } = (JSON.parse(manifest) as Manifest).hot;
    const segments = new SegmentFiles(new FileDevice(disk.env(), '/s'), 'hot', 1024 * 1024, salt);
    const commits: number[] = [];
    await scanSegment(segments, FIRST_ADDRESS, (words, at, address) => {
      if ((words[at + 1] & KIND_MASK) === KIND_COMMIT) commits.push(address);
    });
    segments.close();
    disk.flip('/s/hot-00000000.log', ((commits.at(-2) as number) + 50) * 8);
    await expect(writers.open()).rejects.toThrow(KvCorruptionError);
  }
});

describe.each(['EIO', 'ENOSPC'] as const)('%s', (code) => {
  it.each(seeds(30))('in one of two commits takes nothing that was acknowledged, seed %d', async (seed) => {
    const random = new SeededRandom(seed);
    const writers = new Writers(new SimulatedDisk({ completion: 'random', seed }), seed);
    const { disk } = writers;
    const store = await writers.open();
    const done = writers.start(store);
    for (let turns = 30; turns > 0; turns--) await turn();
    const operation = code === 'EIO' && random.below(2) === 1 ? 'sync' : 'write';
    disk.failAt({ operation, path: '.log', nth: 1 + random.below(5), code });
    for (let turns = 60; turns > 0; turns--) {
      await turn();
      if (turns % 10 === 0) disk.clock.advance(250);
    }
    writers.stop();
    await done;
    tally({ [`${code} in a commit`]: 1 });
    expect(most).toBe(2);
    expect(writers.refused).toBeGreaterThan(0);
    expect(store.stats().failure === undefined).toBe(code === 'ENOSPC');
    const before = await writers.found(store);
    if (seed % 2 === 0) disk.crash('none');
    else await store.close().catch(() => undefined);
    const again = await writers.open();
    const after = await writers.found(again);
    const last = Math.max(...after);
    expect(last).toBeGreaterThanOrEqual(writers.count - 1);
    // What is full, and goes on, has lost nothing.
    if (code === 'ENOSPC' && seed % 2 === 1) expect(after).toEqual(before);
    await again.close();
  });
});
