/**
 * `npm run bench`: all peers in turn (A B C A B C …), each (round, peer) in a fresh process, the same keys, values and
 * traces for all. What counts are ratios of medians within one run: absolute figures depend on the machine and on
 * who else uses it. Results go to `bench/results/`; `--quick` records nothing.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { SingleBar } from 'cli-progress';
import { format, resolveConfig } from 'prettier';
import { markdownReport } from './report.mjs';
import { summary } from './summary.mjs';

const PEERS = ['empty', 'ours', 'map', 'lru-cache', 'lmdb', 'lmdb-nosync', 'classic-level'];

const USAGE = `npm run bench -- [options]
  --keys <n>      keys, and operations a phase (default 1000000)
  --rounds <n>    (default 3)
  --peers <list>  of ${PEERS.join(',')} (default: all)
  --seed <n>      (default 1)
  --cap-ms <n>    most milliseconds of a phase after loading (default 4000)
  --name <text>   part of the names of the result files
  --quick         100000 keys, 1 round, at most 1 s a phase, nothing recorded
`;

const { values: options } = parseArgs({
  options: {
    keys: { type: 'string' },
    rounds: { type: 'string' },
    peers: { type: 'string' },
    seed: { type: 'string', default: '1' },
    'cap-ms': { type: 'string' },
    name: { type: 'string' },
    quick: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const settings = {
  keys: Number(options.keys ?? (options.quick ? 100_000 : 1_000_000)),
  rounds: Number(options.rounds ?? (options.quick ? 1 : 3)),
  capMs: Number(options['cap-ms'] ?? (options.quick ? 1_000 : 4_000)),
  seed: Number(options.seed),
  peers: options.peers?.split(',') ?? PEERS,
};
const unusable =
  settings.peers.some((peer) => !PEERS.includes(peer)) ||
  [settings.keys, settings.rounds, settings.capMs, settings.seed].some((n) => !Number.isInteger(n) || n < 1);
if (options.help || unusable) {
  process.stderr.write(USAGE);
  process.exit(unusable ? 1 : 0);
}

const child = fileURLToPath(new URL('child.mjs', import.meta.url));
const start = promisify(execFile);

async function measure(peer) {
  const { stdout } = await start(process.execPath, [
    '--expose-gc',
    ...[child, '--peer', peer],
    ...['--keys', String(settings.keys)],
    ...['--cap-ms', String(settings.capMs)],
    ...['--seed', String(settings.seed)],
  ]);
  return JSON.parse(stdout);
}

const bar = new SingleBar({
  format: '{bar} {value}/{total}  round {round}  {peer}  {duration_formatted}',
  noTTYOutput: true,
  notTTYSchedule: 30_000,
});
bar.start(settings.rounds * settings.peers.length, 0, { round: 1, peer: '' });
const runs = [];
for (let round = 1; round <= settings.rounds; round++) {
  for (const peer of settings.peers) {
    bar.update({ round, peer });
    runs.push({ round, ...(await measure(peer)) });
    bar.increment();
  }
}
bar.stop();

const result = await summary(settings, runs);
const markdown = markdownReport(result);
console.log(`\n${markdown}`);
if (!options.quick) {
  mkdirSync(new URL('results/', import.meta.url), { recursive: true });
  const name = [result.date, options.name].filter(Boolean).join('-');
  await record(`${name}.json`, JSON.stringify(result));
  await record(`${name}.md`, markdown);
}

/** Laid out as the check of the repository's format wants it. */
async function record(name, text) {
  const file = fileURLToPath(new URL(`results/${name}`, import.meta.url));
  writeFileSync(file, await format(text, { ...(await resolveConfig(file)), filepath: file }));
}
