/**
 * W7: what a store does to the process it lives in. The delay of the event loop while the first million users are loaded;
 * then, up to 5 million: garbage collection while loading, one forced full collection, and the heap.
 */
import { load } from '../harness/loops.mjs';
import { ALL } from './peers.mjs';

export const workload = {
  title: 'event loop and garbage collection, 5 million users',
  // A cache that takes minutes for 5 million writes has no place in a comparison of milliseconds.
  peers: ALL.filter((peer) => peer !== 'bentocache'),
  size: { keys: 5_000_000, delayKeys: 1_000_000, memoryBytes: 1 << 30 },
  quick: { keys: 50_000, delayKeys: 25_000, memoryBytes: 64 << 20 },
  steps: {
    load: {
      async run(context) {
        const { keys, delayKeys, memoryBytes } = context.size;
        const store = await context.open({ memoryBytes, diskBudget: 4 << 30 });
        const collections = context.collections();
        await context.phase('load, first million', () => load(store, context.data, { keys: delayKeys }), {
          loopDelay: true,
        });
        await load(store, context.data, { from: delayKeys, keys });
        context.figure('collections while loading, ms', await collections.stop());
        const from = performance.now();
        globalThis.gc();
        context.figure('one full collection, ms', performance.now() - from);
        context.figure('heap used, MiB', process.memoryUsage().heapUsed / (1 << 20));
        context.figure('resident, MiB', context.residentMib());
        await context.close();
      },
    },
  },
};
