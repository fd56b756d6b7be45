/**
 * A store whose indexes are growing, cut off at calls that change something on the disk: buckets of the hot index split
 * while keys are written and while logs are replayed, a checkpoint catches it in the middle of a doubling, and slots of the
 * cold index split in a compaction. None, all, or some of what was not synced survives, or the process alone is killed;
 * then keys are looked up. A commit takes some of the calls, by chance, and a fifth of the keys; `RUNS=…` in the
 * environment so many times as many calls, up to all of them, and all keys, `SEED=…` the same again.
 */
import { KvStore } from 'nestjs-hotcold/store';
import { GROWING_KEYS, GrowingWrites, writesIn } from './support/growing-store.js';
import { SeededRandom, SimulatedDisk, type CrashMode } from './support/simulated-disk.js';
import { RUNS, SEED, tally } from './support/tally.js';
import { PATH, tieredOptions } from './support/tiered-store.js';
import { CHANGES, watched } from './support/watched-fs.js';

/** States of each phase. */
const STATES = 6 * RUNS;
/** One key in so many is looked up. */
const STEP = RUNS > 1 ? 1 : 5;
/** Every so many states the store that came out grows on, is opened and compared again; every other time compacted, too. */
const GOES_ON = 4;
const CUTS: readonly (CrashMode | 'kill')[] = ['none', 'all', 'kill', 'random', 'random'];

/** Buckets and slots of an index that has not grown, and bytes of a directory for as many. */
const FIRST_BUCKETS = 8192;
const FIRST_DIRECTORY_BYTES = FIRST_BUCKETS * 4;

jest.setTimeout(180_000 * RUNS);

const PHASES = [
  'writing',
  'checkpoint of the hot index',
  'compaction',
  'checkpoint of the cold index',
  'replay',
] as const;
type Phase = (typeof PHASES)[number];

/** The disk right before a call, and between which numbers of writes its state has to be. */
interface Moment {
  disk: SimulatedDisk;
  what: string;
  least: number;
  most: number;
}

/** Moments of each phase: as many as there are states, by chance, because all would not fit into memory. */
class Moments {
  readonly of = new Map<Phase, Moment[]>(PHASES.map((phase) => [phase, []]));
  private readonly seen = new Map<Phase, number>();

  constructor(private readonly random: SeededRandom) {}

  look(
    phase: Phase,
    disk: SimulatedDisk,
    { durable: least, count: most }: GrowingWrites,
    what: string,
  ): void {
    const kept = this.of.get(phase) as Moment[];
    const seen = (this.seen.get(phase) ?? 0) + 1;
    this.seen.set(phase, seen);
    // Each is as likely to be kept as any other.
    const at = seen <= STATES ? kept.length : this.random.below(seen);
    if (at < STATES) kept[at] = { disk: disk.fork(), what, least, most };
  }
}

/** A store on a disk, and what happens there. */
class Recorded {
  private phase: Phase | undefined;

  constructor(
    readonly disk: SimulatedDisk,
    readonly writes: GrowingWrites,
    private readonly moments: Moments,
  ) {}

  open(): Promise<KvStore> {
    const env = watched(this.disk.env(), (operation, file) => {
      if (this.phase && CHANGES.includes(operation)) this.look(this.phase, `${operation} ${file}`);
    });
    return KvStore.open({ ...tieredOptions(this.disk), env });
  }

  async in<T>(phase: Phase, work: () => Promise<T>): Promise<T> {
    this.phase = phase;
    const result = await work();
    this.phase = undefined;
    this.look(phase, 'the end');
    return result;
  }

  /** Does something, and writes meanwhile. */
  beside(phase: Phase, store: KvStore, work: () => Promise<unknown>): Promise<void> {
    return this.in(phase, async () => {
      const { writes } = this;
      let ended = false;
      const done = work().finally(() => (ended = true));
      for (let turns = 1; !ended; turns++) {
        await writes.write(store, 20);
        if (turns % 25 === 0) await writes.flush(store);
        await new Promise((resolve) => setImmediate(resolve));
      }
      await done;
    });
  }

  private look(phase: Phase, what: string): void {
    this.moments.look(phase, this.disk, this.writes, what);
  }
}

/** Lets both indexes grow. Resolves to the disk as it was when the hot log was longest, and its writes. */
async function grow(moments: Moments): Promise<{ disk: SimulatedDisk; writes: GrowingWrites }> {
  const disk = new SimulatedDisk({ completion: 'random', seed: SEED });
  const writes = new GrowingWrites();
  const recorded = new Recorded(disk, writes, moments);
  const store = await recorded.open();
  const buckets = () => store.stats().hot.indexBuckets;
  const directoryBytes = () => store.stats().cold.directoryBytes;
  await writes.write(store, GROWING_KEYS);
  await writes.flush(store);
  await store.compact({ full: true });
  await store.checkpoint();
  expect(directoryBytes()).toBe(FIRST_DIRECTORY_BYTES);
  await writes.write(store, 41_500);
  await writes.flush(store);
  let before = buckets();
  expect(before).toBeGreaterThan(FIRST_BUCKETS);
  const goOn = async () => {
    for (let i = 0; i < 4; i++) {
      await writes.write(store, 100);
      await writes.flush(store);
    }
    expect(buckets()).toBeGreaterThan(before);
    before = buckets();
  };
  await recorded.in('writing', goOn);
  // Time goes by, so that it waits between its blocks.
  disk.clock.tickMs = 0.3;
  await recorded.beside('checkpoint of the hot index', store, () => store.checkpoint());
  // Growth stood still meanwhile, and catches up.
  await recorded.in('writing', goOn);
  const longest = { disk: disk.fork(), writes: writes.fork() };
  await recorded.beside('compaction', store, () => store.compact({ full: true }));
  expect(directoryBytes()).toBeGreaterThan(FIRST_DIRECTORY_BYTES);
  await recorded.beside('checkpoint of the cold index', store, () => store.checkpoint());
  disk.kill();
  return longest;
}

/** Opens a store whose hot index has to grow while its log is replayed, behind a checkpoint or all of it. */
async function replay(
  { disk, writes }: { disk: SimulatedDisk; writes: GrowingWrites },
  damage: boolean,
  moments: Moments,
): Promise<void> {
  const copy = disk.fork();
  copy.kill();
  if (damage)
    for (const path of copy.paths()) if (path.startsWith(`${PATH}/checkpoint-`)) copy.flip(path, 8 * 5000);
  const recorded = new Recorded(copy, writes, moments);
  const store = await recorded.in('replay', () => recorded.open());
  expect(store.opened.checkpoint === undefined).toBe(damage);
  expect(store.stats().hot.indexBuckets).toBeGreaterThan(FIRST_BUCKETS);
  copy.kill();
}

/** Opens a disk after a crash, and looks whether it holds what it has to, also when it grows on. */
async function check({ disk, least, most }: Moment, cut: CrashMode | 'kill', seed: number): Promise<void> {
  const copy = disk.fork();
  if (cut === 'kill') copy.kill();
  else copy.crash({ mode: cut, seed });
  const sample = { step: STEP, first: seed % STEP };
  const store = await KvStore.open(tieredOptions(copy));
  const writes = new GrowingWrites();
  writes.count = writes.durable = await writesIn(store, least, most, sample);
  if (cut === 'kill') {
    // What was found is safe from then on, although nothing of it was synced by the one that was killed.
    copy.crash('none');
  } else if (seed % GOES_ON === 0) {
    await writes.write(store, 2000);
    if (seed % (2 * GOES_ON) === 0) await store.compact({ full: true });
    await writes.flush(store);
    copy.crash('none');
  } else {
    copy.kill();
    return;
  }
  const again = await KvStore.open(tieredOptions(copy));
  await writesIn(again, writes.durable, writes.count, sample);
  copy.kill();
}

it('an index that grows loses no key, whatever it is doing when it is cut off', async () => {
  const random = new SeededRandom(SEED);
  const moments = new Moments(random);
  const longest = await grow(moments);
  await replay(longest, false, moments);
  await replay(longest, true, moments);
  const states: Partial<Record<Phase, number>> = {};
  for (const [phase, all] of moments.of) {
    let done = 0;
    for (const round of CUTS.keys()) {
      for (const [i, moment] of all.slice(0, STATES - done).entries()) {
        const cut = CUTS[(round + i) % CUTS.length];
        const seed = random.below(2 ** 31);
        done++;
        await check(moment, cut, seed).catch((error: unknown) => {
          const where = `${phase}: before ${moment.what}, ${cut}, seed ${SEED}, ${seed}`;
          throw new Error(`${where}: ${String(error)}`, { cause: error });
        });
      }
    }
    states[phase] = done;
  }
  tally(states);
  for (const phase of PHASES) expect([phase, states[phase]]).not.toEqual([phase, 0]);
});
