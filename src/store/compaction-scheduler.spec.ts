/** What writers may have beyond the budget; what the schedule does with real compaction is in `test/compaction-schedule.spec.ts`. */
import { nodeEnv } from '../device/node-env.js';
import { CompactionScheduler } from './compaction-scheduler.js';
import { resolveOptions } from './options.js';

/** A scheduler over a log and an index as they are said to be, at the beginning of a run. */
function creditAt({ hotShare, logBytes }: { hotShare: number; logBytes: number }): number {
  const options = resolveOptions({ path: './data', hot: { memory: '8mb', diskBudget: '64mb' } });
  const log = { begin: 4096, tail: 4096 + logBytes, bytes: logBytes };
  const compactor = { hotShare, damage: { hot: undefined }, onBegin: () => undefined };
  const parts = {
    options,
    clock: nodeEnv.clock,
    log,
    index: { entries: 0 },
    health: {},
    onFailure: () => undefined,
  };
  const scheduler = new CompactionScheduler(compactor as never, parts as never);
  scheduler.start();
  compactor.onBegin();
  return scheduler.limit - log.tail;
}

const MIB = 2 ** 20;

describe('Slices of compaction', () => {
  it('are long as long as writers who do not wait are far ahead, and no longer', async () => {
    const options = resolveOptions({ path: './data', hot: { memory: '8mb', diskBudget: '64mb' } });
    const log = { begin: 4096, tail: 4096 + 80 * MIB, bytes: 80 * MIB };
    const compactor = {
      hotShare: 1.25,
      running: true,
      damage: {},
      leastMs: 0,
      holdsWriters: false,
      onBegin: () => undefined,
      onProgress: (_log: 'hot' | 'cold', _bytes: number) => undefined,
    };
    const index = { entries: 0, expectedEntries: 0 };
    const parts = { options, clock: nodeEnv.clock, log, index, health: {}, onFailure: () => undefined };
    const scheduler = new CompactionScheduler(compactor as never, parts as never);
    scheduler.start();
    compactor.onBegin();
    log.tail += 60 * MIB;
    const waiting = scheduler.pressed();
    expect(compactor).toMatchObject({ leastMs: options.compaction.sliceMs * 4, holdsWriters: true });
    // Progress by which they have not caught up.
    compactor.onProgress('hot', 4 * MIB);
    expect(compactor.leastMs).toBe(options.compaction.sliceMs * 4);
    compactor.onProgress('hot', 100 * MIB);
    await waiting;
    expect(compactor).toMatchObject({ leastMs: 0, holdsWriters: false });
  });
});

describe('The credit of writers at the beginning of a run', () => {
  it('is a quarter of the budget, where the log is what is full', () => {
    expect(creditAt({ hotShare: 1, logBytes: 64 * MIB })).toBe(16 * MIB);
    expect(creditAt({ hotShare: 2, logBytes: 128 * MIB })).toBe(16 * MIB);
  });

  it('is a quarter of what filled the index, where that is full', () => {
    expect(creditAt({ hotShare: 1, logBytes: 20 * MIB })).toBe(5 * MIB);
  });

  it('is not less than the shortest records need to fill the index, whatever a truncation has left in it', () => {
    const entries = (8 * MIB * 0.4) / 16;
    expect(creditAt({ hotShare: 1.5, logBytes: 1024 })).toBeCloseTo((entries * 32) / 4, -2);
    expect(creditAt({ hotShare: 0, logBytes: 0 })).toBe(16 * MIB);
  });
});
