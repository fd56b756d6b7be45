/**
 * `npm run bench:guard`: has the work for an operation grown? Compares counts that do not depend on the machine (bytes of
 * heap and promises an operation, device reads a cold get, bytes written an update) with those in `guard/counts.json`, and
 * fails where one is higher. A store that is slower by waiting is not found here: that takes a clock, and a quiet machine.
 *
 *   npm run bench:guard -- --record    # what is counted now becomes what is wanted
 *
 * Each run also looks whether one promise more in `get` would be noticed.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { markdownTable } from 'markdown-table';

const RECORDED = new URL('guard/counts.json', import.meta.url);
const MEASURE = fileURLToPath(new URL('guard/measure.mjs', import.meta.url));
/** One thread for garbage, and a young generation in which it need not be collected while bytes are counted. */
const NODE_FLAGS = [
  '--expose-gc',
  '--single-threaded-gc',
  '--min-semi-space-size=64',
  '--max-semi-space-size=64',
];
/** Heap depends on when the compiler did what, bytes of updates on which pages writes in the background had reached. */
const TOLERANCES = [
  [/bytes allocated/, 0.05],
  [/bytes written an update/, 0.1],
  [/./, 0.01],
];
/** A timer's promise or a single read among thousands of operations is no regress. */
const SLACK = 0.005;
const PLANTED = 'planted, ';

const { values: options } = parseArgs({ options: { record: { type: 'boolean', default: false } } });
const nodeMajor = Number(process.versions.node.split('.')[0]);
const counts = JSON.parse(execFileSync(process.execPath, [...NODE_FLAGS, MEASURE], { encoding: 'utf8' }));

if (options.record) {
  const wanted = Object.fromEntries(
    Object.entries(counts)
      .filter(([name]) => !name.startsWith(PLANTED))
      .map(([name, value]) => [name, Number(value.toFixed(3))]),
  );
  writeFileSync(RECORDED, `${JSON.stringify({ node: nodeMajor, counts: wanted }, null, 2)}\n`);
}
process.exitCode = compare(JSON.parse(readFileSync(RECORDED, 'utf8'))) ? 0 : 1;

function compare(recorded) {
  const rows = [];
  let good = true;
  for (const [name, value] of Object.entries(counts)) {
    const planted = name.startsWith(PLANTED);
    const wanted = recorded.counts[planted ? name.slice(PLANTED.length) : name];
    // What a promise or an object takes is a matter of the engine's version.
    const comparable = recorded.node === nodeMajor || !name.includes('bytes allocated');
    const most = wanted * (1 + TOLERANCES.find(([pattern]) => pattern.test(name))[1]) + SLACK;
    // `!(… <= …)`: a count that is not recorded is no good either.
    const higher = !(value <= most);
    const fails = comparable && higher !== planted;
    if (fails) good = false;
    const verdict = fails ? (planted ? '**not noticed**' : '**higher**') : planted ? 'noticed' : 'yes';
    rows.push([name, show(value), show(wanted), comparable ? verdict : `recorded on Node ${recorded.node}`]);
  }
  for (const name of Object.keys(recorded.counts).filter((name) => !(name in counts))) {
    good = false;
    rows.push([name, '', show(recorded.counts[name]), '**not counted**']);
  }
  console.log(markdownTable([['', 'counted', 'recorded', 'held'], ...rows], { align: ['l', 'r', 'r', 'l'] }));
  if (!good)
    console.log(
      '\nMore work than recorded. If it is worth it, say why in the commit: npm run bench:guard -- --record',
    );
  return good;
}

function show(value) {
  return value === undefined ? '' : Number(value.toFixed(2)).toLocaleString('en');
}
