/**
 * W5: the record of Jering.KeyValueStore's benchmark. 350,000 inserts, one by one and 64 in flight; then, in a new process
 * with next to no cache of its own and 8 MiB of page cache, reads of 75,000 distinct records. No compaction.
 */
import { by64, oneByOne } from '../harness/loops.mjs';
import { jering } from '../harness/data.mjs';
import { INSERT } from '../harness/traces.mjs';
import { STORES } from './peers.mjs';

const MIB = 1 << 20;
const OWN_CACHE_BYTES = MIB;
/** The least that this package takes for its hot tier, of which a store that is only read uses no page. */
const OWN_WRITE_BYTES = 8 * MIB;
const PAGE_CACHE_BYTES = 8 * MIB;
/** So many reads before measuring: code is compiled, and trees have their upper levels in the cache. */
const WARM_UP_READS = 2000;

function insert(phase, loop, keep) {
  return async (context) => {
    const { keys, compression } = context.size;
    const trace = new Uint32Array(keys).map((_, i) => i);
    const kinds = new Uint8Array(keys).fill(INSERT);
    const store = await context.open({ compaction: false, compression });
    await context.phase(phase, (input) =>
      loop(store, context.data, { trace, kinds, ...input, ...(keep && { capMs: Infinity }) }),
    );
    await store.flush?.();
    await context.close();
    if (keep) context.figure('on disk, MiB', context.diskBytes() / MIB);
    else context.clear();
  };
}

async function read(context) {
  const { keys, reads, compression } = context.size;
  const traces = context.traces(keys);
  const trace = traces.distinct(WARM_UP_READS + 2 * reads);
  const store = await context.open({
    memoryBytes: OWN_WRITE_BYTES,
    largerThanMemory: true,
    cacheBytes: OWN_CACHE_BYTES,
    compaction: false,
    compression,
  });
  await oneByOne(store, context.data, { trace: trace.subarray(0, WARM_UP_READS), capMs: Infinity });
  await context.capMemory();
  const first = trace.subarray(WARM_UP_READS, WARM_UP_READS + reads);
  await context.phase('read one by one', (input) =>
    oneByOne(store, context.data, { trace: first, ...input }),
  );
  const second = trace.subarray(WARM_UP_READS + reads);
  await context.phase('read by 64', (input) => by64(store, context.data, { trace: second, ...input }));
  await context.close();
}

function workload(title, peers, compression) {
  return {
    title,
    peers,
    data: jering,
    size: { keys: 350_000, reads: 75_000, compression },
    quick: { keys: 20_000, reads: 4_000, compression },
    steps: {
      'insert one by one': { run: insert('insert one by one', oneByOne, false) },
      'insert by 64': { run: insert('insert by 64', by64, true) },
      read: { run: read, cap: { kind: 'page cache', bytes: PAGE_CACHE_BYTES } },
    },
  };
}

export const uncompressed = workload('the Jering record', ['empty', 'ours', ...STORES], false);
export const compressed = workload(
  'the Jering record, compressed where a store can',
  ['empty', 'ours', 'rocksdb', 'classic-level'],
  true,
);
