// Writes numbered keys for ever, in order, and says on standard output what is acknowledged: "ack <last> <ms>" after
// the promises of the writes up to a number have resolved, "flush <last> <ms>" after a flush that covers it. `rewrite`
// overwrites a few keys again and again as well, whose values name the number at which they were written. `tiny` budgets
// have it compact and take checkpoints all the time; an acknowledgement says whether it does. It ends after `rounds`, if
// that is given.
import { writeSync } from 'node:fs';
import { KvStore } from '../src/store/index.js';

const { path, level, everyMs, valueBytes, rewrite, tiny, rounds = Infinity } = JSON.parse(process.argv[2]);
const say = (line) => writeSync(1, `${line}\n`);

const budgets = tiny && {
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', expectedKeys: 500_000, diskBudget: '1mb' },
  cold: { segmentSize: '1mb', garbageShare: 0.05 },
  compaction: { every: 10, sliceMs: 0.2 },
};
const store = await KvStore.open({
  path,
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' },
  ...budgets,
  durability: { level, everyMs },
});
const first = (await store.get('next')) ?? 0;
say(`open ${first}`);

let checkpointing = false;
let n = first;
for (let round = 1; round <= rounds; round++) {
  const writes = [];
  for (let i = 0; i < 20; i++, n++) {
    const filling = 'x'.repeat((n * 7919) % valueBytes);
    writes.push(store.set(n, { n, filling }));
    if (rewrite) writes.push(store.set(`hot${n % 5}`, { n, filling }));
    writes.push(store.set('next', n + 1));
  }
  await Promise.all(writes);
  say(`ack ${n - 1} ${Date.now()} ${store.stats().compaction.running} ${checkpointing}`);
  if (tiny && round % 7 === 0 && !checkpointing) {
    checkpointing = true;
    void store.checkpoint().finally(() => (checkpointing = false));
  }
  if (level !== 'always' && round % 10 === 0) {
    await store.flush();
    say(`flush ${n - 1} ${Date.now()}`);
  }
  // Lets timers and the disk have their turn, and keeps the number of keys within what can be checked in no time.
  await new Promise((resolve) => (level === 'always' ? setImmediate(resolve) : setTimeout(resolve, 2)));
}
await store.close();
