/** The result of a run as Markdown. */
import { markdownTable } from 'markdown-table';
import { MIB } from './units.mjs';

const PHASES = {
  load: 'load, 1,000 in flight',
  readOneByOne: 'read one by one',
  readBy64: 'read 64 at a time',
  updateOneByOne: 'update one by one',
  readAndUpdate: 'YCSB-A one by one',
  readModifyWrite: 'read-modify-write one by one',
};

/** @param result what `summary` returns */
export function markdownReport(result) {
  return `${[
    `# Benchmark of ${result.date}`,
    setting(result),
    '## Floors',
    floors(result),
    '## Operations per second, medians',
    phaseTable(result.peers, (peer, phase) => rate(result.medians[peer].ops[phase])),
    ...Object.entries(result.ratios).flatMap(([base, ratios]) => [
      `## × ${base}`,
      phaseTable(result.peers, (peer, phase) => ratio(ratios[peer][phase])),
    ]),
    '## Processor time of an operation in µs, all threads, medians',
    phaseTable(result.peers, (peer, phase) => result.medians[peer].cpuUs[phase].toFixed(2)),
    '## While loading and after it, medians',
    loading(result),
    NOTES,
  ].join('\n\n')}\n`;
}

const NOTES = `Event-loop delay is that of \`monitorEventLoopDelay\` at a resolution of 1 ms, so an idle loop shows a little more
than 1 ms. Resident memory is that of the process: after the last acknowledgement, then after a flush (what a store
promises less than stable storage for is made durable there) and a full garbage collection, then the highest of the
whole run. Updates of lmdb are acknowledged when their transaction is committed, those of lmdb-nosync and
classic-level when the operating system has them, ours when they are in memory (a commit every 100 ms makes them
durable). \`Map\` and lru-cache keep the objects they are given and return the same ones; the others return copies.`;

function setting({ keys, rounds, seed, capMs, rawDataBytes, machine, loadAverage, versions }) {
  const packages = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [
    `- ${grouped(keys)} keys, ${mib(rawDataBytes.json)} MiB of keys and values as JSON, ${mib(rawDataBytes.packed)} MiB as MessagePack with shared structures; zipfian 0.99, seed ${seed}`,
    `- ${rounds} rounds, each peer in a fresh process in turn; as many operations a phase as keys, or ${capMs / 1000} s`,
    `- ${machine.cpu}, ${machine.cores} cores, ${machine.memoryMib} MiB, ${machine.platform}, Node ${machine.node}; load average ${loadAverage.from.toFixed(1)} to ${loadAverage.to.toFixed(1)}, this run itself some 1.5`,
    `- ${packages.join(', ')}`,
  ].join('\n');
}

function floors({ floors }) {
  if (floors.length === 0) return 'Not all of ours, lmdb and empty ran.';
  const rows = floors.map(({ what, relation, bound, value, pass }) => [
    what,
    `${relation} ${bound}`,
    value.toFixed(2),
    pass ? 'pass' : '**fail**',
  ]);
  return markdownTable([['floor', 'bound', 'measured', ''], ...rows], { align: ['l', 'l', 'r', 'l'] });
}

function phaseTable(peers, cell) {
  const rows = Object.entries(PHASES).map(([phase, name]) => [
    name,
    ...peers.map((peer) => cell(peer, phase)),
  ]);
  return markdownTable([['', ...peers], ...rows], { align: ['l', ...peers.map(() => 'r')] });
}

function loading({ peers, medians }) {
  const row = (name, cell) => [name, ...peers.map((peer) => cell(medians[peer]))];
  return markdownTable(
    [
      ['', ...peers],
      row('event-loop delay p99, ms', (m) => m.loopDelayP99Ms.toFixed(1)),
      row('event-loop delay max, ms', (m) => m.loopDelayMaxMs.toFixed(1)),
      row('flush after loading, ms', (m) => m.flushAfterLoadMs.toFixed(0)),
      row('resident after loading, MiB', (m) => mib(m.rssAfterLoad)),
      row('resident settled, MiB', (m) => mib(m.rssSettled)),
      row('settled above the empty harness, MiB', (m) =>
        medians.empty ? mib(m.rssSettled - medians.empty.rssSettled) : '',
      ),
      row('resident at most, whole run, MiB', (m) => mib(m.rssPeak)),
      row('close, ms', (m) => m.closeMs.toFixed(0)),
    ],
    { align: ['l', ...peers.map(() => 'r')] },
  );
}

function rate(opsPerSecond) {
  return opsPerSecond >= 100_000
    ? `${Math.round(opsPerSecond / 1000)}k`
    : `${(opsPerSecond / 1000).toFixed(1)}k`;
}

function ratio(value) {
  return value.toFixed(value < 10 ? 2 : 0);
}

function mib(bytes) {
  return Math.round(bytes / MIB).toString();
}

function grouped(number) {
  return number.toLocaleString('en');
}
