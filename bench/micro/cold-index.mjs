/**
 * What the cold index costs: a put, a flush for each entry, look-ups with and without a read; and the bytes that it writes
 * and takes for each key. On files, whose chunks the operating system has in its cache.
 * Needs a build (`npm run build`). Run: node bench/micro/cold-index.mjs [keys] [pending entries]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ColdIndex } from '../../dist/modules/cold/cold-index.js';
import { FileDevice } from '../../dist/modules/device/file-device.js';
import { nodeEnv } from '../../dist/modules/device/node-env.js';
import { ReadPacer } from '../../dist/modules/log/read-pacer.js';
import { Slices } from '../../dist/modules/log/slices.js';

const keys = Number(process.argv[2] ?? 1_000_000);
const pendingEntries = Number(process.argv[3] ?? 65_536);
const RECORD_BYTES = 160;
const LOOK_UPS = 400_000;
const MIB = 1024 * 1024;

const { clock } = nodeEnv;
const directory = mkdtempSync(join(tmpdir(), 'cold-index-'));
const device = new FileDevice(nodeEnv, directory);
await device.lock();
let begin = 64;
let tail = 64;
const index = new ColdIndex({
  device,
  pageSize: MIB / 16,
  segmentSize: 16 * MIB,
  salt: 7,
  cacheBytes: 8 * MIB,
  pendingEntries,
  pacer: new ReadPacer(clock),
  flushPacer: new ReadPacer(clock),
  coldBegin: () => begin,
  onWriteError: (error) => console.error(error),
});

function mixed(counter) {
  let x = counter;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return x ^ (x >>> 15);
}
const lowOf = (key) => mixed(key * 2 + 1);
const highOf = (key) => mixed((key * 2) ^ 0x5bd1e995);
let state = 1234567;
function random(limit) {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % limit;
}

async function feed(what, count, keyAt) {
  let putMs = 0;
  let flushMs = 0;
  let longestMs = 0;
  const { bytesWritten, chunkReads } = index.stats;
  for (let i = 0; i < count;) {
    let start = performance.now();
    for (; i < count && !index.full; i++) {
      const key = keyAt(i);
      tail += RECORD_BYTES;
      index.put(lowOf(key), highOf(key), tail, 2);
    }
    putMs += performance.now() - start;
    start = performance.now();
    let last = start;
    let done = false;
    const flushing = index.flush(new Slices(clock, 3)).then(() => (done = true));
    while (!done) {
      await clock.turn();
      const now = performance.now();
      longestMs = Math.max(longestMs, now - last);
      last = now;
    }
    await flushing;
    flushMs += performance.now() - start;
  }
  const { stats } = index;
  const each = (ms) => `${((ms * 1e6) / count).toFixed(0)} ns`;
  console.log(
    `${what}: put ${each(putMs)}, flush ${each(flushMs)}; an entry: ` +
      `${((stats.bytesWritten - bytesWritten) / count).toFixed(0)} bytes written, ` +
      `${((stats.chunkReads - chunkReads) / count).toFixed(2)} reads; longest turn ${longestMs.toFixed(1)} ms`,
  );
}

async function lookUp(what, keyAt) {
  const before = index.stats;
  let waited = 0;
  let found = 0;
  const start = performance.now();
  for (let i = 0; i < LOOK_UPS; i++) {
    const key = keyAt();
    let candidates = index.tryFind(lowOf(key), highOf(key));
    if (!candidates) {
      waited++;
      candidates = await index.find(lowOf(key), highOf(key));
    }
    if (candidates.count > 0) found++;
    // As often as an application would.
    if ((i & 127) === 0) await clock.turn();
  }
  const ns = ((performance.now() - start) * 1e6) / LOOK_UPS;
  const { chunkReads } = index.stats;
  console.log(
    `${what}: ${ns.toFixed(0)} ns, found ${((100 * found) / LOOK_UPS).toFixed(1)} %, ` +
      `reads ${((chunkReads - before.chunkReads) / LOOK_UPS).toFixed(3)}, waited for ${waited}`,
  );
}

await feed('load', keys, (i) => i);
let { stats } = index;
const perKey = (bytes) => (bytes / keys).toFixed(2);
console.log(
  `bytes a key: directory ${perKey(stats.directoryBytes)}, filters ${perKey(stats.filterBytes)}, ` +
    `on disk ${perKey(stats.chunkLogBytes)}; pending ${stats.pendingBytes}, buffers ${stats.ringBytes}`,
);

{
  let passed = 0;
  const start = performance.now();
  for (let i = 0; i < LOOK_UPS; i++) if (index.mayHold(lowOf(keys + i), highOf(keys + i))) passed++;
  const ns = ((performance.now() - start) * 1e6) / LOOK_UPS;
  console.log(
    `mayHold of absent keys: ${ns.toFixed(0)} ns, ${((100 * passed) / LOOK_UPS).toFixed(2)} % pass`,
  );
}
await lookUp('any key', () => random(keys));
await lookUp('10,000 keys, first', () => random(10_000));
await lookUp('10,000 keys, from the cache', () => random(10_000));
await lookUp('absent keys', () => keys + random(1e8));

// The cold log keeps a quarter of garbage: it begins where its oldest fifth was copied from.
const updates = Math.min(keys, 2_000_000);
await feed('updates', updates, (i) => {
  if (i % 1000 === 0) begin = Math.max(64, tail - keys * 1.25 * RECORD_BYTES);
  return random(keys);
});
({ stats } = index);
console.log(
  `entries ${stats.entries}, slots ${stats.slots}, on disk ${(stats.chunkLogBytes / MIB).toFixed(0)} MiB`,
);
const partitionStart = performance.now();
let count = 0;
for (let partition = 0; partition < 200; partition++) {
  ({ count } = await index.partition(partition));
  await clock.turn();
}
console.log(`a partition: ${count} entries, ${((performance.now() - partitionStart) * 5).toFixed(0)} us`);
await index.close();
device.close();
rmSync(directory, { recursive: true });
