/** W9: from the start of a process to its first answer from a store that was closed; the page cache is warm. */
import { load } from '../harness/loops.mjs';
import { STORES } from './peers.mjs';

const PROCESSES = 3;

async function make(context) {
  const { keys } = context.size;
  const store = await context.open({});
  await load(store, context.data, { keys });
  await store.flush?.();
  await context.close();
}

function workload(title, keys, quickKeys) {
  return {
    title,
    peers: ['empty', 'ours', ...STORES, 'redis'],
    size: { keys },
    quick: quickKeys && { keys: quickKeys },
    steps: { make: { run: make, once: true }, 'first read': { firstRead: PROCESSES } },
  };
}

export const few = workload('process start to first read, 1 million users', 1_000_000, 20_000);
export const many = workload('process start to first read, 5 million users', 5_000_000);
