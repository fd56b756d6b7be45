/** V: the operations of VestPocket's benchmark at a million entries: get, save, and a save of 1,000 at once. */
import { byThousand, load, oneByOne } from '../harness/loops.mjs';
import { UPDATE } from '../harness/traces.mjs';
import { ALL } from './peers.mjs';

export const workload = {
  title: 'the VestPocket operations, 1 million entries',
  peers: ALL,
  size: { keys: 1_000_000, operations: 1_000_000, memoryBytes: 512 << 20 },
  quick: { keys: 20_000, operations: 20_000, memoryBytes: 64 << 20 },
  steps: {
    run: {
      async run(context) {
        const { keys, operations, memoryBytes } = context.size;
        const { data } = context;
        const traces = context.traces(keys);
        const store = await context.open({ memoryBytes });
        await load(store, data, { keys });
        await store.flush?.();
        const read = traces.uniform(operations, 600);
        await context.phase('get', (input) => oneByOne(store, data, { trace: read, ...input }));
        const saved = traces.uniform(operations, 601);
        const kinds = new Uint8Array(operations).fill(UPDATE);
        await context.phase('save', (input) => oneByOne(store, data, { trace: saved, kinds, ...input }));
        const savedAtOnce = traces.uniform(operations, 602);
        await context.phase('save of 1,000 at once, entries', (input) =>
          byThousand(store, data, { trace: savedAtOnce, ...input }),
        );
        await context.close();
      },
    },
  },
};
