/**
 * A store whose two indexes grow through splits, and what it has to hold at each moment: so many keys that the hot index
 * splits buckets while they are written over, and the cold index slots while they are compacted.
 *
 * Writes are numbered from 1 and go over all keys again and again: write n sets its key to n, or deletes it. So a state
 * is a number, and what each key holds in it can be said without remembering anything.
 */
import { type KvStore } from 'nestjs-hotcold/store';

/** Both indexes split from some 41,000 and 49,000 entries on. No multiple of the distance of deletes. */
export const GROWING_KEYS = 43_001;
/** Every so many writes one deletes. */
const DELETES = 16;
/** Keys beyond that were never written. */
const ABSENT = 200;
const READ_AT_ONCE = 1000;

/** What a key holds after so many writes: a number, or nothing. */
function valueAfter(writes: number, key: number): number | undefined {
  const last = writes - ((writes - 1 - key) % GROWING_KEYS);
  return last < 1 || last > writes || last % DELETES === 0 ? undefined : last;
}

/** Makes writes, and knows which of them are durable. */
export class GrowingWrites {
  /** Writes so far. */
  count = 0;
  /** Those that have to be there after a power cut. */
  durable = 0;

  /** Makes so many more; whoever does not wait for one waits for none. */
  async write(store: KvStore, count: number): Promise<void> {
    const done: Promise<unknown>[] = [];
    for (let i = 0; i < count; i++) {
      const number = ++this.count;
      const key = (number - 1) % GROWING_KEYS;
      done.push(number % DELETES === 0 ? store.delete(key) : store.set(key, number));
    }
    await Promise.all(done);
  }

  fork(): GrowingWrites {
    return Object.assign(new GrowingWrites(), this);
  }

  async flush(store: KvStore): Promise<void> {
    const { count } = this;
    await store.flush();
    this.durable = Math.max(this.durable, count);
  }
}

/** Which keys are looked up: of all one in so many. */
export interface Sample {
  step: number;
  first: number;
}

/**
 * Looks keys up: those that may have been written last, a sample of all others, and some that were never there.
 * @returns how many writes the store holds
 * @throws Error that names a key, unless that is a number of writes between the two
 */
export async function writesIn(
  store: KvStore,
  least: number,
  most: number,
  { step, first }: Sample,
): Promise<number> {
  const chosen = new Set<number>();
  for (let number = Math.max(1, least - DELETES); number <= most; number++)
    chosen.add((number - 1) % GROWING_KEYS);
  for (let key = first; key < GROWING_KEYS + ABSENT; key += step) chosen.add(key);
  const keys = [...chosen];
  const found: (number | undefined)[] = [];
  for (let from = 0; from < keys.length; from += READ_AT_ONCE)
    found.push(...(await store.getMany<number>(keys.slice(from, from + READ_AT_ONCE))));
  const highest = found.reduce<number>((max, value) => Math.max(max, value ?? 0), 0);
  // A delete leaves no number.
  const states = (highest + 1) % DELETES === 0 ? [highest + 1, highest] : [highest];
  const state = states.find((writes) => differenceFrom(keys, found, writes) === undefined);
  if (state === undefined)
    throw new Error(`not the state after ${highest} writes: ${differenceFrom(keys, found, highest)}`);
  if (state < least || state > most)
    throw new Error(`the state after ${state} writes, not after ${least} to ${most}`);
  return state;
}

function differenceFrom(
  keys: readonly number[],
  found: readonly (number | undefined)[],
  writes: number,
): string | undefined {
  for (const [i, key] of keys.entries()) {
    const expected = key < GROWING_KEYS ? valueAfter(writes, key) : undefined;
    if (found[i] !== expected) return `key ${key} is ${found[i]}, not ${expected}`;
  }
  return undefined;
}
