/**
 * W6: 5 million values of 200 incompressible bytes, and 128 MiB for caches: the store's own and the operating system's
 * together. Zipfian and uniform reads, 16 threads in the pool for everybody.
 */
import { by64, load, oneByOne } from '../harness/loops.mjs';
import { blobs } from '../harness/data.mjs';
import { OwnCounts } from './amplification.mjs';
import { STORES } from './peers.mjs';

const MIB = 1 << 20;
const CACHES_BYTES = 128 * MIB;
/** How it is shared is up to the store: a tree from the page cache takes little for itself. */
const OWN_CACHE_BYTES = 72 * MIB;
/** Of that, where what is on disk has an index of its own: enough for all of it, so that a read is mostly one read. */
const OWN_INDEX_BYTES = 58 * MIB;
const OWN_WRITE_BYTES = 8 * MIB;
const WARM_UP_SHARE = 0.2;

async function make(context) {
  const store = await context.open({
    memoryBytes: OWN_WRITE_BYTES,
    largerThanMemory: true,
    cacheBytes: OWN_CACHE_BYTES,
    compression: false,
  });
  await load(store, context.data, { keys: context.size.keys });
  await store.flush?.();
  await context.close();
  context.figure('on disk, MiB', context.diskBytes() / MIB);
}

function read(name, traceOf) {
  return async (context) => {
    const { keys, operations } = context.size;
    const traces = context.traces(keys);
    const warmUp = traceOf(traces, Math.ceil(operations * WARM_UP_SHARE), 400);
    const single = traceOf(traces, operations, 401);
    const many = traceOf(traces, operations, 402);
    await context.capMemory();
    const store = await context.open({
      memoryBytes: OWN_WRITE_BYTES,
      largerThanMemory: true,
      cacheBytes: OWN_CACHE_BYTES,
      indexBytes: OWN_INDEX_BYTES,
      compression: false,
      compaction: false,
    });
    await by64(store, context.data, { trace: warmUp, capMs: context.capMs });
    const counts = new OwnCounts(store);
    await context.phase(`${name} one by one`, (input) =>
      oneByOne(store, context.data, { trace: single, ...input }),
    );
    await context.phase(`${name} by 64`, (input) => by64(store, context.data, { trace: many, ...input }));
    counts.note(context);
    await context.close();
  };
}

const cap = { kind: 'memory', bytes: CACHES_BYTES };
const env = { UV_THREADPOOL_SIZE: '16' };

export const workload = {
  title: '5 million × 200 bytes, 128 MiB of caches',
  peers: ['empty', 'bare-reads', 'ours', ...STORES],
  data: blobs,
  size: { keys: 5_000_000, operations: 500_000 },
  quick: { keys: 40_000, operations: 5_000 },
  steps: {
    make: { run: make, once: true, env },
    zipfian: { run: read('zipfian', (traces, n, number) => traces.zipfian(n, number)), cap, env },
    uniform: { run: read('uniform', (traces, n, number) => traces.uniform(n, number)), cap, env },
  },
};
