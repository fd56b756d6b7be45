// Changes operators, conditions and literals of what everything else stands on, one by one, and looks whether a test
// fails: `npm run test:mutation`, or `npm run test:mutation -- record recovery` for some units. Scores and survivors
// are in docs/torture.md.
//
// Each unit is tried with its own tests alone: what kills a mutant there says what is wrong, and takes a second.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What is mutated, and the tests that have to notice. */
const UNITS = {
  record: { file: 'src/log/record.ts', specs: ['src/log/record.spec.ts'] },
  commit: { file: 'src/log/commit.ts', specs: ['src/log/commit.spec.ts'] },
  'hash-index': {
    file: 'src/hot/hash-index.ts',
    specs: ['src/hot/hash-index.spec.ts', 'src/hot/hash-index-image.spec.ts'],
  },
  recovery: { file: 'src/store/recovery.ts', specs: ['src/store/recovery.spec.ts'] },
};

const root = fileURLToPath(new URL('../..', import.meta.url));
const temporary = join(root, '.stryker-tmp');
const stryker = join(
  dirname(createRequire(import.meta.url).resolve('@stryker-mutator/core/package.json')),
  'bin',
  'stryker.js',
);

/** Statuses of mutants that a test has noticed. */
const DETECTED = ['Killed', 'Timeout'];

async function mutate(name) {
  const { file, specs } = UNITS[name];
  const report = join(temporary, `${name}.json`);
  const { default: jest } = await import('../../jest.config.js');
  const config = {
    testRunner: 'jest',
    jest: {
      enableFindRelatedTests: false,
      config: {
        ...jest,
        roots: [...new Set(specs.map((spec) => `<rootDir>/${dirname(spec)}`))],
        testMatch: specs.map((spec) => `<rootDir>/${spec}`),
        maxWorkers: 1,
      },
    },
    mutate: [file],
    coverageAnalysis: 'perTest',
    concurrency: 1,
    // A loop without an end; the tests of a unit take a second or two.
    timeoutMS: 10_000,
    reporters: ['json'],
    jsonReporter: { fileName: report },
    tempDirName: '.stryker-tmp',
    logLevel: 'error',
  };
  const configFile = join(temporary, `${name}.config.json`);
  writeFileSync(configFile, JSON.stringify(config));
  const startMs = Date.now();
  const child = spawn(process.execPath, [stryker, 'run', configFile], { cwd: root, stdio: 'inherit' });
  const code = await new Promise((resolve) => child.on('close', resolve));
  if (code !== 0) throw new Error(`Stryker ended with ${code}`);
  show(file, JSON.parse(readFileSync(report, 'utf8')).files[file], (Date.now() - startMs) / 1000);
}

function show(file, { mutants, source }, seconds) {
  const lines = source.split('\n');
  const survivors = mutants.filter(({ status }) => !DETECTED.includes(status) && status !== 'Ignored');
  const detected = mutants.filter(({ status }) => DETECTED.includes(status)).length;
  for (const { location, replacement, status } of survivors) {
    const { start, end } = location;
    const line = lines[start.line - 1];
    const mutated = end.line === start.line ? line.slice(start.column - 1, end.column - 1) : '{ … }';
    console.log(`${status} ${file}:${start.line}: ${line.trim()}`);
    console.log(`    ${mutated}  →  ${replacement}`);
  }
  const score = (100 * detected) / (detected + survivors.length);
  const timeouts = mutants.filter(({ status }) => status === 'Timeout').length;
  console.log(
    `${file}: ${detected} of ${detected + survivors.length} mutants were noticed, ${timeouts} of them as loops without ` +
      `an end: ${score.toFixed(1)} %, ${seconds.toFixed(0)} s`,
  );
}

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(UNITS);
const unknown = names.filter((name) => !(name in UNITS));
if (unknown.length > 0) throw new Error(`There is no unit ${unknown.join(', ')}`);
mkdirSync(temporary, { recursive: true });
for (const name of names) await mutate(name);
