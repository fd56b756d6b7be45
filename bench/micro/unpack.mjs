/**
 * How to read a value back with msgpackr: straight from a page of the log, or from a scratch buffer it was copied to.
 * msgpackr decodes strings in JavaScript only if the end of the range is below byte 140 of the buffer it is given;
 * elsewhere it calls its native extractor, unless that was switched off by `MSGPACKR_NATIVE_ACCELERATION_DISABLED=true`
 * in the environment. Run both: `node bench/micro/unpack.mjs`.
 */
import { isNativeAccelerationEnabled, Packr } from 'msgpackr';
import { median } from 'simple-statistics';
import { valueOf } from '../harness/data.mjs';
import { randomFrom } from '../harness/traces.mjs';

const PAGE_BYTES = 4 * 1024 * 1024;
/** Header and key of a record, roughly. */
const RECORD_OVERHEAD = 48;
const ROUNDS = 9;
const READS = 200_000;

const OBJECTS = {
  'the object of the benchmark': (i) => valueOf(i, 0),
  'the same with 200 more characters': (i) => ({ ...valueOf(i, 0), about: 'x'.repeat(200) }),
  'four numbers': (i) => ({ a: i, b: i + 0.5, c: -i, d: i * 1000 }),
};

for (const [name, make] of Object.entries(OBJECTS)) {
  // One page stays in the processor's caches, as hot keys do; 32 do not.
  for (const pages of [1, 32]) measure(name, make, pages);
}

function measure(name, make, pageCount) {
  const packr = new Packr({ structures: [], maxSharedStructures: 32, moreTypes: true, copyBuffers: true });
  const pages = Array.from({ length: pageCount }, () => Buffer.alloc(PAGE_BYTES));
  const pagesWords = pages.map((page) => new Int32Array(page.buffer));
  // Of each object: its page, where it starts and where it ends.
  const places = [];
  let bytes = 0;
  pages.forEach((page, number) => {
    for (let at = 0; ; at = (at + bytes + RECORD_OVERHEAD) & ~7) {
      const packed = packr.pack(make(places.length / 3));
      bytes = packed.length;
      if (at + bytes > PAGE_BYTES) break;
      page.set(packed, at);
      places.push(number, at, at + bytes);
    }
  });
  const random = randomFrom(1);
  const order = Uint32Array.from({ length: READS }, () => Math.floor((random() * places.length) / 3) * 3);

  const range = { start: 0, end: 0 };
  const scratch = Buffer.allocUnsafeSlow(8192);
  const scratchWords = new Int32Array(scratch.buffer);
  const variants = {
    'from the page, { start, end }': (page, start, end) => {
      range.start = start;
      range.end = end;
      return packr.unpack(page, range);
    },
    'from a subarray of the page': (page, start, end) => packr.unpack(page.subarray(start, end)),
    'copied by words, end as a number': (_page, start, end, words) => {
      copyWords(words, start, end);
      return packr.unpack(scratch, end - start);
    },
    'copied by Buffer.copy, end as a number': (page, start, end) => {
      page.copy(scratch, 0, start, end);
      return packr.unpack(scratch, end - start);
    },
    'the copy by words alone': (_page, start, end, words) => copyWords(words, start, end),
  };

  function copyWords(words, start, end) {
    const from = start >> 2;
    const count = (end - start + 3) >> 2;
    for (let i = 0; i < count; i++) scratchWords[i] = words[from + i];
  }

  const ns = Object.fromEntries(Object.keys(variants).map((variant) => [variant, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [variant, read] of Object.entries(variants)) {
      const from = performance.now();
      for (const i of order) read(pages[places[i]], places[i + 1], places[i + 2], pagesWords[places[i]]);
      ns[variant].push(((performance.now() - from) * 1e6) / READS);
    }
  }
  console.log(
    `${name}: ${bytes} bytes packed, ${pageCount} pages, native strings ${isNativeAccelerationEnabled ? 'on' : 'off'}`,
  );
  for (const [variant, times] of Object.entries(ns)) {
    console.log(`  ${median(times).toFixed(0).padStart(6)} ns  ${variant}`);
  }
}
