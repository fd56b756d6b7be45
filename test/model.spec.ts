/**
 * Sequences of operations against a `Map` with expiry: the same answers in every configuration. A failure prints its
 * seed and the shortest sequence; `SEED=…` in the environment runs it again, `RUNS=…` runs many.
 */
import fc from 'fast-check';
import { KvStore, type KvDurabilityLevel, type KvStoreOptions } from 'nestjs-hotcold/store';
import { MemoryDevice } from '../src/device/memory-device.js';
import { withZeroHashKey } from './support/colliding-keys.js';
import { Model, operations, perform, stateOf, type Operation } from './support/model.js';
import { envWith } from './support/places.js';
import { SimulatedClock, SimulatedDisk } from './support/simulated-disk.js';
import { tally } from './support/tally.js';
import { missingPath } from './support/temp-directory.js';

const seed = process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) };
/** Many times as many runs with compactions, for a night. */
const RUNS = Number(process.env.RUNS ?? 1);
/** Shrinking ends here, so that a failure tells its seed before the test runs out of time. */
const LIMIT_MS = 45_000 * RUNS;

/** Options and the clock of a new world. */
type World = () => { options: KvStoreOptions; clock: SimulatedClock };

/** An index as large as the memory, which leaves the log its least: four pages. */
const TINY = { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', expectedKeys: 500_000 } as const;
const SMALL = { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' } as const;

const onDisk =
  (level: KvDurabilityLevel, hot: KvStoreOptions['hot']): World =>
  () => {
    const disk = new SimulatedDisk({ completion: 'random' });
    return {
      options: { path: '/s', env: withZeroHashKey(disk.env()), hot, durability: { level } } as KvStoreOptions,
      clock: disk.clock,
    };
  };

const onMemory =
  (level: KvDurabilityLevel): World =>
  () => {
    const clock = new SimulatedClock();
    const device = new MemoryDevice(2 ** 30);
    return {
      options: { device, env: withZeroHashKey(envWith(clock)), hot: SMALL, durability: { level } },
      clock,
    };
  };

const onFiles: World = () => {
  const clock = new SimulatedClock();
  return {
    options: { path: missingPath(), env: withZeroHashKey(envWith(clock)), hot: { memory: '16mb' } },
    clock,
  };
};

/** Options in which compaction has something to do, often, and in small pieces. */
const compactingOptions = fc.record({
  hot: fc.record({
    memory: fc.constant('8mb'),
    pageSize: fc.constant('64kb'),
    segmentSize: fc.constant('1mb'),
    expectedKeys: fc.constantFrom(0, 500_000),
    diskBudget: fc.constantFrom('1mb', '4mb'),
    mutableFraction: fc.constantFrom(0.9, 0),
  }),
  cold: fc.record({
    segmentSize: fc.constant('1mb'),
    indexCache: fc.constantFrom(0, '64kb'),
    garbageShare: fc.constantFrom(0.05, 0.25, 0.9),
  }),
  readCache: fc.record({ memory: fc.constantFrom(0, '64kb', '16mb') }),
  compaction: fc.oneof(
    fc.constant(false as const),
    fc.record({ sliceMs: fc.constantFrom(0.1, 2), every: fc.constantFrom(100, 60_000) }),
  ),
  durability: fc.record({ level: fc.constantFrom<KvDurabilityLevel>('always', 'interval', 'checkpoint') }),
});

interface CompactingWorld {
  options: KvStoreOptions;
  on: 'a disk' | 'a memory device';
  /** What the work between two looks at the clock seems to take: a slice is over at once, and no read is synchronous. */
  tickMs: number;
  seed: number;
}

const compactingWorlds: fc.Arbitrary<CompactingWorld> = fc.record({
  options: compactingOptions,
  on: fc.constantFrom('a disk' as const, 'a disk' as const, 'a memory device' as const),
  tickMs: fc.constantFrom(0.001, 0.05, 100),
  seed: fc.nat(),
});

const worldOf =
  ({ options, on, tickMs, seed: diskSeed }: CompactingWorld): World =>
  () => {
    const disk = new SimulatedDisk({ completion: 'random', seed: diskSeed });
    disk.clock.tickMs = tickMs;
    return {
      clock: disk.clock,
      options:
        on === 'a disk'
          ? { ...options, path: '/s', env: withZeroHashKey(disk.env()) }
          : { ...options, device: new MemoryDevice(2 ** 30), env: withZeroHashKey(envWith(disk.clock)) },
    };
  };

/** What a run went through, so that a test can tell whether it tried what it is there for. */
interface Seen {
  diskReads: number;
  compactions: number;
  movedBytes: number;
  rewrittenBytes: number;
}

/**
 * Runs a sequence on a new store and compares every answer, and the whole state behind each compaction, at each
 * reopening and at the end.
 */
async function runOn(world: World, sequence: Operation[]): Promise<Seen> {
  const { options, clock } = world();
  const model = Model.empty();
  const seen: Seen = { diskReads: 0, compactions: 0, movedBytes: 0, rewrittenBytes: 0 };
  const open = async () => {
    const opened = await KvStore.open(options);
    opened.on('compaction', ({ hot, cold }) => {
      seen.compactions++;
      seen.movedBytes += hot.truncatedBytes;
      seen.rewrittenBytes += cold.truncatedBytes;
    });
    opened.on('error', (error) => failures.push(error));
    return opened;
  };
  const failures: unknown[] = [];
  let store = await open();
  let beside: Promise<unknown>[] = [];
  for (const [i, operation] of [...sequence, { do: 'reopen', at: 0, space: 0 } as const].entries()) {
    if (operation.do === 'advance') clock.advance(operation.ms);
    else if (operation.do === 'flush') await store.flush();
    else if (operation.do === 'compact' && operation.beside) {
      beside.push(store.compact({ full: operation.full }).catch((error: unknown) => failures.push(error)));
    } else if (operation.do === 'reopen') {
      expect(await stateOf(store)).toBe(model.state(clock.now()));
      seen.diskReads += store.stats().reads.diskReads;
      await store.close();
      await Promise.all(beside);
      beside = [];
      expect(failures).toEqual([]);
      store = await open();
      expect(store.opened).toMatchObject({ clean: true, droppedBytes: 0 });
      expect(await stateOf(store)).toBe(model.state(clock.now()));
    }
    const expected = model.apply(operation, clock.now());
    const answer = await perform(store, operation);
    if (JSON.stringify(answer) !== JSON.stringify(expected)) {
      throw new Error(
        `operation ${i}, ${JSON.stringify(operation)}: ${show(answer)} instead of ${show(expected)}`,
      );
    }
    if (operation.do !== 'compact') continue;
    const state = await stateOf(store);
    if (state !== model.state(clock.now()))
      throw new Error(`behind operation ${i}: ${state} instead of ${model.state(clock.now())}`);
  }
  await store.close();
  return seen;
}

const show = (value: unknown) => (JSON.stringify(value) ?? 'undefined').slice(0, 100);

const check = (world: World, numRuns: number, maxValueBytes: number, count: number) =>
  fc.assert(
    fc.asyncProperty(operations(maxValueBytes, count), async (sequence) => {
      await runOn(world, sequence);
    }),
    // A call that never ends is a failure that names its sequence.
    { numRuns, timeout: 100_000, interruptAfterTimeLimit: LIMIT_MS, ...seed },
  );

describe('a store answers as a Map with expiry', () => {
  it.each<[string, World]>([
    ['at always', onDisk('always', SMALL)],
    ['at interval', onDisk('interval', SMALL)],
    ['at checkpoint', onDisk('checkpoint', SMALL)],
    ['at interval with the least memory', onDisk('interval', TINY)],
    ['at checkpoint, nothing mutable', onDisk('checkpoint', { ...SMALL, mutableFraction: 0 })],
    ['on a memory device at always', onMemory('always')],
    ['on a memory device at interval', onMemory('interval')],
  ])('%s', async (_, world) => {
    await check(world, 28, 600, 80);
  });

  it('on real files', async () => {
    await check(onFiles, 8, 600, 60);
  });

  it.each<[string, World]>([
    ['at always', onDisk('always', TINY)],
    ['at interval', onDisk('interval', TINY)],
    ['at checkpoint', onDisk('checkpoint', TINY)],
  ])('with values so large that most of them spill, %s', async (_, world) => {
    await check(world, 18, 50_000, 80);
  });

  it('and really reads from disk where values are large', async () => {
    let diskReads = 0;
    for (const sequence of fc.sample(operations(50_000, 80), { numRuns: 20, seed: 1 })) {
      diskReads += (await runOn(onDisk('interval', TINY), sequence)).diskReads;
    }
    expect(diskReads).toBeGreaterThan(100);
  });
});

describe('a store that is compacted answers as a Map with expiry', () => {
  jest.setTimeout(60_000 * RUNS);

  it.each([
    ['small values', 600, 100, 80],
    ['values that spill', 50_000, 60, 60],
    ['values in extents', 200_000, 40, 40],
  ])('%s', async (_, maxValueBytes, numRuns, count) => {
    await fc.assert(
      fc.asyncProperty(compactingWorlds, operations(maxValueBytes, count, true), async (world, sequence) => {
        await runOn(worldOf(world), sequence);
      }),
      { numRuns: numRuns * RUNS, timeout: 100_000, interruptAfterTimeLimit: LIMIT_MS, ...seed },
    );
    tally({ sequences: numRuns * RUNS });
  });

  it('and really moves, rewrites and reads cold records', async () => {
    const total: Seen = { diskReads: 0, compactions: 0, movedBytes: 0, rewrittenBytes: 0 };
    const runs = fc.sample(fc.tuple(compactingWorlds, operations(50_000, 60, true)), {
      numRuns: 40,
      seed: 1,
    });
    for (const [world, sequence] of runs) {
      const seen = await runOn(worldOf(world), sequence);
      for (const name of Object.keys(total) as (keyof Seen)[]) total[name] += seen[name];
    }
    expect(total.compactions).toBeGreaterThan(20);
    expect(total.diskReads).toBeGreaterThan(100);
    expect(total.movedBytes).toBeGreaterThan(1_000_000);
    expect(total.rewrittenBytes).toBeGreaterThan(1_000_000);
  });
});
