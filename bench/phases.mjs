/**
 * The measured loops. Each runs its whole trace or, with a slow peer, as much of it as fits into `capMs`.
 *
 * The event loop turns after every 1,000 operations, as that of a server would: a store's timers, commits and
 * background writes run within the measured time, also where no call of it waits for anything.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { keyOf, valueOf, withHigherScore } from './workload.mjs';

const CHUNK = 1000;
const IN_FLIGHT = 64;

/** All keys in order, 1,000 sets in flight. */
export async function load(store, { keys }) {
  for (let from = 0; from < keys; from += CHUNK) {
    const to = Math.min(from + CHUNK, keys);
    const sets = [];
    for (let i = from; i < to; i++) sets.push(store.set(keyOf(i), valueOf(i, 0)));
    await Promise.all(sets);
    await turn();
  }
  return { operations: keys, wrong: 0 };
}

export const readOneByOne = (store, { trace, capMs }) =>
  inChunks(trace.length, capMs, async (from, to) => {
    let wrong = 0;
    for (let i = from; i < to; i++) {
      const value = await store.get(keyOf(trace[i]));
      if (value === undefined || value.id !== trace[i]) wrong++;
    }
    return wrong;
  });

export const readBy64 = (store, { trace, capMs }) =>
  inChunks(trace.length, capMs, async (from, to) => {
    let wrong = 0;
    for (let i = from; i < to; i += IN_FLIGHT) {
      const reads = [];
      const end = Math.min(i + IN_FLIGHT, to);
      for (let j = i; j < end; j++) reads.push(store.get(keyOf(trace[j])));
      const values = await Promise.all(reads);
      for (let j = i; j < end; j++) {
        if (values[j - i] === undefined || values[j - i].id !== trace[j]) wrong++;
      }
    }
    return wrong;
  });

export const updateOneByOne = (store, { trace, capMs }) =>
  inChunks(trace.length, capMs, async (from, to) => {
    for (let i = from; i < to; i++) await store.set(keyOf(trace[i]), valueOf(trace[i], 1));
    return 0;
  });

/** YCSB-A: half reads, half updates. */
export const readAndUpdate = (store, { trace, writes, capMs }) =>
  inChunks(trace.length, capMs, async (from, to) => {
    let wrong = 0;
    for (let i = from; i < to; i++) {
      if (writes[i] === 1) {
        await store.set(keyOf(trace[i]), valueOf(trace[i], 2));
      } else {
        const value = await store.get(keyOf(trace[i]));
        if (value === undefined || value.id !== trace[i]) wrong++;
      }
    }
    return wrong;
  });

/** YCSB-F without its reads: each operation is one read-modify-write. */
export const readModifyWrite = (store, { trace, capMs }) =>
  inChunks(trace.length, capMs, async (from, to) => {
    for (let i = from; i < to; i++) await store.update(keyOf(trace[i]), withHigherScore);
    return 0;
  });

async function inChunks(operations, capMs, run) {
  const deadline = performance.now() + capMs;
  let done = 0;
  let wrong = 0;
  while (done < operations && performance.now() < deadline) {
    const to = Math.min(done + CHUNK, operations);
    wrong += await run(done, to);
    done = to;
    await turn();
  }
  return { operations: done, wrong };
}
