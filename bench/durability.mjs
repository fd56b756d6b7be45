/**
 * What durability costs and what opening takes: W8 and W9 of the workloads, and replay after a kill. Peers in turn, each
 * measurement in a fresh process; what counts are ratios of medians. The result goes to `bench/results/`.
 *
 *   npm run bench:durability                   # about 5 minutes
 *   npm run bench:durability -- --many 2000000 # instead of 10 million keys
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { markdownTable } from 'markdown-table';
import { median } from 'simple-statistics';
import { GIB, MIB } from './harness/units.mjs';

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    few: { type: 'string', default: '1000000' },
    many: { type: 'string', default: '10000000' },
    seconds: { type: 'string', default: '3' },
    name: { type: 'string' },
  },
});
const LEVELS = ['always', 'interval', 'checkpoint'];
const rounds = Number(options.rounds);
const few = Number(options.few);
const many = Number(options.many);
const child = fileURLToPath(new URL('./durability-child.mjs', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'hotcold-durability-'));

/** Resolves to what the child printed, and how long that took from its start. */
function run(what, peer, name, more = {}) {
  const args = { do: what, peer, path: join(directory, name), seconds: options.seconds, ...more };
  const flags = Object.entries(args).flatMap(([key, value]) =>
    value === true ? [`--${key}`] : [`--${key}`, String(value)],
  );
  const from = performance.now();
  const started = spawn(process.execPath, [child, ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
  return new Promise((resolve, reject) => {
    let text = '';
    let ms = 0;
    started.stdout.on('data', (chunk) => {
      ms ||= performance.now() - from;
      text += chunk;
    });
    started.on('close', () => {
      if (text) resolve({ ms, ...JSON.parse(text) });
      else reject(new Error(`${what} of ${peer} failed.`));
    });
  });
}

/** Bytes of the hot log. */
function logBytesOf(name) {
  const path = join(directory, name);
  const segments = readdirSync(path).filter((file) => file.startsWith('hot-'));
  return segments.reduce((sum, file) => sum + statSync(join(path, file)).size, 0);
}

/** What earlier stores have left to write is not to be waited for by what is measured next. */
function settle() {
  spawnSync('sync');
}

const medians = {};
/** A measurement for each of them in turn, round after round. Resolves to the medians. */
async function inTurn(title, peers, measure) {
  process.stderr.write(`${title} …\n`);
  const seen = Object.fromEntries(peers.map((peer) => [peer, []]));
  for (let round = 0; round < rounds; round++)
    for (const peer of peers) seen[peer].push(await measure(peer, round));
  medians[title] = Object.fromEntries(peers.map((peer) => [peer, median(seen[peer])]));
  return medians[title];
}

async function measureAll() {
  const writes = await inTurn('writes/s', ['bare', 'ours', 'lmdb'], async (peer, round) => {
    const name = `write-${peer}-${round}`;
    const { writesPerSecond } = await run('write', peer, name);
    rmSync(join(directory, name), { recursive: true, force: true });
    return writesPerSecond;
  });
  const levels = {};
  for (const writers of [1, 64]) {
    levels[writers] = await inTurn(`writes/s, ${writers} in flight`, LEVELS, async (level, round) => {
      const name = `level-${level}-${round}`;
      const { writesPerSecond } = await run('write', 'ours', name, { level, writers });
      rmSync(join(directory, name), { recursive: true, force: true });
      return writesPerSecond;
    });
  }
  for (const peer of ['ours', 'lmdb']) await run('make', peer, `few-${peer}`, { keys: few });
  settle();
  const first = await inTurn(`first read of ${few} keys, ms`, ['empty', 'ours', 'lmdb'], async (peer) => {
    return (await run('read', peer, `few-${peer}`, { keys: few, close: true })).ms;
  });
  const { closeMs } = await run('make', 'ours', 'many-ours', { keys: many });
  settle();
  const firstOfMany = await inTurn(`first read of ${many} keys, ms`, ['empty', 'ours'], async (peer) => {
    return (await run('read', peer, 'many-ours', { keys: many, close: true })).ms;
  });
  rmSync(join(directory, 'many-ours'), { recursive: true, force: true });
  const replays = [];
  for (const [keys, valueBytes] of [
    [4_000_000, 0],
    [500_000, 1024],
  ]) {
    const name = `crash-${valueBytes}`;
    await run('crash', 'ours', name, { keys, 'value-bytes': valueBytes });
    settle();
    const bytes = logBytesOf(name);
    // Each ends with a kill, so the next one replays again.
    const times = await inTurn(`replay of ${keys} keys, ms`, ['ours'], async (peer) => {
      const { ms, opened } = await run('read', peer, name, { keys });
      if (opened.clean || opened.records < keys) throw new Error(`Not replayed: ${JSON.stringify(opened)}`);
      return ms;
    });
    const ms = times.ours;
    replays.push({ keys, bytes, ms, secondsPerGib: (ms - first.empty) / 1000 / (bytes / GIB) });
    rmSync(join(directory, name), { recursive: true, force: true });
  }
  return { writes, levels, first, firstOfMany, closeMs, replays };
}

let result;
try {
  result = await measureAll();
} finally {
  rmSync(directory, { recursive: true, force: true });
}
const { writes, levels, first, firstOfMany, closeMs, replays } = result;
const shown = [
  ['durable writes, 64 writers: ours / bare append and fdatasync', writes.ours / writes.bare, '≥', 0.8],
  ['durable writes, 64 writers: ours / lmdb', writes.ours / writes.lmdb, '≥', 1],
  [`process start to first read, ${few} keys: ours / lmdb`, first.ours / first.lmdb, '≤', 1.1],
  [
    `first read of ${many} keys, seconds above process start`,
    (firstOfMany.ours - firstOfMany.empty) / 1000,
    '≤',
    0.5,
  ],
  ...replays.map(({ keys, bytes, secondsPerGib }) => [
    `replay after a kill, seconds per GiB: ${keys} records, ${(bytes / MIB).toFixed(0)} MiB`,
    secondsPerGib,
    '≤',
    2,
  ]),
];
const held = ([, value, sign, limit]) => (sign === '≤' ? value <= limit : value >= limit);
const date = new Date().toISOString().slice(0, 10);
const report = `${[
  `# Durability and opening, ${date}`,
  `Objects of about 120 bytes under keys of 17 characters; ${rounds} rounds, peers in turn, a fresh process each; default ` +
    `options but for the level (replay: \`hot.memory\` 512 MiB, no compaction). Node ${process.versions.node}, ${cpus().length} ` +
    `cores, ${(totalmem() / GIB).toFixed(0)} GiB. A write of lmdb is durable once \`flushed\` has resolved.`,
  '## What has to hold',
  markdownTable([
    ['', 'measured', 'wanted', ''],
    ...shown.map((row) => [row[0], row[1].toFixed(2), `${row[2]} ${row[3]}`, held(row) ? 'yes' : '**no**']),
  ]),
  '## Medians',
  markdownTable([
    ['', 'ours', 'lmdb', 'bare', 'empty'],
    ...Object.entries(medians)
      .filter(([, of]) => 'ours' in of)
      .map(([title, of]) => [
        title,
        ...['ours', 'lmdb', 'bare', 'empty'].map((peer) =>
          peer in of ? Math.round(of[peer]).toLocaleString('en') : '',
        ),
      ]),
    [`close of ${many} keys just loaded, ms`, Math.round(closeMs).toLocaleString('en'), '', '', ''],
  ]),
  '## Writes a second by durability level, medians',
  markdownTable([
    ['in flight', ...LEVELS],
    ...Object.entries(levels).map(([writers, of]) => [
      writers,
      ...LEVELS.map((level) => Math.round(of[level]).toLocaleString('en')),
    ]),
  ]),
].join('\n\n')}\n`;
const base = fileURLToPath(new URL(`./results/${options.name ?? `${date}-durability`}`, import.meta.url));
writeFileSync(`${base}.json`, `${JSON.stringify({ date, options, medians, closeMs, replays }, null, 2)}\n`);
writeFileSync(`${base}.md`, report);
process.stdout.write(report);
process.exitCode = shown.every(held) ? 0 : 1;
