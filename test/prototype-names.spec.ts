/**
 * `__proto__`, `constructor` and `prototype` in values, keys, names and options, at every depth, as an attacker would have
 * them in a request's body: `Object.prototype` stays as it is, and what was given comes back as it was or is refused, never
 * renamed and never dropped.
 */
import { inspect, isDeepStrictEqual } from 'node:util';
import { Keyv } from 'keyv';
import { KvKeyvStore } from 'nestjs-hotcold/keyv';
import { KvEncodingError, KvOptionsError, KvStore, type KvKey } from 'nestjs-hotcold/store';
import { kvDriver } from 'nestjs-hotcold/unstorage';
import { canonicalKey } from '../src/decorators/cache-key.js';
import { inEveryPlace } from './support/places.js';

const NAMES = ['__proto__', 'constructor', 'prototype'];
const PAYLOADS: unknown[] = [
  { polluted: true },
  { prototype: { polluted: true } },
  1,
  null,
  'x',
  [{ polluted: true }],
];

/** An object with an own field of any name, as `JSON.parse` makes it. */
const withField = (name: string, value: unknown): unknown =>
  JSON.parse(`{"before":1,"${name}":${JSON.stringify(value)},"after":2}`);

/** The same at depth 0 to 4, in objects and in arrays. */
function atEveryDepth(inner: unknown): unknown[] {
  const found = [inner];
  for (let depth = 0; depth < 4; depth++)
    found.push({ in: found[depth] }, [found[depth]], { a: [{ b: found[depth] }] });
  return found;
}

const all = NAMES.flatMap((name) => PAYLOADS.flatMap((payload) => atEveryDepth(withField(name, payload))));

const prototypes = [Object, Array, Map, Set, Function].map(({ prototype }) => prototype as object);
const stateOf = () => prototypes.map((prototype) => inspect(Object.getOwnPropertyDescriptors(prototype)));
const before = stateOf();

afterEach(() => {
  expect(stateOf()).toEqual(before);
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
});

/** How many come back as they were; those that are refused are refused with one of our errors. */
async function kept<T>(inputs: T[], through: (input: T) => Promise<unknown>): Promise<number> {
  let count = 0;
  for (const input of inputs) {
    let output: unknown;
    try {
      output = await through(input);
    } catch (error) {
      expect(error).toBeInstanceOf(KvEncodingError);
      continue;
    }
    if (!isDeepStrictEqual(output, input))
      throw new Error(`${inspect(input)} came back as ${inspect(output)}`);
    count++;
  }
  return count;
}

describe('in values', () => {
  inEveryPlace((placed) => {
    it('come back as they were, or are refused', async () => {
      const { store } = placed();
      const carried = new Map<number, unknown>();
      for (const [i, value] of all.entries()) {
        const error = await store.set(i, value).catch((thrown: unknown) => thrown);
        if (typeof error === 'number') carried.set(i, value);
        else expect(error).toBeInstanceOf(KvEncodingError);
        const changed = await store.update(['updated', i], () => value).catch((thrown: unknown) => thrown);
        expect(changed instanceof KvEncodingError).toBe(typeof error !== 'number');
      }
      // All but those with a field `__proto__`.
      expect(carried.size).toBe((all.length / 3) * 2);
      await placed().settle();
      for (const [i, value] of carried) {
        for (const key of [i, ['updated', i]]) {
          const found = await placed().store.get(key);
          if (!isDeepStrictEqual(found, value))
            throw new Error(`${inspect(value)} came back as ${inspect(found)}`);
        }
      }
    });
  });

  it('as keys of a Map and elements of a Set come back', async () => {
    const store = await KvStore.open();
    const values = NAMES.flatMap((name) => [new Map([[name, { a: 1 }]]), new Set([name]), [name], name]);
    const through = async (value: unknown) => {
      await store.set('k', value);
      return store.get('k');
    };
    expect(await kept(values, through)).toBe(values.length);
    await store.close();
  });
});

describe('in keys', () => {
  it('are names like any other', async () => {
    const store = await KvStore.open();
    const isKey = (key: unknown) => !JSON.stringify(key).includes('null');
    const keys = [...NAMES, ...all.filter(isKey)] as KvKey[];
    const different = new Map(keys.map((key) => [inspect(key, { depth: 99 }), key]));
    for (const [text, key] of different) await store.set(key, text);
    for (const [text, key] of different) expect(await store.get(key)).toBe(text);
    const listed = new Set<string>();
    for await (const [key, value] of store.scan()) {
      expect(isDeepStrictEqual(key, different.get(value as string))).toBe(true);
      listed.add(value as string);
    }
    expect(listed.size).toBe(different.size);
    await store.close();
  });

  it('of cached methods tell arguments apart', () => {
    const texts = all.map((value) => inspect(canonicalKey([value]), { depth: 99 }));
    expect(new Set(texts).size).toBe(new Set(all.map((value) => inspect(value, { depth: 99 }))).size);
  });
});

describe('as names', () => {
  it.each(NAMES)('of a namespace and a store: %s', async (name) => {
    const store = await KvStore.open({ name });
    expect(store.name).toBe(name);
    await store.namespace(name).set(name, [name]);
    expect(await store.namespace(name).get(name)).toEqual([name]);
    for (const other of NAMES.filter((one) => one !== name))
      expect(await store.namespace(other).get(name)).toBeUndefined();
    await store.close();
  });

  it('of tags', async () => {
    const store = await KvStore.open();
    for (const name of NAMES) await store.set(name, [name], { tags: [name] });
    await store.invalidateTags('__proto__', 'prototype');
    expect(await store.getMany(NAMES)).toEqual([undefined, ['constructor'], undefined]);
    await store.close();
  });

  it('of Keyv and unstorage keys', async () => {
    const store = await KvStore.open();
    const driver = kvDriver(store);
    for (const namespace of NAMES) {
      const keyv = new Keyv({ store: new KvKeyvStore(store), namespace });
      for (const name of NAMES) {
        expect(await keyv.get(name)).toBeUndefined();
        await keyv.set(name, { [name === '__proto__' ? 'x' : name]: namespace });
        await driver.setItem(`${namespace}:${name}`, 'text');
      }
      for (const name of NAMES)
        expect(await keyv.get(name)).toEqual({ [name === '__proto__' ? 'x' : name]: namespace });
    }
    expect(await driver.getKeys('')).toHaveLength(NAMES.length ** 2);
    await store.close();
  });
});

describe('in options', () => {
  const places: [string, (options: object) => unknown][] = [
    ['KvStore.open', (options) => KvStore.open(options)],
    ...(['hot', 'readCache', 'cold', 'durability', 'compaction'] as const).map(
      (part): [string, (options: object) => unknown] => [
        part,
        (options) => KvStore.open({ [part]: options }),
      ],
    ),
  ];

  it.each(places)('of %s are refused', async (_, open) => {
    for (const name of NAMES) {
      const options = JSON.parse(`{"${name}":{"polluted":true}}`) as object;
      await expect(open(options)).rejects.toBeInstanceOf(KvOptionsError);
    }
  });

  it('of a call are refused', async () => {
    const store = await KvStore.open();
    for (const name of NAMES) {
      const options = JSON.parse(`{"${name}":{"ttl":1,"polluted":true}}`) as object;
      await expect(store.set('k', 1, options)).rejects.toBeInstanceOf(KvOptionsError);
      await expect(store.delete('k', options)).rejects.toBeInstanceOf(KvOptionsError);
      await expect(store.getOrSet('k', () => 1, options)).rejects.toBeInstanceOf(KvOptionsError);
      expect(() => store.namespace('n', options)).toThrow(KvOptionsError);
    }
    await store.close();
  });
});
