/**
 * A real process that is killed at its n-th system call that changes a file, by strace: a script of 300 operations at
 * `always`, with compactions and checkpoints. One thread of the pool makes the asynchronous calls, so each n is another
 * moment; those on the main thread (names, truncations) are counted by themselves. A round takes one n in STRIDE; the seed
 * says which.
 */
import { spawnSync } from 'node:child_process';
import { KvStore } from 'nestjs-hotcold/store';
import { builtChild } from '../support/built-store.js';
import { problemOf, sh } from '../support/machine.js';
import { SEED, skipped, tally } from '../support/tally.js';
import { missingPath } from '../support/temp-directory.js';

const STRIDE = Number(process.env.STRIDE ?? 16);
const OPERATIONS = 300;

/** Calls that libuv makes for the store and for nothing else, by the thread that makes them. */
const CALLS = {
  pool: 'pwrite64,fdatasync,fsync,unlink',
  main: 'ftruncate,rename,pwrite64,fdatasync,fsync,unlink',
};

/** What the script has acknowledged, and whether it came to its end. */
function runScript(path: string, thread: 'pool' | 'main', nth: number): { acked: number; ended: boolean } {
  const { command, args } = builtChild('script', { path });
  const follow = thread === 'pool' ? ['-f'] : [];
  const inject = `inject=${CALLS[thread]}:signal=KILL:when=${nth}`;
  const trace = ['-qq', '-o', '/dev/null', '-e', `trace=${CALLS[thread]}`, '-e', inject];
  const { stdout } = spawnSync('strace', [...follow, ...trace, command, ...args], {
    encoding: 'utf8',
    env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
  });
  const lines = stdout.split('\n');
  return { acked: lines.filter((line) => line.startsWith('ack')).length, ended: lines.includes('closed') };
}

/** What the store holds after the first so many operations. */
function stateAfter(count: number): string {
  const state = new Map<number, number>();
  for (let n = 1; n <= count; n++) {
    if (n % 7 === 0) state.delete(n % 40);
    else state.set(n % 40, n);
  }
  return JSON.stringify([...state].toSorted(([a], [b]) => a - b));
}

it('killed at its n-th call, the script has lost nothing that it acknowledged', async () => {
  const problem = problemOf(() => sh('strace', '-f', '-qq', '-o', '/dev/null', 'true'));
  if (problem !== undefined) {
    skipped(`strace cannot trace here: ${problem}`);
    return;
  }
  for (const thread of ['main', 'pool'] as const) {
    let kills = 0;
    for (let nth = 1 + (SEED % STRIDE); ; nth += STRIDE) {
      const path = missingPath();
      const { acked, ended } = runScript(path, thread, nth);
      const store = await KvStore.open({ path });
      const found: [number, unknown][] = [];
      for (let key = 0; key < 40; key++) {
        const value = await store.get(key);
        if (value !== undefined) found.push([key, value]);
      }
      await store.close();
      // The one that was under way may be there as well.
      const states = [stateAfter(acked), stateAfter(Math.min(acked + 1, OPERATIONS))];
      if (!states.includes(JSON.stringify(found)))
        throw new Error(
          `${thread} call ${nth}, ${acked} acknowledged: ${JSON.stringify(found)}, not ${states[0]}`,
        );
      if (ended) break;
      kills++;
    }
    tally({ [`kills on the ${thread} thread`]: kills });
    expect(kills).toBeGreaterThan(0);
  }
});
