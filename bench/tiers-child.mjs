/** One process of `tiers.mjs`: a store, or the harness alone, through all phases; prints one line of JSON. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { randomFrom, Traces } from './harness/traces.mjs';

const { values: options } = parseArgs({
  options: { peer: { type: 'string' }, keys: { type: 'string' }, seed: { type: 'string' } },
});
const keys = Number(options.keys);
const IN_FLIGHT = 64;
const LOAD_IN_FLIGHT = 1000;
const READS = 1_000_000;
const ABSENT = 200_000;
const CHECKED = 200_000;
/** Caches are as full as they get, and compaction runs as often as it will; only then it is measured. */
const WARM_UP_READS = 2_000_000;
/** Operations, whatever the number of keys: 10 million keys are written 0.6 times, then 0.4 times. */
const WARM_UP_MIX = 12_000_000;
const MIX = 8_000_000;

const turn = () => new Promise((resolve) => setImmediate(resolve));
const random = randomFrom(Number(options.seed));
const traces = new Traces(keys, Number(options.seed));
const zipf = () => traces.keyOfRank[traces.rank(random())];

/** 8 to 16 characters, new on every call. */
const keyOf = (index) => String(index * 7919).padStart(8 + (index & 7), 'k');
/** 100 characters that belong to the key. */
const valueOf = (index, version) => `${index}:${version}:`.padEnd(100, `${index * 2_654_435_761}`);

const directory = mkdtempSync(join(tmpdir(), 'hotcold-tiers-'));
const emptyStore = {
  get: () => Promise.resolve(undefined),
  set: () => Promise.resolve(1),
  close: () => Promise.resolve(),
};

async function open() {
  if (options.peer === 'empty') return emptyStore;
  const { KvStore } = await import('../dist/esm/store/index.js');
  return KvStore.open({ path: directory });
}

const result = { peer: options.peer, keys, rates: {}, rss: {} };
const delay = monitorEventLoopDelay({ resolution: 1 });
let store = await open();
let highest = 0;

/** Runs `count` operations, some in flight at a time, and lets the event loop turn between. */
async function run(count, inFlight, operation) {
  let flying = [];
  for (let i = 0; i < count; i++) {
    flying.push(operation(i));
    if (flying.length < inFlight) continue;
    await Promise.all(flying);
    flying = [];
    if (i % 16_384 < inFlight) highest = Math.max(highest, process.memoryUsage.rss());
    await turn();
  }
  await Promise.all(flying);
}

async function phase(name, count, inFlight, operation) {
  highest = 0;
  const startMs = performance.now();
  await run(count, inFlight, operation);
  result.rates[name] = (count / (performance.now() - startMs)) * 1000;
  result.rss[name] = Math.max(highest, process.memoryUsage.rss());
}

function delays() {
  const measured = { p50: delay.percentile(50) / 1e6, p99: delay.percentile(99) / 1e6, max: delay.max / 1e6 };
  delay.reset();
  return { loopDelayMs: measured };
}

const stats = () =>
  store.stats?.() ?? {
    writes: { userBytes: 1, deviceBytes: 0 },
    reads: { diskReads: 0, indexReads: 0 },
    hot: { diskBytes: 0 },
    cold: { diskBytes: 0, indexDiskBytes: 0, directoryBytes: 0, filterBytes: 0, indexEntries: 1 },
  };

try {
  delay.enable();
  await phase('load', keys, LOAD_IN_FLIGHT, (i) => store.set(keyOf(i), valueOf(i, 0)));
  result.load = delays();
  const loaded = stats();
  result.loadAmplification = loaded.writes.deviceBytes / loaded.writes.userBytes;

  await phase('zipfian reads, warming up', WARM_UP_READS, IN_FLIGHT, () => store.get(keyOf(zipf())));
  const warmed = stats();
  await phase('zipfian reads by 64', READS, IN_FLIGHT, () => store.get(keyOf(zipf())));
  const read = stats();
  result.readsPerGet = {
    records: (read.reads.diskReads - warmed.reads.diskReads) / READS,
    chunks: (read.reads.indexReads - warmed.reads.indexReads) / READS,
  };
  await phase('zipfian reads one by one', READS / 4, 1, () => store.get(keyOf(zipf())));

  const before = stats();
  await phase('absent keys by 64', ABSENT, IN_FLIGHT, (i) => store.get(`absent${i}`));
  const after = stats();
  result.absent = {
    readsPerKey:
      (after.reads.diskReads + after.reads.indexReads - before.reads.diskReads - before.reads.indexReads) /
      ABSENT,
  };

  const mix = (i) => {
    const index = zipf();
    return random() < 0.5 ? store.get(keyOf(index)) : store.set(keyOf(index), valueOf(index, i));
  };
  await phase('50/50 mix, warming up', WARM_UP_MIX, IN_FLIGHT, mix);
  const warm = stats();
  delays();
  await phase('50/50 mix, steady state', MIX, IN_FLIGHT, mix);
  const steady = stats();
  result.index = {
    keys,
    directoryBytes: steady.cold.directoryBytes,
    filterBytes: steady.cold.filterBytes,
    entries: steady.cold.indexEntries,
  };
  // A record has 24 bytes of header, and is padded; its key has 2 bytes more, its value as a string 2.
  let liveBytes = 0;
  let rawBytes = 0;
  for (let i = 0; i < keys; i++) {
    const length = keyOf(i).length;
    rawBytes += length + 100;
    liveBytes += (24 + ((length + 2 + 3) & ~3) + 102 + 7) & ~7;
  }
  const bytes = steady.hot.diskBytes + steady.cold.diskBytes + steady.cold.indexDiskBytes;
  result.steady = {
    ...delays(),
    writeAmplification:
      (steady.writes.deviceBytes - warm.writes.deviceBytes) /
      (steady.writes.userBytes - warm.writes.userBytes),
    spaceAmplification: bytes / liveBytes,
    hotBytes: steady.hot.diskBytes,
    coldBytes: steady.cold.diskBytes,
    indexBytes: steady.cold.indexDiskBytes,
    liveBytes,
    rawBytes,
    stats: steady,
  };

  await store.close();
  const reopening = performance.now();
  store = await open();
  result.reopenMs = performance.now() - reopening;
  result.checked = CHECKED;
  result.wrong = 0;
  await run(CHECKED, IN_FLIGHT, async () => {
    const index = Math.floor(random() * keys);
    const value = await store.get(keyOf(index));
    if (!value?.startsWith(`${index}:`)) result.wrong++;
  });
  await store.close();
  process.stdout.write(`${JSON.stringify(result)}\n`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
