/**
 * How to read a value back with msgpackr: straight from a page of the log, or from a scratch buffer it was copied to.
 * msgpackr decodes strings in JavaScript only if the end of the range is below byte 140 of the buffer it is given;
 * elsewhere it calls its native extractor, unless that was switched off by `MSGPACKR_NATIVE_ACCELERATION_DISABLED=true`
 * in the environment. Run both: `node bench/micro/unpack.mjs`.
 */
import { isNativeAccelerationEnabled, Packr } from 'msgpackr';
import { median } from 'simple-statistics';
import { randomFrom, valueOf } from '../workload.mjs';

const PAGE_BYTES = 4 * 1024 * 1024;
const ROUNDS = 9;
const READS = 200_000;

const OBJECTS = {
  'the object of the benchmark': (i) => valueOf(i, 0),
  'the same with 200 more characters': (i) => ({ ...valueOf(i, 0), about: 'x'.repeat(200) }),
  'four numbers': (i) => ({ a: i, b: i + 0.5, c: -i, d: i * 1000 }),
};

for (const [name, make] of Object.entries(OBJECTS)) measure(name, make);

function measure(name, make) {
  const packr = new Packr({ structures: [], maxSharedStructures: 32, moreTypes: true, copyBuffers: true });
  const page = Buffer.allocUnsafeSlow(PAGE_BYTES);
  const words = new Int32Array(page.buffer);
  const starts = [];
  const ends = [];
  for (let at = 0, i = 0; ; i++) {
    const packed = packr.pack(make(i));
    if (at + packed.length > PAGE_BYTES) break;
    page.set(packed, at);
    starts.push(at);
    ends.push(at + packed.length);
    at = (at + packed.length + 7) & ~7;
  }
  const random = randomFrom(1);
  const order = Uint32Array.from({ length: READS }, () => Math.floor(random() * starts.length));

  const range = { start: 0, end: 0 };
  const scratch = Buffer.allocUnsafeSlow(8192);
  const scratchWords = new Int32Array(scratch.buffer);
  const variants = {
    'from the page, { start, end }': (i) => {
      range.start = starts[i];
      range.end = ends[i];
      return packr.unpack(page, range);
    },
    'from a subarray of the page': (i) => packr.unpack(page.subarray(starts[i], ends[i])),
    'copied by words, { start, end }': (i) => {
      range.start = 0;
      range.end = copyWords(starts[i], ends[i]);
      return packr.unpack(scratch, range);
    },
    'copied by words, end as a number': (i) => packr.unpack(scratch, copyWords(starts[i], ends[i])),
    'copied by Buffer.copy, end as a number': (i) => {
      page.copy(scratch, 0, starts[i], ends[i]);
      return packr.unpack(scratch, ends[i] - starts[i]);
    },
    'the copy by words alone': (i) => copyWords(starts[i], ends[i]),
  };

  function copyWords(start, end) {
    const from = start >> 2;
    const count = (end - start + 3) >> 2;
    for (let i = 0; i < count; i++) scratchWords[i] = words[from + i];
    return end - start;
  }

  const ns = Object.fromEntries(Object.keys(variants).map((variant) => [variant, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [variant, read] of Object.entries(variants)) {
      const from = performance.now();
      for (const i of order) read(i);
      ns[variant].push(((performance.now() - from) * 1e6) / READS);
    }
  }
  const bytes = Math.round((ends.at(-1) ?? 0) - (starts.at(-1) ?? 0));
  console.log(`${name}: ${bytes} bytes packed, native strings ${isNativeAccelerationEnabled ? 'on' : 'off'}`);
  for (const [variant, times] of Object.entries(ns)) {
    console.log(`  ${median(times).toFixed(0).padStart(6)} ns  ${variant}`);
  }
}
