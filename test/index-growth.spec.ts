/**
 * The index grows from its smallest size while keys come in; every key is looked up before, again and again while growth
 * goes on, and after it, after deletes and reinserts, and after a restart. Compared by hand: `expect` is slow.
 */
import { KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { missingPath } from './support/temp-directory.js';

const KEYS = 180_000;
const FIRST_KEYS = 20_000;
const BATCH = 40_000;

/** What each key should hold: its value, or nothing. */
class Expected {
  readonly values = new Int32Array(KEYS).fill(-1);

  /** Keys whose answer is wrong, the first few of them. Everything is in memory, so that `peek` answers at once. */
  wrongIn(store: KvStore, step = 1): string[] {
    const wrong: string[] = [];
    for (let i = 0; i < KEYS && wrong.length < 5; i += step) {
      const found = store.peek<number>(`key:${i}`) ?? -1;
      if (found !== this.values[i]) wrong.push(`key:${i} is ${found}, expected ${this.values[i]}`);
    }
    return wrong;
  }

  async wrongOnDisk(store: KvStore): Promise<string[]> {
    const wrong: string[] = [];
    for (let from = 0; from < KEYS && wrong.length < 5; from += 2000) {
      const keys = Array.from({ length: 2000 }, (_, i) => `key:${from + i}`);
      for (const [i, found] of (await store.getMany<number>(keys)).entries()) {
        if ((found ?? -1) !== this.values[from + i]) wrong.push(`${keys[i]} is ${found}`);
      }
    }
    return wrong;
  }
}

/** Writes many without a promise for each. */
async function setRange(
  store: KvStore,
  expected: Expected,
  from: number,
  to: number,
  add = 0,
): Promise<void> {
  const entries = function* () {
    for (let i = from; i < to; i++) {
      expected.values[i] = i + add;
      yield [`key:${i}`, i + add] as const;
    }
  };
  await store.setMany(entries());
}

describe('index growth', () => {
  const options: KvStoreOptions = {
    path: missingPath(),
    hot: { memory: '128mb' },
    durability: { level: 'checkpoint' },
  };

  it(`loses no key of ${KEYS}, at any stage, nor finds one that is not there`, async () => {
    const expected = new Expected();
    let store = await KvStore.open(options);
    await setRange(store, expected, 0, FIRST_KEYS);
    expect(expected.wrongIn(store)).toEqual([]);
    const before = store.stats().hot.indexBuckets;

    let buckets = before;
    for (let from = FIRST_KEYS; from < KEYS; from += BATCH) {
      await setRange(store, expected, from, from + BATCH);
      // A bucket in the middle of splitting is where a key would be missed: all of them, at every stage.
      expect(expected.wrongIn(store)).toEqual([]);
      const now = store.stats().hot.indexBuckets;
      expect(now).toBeGreaterThan(buckets);
      buckets = now;
    }
    expect(buckets).toBeGreaterThan(4 * before);
    expect(store.stats()).toMatchObject({ keys: KEYS });

    const deleted = Array.from({ length: KEYS / 3 }, (_, i) => i * 3);
    for (let from = 0; from < deleted.length; from += 10_000) {
      const part = deleted.slice(from, from + 10_000);
      expect(await store.deleteMany(part.map((i) => `key:${i}`))).toBe(part.length);
    }
    for (const i of deleted) expected.values[i] = -1;
    expect(expected.wrongIn(store)).toEqual([]);
    expect(store.stats().keys).toBe(KEYS - deleted.length);
    await setRange(store, expected, 0, KEYS / 2, 1_000_000);
    expect(expected.wrongIn(store)).toEqual([]);

    await store.close();
    store = await KvStore.open(options);
    expect(await expected.wrongOnDisk(store)).toEqual([]);
    expect(store.stats().reads.diskReads).toBeGreaterThan(KEYS / 2);
    // The index was built anew, and goes on to grow.
    await setRange(store, expected, KEYS / 2, KEYS, 2_000_000);
    expect(await expected.wrongOnDisk(store)).toEqual([]);
    await store.close();
  });

  it('looks up right with a table sized in advance', async () => {
    const expected = new Expected();
    const store = await KvStore.open({ hot: { memory: '128mb', expectedKeys: KEYS } });
    const buckets = store.stats().hot.indexBuckets;
    await setRange(store, expected, 0, KEYS);
    expect(expected.wrongIn(store, 7)).toEqual([]);
    expect(store.stats().hot.indexBuckets).toBe(buckets);
    await store.close();
  });
});
