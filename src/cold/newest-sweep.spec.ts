import {
  CheckedColdIndex,
  indexToDamage,
  LateDevice,
  sizeClassAt,
  type Key,
} from '../../test/support/checked-cold-index.js';
import { SeededRandom } from '../../test/support/seeded-random.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import type { ReadPacer } from '../log/read-pacer.js';
import { LARGEST_SIZE_CLASS } from '../log/size-class.js';
import type { NewestSweep } from './newest-sweep.js';

const RECORDS = 20_000;

/** Every second key has two records, some of them are not in chunks yet. */
async function filled(checked: CheckedColdIndex): Promise<void> {
  await checked.fill(RECORDS);
  for (let i = 0; i < RECORDS / 2; i++) {
    checked.put(checked.keys[i * 2]);
    if (checked.index.full) await checked.flush();
  }
  for (let i = 0; i < 1000; i++) checked.put(checked.keys[i]);
}

/** All records, in the order in which they lie in the log. */
function records(checked: CheckedColdIndex): { key: Key; address: LogAddress }[] {
  const all = checked.keys.flatMap((key) =>
    key.addresses.map((address) => ({ key, address: address as LogAddress })),
  );
  return all.sort((a, b) => a.address - b.address);
}

async function asked(checked: CheckedColdIndex): Promise<NewestSweep> {
  const sweep = checked.index.newestSweep();
  for (const { key, address } of records(checked)) sweep.add(key.low, key.high, address);
  await sweep.answer(checked.slices());
  return sweep;
}

/** How many records were answered; none wrongly. */
function answered(checked: CheckedColdIndex, sweep: NewestSweep): number {
  let count = 0;
  for (const { key, address } of records(checked)) {
    expect(sweep.find(address)).toBe(true);
    if (sweep.newest === NO_ADDRESS) continue;
    count++;
    const newest = key.addresses.at(-1) as number;
    const sizeClass = sizeClassAt(newest);
    if (sweep.newest !== newest || sweep.newestClass !== (sizeClass > 7 ? LARGEST_SIZE_CLASS : sizeClass))
      throw new Error(`${address}: ${sweep.newest}, not ${newest}`);
  }
  return count;
}

describe('NewestSweep', () => {
  it('tells the newest record of each hash, from chunks and from what is not in chunks yet, with one read for many', async () => {
    const checked = new CheckedColdIndex({ sync: 'all', cacheBytes: 0 });
    await filled(checked);
    const before = checked.index.stats.chunkReads;
    const sweep = await asked(checked);
    const reads = checked.index.stats.chunkReads - before;
    expect(answered(checked, sweep)).toBe(records(checked).length);
    expect(reads).toBeLessThan(RECORDS / 10);
  });

  it('is asked in any order, and knows what it was not asked', async () => {
    const checked = new CheckedColdIndex({ sync: 'all' });
    await checked.fill(100);
    const sweep = await asked(checked);
    const all = records(checked);
    for (const i of [99, 0, 50, 49, 51, 0])
      expect([sweep.find(all[i].address), sweep.newest]).toEqual([true, all[i].address]);
    expect(sweep.find((all[50].address + 4) as LogAddress)).toBe(false);
    expect(sweep.find((all[99].address + 8) as LogAddress)).toBe(false);
    sweep.clear();
    expect(sweep.find(all[50].address)).toBe(false);
    sweep.add(all[50].key.low, all[50].key.high, all[50].address);
    // Not answered yet.
    expect([sweep.find(all[50].address), sweep.newest]).toEqual([true, NO_ADDRESS]);
  });

  it('does not wait for reads that are not cheap, and leaves those records open', async () => {
    const device = new LateDevice(new SeededRandom(3));
    const checked = new CheckedColdIndex({ device, cacheBytes: 0 });
    await filled(checked);
    const { mostReading } = device;
    device.mostReading = 0;
    const count = answered(checked, await asked(checked));
    expect(mostReading).toBeGreaterThan(0);
    expect(device.mostReading).toBe(0);
    // Those that are in memory.
    expect(count).toBeGreaterThan(1000);
    expect(count).toBeLessThan(RECORDS);
  });

  it('goes on after a turn of the event loop when too much was read at once', async () => {
    let left = 5;
    let turns = 0;
    const pacer = {
      maySync: () => left-- > 0,
      began: () => {},
      ended: () => {},
      turned: () => {
        if (left >= 0) return undefined;
        turns++;
        return Promise.resolve().then(() => void (left = 5));
      },
    } as unknown as ReadPacer;
    const checked = new CheckedColdIndex({ flushPacer: pacer, cacheBytes: 0 });
    await filled(checked);
    turns = 0;
    expect(answered(checked, await asked(checked))).toBe(records(checked).length);
    expect(turns).toBeGreaterThan(10);
  });

  it('leaves records open whose chunk is damaged, or gone', async () => {
    const { checked, flip, bytes } = await indexToDamage('all');
    for (let at = 100; at < bytes; at += 5000) flip(at);
    const all = records(checked).length;
    const damaged = all - answered(checked, await asked(checked));
    expect(damaged).toBeGreaterThan(20);
    expect(damaged).toBeLessThan(all / 2);
    expect(checked.index.damage).toBeUndefined();
    await checked.index.lost.beginMending(checked.slices(), () => undefined);
    expect(checked.index.lost.count).toBeGreaterThan(5);
    expect(all - answered(checked, await asked(checked))).toBe(damaged);
  });

  it('lets the event loop turn', async () => {
    const checked = new CheckedColdIndex({ sync: 'all' });
    await filled(checked);
    const sweep = checked.index.newestSweep();
    for (const { key, address } of records(checked)) sweep.add(key.low, key.high, address);
    let turns = 0;
    let done = false;
    const turn = (): void => {
      if (done) return;
      turns++;
      setImmediate(turn);
    };
    setImmediate(turn);
    await sweep.answer(checked.slices());
    done = true;
    expect(turns).toBeGreaterThan(10);
  });
});
