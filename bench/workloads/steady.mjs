/**
 * S: zipfian updates of more data than memory, long enough for compaction to find its pace: amplification, throughput and
 * memory over time. Every store with what it does by itself; this package with its default options (64 MiB hot tier).
 */
import { by64, load } from '../harness/loops.mjs';
import { UPDATE } from '../harness/traces.mjs';
import { bytesOfUser, OwnCounts, writtenBytes } from './amplification.mjs';
import { STORES } from './peers.mjs';

/** The last so many samples are the steady state. */
const STEADY_SHARE = 0.4;

async function run(context) {
  const { keys, operations, samples, ...settings } = context.size;
  const { data } = context;
  const traces = context.traces(keys);
  const bytesGiven = bytesOfUser(keys);
  const store = await context.open(settings);
  await load(store, data, { keys });
  await store.flush?.();
  const liveBytes = store.stats?.().writes.userBytes;

  const perSample = Math.ceil(operations / samples);
  const kinds = new Uint8Array(perSample).fill(UPDATE);
  const steadyFrom = Math.floor(samples * (1 - STEADY_SHARE));
  const space = [];
  let steady;
  let done = 0;
  let seconds = 0;
  for (let sample = 0; sample < samples; sample++) {
    const trace = traces.zipfian(perSample, 700 + sample);
    const before = writtenBytes();
    if (sample === steadyFrom) steady = { counts: new OwnCounts(store), bytes: before, done };
    const from = performance.now();
    const { operations: now } = await by64(store, data, { trace, kinds, capMs: context.capMs });
    const took = (performance.now() - from) / 1000;
    done += now;
    seconds += took;
    const diskBytes = context.diskBytes();
    if (sample >= steadyFrom) space.push(diskBytes);
    context.sample({
      seconds,
      'updates/s': now / took,
      'resident, MiB': context.residentMib(),
      'write amplification': (writtenBytes() - before) / (now * bytesGiven),
      'space amplification': diskBytes / (keys * bytesGiven),
    });
  }
  const meanSpace = space.reduce((sum, bytes) => sum + bytes, 0) / space.length;
  context.figure(
    'write amplification',
    (writtenBytes() - steady.bytes) / ((done - steady.done) * bytesGiven),
  );
  context.figure('space amplification', meanSpace / (keys * bytesGiven));
  if (liveBytes) context.figure('own count: space amplification', meanSpace / liveBytes);
  steady.counts.note(context);
  context.figure('updates/s', done / seconds);
  context.figure('resident, MiB', context.residentMib());
  await context.close();
}

export const workload = {
  title: 'zipfian updates of 5 million users in the steady state',
  peers: ['ours', 'lmdb-nosync', ...STORES.slice(1)],
  size: { keys: 5_000_000, operations: 20_000_000, samples: 40 },
  quick: { keys: 50_000, operations: 100_000, samples: 5, memoryBytes: 8 << 20, diskBudget: 8 << 20 },
  // Counts of bytes hardly vary from round to round.
  rounds: 1,
  steps: { run: { run } },
};
