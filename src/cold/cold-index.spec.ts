import fc from 'fast-check';
import { CheckedColdIndex, LateDevice, type Key } from '../../test/support/checked-cold-index.js';
import { SeededRandom } from '../../test/support/seeded-random.js';
import { InvariantError } from '../assert.js';
import { NullDevice } from '../device/null-device.js';
import type { LogAddress } from '../log/address.js';
import { WANTED_LOAD } from './chunk-directory.js';

const KIB = 1024;
const MIB = 1024 * KIB;

const seed = process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) };

/** Slots of an empty index, and the entries that it takes before it grows. */
const FIRST_SLOTS = 8192;
const FIRST_ROOM = FIRST_SLOTS * WANTED_LOAD;

/** A step of a sequence; numbers are taken modulo what there is. */
type Step =
  | { do: 'new'; count: number; crowd: boolean }
  | { do: 'again'; count: number; hot: boolean }
  | { do: 'flush' | 'flush and go on' }
  | { do: 'truncate'; share: number }
  | { do: 'partition'; at: number };

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('new' as const),
        count: fc.integer({ min: 1, max: 9000 }),
        crowd: fc.boolean(),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('again' as const),
        count: fc.integer({ min: 1, max: 5000 }),
        hot: fc.boolean(),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constantFrom('flush' as const, 'flush and go on' as const) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('truncate' as const),
        share: fc.double({ min: 0, max: 1, noNaN: true }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('partition' as const), at: fc.nat(8191) }),
    },
  ),
  { minLength: 1, maxLength: 40, size: 'max' },
);

/** A sequence in which the index grows and its log is collected. */
const FAR: Step[] = [
  ...Array.from({ length: 7 }, (): Step => ({ do: 'new', count: 8000, crowd: true })),
  { do: 'flush and go on' },
  { do: 'partition', at: 1 },
  ...Array.from({ length: 12 }, (_, i): Step[] => [
    { do: 'again', count: 3000, hot: true },
    { do: i % 3 === 2 ? 'truncate' : 'flush', share: 0.2 },
    { do: 'flush and go on' },
  ]).flat(),
  { do: 'partition', at: 0 },
];

async function perform(checked: CheckedColdIndex, step: Step): Promise<void> {
  const { index } = checked;
  switch (step.do) {
    case 'new':
      for (let i = 0; i < step.count; i++) {
        // A crowd shares a few slots and tags.
        checked.put(
          step.crowd && i % 40 === 0 ? checked.newKey(((i % 3) << 13) | (i % 2), i % 5) : checked.newKey(),
        );
      }
      break;
    case 'again':
      if (checked.keys.length === 0) break;
      for (let i = 0; i < step.count; i++) {
        // A hot key would soon have more entries than fit a page.
        checked.put(step.hot && i < 50 ? checked.keys[0] : checked.anyKey());
      }
      break;
    case 'flush':
      await checked.flush();
      expect(index.stats.pending).toBe(0);
      break;
    case 'flush and go on': {
      const flushing = checked.flush();
      for (let i = 0; i < 20; i++) {
        checked.put(checked.newKey());
        expect(await checked.wrong(checked.some(3))).toEqual([]);
        if (i === 10) checked.begin += 8 * Math.floor((checked.tail - checked.begin) / 100);
        await checked.clock.turn();
      }
      await flushing;
      break;
    }
    case 'truncate':
      checked.begin += 8 * Math.floor(((checked.tail - checked.begin) * step.share) / 8);
      break;
    case 'partition':
      expect(await checked.partitionIsRight(step.at)).toBe(true);
      break;
  }
  expect(await checked.wrong(checked.some(60))).toEqual([]);
}

// The machine may be busy with other specs.

describe('ColdIndex', () => {
  const worlds: [string, () => CheckedColdIndex][] = [
    ['asynchronous reads only', () => new CheckedColdIndex({ fills: true })],
    ['synchronous reads', () => new CheckedColdIndex({ sync: 'all' })],
    [
      'late reads, no cache',
      () => new CheckedColdIndex({ device: new LateDevice(new SeededRandom(3)), cacheBytes: 0 }),
    ],
    [
      'late and synchronous reads, addresses beyond 2^35',
      () =>
        new CheckedColdIndex({
          device: new LateDevice(new SeededRandom(4)),
          sync: 'paced',
          firstAddress: (2 ** 36 - 3 * 64 * KIB + 8) as LogAddress,
        }),
    ],
  ];

  it.each(worlds)('answers as a list of everything that was put: %s', async (_, world) => {
    let slots = 0;
    let collected = 0;
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        const checked = world();
        for (const step of sequence) await perform(checked, step);
        expect(await checked.wrong(checked.some(2000))).toEqual([]);
        const { stats } = checked.index;
        slots = Math.max(slots, stats.slots);
        if (stats.bytesWritten > stats.chunkLogBytes) collected++;
        await checked.index.close();
      }),
      {
        examples: [[FAR]],
        numRuns: 12,
        endOnFailure: false,
        ...seed,
        interruptAfterTimeLimit: 45_000,
        markInterruptAsFailure: false,
      },
    );
    // The sequences got where it matters.
    expect(slots).toBeGreaterThan(FIRST_SLOTS);
    expect(collected).toBeGreaterThan(0);
  });

  it('finds every entry before, during and after flushes while it grows from nothing to 300,000', async () => {
    const checked = new CheckedColdIndex({ pendingEntries: 16_384, cacheBytes: 0, sync: 'all' });
    const { index, keys } = checked;
    const fills: number[] = [];
    while (keys.length < 300_000) {
      while (!index.full) checked.put(checked.newKey());
      const all = fills.push(index.stats.slots) % 6 === 0;
      if (all) expect(await checked.wrongOfAll()).toEqual([]);
      let done = false;
      const flushing = checked.flush(400).then(() => (done = true));
      for (let at = 0; !done; at += 400) {
        // Those that wait to be merged, and by and by all others.
        await checked.clock.turn();
        const some = [...keys.slice(at % keys.length, (at % keys.length) + 200), ...checked.some(100)];
        if (all) expect(await checked.wrong(some)).toEqual([]);
      }
      await flushing;
    }
    expect(await checked.wrongOfAll()).toEqual([]);
    const { entries, slots, directoryBytes, filterBytes } = index.stats;
    expect(entries).toBe(keys.length);
    expect(slots).toBeGreaterThan(4 * FIRST_SLOTS);
    expect(directoryBytes / entries).toBeLessThanOrEqual(1);
    expect(filterBytes / entries).toBeLessThanOrEqual(3);
    expect(checked.index.stats.chunkLogBytes / entries).toBeLessThan(50);
  });

  it('lets no more than 1 % of absent keys through its filters, at any load', async () => {
    const checked = new CheckedColdIndex({ pendingEntries: 1024 });
    const absent = new SeededRandom(99);
    const rates: number[] = [];
    let next = FIRST_ROOM / 2;
    for (let count = 0; count < FIRST_ROOM * 4.2; count++) {
      checked.put(checked.newKey());
      if (checked.index.full) await checked.flush();
      if (count < next) continue;
      next *= 1.15;
      let found = 0;
      for (let i = 0; i < 20_000; i++) {
        if (checked.index.mayHold(absent.below(2 ** 32) | 0, absent.below(2 ** 32) | 0)) found++;
      }
      rates.push(found / 20_000);
    }
    expect(rates.length).toBeGreaterThan(12);
    expect(Math.max(...rates)).toBeLessThanOrEqual(0.01);
    expect(Math.min(...rates)).toBeGreaterThan(0);
  });

  it('does not fall for the same absent key twice once its slot was split or holds garbage', async () => {
    const checked = new CheckedColdIndex({ pendingEntries: 1024, cacheBytes: 0, sync: 'all' });
    await checked.fill(FIRST_ROOM * 1.7);
    await checked.flush();
    const random = new SeededRandom(5);
    const passing = (): number => {
      const others = new SeededRandom(6);
      let count = 0;
      for (let i = 0; i < 50_000; i++) {
        if (checked.index.mayHold(others.below(2 ** 32) | 0, others.below(2 ** 32) | 0)) count++;
      }
      return count;
    };
    const before = passing();
    for (let i = 0; i < 2_000_000; i++) {
      const [low, high] = [random.below(2 ** 32) | 0, random.below(2 ** 32) | 0];
      if (checked.index.mayHold(low, high)) expect((await checked.index.find(low, high)).count).toBe(0);
    }
    expect(passing()).toBeLessThan(before * 0.85);
    expect(await checked.wrong()).toEqual([]);

    checked.begin = checked.tail + 8;
    const { low, high } = checked.keys[0];
    expect(checked.index.mayHold(low, high)).toBe(true);
    expect((await checked.index.find(low, high)).count).toBe(0);
    expect(checked.index.mayHold(low, high)).toBe(false);
  });

  it('takes one read for a key that is there, one per slot for a partition, none for what it read lately', async () => {
    const checked = new CheckedColdIndex({ cacheBytes: 32 * KIB, pendingEntries: 16_384 });
    const { index, keys } = checked;
    await checked.fill(40_000);
    await checked.flush();
    const asked = keys.filter((_, i) => i % 151 === 0);
    const reads = async (): Promise<number> => {
      const before = index.stats.chunkReads;
      for (const { low, high } of asked) await index.find(low, high);
      return index.stats.chunkReads - before;
    };
    const first = await reads();
    expect(first).toBeGreaterThan(asked.length / 4);
    expect(first).toBeLessThanOrEqual(asked.length);
    // Some pushed each other out.
    expect(await reads()).toBeLessThan(first / 5);
    expect(index.stats.cacheHits).toBeGreaterThan(0);
    expect(index.stats.cacheBytes).toBeLessThanOrEqual(32 * KIB);

    const before = index.stats.chunkReads;
    for (let partition = 0; partition < 100; partition++) await index.partition(partition);
    expect(index.stats.chunkReads - before).toBeLessThanOrEqual(100 * Math.ceil(index.stats.slots / 8192));
  });

  it.each([
    ['with a cache that is too small', 32 * KIB],
    ['while its cache is filled', 2 * MIB],
  ])(
    'answers rightly to many at once, while entries are put, merged and collected, and the cold log is truncated, %s',
    async (_, cacheBytes) => {
      const device = new LateDevice(new SeededRandom(8));
      const checked = new CheckedColdIndex({ device, cacheBytes, pendingEntries: 4096, fills: true });
      const { index, keys, clock } = checked;
      await checked.fill(FIRST_ROOM - 4096);
      let over = false;
      const bad: string[] = [];
      const check = (
        what: string,
        before: number[],
        found: { count: number; addresses: Float64Array },
        key: Key[],
      ): void => {
        const got = new Set(found.addresses.subarray(0, found.count));
        const allowed = new Set(key.flatMap(({ addresses }) => addresses));
        // What was there all the time has to be found, and nothing that never was.
        if (!before.every((address) => got.has(address) || address < checked.begin))
          bad.push(`${what}: missing`);
        if (![...got].every((address) => allowed.has(address))) bad.push(`${what}: too much`);
        for (let i = 1; i < found.count; i++) {
          if (found.addresses[i] >= found.addresses[i - 1]) bad.push(`${what}: order`);
        }
      };
      let looks = 0;
      const looker = async (): Promise<void> => {
        while (!over) {
          const key = checked.anyKey();
          const before = [...key.addresses];
          const found = index.tryFind(key.low, key.high) ?? (await index.find(key.low, key.high));
          check('find', before, found, [key]);
          if (++looks % 16 === 0) await clock.turn();
        }
      };
      const byPartition = new Map<number, Key[]>();
      for (const key of keys) {
        if ((key.low & 8191) < 20)
          byPartition.set(key.low & 8191, [...(byPartition.get(key.low & 8191) ?? []), key]);
      }
      let scans = 0;
      const scanner = async (): Promise<void> => {
        for (let partition = 0; !over; partition = (partition + 1) % 20) {
          const members = byPartition.get(partition) ?? [];
          const before = members.flatMap(({ addresses }) => addresses);
          check(
            'partition',
            before,
            await index.partition(partition),
            keys.filter(({ low }) => (low & 8191) === partition),
          );
          scans++;
          await clock.turn();
        }
      };
      const tasks = [...Array.from({ length: 24 }, looker), scanner(), scanner()];
      const slots = index.stats.slots;
      for (let round = 0; round < 24; round++) {
        for (let i = 0; i < 4096; i++) {
          checked.put(i % 2 === 0 && round % 3 > 0 ? checked.newKey() : checked.anyKey());
          if (i % 512 === 0) await clock.turn();
        }
        if (round % 5 === 4) checked.begin += 8 * Math.floor((checked.tail - checked.begin) / 32);
        await checked.flush();
      }
      over = true;
      await Promise.all(tasks);
      expect(bad).toEqual([]);
      expect(looks).toBeGreaterThan(500);
      expect(scans).toBeGreaterThan(20);
      expect(index.stats.slots).toBeGreaterThan(slots);
      // Files went away under readers.
      expect(device.failedReads).toBeGreaterThan(0);
      expect(index.workedMs).toBeGreaterThan(0);
      expect(await checked.wrong()).toEqual([]);
    },
  );

  it('refuses what would break it', async () => {
    expect(() => new CheckedColdIndex({ device: new NullDevice() })).toThrow(InvariantError);
    const { index, ...checked } = new CheckedColdIndex();
    index.put(1, 1, 800 as LogAddress, 1);
    expect(() => index.put(2, 2, 800 as LogAddress, 1)).toThrow('INV-C6');
    const slices = CheckedColdIndex.prototype.slices.call(checked as CheckedColdIndex);
    const flushing = index.flush(slices);
    await expect(index.flush(slices)).rejects.toThrow('INV-C4');
    await flushing;
    await index.flush(slices);
  });
});
