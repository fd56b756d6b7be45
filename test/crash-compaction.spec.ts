/**
 * Lives as in `crash.spec.ts`, with compactions in them: awaited, beside writes, by the schedule, and cut off in the
 * middle by a power cut or a kill. After each cut the state is a prefix, at or behind what was acknowledged as durable;
 * it stays the same when everything is compacted, and when the store is opened again. `SEED=…` and `RUNS=…` in the
 * environment run one again, or many.
 */
import fc from 'fast-check';
import { KvStore, type KvDurabilityLevel, type KvStoreOptions } from 'nestjs-hotcold/store';
import { Model, operations, perform, stateOf, type Operation } from './support/model.js';
import { SimulatedDisk } from './support/simulated-disk.js';
import { tally as count } from './support/tally.js';

const seed = process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) };
/** Many times as many runs, for a night. */
const RUNS = Number(process.env.RUNS ?? 1);
/** Shrinking ends here, so that a failure tells its seed before the test runs out of time. */
const LIMIT_MS = 45_000 * RUNS;

type Step =
  | { operation: Operation }
  /** `beside`: whatever comes next does not wait for it. */
  | { compact: 'full' | 'what is on disk'; beside: boolean }
  /** Volume, so that logs get several segments: values in a space of their own. */
  | { fill: number };

interface Cut {
  how: 'power cut' | 'kill';
  /** Turns of the event loop that the last step gets before. */
  turns: number;
  /** What survives a power cut. */
  seed: number;
  /** Whether the store is closed after it was looked at, or killed. */
  close: boolean;
}

interface Life {
  steps: Step[];
  /** What is under way when the life is cut off. */
  last: Step;
  cut: Cut;
}

interface World {
  schedule: boolean;
  /** How long everything seems to take: slices of compaction are short then, and no read is synchronous. */
  slow: boolean;
}

const compact: fc.Arbitrary<Step> = fc.record({
  compact: fc.constantFrom('full' as const, 'what is on disk' as const),
  beside: fc.boolean(),
});

function lives(maxValueBytes: number): fc.Arbitrary<Life[]> {
  const operation = operations(maxValueBytes, 1).map(([first]): Step => ({ operation: first }));
  const fill = fc.nat(99).map((number): Step => ({ fill: number }));
  const step = fc.oneof(
    { weight: 30, arbitrary: operation },
    { weight: 3, arbitrary: compact },
    { weight: 3, arbitrary: fill },
  );
  const cut = fc.record({
    how: fc.constantFrom('power cut' as const, 'kill' as const),
    turns: fc.oneof(fc.nat(6), fc.nat(60)),
    seed: fc.nat(),
    close: fc.boolean(),
  });
  const life = fc.record({
    steps: fc.array(step, { maxLength: 60, size: 'max' }),
    last: fc.oneof({ weight: 2, arbitrary: compact }, { weight: 1, arbitrary: step }),
    cut,
  });
  return fc.array(life, { minLength: 1, maxLength: 4 });
}

const worlds: fc.Arbitrary<World> = fc.record({ schedule: fc.boolean(), slow: fc.boolean() });

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Changes of several keys, one by one, may be cut off between them; those that are one record may not. */
function singleChange(operation: Operation): Operation {
  if (operation.do === 'increment') return { ...operation, times: 1 };
  if (operation.do === 'clear' && operation.space === 0) return { ...operation, space: 1 };
  return operation;
}

const FILLER_VALUES = 16;
const fillerValue = (key: number) => String.fromCharCode(65 + (key % 26)).repeat(30_000);

/** How often what happened, so that a test that never meets a compaction does not pass. */
const tally = { kept: 0, lost: 0, cutOff: 0, compactions: 0, scheduled: 0, truncated: 0, coldToCold: 0 };

class Harness {
  readonly disk = new SimulatedDisk({ completion: 'random' });
  /** The model after each operation since the last cut, and which of them is the least that has to be there. */
  private states = [Model.empty()];
  private durable = 0;
  /** What was told as an error by a process that was alive. */
  private readonly failures: unknown[] = [];
  private life = 0;

  constructor(
    private readonly level: KvDurabilityLevel,
    private readonly world: World,
  ) {
    if (world.slow) this.disk.clock.tickMs = 0.3;
  }

  async run(all: Life[]): Promise<void> {
    for (const { steps, last, cut } of all) {
      let store = await this.open();
      for (const step of steps) {
        if ('operation' in step && step.operation.do === 'reopen') {
          await store.close();
          this.durable = this.states.length - 1;
          store = await this.open();
        } else {
          await this.step(store, step);
        }
      }
      void this.step(store, last).catch(() => undefined);
      for (let turns = 0; turns < cut.turns; turns++) await turn();
      if (store.stats().compaction.running) tally.cutOff++;
      this.life++;
      if (cut.how === 'kill') this.disk.kill();
      else this.disk.crash({ seed: cut.seed });
      await this.checkPrefix(cut.close);
    }
    // Once more, with nothing that is not safe by then.
    this.disk.crash('none');
    await this.checkPrefix(true);
  }

  private async open(): Promise<KvStore> {
    const options: KvStoreOptions = {
      path: '/s',
      env: this.disk.env(),
      hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', expectedKeys: 500_000, diskBudget: '1mb' },
      cold: { segmentSize: '1mb', indexCache: '64kb' },
      compaction: this.world.schedule && { every: 50 },
      durability: { level: this.level },
    };
    const store = await KvStore.open(options);
    store.on('compaction', ({ reason, hot, cold }) => {
      tally.compactions++;
      if (reason !== 'manual') tally.scheduled++;
      if (hot.truncatedBytes + cold.truncatedBytes > 0) tally.truncated++;
      if (cold.truncatedBytes > 0) tally.coldToCold++;
    });
    store.on('error', this.failed);
    return store;
  }

  /** Notes a failure in the background; what the dead say does not count. */
  private get failed(): (error: unknown) => void {
    const { life } = this;
    return (error) => void (life === this.life && this.failures.push(error));
  }

  private async step(store: KvStore, step: Step): Promise<void> {
    if ('compact' in step) {
      const done = store.compact({ full: step.compact === 'full' });
      if (!step.beside) {
        await done;
        return;
      }
      void done.catch(this.failed);
    } else if ('fill' in step) {
      const filler = store.namespace('filler');
      for (let i = 0; i < FILLER_VALUES; i++) await filler.set(step.fill + i, fillerValue(step.fill + i));
    } else {
      await this.perform(store, singleChange(step.operation));
    }
  }

  private async perform(store: KvStore, operation: Operation): Promise<void> {
    const { clock } = this.disk;
    if (operation.do === 'advance') clock.advance(operation.ms);
    const model = (this.states.at(-1) as Model).copy();
    model.apply(operation, clock.now());
    const number = this.states.push(model) - 1;
    if (operation.do === 'flush') await store.flush();
    else await perform(store, operation);
    // A read waits for nothing, so at `always` only a write tells that it is durable.
    const writes = ['set', 'setIfAbsent', 'delete', 'update', 'increment', 'touch', 'clear', 'clear all'];
    const changed = model.state(0) !== this.states[number - 1].state(0);
    const flushes = operation.do === 'flush' || operation.do === 'checkpoint';
    if (flushes || (this.level === 'always' && writes.includes(operation.do) && changed))
      this.durable = number;
  }

  /** Opens the store, finds the point of the history that it is at, and lets the history begin there. */
  private async checkPrefix(close: boolean): Promise<void> {
    let store = await this.open();
    const now = this.disk.clock.now();
    const state = await stateOf(store);
    const point = this.states.findIndex((model, i) => i >= this.durable && model.state(now) === state);
    if (point < 0) {
      const earlier = this.states.findIndex((model) => model.state(now) === state);
      throw new Error(
        `after the cut the store holds ${state.slice(0, 300)}, which is ` +
          (earlier < 0 ? 'no state it ever had' : `state ${earlier}, but ${this.durable} was durable`) +
          `; expected ${this.states.at(-1)?.state(now).slice(0, 300)}`,
      );
    }
    if (point === this.states.length - 1) tally.kept++;
    else tally.lost++;
    this.states = [this.states[point]];
    this.durable = 0;
    await store.compact({ full: true });
    if (this.failures.length > 0) throw this.failures[0];
    await this.expectSame(store, state, 'compacted');
    // What was recovered is safe from now on.
    await store.flush();
    this.life++;
    if (close) await store.close();
    else this.disk.kill();
    store = await this.open();
    await this.expectSame(store, state, 'compacted and opened again');
    await store.flush();
    this.life++;
    this.disk.kill();
  }

  private async expectSame(store: KvStore, state: string, when: string): Promise<void> {
    const after = await stateOf(store);
    if (after !== state)
      throw new Error(`${when} the store holds ${after.slice(0, 300)}; before ${state.slice(0, 300)}`);
    const filler = store.namespace<string>('filler');
    for (let key = 0; key < 99 + FILLER_VALUES; key += 7) {
      const value = await filler.get(key);
      if (value !== undefined && value !== fillerValue(key))
        throw new Error(`${when} filler ${key} is wrong`);
    }
  }
}

/** In all tests together: in one of them there may be hardly any. */
let scheduled = 0;

describe.each<KvDurabilityLevel>(['always', 'interval', 'checkpoint'])('cut off at %s', (level) => {
  jest.setTimeout(60_000 * RUNS);

  it.each([
    ['small values', 400, 15],
    ['values beyond a page', 100_000, 12],
  ])('a store that is compacted, with %s, has a prefix', async (_, maxValueBytes, numRuns) => {
    for (const name of Object.keys(tally) as (keyof typeof tally)[]) tally[name] = 0;
    await fc.assert(
      fc.asyncProperty(lives(maxValueBytes), worlds, (all, world) => new Harness(level, world).run(all)),
      // A call that never ends is a failure that names its sequence.
      { numRuns: numRuns * RUNS, timeout: 100_000, interruptAfterTimeLimit: LIMIT_MS, ...seed },
    );
    const { kept, lost, cutOff } = tally;
    count({ cuts: kept + lost, 'with losses': lost, 'in a compaction': cutOff });
    // Cuts that lose nothing, or everything that they may, would prove little; so would those between compactions.
    expect(tally.kept).toBeGreaterThan(0);
    if (level !== 'always') expect(tally.lost).toBeGreaterThan(0);
    expect(tally.cutOff).toBeGreaterThan(numRuns / 4);
    expect(tally.truncated).toBeGreaterThan(numRuns);
    expect(tally.coldToCold).toBeGreaterThan(numRuns / 2);
    scheduled += tally.scheduled;
    if (process.env.TALLY) console.log(level, JSON.stringify(tally));
  });
});

it('met compactions of the schedule', () => {
  expect(scheduled).toBeGreaterThan(0);
});
