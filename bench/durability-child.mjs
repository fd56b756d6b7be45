/**
 * One measurement of `durability.mjs` in a process of its own; prints one line of JSON. `--do`:
 *   write   so many writers, each with one write under way, at a durability level (W8: 64 of them, `always`)
 *   make    a closed store of so many keys
 *   read    the first read of it; the parent takes the time from the start of this process (W9)
 *   crash   so many bytes of values written, all on stable storage, and no close
 */
import { openSync } from 'node:fs';
import fs from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { keyOf, valueOf } from './workload.mjs';

/** Bytes of a record of `valueOf`, keys and headers included. */
const RECORD_BYTES = 144;

const { values: options } = parseArgs({
  options: {
    do: { type: 'string' },
    peer: { type: 'string' },
    path: { type: 'string' },
    keys: { type: 'string', default: '1000000' },
    'value-bytes': { type: 'string', default: '0' },
    seconds: { type: 'string', default: '3' },
    level: { type: 'string', default: 'always' },
    writers: { type: 'string', default: '64' },
  },
});
const keys = Number(options.keys);
const valueBytes = Number(options['value-bytes']);

const PEERS = {
  ours: openOurs,
  lmdb: openLmdb,
  bare: openBare,
  empty: () => ({ set: () => undefined, get: () => 1 }),
};

async function openOurs({ level = 'interval', ...more } = {}) {
  const { KvStore } = await import('nestjs-hotcold/store');
  const store = await KvStore.open({ path: options.path, durability: { level }, ...more });
  return {
    get: (key) => store.get(key),
    set: (key, value) => store.set(key, value),
    flush: () => store.flush(),
    close: () => store.close(),
    opened: store.opened,
  };
}

/** A write is durable once `flushed` has resolved: the transaction is committed before, and synced in the background. */
async function openLmdb({ level } = {}) {
  const { open } = await import('lmdb');
  const db = open({ path: options.path, encoding: 'msgpack', sharedStructuresKey: Symbol.for('structures') });
  return {
    get: (key) => db.get(key),
    set:
      level === 'always'
        ? (key, value) => db.put(key, value).then(() => db.flushed)
        : (key, value) => db.put(key, value),
    flush: () => db.flushed,
    close: () => db.close(),
  };
}

/** What a log cannot be faster than: records of the same length, one write and one `fdatasync` for all who wait. */
function openBare() {
  const fd = openSync(join(options.path), 'w');
  let waiting = [];
  let running = false;
  let position = 0;
  const next = () => {
    running = true;
    const served = waiting;
    waiting = [];
    const bytes = Buffer.alloc(served.length * RECORD_BYTES);
    fs.write(fd, bytes, 0, bytes.length, position, (writeError) => {
      if (writeError) throw writeError;
      fs.fdatasync(fd, (syncError) => {
        if (syncError) throw syncError;
        for (const resolve of served) resolve();
        running = false;
        if (waiting.length > 0) setImmediate(() => running || next());
      });
    });
    position += bytes.length;
  };
  return {
    set: () =>
      new Promise((resolve) => {
        waiting.push(resolve);
        if (!running) void Promise.resolve().then(() => running || next());
      }),
    close: () => fs.closeSync(fd),
  };
}

async function write() {
  const store = await PEERS[options.peer]({ level: options.level });
  const until = performance.now() + Number(options.seconds) * 1000;
  let writes = 0;
  const writer = async () => {
    while (performance.now() < until) {
      const i = writes++;
      await store.set(keyOf(i % keys), valueOf(i, 0));
      // At the other levels nothing is waited for: as in a server, the event loop turns all the same.
      if (i % 1000 === 999) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const from = performance.now();
  await Promise.all(Array.from({ length: Number(options.writers) }, writer));
  const seconds = (performance.now() - from) / 1000;
  await store.close();
  return { writesPerSecond: writes / seconds };
}

async function fill(store) {
  const text = 'x'.repeat(valueBytes);
  for (let from = 0; from < keys; from += 1000) {
    const sets = [];
    for (let i = from; i < from + 1000; i++)
      sets.push(store.set(keyOf(i), valueBytes > 0 ? `${i} ${text}` : valueOf(i, 0)));
    await Promise.all(sets);
  }
  await store.flush();
}

async function make() {
  const store = await PEERS[options.peer]();
  await fill(store);
  const from = performance.now();
  await store.close();
  return { closeMs: performance.now() - from };
}

async function read() {
  const store = await PEERS[options.peer]();
  const value = await store.get(keyOf(keys >> 1));
  if (value === undefined) throw new Error('The key is not there.');
  return { opened: store.opened };
}

async function crash() {
  // The hot tier alone, and no checkpoint on the way: what is measured is replay.
  await fill(await openOurs({ hot: { memory: '512mb', diskBudget: '8gb' }, compaction: false }));
  return {};
}

const result = await { write, make, read, crash }[options.do]();
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.kill(process.pid, 'SIGKILL'));
