import type { LogAddress } from '../log/address.js';
import { CHAIN_MASK } from './bucket-store.js';
import { ROW_CLASS_SHIFT, hashIn, IndexRows, rangeOf, RANGES } from './index-rows.js';

const at = (address: number) => address as LogAddress;

interface Row {
  chain: number;
  address: number;
  sizeClass: number;
}

function rowsOf(words: Uint32Array, from: number): Row[] {
  const rows: Row[] = [];
  for (let i = 0; i < words.length; i += 2) {
    const chain = words[i] & CHAIN_MASK;
    rows.push({ chain, address: from + words[i + 1] * 8, sizeClass: words[i] >>> ROW_CLASS_SHIFT });
  }
  return rows;
}

describe('rows of an index', () => {
  it('come by range, those of a range in their order, with all that an entry has', () => {
    const from = 2 ** 40 + 64;
    const rows = new IndexRows(at(from));
    const added: Row[] = [];
    for (let i = 0; i < 5000; i++) {
      const low = Math.imul(i % 1234, 0x9e3779b1);
      added.push({ chain: low & CHAIN_MASK, address: from + i * 48, sizeClass: i % 16 });
      rows.add(low, at(from + i * 48), i % 16);
    }
    const { words, counts } = rows.byRange(rows.count);
    const expected = [...Array(RANGES).keys()].flatMap((range) =>
      added.filter(({ chain }) => rangeOf(chain) === range),
    );
    expect(rowsOf(words, from)).toEqual(expected);
    expect(counts.length).toBe(RANGES);
    expect(counts.reduce((sum, count) => sum + count)).toBe(5000);
    expect(counts[rangeOf(added[7].chain)]).toBe(
      added.filter(({ chain }) => rangeOf(chain) === rangeOf(added[7].chain)).length,
    );
  });

  it('carry addresses up to 32 GiB from where they begin', () => {
    const from = 1000 * 8;
    const rows = new IndexRows(at(from));
    const far = from + (2 ** 32 - 1) * 8;
    rows.add(1, at(far), 1);
    expect(rowsOf(rows.byRange(1).words, from)).toEqual([{ chain: 1, address: far, sizeClass: 1 }]);
    expect(rows.lacking).toBe(false);
    rows.add(2, at(far + 8), 1);
    expect([rows.count, rows.lacking]).toEqual([1, true]);
  });

  it('that are forgotten leave the others as they were', () => {
    const rows = new IndexRows(at(64));
    for (let i = 0; i < 3000; i++) rows.add(i, at(64 + i * 8), 2);
    rows.forget(2000, at(64 + 2000 * 8));
    expect(rows.count).toBe(1000);
    rows.add(3000, at(64 + 3000 * 8), 2);
    const found = rowsOf(rows.byRange(rows.count).words, 64 + 2000 * 8);
    expect(found.length).toBe(1001);
    for (const { address, chain } of found) expect(address).toBe(64 + chain * 8);
    rows.forget(1001, at(10 ** 9));
    expect(rows.count).toBe(0);
  });

  it('are not kept without end: some are lacking then, until they are forgotten', () => {
    const rows = new IndexRows(at(64));
    const most = 1024 * 1024;
    for (let i = 0; i < most; i++) rows.add(i, at(64), 1);
    expect([rows.count, rows.lacking]).toEqual([most, false]);
    rows.add(1, at(64), 1);
    expect([rows.count, rows.lacking]).toEqual([most, true]);
    rows.forget(most, at(72));
    expect([rows.count, rows.lacking]).toEqual([0, false]);
  });

  it('have ranges of which each has a hash', () => {
    for (let range = 0; range < RANGES; range++) expect(rangeOf(hashIn(range))).toBe(range);
    // The lowest bits say which bucket of a piece, the higher ones which piece.
    expect(rangeOf(0xf)).toBe(0);
    expect(rangeOf(0x2000)).toBe(0);
  });
});
