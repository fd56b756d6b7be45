/**
 * Compactions of a fixed script, cut off at every call that changes something on the disk: none, all, or some of what
 * was not synced survives, or the process alone is killed. What was durable is there afterwards, and the state is one
 * that the store had; it stays the same when everything is compacted once more and opened again. `RUNS=…` in the
 * environment takes many times as many subsets; `SEED=…` another script.
 */
import { KvStore } from 'nestjs-hotcold/store';
import { SeededRandom, SimulatedDisk, type CrashMode, type DiskOperation } from './support/simulated-disk.js';
import { tally } from './support/tally.js';
import { History, tieredOptions } from './support/tiered-store.js';
import { CHANGES, watched } from './support/watched-fs.js';

const RUNS = Number(process.env.RUNS ?? 1);
const SEED = Number(process.env.SEED ?? 1);
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

/** The disk right before a call, and which states of the history it may be in. */
interface Moment {
  disk: SimulatedDisk;
  operation: DiskOperation;
  file: string;
  least: number;
  most: number;
}

/** Runs the script; resolves to the moments within its compactions. */
async function moments(seed: number, beside: boolean): Promise<{ history: History; all: Moment[] }> {
  const disk = new SimulatedDisk({ completion: 'random', seed });
  if (beside) disk.clock.tickMs = 0.3;
  const history = new History(disk, 40, seed);
  const all: Moment[] = [];
  let compacting = false;
  const options = tieredOptions(disk);
  const look = (operation: DiskOperation, file: string) => {
    const { durable, states } = history;
    all.push({ disk: disk.fork(), operation, file, least: durable, most: states.length - 1 });
  };
  const env = watched(disk.env(), (operation, file) => {
    if (compacting && CHANGES.includes(operation)) look(operation, file);
  });
  const store = await KvStore.open({ ...options, env });
  const compact = async () => {
    compacting = true;
    let ended = false;
    const done = store.compact({ full: true }).finally(() => (ended = true));
    for (let turns = 1; beside && !ended; turns++) {
      for (let i = 0; i < 3; i++) await history.any(store);
      if (turns % 25 === 0) await history.flush(store);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { aborted } = await done;
    expect(aborted).toBe(false);
    compacting = false;
    // Behind the last call, before anything else is committed.
    look('close', '');
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
  return { history, all };
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

/** Opens a disk after a crash and looks whether it holds what it has to. */
async function check(
  history: History,
  { disk, least, most }: Moment,
  mode: CrashMode | 'kill',
  seed: number,
): Promise<void> {
  const copy = disk.fork();
  if (mode === 'kill') copy.kill();
  else copy.crash({ mode, seed });
  const goesOn = seed % GOES_ON === 0;
  const options = tieredOptions(copy);
  const store = await KvStore.open(options);
  const state = await history.stateOf(store, least, most, copy.clock.now());
  const after = new History(copy, history.keys);
  after.goOnFrom(state);
  if (mode === 'kill') {
    // What was found is safe from then on, although nothing of it was synced by the one that was killed.
    copy.crash('none');
    await after.stateOf(await KvStore.open(tieredOptions(copy)));
    return;
  }
  if (!goesOn) {
    copy.kill();
    return;
  }
  await store.compact({ full: true });
  await after.stateOf(store);
  await after.set(store, 0, 0, 100);
  await after.flush(store);
  copy.crash('none');
  const again = await KvStore.open(tieredOptions(copy));
  await after.stateOf(again);
  await again.close();
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
          await check(history, moment, mode, seed).catch((error: unknown) => {
            const where = `${phase}: before call ${at} (${moment.operation} ${moment.file}), ${mode}, seed ${seed}`;
            throw new Error(`${where}: ${String(error)}`, { cause: error });
          });
        }
      }
      tally({ states });
      if (process.env.TALLY) console.log(states, all.length, JSON.stringify([...hits]));
      expect(states).toBeGreaterThanOrEqual(450);
      for (const phase of PHASES) expect([phase, hits.get(phase) ?? 0]).not.toEqual([phase, 0]);
    },
    60_000 * RUNS,
  );
});
