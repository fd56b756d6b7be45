import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import { FileDevice } from '../device/index.js';
import { KvDiskError, KvOverloadedError, KvReadOnlyError } from '../errors.js';
import { HybridLog } from '../log/hybrid-log.js';
import { SEQUENCE_RESERVE } from '../limits.js';
import { FIRST_ADDRESS, type LogAddress } from '../log/address.js';
import { KIND_VALUE, recordBytes, writeHeader } from '../log/record.js';
import { SegmentFiles } from '../log/segment-files.js';
import { Dictionary } from './dictionary.js';
import { GroupCommit } from './group-commit.js';
import { Health } from './health.js';
import { newManifest } from './manifest.js';
import type { ResolvedOptions } from './options.js';
import { Recovery, type Recovered } from './recovery.js';
import { Versions } from './versions.js';

const PAGE = 64 * 1024;
const SEGMENT = 1024 * 1024;

const ALWAYS = { level: 'always', everyMs: 100 } as const;
const INTERVAL = { level: 'interval', everyMs: 100 } as const;
const CHECKPOINT = { level: 'checkpoint', everyMs: 100 } as const;

class Bench {
  readonly log: HybridLog;
  readonly health: Health;
  readonly versions: Versions;
  readonly commits: GroupCommit;
  readonly failures: Error[] = [];
  private readonly dictionary: Dictionary;

  constructor(
    durability: ResolvedOptions['durability'] = ALWAYS,
    readonly disk = new SimulatedDisk(),
    maxBacklog = 1000,
  ) {
    disk.mkdir('/data');
    disk.syncDirectorySync('/');
    const device = new FileDevice(disk.env(), '/data');
    const segments = new SegmentFiles(device, 'hot', SEGMENT);
    this.dictionary = new Dictionary(device, true);
    this.health = new Health((error) => this.failures.push(error));
    this.versions = new Versions(disk.clock, 1, 0);
    this.log = new HybridLog(segments, {
      pageSize: PAGE,
      memoryBudget: () => 16 * PAGE,
      maxMemory: 16 * PAGE,
      mutableFraction: 0.5,
      retains: true,
      giveAway: () => undefined,
      onWriteError: (error) => this.health.writeFailed(error),
      begin: FIRST_ADDRESS,
      tail: FIRST_ADDRESS,
    });
    const { dictionary, health, log, versions } = this;
    const coldBegin = () => FIRST_ADDRESS;
    const parts = {
      log,
      segments,
      dictionary,
      versions,
      health,
      hints: undefined,
      clock: disk.clock,
      coldBegin,
      maxUncommitted: 2 ** 30,
    };
    this.commits = new GroupCommit(parts, durability, maxBacklog, 0, FIRST_ADDRESS);
  }

  write(bytes = 104): void {
    const address = this.log.reserve(bytes);
    const { ring } = this.log;
    const length = bytes - recordBytes(KIND_VALUE, 0, 0);
    const version = this.versions.next();
    writeHeader(
      ring.wordsAt(address),
      ring.wordOffset(address),
      KIND_VALUE,
      0,
      0,
      length,
      version,
      0 as LogAddress,
    );
    this.log.appended();
  }

  set(): Promise<void> {
    this.write();
    return this.commits.durable();
  }

  /** Syncs of the log since the start. */
  get syncs(): number {
    return this.disk.trace.filter(({ operation, path }) => operation === 'sync' && path.includes('hot-'))
      .length;
  }

  /** What would be found on disk if the power went out now, and took all it can. */
  async survivors(): Promise<Recovered> {
    const copy = this.disk.fork();
    copy.crash('none');
    const segments = new SegmentFiles(new FileDevice(copy.env(), '/data'), 'hot', SEGMENT);
    const manifest = newManifest((length) => new Uint8Array(length), SEGMENT, SEGMENT).hot;
    return new Recovery(segments, manifest, { stage: () => {}, apply: async () => {} }).run();
  }
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
}

describe('waiting for stable storage', () => {
  it('takes one write and one sync for everybody who waits', async () => {
    const bench = new Bench();
    const waiting = Array.from({ length: 50 }, () => bench.set());
    expect(bench.commits.backlog).toBe(50);
    await Promise.all(waiting);
    expect(bench.syncs).toBe(1);
    expect(
      bench.disk.trace.filter(({ operation, path }) => operation === 'write' && path.includes('hot-')),
    ).toHaveLength(1);
    expect(bench.commits).toMatchObject({ synced: 1, backlog: 0 });
  });

  it('shares the next commit among all who come while one runs', async () => {
    const bench = new Bench();
    const first = bench.set();
    await turns(1);
    const others: Promise<void>[] = [];
    for (let i = 0; i < 10; i++) others.push(bench.set());
    await first;
    expect(bench.commits.synced).toBe(1);
    await Promise.all(others);
    expect([bench.commits.synced, bench.syncs]).toEqual([2, 2]);
  });

  it('takes whoever writes again at once into the next commit, with those who came meanwhile', async () => {
    const bench = new Bench();
    const rounds = 20;
    const write = async () => {
      for (let round = 0; round < rounds; round++) {
        await bench.set();
        // Callers between the store and whoever writes.
        for (let caller = 0; caller < 5; caller++) await Promise.resolve();
      }
    };
    const before = bench.syncs;
    const first = write();
    await turns(1);
    // The first commit is under way: these have to wait for the second, and should not stay apart for ever.
    await Promise.all([first, write(), write()]);
    expect(bench.syncs - before).toBeLessThanOrEqual(rounds + 2);
  });

  it('is over only when a crash would keep what was written', async () => {
    for (const completion of ['in order', 'random'] as const) {
      const bench = new Bench(ALWAYS, new SimulatedDisk({ completion }));
      let acknowledged = 0;
      const writers = Array.from({ length: 20 }, async (_, writer) => {
        await turns(writer % 7);
        for (let i = 0; i < 5; i++) {
          await bench.set();
          acknowledged++;
        }
      });
      let left = true;
      const all = Promise.all(writers).then(() => (left = false));
      while (left) {
        const before = acknowledged;
        const { report, last } = await bench.survivors();
        expect(report.records).toBeGreaterThanOrEqual(before);
        expect(last?.number ?? 0).toBeLessThanOrEqual(bench.commits.synced + 1);
        await turns(1);
      }
      await all;
      expect((await bench.survivors()).report.records).toBe(100);
    }
  });

  it('does nothing when nothing was written since', async () => {
    const bench = new Bench();
    await bench.set();
    const calls = bench.disk.trace.length;
    await bench.commits.durable();
    expect(await bench.commits.flush()).toEqual({ commit: 1, durableBytes: bench.log.tail });
    expect(bench.disk.trace).toHaveLength(calls);
  });

  it('is refused to more than maxBacklog, until some are done', async () => {
    const bench = new Bench(ALWAYS, new SimulatedDisk(), 3);
    const waiting: Promise<void>[] = [];
    for (let i = 0; i < 3; i++) {
      bench.commits.assertRoom();
      waiting.push(bench.set());
    }
    expect(() => bench.commits.assertRoom()).toThrow(KvOverloadedError);
    await Promise.all(waiting);
    expect(() => bench.commits.assertRoom()).not.toThrow();
  });

  it('reports as durable what is, not what a later commit has begun to write', async () => {
    const bench = new Bench();
    bench.write();
    const flushing = bench.commits.flush();
    await turns(1);
    const end = bench.log.tail;
    void bench.set();
    void bench.set();
    const reports = [flushing, bench.commits.flush()];
    expect(await reports[0]).toEqual({ commit: 1, durableBytes: end });
    expect(await reports[1]).toEqual({ commit: 2, durableBytes: bench.log.tail });
  });
});

describe('many writers', () => {
  /** Writers who write again and again, for so many turns; resolves to how many commits were under way at most, and commits. */
  async function write(count: number, opensDurable: boolean): Promise<{ most: number; each: number }> {
    const bench = new Bench(ALWAYS, new SimulatedDisk({ opensDurable }));
    let most = 0;
    let writes = 0;
    let goesOn = true;
    let underWay = 0;
    const { writeDurably } = SegmentFiles.prototype;
    const spy = jest.spyOn(SegmentFiles.prototype, 'writeDurably');
    spy.mockImplementation(function (this: SegmentFiles, ...call) {
      const write = writeDurably.apply(this, call);
      if (write) most = Math.max(most, ++underWay);
      return write?.finally(() => underWay--);
    });
    const writer = async () => {
      for (; goesOn; writes++) await bench.set();
    };
    const writers = Promise.all(Array.from({ length: count }, writer));
    await turns(200);
    goesOn = false;
    await writers;
    spy.mockRestore();
    // Beside what fills pages up.
    expect((await bench.survivors()).report.records).toBeGreaterThanOrEqual(writes);
    return { most, each: writes / bench.commits.synced };
  }

  it('have two commits under way, each with half of them', async () => {
    const { most, each } = await write(64, true);
    expect(most).toBe(2);
    expect(each).toBeGreaterThan(28);
    expect(each).toBeLessThan(40);
  });

  it('share each commit where two cannot be under way, or they are few', async () => {
    const all = await write(64, false);
    expect(all.most).toBe(0);
    expect(all.each).toBeGreaterThan(55);
    const few = await write(50, true);
    expect(few.most).toBe(1);
    expect(few.each).toBeGreaterThan(45);
  });
});

describe('levels', () => {
  it('interval commits once for all writes, every so often', async () => {
    const bench = new Bench(INTERVAL);
    await bench.commits.open();
    const { syncs } = bench;
    for (let i = 0; i < 10; i++) {
      bench.write();
      void bench.commits.written();
    }
    expect(bench.commits.waits).toBe(false);
    expect(bench.disk.clock.pending).toBe(1);
    bench.disk.clock.advance(99);
    await turns(5);
    expect(bench.commits.synced).toBe(1);
    bench.disk.clock.advance(1);
    await turns(5);
    expect([bench.commits.synced, bench.syncs]).toEqual([2, syncs + 1]);
    expect(bench.disk.clock.pending).toBe(0);
    bench.write();
    void bench.commits.written();
    bench.disk.clock.advance(100);
    await turns(5);
    expect((await bench.survivors()).report.records).toBe(11);
  });

  it.each([ALWAYS, CHECKPOINT])('$level sets no timer', async (durability) => {
    const bench = new Bench(durability);
    await bench.commits.open();
    bench.write();
    void bench.commits.written();
    expect(bench.commits.waits).toBe(durability.level === 'always');
    expect(bench.disk.clock.pending).toBe(0);
  });

  it('checkpoint commits when it is asked to', async () => {
    const bench = new Bench(CHECKPOINT);
    bench.write();
    expect(await bench.commits.flush()).toEqual({ commit: 1, durableBytes: bench.log.tail });
    expect((await bench.survivors()).report.records).toBe(1);
  });
});

describe('the first and the last commit', () => {
  it('are written also when there is nothing to say, and reserve and release versions', async () => {
    const bench = new Bench();
    await bench.commits.open();
    expect((await bench.survivors()).last).toMatchObject({ number: 1, nextSequence: 1 + SEQUENCE_RESERVE });
    bench.write();
    expect(await bench.commits.close()).toEqual({ commit: 2, tail: bench.log.tail });
    expect((await bench.survivors()).last).toMatchObject({ number: 2, nextSequence: 2, knownSynced: 1 });
  });

  it('behind a clean stop, the first write has it made, and waits for it', async () => {
    const bench = new Bench(INTERVAL);
    bench.write();
    await bench.commits.written();
    expect((await bench.survivors()).last).toMatchObject({ number: 1, nextSequence: 2 + SEQUENCE_RESERVE });
    bench.write();
    expect(bench.commits.written()).toBeUndefined();
  });

  it('behind a clean stop, a write that does not get it is told so, and no more writes wait for it than may', async () => {
    const bench = new Bench(INTERVAL, new SimulatedDisk(), 3);
    bench.disk.capacityBytes = 0;
    bench.write();
    await expect(bench.commits.written()).rejects.toThrow(KvDiskError);
    bench.disk.capacityBytes = Infinity;
    for (const waits of [true, true, false]) {
      bench.write();
      expect(bench.commits.written() !== undefined).toBe(waits);
    }
    await turns(5);
    expect(bench.commits.synced).toBeGreaterThan(0);
  });

  it('behind a clean stop, it is made once', async () => {
    const bench = new Bench();
    await Promise.all([bench.commits.begin(), bench.commits.begin()]);
    await bench.commits.begin();
    expect((await bench.survivors()).last).toMatchObject({ number: 1, nextSequence: 1 + SEQUENCE_RESERVE });

    const failing = new Bench();
    failing.disk.failAt({ operation: 'sync', path: 'hot-00000000.log', nth: 1, code: 'EIO' });
    await expect(failing.commits.begin()).rejects.toThrow(KvReadOnlyError);
    expect(failing.health.failure).toBeInstanceOf(KvReadOnlyError);
    await expect(failing.commits.begin()).rejects.toThrow(KvReadOnlyError);
  });

  it('close waits for the commits that run, and cancels the timer', async () => {
    const bench = new Bench(INTERVAL);
    bench.write();
    void bench.commits.written();
    const running = bench.commits.flush();
    await turns(1);
    bench.write();
    const next = bench.commits.flush();
    const closed = await bench.commits.close();
    expect(closed).toEqual({ commit: 3, tail: bench.log.tail });
    expect((await Promise.all([running, next])).map(({ commit }) => commit)).toEqual([1, 2]);
    expect(bench.disk.clock.pending).toBe(0);
    expect((await bench.survivors()).report).toMatchObject({ records: 2, commit: 3, droppedBytes: 0 });
  });

  it('close says so when it cannot write, and sets no timer', async () => {
    const bench = new Bench();
    bench.write();
    bench.disk.capacityBytes = 0;
    await expect(bench.commits.close()).rejects.toBeInstanceOf(KvDiskError);
    expect(bench.disk.clock.pending).toBe(0);
  });
});

describe.each([
  ['sync', 'sync', false, 'sync'],
  ['write', 'write', false, 'write'],
  ['sync of a durable write', 'sync', true, 'write'],
  ['durable write', 'write', true, 'write'],
] as const)('a failing %s', (_name, operation, opensDurable, told) => {
  it('makes the store read-only: nobody is acknowledged, and it is not tried again', async () => {
    const bench = new Bench(ALWAYS, new SimulatedDisk({ opensDurable }));
    await bench.set();
    bench.disk.failAt({ operation, path: 'hot-00000000.log', nth: 1, code: 'EIO' });
    const first = Array.from({ length: 3 }, () => bench.set());
    await turns(1);
    const second = Array.from({ length: 3 }, () => bench.set());
    const results = await Promise.allSettled([...first, ...second]);
    expect(results.map(({ status }) => status)).toEqual(Array(6).fill('rejected'));
    expect(bench.failures).toHaveLength(1);
    expect(bench.failures[0]).toBeInstanceOf(KvReadOnlyError);
    expect(bench.failures[0]?.cause).toMatchObject({ operation: told, errno: 'EIO' });
    expect(() => bench.health.assertWritable()).toThrow(KvReadOnlyError);

    // The disk is well again; nobody may believe it.
    const syncs = bench.syncs;
    await expect(bench.set()).rejects.toBeInstanceOf(KvReadOnlyError);
    await expect(bench.commits.flush()).rejects.toBeInstanceOf(KvReadOnlyError);
    bench.disk.clock.advance(10_000);
    await turns(5);
    await expect(bench.commits.close()).rejects.toBeInstanceOf(KvReadOnlyError);
    expect(bench.syncs).toBe(syncs);
    expect(bench.commits).toMatchObject({ synced: 1, backlog: 0 });
    expect((await bench.survivors()).report.records).toBe(1);
  });
});

describe('a new file whose name cannot be made durable', () => {
  it('makes the store read-only', async () => {
    const bench = new Bench();
    bench.disk.failAt({ operation: 'syncDirectory', nth: 1, code: 'EIO' });
    await expect(bench.set()).rejects.toBeInstanceOf(KvReadOnlyError);
    expect(bench.commits.synced).toBe(0);
  });
});

describe('a full disk', () => {
  it.each([ALWAYS, INTERVAL, CHECKPOINT])(
    'at $level: writes are refused, the same bytes are tried again, and it goes on',
    async (durability) => {
      const bench = new Bench(durability);
      await bench.set();
      bench.disk.capacityBytes = 50;
      const results = await Promise.allSettled([bench.set(), bench.set()]);
      for (const result of results) {
        expect(result).toMatchObject({ status: 'rejected', reason: expect.any(KvDiskError) as KvDiskError });
      }
      expect(() => bench.health.assertWritable()).toThrow(KvDiskError);
      expect(bench.failures).toHaveLength(1);
      // As long as it is full, again and again, and told once.
      for (let i = 0; i < 3; i++) {
        bench.disk.clock.advance(250);
        await turns(5);
      }
      expect(bench.failures).toHaveLength(1);
      expect(bench.commits).toMatchObject({ synced: 1, backlog: 0 });

      bench.disk.capacityBytes = Infinity;
      bench.disk.clock.advance(250);
      await turns(5);
      expect(() => bench.health.assertWritable()).not.toThrow();
      expect(bench.commits.synced).toBe(2);
      expect((await bench.survivors()).report.records).toBe(3);
      await bench.set();
      expect((await bench.survivors()).report.records).toBe(4);
      expect(bench.disk.clock.pending).toBe(0);
    },
  );

  it.each([ALWAYS, INTERVAL, CHECKPOINT])(
    'at $level: met by others than a commit, it is left as soon as there is room',
    async (durability) => {
      const bench = new Bench(durability);
      await bench.set();
      const full = new KvDiskError(
        'write',
        'DICTIONARY',
        Object.assign(new Error('full'), { code: 'ENOSPC' }),
      );
      bench.health.writeFailed(full);
      expect(() => bench.health.assertWritable()).toThrow(KvDiskError);
      bench.disk.clock.advance(250);
      await turns(5);
      expect(() => bench.health.assertWritable()).not.toThrow();
      bench.health.writeFailed(full);
      await bench.commits.flush();
      expect(() => bench.health.assertWritable()).not.toThrow();
    },
  );

  it('is looked at again soon, also when commits are an hour apart', async () => {
    const bench = new Bench({ level: 'interval', everyMs: 3_600_000 });
    bench.write();
    void bench.commits.written();
    bench.disk.capacityBytes = 50;
    await expect(bench.commits.flush()).rejects.toBeInstanceOf(KvDiskError);
    bench.disk.capacityBytes = Infinity;
    bench.disk.clock.advance(1000);
    await turns(5);
    expect(bench.commits.synced).toBe(1);
  });

  it('is not filled further by trying: one commit record waits, not one a try', async () => {
    const bench = new Bench();
    await bench.set();
    bench.disk.capacityBytes = 50;
    await expect(bench.set()).rejects.toBeInstanceOf(KvDiskError);
    const { tail } = bench.log;
    for (let i = 0; i < 20; i++) {
      bench.disk.clock.advance(250);
      await turns(3);
    }
    expect(bench.log.tail).toBe(tail);
  });
});
