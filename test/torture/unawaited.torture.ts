/**
 * Five million sets of 1 KiB that nobody awaits, 1,000 in each turn of the event loop (100,000 at `always`), in a process that may take 256 MiB
 * (a cgroup, where there are any; elsewhere its peak is looked at). At `always` writes beyond `maxBacklog` are refused.
 */
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { startChild } from '../support/built-store.js';
import { problemOf } from '../support/machine.js';
import { peak, RUNS, tally } from '../support/tally.js';
import { missingPath } from '../support/temp-directory.js';

const MIB = 1024 * 1024;
const LIMIT_BYTES = 256 * MIB;
const SETS = 5_000_000;
const ROOT = '/sys/fs/cgroup';

/** A control group with the limit, in either version; `undefined` where none can be made. */
function limitedGroup(): { path: string; limit: string } | undefined {
  for (const [parent, limit] of [
    [`${ROOT}/memory`, 'memory.limit_in_bytes'],
    [ROOT, 'memory.max'],
  ]) {
    const path = `${parent}/hotcold-${process.pid}`;
    const problem = problemOf(() => {
      mkdirSync(path);
      writeFileSync(`${path}/${limit}`, String(LIMIT_BYTES));
    });
    if (problem === undefined) return { path, limit };
    problemOf(() => rmdirSync(path));
  }
  return undefined;
}

it.each([
  ['interval', SETS, 1000],
  ['checkpoint', SETS, 1000],
  // More in a turn than may wait.
  ['always', SETS / 10, 100_000],
])('sets without awaiting at %s stay within 256 MiB', async (level, sets, perTurn) => {
  const group = limitedGroup();
  try {
    const count = sets * RUNS;
    const options = { path: missingPath(), store: 'real', count, perTurn, level, valueBytes: 1024 };
    const child = startChild('memory', { ...options, waits: true });
    if (group) writeFileSync(`${group.path}/cgroup.procs`, String(child.process.pid));
    child.process.stdin?.write('go\n');
    expect(await child.ended).toBe(0);
    const [, rss] = (await child.line((line) => line.startsWith('rss'))).split(' ').map(Number);
    const [, failures] = (await child.line((line) => line.startsWith('failures'))).split(' ').map(Number);
    const [, others] = (await child.line((line) => line.startsWith('others'))).split(' ').map(Number);
    expect(others).toBe(0);
    expect(failures > 0).toBe(level === 'always');
    expect(rss).toBeLessThan(LIMIT_BYTES);
    tally({ [`sets at ${level}`]: count, [`refused at ${level}`]: failures });
    tally({ [group ? 'in a cgroup' : 'without a cgroup']: 1 });
    peak({ [`MiB at ${level}`]: Math.round(rss / MIB) });
    if (group?.limit === 'memory.limit_in_bytes')
      expect(readFileSync(`${group.path}/memory.oom_control`, 'utf8')).toContain('oom_kill 0');
  } finally {
    if (group) problemOf(() => rmdirSync(group.path));
  }
});
