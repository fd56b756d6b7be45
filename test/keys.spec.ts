/** What may be a key, which keys are one key, and which are refused. */
import { KvEncodingError, KvStore, KvTooLargeError, type KvKey } from 'nestjs-hotcold/store';
import { HeldReads, openOn, turns, valueOf } from './support/compacting.js';
import { inEveryPlace } from './support/places.js';
import { SimulatedDisk } from './support/simulated-disk.js';

const MAX_KEY_BYTES = 16 * 1024;

/** Deepest nesting of a key, as in the limits of the documentation. */
const nested = (depth: number): KvKey => (depth === 0 ? 'x' : [nested(depth - 1)]);

/** All different from each other, in pairs and more that are easily taken for each other. */
const DIFFERENT_KEYS: KvKey[] = [
  ...[1, '1', 1n, [1], ['1'], [[1]], { 1: 1 }, true, 'true', false, 0, 0n, '0', '', [], {}, [''], ['', '']],
  ...[-1, -1n, 0.1, 1e300, -1e-300, Infinity, -Infinity, NaN, 'NaN', Number.MIN_VALUE, 2 ** 53, 2n ** 53n],
  ...[2n ** 64n, -(2n ** 64n), 2n ** 1000n, -(2n ** 1000n), 255n, 256n, -255n, -256n],
  ...['a', 'A', 'á', 'a\u0301', '\0', '\0\0', 'a\0', '\ud800', '\udfff', '\ufffd', '🦜', '\ud83e', '\udd9c'],
  ...[['\0'], ['\0', ''], ['', '\0'], ['a\0b'], ['a', 'b'], ['ab'], [['a'], 'b'], [['a', 'b']], ['\ud800']],
  ...[Buffer.from(''), Buffer.from('a'), Buffer.from([0]), Buffer.from([0, 0]), Buffer.from([0, 255])],
  ...[
    [Buffer.from('a')],
    [Buffer.from([0])],
    [Buffer.from([0, 255])],
    [Buffer.from([0]), Buffer.from([255])],
  ],
  ...[
    { a: 1 },
    { a: '1' },
    { b: 1 },
    { a: 1, b: 2 },
    { a: { b: 2 } },
    { a: [1] },
    { '': 1 },
    { a: {} },
    { a: [] },
  ],
  ...['__proto__', 'constructor', { constructor: 1 }, JSON.parse('{"__proto__":1}') as KvKey],
  ...['x'.repeat(MAX_KEY_BYTES - 2), 'x'.repeat(MAX_KEY_BYTES - 3), 'é'.repeat(MAX_KEY_BYTES / 2 - 1)],
  ...[Buffer.alloc(MAX_KEY_BYTES - 2, 1), 'x'.repeat(127), 'x'.repeat(128), 'x'.repeat(255), 'x'.repeat(256)],
  ...[nested(31), nested(30), Array.from({ length: 1000 }, (_, i) => i), 'null', 'undefined'],
  ...Array.from({ length: 17 }, (_, i) => 'tail'.padEnd(i + 4, '-')),
];

const SAME_KEYS: [string, KvKey, KvKey][] = [
  ['0 and -0', 0, -0],
  ['0 and -0 within an array', [0], [-0]],
  ['NaN, however it was made', NaN, Number('x')],
  ['fields in another order', { a: 1, b: { c: 2, d: 3 } }, { b: { d: 3, c: 2 }, a: 1 }],
  [
    'a plain object and one without prototype',
    { a: 1 },
    Object.assign(Object.create(null), { a: 1 }) as KvKey,
  ],
  ['a Buffer and a Uint8Array', Buffer.from('ab'), Uint8Array.of(97, 98)],
  ['a view into other bytes', Buffer.from('xaby').subarray(1, 3), Uint8Array.of(97, 98)],
];

describe('keys', () => {
  inEveryPlace((placed) => {
    it('are all told apart', async () => {
      for (const [i, key] of DIFFERENT_KEYS.entries()) {
        // Two entries of this list that are one key would be a mistake of the test or of the store.
        expect([i, await placed().store.get(key)]).toEqual([i, undefined]);
        await placed().store.set(key, i);
      }
      await placed().settle();
      const { store } = placed();
      for (const [i, key] of DIFFERENT_KEYS.entries()) expect(await store.get(key)).toBe(i);
      expect(await store.getMany(DIFFERENT_KEYS)).toEqual(DIFFERENT_KEYS.map((_, i) => i));
      for (const key of DIFFERENT_KEYS) expect(await store.delete(key)).toBe(true);
      expect(await store.getMany(DIFFERENT_KEYS)).toEqual(DIFFERENT_KEYS.map(() => undefined));
    });

    it.each(SAME_KEYS)('are one: %s', async (_, one, other) => {
      await placed().store.set(one, 'value');
      await placed().settle();
      expect(await placed().store.get(other)).toBe('value');
      expect(await placed().store.delete(other)).toBe(true);
      expect(await placed().store.get(one)).toBeUndefined();
    });

    it('may be changed by the caller once the call was made', async () => {
      const bytes = Buffer.from('abc');
      await placed().store.set('abc', 'text');
      await placed().store.set(Buffer.from('abc'), 'bytes');
      await placed().settle();
      const found = placed().store.get(bytes);
      bytes.fill(0);
      expect(await found).toBe('bytes');
    });

    it('may be changed by the caller while a function makes the new value', async () => {
      const { store } = placed();
      await store.setMany([
        [['a'], 1],
        [['b'], 10],
      ]);
      await placed().settle();
      for (const uses of [false, true]) {
        const key = ['a'];
        const updated = placed().store.update<number>(key, async (n = 0) => {
          if (uses) await placed().store.get('another');
          await turns(1);
          return n + 1;
        });
        key[0] = 'b';
        await updated;
      }
      expect(await placed().store.getMany([['a'], ['b']])).toEqual([3, 10]);
    });
  });
});

describe('a key that the caller changes while its record is read from disk', () => {
  let reads: HeldReads;
  let store: KvStore;
  beforeEach(async () => {
    const disk = new SimulatedDisk();
    reads = new HeldReads(disk);
    store = await openOn(disk, { env: reads.env });
    const decoys = Array.from({ length: 200 }, (_, i) => `k${i}`);
    await store.set(['a'], 1);
    await store.set(['expired'], 1, { ttl: 1000 });
    disk.clock.advance(2000);
    for (const key of decoys) await store.set(key, valueOf(key, 0, 5000));
    await store.flush();
    await reads.slowDown(store, decoys);
    await store.set(['b'], 10);
    reads.hold('before');
  });
  afterEach(async () => {
    reads.release();
    await store.close();
  });

  const CALLS: Record<string, (key: KvKey) => Promise<unknown>> = {
    'set with a condition': (key) => store.set(key, 2, { ifPresent: true }),
    update: (key) => store.update<number>(key, (n = 0) => n + 1),
    'update, asynchronously': (key) => store.update<number>(key, (n = 0) => Promise.resolve(n + 1)),
    increment: (key) => store.increment(key),
    delete: (key) => store.delete(key),
    deleteMany: (key) => store.deleteMany([key]),
    'batch, with a condition': (key) => store.batch((b) => b.set(key, 2, { ifPresent: true })),
    touch: (key) => store.touch(key, '1m'),
  };

  it.each(Object.keys(CALLS))('is the one that was given: %s', async (name) => {
    const key = ['a'];
    const called = CALLS[name](key);
    while (reads.held === 0) await turns(1);
    key[0] = 'b';
    reads.release();
    await called;
    const left = name.startsWith('delete') ? undefined : name === 'touch' ? 1 : 2;
    expect(await store.getMany([['a'], ['b']])).toEqual([left, 10]);
    expect(await store.ttl(['b'])).toBe(Infinity);
    expect((await store.ttl(['a'])) === Infinity).toBe(left === 2);
  });

  it.each<[string, (key: KvKey) => Promise<unknown>]>([
    ['setIfAbsent', (key) => store.setIfAbsent(key, 2)],
    ['set with ifVersion: null', (key) => store.set(key, 2, { ifVersion: null })],
  ])('is the one that was given, where what is there has expired: %s', async (_, call) => {
    const key = ['expired'];
    const called = call(key);
    while (reads.held === 0) await turns(1);
    key[0] = 'b';
    reads.release();
    await called;
    expect(await store.getMany([['expired'], ['b']])).toEqual([2, 10]);
  });
});

class Instance {
  field = 1;
}

const cyclicArray: unknown[] = [];
cyclicArray.push(cyclicArray);
const cyclicObject: Record<string, unknown> = {};
cyclicObject.self = cyclicObject;

const REFUSED: [string, unknown][] = [
  ['undefined', undefined],
  ['null', null],
  ['a symbol', Symbol('s')],
  ['a function', () => 1],
  ['a Date', new Date()],
  ['a Map', new Map()],
  ['a Set', new Set()],
  ['an instance', new Instance()],
  ['a Float64Array', new Float64Array(1)],
  ['an ArrayBuffer', new ArrayBuffer(1)],
  ['a promise', Promise.resolve(1)],
  ['null in an array', [null]],
  ['undefined in an array', [undefined]],
  ['a hole in an array', Array(1)],
  ['undefined in an object', { a: undefined }],
  ['a function in an object', { a: () => 1 }],
  ['a field with a symbol as its name', { [Symbol('s')]: 1 }],
  ['too deep nesting', nested(33)],
  ['an array within itself', cyclicArray],
  ['an object within itself', cyclicObject],
];

const TOO_LARGE: [string, KvKey][] = [
  ['a string', 'x'.repeat(MAX_KEY_BYTES - 1)],
  ['a much longer string', 'x'.repeat(10_000_000)],
  ['a string whose last character does not fit', `${'x'.repeat(MAX_KEY_BYTES - 3)}é`],
  ['a string of long characters', '🦜'.repeat(MAX_KEY_BYTES / 4)],
  ['bytes', new Uint8Array(MAX_KEY_BYTES - 1)],
  ['many bytes', new Uint8Array(10_000_000)],
  ['zero bytes that are escaped', [new Uint8Array(MAX_KEY_BYTES / 2)]],
  ['zero characters that are escaped', ['\0'.repeat(MAX_KEY_BYTES / 2)]],
  ['an array', Array.from({ length: MAX_KEY_BYTES / 8 }, (_, i) => i)],
  ['a bigint', 2n ** 1016n],
  ['an array of bigints', Array.from({ length: 200 }, () => 2n ** 1000n)],
];

describe('keys that cannot be', () => {
  const calls: [string, (store: KvStore, key: KvKey) => Promise<unknown>][] = [
    ['get', (store, key) => store.get(key)],
    ['getMany', (store, key) => store.getMany(['fine', key])],
    ['getEntry', (store, key) => store.getEntry(key)],
    ['has', (store, key) => store.has(key)],
    ['peek', async (store, key) => store.peek(key)],
    ['set', (store, key) => store.set(key, 1)],
    ['setIfAbsent', (store, key) => store.setIfAbsent(key, 1)],
    ['setMany', (store, key) => store.setMany([[key, 1]])],
    ['delete', (store, key) => store.delete(key)],
    ['deleteMany', (store, key) => store.deleteMany([key])],
    ['update', (store, key) => store.update(key, () => 1)],
    ['increment', (store, key) => store.increment(key)],
    ['touch', (store, key) => store.touch(key, 1000)],
    ['ttl', (store, key) => store.ttl(key)],
  ];
  let store: KvStore;
  beforeAll(async () => (store = await KvStore.open()));
  afterAll(() => store.close());
  afterEach(() => expect(store.stats()).toMatchObject({ keys: 0, writes: { appended: 0, inPlace: 0 } }));

  it.each(REFUSED)('are refused by every call: %s', async (_, key) => {
    for (const [name, call] of calls) {
      await expect(call(store, key as KvKey).catch((e: unknown) => [name, e])).resolves.toEqual([
        name,
        expect.any(KvEncodingError),
      ]);
    }
  });

  it.each(TOO_LARGE)('are too large: %s', async (_, key) => {
    for (const [name, call] of calls) {
      await expect(call(store, key).catch((e: unknown) => [name, e])).resolves.toEqual([
        name,
        expect.any(KvTooLargeError),
      ]);
    }
  });

  it('do not leave their content in the message', async () => {
    for (const key of [['secret', null], 'secret'.repeat(10_000)]) {
      await expect(store.get(key as KvKey)).rejects.toThrow(
        expect.objectContaining({ message: expect.not.stringContaining('secret') as string }) as Error,
      );
    }
  });
});
