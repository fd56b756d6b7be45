/** What may be a value: it comes back as it was, as the caller's own copy, wherever the record is. */
import { KvEncodingError, KvStore } from 'nestjs-hotcold/store';
import { inEveryPlace } from './support/places.js';

/**
 * The global object that application code would see. Jest gives tests one of their own, whose typed arrays (all but
 * Uint8Array) are not those that msgpackr looks for.
 */
const outer = outerGlobal();

function outerGlobal(): typeof globalThis {
  return (Uint8Array.constructor as FunctionConstructor)('return globalThis')() as typeof globalThis;
}

const deep = (depth: number): unknown => (depth === 0 ? 'x' : { in: [deep(depth - 2)] });

const VALUES: Record<string, unknown> = {
  null: null,
  true: true,
  false: false,
  zero: 0,
  'small integers': [1, -1, 31, 32, -32, -33, 127, 128, 255, 256, 65535, 65536, -32768, -32769],
  'large numbers': [2 ** 31, 2 ** 32, -(2 ** 31), Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 2 ** 53],
  fractions: [0.1, -0.5, Math.PI, 1e300, 5e-324, 3.4028234663852886e38],
  'no numbers': [NaN, Infinity, -Infinity],
  'empty string': '',
  strings: ['a', 'ü', '🦜', '\0', '\n', 'x'.repeat(31), 'x'.repeat(32), 'x'.repeat(300), 'é'.repeat(12_000)],
  'empty array': [],
  'empty object': {},
  'nested empties': [[], {}, [[]], [{}], { a: {}, b: [] }],
  'undefined within': { a: undefined, b: [undefined, 1] },
  nested: { a: [{ b: { c: [1, [2, { d: null }]] } }] },
  'deep nesting': deep(150),
  'odd field names': { '': 1, ' ': 2, 'a.b': 3, '0': 4, constructor: 5, toString: 6, 'ü🦜': 7, length: 8 },
  'many fields': Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`f${i}`, i])),
  date: new Date('2026-01-02T03:04:05.678Z'),
  dates: [new Date(0), new Date(-1), new Date(8.64e15), new Date(-8.64e15), new Date(1.5e12)],
  map: new Map<unknown, unknown>([
    ['a', 1],
    [2, new Map([[{ k: 1 }, [3]]])],
    [null, undefined],
  ]),
  set: new Set<unknown>([1, 'a', null, new Set([{ b: 2 }])]),
  'empty map and set': [new Map(), new Set()],
  'small bigints': [0n, 1n, -1n, 2n ** 53n],
  'large bigints': [
    2n ** 63n - 1n,
    2n ** 63n,
    2n ** 64n,
    -(2n ** 63n),
    -(2n ** 63n) - 1n,
    2n ** 200n,
    -(2n ** 200n),
  ],
  'huge bigints': [2n ** 1000n, -(2n ** 1000n), 2n ** 5000n, -(2n ** 5000n) - 1n],
  buffer: Buffer.from([0, 1, 2, 255]),
  'empty buffer': Buffer.alloc(0),
  'long buffer': Buffer.alloc(50_001, 'abc'),
  'typed arrays': [
    outer.Int8Array.of(-1, 2),
    outer.Uint8ClampedArray.of(1, 255),
    outer.Int16Array.of(-300, 300),
    outer.Uint16Array.of(65535),
    outer.Int32Array.of(-70_000),
    outer.Uint32Array.of(2 ** 32 - 1),
    outer.Float32Array.of(0.5, NaN),
    outer.Float64Array.of(Math.PI, -Infinity),
    outer.BigInt64Array.of(-(2n ** 63n)),
    outer.BigUint64Array.of(2n ** 64n - 1n),
    new outer.Float64Array(0),
  ],
};

describe('values', () => {
  inEveryPlace((placed) => {
    it('come back as they were', async () => {
      for (const [name, value] of Object.entries(VALUES)) await placed().store.set(name, value);
      await placed().settle();
      for (const [name, value] of Object.entries(VALUES)) {
        const found = await placed().store.get(name);
        expect([name, found]).toEqual([name, value]);
        expect([name, Object.prototype.toString.call(found)]).toEqual([
          name,
          Object.prototype.toString.call(value),
        ]);
        expect([name, Buffer.isBuffer(found)]).toEqual([name, Buffer.isBuffer(value)]);
      }
    });

    it('come back with every type they had', async () => {
      const typed = VALUES['typed arrays'] as object[];
      await placed().store.set('typed', typed);
      await placed().settle();
      const found = (await placed().store.get<object[]>('typed')) ?? [];
      expect(found.map(({ constructor }) => constructor.name)).toEqual(
        typed.map(({ constructor }) => constructor.name),
      );
    });

    it('keep the fields of hundreds of shapes apart', async () => {
      const shape = (i: number) => ({
        [`only${i}`]: i,
        common: { [`inner${i % 50}`]: [i, { [`deep${i}`]: i }] },
      });
      for (let i = 0; i < 200; i++) await placed().store.set(i, shape(i));
      await placed().settle();
      for (let i = 0; i < 200; i++) expect(await placed().store.get(i)).toEqual(shape(i));
      // And those written now, with what was read back.
      for (let i = 100; i < 300; i++) await placed().store.set(i, shape(i));
      for (let i = 0; i < 300; i++) expect(await placed().store.get(i)).toEqual(shape(i));
    });

    it('are the caller’s own copy, in and out', async () => {
      const make = () => ({
        list: [1],
        bytes: Buffer.from('abc'),
        floats: outer.Float64Array.of(1),
        map: new Map([[1, [2]]]),
      });
      type Value = ReturnType<typeof make>;
      const spoil = (value: Value | undefined) => {
        value?.list.push(9);
        value?.bytes.fill(9);
        value?.floats.fill(9);
        value?.map.get(1)?.push(9);
      };
      const given = make();
      await placed().store.set('k', given);
      spoil(given);
      await placed().settle();
      const { store } = placed();
      spoil(await store.get<Value>('k'));
      spoil((await store.getEntry<Value>('k'))?.value);
      spoil(store.peek<Value>('k'));
      expect(await store.get('k')).toEqual(make());
      // Later writes do not change what was handed out.
      const held = await store.get<Value>('k');
      await store.set('k', { ...make(), bytes: Buffer.from('xyz') });
      await placed().settle();
      expect(held).toEqual(make());
    });

    it('of classes come back as what their toJSON says, or as plain data', async () => {
      class Point {
        constructor(
          readonly x: number,
          readonly y: number,
        ) {}
      }
      class Money {
        toJSON() {
          return { amount: 5 };
        }
      }
      await placed().store.set('k', [new Point(1, 2), new Money()]);
      await placed().settle();
      expect(await placed().store.get('k')).toEqual([{ x: 1, y: 2 }, { amount: 5 }]);
    });
  });
});

const cyclic: { self?: unknown; list: unknown[] } = { list: [] };
cyclic.self = cyclic;
const cyclicMap = new Map<string, unknown>();
cyclicMap.set('self', cyclicMap);

const REFUSED: [string, unknown][] = [
  ['undefined', undefined],
  ['a function', () => 1],
  ['a symbol', Symbol('s')],
  ['a promise', Promise.resolve(1)],
  ['a function in an object', { a: { b: [() => 1] } }],
  ['a function in an array', [1, () => 1]],
  ['a function in a map', new Map([['a', () => 1]])],
  ['a function as key of a map', new Map([[() => 1, 1]])],
  ['a function in a set', new Set([() => 1])],
  ['a symbol in an object', { a: Symbol('s') }],
  ['a promise in an object', { a: Promise.resolve(1) }],
  ['a field __proto__', JSON.parse('{"__proto__":{"polluted":1}}')],
  ['a field __proto__ below', { a: [JSON.parse('{"__proto__":1}')] }],
  ['an object within itself', cyclic],
  ['a map within itself', cyclicMap],
  ['too deep nesting', deep(402)],
  ['much too deep nesting', Array.from({ length: 300_000 }).reduce<unknown>((inner) => [inner], 1)],
  ['a lone surrogate', 'a\ud800'],
  ['a lone surrogate within', { a: ['\udc00'] }],
  ['a lone surrogate in a key of a map', new Map([['\ud800', 1]])],
  ['a WeakMap', new WeakMap()],
  ['a field name with a lone surrogate', { 'a\ud800': 1 }],
];

describe('values that cannot be carried', () => {
  inEveryPlace((placed) => {
    beforeEach(async () => {
      await placed().store.set('k', ['old']);
      await placed().settle();
    });

    it.each(REFUSED)('are refused, and nothing is written: %s', async (_, value) => {
      const { store } = placed();
      const before = store.stats();
      await expect(store.set('k', value)).rejects.toThrow(KvEncodingError);
      await expect(store.set('k', value, { ifPresent: true })).rejects.toThrow(KvEncodingError);
      await expect(store.setIfAbsent('new', value)).rejects.toThrow(KvEncodingError);
      await expect(store.setMany([['new', value]])).rejects.toThrow(KvEncodingError);
      if (value !== undefined && !(value instanceof Promise)) {
        await expect(store.update('k', () => value)).rejects.toThrow(KvEncodingError);
      }
      expect(store.stats().writes).toEqual(before.writes);
      expect(store.stats().keys).toBe(before.keys);
      expect(await store.getMany(['k', 'new'])).toEqual([['old'], undefined]);
      expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    });
  });

  it('do not spoil the values that come after them', async () => {
    const store = await KvStore.open();
    for (const [i, [, value]] of REFUSED.entries()) {
      await store.set('k', value).catch(() => undefined);
      await store.set(i, { a: { b: [i] } });
    }
    for (let i = 0; i < REFUSED.length; i++) expect(await store.get(i)).toEqual({ a: { b: [i] } });
    await store.close();
  });
});
