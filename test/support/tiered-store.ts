/**
 * A store with something of everything in both tiers, and what it should hold at each moment: for tests that cut its
 * compactions off, make them fail, or damage what they wrote. Small segments, so that compactions remove some.
 */
import { type KvStore, type KeySpace, type KvStoreOptions } from 'nestjs-hotcold/store';
import { SeededRandom, type SimulatedDisk } from './simulated-disk.js';

export const PATH = '/store';

export const tieredOptions = (disk: SimulatedDisk): KvStoreOptions => ({
  path: PATH,
  env: disk.env(),
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', diskBudget: '1mb' },
  // Small caches: they are allocated anew for each state that is looked at.
  cold: { segmentSize: '1mb', indexCache: '64kb' },
  readCache: { memory: '128kb' },
  compaction: false,
  durability: { level: 'interval' },
});

interface Entry {
  value: string;
  expiresAt: number;
}

/** By `space/key`. States share what did not change. */
export type State = ReadonlyMap<string, Entry>;

const SPACES = ['', 'cleared', 'kept'];

/** Text that a page of 64 KiB, or even several, do not hold: extents. */
const LARGE_BYTES = [70_000, 140_000];

const spaceOf = (store: KvStore, space: number): KeySpace<string> =>
  space === 0 ? store : store.namespace<string>(SPACES[space]);

/** Makes changes, one record each, and remembers the states that they make. */
export class History {
  readonly states: State[] = [new Map()];
  /** Which of the states is the least that has to be there after a power cut. */
  durable = 0;
  private readonly random: SeededRandom;
  private written = 0;

  constructor(
    private readonly disk: SimulatedDisk,
    readonly keys: number,
    seed = 1,
  ) {
    this.random = new SeededRandom(seed);
  }

  get last(): State {
    return this.states.at(-1) as State;
  }

  /** Forgets all states but one. */
  goOnFrom(state: State): void {
    this.states.splice(0, this.states.length, state);
    this.durable = 0;
  }

  /** The last change was refused. */
  forgetLast(): void {
    this.states.pop();
  }

  set(store: KvStore, space: number, key: number, bytes: number, ttl?: number): Promise<unknown> {
    // The number makes each value another one.
    const value = `${++this.written} `.padEnd(bytes, `${space}/${key} `);
    const expiresAt = ttl === undefined ? Infinity : this.disk.clock.now() + ttl;
    this.change((state) => state.set(`${space}/${key}`, { value, expiresAt }));
    return spaceOf(store, space).set(key, value, ttl === undefined ? {} : { ttl });
  }

  delete(store: KvStore, space: number, key: number): Promise<unknown> {
    this.change((state) => state.delete(`${space}/${key}`));
    return spaceOf(store, space).delete(key);
  }

  clear(store: KvStore, space: number): Promise<unknown> {
    this.change((state) => {
      for (const name of state.keys()) if (name.startsWith(`${space}/`)) state.delete(name);
    });
    return spaceOf(store, space).clear();
  }

  async flush(store: KvStore): Promise<void> {
    const { length } = this.states;
    await store.flush();
    this.durable = Math.max(this.durable, length - 1);
  }

  /** One change by chance. */
  any(store: KvStore): Promise<unknown> {
    const { random } = this;
    const space = random.below(3);
    const key = random.below(this.keys);
    const dice = random.below(100);
    if (dice < 20) return this.delete(store, space, key);
    if (dice < 21) return this.clear(store, 1);
    if (dice < 22) return this.set(store, space, key, LARGE_BYTES[random.below(2)]);
    return this.set(store, space, key, 10 + random.below(4000), dice < 30 ? 1000 : undefined);
  }

  /** Something of everything, and all of it durable. */
  async fill(store: KvStore): Promise<void> {
    for (let key = 0; key < this.keys; key++) {
      for (const space of [0, 1, 2]) await this.set(store, space, key, 10 + this.random.below(4000));
      if (key % 10 === 1) await this.set(store, 0, key, 300);
      if (key % 10 === 2) await this.delete(store, 0, key);
      if (key % 10 === 3) await this.set(store, 0, key, 4000, 1000);
      if (key % 10 === 4) await this.set(store, 2, key, 500, 3_600_000);
      if (key % 30 === 5) await this.set(store, 0, key, LARGE_BYTES[key % 2]);
      if (key % 20 === 19) await this.flush(store);
    }
    await this.flush(store);
  }

  /** Changes much of it, so that the cold log is full of garbage once it is compacted. */
  async rewrite(store: KvStore): Promise<void> {
    await this.clear(store, 1);
    for (let key = 0; key < this.keys; key++) {
      if (key % 3 === 0) await this.set(store, 0, key, 10 + this.random.below(4000));
      if (key % 5 === 1) await this.delete(store, 2, key);
      if (key % 7 === 2) await this.set(store, 1, key, 1000);
      if (key % 30 === 5) await this.set(store, 2, key, LARGE_BYTES[key % 2]);
    }
    this.disk.clock.advance(1500);
    await this.flush(store);
  }

  /** Deletes everything: a compaction has nothing to copy then. */
  async empty(store: KvStore): Promise<void> {
    for (const name of [...this.last.keys()]) {
      const [space, key] = name.split('/').map(Number) as [number, number];
      await this.delete(store, space, key);
    }
    await this.flush(store);
  }

  private change(how: (state: Map<string, Entry>) => void): void {
    const state = new Map(this.last);
    how(state);
    this.states.push(state);
  }

  /** Everything that a store holds, or what it throws. */
  async read(store: KvStore): Promise<Map<string, Entry>> {
    const found = new Map<string, Entry>();
    for (const space of SPACES.keys()) {
      const from = spaceOf(store, space);
      for (let key = 0; key < this.keys; key++) {
        const entry = await from.getEntry(key);
        if (!entry) continue;
        const { value, expiresAt = Infinity } = entry;
        found.set(`${space}/${key}`, { value, expiresAt });
      }
    }
    return found;
  }

  /**
   * Finds the state that a store is in, among those from `least` to `most`.
   * @throws Error that tells how it differs from the last one, if it is none of them
   */
  async stateOf(
    store: KvStore,
    least = this.durable,
    most = this.states.length - 1,
    now = this.disk.clock.now(),
  ): Promise<State> {
    const found = await this.read(store);
    for (let i = most; i >= least; i--) {
      const state = this.states[i];
      if (difference(state, found, now) === undefined) return state;
    }
    const earlier = this.states.findIndex((state) => difference(state, found, now) === undefined);
    throw new Error(
      earlier < 0
        ? `no state of ${least} to ${most}: ${difference(this.states[most], found, now)}`
        : `state ${earlier}, but ${least} was durable`,
    );
  }
}

/** The first difference that is seen. */
function difference(expected: State, found: State, now: number): string | undefined {
  let alive = 0;
  for (const [name, entry] of expected) {
    if (entry.expiresAt <= now) continue;
    alive++;
    const other = found.get(name);
    if (other?.value !== entry.value || other.expiresAt !== entry.expiresAt)
      return `${name} is ${textOf(other)}, not ${textOf(entry)}`;
  }
  if (alive === found.size) return undefined;
  for (const [name, entry] of found)
    if (!expected.has(name)) return `${name} is ${textOf(entry)}, not absent`;
  return 'an expired entry is there';
}

function textOf(entry: Entry | undefined): string {
  return entry ? `"${entry.value.slice(0, 20)}" (${entry.value.length}, until ${entry.expiresAt})` : 'absent';
}
