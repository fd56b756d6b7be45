/**
 * Sequences of operations that are cut off by a power cut or a killed process, also in the middle of a call, on the
 * simulated disk. After each the state is a prefix: that of the model at some point at or behind the last one that was
 * acknowledged as durable. The store then goes on from there, and is cut off again. `SEED=…` and `RUNS=…` in the
 * environment run one again, or many.
 */
import fc from 'fast-check';
import { KvStore, type KvDurabilityLevel, type KvStoreOptions } from 'nestjs-hotcold/store';
import { Model, operations, perform, stateOf, type Operation } from './support/model.js';
import { SimulatedDisk } from './support/simulated-disk.js';
import { tally } from './support/tally.js';

const seed = process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) };
/** Many times as many runs, for a night. */
const RUNS = Number(process.env.RUNS ?? 1);
/** Shrinking ends here, so that a failure tells its seed before the test runs out of time. */
const LIMIT_MS = 45_000 * RUNS;

interface Cut {
  how: 'power cut' | 'kill';
  /** Turns of the event loop that the last operation gets before. */
  turns: number;
  /** What survives a power cut. */
  seed: number;
}

const cuts: fc.Arbitrary<Cut> = fc.record({
  how: fc.constantFrom('power cut' as const, 'kill' as const),
  turns: fc.nat(6),
  seed: fc.nat(),
});

const lives = (maxValueBytes: number, count: number) =>
  fc.array(fc.tuple(operations(maxValueBytes, count), cuts), { minLength: 1, maxLength: 4 });

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Changes of several keys, one by one, may be cut off between them; those that are one record may not. */
function singleChange(operation: Operation): Operation {
  if (operation.do === 'increment') return { ...operation, times: 1 };
  if (operation.do === 'clear' && operation.space === 0) return { ...operation, space: 1 };
  return operation;
}

class Harness {
  readonly disk: SimulatedDisk;
  /** The model after each operation since the last cut, and which of them is the least that has to be there. */
  private states = [Model.empty()];
  private durable = 0;
  kept = 0;
  lost = 0;

  constructor(
    private readonly level: KvDurabilityLevel,
    private readonly hot: KvStoreOptions['hot'],
    opensDurable: boolean,
  ) {
    this.disk = new SimulatedDisk({ completion: 'random', opensDurable });
  }

  async run(all: (readonly [Operation[], Cut])[]): Promise<void> {
    for (const [sequence, cut] of all) {
      let store = await this.open();
      for (const [i, drawn] of sequence.entries()) {
        const operation = singleChange(drawn);
        const last = i === sequence.length - 1;
        if (operation.do === 'reopen' && !last) {
          await store.close();
          this.durable = this.states.length - 1;
          store = await this.open();
        } else if (last) {
          void this.step(store, operation).catch(() => undefined);
          for (let turns = 0; turns < cut.turns; turns++) await turn();
        } else {
          await this.step(store, operation);
        }
      }
      if (cut.how === 'kill') this.disk.kill();
      else this.disk.crash({ seed: cut.seed });
      await this.checkPrefix();
    }
    // Once more, with nothing that is not safe by then.
    this.disk.crash('none');
    await this.checkPrefix();
  }

  private open(): Promise<KvStore> {
    const { level } = this;
    return KvStore.open({
      path: '/s',
      env: this.disk.env(),
      hot: this.hot,
      durability: { level },
    } as KvStoreOptions);
  }

  private async step(store: KvStore, operation: Operation): Promise<void> {
    const { clock } = this.disk;
    if (operation.do === 'advance') clock.advance(operation.ms);
    const model = (this.states.at(-1) as Model).copy();
    model.apply(operation, clock.now());
    const number = this.states.push(model) - 1;
    if (operation.do === 'flush') await store.flush();
    else await perform(store, operation);
    // A read waits for nothing, so at `always` only a write tells that it is durable.
    const writes = !['get', 'has', 'peek', 'ttl', 'advance', 'reopen'].includes(operation.do);
    const changed = model.state(0) !== this.states[number - 1].state(0);
    const flushes = operation.do === 'flush' || operation.do === 'checkpoint';
    if (flushes || (this.level === 'always' && writes && changed)) this.durable = number;
  }

  /** Opens the store, finds the point of the history that it is at, and lets the history begin there. */
  private async checkPrefix(): Promise<void> {
    const store = await this.open();
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
    if (point === this.states.length - 1) this.kept++;
    else this.lost++;
    this.states = [this.states[point]];
    this.durable = 0;
    // What was recovered is safe from now on.
    await store.flush();
    this.disk.kill();
  }
}

const SMALL = { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' } as const;
const TINY = { ...SMALL, expectedKeys: 500_000 } as const;

describe.each<KvDurabilityLevel>(['always', 'interval', 'checkpoint'])('cut off at %s', (level) => {
  jest.setTimeout(60_000 * RUNS);

  it.each([
    ['small values', 400, SMALL, 36],
    ['values that spill', 50_000, TINY, 24],
  ])('a store with %s has a prefix', async (_, maxValueBytes, hot, numRuns) => {
    let kept = 0;
    let lost = 0;
    await fc.assert(
      fc.asyncProperty(lives(maxValueBytes, 60), fc.boolean(), async (all, opensDurable) => {
        const harness = new Harness(level, hot, opensDurable);
        await harness.run(all);
        kept += harness.kept;
        lost += harness.lost;
      }),
      // A call that never ends is a failure that names its sequence.
      { numRuns: numRuns * RUNS, timeout: 100_000, interruptAfterTimeLimit: LIMIT_MS, ...seed },
    );
    tally({ cuts: kept + lost, 'with losses': lost });
    // Cuts that lose nothing, or everything that they may, would prove little.
    expect(kept).toBeGreaterThan(0);
    if (level !== 'always') expect(lost).toBeGreaterThan(0);
  });
});
