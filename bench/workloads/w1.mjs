/** W1: a million users are loaded, 1,000 sets in flight; how much memory they take then. */
import { load } from '../harness/loops.mjs';
import { ALL } from './peers.mjs';

export const workload = {
  title: 'load of a million users',
  peers: ALL,
  size: { keys: 1_000_000, memoryBytes: 512 << 20 },
  quick: { keys: 20_000, memoryBytes: 64 << 20 },
  steps: {
    load: {
      async run(context) {
        const { keys, memoryBytes } = context.size;
        const store = await context.open({ memoryBytes });
        await context.phase('load', () => load(store, context.data, { keys }), { loopDelay: true });
        const flushFrom = performance.now();
        await store.flush?.();
        context.figure('flush after loading, ms', performance.now() - flushFrom);
        await context.settle();
        context.figure('resident, MiB', context.residentMib());
        const stats = store.stats?.();
        if (stats) context.figure('index, bytes a hot key', stats.hot.indexBytes / stats.hot.indexEntries);
        await context.close();
      },
    },
  },
};
