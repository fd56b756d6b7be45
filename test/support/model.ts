/**
 * What a store should answer: a `Map` with expiry, and the operations that are tried on both. An operation is plain
 * data, so that fast-check can shrink a failing sequence and print it.
 */
import fc from 'fast-check';
import {
  KvEncodingError,
  type KeySpace,
  type KvEntryOptions,
  type KvKey,
  type KvStore,
} from 'nestjs-hotcold/store';
import { COLLIDING_PAIRS } from './colliding-keys.js';

const KEYS: KvKey[] = [
  ...['a', 'b', 1, '1', ['a', 1], { k: 1 }, 'a rather long key, longer than others'],
  // In a store that was made with a hash key of zeros, the indexes take these for one.
  ...COLLIDING_PAIRS[0],
];
const SPACES = ['', 'first', 'second'];
const TAGS = ['red', 'green', 'blue'];

export type Operation = { at: number; space: number } & (
  | { do: 'set' | 'setIfAbsent'; value: unknown; ttl: number | undefined; tags: string[] }
  | { do: 'get' | 'has' | 'peek' | 'delete' | 'update' | 'ttl' | 'clear' }
  | { do: 'increment'; by: number; times: number }
  | { do: 'touch'; ttl: number }
  /** Without `whole` within one space. */
  | { do: 'invalidate'; tags: string[]; whole: boolean }
  | { do: 'clear all' | 'flush' | 'checkpoint' | 'reopen' }
  | { do: 'advance'; ms: number }
  /** `beside`: what follows does not wait for it. */
  | { do: 'compact'; full: boolean; beside: boolean }
  /** So many values in a space of its own that what is older leaves memory. */
  | { do: 'fill'; count: number }
);

/**
 * Operations with values of up to some bytes.
 * @param compacting whether compactions, and what gives them something to do, are among them
 */
export function operations(
  maxValueBytes: number,
  count: number,
  compacting = false,
): fc.Arbitrary<Operation[]> {
  const at = fc.nat(KEYS.length - 1);
  const space = fc.nat(SPACES.length - 1);
  const value = fc.oneof(
    fc.integer({ min: -1000, max: 100_000 }),
    // Repeated, because long random text takes long to make.
    fc
      .tuple(fc.nat(maxValueBytes), fc.constantFrom('x', 'ü'))
      .map(([n, c]) => c.repeat(n / Buffer.byteLength(c))),
    fc.record({ name: fc.string({ maxLength: 10 }), list: fc.array(fc.nat(), { maxLength: 5 }) }),
    fc.constant(null),
  );
  const ttl = fc.option(fc.integer({ min: 1, max: 2000 }), { nil: undefined });
  // Most entries have none, as in life.
  const tags = fc.oneof(
    { weight: 3, arbitrary: fc.constant<string[]>([]) },
    { weight: 2, arbitrary: fc.uniqueArray(fc.constantFrom(...TAGS), { maxLength: 3 }) },
  );
  const on = <T extends object>(rest: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
    fc.record({ at, space, ...rest }, { noNullPrototype: true });
  const one = fc.oneof(
    { weight: 12, arbitrary: on({ do: fc.constant('set' as const), value, ttl, tags }) },
    {
      weight: 8,
      arbitrary: on({ do: fc.constantFrom('get' as const, 'has' as const, 'peek' as const, 'ttl' as const) }),
    },
    { weight: 4, arbitrary: on({ do: fc.constantFrom('delete' as const, 'update' as const) }) },
    { weight: 3, arbitrary: on({ do: fc.constant('setIfAbsent' as const), value, ttl, tags }) },
    {
      weight: 3,
      arbitrary: on({
        do: fc.constant('increment' as const),
        by: fc.nat(9),
        times: fc.integer({ min: 1, max: 3 }),
      }),
    },
    {
      weight: 2,
      arbitrary: on({ do: fc.constant('touch' as const), ttl: fc.integer({ min: 1, max: 2000 }) }),
    },
    { weight: 1, arbitrary: on({ do: fc.constantFrom('clear' as const, 'clear all' as const) }) },
    {
      weight: 1,
      arbitrary: on({
        do: fc.constant('invalidate' as const),
        tags: fc.uniqueArray(fc.constantFrom(...TAGS), { minLength: 1, maxLength: 2 }),
        whole: fc.boolean(),
      }),
    },
    {
      weight: 2,
      arbitrary: on({ do: fc.constant('advance' as const), ms: fc.integer({ min: 1, max: 1500 }) }),
    },
    {
      weight: 3,
      arbitrary: on({ do: fc.constantFrom('flush' as const, 'checkpoint' as const, 'reopen' as const) }),
    },
    ...(compacting
      ? [
          {
            weight: 4,
            arbitrary: on({ do: fc.constant('compact' as const), full: fc.boolean(), beside: fc.boolean() }),
          },
          {
            weight: 2,
            arbitrary: on({ do: fc.constant('fill' as const), count: fc.integer({ min: 1, max: 12 }) }),
          },
        ]
      : []),
  );
  return fc.array(one, { minLength: 1, maxLength: count, size: 'max' }) as fc.Arbitrary<Operation[]>;
}

interface Entry {
  value: unknown;
  expiresAt: number;
  tags: readonly string[];
}

/** What `update` makes of a value; of some, nothing, which deletes. */
export function changed(current: unknown): unknown {
  if (typeof current === 'string')
    return current.length > 20 ? current.slice(0, current.length / 2) : `${current}++`;
  if (typeof current === 'number') return { was: current };
  return current === undefined ? 'new' : undefined;
}

export class Model {
  private constructor(private readonly entries: Map<string, Entry>) {}

  static empty(): Model {
    return new Model(new Map());
  }

  copy(): Model {
    return new Model(new Map(this.entries));
  }

  /** Makes the change of an operation and returns what the call should answer. */
  apply(operation: Operation, nowMs: number): unknown {
    const name = `${operation.space}/${operation.at}`;
    let entry = this.entries.get(name);
    if (entry && entry.expiresAt <= nowMs) entry = undefined;
    const put = (value: unknown, expiresAt: number, tags = entry?.tags ?? []) =>
      this.entries.set(name, { value, expiresAt, tags });
    const expiry = (ttl: number | undefined) => (ttl === undefined ? Infinity : nowMs + ttl);
    switch (operation.do) {
      case 'set':
        put(operation.value, expiry(operation.ttl), operation.tags);
        return undefined;
      case 'setIfAbsent':
        if (!entry) put(operation.value, expiry(operation.ttl), operation.tags);
        return !entry;
      case 'get':
      case 'peek':
        return entry?.value;
      case 'has':
        return entry !== undefined;
      case 'ttl':
        return entry && entry.expiresAt - nowMs;
      case 'delete':
        this.entries.delete(name);
        return entry !== undefined;
      case 'update': {
        const next = changed(entry?.value);
        if (next === undefined) this.entries.delete(name);
        else put(next, entry?.expiresAt ?? Infinity);
        return next;
      }
      case 'increment': {
        if (entry && typeof entry.value !== 'number') return 'refused';
        const next = ((entry?.value as number | undefined) ?? 0) + operation.by * operation.times;
        put(next, entry?.expiresAt ?? Infinity);
        return next;
      }
      case 'touch':
        if (entry) put(entry.value, nowMs + operation.ttl);
        return entry !== undefined;
      case 'clear':
        for (const key of this.entries.keys())
          if (key.startsWith(`${operation.space}/`)) this.entries.delete(key);
        return undefined;
      case 'invalidate':
        for (const [key, { tags }] of this.entries) {
          const isWithin = operation.whole || (operation.space > 0 && key.startsWith(`${operation.space}/`));
          if (isWithin && tags.some((tag) => operation.tags.includes(tag))) this.entries.delete(key);
        }
        return undefined;
      case 'clear all':
        this.entries.clear();
        return undefined;
      default:
        return undefined;
    }
  }

  /** Everything that is alive, by space and key: what a store would have to answer. */
  state(nowMs: number): string {
    const alive: string[] = [];
    for (const [name, { value, expiresAt }] of this.entries) {
      if (expiresAt > nowMs) alive.push(entryText(name, value, expiresAt));
    }
    return alive.sort().join(', ');
  }
}

function entryText(name: string, value: unknown, expiresAt: number): string {
  return `${name}: ${JSON.stringify(value)}${expiresAt === Infinity ? '' : ` until ${expiresAt}`}`;
}

const FILLER_BYTES = 32 * 1024;

const spaceOf = (store: KvStore, space: number): KeySpace =>
  space === 0 ? store : store.namespace(SPACES[space] ?? '');

function entryOptions({ ttl, tags }: { ttl: number | undefined; tags: string[] }): KvEntryOptions {
  return { ...(ttl === undefined ? {} : { ttl }), ...(tags.length === 0 ? {} : { tags }) };
}

/** Calls the store; resolves to the answer in the model's terms. `flush`, `reopen` and `advance` are the test's business. */
export async function perform(store: KvStore, operation: Operation): Promise<unknown> {
  const key = KEYS[operation.at];
  const space = spaceOf(store, operation.space);
  switch (operation.do) {
    case 'set':
      await space.set(key, operation.value, entryOptions(operation));
      return undefined;
    case 'setIfAbsent':
      return space.setIfAbsent(key, operation.value, entryOptions(operation));
    case 'get':
      return space.get(key);
    case 'peek': {
      // Memory only: right, or nothing while the record is on disk.
      const found = space.peek(key);
      return found === undefined ? space.get(key) : found;
    }
    case 'has':
      return space.has(key);
    case 'ttl':
      return space.ttl(key);
    case 'delete':
      return space.delete(key);
    case 'update':
      return space.update(key, (current) =>
        operation.at % 2 ? changed(current) : Promise.resolve(changed(current)),
      );
    case 'increment': {
      const calls = Array.from({ length: operation.times }, () => space.increment(key, operation.by));
      const results = await Promise.allSettled(calls);
      const failure = results.find((result) => result.status === 'rejected');
      if (failure) {
        if (failure.reason instanceof KvEncodingError) return 'refused';
        throw failure.reason;
      }
      return Math.max(...results.map((result) => (result as PromiseFulfilledResult<number>).value));
    }
    case 'touch':
      return space.touch(key, operation.ttl);
    case 'clear':
      // In the model, the store's own keys are a space like the others; clearing the store would clear all.
      if (operation.space > 0) await space.clear();
      else await space.deleteMany(KEYS);
      return undefined;
    case 'invalidate':
      // The store's own keys alone cannot be asked for.
      if (operation.whole) await store.invalidateTags(...operation.tags);
      else if (operation.space > 0) await space.invalidateTags(...operation.tags);
      return undefined;
    case 'clear all':
      await store.clear();
      return undefined;
    case 'checkpoint':
      await store.checkpoint();
      return undefined;
    case 'compact':
      // One that runs beside others is the test's business.
      if (!operation.beside) await store.compact({ full: operation.full });
      return undefined;
    case 'fill': {
      const filler = store.namespace('filler');
      const bytes = Buffer.alloc(FILLER_BYTES, operation.count);
      for (let i = 0; i < operation.count; i++) await filler.set(i, bytes);
      return undefined;
    }
    default:
      return undefined;
  }
}

/** Everything that a store holds, in the form of `Model.state`. */
export async function stateOf(store: KvStore): Promise<string> {
  const alive: string[] = [];
  for (const space of SPACES.keys()) {
    for (const [at, key] of KEYS.entries()) {
      const entry = await spaceOf(store, space).getEntry(key);
      if (entry) alive.push(entryText(`${space}/${at}`, entry.value, entry.expiresAt ?? Infinity));
    }
  }
  return alive.sort().join(', ');
}
