/**
 * The measured loops. Each runs its whole trace or, with a slow peer, as much of it as fits into `capMs`, and returns
 * how many operations that were and how many answers were wrong.
 *
 * The event loop turns after every 1,000 operations, as that of a server would: a store's timers, commits and
 * background writes run within the measured time, also where no call of it waits for anything.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { INSERT, READ, READ_MODIFY_WRITE, UPDATE } from './traces.mjs';

const CHUNK = 1000;
const IN_FLIGHT = 64;
/** Latency is taken of one operation in so many: two looks at the clock cost as much as a tenth of a read. */
const TIMED = 16;

/** Keys from `from` to `keys` in order, 1,000 sets in flight. */
export async function load(store, data, { from = 0, keys }) {
  for (let first = from; first < keys; first += CHUNK) {
    const end = Math.min(first + CHUNK, keys);
    const sets = [];
    for (let i = first; i < end; i++) sets.push(store.set(data.keyOf(i), data.valueOf(i, 0)));
    await Promise.all(sets);
    await turn();
  }
  return { operations: keys - from, wrong: 0 };
}

/**
 * Each operation is awaited before the next.
 * @param kinds what each operation does; without it all are reads
 * @param latency where to note how long operations took, in µs
 */
export async function oneByOne(store, data, { trace, kinds = new Uint8Array(trace.length), capMs, latency }) {
  let wrong = 0;
  const operations = await inChunks(trace.length, capMs, async (from, to) => {
    for (let i = from; i < to; i++) {
      const timed = i % TIMED === 0 && latency !== undefined;
      const startMs = timed ? performance.now() : 0;
      const index = trace[i];
      switch (kinds[i]) {
        case READ:
          if (!data.is(await store.get(data.keyOf(index)), index)) wrong++;
          break;
        case UPDATE:
        case INSERT:
          await store.set(data.keyOf(index), data.valueOf(index, 1));
          break;
        case READ_MODIFY_WRITE:
          await store.update(data.keyOf(index), data.change);
          break;
      }
      if (timed) latency.push((performance.now() - startMs) * 1000);
    }
  });
  return { operations, wrong };
}

/** 64 operations in one `Promise.all`, then the next 64. */
export async function by64(store, data, { trace, kinds = new Uint8Array(trace.length), capMs }) {
  let wrong = 0;
  const operations = await inChunks(trace.length, capMs, async (from, to) => {
    for (let first = from; first < to; first += IN_FLIGHT) {
      const end = Math.min(first + IN_FLIGHT, to);
      const flying = [];
      for (let i = first; i < end; i++) flying.push(start(store, data, kinds[i], trace[i]));
      const answers = await Promise.all(flying);
      for (let i = first; i < end; i++)
        if (kinds[i] === READ && !data.is(answers[i - first], trace[i])) wrong++;
    }
  });
  return { operations, wrong };
}

function start(store, data, kind, index) {
  switch (kind) {
    case READ:
      return store.get(data.keyOf(index));
    case READ_MODIFY_WRITE:
      return store.update(data.keyOf(index), data.change);
    default:
      return store.set(data.keyOf(index), data.valueOf(index, 1));
  }
}

/** 1,000 entries in one call. An operation is an entry. */
export async function byThousand(store, data, { trace, capMs }) {
  const operations = await inChunks(trace.length, capMs, async (from, to) => {
    const entries = [];
    for (let i = from; i < to; i++) entries.push([data.keyOf(trace[i]), data.valueOf(trace[i], 1)]);
    await store.setMany(entries);
  });
  return { operations, wrong: 0 };
}

/** Keys that are not there, 64 in flight. */
export async function absentBy64(store, data, { operations, capMs }) {
  let wrong = 0;
  const done = await inChunks(operations, capMs, async (from, to) => {
    for (let first = from; first < to; first += IN_FLIGHT) {
      const reads = [];
      for (let i = first; i < Math.min(first + IN_FLIGHT, to); i++) reads.push(store.get(`absent:${i}`));
      for (const value of await Promise.all(reads)) if (value !== undefined) wrong++;
    }
  });
  return { operations: done, wrong };
}

/** So many writers, each with one write under way, for so long. Where nothing is waited for, the event loop turns all the same. */
export async function writers(store, data, { count, keys, seconds }) {
  const until = performance.now() + seconds * 1000;
  let operations = 0;
  const writer = async () => {
    while (performance.now() < until) {
      const i = operations++;
      await store.set(data.keyOf(i % keys), data.valueOf(i, 0));
      if (i % CHUNK === CHUNK - 1) await turn();
    }
  };
  await Promise.all(Array.from({ length: count }, writer));
  return { operations, wrong: 0 };
}

async function inChunks(operations, capMs, run) {
  const deadline = performance.now() + capMs;
  let done = 0;
  while (done < operations && performance.now() < deadline) {
    const to = Math.min(done + CHUNK, operations);
    await run(done, to);
    done = to;
    await turn();
  }
  return done;
}
