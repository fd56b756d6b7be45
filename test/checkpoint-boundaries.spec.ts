/**
 * Checkpoints, and openings from and without them, cut off at every call that changes something on the disk: none, all,
 * or some of what was not synced survives, or the process alone is killed. What was durable is there afterwards, and the
 * state is one that the store had. `RUNS=…` in the environment takes so many more subsets; `SEED=…` another script.
 */
import { KvStore } from 'nestjs-hotcold/store';
import { Activity } from '../src/store/activity.js';
import { Checkpointer } from '../src/store/checkpointer.js';
import { checkMoment, Moments, type Cut, type Moment } from './support/crash-states.js';
import { SeededRandom, SimulatedDisk } from './support/simulated-disk.js';
import { tally } from './support/tally.js';
import { History, PATH, tieredOptions } from './support/tiered-store.js';

const RUNS = Number(process.env.RUNS ?? 1);
const USUAL_SEED = 1;
const SEED = Number(process.env.SEED ?? USUAL_SEED);
/** Every so many states the store that came out is compacted, opened and compared again. */
const GOES_ON = 8;

jest.setTimeout(120_000 * RUNS);

const turn = () => new Promise((resolve) => setImmediate(resolve));

const checkpoints = (disk: SimulatedDisk) =>
  disk.paths().filter((path) => path.startsWith(`${PATH}/checkpoint-`));

/** What is being done at a moment, as far as its call tells. */
function phaseOf(all: Moment[], at: number): string {
  const { operation, file } = all[at];
  const what = file.split('-')[0];
  if (operation === 'syncDirectory') {
    const before = all[at - 1];
    return before?.operation === 'rename' ? 'manifest' : `names, behind ${before?.file.split('-')[0]}`;
  }
  if (what.startsWith('MANIFEST')) return 'manifest';
  if (operation === 'sync' || operation === 'unlink' || operation === 'truncate')
    return `${operation} ${what}`;
  return `write ${what}`;
}

/** How many states there were of each phase. */
class Phases {
  readonly states = new Map<string, number>();
  /** How many calls. */
  private readonly met = new Map<string, number>();
  private readonly random = new SeededRandom(SEED);
  private count = 0;

  async checkAll(history: History, all: Moment[], cuts: Cut[]): Promise<void> {
    for (const [at, moment] of all.entries()) {
      const phase = phaseOf(all, at);
      // A commit takes all cuts of the first call of a phase, and every other one of those that follow.
      const met = this.met.get(phase) ?? 0;
      this.met.set(phase, met + 1);
      const some = cuts.filter((_, i) => RUNS > 1 || met === 0 || (met + i) % 2 === 0);
      for (const cut of [...some, ...Array<Cut>(RUNS - 1).fill('random')]) {
        const seed = this.random.below(2 ** 31);
        this.states.set(phase, (this.states.get(phase) ?? 0) + 1);
        await checkMoment(history, moment, cut, seed, ++this.count % GOES_ON === 0).catch(
          (error: unknown) => {
            const where = `${phase}: before call ${at} (${moment.operation} ${moment.file}), ${cut}, seed ${seed}`;
            throw new Error(`${where}: ${String(error)}`, { cause: error });
          },
        );
      }
    }
  }

  expectAll(...phases: string[]): void {
    tally(Object.fromEntries(this.states));
    if (process.env.TALLY) console.log(JSON.stringify([...this.states]));
    for (const phase of phases) expect([phase, this.states.get(phase) ?? 0]).not.toEqual([phase, 0]);
  }
}

/** Something in both tiers, one checkpoint, and what has come since. */
async function prepare(seed: number, moments?: (disk: SimulatedDisk, history: History) => Moments) {
  const disk = new SimulatedDisk({ completion: 'random', seed });
  const history = new History(disk, 25, seed);
  const found = moments?.(disk, history) ?? new Moments(disk, history);
  const store = await KvStore.open({ ...tieredOptions(disk), env: found.env() });
  await history.fill(store);
  await store.compact({ full: true });
  await store.checkpoint();
  await history.rewrite(store);
  await store.compact({ full: true });
  for (let i = 0; i < 10; i++) await history.any(store);
  return { disk, history, found, store };
}

describe.each([
  ['alone', false],
  ['beside writes', true],
])('checkpoints %s, cut off at every call', (_, beside) => {
  it('have lost nothing, whether called, at close, or within a compaction', async () => {
    const phases = new Phases();
    const { disk, history, found, store } = await prepare(SEED);
    if (beside) disk.clock.tickMs = 0.3;
    /** Does something, and meanwhile other things. */
    const recorded = async (work: Promise<unknown>) => {
      found.on = true;
      let ended = false;
      const done = work.finally(() => (ended = true));
      for (let turns = 1; beside && !ended; turns++) {
        await history.any(store);
        if (turns % 25 === 0) await history.flush(store);
        await turn();
      }
      await done;
      found.look('close', '');
      found.on = false;
    };
    const reports: number[] = [];
    store.on('checkpoint', ({ checkpoint }) => reports.push(checkpoint));
    await recorded(store.checkpoint());
    for (let i = 0; i < 10; i++) await history.any(store);
    await recorded(store.checkpoint());
    await history.rewrite(store);
    const due = jest.spyOn(Checkpointer.prototype, 'isDue', 'get').mockReturnValue(true);
    await recorded(store.compact({ full: true }));
    due.mockRestore();
    expect(reports.length).toBeGreaterThan(3);
    await history.rewrite(store);
    found.on = true;
    const { length } = reports;
    await store.close();
    expect(reports.length).toBe(length + 1);
    expect(checkpoints(disk).length).toBeGreaterThan(0);
    const told = jest.spyOn(Activity.prototype, 'failed');
    await phases.checkAll(history, found.all, ['none', 'all', 'kill', 'random']);
    // No crash leaves what looks like a damaged checkpoint. A hint or a commit may be on its way when a store is killed.
    const messages = told.mock.calls.map(([error]) => String(error));
    expect(messages.filter((message) => !/\/hint-|EBADF/.test(message))).toEqual([]);
    told.mockRestore();
    phases.expectAll(
      'write index',
      'sync index',
      'write checkpoint',
      'sync checkpoint',
      'names, behind checkpoint',
      'manifest',
      'unlink checkpoint',
    );
  });
});

/** What opening a disk does, cut off at every call. */
async function openingOf(
  disk: SimulatedDisk,
  history: History,
  least: number,
): Promise<{ all: Moment[]; checkpoint: number | undefined }> {
  const found = new Moments(disk, history);
  found.on = true;
  const store = await KvStore.open({ ...tieredOptions(disk), env: found.env() });
  const { checkpoint } = store.opened;
  found.look('close', '');
  disk.kill();
  return { all: found.all.map((moment) => ({ ...moment, least })), checkpoint };
}

describe('openings, cut off at every call', () => {
  it('lose nothing, with a checkpoint or without one that can be used, after any end of the life before', async () => {
    const phases = new Phases();
    const openings = { checkpoint: 0, logs: 0 };
    const { history, found, store } = await prepare(SEED + 1);
    found.on = true;
    await store.checkpoint();
    found.look('close', '');
    await history.rewrite(store);
    await store.compact({ full: true });
    for (let i = 0; i < 10; i++) await history.any(store);
    // The first moments of each phase.
    const seen = new Map<string, number>();
    const ends = found.all.filter((_, at) => {
      const phase = phaseOf(found.all, at);
      seen.set(phase, (seen.get(phase) ?? 0) + 1);
      return (seen.get(phase) as number) <= RUNS;
    });
    for (const [i, end] of ends.entries()) {
      // The process alone is killed, or the machine; or the checkpoint is damaged as well.
      const how = (['kill', 'none', 'damage'] as const)[i % 3];
      const disk = end.disk.fork();
      if (how === 'kill') disk.kill();
      else disk.crash({ mode: how === 'none' ? 'none' : 'random', seed: i });
      // In the hot index, which is met late, or in the table.
      if (how === 'damage') {
        for (const path of checkpoints(disk)) {
          const { length } = disk.contents(path);
          // One that was just begun is empty.
          if (length > 20) disk.flip(path, 8 * (i % 9 === 2 && length > 5000 ? 5000 : length - 20));
        }
      }
      const { all, checkpoint } = await openingOf(disk, history, end.least);
      openings[checkpoint === undefined ? 'logs' : 'checkpoint']++;
      await phases.checkAll(history, all, ['none', 'random']);
    }
    if (process.env.TALLY) console.log(JSON.stringify(openings));
    // Others may have few of one kind.
    if (SEED === USUAL_SEED) expect(Math.min(openings.checkpoint, openings.logs)).toBeGreaterThan(2);
    phases.expectAll(
      'unlink checkpoint',
      'names, behind checkpoint',
      'unlink index',
      'truncate index',
      'sync index',
      'truncate hot',
      'sync hot',
      'write hot',
    );
  });

  it('lose nothing where the manifest that truncates a log was in its place, but not durably', async () => {
    const phases = new Phases();
    const { history, found, store } = await prepare(SEED + 2);
    // So much that whole segments are removed.
    for (let i = 0; i < 8; i++) await history.fill(store);
    found.on = true;
    await store.compact({ full: true });
    found.on = false;
    let ends = 0;
    for (const [i, end] of found.all.entries()) {
      if (end.operation !== 'syncDirectory' || found.all[i - 1]?.operation !== 'rename') continue;
      ends++;
      const { all } = await openingOf(end.disk.fork(), history, end.least);
      await phases.checkAll(history, all, ['none', 'random', 'random', 'random', 'random']);
    }
    expect(ends).toBeGreaterThan(1);
    phases.expectAll('unlink hot', 'write hot');
  });
});
