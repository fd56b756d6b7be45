/**
 * Y: YCSB over users, 64 operations in flight, in the order its authors recommend: load, A, B, C, F, and D last, because
 * it inserts. Zipfian with theta 0.99; D reads the latest. At 50 million keys only this package and lmdb.
 */
import { by64, load } from '../harness/loops.mjs';
import { INSERT, READ, READ_MODIFY_WRITE, UPDATE } from '../harness/traces.mjs';
import { ALL } from './peers.mjs';

const MIXES = [
  ['A: 50 % updates', UPDATE, 0.5],
  ['B: 5 % updates', UPDATE, 0.05],
  ['C: reads', READ, 0],
  ['F: 50 % read-modify-writes', READ_MODIFY_WRITE, 0.5],
];
/** A million writes of bentocache alone take a minute or more: it is measured in W1 to W4 and V. */
const PEERS = ALL.filter((peer) => peer !== 'bentocache');
const INSERTS_OF_D = 0.05;

async function run(context) {
  const { keys, operations, ...settings } = context.size;
  const traces = context.traces(keys);
  const store = await context.open({ ...settings, room: keys + operations });
  await context.phase('load', () => load(store, context.data, { keys }));
  await store.flush?.();
  for (const [i, [phase, kind, share]] of MIXES.entries()) {
    const trace = traces.zipfian(operations, 500 + 2 * i);
    const kinds = traces.mix(operations, kind, share, 501 + 2 * i);
    await context.phase(phase, (input) => by64(store, context.data, { trace, kinds, ...input }));
  }
  const kinds = traces.mix(operations, INSERT, INSERTS_OF_D, 520);
  const trace = traces.latest(kinds, 521);
  await context.phase('D: 5 % inserts, latest', (input) =>
    by64(store, context.data, { trace, kinds, ...input }),
  );
  context.figure('resident, MiB', context.residentMib());
  await context.close();
}

function workload(title, size, quick, more) {
  return { title, peers: PEERS, size, quick, steps: { run: { run } }, ...more };
}

export const million = workload(
  'YCSB, 1 million users',
  { keys: 1_000_000, operations: 1_000_000, memoryBytes: 512 << 20 },
  { keys: 20_000, operations: 20_000, memoryBytes: 64 << 20 },
);
export const tenMillion = workload('YCSB, 10 million users', {
  keys: 10_000_000,
  operations: 1_000_000,
  memoryBytes: 2 ** 31,
  diskBudget: 2 ** 33,
});
export const fiftyMillion = workload(
  'YCSB, 50 million users',
  { keys: 50_000_000, operations: 1_000_000, memoryBytes: 2 ** 31, diskBudget: 2 ** 33 },
  undefined,
  { peers: ['ours', 'lmdb'], large: true, rounds: 1 },
);
