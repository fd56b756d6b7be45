import { CheckedColdIndex, indexToDamage, LateDevice } from '../../test/support/checked-cold-index.js';
import { SeededRandom } from '../../test/support/seeded-random.js';
import { KvCorruptionError } from '../errors.js';
import { WANTED_LOAD } from './chunk-directory.js';

/** Slots of an empty index, and the entries that it takes before it grows. */
const FIRST_SLOTS = 8192;
const FIRST_ROOM = FIRST_SLOTS * WANTED_LOAD;

// The machine may be busy with other specs.

describe('SlotReader', () => {
  it('meets no entry of a partition twice when its slots are split meanwhile', async () => {
    const checked = new CheckedColdIndex({
      device: new LateDevice(new SeededRandom(41)),
      pendingEntries: 4096,
    });
    await checked.fill(2 * FIRST_ROOM);
    await checked.flush();
    expect(checked.index.stats.slots).toBe(2 * FIRST_SLOTS);
    for (let round = 0; round < 10; round++) {
      // The first slot of this partition is split next. It is in memory, and the other one is not.
      const next = checked.index.stats.slots - 2 * FIRST_SLOTS;
      for (const { low, high } of checked.keys) {
        if (low % (2 * FIRST_SLOTS) === next) await checked.index.find(low, high);
      }
      const scanning = checked.partitionIsRight(next);
      for (let i = 0; i < 30; i++) checked.put(checked.newKey((checked.bits() & ~8191) | 8191));
      await checked.flush();
      expect(await scanning).toBe(true);
    }
    expect(checked.index.stats.slots).toBeGreaterThan(2 * FIRST_SLOTS + 40);
  });

  it.each(['none', 'all'] as const)(
    'tells of damage that it meets, with synchronous reads: %s',
    async (sync) => {
      const { checked, flip } = await indexToDamage(sync);
      flip(5000);
      const { index } = checked;
      const failures: unknown[] = [];
      for (let slot = 0; slot < index.stats.slots; slot++) {
        try {
          await index.storedSlot(slot);
        } catch (error) {
          failures.push(error);
        }
      }
      expect(failures).toEqual([expect.any(KvCorruptionError)]);
      expect(index.damage).toBe(failures[0]);
    },
  );
});
