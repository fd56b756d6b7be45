/**
 * Takes the counts of `guard.mjs` and prints them as JSON. None of them depends on how fast or how busy the machine is: a
 * store commits and compacts here only when it is told to.
 */
import { createHook } from 'node:async_hooks';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KvStore } from '../../dist/esm/store/index.js';
import { keyOf, users, valueOf } from '../harness/data.mjs';
import { by64, load } from '../harness/loops.mjs';
import { Traces, UPDATE } from '../harness/traces.mjs';
import { countingEnv } from './counting-env.mjs';

const QUIET = { durability: { level: 'checkpoint' }, compaction: false };
/** Operations before anything is counted: by then the compiler has done what it will do. */
const WARM_UP = 60_000;
const WINDOWS = 7;
const WINDOW = 4_000;

const directory = mkdtempSync(join(tmpdir(), 'hotcold-guard-'));
const counts = {};
try {
  await inMemory();
  for (const [how, tickMs] of [
    ['synchronous', 0],
    ['by the thread pool', 5],
  ])
    await onDisk(how, tickMs);
  await updates();
} finally {
  rmSync(directory, { recursive: true, force: true });
}
console.log(JSON.stringify(counts));

async function open(name, env, options) {
  return KvStore.open({ path: join(directory, name), env, ...QUIET, ...options });
}

/** Everything is in memory, and updates happen in place. */
async function inMemory() {
  const keys = 20_000;
  const env = countingEnv();
  const store = await open('memory', env, { hot: { memory: '64mb' } });
  await load(store, users, { keys });
  counts['index, bytes a hot key'] = store.stats().hot.indexBytes / keys;
  await store.flush();
  counts['bytes written a loaded record'] = env.counts.writtenBytes / keys;
  const trace = new Traces(keys, 1).zipfian(WARM_UP, 1);
  const key = (i) => keyOf(trace[i % WARM_UP]);
  const change = (value) => ({ ...value, score: value.score + 1 });
  const operations = {
    'get from memory': (i) => store.get(key(i)),
    'set in place': (i) => store.set(key(i), valueOf(trace[i % WARM_UP], 1)),
    'update in place': (i) => store.update(key(i), change),
    // What the others have in common: key, loop and `await`.
    'key alone': (i) => key(i).charCodeAt(0),
  };
  for (const [name, operation] of Object.entries(operations)) {
    counts[`bytes allocated: ${name}`] = await bytesAllocated(operation);
    counts[`promises: ${name}`] = await promises(operation, WINDOW);
  }
  // What the guard has to notice: the same with one promise more.
  const oneMore = async (i) => store.get(key(i));
  counts['planted, bytes allocated: get from memory'] = await bytesAllocated(oneMore);
  counts['planted, promises: get from memory'] = await promises(oneMore, WINDOW);
  await store.close();
}

/** A cold tier, and hardly any memory to keep what was read from it. */
async function onDisk(how, tickMs) {
  const keys = 60_000;
  const env = countingEnv(tickMs);
  const options = {
    hot: { memory: '8mb', diskBudget: '8mb' },
    readCache: { memory: 0 },
    cold: { indexCache: 0 },
  };
  const store = await open(how, env, options);
  await load(store, users, { keys });
  await store.flush();
  await store.compact({ full: true });
  const trace = new Traces(keys, 1).distinct(keys);
  const asked = 3 * WINDOW;
  // The first of them to warm up.
  const get = (i) => store.get(keyOf(trace[i]));
  await by64(store, users, { trace: trace.subarray(0, WINDOW), capMs: Infinity });
  const before = { ...env.counts, hits: store.stats().reads };
  counts[`promises: get from disk, ${how}`] = await promises((i) => get(WINDOW + i), asked);
  const { reads, readBytes } = env.counts;
  const { memoryHits, cacheHits } = store.stats().reads;
  const cold = asked - (memoryHits + cacheHits - before.hits.memoryHits - before.hits.cacheHits);
  counts[`share that was on disk, ${how}`] = cold / asked;
  counts[`device reads: get from disk, ${how}`] = (reads - before.reads) / cold;
  counts[`bytes read: get from disk, ${how}`] = (readBytes - before.readBytes) / cold;
  for (let i = 0; i < WINDOW; i++) await store.get(`absent:${i}`);
  counts[`device reads: absent key, ${how}`] = (env.counts.reads - reads) / WINDOW;
  await store.close();
}

/** Zipfian updates of more than memory; commits and compaction after every 10,000. */
async function updates() {
  const keys = 60_000;
  const env = countingEnv();
  const store = await open('updates', env, { hot: { memory: '8mb', diskBudget: '8mb' } });
  await load(store, users, { keys });
  await store.flush();
  await store.compact();
  const traces = new Traces(keys, 1);
  const round = 10_000;
  const kinds = new Uint8Array(round).fill(UPDATE);
  const rounds = 12;
  const before = env.counts.writtenBytes;
  for (let i = 0; i < rounds; i++) {
    await by64(store, users, { trace: traces.zipfian(round, i), kinds, capMs: Infinity });
    await store.flush();
    await store.compact();
  }
  counts['bytes written an update, compaction included'] =
    (env.counts.writtenBytes - before) / (rounds * round);
  await store.close();
}

/** Bytes of heap that an operation allocates, promises of the harness included: the least of several windows. */
async function bytesAllocated(operation) {
  for (let i = 0; i < WARM_UP; i++) await operation(i);
  let least = Infinity;
  for (let window = 0; window < WINDOWS; window++) {
    globalThis.gc();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < WINDOW; i++) await operation(i);
    // The young generation has room for a window (`guard.mjs`), so nothing is collected meanwhile.
    least = Math.min(least, (process.memoryUsage().heapUsed - before) / WINDOW);
  }
  return least;
}

/** Promises that come into being for an operation that is awaited. */
async function promises(operation, times) {
  let made = 0;
  const hook = createHook({
    init(_id, type) {
      if (type === 'PROMISE') made++;
    },
  });
  hook.enable();
  for (let i = 0; i < times; i++) await operation(i);
  hook.disable();
  return made / times;
}
