// Changes operators, conditions and literals of what everything else stands on, one by one, and looks whether a test
// fails: `npm run test:mutation`, or `npm run test:mutation -- record recovery` for some units. Scores and survivors
// are in docs/torture.md.
//
// What to change is what Stryker knows. Its runner is not used: its switches for all mutants at once make the loops of an
// index ten times as slow, and Jest takes seconds for each. Here each mutant is a program of its own, and the tests of the
// unit run outside Jest (`worker.mjs`), up to the first that fails.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Instrumenter } from '@stryker-mutator/instrumenter';
import { context } from 'esbuild';

/** What is mutated, and the tests that have to notice. */
const UNITS = {
  record: { file: 'src/log/record.ts', specs: ['src/log/record.spec.ts'] },
  commit: { file: 'src/log/commit.ts', specs: ['src/log/commit.spec.ts'] },
  'hash-index': {
    file: 'src/hot/hash-index.ts',
    specs: ['src/hot/hash-index.spec.ts', 'src/hot/hash-index-image.spec.ts', 'src/hot/chunk-loader.spec.ts'],
  },
  'linked-buckets': {
    file: 'src/hot/linked-buckets.ts',
    specs: ['src/hot/hash-index.spec.ts', 'src/hot/hash-index-image.spec.ts', 'src/hot/chunk-loader.spec.ts'],
  },
  recovery: { file: 'src/store/recovery.ts', specs: ['src/store/recovery.spec.ts'] },
};

/** A mutant that takes so many times as long as the tests without one is a loop without an end. */
const ENDLESS_FACTOR = 4;
const LEAST_LIMIT_MS = 5000;
/** Node reserves many times what it uses. */
const ADDRESS_SPACE_KIB = 32 * 1024 * 1024;

process.chdir(fileURLToPath(new URL('../..', import.meta.url)));

/** Everything that Stryker would change in a file. */
async function mutantsOf(file, content) {
  const logger = { debug() {}, info() {}, warn() {}, isDebugEnabled: () => false };
  const { mutants } = await new Instrumenter(logger).instrument([{ name: file, mutate: true, content }], {
    plugins: null,
    ignorers: [],
    excludedMutations: [],
  });
  const lines = content.split('\n');
  const starts = lines.map((_, i) => lines.slice(0, i).join('\n').length + (i > 0 ? 1 : 0));
  const offsetOf = ({ line, column }) => starts[line] + column;
  return mutants.map(({ mutatorName, replacement, location: { start, end } }) => ({
    mutatorName,
    replacement,
    line: start.line,
    text: lines[start.line].trim(),
    from: offsetOf(start),
    to: offsetOf(end),
  }));
}

/** The file with a mutant in it, in all ways in which it may be meant. */
function* mutated(content, { from, to, replacement, mutatorName }) {
  const withText = (text) => content.slice(0, from) + text + content.slice(to);
  // In parentheses, for what stands beside it may bind more tightly.
  if (mutatorName !== 'BlockStatement') yield withText(`(${replacement})`);
  yield withText(replacement);
}

/** The tests of a unit as one file, built anew for each content of the unit's file. */
async function bundleOf(file, specs) {
  let contents;
  const bundle = await context({
    stdin: {
      contents: specs.map((spec) => `import './${spec}';`).join('\n'),
      resolveDir: process.cwd(),
    },
    write: false,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    // The package says that its files do nothing by themselves; its tests do.
    ignoreAnnotations: true,
    logLevel: 'silent',
    plugins: [
      {
        name: 'unit',
        setup({ onLoad }) {
          onLoad({ filter: new RegExp(`/${basename(file)}$`) }, ({ path }) =>
            path === join(process.cwd(), file) ? { contents, loader: 'ts' } : undefined,
          );
        },
      },
    ],
  });
  /** @throws where the content is no program */
  const build = async (text) => {
    contents = text;
    return (await bundle.rebuild()).outputFiles[0].text;
  };
  return { build, end: () => bundle.dispose() };
}

/** Runs tests in a process, which is given up where they do not end, or ask for more and more memory. */
class Runner {
  process;
  /** Of the processor's time. */
  limitMs = Infinity;

  /** Why the tests fail, if they do. */
  async failure(code) {
    this.process ??= this.start();
    const { process: child } = this;
    const startMs = cpuMsOf(child.pid);
    let timer;
    try {
      return await new Promise((resolve) => {
        child.removeAllListeners();
        child.once('message', ({ failure }) => resolve(failure));
        child.once('exit', () => {
          this.process = undefined;
          resolve('ends the process');
        });
        child.send(code);
        timer = setInterval(() => {
          if (cpuMsOf(child.pid) - startMs > this.limitMs) child.kill('SIGKILL');
        }, 200);
      });
    } finally {
      clearInterval(timer);
    }
  }

  start() {
    const worker = fileURLToPath(new URL('worker.mjs', import.meta.url));
    const limited = `ulimit -v ${ADDRESS_SPACE_KIB}; exec "$0" "$1"`;
    return spawn('sh', ['-c', limited, process.execPath, worker], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
  }

  end() {
    this.process?.disconnect();
  }
}

/** What a process has taken of the processor: a busy machine must not be taken for a loop without an end. */
function cpuMsOf(pid) {
  try {
    const [user, system] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ').slice(11, 13);
    // In ticks of 10 ms.
    return (Number(user) + Number(system)) * 10;
  } catch {
    return performance.now();
  }
}

/** @returns whether the mutant survived; `undefined` when it is no program */
async function survives(bundle, runner, content, mutant) {
  for (const text of mutated(content, mutant)) {
    const code = await bundle.build(text).catch(() => undefined);
    if (code !== undefined) return (await runner.failure(code)) === undefined;
  }
  return undefined;
}

async function mutate(name) {
  const { file, specs } = UNITS[name];
  const content = readFileSync(file, 'utf8');
  const bundle = await bundleOf(file, specs);
  const runner = new Runner();
  const failure = await runner.failure(await bundle.build(content));
  if (failure !== undefined) throw new Error(`A test of ${file} fails without a mutant: ${failure}`);
  runner.limitMs = Math.max(ENDLESS_FACTOR * cpuMsOf(runner.process.pid), LEAST_LIMIT_MS);
  let killed = 0;
  let survived = 0;
  for (const mutant of await mutantsOf(file, content)) {
    const outcome = await survives(bundle, runner, content, mutant);
    if (outcome === undefined) continue;
    if (!outcome) {
      killed++;
      continue;
    }
    survived++;
    console.log(`survived ${file}:${mutant.line + 1}: ${mutant.text}`);
    console.log(`    ${short(content.slice(mutant.from, mutant.to))}  →  ${short(mutant.replacement)}`);
  }
  await bundle.end();
  runner.end();
  const share = ((100 * killed) / (killed + survived)).toFixed(1);
  console.log(`${file}: ${killed} of ${killed + survived} mutants were noticed, ${share} %`);
}

function short(text) {
  return text.replaceAll(/\s+/g, ' ').slice(0, 100);
}

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(UNITS);
const unknown = names.filter((name) => !(name in UNITS));
if (unknown.length > 0) throw new Error(`There is no unit ${unknown.join(', ')}`);
for (const name of names) await mutate(name);
