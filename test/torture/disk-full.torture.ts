/**
 * A disk that is full, for real: a tmpfs that gets full at one write after the other, in steps of a page of memory, also
 * within compactions and checkpoints. Reads go on, and everything that was acknowledged is there; once there is room,
 * writes go on, and the store can be closed and opened.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { KvDiskError, KvReadOnlyError, KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { Mounts, problemOf, sh } from '../support/machine.js';
import { SeededRandom } from '../support/seeded-random.js';
import { RUNS, SEED, skipped, tally } from '../support/tally.js';

const PLACES = 120 * RUNS;
const PAGE_BYTES = 4096;
/** A store that is new has some 200 KiB; the script would write 5 MiB. */
const LEAST_PAGES = 60;
const MOST_PAGES = 1200;
const ROOM = '64m';

const options = (path: string): KvStoreOptions => ({
  path,
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', diskBudget: '1mb' },
  cold: { segmentSize: '1mb' },
  compaction: false,
  durability: { level: 'interval', everyMs: 10 },
});

const valueOf = (key: number, round: number) => `${key}/${round} `.padEnd(2000 + ((key * 37) % 4000), 'x');

describe('a tmpfs that is full', () => {
  const mounts = new Mounts();
  const place = join(mounts.directory, 'disk');
  const mount = (pages: number) =>
    mounts.mount(place, '-t', 'tmpfs', '-o', `size=${pages * PAGE_BYTES}`, 'tmpfs');
  let problem: string | undefined;

  beforeAll(() => {
    mkdirSync(place);
    problem = problemOf(() => {
      mount(1);
      mounts.unmount(place);
    });
  });

  afterAll(() => mounts.end());

  /** Resolves to what was refused, if something was. */
  async function script(store: KvStore, expected: Map<number, string>): Promise<Record<string, number>> {
    const refused: Record<string, number> = {};
    const attempt = async (what: string, call: () => Promise<unknown>): Promise<boolean> => {
      try {
        await call();
        return true;
      } catch (error) {
        if (!(error instanceof KvDiskError && error.full)) throw error;
        refused[what] = (refused[what] ?? 0) + 1;
        return false;
      }
    };
    for (let round = 0; round < 4; round++) {
      for (let key = 0; key < 250; key++) {
        const value = valueOf(key, round);
        if (await attempt('write', () => store.set(key, value))) expected.set(key, value);
      }
      await attempt('flush', () => store.flush());
      await attempt('compaction', () => store.compact({ full: true }));
      await attempt('checkpoint', () => store.checkpoint());
    }
    return refused;
  }

  async function wrongIn(store: KvStore, expected: ReadonlyMap<number, string>): Promise<number[]> {
    const wrong: number[] = [];
    for (const [key, value] of expected) if ((await store.get(key)) !== value) wrong.push(key);
    return wrong;
  }

  it('refuses, answers, and goes on once there is room, at every write', async () => {
    if (problem !== undefined) {
      skipped(`no tmpfs can be mounted here: ${problem}`);
      return;
    }
    const random = new SeededRandom(SEED);
    const counts: Record<string, number> = { places: 0 };
    for (let i = 0; i < PLACES; i++) {
      const pages = LEAST_PAGES + random.below(MOST_PAGES - LEAST_PAGES);
      const where = `seed ${SEED}, ${pages} pages`;
      mount(pages);
      const path = join(place, 'store');
      const expected = new Map<number, string>();
      let store: KvStore | undefined;
      try {
        store = await KvStore.open(options(path));
      } catch (error) {
        if (!(error instanceof KvDiskError)) throw error;
        counts['not opened'] = (counts['not opened'] ?? 0) + 1;
      }
      if (store) {
        const refused = await script(store, expected);
        for (const [what, n] of Object.entries(refused))
          counts[`refused: ${what}`] = (counts[`refused: ${what}`] ?? 0) + n;
        expect([where, await wrongIn(store, expected)]).toEqual([where, []]);
        // Room again: at the latest the next look at the disk finds it.
        sh('mount', '-o', `remount,size=${ROOM}`, place);
        for (let tries = 0; store.stats().failure !== undefined && tries < 100; tries++)
          await new Promise((resolve) => setTimeout(resolve, 20));
        await store.set('after', 'room').catch((error: unknown) => {
          throw new Error(
            `${where}: ${error instanceof KvReadOnlyError ? 'read-only' : 'refused'} with room`,
            {
              cause: error,
            },
          );
        });
        await store.compact({ full: true });
        expect([where, await wrongIn(store, expected)]).toEqual([where, []]);
        await store.close();
      } else {
        sh('mount', '-o', `remount,size=${ROOM}`, place);
      }
      const again = await KvStore.open(options(path));
      expect([where, await wrongIn(again, expected)]).toEqual([where, []]);
      await again.close();
      mounts.unmount(place);
      counts.places++;
    }
    tally(counts);
  });
});
