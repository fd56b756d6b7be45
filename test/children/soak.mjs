// A mixed load for some minutes, with compactions, checkpoints and the store closed and opened again every so often. Once
// a second it says "sample <ms> <rss> <heap> <external> <descriptors>" behind a garbage collection (--expose-gc). Keys
// and values come from a bounded set, so nothing has a reason to grow.
import { readdirSync, writeSync } from 'node:fs';
import { KvStore } from '../src/store/index.js';

const { path, minutes, reopenMs, seed } = JSON.parse(process.argv[2]);
const KEYS = 20_000;
let state = seed >>> 0;
/** A number below `limit`: a linear congruential generator will do. */
const below = (limit) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * limit);
};

const open = () =>
  KvStore.open({
    path,
    hot: { memory: '16mb', segmentSize: '4mb', diskBudget: '16mb' },
    cold: { segmentSize: '4mb' },
    readCache: { memory: '4mb' },
    compaction: { every: '10s' },
  });

/** Versions are numbers that each value carries, so an old one is noticed. */
const newest = new Int32Array(KEYS);
let store = await open();

async function step(n) {
  const key = below(KEYS);
  const dice = below(100);
  if (dice < 40) {
    const found = await store.get(key);
    if ((found?.n ?? 0) !== newest[key]) throw new Error(`key ${key} is ${found?.n}, not ${newest[key]}`);
  } else if (dice < 85) {
    newest[key] = n;
    await store.set(key, { n, filling: 'x'.repeat(below(2000)) });
  } else if (dice < 92) {
    newest[key] = 0;
    await store.delete(key);
  } else if (dice < 99) {
    await store.namespace('counters').increment(below(100));
  } else {
    let seen = 0;
    for await (const key of store.namespace('counters').keys({ limit: 10 })) seen += key >= 0 ? 1 : 0;
    if (seen > 10) throw new Error('too many keys');
  }
}

const startMs = Date.now();
const endMs = startMs + minutes * 60_000;
let reopenAtMs = startMs + reopenMs;
let sampleAtMs = startMs;
let n = 1;
while (Date.now() < endMs) {
  for (let i = 0; i < 100; i++) await step(n++);
  await new Promise((resolve) => setImmediate(resolve));
  if (Date.now() >= reopenAtMs) {
    await store.compact();
    await store.checkpoint();
    await store.close();
    store = await open();
    reopenAtMs += reopenMs;
  }
  if (Date.now() >= sampleAtMs) {
    globalThis.gc();
    const { rss, heapUsed, external } = process.memoryUsage();
    const descriptors = readdirSync('/proc/self/fd').length;
    writeSync(1, `sample ${Date.now() - startMs} ${rss} ${heapUsed} ${external} ${descriptors}\n`);
    sampleAtMs += 1000;
  }
}
await store.close();
writeSync(1, `done ${n}\n`);
