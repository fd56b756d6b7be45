import fc from 'fast-check';
import { FIRST_ADDRESS, NO_ADDRESS, type LogAddress } from '../log/address.js';
import { isIntact, KIND_CHUNK, KIND_MASK, checksumOf, totalBytes } from '../log/record.js';
import { LARGEST_SIZE_CLASS, readBytesOf, sizeClassOf } from '../log/size-class.js';
import {
  addressOf,
  chunkBytes,
  ChunkView,
  classCodeOf,
  EntryList,
  entryWords,
  hashLowOf,
  packHigh,
  PARTITIONS,
  sizeClassOfEntry,
  slotOfChunk,
  tagOf,
  widthOfChunk,
  writeChunk,
} from './hash-chunk.js';

const hashes = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const addresses = fc
  .oneof(
    fc.integer({ min: 1, max: 2 ** 45 - 1 }),
    fc.constantFrom(1, 2 ** 32 - 1, 2 ** 32, 2 ** 44, 2 ** 45 - 1),
  )
  .map((units) => (units * 8) as LogAddress);
const entries = fc.record({
  low: hashes,
  high: hashes,
  address: addresses,
  sizeClass: fc.integer({ min: 1, max: LARGEST_SIZE_CLASS }),
});

describe('Entries of the cold index', () => {
  it('keep address and size class, apart from those of long records, which are the largest', () => {
    fc.assert(
      fc.property(addresses, fc.integer({ min: 1, max: LARGEST_SIZE_CLASS }), (address, sizeClass) => {
        const low = (address / 8) | 0;
        const high = packHigh(address, sizeClass);
        expect(high).toBeLessThan(2 ** 16);
        expect(addressOf(low, high)).toBe(address);
        expect(sizeClassOfEntry(high)).toBe(sizeClass > 7 ? LARGEST_SIZE_CLASS : sizeClass);
        expect(classCodeOf(high)).toBe(Math.min(sizeClass, 8) - 1);
      }),
    );
    // One read covers the record, or its header is read first.
    for (const bytes of [24, 128, 136, 4096, 8192, 8200, 2 ** 20]) {
      const sizeClass = sizeClassOfEntry(packHigh(FIRST_ADDRESS, sizeClassOf(bytes)));
      if (sizeClass !== LARGEST_SIZE_CLASS) expect(readBytesOf(sizeClass)).toBeGreaterThanOrEqual(bytes);
      expect(sizeClass === LARGEST_SIZE_CLASS).toBe(bytes > 8192);
    }
  });

  it('tell hashes apart by 45 bits: the partition and the tag', () => {
    fc.assert(
      fc.property(hashes, hashes, (low, high) => {
        const tag = tagOf(low, high);
        expect(hashLowOf(low & (PARTITIONS - 1), tag)).toBe(low);
        for (let bit = 0; bit < 13; bit++) {
          expect(tagOf(low ^ (1 << bit), high)).toBe(tag);
          expect(tagOf(low, high ^ (1 << bit))).not.toBe(tag);
        }
        for (let bit = 13; bit < 32; bit++) {
          expect(tagOf(low ^ (1 << bit), high)).not.toBe(tag);
          expect(tagOf(low, high ^ (1 << bit))).toBe(tag);
        }
      }),
    );
  });
});

describe('A chunk', () => {
  it('is a record that holds its entries in order, with slot and width, wherever it lies', () => {
    const runs = fc.tuple(
      fc.array(entries, { minLength: 1, maxLength: 200 }),
      fc.nat(2 ** 30 - 1),
      fc.integer({ min: 13, max: 31 }),
      fc.nat(50),
    );
    fc.assert(
      fc.property(runs, ([row, slot, width, gap]) => {
        const list = new EntryList();
        for (const { low, high, address, sizeClass } of row) {
          list.add(tagOf(low, high), address / 8, packHigh(address, sizeClass));
        }
        const bytes = chunkBytes(row.length);
        // Over what was there before.
        const words = new Int32Array(2 * gap + (bytes >> 2) + 2).fill(-1);
        const at = 2 * gap;
        writeChunk(words, at, slot, width, list);
        expect(words[at - 1] ?? -1).toBe(-1);
        expect(words[at + (bytes >> 2)]).toBe(-1);
        expect(totalBytes(words, at)).toBe(bytes);
        expect(words[at + 1] & KIND_MASK).toBe(KIND_CHUNK);
        expect([slotOfChunk(words, at), widthOfChunk(words, at)]).toEqual([slot, width]);
        words[at] = checksumOf(words, at, FIRST_ADDRESS, 5);
        expect(isIntact(words, at, bytes, FIRST_ADDRESS, 5)).toBe(true);

        const view = new ChunkView().setRecord(words, at);
        expect(view.count).toBe(row.length);
        row.forEach(({ low, high, address, sizeClass }, i) => {
          expect(view.tag(i)).toBe(tagOf(low, high));
          expect(addressOf(view.low(i), view.high(i))).toBe(address);
          expect(view.high(i)).toBe(packHigh(address, sizeClass));
        });
        expect(entryWords(row.length) * 4).toBeLessThanOrEqual(bytes - 24);
      }),
    );
  });

  it('takes 10 bytes an entry, 24 of header, and leaves no bytes of others in its padding', () => {
    expect([1, 2, 3, 4, 6].map(chunkBytes)).toEqual([40, 48, 56, 64, 88]);
    const list = new EntryList();
    list.add(-2, 0x1234_5678, 0xabcd);
    const words = new Int32Array(10).fill(-1);
    writeChunk(words, 0, 8193, 14, list);
    expect([...words.slice(1)]).toEqual([KIND_CHUNK, 10, 8193, 14, NO_ADDRESS, -2, 0x1234_5678, 0xabcd, 0]);
  });
});
