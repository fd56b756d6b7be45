/**
 * Scans of a store of small objects whose keys lie in memory, in the hot log on disk, or in the cold tier: `keys()`, `scan()`, and
 * the keys of a namespace of two entries among them. Needs a build (`npm run build`).
 *
 *   node bench/micro/scan.mjs --keys=1000000 --places=memory,reopened,cold --rounds=3
 *
 * Another option: --dir (where the store is made). Medians of the rounds: seconds, seconds of the processor, microseconds and reads
 * from disk for each key of the store, and by how much a timer of one millisecond was late.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { median } from 'simple-statistics';
import { KvStore } from '../../dist/esm/store/index.js';
import { keyOf, valueOf } from '../harness/data.mjs';

const { values: options } = parseArgs({
  options: {
    keys: { type: 'string', default: '1000000' },
    places: { type: 'string', default: 'memory,reopened,cold' },
    rounds: { type: 'string', default: '3' },
    dir: { type: 'string', default: tmpdir() },
  },
});
const keys = Number(options.keys);
const CHUNK = 1000;

const SCANS = {
  'keys()': (store) => store.keys(),
  'scan()': (store) => store.scan(),
  'keys() of 2': (store) => store.namespace('few').keys(),
};

async function load(path, memory) {
  const store = await KvStore.open({
    path,
    hot: { memory, diskBudget: '4gb' },
    durability: { level: 'checkpoint' },
    compaction: false,
  });
  for (let i = 0; i < keys; i += CHUNK) {
    const chunk = [];
    for (let j = i; j < Math.min(i + CHUNK, keys); j++) chunk.push(store.set(keyOf(j), valueOf(j, 0)));
    await Promise.all(chunk);
  }
  const few = store.namespace('few');
  await few.set('one', 1);
  await few.set('two', 2);
  return store;
}

const PLACES = {
  memory: (path) => load(path, '1gb'),
  reopened: async (path) => {
    await (await load(path, '1gb')).close();
    return KvStore.open({ path, compaction: false });
  },
  cold: async (path) => {
    const store = await load(path, '64mb');
    await store.compact({ full: true });
    await store.close();
    return KvStore.open({ path, compaction: false });
  },
};

async function measure(store, scan) {
  const before = process.cpuUsage();
  const reads = store.stats().reads.diskReads;
  const delays = monitorEventLoopDelay({ resolution: 1 });
  delays.enable();
  const fromMs = performance.now();
  let count = 0;
  const scanned = scan(store)[Symbol.asyncIterator]();
  while (!(await scanned.next()).done) count++;
  const seconds = (performance.now() - fromMs) / 1000;
  const { user, system } = process.cpuUsage(before);
  delays.disable();
  return {
    count,
    seconds,
    processor: (user + system) / 1e6,
    reads: store.stats().reads.diskReads - reads,
    lateMs: delays.max / 1e6 - 1,
  };
}

const directory = mkdtempSync(join(options.dir, 'scan-'));
try {
  for (const place of options.places.split(',')) {
    const store = await PLACES[place](join(directory, place));
    console.log(`${keys} keys, ${place}`);
    const rows = Object.fromEntries(Object.keys(SCANS).map((name) => [name, []]));
    for (let round = 0; round < Number(options.rounds); round++) {
      for (const [name, runs] of Object.entries(rows)) runs.push(await measure(store, SCANS[name]));
    }
    for (const [name, runs] of Object.entries(rows)) {
      const of = (field) => median(runs.map((run) => run[field]));
      console.log(
        [
          `  ${name.padEnd(12)}${String(of('count')).padStart(9)}`,
          `${of('seconds').toFixed(2).padStart(7)} s`,
          `${of('processor').toFixed(2).padStart(7)} s of the processor`,
          `${((of('seconds') * 1e6) / keys).toFixed(2).padStart(6)} µs a key`,
          `${(of('reads') / keys).toFixed(4)} reads a key`,
          `late by ${of('lateMs').toFixed(1)} ms at most`,
        ].join('  '),
      );
    }
    await store.close();
  }
} finally {
  rmSync(directory, { recursive: true });
}
