/**
 * Sequences of operations against a `Map` with expiry: the same answers in every configuration. A failure prints its
 * seed and the shortest sequence; `SEED=…` in the environment runs it again.
 */
import fc from 'fast-check';
import { KvStore, type KvDurabilityLevel, type KvStoreOptions } from 'nestjs-hotcold/store';
import { MemoryDevice } from '../src/device/memory-device.js';
import { Model, operations, perform, stateOf, type Operation } from './support/model.js';
import { envWith } from './support/places.js';
import { SimulatedClock, SimulatedDisk } from './support/simulated-disk.js';
import { missingPath } from './support/temp-directory.js';

const seed = process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) };
/** Shrinking ends here, so that a failure tells its seed before the test runs out of time. */
const LIMIT_MS = 45_000;

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
      options: { path: '/s', env: disk.env(), hot, durability: { level } } as KvStoreOptions,
      clock: disk.clock,
    };
  };

const onMemory =
  (level: KvDurabilityLevel): World =>
  () => {
    const clock = new SimulatedClock();
    const device = new MemoryDevice(2 ** 30);
    return { options: { device, env: envWith(clock), hot: SMALL, durability: { level } }, clock };
  };

const onFiles: World = () => {
  const clock = new SimulatedClock();
  return { options: { path: missingPath(), env: envWith(clock), hot: { memory: '16mb' } }, clock };
};

/** Runs a sequence on a new store and compares every answer, and the whole state at each reopening and at the end. */
async function runOn(world: World, sequence: Operation[]): Promise<number> {
  const { options, clock } = world();
  const model = Model.empty();
  let diskReads = 0;
  let store = await KvStore.open(options);
  for (const [i, operation] of [...sequence, { do: 'reopen', at: 0, space: 0 } as const].entries()) {
    if (operation.do === 'advance') clock.advance(operation.ms);
    else if (operation.do === 'flush') await store.flush();
    else if (operation.do === 'reopen') {
      expect(await stateOf(store)).toBe(model.state(clock.now()));
      diskReads += store.stats().reads.diskReads;
      await store.close();
      store = await KvStore.open(options);
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
  }
  await store.close();
  return diskReads;
}

const show = (value: unknown) => (JSON.stringify(value) ?? 'undefined').slice(0, 100);

const check = (world: World, numRuns: number, maxValueBytes: number, count: number) =>
  fc.assert(
    fc.asyncProperty(operations(maxValueBytes, count), async (sequence) => {
      await runOn(world, sequence);
    }),
    // A call that never ends is a failure that names its sequence.
    { numRuns, timeout: 10_000, interruptAfterTimeLimit: LIMIT_MS, ...seed },
  );

describe('a store answers as a Map with expiry', () => {
  jest.setTimeout(60_000);

  it.each<[string, World]>([
    ['at always', onDisk('always', SMALL)],
    ['at interval', onDisk('interval', SMALL)],
    ['at checkpoint', onDisk('checkpoint', SMALL)],
    ['at interval with the least memory', onDisk('interval', TINY)],
    ['at checkpoint, nothing mutable', onDisk('checkpoint', { ...SMALL, mutableFraction: 0 })],
    ['on a memory device at always', onMemory('always')],
    ['on a memory device at interval', onMemory('interval')],
  ])('%s', async (_, world) => {
    await check(world, 40, 600, 80);
  });

  it('on real files', async () => {
    await check(onFiles, 8, 600, 60);
  });

  it.each<[string, World]>([
    ['at always', onDisk('always', TINY)],
    ['at interval', onDisk('interval', TINY)],
    ['at checkpoint', onDisk('checkpoint', TINY)],
  ])('with values so large that most of them spill, %s', async (_, world) => {
    await check(world, 25, 50_000, 80);
  });

  it('and really reads from disk where values are large', async () => {
    let diskReads = 0;
    for (const sequence of fc.sample(operations(50_000, 80), { numRuns: 10, seed: 1 })) {
      diskReads += await runOn(onDisk('interval', TINY), sequence);
    }
    expect(diskReads).toBeGreaterThan(100);
  });
});
