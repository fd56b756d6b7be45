/**
 * Compactions of a fixed script, cut off at every call that changes something on the disk: none, all, or some of what
 * was not synced survives, or the process alone is killed. What was durable is there afterwards, and the state is one
 * that the store had; it stays the same when everything is compacted once more and opened again. `RUNS=…` in the
 * environment takes many times as many subsets; `SEED=…` another script.
 */
import { KvStore } from 'nestjs-hotcold/store';
import { checkMoment, Moments, type Moment } from './support/crash-states.js';
import { SeededRandom, SimulatedDisk, type CrashMode } from './support/simulated-disk.js';
import { tally } from './support/tally.js';
import { History, tieredOptions } from './support/tiered-store.js';

const RUNS = Number(process.env.RUNS ?? 1);
const USUAL_SEED = 1;
const SEED = Number(process.env.SEED ?? USUAL_SEED);
const SUBSETS = RUNS;
/** Every so many states the store that came out is compacted, opened and compared again. */
const GOES_ON = 6;

const PHASES = [
  'copying',
  'cold commit',
  'hot commit',
  'manifest',
  'hot segment removed',
  'cold segment removed',
] as const;
type Phase = (typeof PHASES)[number];

/** Runs the script; resolves to the moments within its compactions. */
async function moments(seed: number, beside: boolean): Promise<{ history: History; all: Moment[] }> {
  const disk = new SimulatedDisk({ completion: 'random', seed });
  if (beside) disk.clock.tickMs = 0.3;
  const history = new History(disk, 40, seed);
  const found = new Moments(disk, history);
  const store = await KvStore.open({ ...tieredOptions(disk), env: found.env() });
  const compact = async () => {
    found.on = true;
    let ended = false;
    const done = store.compact({ full: true }).finally(() => (ended = true));
    for (let turns = 1; beside && !ended; turns++) {
      for (let i = 0; i < 3; i++) await history.any(store);
      if (turns % 25 === 0) await history.flush(store);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { aborted } = await done;
    expect(aborted).toBe(false);
    found.on = false;
    // Behind the last call, before anything else is committed.
    found.look('close', '');
  };
  await history.fill(store);
  await compact();
  await history.rewrite(store);
  await compact();
  await history.rewrite(store);
  await compact();
  await history.empty(store);
  await compact();
  await history.flush(store);
  await history.stateOf(store);
  await store.close();
  return { history, all: found.all };
}

/** What a compaction is doing at a moment, as far as its calls tell. */
function phaseOf(all: Moment[], at: number): Phase | undefined {
  const { operation, file } = all[at];
  const log = file.split('-')[0];
  if (log === 'MANIFEST' || file === 'MANIFEST.tmp') return 'manifest';
  if (operation === 'unlink') return log === 'hot' ? 'hot segment removed' : 'cold segment removed';
  // Names are synced by the manifest behind its rename, and by a commit in front of its files.
  if (operation === 'syncDirectory') {
    if (all[at - 1]?.operation === 'rename') return 'manifest';
    return at + 1 < all.length ? phaseOf(all, at + 1) : undefined;
  }
  if (log === 'hot') return 'hot commit';
  if (log !== 'cold') return undefined;
  const next = all.slice(at + 1).find((moment) => !moment.file.startsWith('index'));
  return operation === 'sync' || next?.operation === 'sync' || next?.operation === 'syncDirectory'
    ? 'cold commit'
    : 'copying';
}

describe.each([
  ['alone', false],
  ['beside writes', true],
])('compactions %s, cut off at every call', (_, beside) => {
  it(
    'have lost nothing',
    async () => {
      const { history, all } = await moments(SEED, beside);
      const random = new SeededRandom(SEED);
      const hits = new Map<Phase | undefined, number>();
      let states = 0;
      for (const [at, moment] of all.entries()) {
        const phase = phaseOf(all, at);
        hits.set(phase, (hits.get(phase) ?? 0) + 1);
        const modes = ['none', 'all', 'kill', ...Array<CrashMode>(SUBSETS).fill('random')] as const;
        for (const mode of modes) {
          const seed = random.below(2 ** 31);
          states++;
          await checkMoment(history, moment, mode, seed, seed % GOES_ON === 0).catch((error: unknown) => {
            const where = `${phase}: before call ${at} (${moment.operation} ${moment.file}), ${mode}, seed ${seed}`;
            throw new Error(`${where}: ${String(error)}`, { cause: error });
          });
        }
      }
      tally({ states });
      if (process.env.TALLY) console.log(states, all.length, JSON.stringify([...hits]));
      expect(states).toBeGreaterThanOrEqual(450);
      // Others may collect no cold segment.
      const sure = SEED === USUAL_SEED ? PHASES : PHASES.slice(0, -1);
      for (const phase of sure) expect([phase, hits.get(phase) ?? 0]).not.toEqual([phase, 0]);
    },
    120_000 * RUNS,
  );
});
