// Runs the tests with one planted bug after the other and says which test caught it: `npm run test:planted`.
//
//   --only a,b   those bugs alone
//   --jobs n     so many at once (1)
//   --timeout s  seconds for each bug (300); a run that takes longer has caught nothing
//   --json file  writes the outcome of each
//
// The same tests run first without a bug: one that fails then catches nothing.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { PLANTED_BUGS } from './planted-bugs.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const jest = join(dirname(createRequire(import.meta.url).resolve('jest/package.json')), 'bin', 'jest.js');

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    jobs: { type: 'string', default: '1' },
    timeout: { type: 'string', default: '300' },
    json: { type: 'string' },
  },
});
const only = values.only?.split(',');
const bugs = PLANTED_BUGS.filter(({ name }) => !only || only.includes(name));
const unknown = only?.filter((name) => !bugs.some((bug) => bug.name === name)) ?? [];
if (unknown.length > 0) throw new Error(`There is no planted bug ${unknown.join(', ')}`);

const scratch = mkdtempSync(join(tmpdir(), 'hotcold-planted-'));
let runs = 0;

/** Runs the tests of a catcher; resolves to the names of those that passed and those that failed. */
async function run({ spec, test }, bug) {
  const report = join(scratch, `${++runs}.json`);
  const args = ['--config', 'test/planted/jest.config.mjs', '--runInBand', '--forceExit', '--silent'];
  args.push('--json', `--outputFile=${report}`, '--runTestsByPath', spec);
  if (test) args.push('--testNamePattern', test);
  const child = spawn(process.execPath, [jest, ...args], {
    cwd: root,
    env: { ...process.env, PLANTED_BUG: bug ?? '' },
    stdio: 'ignore',
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), Number(values.timeout) * 1000);
  await new Promise((resolve) => child.on('close', resolve));
  clearTimeout(timer);
  let suites;
  try {
    suites = JSON.parse(readFileSync(report, 'utf8')).testResults;
  } catch {
    return { passed: [], failed: [], problem: 'did not end' };
  }
  const named = (status) =>
    suites.flatMap(({ assertionResults }) =>
      assertionResults.filter((one) => one.status === status).map(({ fullName }) => fullName),
    );
  const [passed, failed] = [named('passed'), named('failed')];
  return { passed, failed, problem: passed.length + failed.length > 0 ? undefined : 'has no such test' };
}

const baselines = new Map();

/** Names of the tests that pass without a bug. */
function baseline(catcher) {
  const key = `${catcher.spec} ${catcher.test}`;
  if (!baselines.has(key)) baselines.set(key, run(catcher, undefined));
  return baselines.get(key);
}

async function judge(bug) {
  const startMs = Date.now();
  const outcome = { name: bug.name, caughtBy: [], problems: [] };
  for (const catcher of bug.caughtBy) {
    const good = await baseline(catcher);
    const found = await run(catcher, bug.name);
    outcome.caughtBy.push(
      ...found.failed.filter((test) => good.passed.includes(test)).map((test) => `${catcher.spec}: ${test}`),
    );
    for (const { problem } of [good, found]) if (problem) outcome.problems.push(`${catcher.spec} ${problem}`);
    if (outcome.caughtBy.length > 0) break;
  }
  outcome.seconds = Math.round((Date.now() - startMs) / 1000);
  const [first = outcome.problems.join(', '), ...more] = outcome.caughtBy;
  const others = more.length > 0 ? ` (and ${more.length} more)` : '';
  const verdict = outcome.caughtBy.length > 0 ? 'caught' : 'MISSED';
  console.log(`${verdict} ${bug.name}, ${outcome.seconds} s: ${first}${others}`);
  return outcome;
}

const waiting = [...bugs];
const outcomes = [];
await Promise.all(
  Array.from({ length: Number(values.jobs) }, async () => {
    for (let bug = waiting.shift(); bug; bug = waiting.shift()) outcomes.push(await judge(bug));
  }),
);
rmSync(scratch, { recursive: true, force: true });
const missed = outcomes.filter(({ caughtBy }) => caughtBy.length === 0);
console.log(`${outcomes.length - missed.length} of ${outcomes.length} planted bugs were caught.`);
if (values.json) writeFileSync(values.json, `${JSON.stringify(outcomes, null, 2)}\n`);
process.exitCode = missed.length > 0 ? 1 : 0;
