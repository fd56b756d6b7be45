/**
 * A clock that is set forwards and backwards by up to a year between calls, compactions and restarts: what was seen
 * expired never comes back, and what was never due is there.
 */
import { KvStore } from 'nestjs-hotcold/store';
import { SeededRandom, SimulatedDisk } from './support/simulated-disk.js';
import { RUNS, SEED, tally } from './support/tally.js';
import { tieredOptions } from './support/tiered-store.js';

const YEAR_MS = 365 * 24 * 3_600_000;
const KEYS = 30;
const HISTORIES = 10 * RUNS;

it(
  'jumps, and nothing that was seen expired comes back',
  async () => {
    const random = new SeededRandom(SEED);
    let jumps = 0;
    let expired = 0;
    for (let history = 0; history < HISTORIES; history++) {
      const disk = new SimulatedDisk({ seed: SEED + history });
      let store = await KvStore.open(tieredOptions(disk));
      /** Version of each key, what it is to be, and whether it was seen expired. */
      const written = new Map<number, { value: number; mortal: boolean; gone: boolean }>();
      for (let step = 0; step < 60; step++) {
        const key = random.below(KEYS);
        const mortal = random.chance(0.7);
        const ttl = mortal ? { ttl: 1 + random.below(random.chance(0.5) ? 10_000 : YEAR_MS) } : {};
        await store.set(key, step, ttl);
        written.set(key, { value: step, mortal, gone: false });
        if (random.chance(0.5)) {
          jumps++;
          disk.clock.jump(random.below(2 * YEAR_MS) - YEAR_MS);
        }
        if (random.chance(0.3)) disk.clock.advance(random.below(5000));
        if (random.chance(0.1)) await store.compact({ full: true });
        if (random.chance(0.05)) await store.checkpoint();
        if (random.chance(0.1)) {
          // What was seen is on disk, and with it the time at which it was seen.
          await store.flush();
          if (random.chance(0.5)) await store.close();
          else disk.crash({ mode: 'none' });
          store = await KvStore.open(tieredOptions(disk));
        }
        for (const [name, entry] of written) {
          const found = await store.get(name);
          const where = `history ${history}, step ${step}, key ${name}`;
          if (found === undefined) {
            if (!entry.mortal) throw new Error(`${where} is gone`);
            if (!entry.gone) expired++;
            entry.gone = true;
          } else if (entry.gone || found !== entry.value) {
            throw new Error(
              `${where} is ${JSON.stringify(found)}, ${entry.gone ? 'and was expired' : 'not ' + entry.value}`,
            );
          }
        }
      }
      await store.close();
    }
    tally({ jumps, expired });
    expect(jumps).toBeGreaterThan(HISTORIES * 10);
    expect(expired).toBeGreaterThan(HISTORIES * 5);
  },
  60_000 * RUNS,
);
