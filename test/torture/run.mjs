// Tests for long, with fresh seeds, until the time is over: `npm run test:torture`. docs/torture.md tells of the cases.
//
//   --minutes n   how long (10); a run that has begun ends
//   --only a,b    those cases alone
//   --seed n      the seed of the first run of each case; the next ones count up
//   --rounds n    ends after so many runs of each case
//   --jobs n      so many runs at once (1)
//   --json file   writes what was done
//
// A violation is told with what runs it again; the other cases go on, the case itself does not.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { markdownTable } from 'markdown-table';
import { CASES } from './cases.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const jest = join(dirname(createRequire(import.meta.url).resolve('jest/package.json')), 'bin', 'jest.js');

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    only: { type: 'string' },
    seed: { type: 'string' },
    rounds: { type: 'string', default: 'Infinity' },
    jobs: { type: 'string', default: '1' },
    json: { type: 'string' },
  },
});
const minutes = Number(values.minutes);
const rounds = Number(values.rounds);
const firstSeed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const only = values.only?.split(',');
const cases = CASES.filter(({ name }) => !only || only.includes(name));
const unknown = only?.filter((name) => !cases.some((one) => one.name === name)) ?? [];
if (unknown.length > 0) throw new Error(`There is no case ${unknown.join(', ')}`);
const endMs = Date.now() + minutes * 60_000;
const scratch = mkdtempSync(join(tmpdir(), 'hotcold-torture-'));

console.log(`seed ${firstSeed}, ${minutes} minutes: ${cases.map(({ name }) => name).join(', ')}`);

const results = cases.map((one) => ({
  ...one,
  done: 0,
  counts: {},
  violations: [],
  skipped: undefined,
  seconds: 0,
}));

/** Lines that a test has left in its file. */
function linesOf(file) {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

/** The first lines of a failure's message: what went wrong, without the stack. */
function shortened(message) {
  return message.split('\n    at ')[0].slice(0, 1500);
}

async function run(result) {
  const seed = firstSeed + result.done++;
  const startMs = Date.now();
  const id = `${result.name}-${seed}`;
  const report = join(scratch, `${id}.json`);
  const tally = join(scratch, `${id}.tally`);
  const args = ['--config', 'test/torture/jest.config.mjs', '--runInBand', '--forceExit'];
  args.push('--json', `--outputFile=${report}`, '--runTestsByPath', result.spec);
  if (result.test) args.push('--testNamePattern', result.test);
  // A soak that is asked for alone lasts as long as the whole.
  const soakMinutes = cases.length === 1 ? minutes : Math.min(result.minutes ?? 1, minutes);
  const child = spawn(process.execPath, [jest, ...args], {
    cwd: root,
    env: {
      ...process.env,
      SEED: String(seed),
      RUNS: String(result.runs ?? 1),
      MINUTES: String(soakMinutes),
      TALLY_FILE: tally,
    },
    stdio: 'ignore',
  });
  await new Promise((resolve) => child.on('close', resolve));
  result.seconds += (Date.now() - startMs) / 1000;
  for (const { counts = {}, peaks = {}, skipped } of linesOf(tally)) {
    for (const [what, count] of Object.entries(counts))
      result.counts[what] = (result.counts[what] ?? 0) + count;
    for (const [what, most] of Object.entries(peaks))
      result.counts[what] = Math.max(result.counts[what] ?? 0, most);
    result.skipped ??= skipped;
  }
  const suites = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')).testResults : [];
  const tests = suites.flatMap(({ assertionResults }) => assertionResults);
  const failed = tests.filter(({ status }) => status === 'failed');
  for (const { fullName, failureMessages } of failed)
    violation(result, seed, `${fullName}\n${shortened(failureMessages.join('\n'))}`);
  if (!tests.some(({ status }) => status === 'passed') && failed.length === 0)
    violation(result, seed, suites[0]?.message ?? 'the tests did not run');
}

function violation(result, seed, what) {
  const again = `npm run test:torture -- --only ${result.name} --seed ${seed} --rounds 1`;
  result.violations.push({ seed, what, again });
  console.log(`\nVIOLATION in ${result.name}, seed ${seed}: ${what}\nRun it again: ${again}\n`);
}

/** The case whose turn it is: the one that has had the least of the time. */
function next() {
  const waiting = results.filter(
    ({ done, running, skipped, violations }) =>
      !running && done < rounds && skipped === undefined && violations.length === 0,
  );
  return waiting.toSorted((a, b) => a.done - b.done || a.seconds - b.seconds)[0];
}

await Promise.all(
  Array.from({ length: Number(values.jobs) }, async () => {
    for (let result = next(); result && Date.now() < endMs; result = next()) {
      result.running = true;
      await run(result);
      result.running = false;
    }
  }),
);
rmSync(scratch, { recursive: true, force: true });

const countsOf = ({ counts, skipped }) =>
  skipped
    ? `skipped: ${skipped}`
    : Object.entries(counts)
        .map(([what, n]) => `${n} ${what}`)
        .join(', ');
console.log(
  markdownTable(
    [
      ['case', 'runs', 'done', 'violations', 'seconds'],
      ...results.map((one) => [
        one.name,
        String(one.done),
        countsOf(one),
        String(one.violations.length),
        String(Math.round(one.seconds)),
      ]),
    ],
    { align: ['l', 'r', 'l', 'r', 'r'] },
  ),
);
const violations = results.flatMap((one) => one.violations.map((found) => ({ case: one.name, ...found })));
console.log(`seed ${firstSeed}: ${violations.length} violations`);
if (values.json) {
  const table = results.map(({ name, done, counts, skipped, seconds }) => ({
    case: name,
    runs: done,
    counts,
    skipped,
    seconds: Math.round(seconds),
  }));
  const whole = { date: new Date().toISOString(), seed: firstSeed, minutes, cases: table, violations };
  writeFileSync(values.json, `${JSON.stringify(whole, null, 2)}\n`);
}
process.exitCode = violations.length > 0 ? 1 : 0;
