/**
 * One measurement of `durability.mjs` in a process of its own; prints one line of JSON. `--do`:
 *   write   so many writers, each with one write under way, at a durability level (W8: 64 of them, `always`)
 *   make    a closed store of so many keys
 *   read    the first read of it; the parent takes the time from the start of this process (W9). With `--close` it is closed
 *           again, otherwise killed, and then it is not what `make` left to the next one
 *   crash   so many bytes of values written, all on stable storage, and no close
 */
import { parseArgs } from 'node:util';
import { keyOf, users, valueOf } from './harness/data.mjs';
import { writers } from './harness/loops.mjs';
import { GIB, MIB } from './harness/units.mjs';

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
    close: { type: 'boolean' },
  },
});
const keys = Number(options.keys);
const valueBytes = Number(options['value-bytes']);

/** A store of the peer, at a durability level; `always` is `durable` to the others. */
async function openPeer({ level = 'interval', ...more } = {}) {
  const { open } = await import(`./adapters/${options.peer}.mjs`);
  return open(options.path, { keys, data: users, level, durable: level === 'always', ...more });
}

async function write() {
  const store = await openPeer({ level: options.level });
  const from = performance.now();
  const { operations } = await writers(store, users, {
    count: Number(options.writers),
    keys,
    seconds: Number(options.seconds),
  });
  const seconds = (performance.now() - from) / 1000;
  await store.close?.();
  return { writesPerSecond: operations / seconds };
}

async function fill(store) {
  const text = 'x'.repeat(valueBytes);
  for (let from = 0; from < keys; from += 1000) {
    const sets = [];
    for (let i = from; i < from + 1000; i++)
      sets.push(store.set(keyOf(i), valueBytes > 0 ? `${i} ${text}` : valueOf(i, 0)));
    await Promise.all(sets);
  }
  await store.flush?.();
}

async function make() {
  const store = await openPeer();
  await fill(store);
  const from = performance.now();
  await store.close();
  return { closeMs: performance.now() - from };
}

async function read() {
  const store = await openPeer();
  const value = await store.get(keyOf(keys >> 1));
  if (value === undefined) throw new Error('The key is not there.');
  return { opened: store.opened, end: options.close ? () => store.close?.() : undefined };
}

async function crash() {
  // The hot tier alone, and no checkpoint on the way: what is measured is replay.
  await fill(await openPeer({ memoryBytes: 512 * MIB, diskBudget: 8 * GIB, compaction: false }));
  return {};
}

const { end, ...result } = await { write, make, read, crash }[options.do]();
process.stdout.write(`${JSON.stringify(result)}\n`, async () => {
  await end?.();
  process.kill(process.pid, 'SIGKILL');
});
