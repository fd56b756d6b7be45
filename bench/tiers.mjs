/**
 * The two tiers under more data than memory: what issue 3 has to show. A process each for the empty harness and the
 * store, in turn, with few keys and with many; the result goes to `bench/results/`.
 *
 *   npm run bench:tiers                      # 1 and 10 million keys, about 6 minutes
 *   npm run bench:tiers -- --keys 2000000    # a look
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { markdownTable } from 'markdown-table';
import { GIB, MIB } from './harness/units.mjs';

const { values: options } = parseArgs({
  options: {
    keys: { type: 'string', default: '10000000' },
    few: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: '1' },
    name: { type: 'string' },
  },
});
const many = Number(options.keys);
const few = Math.min(Number(options.few), many);
const child = fileURLToPath(new URL('./tiers-child.mjs', import.meta.url));

function measure(peer, keys) {
  process.stderr.write(`${peer}, ${keys} keys …\n`);
  const args = ['--expose-gc', child, '--peer', peer, '--keys', String(keys), '--seed', options.seed];
  return JSON.parse(
    execFileSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }),
  );
}

const empty = { few: measure('empty', few), many: measure('empty', many) };
const ours = { few: measure('ours', few), many: measure('ours', many) };
const { index, absent, steady } = ours.many;
const peakMiB =
  Math.max(...Object.keys(ours.many.rss).map((phase) => ours.many.rss[phase] - empty.many.rss[phase])) / MIB;
const measured = Object.keys(ours.many.rates).filter((phase) => !phase.includes('warming up'));
const shown = [
  ['resident memory above the empty harness, MiB', peakMiB, '≤', 128],
  ['cold index without filter, bytes of memory a key', index.directoryBytes / index.keys, '≤', 2],
  ['write amplification, steady state', steady.writeAmplification, '≤', 3],
  ['space amplification, steady state', steady.spaceAmplification, '≤', 1.6],
  ['event-loop delay p99 while compacting, ms', steady.loopDelayMs.p99, '≤', 10],
  ...measured.map((phase) => [
    `${phase}: rate with many keys / with few`,
    ours.many.rates[phase] / ours.few.rates[phase],
    '≥',
    0.5,
  ]),
];
const held = ([, value, sign, limit]) => (sign === '≤' ? value <= limit : value >= limit);
const date = new Date().toISOString().slice(0, 10);
const name = options.name ?? `${date}-tiers`;
const perSecond = (rate) => Math.round(rate).toLocaleString('en');
const report = `${[
  `# The two tiers, ${date}`,
  `${few.toLocaleString('en')} and ${many.toLocaleString('en')} keys of 8 to 16 bytes with values of 100 bytes, default ` +
    `options (hot.memory 64 MiB, hot.diskBudget 256 MiB, readCache.memory 16 MiB), level \`interval\`; Node ` +
    `${process.versions.node}, ${cpus().length} cores, ${(totalmem() / GIB).toFixed(0)} GiB. Seed ${options.seed}.`,
  '## What has to hold',
  markdownTable([
    ['', 'measured', 'wanted', ''],
    ...shown.map((row) => [row[0], row[1].toFixed(2), `${row[2]} ${row[3]}`, held(row) ? 'yes' : '**no**']),
  ]),
  '## Operations per second',
  markdownTable([
    ['', `${few}: ours`, 'empty', `${many}: ours`, 'empty'],
    ...Object.keys(ours.many.rates).map((phase) => [
      phase,
      ...[ours.few, empty.few, ours.many, empty.many].map(({ rates }) => perSecond(rates[phase])),
    ]),
  ]),
  '## Further figures, many keys',
  markdownTable([
    ['', ''],
    ...Object.entries(ours.many.rss).map(([phase, rss]) => [
      `resident memory after ${phase}, above the empty harness`,
      `${((rss - empty.many.rss[phase]) / MIB).toFixed(0)} MiB`,
    ]),
    ['filter for absent keys, bytes of memory a key', (index.filterBytes / index.keys).toFixed(2)],
    ['device reads for each absent key', absent.readsPerKey.toFixed(4)],
    [
      'device reads for each read of the zipfian phase: records, chunks',
      `${ours.many.readsPerGet.records.toFixed(3)}, ${ours.many.readsPerGet.chunks.toFixed(3)}`,
    ],
    ['write amplification of the load', ours.many.loadAmplification.toFixed(2)],
    [
      'steady state: bytes on disk: hot, cold, index (MiB)',
      [steady.hotBytes, steady.coldBytes, steady.indexBytes].map((b) => (b / MIB).toFixed(0)).join(', '),
    ],
    [
      'steady state: live records (MiB), keys and values alone',
      `${(steady.liveBytes / MIB).toFixed(0)}, ${(steady.rawBytes / MIB).toFixed(0)}`,
    ],
    [
      'event-loop delay in the steady state, ms: p50, p99, max; empty',
      `${delays(steady)}; ${delays(empty.many.steady)}`,
    ],
    ['the same while loading', `${delays(ours.many.load)}; ${delays(empty.many.load)}`],
    ['reopening', `${(ours.many.reopenMs / 1000).toFixed(2)} s`],
    ['keys read back after it, wrong', `${ours.many.checked.toLocaleString('en')}, ${ours.many.wrong}`],
  ]),
].join('\n\n')}\n`;

function delays({ loopDelayMs: { p50, p99, max } }) {
  return [p50, p99, max].map((ms) => ms.toFixed(1)).join(', ');
}

const base = fileURLToPath(new URL(`./results/${name}`, import.meta.url));
writeFileSync(`${base}.json`, `${JSON.stringify({ date, options, empty, ours }, null, 2)}\n`);
writeFileSync(`${base}.md`, report);
process.stdout.write(report);
process.exitCode = shown.every(held) ? 0 : 1;
