/**
 * G: the same at more and more keys, with the default options of each store: load, zipfian and uniform reads, absent keys,
 * zipfian updates, and opening again. What `growth.mjs` draws against the number of keys.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { absentBy64, by64, load, oneByOne } from '../harness/loops.mjs';
import { UPDATE } from '../harness/traces.mjs';
import { bytesOfUser, OwnCounts, writtenBytes } from './amplification.mjs';

const PEERS = ['empty', 'ours', 'lmdb-nosync'];
const WARM_UP_SHARE = 0.5;
const WARM_UP_KEYS = 30_000;
/** Each key is updated so many times on average, up to a bound, before amplification is taken. */
const UPDATES_A_KEY = 2;
const MOST_UPDATES = 10_000_000;
/** For the end of a compaction: five minutes at most. */
const WAIT_MS = 50;
const MOST_WAITS = 6000;

async function run(context) {
  const { keys, operations, ...settings } = context.size;
  const { data } = context;
  const traces = context.traces(keys);
  await compileFirst(context, settings);
  let store = await context.open(settings);
  await context.phase('load', () => load(store, data, { keys }), { loopDelay: true });
  await store.flush?.();
  context.figure('resident after loading, MiB', context.residentMib());
  const liveBytes = store.stats?.().writes.userBytes;

  const warmUp = traces.zipfian(Math.ceil(operations * WARM_UP_SHARE), 800);
  await by64(store, data, { trace: warmUp, capMs: context.capMs });
  const zipfian = traces.zipfian(operations, 801);
  await context.phase('zipfian reads one by one', (input) =>
    oneByOne(store, data, { trace: zipfian, ...input }),
  );
  const zipfianBy64 = traces.zipfian(operations, 802);
  await context.phase('zipfian reads by 64', (input) => by64(store, data, { trace: zipfianBy64, ...input }));
  await compactionEnds(store);
  const counts = new OwnCounts(store);
  const uniform = traces.uniform(operations, 803);
  await context.phase('uniform reads by 64', (input) => by64(store, data, { trace: uniform, ...input }));
  counts.note(context);
  const before = readsOf(store);
  const absent = await context.phase('absent keys by 64', (input) =>
    absentBy64(store, data, { operations, ...input }),
  );
  if (before !== undefined)
    context.figure('own count: reads an absent key', (readsOf(store) - before) / absent);

  const updates = Math.min(keys * UPDATES_A_KEY, MOST_UPDATES);
  const trace = traces.zipfian(updates, 804);
  const kinds = new Uint8Array(updates).fill(UPDATE);
  const ownUpdates = new OwnCounts(store);
  const writtenFrom = writtenBytes();
  const done = await context.phase('zipfian updates by 64', (input) =>
    by64(store, data, { trace, kinds, ...input }),
  );
  await store.flush?.();
  ownUpdates.note(context);
  context.figure('write amplification', (writtenBytes() - writtenFrom) / (done * bytesOfUser(keys)));
  context.figure('space amplification', context.diskBytes() / (keys * bytesOfUser(keys)));
  if (liveBytes) context.figure('own count: space amplification', context.diskBytes() / liveBytes);
  const stats = store.stats?.();
  if (stats?.cold.indexEntries)
    context.figure('index, bytes a cold key', stats.cold.directoryBytes / stats.cold.indexEntries);
  context.figure('resident, MiB', context.residentMib());
  context.figure('heap used, MiB', context.heapMib());
  await context.close();

  const from = performance.now();
  store = await context.open(settings);
  if (!data.is(await store.get(data.keyOf(keys >> 1)), keys >> 1)) context.wrong('reopened');
  context.figure('reopened, ms', performance.now() - from);
  await context.close();
}

/** Code that is compiled while it is measured would make small stores look slow. */
async function compileFirst(context, settings) {
  const store = await context.open(settings);
  await load(store, context.data, { keys: WARM_UP_KEYS });
  await context.close();
  context.clear();
}

/**
 * The reads before it come beside what loading has left to compact. Those behind it do not: reads of the device are counted
 * there, and a compaction makes its own.
 */
async function compactionEnds(store) {
  for (let waits = 0; store.stats?.().compaction.running && waits < MOST_WAITS; waits++) await sleep(WAIT_MS);
}

/** Reads of the device that this package counted, of records and of the cold index. */
function readsOf(store) {
  const reads = store.stats?.().reads;
  return reads && reads.diskReads + reads.indexReads;
}

function workload(keys, quickKeys, more) {
  return {
    title: `growth: ${keys.toLocaleString('en')} users`,
    peers: PEERS,
    size: { keys, operations: 500_000 },
    quick: { keys: quickKeys, operations: 20_000, memoryBytes: 8 << 20, diskBudget: 8 << 20 },
    steps: { run: { run } },
    ...more,
  };
}

// bentocache, with a tenth in memory, writes some 5,000 entries a second: minutes for a million.
export const hundredThousand = workload(100_000, 10_000, { peers: [...PEERS, 'bentocache'] });
export const million = workload(1_000_000, 50_000);
export const tenMillion = workload(10_000_000, 200_000);
export const fiftyMillion = workload(50_000_000, 400_000, { large: true });
