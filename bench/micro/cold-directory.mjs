/**
 * The directory of the cold index at 100 million keys, without chunks: memory, time, how evenly slots fill, and how many
 * absent keys its filters let through. What would be in the chunks is simulated by linked lists (8 bytes a key); a slot's
 * filter is made anew when a batch has an entry for it, as a flush does.
 * Needs a build (`npm run build`). Run: node bench/micro/cold-directory.mjs [keys] [batch]
 */
import { ChunkDirectory, SlotFilter } from '../../dist/modules/cold/chunk-directory.js';
import { hashLowOf, tagOf } from '../../dist/modules/cold/hash-chunk.js';

const keys = Number(process.argv[2] ?? 100_000_000);
const batch = Number(process.argv[3] ?? 65_536);
const PROBES = 2_000_000;

/** Hashes: a strong mixer of a counter, so that keys beyond `keys` are absent. */
function mixed(counter) {
  let x = counter;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return x ^ (x >>> 15);
}
const lowOf = (key) => mixed(key * 2 + 1);
const highOf = (key) => mixed((key * 2) ^ 0x5bd1e995);
const seconds = (from) => ((performance.now() - from) / 1000).toFixed(1);

const directory = new ChunkDirectory();
const tags = new Int32Array(keys);
const next = new Uint32Array(keys);
/** First entry of each slot, from 1 on. */
const heads = new Uint32Array(Math.ceil(keys / 4) + 16_384);

/** The new slot gets its own of the entries of the slot that it was split from. */
function split() {
  const slot = directory.slots - 1;
  const from = slot ^ (1 << (31 - Math.clz32(slot)));
  const width = directory.widthOf(slot);
  const mask = (1 << width) - 1;
  let link = heads[from];
  heads[from] = heads[slot] = 0;
  while (link !== 0) {
    const after = next[link - 1];
    const to = hashLowOf(from, tags[link - 1]) & mask;
    next[link - 1] = heads[to];
    heads[to] = link;
    link = after;
  }
}

const filter = new SlotFilter();

function rewrite(slot) {
  let count = 0;
  filter.clear();
  for (let link = heads[slot]; link !== 0; link = next[link - 1]) {
    filter.add(tags[link - 1]);
    count++;
  }
  directory.set(slot, slot + 1, filter);
  return count;
}

function passing() {
  let passed = 0;
  const start = performance.now();
  for (let i = keys; i < keys + PROBES; i++) {
    const low = lowOf(i);
    if (directory.mayHold(directory.slotOf(low), tagOf(low, highOf(i)))) passed++;
  }
  const ns = ((performance.now() - start) * 1e6) / PROBES;
  return `${((100 * passed) / PROBES).toFixed(2)} % (${ns.toFixed(0)} ns each)`;
}

const start = performance.now();
let splitMs = 0;
for (let done = 0; done < keys;) {
  const end = Math.min(done + batch, keys);
  const splitStart = performance.now();
  while (directory.growFor(end)) split();
  splitMs += performance.now() - splitStart;
  const first = done;
  for (; done < end; done++) {
    const low = lowOf(done);
    const slot = directory.slotOf(low);
    tags[done] = tagOf(low, highOf(done));
    next[done] = heads[slot];
    heads[slot] = done + 1;
  }
  for (let i = first; i < end; i++) rewrite(directory.slotOf(lowOf(i)));
}
console.log(`${keys / 1e6} million keys, ${directory.slots} slots, built in ${seconds(start)} s`);
console.log(`of which splits with their lists: ${(splitMs / 1000).toFixed(1)} s`);

const alone = performance.now();
const growing = new ChunkDirectory();
while (growing.growFor(keys));
console.log(`splits alone: ${seconds(alone)} s`);

const perKey = (bytes) => (bytes / keys).toFixed(3);
console.log(`bytes a key: places ${perKey(directory.placeBytes)}, filters ${perKey(directory.filterBytes)}`);
console.log(`absent keys let through: ${passing()}`);

const loads = [];
for (let slot = 0; slot < directory.slots; slot++) {
  const count = rewrite(slot);
  loads[count] = (loads[count] ?? 0) + 1;
}
console.log(`the same if each chunk had been written since its slot was split: ${passing()}`);
console.log('slots by entries:');
for (let count = 0; count < loads.length; count++) {
  if (loads[count]) console.log(`  ${count}: ${((100 * loads[count]) / directory.slots).toFixed(3)} %`);
}
