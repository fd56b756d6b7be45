/**
 * When compaction runs by itself: over the budget, at an interval that doubles while there is nothing to do, and not at
 * all on request. What it does to writers: they are slowed down, not stopped.
 */
import {
  KvCorruptionError,
  KvReadOnlyError,
  KvStore,
  type KvCompactionReport,
  type KvStoreOptions,
} from 'nestjs-hotcold/store';
import {
  COMPACTING,
  differences,
  HeldReads,
  MIB,
  openOn,
  PATH,
  segmentsOf,
  turns,
  valueOf,
} from './support/compacting.js';
import { SimulatedClock, SimulatedDisk } from './support/simulated-disk.js';

const EVERY_MS = 1000;
const SCHEDULED = { compaction: { every: EVERY_MS } } as const;

let disk: SimulatedDisk;
let store: KvStore;
let expected: Map<string, unknown>;
let reports: KvCompactionReport[];
let errors: Error[];
let held: HeldReads | undefined;

async function open(options: KvStoreOptions = SCHEDULED): Promise<void> {
  store = await openOn(disk, options);
  store.on('compaction', (report) => reports.push(report));
  store.on('error', (error) => errors.push(error));
}

beforeEach(() => {
  disk = new SimulatedDisk({ completion: 'random' });
  expected = new Map();
  reports = [];
  errors = [];
});

afterEach(async () => {
  held?.release();
  held = undefined;
  await store.close().catch(() => undefined);
});

async function put(key: string, round: number, bytes = 10_000): Promise<void> {
  const value = valueOf(key, round, bytes);
  expected.set(key, value);
  await store.set(key, value);
}

/** Until nothing is under way any more. */
async function settled(): Promise<void> {
  await turns(3);
  while (store.stats().compaction.running) await turns(1);
}

async function tick(ms: number): Promise<void> {
  disk.clock.advance(ms);
  await settled();
}

describe('the budget', () => {
  it('bounds the hot log while writes go on, at every level', async () => {
    for (const level of ['always', 'interval', 'checkpoint'] as const) {
      disk = new SimulatedDisk({ completion: 'random' });
      await open({ ...SCHEDULED, durability: { level } });
      let most = 0;
      for (let i = 0; i < 800; i++) {
        await put(`k${i}`, 0);
        most = Math.max(most, store.stats().hot.diskBytes);
      }
      await settled();
      // Budget, what may be written on top of it, and logs that begin and end in the middle of a segment.
      expect([level, most < 5 * MIB, most]).toEqual([level, true, most]);
      expect(reports.every(({ reason }) => reason === 'budget')).toBe(true);
      expect(reports.length).toBeGreaterThan(0);
      expect(await differences(store, expected)).toEqual([]);
      await store.close();
      await open();
      expect(await differences(store, expected)).toEqual([]);
      await store.close();
    }
  });

  it.each([0.001, 0.05])('bounds the hot log however long writes go on, at %d ms a look', async (tickMs) => {
    await open();
    disk.clock.tickMs = tickMs;
    const most: number[] = [];
    for (let i = 0; i < 3000; i++) {
      await put(`k${i % 400}`, i);
      if (i % 10 === 0) most.push(store.stats().hot.diskBytes);
    }
    expect(Math.max(...most)).toBeLessThan(6 * MIB);
    expect(await differences(store, expected)).toEqual([]);
  });

  it('bounds the index, too', async () => {
    await open({ ...SCHEDULED, hot: { ...COMPACTING.hot, diskBudget: '1gb', expectedKeys: 0 } });
    let most = 0;
    let mostBytes = 0;
    for (let i = 0; i < 700; i++) {
      await store.setMany(Array.from({ length: 1000 }, (_, j) => [i * 1000 + j, i] as const));
      const { hot } = store.stats();
      most = Math.max(most, hot.indexEntries);
      mostBytes = Math.max(mostBytes, hot.memoryBytes);
    }
    await settled();
    // 40 % of 8 MiB, at 16 bytes an entry.
    expect(store.stats().hot.indexEntries).toBeLessThan(210_000);
    expect(store.stats().cold.indexEntries).toBeGreaterThan(90_000);
    // A quarter more to begin with, and half of what a run goes through.
    expect(most).toBeLessThan(375_000);
    expect(mostBytes).toBeLessThanOrEqual(8 * MIB);
    for (let i = 0; i < 700_000; i += 1009) expect(await store.get(i)).toBe(Math.floor(i / 1000));
  });

  it('bounds the files that unclean stops leave, each of them one', async () => {
    const options = { ...SCHEDULED, hot: { ...COMPACTING.hot, expectedKeys: 0 } };
    for (let life = 0; life < 70; life++) {
      await open(options);
      await put(`k${life}`, 0, 100);
      await store.flush();
      disk.kill();
    }
    await open(options);
    await put('last', 0, 100);
    await settled();
    expect(segmentsOf(disk, 'hot').length).toBeLessThan(60);
    expect(await differences(store, expected)).toEqual([]);
  });

  it('is not looked at with compaction: false, nor while the schedule is stopped', async () => {
    await open({ compaction: false });
    for (let i = 0; i < 300; i++) await put(`k${i}`, 0);
    disk.clock.advance(10 * 60_000);
    await settled();
    expect(store.stats().hot.diskBytes).toBeGreaterThan(2.5 * MIB);
    await store.close();

    await open();
    await store.stopCompaction();
    await put('k0', 1);
    await tick(10 * EVERY_MS);
    expect(store.stats().hot.diskBytes).toBeGreaterThan(2.5 * MIB);
    expect(reports).toEqual([]);

    store.startCompaction();
    await put('k0', 2);
    await settled();
    expect(reports.map(({ reason }) => reason)).toEqual(['budget']);
    expect(await differences(store, expected)).toEqual([]);
  });

  it('holds for a store of few keys that are rewritten for ever', async () => {
    await open();
    for (let i = 0; i < 4000; i++) await put(`k${i % 300}`, i);
    // A run that leaves off for the hot log's sake may leave twice the garbage, the next one does not.
    await settled();
    await tick(EVERY_MS);
    // 3 MB live, a quarter of garbage on top, two logs that begin and end in a segment.
    expect(store.stats().cold.diskBytes).toBeLessThan(8 * MIB);
    expect(await differences(store, expected)).toEqual([]);
  });

  it('lets a memory device go on, however much is written', async () => {
    disk.clock.clearTimers();
    const { path: _, ...onMemory } = COMPACTING;
    store = await KvStore.open({ ...onMemory, memoryLimit: '24mb', compaction: { every: EVERY_MS } });
    store.on('error', (error) => errors.push(error));
    // 4 MB live, 60 MB in all; and keys that come and go.
    for (let i = 0; i < 6000; i++) {
      await put(`k${i % 400}`, i);
      await store.delete(`gone${i - 10}`);
      await store.set(`gone${i}`, i);
    }
    expect(errors).toEqual([]);
    expect(await differences(store, expected)).toEqual([]);
  });
});

describe('the interval', () => {
  /** A clock that notes the delays of the timers that are set. */
  class NotingClock extends SimulatedClock {
    readonly delays: number[] = [];
    override after(ms: number, callback: () => void): () => void {
      this.delays.push(ms);
      return super.after(ms, callback);
    }
  }

  it('doubles after every five useless runs, up to 64 times, and is as it was after a useful one', async () => {
    const clock = new NotingClock();
    await open({ ...SCHEDULED, env: disk.env({ clock }) });
    // Not over the budget.
    for (let i = 0; i < 60; i++) await put(`k${i}`, 0);
    for (let i = 0; i < 30; i++) await store.set(`t${i}`, valueOf(i, 0, 10_000), { ttl: '25m' });
    await store.compact({ full: true });
    reports.length = 0;
    clock.delays.length = 0;
    for (let run = 0; run < 45; run++) {
      clock.advance(clock.delays.at(-1) ?? EVERY_MS);
      await settled();
    }
    const expectedDelays = [1, 2, 4, 8, 16, 32, 64, 64, 64].flatMap((factor) =>
      Array.from({ length: 5 }, () => factor * EVERY_MS),
    );
    // The first timer was set before; each run sets the next one.
    expect([EVERY_MS, ...clock.delays].slice(0, 45)).toEqual(expectedDelays);

    // A third of the cold log has expired, or is about to.
    for (let run = 0; run < 60 && reports.length === 0; run++) {
      clock.advance(64 * EVERY_MS);
      await settled();
    }
    expect(reports).toMatchObject([{ reason: 'interval', cold: { droppedRecords: 30 } }]);
    expect(clock.delays.at(-1)).toBe(EVERY_MS);
    expect(await differences(store, expected)).toEqual([]);
  });

  it('finds garbage that came to be without a call of compact()', async () => {
    await open({ ...SCHEDULED, cold: { ...COMPACTING.cold, garbageShare: 0.5 } });
    for (let round = 0; round < 10; round++) for (let i = 0; i < 200; i++) await put(`k${i}`, round);
    for (let i = 0; i < 3; i++) await tick(EVERY_MS);
    // 2 MB live, as much garbage at the most, and segments that are not full.
    expect(store.stats().cold.diskBytes).toBeLessThan(6 * MIB);
    expect(await differences(store, expected)).toEqual([]);
  });

  it('finds that keys have expired', async () => {
    await open();
    for (let i = 0; i < 500; i++) await store.set(`t${i}`, valueOf(i, 0, 10_000), { ttl: '10m' });
    await settled();
    expect(store.stats().cold.diskBytes).toBeGreaterThan(3 * MIB);
    await tick(3_600_000);
    expect(store.stats().cold.diskBytes).toBeLessThan(2 * MIB);
  });

  it('goes on after a stop and a start in the middle of a run, with one timer', async () => {
    await open();
    await tick(EVERY_MS);
    expect(disk.clock.pending).toBe(1);
    disk.clock.advance(EVERY_MS);
    const stopped = store.stopCompaction();
    store.startCompaction();
    await stopped;
    await settled();
    expect(disk.clock.pending).toBe(1);
    await store.close();
    expect(disk.clock.pending).toBe(0);
  });

  it('leaves a damaged log alone, and says so, until a call of compact() finds it mended', async () => {
    await open();
    for (let i = 0; i < 60; i++) await put(`k${i}`, 0);
    await store.flush();
    const bit = 8 * 200_000;
    disk.flip(`${PATH}/hot-00000000.log`, bit);
    // Over the budget from here on.
    for (let i = 100; i < 250; i++) await put(`k${i}`, 0);
    await settled();
    expect(errors).toHaveLength(1);
    expect(store.stats().compaction).toMatchObject({ failures: 1 });
    expect(store.stats().compaction.failure).toMatch(/hot-00000000.log/);
    const { diskBytes } = store.stats().cold;
    for (let i = 0; i < 10; i++) await tick(EVERY_MS);
    expect(store.stats().cold.diskBytes).toBe(diskBytes);
    await expect(store.compact()).rejects.toThrow(KvCorruptionError);

    disk.flip(`${PATH}/hot-00000000.log`, bit);
    await store.compact();
    for (let i = 0; i < 500; i++) await put(`k${i}`, 1);
    await settled();
    expect(store.stats().hot.diskBytes).toBeLessThan(4 * MIB);
    expect(reports.at(-1)?.reason).toBe('budget');
    expect(await differences(store, expected)).toEqual([]);
  });
});

describe('writers', () => {
  /** Slices end after a group of records, so that compaction is as slow as it can be. */
  async function openSlow(options: KvStoreOptions = {}): Promise<void> {
    await open({ ...SCHEDULED, ...options });
    disk.clock.tickMs = 100;
  }

  it.each([1, 50])('that wait are no faster than compaction, %i at a time', async (inFlight) => {
    await openSlow();
    let most = 0;
    for (let i = 0; i < 1000; i += inFlight) {
      await Promise.all(Array.from({ length: inFlight }, (_, j) => put(`k${i + j}`, 0)));
      const { hot } = store.stats();
      most = Math.max(most, hot.diskBytes + hot.residentBytes);
    }
    expect(most).toBeLessThan(4 * MIB);
    await settled();
    expect(await differences(store, expected)).toEqual([]);
  });

  it('that do not wait are not refused, and get an answer each', async () => {
    await openSlow();
    const writes: Promise<unknown>[] = [];
    for (let i = 0; i < 600; i++) {
      writes.push(put(`k${i}`, 0));
      if (i % 50 === 0) await turns(1);
    }
    await Promise.all(writes);
    await settled();
    expect(await differences(store, expected)).toEqual([]);
  });

  it('are let go when compaction fails', async () => {
    await openSlow();
    for (let i = 0; i < 60; i++) await put(`k${i}`, 0);
    await store.flush();
    disk.flip(`${PATH}/hot-00000000.log`, 8 * 200_000);
    for (let i = 100; i < 700; i++) await put(`k${i}`, 0);
    await settled();
    expect(store.stats().compaction.failures).toBeGreaterThan(0);
    expect(store.stats().failure).toBeUndefined();
    for (let i = 100; i < 700; i++) expect(await store.get(`k${i}`)).toBe(expected.get(`k${i}`));
  });

  it('are let go when the schedule is stopped, and when the store is closed', async () => {
    for (const end of ['stopCompaction', 'close'] as const) {
      await openSlow();
      const writes: Promise<unknown>[] = [];
      for (let i = 0; i < 400; i++) writes.push(put(`k${i}`, 1));
      expect(store.stats().compaction.running).toBe(true);
      await turns(2);
      await store[end]();
      await Promise.all(writes);
      if (store.isOpen) await store.close();
    }
    await open();
    expect(await differences(store, expected)).toEqual([]);
  });

  it('are told of a failed commit while they wait for compaction', async () => {
    await openSlow({ durability: { level: 'always' } });
    for (let i = 0; !store.stats().compaction.running; i++) await put(`k${i}`, 0);
    // Compaction is on its way through the log, and needs no sync for a while.
    while (store.stats().cold.diskBytes === 0) await turns(1);
    disk.failAt({ operation: 'sync', path: '.log', nth: 1, code: 'EIO', sticky: true });
    const outcomes: Promise<unknown>[] = [];
    for (let i = 0; i < 50; i++) {
      outcomes.push(
        store.set(`k${i}`, valueOf(i, 1, 10_000)).then(
          () => 'done',
          (error: Error) => error,
        ),
      );
    }
    expect(store.stats().compaction.running).toBe(true);
    for (const outcome of await Promise.all(outcomes)) expect(outcome).toBeInstanceOf(Error);
    await settled();
  });

  it('are told of a failed commit at once, however long compaction takes', async () => {
    const reads = new HeldReads(disk);
    held = reads;
    await open({ ...SCHEDULED, durability: { level: 'always' }, env: reads.env });
    // The first read of the compaction does not come back.
    reads.hold('before');
    for (let i = 0; reads.held === 0; i++) await Promise.race([put(`k${i}`, 0), turns(20)]);
    const waiting = Array.from({ length: 30 }, (_, i) => put(`more ${i}`, 0).catch(() => undefined));
    await turns(20);
    disk.failAt({ operation: 'sync', path: '.log', nth: 1, code: 'EIO', sticky: true });
    const told = put('last', 0).catch((error: Error) => error);
    expect(await Promise.race([told, turns(100)])).toBeInstanceOf(KvReadOnlyError);
    expect(store.stats().compaction.running).toBe(true);
    reads.release();
    await Promise.all(waiting);
    await settled();
  });

  it('that do not wait do not pile up, however long compaction takes', async () => {
    held = new HeldReads(disk);
    await open({ ...SCHEDULED, env: held.env });
    held.hold('before');
    for (let i = 0; held.held === 0; i++) await Promise.race([put(`k${i}`, 0), turns(20)]);
    let waiting = 0;
    for (let i = 0; i < 20_000; i++) {
      waiting++;
      void store.set(i, i).then(() => waiting--);
      if (i % 1000 === 0) await turns(1);
    }
    await turns(20);
    expect(waiting).toBeGreaterThan(1000);
    expect(waiting).toBeLessThan(5000);
    held.release();
    await settled();
    expect(waiting).toBe(0);
  });
});

describe('the event loop of others', () => {
  const TURN_MS = 1;

  /** Share of the time that a run takes, where others have something to do in each turn. */
  async function shareOf(other: () => void, begin: () => void): Promise<number> {
    await open();
    await store.stopCompaction();
    for (let i = 0; i < 20_000; i++) void store.set(i, valueOf(i, 0, 100));
    await store.flush();
    const { clock } = disk;
    clock.tickMs = 0.01;
    const turn = clock.turn.bind(clock);
    clock.turn = () => {
      clock.advance(TURN_MS);
      other();
      return turn();
    };
    store.startCompaction();
    begin();
    await turns(1);
    expect(store.stats().compaction.running).toBe(true);
    const from = { atMs: clock.tick(), workedMs: store.stats().eventLoop.backgroundMs };
    await turns(100);
    expect(store.stats().compaction.running).toBe(true);
    const tookMs = clock.tick() - from.atMs;
    clock.turn = turn;
    return (store.stats().eventLoop.backgroundMs - from.workedMs) / tookMs;
  }
  const interval = () => disk.clock.advance(EVERY_MS);
  let n = 0;

  it('is theirs for four fifths where nobody waits for the run', async () => {
    const share = await shareOf(() => undefined, interval);
    expect(share).toBeGreaterThan(0.1);
    expect(share).toBeLessThan(0.25);
  });

  it.each<[string, () => void, () => void]>([
    ['one of them writes', () => void store.set(`new ${n++}`, n), interval],
    [
      'compact({ full: true }) waits for it',
      () => undefined,
      () => {
        interval();
        void store.compact({ full: true }).catch(() => undefined);
      },
    ],
    ['compact() is waited for', () => undefined, () => void store.compact().catch(() => undefined)],
    [
      'a checkpoint waits for it',
      () => undefined,
      () => {
        interval();
        void store.checkpoint().catch(() => undefined);
      },
    ],
  ])('is theirs for half of it where %s', async (_, other, begin) => {
    const share = await shareOf(other, begin);
    expect(share).toBeGreaterThan(0.35);
    expect(share).toBeLessThan(0.6);
  });
});
