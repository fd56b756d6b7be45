import { type LogAddress } from './address.js';
import { PageRing } from './page-ring.js';

const KIB = 1024;
const PAGE = 64 * KIB;

const at = (address: number): LogAddress => address as LogAddress;

describe('PageRing', () => {
  it.each([0, 2 ** 31, 2 ** 32, 2 ** 34, 2 ** 35, 2 ** 40, 2 ** 48 - 4 * PAGE])(
    'finds every byte of a row of pages from address %d on',
    (start) => {
      const ring = new PageRing(PAGE, 4);
      for (let page = 0; page < 4; page++) ring.add(at(start + page * PAGE));
      for (let offset = 0; offset < 4 * PAGE; offset += 8) {
        const address = at(start + offset);
        ring.wordsAt(address)[ring.wordOffset(address)] = offset;
      }
      const wrong: number[] = [];
      for (let offset = 0; offset < 4 * PAGE; offset += 8) {
        const address = at(start + offset);
        if (ring.bytesAt(address).readInt32LE(ring.byteOffset(address)) !== offset) wrong.push(offset);
        if (ring.wordOffset(address) !== (offset % PAGE) / 4) wrong.push(offset);
      }
      expect(wrong).toEqual([]);
    },
  );

  it.each([64 * KIB, 4096 * KIB])('shows words and bytes of a page of %i as one memory', (pageSize) => {
    const ring = new PageRing(pageSize, 1);
    const last = at(2 ** 40 * 3 + pageSize - 8);
    ring.add(at(2 ** 40 * 3));
    expect(ring.wordsAt(last)).toHaveLength(pageSize / 4);
    expect(ring.bytesAt(last)).toHaveLength(pageSize);
    ring.bytesAt(last).writeInt32LE(-77, ring.byteOffset(last) + 4);
    expect(ring.wordsAt(last)[ring.wordOffset(last) + 1]).toBe(-77);
  });

  it.each([1, 2, 3, 4, 5, 8, 9, 17])(
    'never puts two of %i pages, and the next one, into the same slot',
    (pages) => {
      const ring = new PageRing(PAGE, pages);
      const start = 2 ** 32 - 3 * PAGE;
      const buffers = new Set<Buffer>();
      for (let page = 0; page <= pages; page++) {
        ring.add(at(start + page * PAGE));
        buffers.add(ring.bytesAt(at(start + page * PAGE)));
      }
      for (let page = 0; page <= pages; page++) {
        expect(buffers.delete(ring.bytesAt(at(start + page * PAGE)))).toBe(true);
      }
    },
  );

  it('hands out zeros, not what the memory of the process held before', () => {
    const ring = new PageRing(PAGE, 40);
    for (let page = 0; page < 40; page++) {
      Buffer.allocUnsafeSlow(PAGE).fill(0xff);
      ring.add(at(page * PAGE));
      expect(ring.bytesAt(at(page * PAGE)).every((byte) => byte === 0)).toBe(true);
    }
  });

  it('does not use a buffer that was taken before it is given back', () => {
    const ring = new PageRing(PAGE, 2);
    ring.add(at(0));
    const taken = ring.take(at(0));
    ring.add(at(PAGE));
    expect(ring.bytesAt(at(PAGE)).buffer).not.toBe(taken.buffer);
    ring.giveBack(taken);
    ring.add(at(2 * PAGE));
    expect(ring.bytesAt(at(2 * PAGE)).buffer).toBe(taken.buffer);
  });

  it('has nothing where a page was taken out', () => {
    const ring = new PageRing(PAGE, 2);
    ring.add(at(PAGE));
    ring.take(at(PAGE));
    expect(ring.wordsAt(at(PAGE))).toHaveLength(0);
    expect(ring.bytesAt(at(PAGE))).toHaveLength(0);
  });

  it('counts what it holds, buffers that wait for use included', () => {
    const ring = new PageRing(PAGE, 4);
    ring.add(at(0));
    ring.add(at(PAGE));
    expect([ring.count, ring.memoryBytes]).toEqual([2, 2 * PAGE]);
    const taken = ring.take(at(0));
    expect([ring.count, ring.memoryBytes]).toEqual([1, PAGE]);
    ring.giveBack(taken);
    expect([ring.count, ring.memoryBytes]).toEqual([1, 2 * PAGE]);
    expect(ring.spareCount).toBe(1);
    expect(ring.takeSpare()).toBe(taken);
    expect([ring.count, ring.memoryBytes, ring.spareCount]).toEqual([1, PAGE, 0]);
  });
});
