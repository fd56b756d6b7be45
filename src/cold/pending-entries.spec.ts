import fc from 'fast-check';
import { SeededRandom } from '../../test/support/seeded-random.js';
import { FIRST_ADDRESS, type LogAddress } from '../log/address.js';
import { addressOf, EntryList, packHigh, tagOf } from './hash-chunk.js';
import { PendingEntries } from './pending-entries.js';

interface Entry {
  low: number;
  high: number;
  address: LogAddress;
}

const addressesOf = (list: EntryList): number[] =>
  Array.from({ length: list.count }, (_, i) => addressOf(list.lows[i], list.highs[i]));

/** Removes all slots of a width, in the order in which a flush meets them, and returns what it met. */
function empty(pending: PendingEntries, width: number): number {
  let met = 0;
  const list = new EntryList();
  for (let turn = pending.nextTurn(0); turn < PendingEntries.buckets; turn = pending.nextTurn(turn + 1)) {
    const bucket = PendingEntries.bucketAt(turn);
    for (let link = pending.linkAfter(bucket, 0); link !== 0; link = pending.linkAfter(bucket, 0)) {
      const slot = pending.hashLowAt(bucket, link) & ((1 << width) - 1);
      list.clear();
      pending.gather(slot, width, FIRST_ADDRESS, list);
      met += list.count;
      pending.remove(slot, width);
    }
  }
  return met;
}

// The machine may be busy with other specs.

describe('PendingEntries', () => {
  it('finds by hash and by slot what was put and not removed, newest first', () => {
    // Few values, so that hashes, buckets and slots are shared.
    const low = fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3)).map(([a, b, c]) => a | (b << 13) | (c << 30));
    const steps = fc.array(
      fc.oneof(
        { weight: 8, arbitrary: fc.record({ put: low, high: fc.nat(2) }) },
        { weight: 2, arbitrary: fc.record({ remove: low, width: fc.integer({ min: 13, max: 31 }) }) },
      ),
      { maxLength: 300, size: 'max' },
    );
    fc.assert(
      fc.property(steps, fc.nat(300), (sequence, below) => {
        const pending = new PendingEntries(16);
        let model: Entry[] = [];
        let address = FIRST_ADDRESS as number;
        for (const step of sequence) {
          if ('put' in step) {
            const entry = { low: step.put, high: step.high, address: (address += 8) as LogAddress };
            pending.put(entry.low, entry.high, entry.address, 3);
            model.unshift(entry);
          } else {
            const mask = (1 << step.width) - 1;
            const slot = step.remove & mask;
            pending.remove(slot, step.width);
            model = model.filter((entry) => (entry.low & mask) !== slot);
          }
          expect(pending.count).toBe(model.length);
          expect(pending.full).toBe(model.length >= 16);
        }
        const begin = (FIRST_ADDRESS + 8 * below) as LogAddress;
        const list = new EntryList();
        for (const { low, high } of model) {
          const tag = tagOf(low, high);
          expect(pending.has(low, tag)).toBe(true);
          list.clear();
          pending.collect(low, tag, begin, list);
          const alike = model.filter(
            (other) => other.low === low && other.high === high && other.address >= begin,
          );
          expect(addressesOf(list)).toEqual(alike.map((entry) => entry.address));
          for (const width of [13, 14, 15, 16, 31]) {
            const mask = (1 << width) - 1;
            list.clear();
            pending.gather(low & mask, width, begin, list);
            const inSlot = model.filter(
              (other) => ((other.low ^ low) & mask) === 0 && other.address >= begin,
            );
            expect(addressesOf(list).sort((a, b) => b - a)).toEqual(inSlot.map((entry) => entry.address));
            // Those of one tag are in order as they are.
            expect(addressesOf(list).filter((_, i) => list.tags[i] === tag)).toEqual(
              alike.map((entry) => entry.address),
            );
          }
        }
        expect(pending.has(77, tagOf(77, 0))).toBe(false);
      }),
    );
  });

  it('keeps addresses and size classes of any kind', () => {
    const pending = new PendingEntries(100);
    const addresses = [8, 2 ** 35 - 8, 2 ** 35, 2 ** 47 + 8, 2 ** 48 - 8] as LogAddress[];
    addresses.forEach((address, i) => pending.put(-1, i, address, 1 + 3 * i));
    addresses.forEach((address, i) => {
      const list = new EntryList();
      pending.collect(-1, tagOf(-1, i), 0 as LogAddress, list);
      expect(addressesOf(list)).toEqual([address]);
      expect(list.highs[0]).toBe(packHigh(address, 1 + 3 * i));
    });
  });

  it.each([13, 14, 15, 16, 20])(
    'is emptied bucket by bucket, and its room used again (width %d)',
    (width) => {
      const pending = new PendingEntries(20_000);
      const random = new SeededRandom(width);
      expect(pending.memoryBytes).toBe(0);
      let memory = 0;
      let address = FIRST_ADDRESS as number;
      for (let round = 0; round < 4; round++) {
        for (let i = 0; i < 20_000; i++) {
          pending.put(random.below(2 ** 32) | 0, i, (address += 8) as LogAddress, 1);
        }
        expect(pending.full).toBe(true);
        if (round === 0) memory = pending.memoryBytes;
        // Half of them first, so that free entries are mixed with used ones.
        if (round % 2 === 1) {
          for (let slot = 0; slot < 1 << 13; slot += 2) pending.remove(slot, 13);
          for (let i = pending.count; i < 20_000; i++) {
            pending.put(random.below(2 ** 32) | 0, i, (address += 8) as LogAddress, 1);
          }
        }
        expect(empty(pending, width)).toBe(20_000);
        expect([pending.count, pending.full]).toEqual([0, false]);
        expect(pending.memoryBytes).toBe(memory);
      }
      expect(memory).toBeLessThan(20_000 * 16 + 2 ** 18 + 2 ** 10 + 1);
    },
  );

  it('is emptied whole when it was restored from what another gave', () => {
    const pending = new PendingEntries(1000);
    for (let i = 0; i < 500; i++)
      pending.put((i * 0x9e3779b1) | 0, i, (FIRST_ADDRESS + 8 * i) as LogAddress, 1);
    const restored = new PendingEntries(1000);
    restored.restore(pending.toWords());
    expect(empty(restored, 16)).toBe(500);
    expect(restored.count).toBe(0);
  });

  it('meets the buckets of a partition one after the other', () => {
    const order = Array.from({ length: PendingEntries.buckets }, (_, turn) => PendingEntries.bucketAt(turn));
    expect(new Set(order).size).toBe(PendingEntries.buckets);
    const partitions = order.map((bucket) => bucket & 8191);
    expect(partitions).toEqual([...partitions].sort((a, b) => a - b));
  });
});
