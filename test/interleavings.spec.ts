/**
 * Callers and compactions side by side, in orders that a seed decides: which of the disk's calls under way takes effect
 * next, when a slice of compaction goes on, and when a caller makes its next call. What callers were told of each key
 * must be linearizable, so no increment is lost and no read brings a value that was not current while it ran; a scan
 * brings what is there all the time exactly once; and all of it holds after a restart, too. `SEED=…` and `RUNS=…` in
 * the environment run one order again, or many.
 */
import fc from 'fast-check';
import { KvStore, type Env, type KvNamespace, type KvStoreOptions } from 'nestjs-hotcold/store';
import { COMPACTING } from './support/compacting.js';
import { contradiction, WRONG, type KeyCall, type State } from './support/linearizability.js';
import { SeededRandom, SimulatedDisk } from './support/simulated-disk.js';
import { tally } from './support/tally.js';

const seed = process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) };
/** Many times as many runs, for a night. */
const RUNS = Number(process.env.RUNS ?? 1);
/** Shrinking ends here, so that a failure tells its seed before the test runs out of time. */
const LIMIT_MS = 45_000 * RUNS;

/** Everything that waits its turn: a call of the disk, a slice, a caller. One goes on in each turn of the event loop. */
class Lottery {
  private readonly waiting: (() => void)[] = [];
  private readonly random: SeededRandom;
  private drawing = false;

  constructor(drawSeed: number) {
    this.random = new SeededRandom(drawSeed);
  }

  /** Resolves when this one is drawn. */
  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.waiting.push(resolve);
      if (!this.drawing) this.draw();
    });
  }

  private draw(): void {
    this.drawing = true;
    setImmediate(() => {
      const [drawn] = this.waiting.splice(this.random.below(this.waiting.length), 1);
      drawn();
      if (this.waiting.length > 0) this.draw();
      else this.drawing = false;
    });
  }

  /** An environment whose asynchronous calls and turns are drawn. */
  env(disk: SimulatedDisk): Env {
    const env = disk.env();
    const { fs, clock } = env;
    const drawn =
      <A extends unknown[], T>(call: (...args: A) => Promise<T>) =>
      async (...args: A): Promise<T> => {
        await this.turn();
        return call(...args);
      };
    return {
      ...env,
      clock: {
        now: () => clock.now(),
        tick: () => clock.tick(),
        after: (ms, callback) => clock.after(ms, callback),
        turn: () => this.turn(),
      },
      fs: { ...fs, read: drawn(fs.read), write: drawn(fs.write), sync: drawn(fs.sync) },
    };
  }
}

const COUNTERS = 4;
const KEYS = 8;
/** Keys of a namespace that nobody touches while scans go over it. */
const STABLE = 20;

type KeyCallName = 'get' | 'has' | 'entry' | 'set' | 'setIfAbsent' | 'delete' | 'increment' | 'update';

type Call =
  | { do: KeyCallName; key: number }
  | { do: 'compact'; full: boolean }
  | { do: 'fill' | 'flush' | 'tick' | 'clear' | 'scan' };

const anyKey = fc.nat(KEYS - 1);
const counter = fc.nat(COUNTERS - 1);
const value = fc.integer({ min: COUNTERS, max: KEYS - 1 });

const call = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constantFrom('get' as const, 'get' as const, 'has' as const, 'entry' as const),
      key: anyKey,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constantFrom('increment' as const, 'update' as const), key: counter }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom('set' as const, 'set' as const, 'setIfAbsent' as const),
      key: value,
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('delete' as const), key: anyKey }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('compact' as const), full: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('fill' as const, 'fill' as const, 'flush' as const, 'tick' as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('clear' as const) }),
  },
) as fc.Arbitrary<Call>;

const scanning = fc.oneof(
  { weight: 30, arbitrary: call },
  { weight: 1, arbitrary: fc.constant<Call>({ do: 'scan' }) },
);

interface Plan {
  callers: Call[][];
  draw: number;
  level: 'always' | 'interval' | 'checkpoint';
  tickMs: number;
  valueBytes: number;
  readCache: number | string;
  indexCache: number | string;
  garbageShare: number;
}

const plansOf = (calls: fc.Arbitrary<Call>): fc.Arbitrary<Plan> =>
  fc.record({
    callers: fc.array(fc.array(calls, { minLength: 1, maxLength: 30, size: 'max' }), {
      minLength: 2,
      maxLength: 6,
      size: 'max',
    }),
    draw: fc.nat(),
    level: fc.constantFrom('always' as const, 'interval' as const, 'checkpoint' as const),
    // With the longer one, slices end soon, and most reads are asynchronous.
    tickMs: fc.constantFrom(0.2, 0.2, 0.2, 0.001),
    // Small ones, and values in extents.
    valueBytes: fc.constantFrom(50, 5000, 90_000),
    readCache: fc.constantFrom(0, '256kb'),
    indexCache: fc.constantFrom(0, '64kb'),
    garbageShare: fc.constantFrom(0.05, 0.5),
  });

/** What a plan went through, so that a test can tell whether it tried what it is there for. */
interface Counts {
  moved: number;
  rewritten: number;
  /** Reads, scans and read-modify-writes during which something else was called. */
  overlapped: number;
  scans: number;
}

interface Span {
  begin: number;
  end: number;
}

class World {
  readonly counts: Counts = { moved: 0, rewritten: 0, overlapped: 0, scans: 0 };
  private readonly disk = new SimulatedDisk();
  private readonly lottery: Lottery;
  private readonly calls: KeyCall[][] = Array.from({ length: KEYS }, () => []);
  /** By key: calls that may end its presence, and those that make it present. */
  private readonly removals: Span[][] = Array.from({ length: KEYS }, () => []);
  private readonly additions: Span[][] = Array.from({ length: KEYS }, () => []);
  private readonly compactions: Promise<unknown>[] = [];
  private now = 0;
  private values = 0;
  private store!: KvStore;
  private space!: KvNamespace;

  constructor(private readonly plan: Plan) {
    this.lottery = new Lottery(plan.draw);
    this.disk.clock.tickMs = plan.tickMs;
  }

  async run(): Promise<void> {
    await this.open();
    const stable = this.store.namespace<number>('stable');
    for (let i = 0; i < STABLE; i++) await stable.set(i, i);
    await Promise.all(
      this.plan.callers.map(async (calls) => {
        for (const one of calls) {
          await this.lottery.turn();
          await this.perform(one);
        }
      }),
    );
    await Promise.all(this.compactions);
    for (const moment of ['settled', 'reopened', 'compacted']) {
      if (moment === 'reopened') {
        await this.store.close();
        await this.open();
      }
      if (moment === 'compacted') await this.store.compact({ full: true });
      for (let key = 0; key < KEYS; key++) await this.perform({ do: 'get', key });
    }
    if (this.counts.scans > 0) await this.scan();
    await this.store.close();
    for (const calls of this.calls) {
      const order = contradiction(calls);
      if (order !== undefined) throw new Error(`These answers cannot all be right:\n${order}`);
    }
  }

  private async open(): Promise<void> {
    const { level, readCache, indexCache, garbageShare } = this.plan;
    const options: KvStoreOptions = {
      ...COMPACTING,
      env: this.lottery.env(this.disk),
      cold: { ...COMPACTING.cold, indexCache, garbageShare },
      readCache: { memory: readCache },
      compaction: { every: 1000, sliceMs: 0.5 },
      durability: { level },
    };
    this.store = await KvStore.open(options);
    this.space = this.store.namespace('main');
    this.store.on('compaction', ({ hot, cold }) => {
      this.counts.moved += hot.records - hot.droppedRecords;
      this.counts.rewritten += cold.records;
    });
    this.store.on('error', (error) => {
      throw error;
    });
  }

  private async perform(one: Call): Promise<void> {
    const { store, disk } = this;
    switch (one.do) {
      case 'compact':
        // Callers go on meanwhile.
        this.compactions.push(store.compact({ full: one.full }));
        return;
      case 'flush':
        await store.flush();
        return;
      case 'tick':
        // A commit at `interval`, and by and by a compaction.
        disk.clock.advance(300);
        return;
      case 'fill':
        // As much as memory holds: what is older is on disk then.
        for (let i = 0; i < 10; i++) void store.namespace('filler').set(i, Buffer.alloc(32 * 1024, i));
        return;
      case 'clear':
        await this.clear();
        return;
      case 'scan':
        await this.scan();
        return;
      default:
        await this.performOn(one.key, one.do);
    }
  }

  /** Makes a call and notes it with what it makes of the key. */
  private async note<T>(
    key: number,
    name: string,
    make: () => Promise<T>,
    check: (answer: T, state: State) => State | typeof WRONG,
  ): Promise<Span> {
    const begin = ++this.now;
    const answer = await make();
    const end = ++this.now;
    if (end > begin + 1) this.counts.overlapped++;
    this.calls[key].push({
      name: `${name} ${show(answer)}`,
      begin,
      end,
      apply: (state) => check(answer, state),
    });
    return { begin, end };
  }

  private async performOn(key: number, what: KeyCallName): Promise<void> {
    const { space } = this;
    const name = `k${key}`;
    const same = (found: unknown, state: State) => (this.idOf(found) === state ? state : WRONG);
    switch (what) {
      case 'get':
        await this.note(key, 'get', () => space.get(name), same);
        return;
      case 'entry':
        await this.note(key, 'entry', async () => (await space.getEntry(name))?.value, same);
        return;
      case 'has':
        await this.note(
          key,
          'has',
          () => space.has(name),
          (found, state) => (found === (state !== undefined) ? state : WRONG),
        );
        return;
      case 'delete':
        await this.removing([key], () =>
          this.note(
            key,
            'delete',
            () => space.delete(name),
            (deleted, state) => (deleted === (state !== undefined) ? undefined : WRONG),
          ),
        );
        return;
      case 'increment':
      case 'update': {
        const add = async (n = 0) => {
          await this.lottery.turn();
          return n + 1;
        };
        const make = () => (what === 'update' ? space.update<number>(name, add) : space.increment(name));
        const right = (n: number | undefined, state: State) => (n === Number(state ?? 0) + 1 ? n : WRONG);
        this.additions[key].push(await this.note(key, what, make, right));
        return;
      }
      case 'set':
      case 'setIfAbsent': {
        const id = `${name}/${++this.values}`;
        const text = this.textOf(id);
        const noted =
          what === 'set'
            ? await this.note(
                key,
                `set ${id}`,
                () => space.set(name, text),
                () => id,
              )
            : await this.note(
                key,
                `setIfAbsent ${id}`,
                () => space.setIfAbsent(name, text),
                (set, state) => (set === (state === undefined) ? (state ?? id) : WRONG),
              );
        this.additions[key].push(noted);
        return;
      }
    }
  }

  private async clear(): Promise<void> {
    const begin = ++this.now;
    await this.removing([...this.calls.keys()], () => this.space.clear());
    const end = ++this.now;
    for (const calls of this.calls) calls.push({ name: 'clear', begin, end, apply: () => undefined });
  }

  private async removing(keys: number[], remove: () => Promise<unknown>): Promise<void> {
    const span: Span = { begin: this.now, end: Infinity };
    for (const key of keys) this.removals[key].push(span);
    await remove();
    span.end = this.now;
  }

  private async scan(): Promise<void> {
    const { space, store } = this;
    this.counts.scans++;
    const begin = ++this.now;
    const found = new Map<string, unknown>();
    for await (const [name, scanned] of space.scan()) {
      const text = name as string;
      if (found.has(text)) throw new Error(`scan() brings ${text} twice`);
      found.set(text, scanned);
    }
    const end = ++this.now;
    for (let key = 0; key < KEYS; key++) {
      const name = `k${key}`;
      const id = this.idOf(found.get(name));
      if (found.has(name))
        this.calls[key].push({
          name: `scan ${id}`,
          begin,
          end,
          apply: (state) => (state === id ? state : WRONG),
        });
      else if (this.wasThere(key, begin, end))
        throw new Error(`scan() from ${begin} to ${end} misses ${name}`);
    }
    const numbers: number[] = [];
    for await (const number of store.namespace<number>('stable').values()) numbers.push(number);
    expect(numbers.sort((a, b) => a - b)).toEqual(Array.from({ length: STABLE }, (_, i) => i));
  }

  /** Whether a key was there from one moment to another, in whatever order calls took effect. */
  private wasThere(key: number, from: number, to: number): boolean {
    return this.additions[key].some(
      (added) =>
        added.end < from && !this.removals[key].some(({ begin, end }) => end > added.begin && begin < to),
    );
  }

  private textOf(id: string): string {
    return `${id}/`.padEnd(this.plan.valueBytes, 'v');
  }

  /** What stands for a value: the whole value, or something that no value is. */
  private idOf(found: unknown): State {
    if (found === undefined || typeof found === 'number') return found;
    const id = typeof found === 'string' ? found.split('/', 2).join('/') : 'no text';
    return found === this.textOf(id) ? id : `damaged ${show(found)}`;
  }
}

const show = (answer: unknown) => (JSON.stringify(answer) ?? 'undefined').slice(0, 40);

describe('callers and compactions side by side', () => {
  jest.setTimeout(60_000 * RUNS);

  it.each([
    ['without scans', call, 80, 10],
    // Of so few plans one may have little to rewrite.
    ['with scans', scanning, 4, 2],
  ])('answer as if one after the other, %s', async (_, calls, numRuns, each) => {
    const total: Counts = { moved: 0, rewritten: 0, overlapped: 0, scans: 0 };
    await fc.assert(
      fc.asyncProperty(plansOf(calls), async (plan) => {
        const world = new World(plan);
        await world.run();
        for (const name of Object.keys(total) as (keyof Counts)[]) total[name] += world.counts[name];
      }),
      // A call that never ends is a failure that names its plan.
      { numRuns: numRuns * RUNS, timeout: 100_000, interruptAfterTimeLimit: LIMIT_MS, ...seed },
    );
    tally({ plans: numRuns * RUNS, 'overlapped calls': total.overlapped, scans: total.scans });
    expect(total.moved).toBeGreaterThan(numRuns * each);
    expect(total.rewritten).toBeGreaterThan(numRuns * each);
    if (calls === scanning) expect(total.scans).toBeGreaterThan(0);
    else expect(total.overlapped).toBeGreaterThan(numRuns * 5);
  });
});

describe('the judge of what callers were told', () => {
  const at = (begin: number, end: number, apply: KeyCall['apply']): KeyCall => ({
    name: '',
    begin,
    end,
    apply,
  });
  const set = (begin: number, end: number, to: State) => at(begin, end, () => to);
  const get = (begin: number, end: number, found: State) =>
    at(begin, end, (state) => (state === found ? state : WRONG));
  const add = (begin: number, end: number, result: number) =>
    at(begin, end, (state) => (result === Number(state ?? 0) + 1 ? result : WRONG));

  it.each<[string, boolean, KeyCall[]]>([
    ['a value that was there before', true, [set(1, 2, 'a'), get(3, 4, 'a')]],
    [
      'either value while a write is under way',
      true,
      [set(1, 2, 'a'), set(3, 9, 'b'), get(4, 5, 'a'), get(6, 7, 'b')],
    ],
    [
      'the new value, and then the old one',
      false,
      [set(1, 2, 'a'), set(3, 9, 'b'), get(4, 5, 'b'), get(6, 7, 'a')],
    ],
    ['a value that is gone', false, [set(1, 2, 'a'), set(3, 4, 'b'), get(5, 6, 'a')]],
    ['a value that is not there yet', false, [get(1, 2, 'a'), set(3, 4, 'a')]],
    ['nothing, where there is something', false, [set(1, 2, 'a'), get(3, 4, undefined)]],
    ['increments that are counted', true, [add(1, 9, 2), add(2, 8, 1), add(3, 7, 3), get(10, 11, 3)]],
    ['a lost increment', false, [add(1, 9, 1), add(2, 8, 1), get(10, 11, 1)]],
    ['an increment that is gone', false, [add(1, 2, 1), add(3, 4, 2), get(5, 6, 1)]],
  ])('%s: %s', (_, right, calls) => {
    expect(contradiction(calls) === undefined).toBe(right);
  });
});
