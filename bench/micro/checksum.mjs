/**
 * XXH32 in JavaScript against zlib.crc32 for the lengths of records: the figure behind docs/decisions/0001.
 * Needs a build (`npm run build`). Run: node bench/micro/checksum.mjs
 */
import { crc32 } from 'node:zlib';
import { xxh32 } from '../../dist/modules/log/checksum.js';

const CALLS = 1_000_000;
const ROUNDS = 7;
const page = Buffer.alloc(4 << 20, 7);
const words = new Int32Array(page.buffer, page.byteOffset, page.length >> 2);
let sink = 0;

function nanoseconds(run) {
  const start = process.hrtime.bigint();
  for (let i = 0; i < CALLS; i++) sink ^= run((i * 256) & (page.length - 1));
  return Number(process.hrtime.bigint() - start) / CALLS;
}

for (const bytes of [64, 144, 256, 1024]) {
  const times = { xxh32: [], crc32: [] };
  for (let round = 0; round < ROUNDS; round++) {
    times.xxh32.push(
      nanoseconds((at) => xxh32(words, at >> 2, ((at + bytes) >> 2) & ((page.length >> 2) - 1), at)),
    );
    times.crc32.push(nanoseconds((at) => crc32(page.subarray(at, at + bytes), at)));
  }
  const median = (row) => row.sort((a, b) => a - b)[ROUNDS >> 1].toFixed(0);
  console.log(`${bytes} bytes: xxh32 ${median(times.xxh32)} ns, crc32 ${median(times.crc32)} ns`);
}
if (sink === 42) console.log(sink);
