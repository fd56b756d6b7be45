/**
 * The same test with its records in different places: still in memory, spilled to disk by memory pressure, and read
 * back after a restart. A test writes, calls `settle()`, and looks; the place decides what has happened in between.
 * Time is a clock that only the test moves.
 */
import { KvStore, type Env, type KvStoreOptions } from 'nestjs-hotcold/store';
import { nodeEnv } from '../../src/device/node-env.js';
import { SimulatedClock } from './simulated-clock.js';
import { missingPath } from './temp-directory.js';

export type Place = 'in memory' | 'spilled to disk' | 'after a reopen';

export const PLACES: readonly Place[] = ['in memory', 'spilled to disk', 'after a reopen'];

const FILLER_BYTES = 32 * 1024;
const PAGE_BYTES = 64 * 1024;

/**
 * The smallest memory there is, and an index as large as all of it: that leaves the log the four pages below which it
 * never goes, so that little filler pushes everything out.
 */
const SMALL_HOT = { memory: '8mb', pageSize: PAGE_BYTES, expectedKeys: 500_000 };

/** The real world with a clock that stands still until the test moves it. */
export function envWith(clock: SimulatedClock): Env {
  return { ...nodeEnv, clock };
}

/** A store in one of the places. */
export class PlacedStore {
  private settled = 0;

  private constructor(
    readonly place: Place,
    readonly options: KvStoreOptions,
    readonly clock: SimulatedClock,
    public store: KvStore,
  ) {}

  static async open(place: Place, options: KvStoreOptions = {}): Promise<PlacedStore> {
    const clock = new SimulatedClock();
    const all: KvStoreOptions = {
      path: missingPath(),
      hot: place === 'spilled to disk' ? SMALL_HOT : { memory: '8mb' },
      durability: { level: 'checkpoint' },
      env: envWith(clock),
      ...options,
    };
    return new PlacedStore(place, all, clock, await KvStore.open(all));
  }

  /** Brings everything that was written so far to the place. */
  async settle(): Promise<void> {
    if (this.place === 'spilled to disk') await this.spill();
    if (this.place === 'after a reopen') await this.reopen();
  }

  async reopen(): Promise<void> {
    await this.store.close();
    this.store = await KvStore.open(this.options);
  }

  /** Whether a key's record is where the place says; a test of spilled records that stay in memory proves nothing. */
  isInPlace(key: string): boolean {
    return (this.store.peek(key) !== undefined) === (this.place === 'in memory');
  }

  async close(): Promise<void> {
    await this.store.close();
  }

  /** Writes more than the memory holds, in a namespace of its own. */
  private async spill(): Promise<void> {
    const filler = this.store.namespace('filler');
    const bytes = Buffer.alloc(FILLER_BYTES, ++this.settled);
    for (let i = 0; i * FILLER_BYTES < 5 * PAGE_BYTES; i++) await filler.set(i, bytes);
  }
}

/** Runs tests once for each place, with a store for each test. */
export function inEveryPlace(tests: (open: () => PlacedStore) => void, options: KvStoreOptions = {}): void {
  describe.each(PLACES)('%s', (place) => {
    let placed: PlacedStore;
    beforeEach(async () => {
      placed = await PlacedStore.open(place, options);
    });
    afterEach(async () => {
      await placed.close();
    });
    tests(() => placed);
  });
}
