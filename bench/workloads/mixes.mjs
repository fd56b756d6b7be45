/**
 * What W2, W3 and W4 have in common: a mix over a million loaded users, one by one and 64 at a time. Before, each is read
 * once: what a peer keeps of what was read (decoded objects, pages) is there then, as in a process that has run for a while.
 */
import { by64, load, oneByOne } from '../harness/loops.mjs';

const SIZE = { keys: 1_000_000, operations: 1_000_000, memoryBytes: 512 << 20 };
const QUICK = { keys: 20_000, operations: 20_000, memoryBytes: 64 << 20 };

/** Times that a slow peer may take for it, in those of a phase. */
const WARM_UP_CAPS = 4;

/**
 * @param kind of the operations that are no reads
 * @param share of them, 0 to 1
 * @param number tells the traces of the workloads apart
 */
export function mixWorkload({ title, peers, kind, share, number }) {
  return {
    title,
    peers,
    size: SIZE,
    quick: QUICK,
    steps: {
      mix: {
        async run(context) {
          const { keys, operations, memoryBytes } = context.size;
          const traces = context.traces(keys);
          const store = await context.open({ memoryBytes });
          await load(store, context.data, { keys });
          await store.flush?.();
          const capMs = WARM_UP_CAPS * context.capMs;
          await by64(store, context.data, { trace: traces.distinct(keys), capMs });
          for (const [phase, loop, offset] of [
            ['one by one', oneByOne, 0],
            ['by 64', by64, 2],
          ]) {
            const trace = traces.zipfian(operations, number + offset);
            const kinds = traces.mix(operations, kind, share, number + offset + 1);
            await context.phase(phase, (input) => loop(store, context.data, { trace, kinds, ...input }));
          }
          context.figure('resident, MiB', context.residentMib());
          await context.close();
        },
      },
    },
  };
}
