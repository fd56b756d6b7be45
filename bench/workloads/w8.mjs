/** W8: every write acknowledged after it is on stable storage; 64 writers, each with one write under way. */
import { writers } from '../harness/loops.mjs';
import { STORES } from './peers.mjs';

export const workload = {
  title: 'durable writes, 64 writers',
  peers: ['bare', 'ours', ...STORES, 'redis'],
  size: { keys: 1_000_000, seconds: 3, writers: 64 },
  quick: { keys: 1_000_000, seconds: 0.5, writers: 64 },
  steps: {
    write: {
      async run(context) {
        const { keys, seconds, writers: count } = context.size;
        const store = await context.open({ durable: true });
        await context.phase('durable writes', () => writers(store, context.data, { count, keys, seconds }));
        await context.close();
      },
    },
  },
};
