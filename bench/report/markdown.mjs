/** The result of a run as Markdown. */
import { markdownTable } from 'markdown-table';
import { QUANTILES } from '../harness/context.mjs';
import { MIB } from '../harness/units.mjs';
import { WORKLOADS } from '../workloads/index.mjs';

const NOTES = `Workloads and settings are in \`bench/workloads\`, what a peer is asked to do in \`bench/adapters\`. \`empty\` is what the
harness costs itself. Event-loop delay is that of \`monitorEventLoopDelay\` at a resolution of 1 ms, so an idle loop shows
a little more than 1 ms. Updates of lmdb are acknowledged when their transaction is committed, those of lmdb-nosync,
rocksdb, classic-level and redis when the operating system has them, ours when they are in memory (a commit every 100 ms
makes them durable). \`Map\` and lru-cache keep the objects they are given and return the same ones; the others return
copies. Slow peers did fewer operations in the same time. Amplification: bytes that the operating system counted for keys and
values as JSON; "own count" is that of this package, for records with their headers.`;

/**
 * @param result what `summary` returns
 * @param plots `title` and `file` of each
 */
export function markdownReport(result, plots = []) {
  return `${[
    `# ${result.title ?? 'Benchmark'}, ${result.date}`,
    setting(result),
    ...(result.budgets.length > 0 ? ['## Budgets', budgets(result)] : []),
    ...(result.skipped.length > 0 ? ['## Not measured', skipped(result)] : []),
    ...plots.map(({ title, file }) => `![${title}](${file})`),
    ...result.settings.workloads.flatMap((name) => workload(name, result.medians[name])),
    '## How to read this',
    NOTES,
  ].join('\n\n')}\n`;
}

function setting({ settings, rawDataBytes, machine, loadAverage, versions }) {
  const packages = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [
    `- ${settings.rounds} rounds at most, each peer and step in a fresh process, peers in turn; a phase after loading takes ${settings.capMs / 1000} s at most; seed ${settings.seed}${settings.quick ? '; **quick: small sizes, figures mean little**' : ''}`,
    `- a million users are ${mib(rawDataBytes.json)} MiB of keys and values as JSON, ${mib(rawDataBytes.packed)} MiB as MessagePack with shared structures; zipfian 0.99`,
    `- ${machine.cpu}, ${machine.cores} cores, ${machine.memoryMib} MiB, ${machine.platform}, Node ${machine.node}${loadAverage ? `; load average ${loadAverage.from.toFixed(1)} to ${loadAverage.to.toFixed(1)}, this run itself some 1.5` : ''}`,
    `- ${packages.join(', ')}`,
  ].join('\n');
}

function budgets({ budgets }) {
  const rows = budgets.map(({ workload, what, relation, wanted, goal, value, held, missing }) => [
    workload,
    what,
    missing ? `not measured: ${[...new Set(missing)].join(', ')}` : value.toFixed(2),
    `${relation} ${wanted}${goal ? `, goal ${goal}` : ''}`,
    missing ? '' : held ? 'yes' : '**no**',
  ]);
  return markdownTable([['', '', 'measured', 'wanted', 'held'], ...rows], {
    align: ['l', 'l', 'r', 'l', 'l'],
  });
}

function skipped({ skipped }) {
  return skipped
    .map(({ what, why, failed }) => `- ${failed ? '**failed** ' : ''}${what}: ${why.replaceAll('\n', ' ')}`)
    .join('\n');
}

function workload(name, medians) {
  const peers = WORKLOADS[name].peers.filter((peer) => medians[peer]);
  if (peers.length === 0) return [];
  const table = (kind, title, cell) => {
    const rows = [...new Set(peers.flatMap((peer) => Object.keys(medians[peer][kind])))];
    if (rows.length === 0) return [];
    const cells = rows.map((row) => [
      row,
      ...peers.map((peer) => (row in medians[peer][kind] ? cell(medians[peer][kind][row]) : '')),
    ]);
    return [markdownTable([[title, ...peers], ...cells], { align: ['l', ...peers.map(() => 'r')] })];
  };
  const at = (list, quantile) => list[QUANTILES.indexOf(quantile)].toPrecision(2);
  return [
    `## ${name}: ${WORKLOADS[name].title}`,
    ...table('ops', 'operations a second', rate),
    ...table('latencyUs', 'latency in µs: p50 / p99 / p99.9', (list) =>
      [0.5, 0.99, 0.999].map((quantile) => plain(Number(at(list, quantile)))).join(' / '),
    ),
    ...table('cpuUs', 'processor time in µs, all threads', (us) => us.toFixed(2)),
    ...table('figures', 'further figures', plain),
  ];
}

function rate(opsPerSecond) {
  if (opsPerSecond < 10_000) return plain(opsPerSecond);
  return `${(opsPerSecond / 1000).toFixed(opsPerSecond >= 100_000 ? 0 : 1)}k`;
}

function plain(value) {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

function mib(bytes) {
  return Math.round(bytes / MIB).toString();
}
