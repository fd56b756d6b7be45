// Writes without awaiting and says how much resident memory that took: "rss <peak>", in bytes; how many writes were
// refused because too many were waiting, "failures <n>", or for another reason, "others <n>". With `store: 'none'` the
// same work is done for a store that does nothing, as the measure to compare with. With `waits` it begins at a line on
// standard input.
import { readFileSync, writeSync } from 'node:fs';

const {
  path,
  store: kind,
  count,
  perTurn,
  level,
  valueBytes,
  diskBudget,
  waits,
} = JSON.parse(process.argv[2]);
if (waits) await new Promise((resolve) => process.stdin.once('data', resolve));
const { KvOverloadedError, KvStore } = await import('../src/store/index.js');

/** The most there ever was, which a sample now and then would miss. */
function peakRss() {
  const match = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(match[1]) * 1024;
}

const nothing = { set: async () => 1, get: async () => undefined, close: async () => {} };
const hot = { memory: '8mb', ...(diskBudget && { diskBudget }) };
const store = kind === 'none' ? nothing : await KvStore.open({ path, hot, durability: { level } });

let failures = 0;
let others = 0;
const refused = (error) => (error instanceof KvOverloadedError ? failures++ : others++);
for (let n = 0; n < count;) {
  for (let i = 0; i < perTurn && n < count; i++, n++) {
    store.set(`key ${n % 20_000}`, 'x'.repeat(valueBytes) + n).catch(refused);
  }
  await new Promise((resolve) => setImmediate(resolve));
}
await store.close();
writeSync(1, `rss ${peakRss()}\nfailures ${failures}\nothers ${others}\n`);
process.stdin.destroy();
