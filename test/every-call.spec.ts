/**
 * A script with everything in it (`support/script.ts`), and at every call that it makes on the disk either the end of the
 * machine, or a failure of that call, once or from then on. What was acknowledged as durable is there afterwards, and the
 * state is one that the store had. A commit takes some of the calls, by chance; `RUNS=…` in the environment more of them,
 * and more subsets of what a power cut keeps, `SEED=…` the same again.
 */
import { KvDiskError, KvReadOnlyError, KvStore } from 'nestjs-hotcold/store';
import { SCRIPT_PHASES, Script, type ScriptPhase } from './support/script.js';
import { SeededRandom, SimulatedDisk, type CrashMode, type DiskOperation } from './support/simulated-disk.js';
import { RUNS, SEED, tally } from './support/tally.js';
import { History } from './support/tiered-store.js';
import { CHANGES, watched } from './support/watched-fs.js';

jest.setTimeout(120_000 * RUNS);

/** The disk right before a call, and which states of the history it may be in. */
interface Moment {
  disk: SimulatedDisk;
  what: string;
  phase: ScriptPhase;
  least: number;
  most: number;
}

describe.each([0, 1, 2])('a script of 300 operations, at level %i', (level) => {
  const seed = SEED - (SEED % 3) + level;
  /** States of a commit, as far as there are so many. */
  const states = 700 * RUNS;
  const subsets = RUNS;

  it('is a prefix of itself wherever it is cut off', async () => {
    const disk = new SimulatedDisk({ completion: 'random', seed });
    const script = new Script(disk, seed, 300);
    const { history } = script;
    const random = new SeededRandom(seed);
    const all: Moment[] = [];
    const env = watched(disk.env(), (operation, file) => {
      if (!CHANGES.includes(operation)) return;
      all.push({
        disk: disk.fork(),
        what: `${operation} ${file}`,
        phase: script.phase,
        least: history.durable,
        most: history.states.length - 1,
      });
    });
    await script.run(env);

    const modes: (CrashMode | 'kill')[] = ['none', 'all', 'kill'];
    for (let i = 0; i < subsets; i++) modes.push('random');
    const share = Math.min(1, states / (all.length * modes.length));
    const hits: Partial<Record<string, number>> = {};
    let done = 0;
    for (const [at, moment] of all.entries()) {
      if (!random.chance(share)) continue;
      for (const mode of modes) {
        const crashSeed = random.below(2 ** 31);
        hits[moment.phase] = (hits[moment.phase] ?? 0) + 1;
        done++;
        await check(script, moment, mode, crashSeed).catch((error: unknown) => {
          const where = `${moment.phase}: before call ${at} (${moment.what}), ${mode}, seed ${seed}, ${crashSeed}`;
          throw new Error(`${where}: ${String(error)}`, { cause: error });
        });
      }
    }
    tally({ states: done, ...hits });
    expect(done).toBeGreaterThan(states / 2);
    for (const phase of SCRIPT_PHASES) expect([phase, hits[phase] ?? 0]).not.toEqual([phase, 0]);
  });
});

it('a script makes the same calls, and leaves the same bytes, when it runs again with its seed', async () => {
  const run = async (seed: number) => {
    const disk = new SimulatedDisk({ completion: 'random', seed });
    await new Script(disk, seed, 100).run(disk.env());
    const files = disk.paths().map((path) => [path, disk.contents(path).toString('base64')]);
    return { calls: disk.trace.length, all: JSON.stringify({ trace: disk.trace, files }) };
  };
  const first = await run(SEED);
  expect(first.calls).toBeGreaterThan(200);
  const again = await run(SEED);
  // Compared by hand: a difference would be megabytes long.
  expect(again.all === first.all).toBe(true);
  expect((await run(SEED + 3)).all === first.all).toBe(false);
});

/** Opens a disk after a crash and looks whether it holds what it has to. */
async function check(
  script: Script,
  moment: Moment,
  mode: CrashMode | 'kill',
  crashSeed: number,
): Promise<void> {
  const disk = moment.disk.fork();
  if (mode === 'kill') disk.kill();
  else disk.crash({ mode, seed: crashSeed });
  const store = await KvStore.open(script.optionsOn(disk.env()));
  const state = await script.history.stateOf(store, moment.least, moment.most, disk.clock.now());
  if (crashSeed % 8 !== 0) {
    disk.kill();
    return;
  }
  // Goes on, and what was found is still there when nothing survives that need not.
  const after = new History(disk, script.history.keys);
  after.goOnFrom(state);
  await store.compact({ full: true });
  await after.set(store, 0, 0, 100);
  await after.flush(store);
  disk.crash('none');
  const again = await KvStore.open(script.optionsOn(disk.env()));
  await after.stateOf(again);
  disk.kill();
}

/** These answer from memory, and fail only when a test names them. */
const MAY_FAIL = (operation: DiskOperation) => !['close', 'size', 'lock'].includes(operation);

describe.each([
  ['EIO', 'once', false],
  ['EIO', 'from then on', true],
  ['ENOSPC', 'once', false],
] as const)('a script of 60 operations whose n-th call fails with %s, %s', (code, _, sticky) => {
  it.each([0, 1, 2])('never acknowledges what is not there afterwards, at level %i', async (level) => {
    const seed = SEED - (SEED % 3) + level;
    const random = new SeededRandom(seed);
    const clean = new SimulatedDisk({ seed });
    await new Script(clean, seed, 60).run(clean.env());
    const calls = clean.trace.filter(({ operation }) => MAY_FAIL(operation)).length;
    const share = Math.min(1, (40 * RUNS) / calls);
    const outcomes: Record<string, number> = {};
    let done = 0;
    for (let nth = 1; nth <= calls; nth++) {
      if (!random.chance(share)) continue;
      done++;
      const outcome = await failing(seed, nth, code, sticky).catch((error: unknown) => {
        const { operation, path } = clean.trace.filter((call) => MAY_FAIL(call.operation))[nth - 1];
        throw new Error(
          `${code} at call ${nth} (${operation} ${path}), seed ${seed}, level ${level}: ${String(error)}`,
          { cause: error },
        );
      });
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    }
    tally({ failures: done, ...outcomes });
    expect(done).toBeGreaterThan(10);
  });
});

/** Runs the script with a call that fails; resolves to what became of it. */
async function failing(seed: number, nth: number, code: 'EIO' | 'ENOSPC', sticky: boolean): Promise<string> {
  const disk = new SimulatedDisk({ seed });
  const script = new Script(disk, seed, 60);
  const { history } = script;
  disk.failAt({ nth, code, sticky });
  const requireOurs = (error: unknown) => {
    if (!(error instanceof KvDiskError) && !(error instanceof KvReadOnlyError)) throw error;
  };
  let refused = false;
  // A flush, a compaction or a checkpoint that fails changes nothing; a write that fails ends the script.
  await script
    .run(disk.env(), (step) => step().catch(requireOurs))
    .catch((error: unknown) => {
      requireOurs(error);
      refused = true;
    });
  const { store } = script;
  if (store?.isOpen) {
    // Reads go on; whether the write that was refused is seen is left open.
    disk.clearFaults();
    await history.stateOf(store, Math.max(history.durable, history.states.length - 2));
  }
  disk.clearFaults();
  if (nth % 2 === 0) disk.crash('none');
  else disk.kill();
  const again = await KvStore.open(script.optionsOn(disk.env()));
  await history.stateOf(again);
  await again.close();
  return refused ? 'refused' : 'went on';
}
