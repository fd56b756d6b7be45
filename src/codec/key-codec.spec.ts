import fc from 'fast-check';
import { anyKey as key, bytesKey as bytes, textKey as text } from '../../test/support/keys.js';
import { KvEncodingError, KvTooLargeError } from '../errors.js';
import { MAX_KEY_BYTES, MAX_KEY_DEPTH } from '../limits.js';
import { KeyCodec, type KvKey } from './key-codec.js';

const codec = new KeyCodec();

function bytesOf(key: KvKey, namespace = 0): Buffer {
  const { bytes, length } = codec.encode(namespace, key);
  return Buffer.from(bytes.subarray(0, length));
}

function sign(order: number): number {
  return order < 0 ? -1 : order > 0 ? 1 : 0;
}

const orderOfBytes = (a: KvKey, b: KvKey): number => sign(Buffer.compare(bytesOf(a), bytesOf(b)));

/** Equality as the key codec promises it, written down a second time: in words, not in bytes. */
function sameKey(a: KvKey, b: KvKey): boolean {
  if (typeof a !== 'object' || typeof b !== 'object') return a === b || (Number.isNaN(a) && Number.isNaN(b));
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    return a instanceof Uint8Array && b instanceof Uint8Array && Buffer.compare(a, b) === 0;
  }
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b)) return false;
    return a.length === b.length && a.every((element: KvKey, i) => sameKey(element, b[i] as KvKey));
  }
  const fields = a as Record<string, KvKey>;
  const others = b as Record<string, KvKey>;
  const names = Object.keys(fields);
  return (
    names.length === Object.keys(others).length &&
    names.every((name) => Object.hasOwn(others, name) && sameKey(fields[name], others[name]))
  );
}

describe('identity', () => {
  it('gives two keys the same bytes exactly if they are equal', () => {
    fc.assert(
      fc.property(key, key, (a, b) => bytesOf(a).equals(bytesOf(b)) === sameKey(a, b)),
      { numRuns: 3000 },
    );
  });

  it('gives arrays of small parts the same bytes only if they are equal', () => {
    const parts = fc.array(fc.oneof(text, bytes, fc.array(text, { maxLength: 2 })), { maxLength: 3 });
    fc.assert(
      fc.property(parts, parts, (a, b) => bytesOf(a).equals(bytesOf(b)) === sameKey(a, b)),
      { numRuns: 3000 },
    );
  });

  it('has one key for a value however it is written', () => {
    expect(bytesOf(-0)).toEqual(bytesOf(0));
    expect(bytesOf({ a: 1, b: [2] })).toEqual(bytesOf({ b: [2], a: 1 }));
    expect(bytesOf(Object.assign(Object.create(null) as object, { a: 1 }) as KvKey)).toEqual(
      bytesOf({ a: 1 }),
    );
    expect(bytesOf(Buffer.from([1, 0]))).toEqual(bytesOf(Uint8Array.of(1, 0)));
    expect(bytesOf(Uint8Array.of(9, 1, 0, 9).subarray(1, 3))).toEqual(bytesOf(Uint8Array.of(1, 0)));
    const otherNan = new Float64Array(Uint32Array.of(1, 0xfff80000).buffer)[0];
    expect(bytesOf(otherNan)).toEqual(bytesOf(NaN));
  });

  it('keeps types apart', () => {
    const alike: KvKey[] = [
      1,
      1n,
      '1',
      true,
      ['1'],
      [1],
      [[1]],
      { 1: 1 },
      Uint8Array.of(0x31),
      [],
      {},
      '',
      [''],
      0,
      0n,
      false,
    ];
    expect(new Set(alike.map((one) => bytesOf(one).toString('hex'))).size).toBe(alike.length);
  });

  it('keeps lone surrogates apart, and from what they would be together', () => {
    const alike: KvKey[] = [
      '\ud83d',
      '\ude00',
      '\ud83d\ude00',
      '\ude00\ud83d',
      '\ufffd',
      'x\ud83d',
      'x\ud83dx',
    ];
    expect(new Set(alike.map((one) => bytesOf(one).toString('hex'))).size).toBe(alike.length);
    expect(bytesOf('é€😀').subarray(2).toString('utf8')).toBe('é€😀');
  });
});

describe('order', () => {
  it('is that of numbers', () => {
    const number = fc.oneof(
      fc.double({ noNaN: true }),
      fc.integer(),
      fc.constantFrom(0, -0, 5e-324, -5e-324),
    );
    fc.assert(
      fc.property(number, number, (a, b) => orderOfBytes(a, b) === (a === b ? 0 : sign(a - b || -1))),
    );
  });

  it('is that of bigints, also around the borders of byte lengths', () => {
    const border = fc
      .tuple(fc.integer({ min: 0, max: 1008 }), fc.integer({ min: -2, max: 2 }), fc.boolean())
      .map(
        ([bits, more, negative]) =>
          (negative ? -1n : 1n) * ((1n << BigInt(bits - (bits === 1008 ? 8 : 0))) + BigInt(more)),
      );
    const bigint = fc.oneof(border, fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }));
    fc.assert(
      fc.property(bigint, bigint, (a, b) => orderOfBytes(a, b) === (a < b ? -1 : a > b ? 1 : 0)),
      { numRuns: 2000 },
    );
  });

  it('is that of strings by code point', () => {
    const codePoints = (value: string): number[] =>
      Array.from(value, (character) => character.codePointAt(0) as number);
    const compare = (a: number[], b: number[]): number => {
      const at = a.findIndex((point, i) => point !== b[i]);
      if (at < 0) return sign(a.length - b.length);
      return at >= b.length ? 1 : sign(a[at] - b[at]);
    };
    const string = fc.oneof(text, fc.string({ unit: 'binary', maxLength: 5 }));
    fc.assert(
      fc.property(string, string, (a, b) => {
        const expected = compare(codePoints(a), codePoints(b));
        return orderOfBytes(a, b) === expected && orderOfBytes([a, 'z'], [b, 'z']) === expected;
      }),
      { numRuns: 3000 },
    );
  });

  it('is that of byte arrays', () => {
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        const expected = sign(Buffer.compare(a, b));
        return orderOfBytes(a, b) === expected && orderOfBytes([a, 1], [b, 1]) === expected;
      }),
    );
  });

  it('is that of arrays element by element, a shorter one before its continuations', () => {
    const element = fc.oneof(fc.integer({ min: -2, max: 2 }), text);
    const inOrder = (a: KvKey[], b: KvKey[]): number => {
      for (let i = 0; i < Math.min(a.length, b.length); i++) {
        const order = orderOfBytes(a[i], b[i]);
        if (order !== 0) return order;
      }
      return sign(a.length - b.length);
    };
    const array = fc.array(element, { maxLength: 4 });
    fc.assert(
      fc.property(
        array,
        array,
        (a, b) => orderOfBytes(a, b) === inOrder(a, b) && orderOfBytes([a, 0], [b, 0]) === inOrder(a, b),
      ),
      { numRuns: 2000 },
    );
  });

  it('has booleans before numbers, bigints, strings, byte arrays, arrays and objects', () => {
    const ascending: KvKey[] = [
      false,
      true,
      -Infinity,
      Infinity,
      NaN,
      -(2n ** 100n),
      2n ** 100n,
      '',
      '\uffff',
      Uint8Array.of(),
      [],
      {},
    ];
    for (let i = 1; i < ascending.length; i++) expect(orderOfBytes(ascending[i - 1], ascending[i])).toBe(-1);
  });
});

describe('namespaces', () => {
  it.each([
    [0, '00'],
    [1, '01'],
    [127, '7f'],
    [128, '8080'],
    [255, '80ff'],
    [256, '8100'],
    [32767, 'ffff'],
  ])('puts number %i in front as %s', (namespace, prefix) => {
    for (const one of ['a', 1, ['a']]) {
      expect(bytesOf(one, namespace).toString('hex')).toBe(prefix + bytesOf(one).toString('hex').slice(2));
    }
  });
});

describe('what cannot be a key', () => {
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  it.each<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['a symbol', Symbol('a')],
    ['a function', () => 1],
    ['a date', new Date(0)],
    ['a map', new Map()],
    ['a set', new Set()],
    ['a boxed string', new String('a')],
    ['an instance of a class', new (class User {})()],
    ['an array buffer', new ArrayBuffer(1)],
    ['another typed array', new Uint16Array(1)],
    ['an object with a symbol field', { [Symbol('a')]: 1 }],
    ['an array that contains itself', cyclic],
  ])('refuses %s, also inside of another key', (_name, refused) => {
    expect(() => codec.encode(0, refused as KvKey)).toThrow(KvEncodingError);
    expect(() => codec.encode(0, ['a', refused] as KvKey)).toThrow(KvEncodingError);
    expect(() => codec.encode(0, { a: refused } as KvKey)).toThrow(KvEncodingError);
  });

  it('refuses holes in arrays, which would be keys of their own', () => {
    // eslint-disable-next-line no-sparse-arrays
    expect(() => codec.encode(0, [1, , 2] as unknown as KvKey)).toThrow(KvEncodingError);
  });

  it('says what was wrong, not what the key was', () => {
    expect(() => codec.encode(0, new (class Secret {})() as unknown as KvKey)).toThrow(
      /an instance of Secret cannot be/,
    );
  });

  it('takes keys as deep as the limit, and no deeper', () => {
    const nested = (depth: number, wrap: (inner: KvKey) => KvKey): KvKey => {
      let key: KvKey = 'a';
      for (let i = 0; i < depth; i++) key = wrap(key);
      return key;
    };
    for (const wrap of [(inner: KvKey) => [inner], (inner: KvKey) => ({ a: inner })]) {
      expect(bytesOf(nested(MAX_KEY_DEPTH, wrap)).length).toBeGreaterThan(MAX_KEY_DEPTH);
      expect(() => codec.encode(0, nested(MAX_KEY_DEPTH + 1, wrap))).toThrow(KvEncodingError);
    }
  });
});

describe('the length limit', () => {
  /** Keys that take exactly so many bytes in namespace 0. */
  const ofLength: [string, (bytes: number) => KvKey][] = [
    ['ASCII', (bytes) => 'x'.repeat(bytes - 2)],
    ['two-byte characters', (bytes) => (bytes % 2 ? 'x' : '') + 'é'.repeat((bytes - 2) >> 1)],
    ['four-byte characters', (bytes) => 'x'.repeat((bytes - 2) % 4) + '😀'.repeat((bytes - 2) >> 2)],
    [
      'lone surrogates',
      (bytes) => 'x'.repeat((bytes - 2) % 3) + '\ud800'.repeat(Math.floor((bytes - 2) / 3)),
    ],
    ['bytes', (bytes) => new Uint8Array(bytes - 2)],
    ['a string in an array', (bytes) => ['x'.repeat(bytes - 5)]],
    [
      'zeros of a string in an array',
      (bytes) => ['x'.repeat((bytes - 5) % 2) + '\0'.repeat((bytes - 5) >> 1)],
    ],
    ['bytes in an array', (bytes) => [new Uint8Array(bytes - 5).fill(1)]],
    [
      'numbers in an array',
      (bytes) => [
        ...Array<number>(Math.floor((bytes - 3) / 9)).fill(1),
        ...Array<boolean>((bytes - 3) % 9).fill(true),
      ],
    ],
    ['an object', (bytes) => ({ a: 'x'.repeat(bytes - 8) })],
  ];

  it.each(ofLength)('is exact for %s', (_name, make) => {
    expect(bytesOf(make(MAX_KEY_BYTES - 1))).toHaveLength(MAX_KEY_BYTES - 1);
    expect(bytesOf(make(MAX_KEY_BYTES))).toHaveLength(MAX_KEY_BYTES);
    expect(() => codec.encode(0, make(MAX_KEY_BYTES + 1))).toThrow(KvTooLargeError);
    expect(() => codec.encode(200, make(MAX_KEY_BYTES))).toThrow(KvTooLargeError);
    expect(() => codec.encode(0, make(MAX_KEY_BYTES * 100))).toThrow(KvTooLargeError);
  });

  it('is exact for zero bytes in an array, which take two bytes each', () => {
    const most = (MAX_KEY_BYTES - 6) / 2;
    expect(bytesOf([true, new Uint8Array(most)])).toHaveLength(MAX_KEY_BYTES);
    expect(() => codec.encode(0, [true, true, new Uint8Array(most)])).toThrow(KvTooLargeError);
    expect(() => codec.encode(0, [new Uint8Array(MAX_KEY_BYTES * 100)])).toThrow(KvTooLargeError);
  });

  it('refuses bigints of more than 126 bytes', () => {
    expect(bytesOf(2n ** 1008n - 1n)).toHaveLength(3 + 126);
    expect(bytesOf(-(2n ** 1008n) + 1n)).toHaveLength(3 + 126);
    expect(() => codec.encode(0, 2n ** 1008n)).toThrow(KvTooLargeError);
    expect(() => codec.encode(0, -(2n ** 1008n))).toThrow(KvTooLargeError);
  });
});

describe('the scratch buffer', () => {
  it('is used again by the next key, and a copy is not', () => {
    const first = codec.encode(0, 'first');
    const copy = first.copy();
    expect(codec.encode(0, 'other')).toBe(first);
    expect(Buffer.from(copy.bytes.subarray(0, copy.length))).toEqual(bytesOf('first'));
  });

  it('copies hash and length with the key', () => {
    const encoded = codec.encode(0, 'key');
    encoded.hashLow = -5;
    encoded.hashHigh = 7;
    expect(encoded.copy()).toMatchObject({ length: 5, hashLow: -5, hashHigh: 7 });
  });

  it('has zeros up to the next word, also after a longer key and in a copy', () => {
    for (let length = 0; length < 9; length++) {
      codec.encode(0, '\u{10ffff}'.repeat(20));
      const encoded = codec.encode(0, 'x'.repeat(length));
      for (const one of [encoded, encoded.copy()]) {
        const padded = (one.length + 3) & ~3;
        expect([...one.bytes.subarray(one.length, padded)]).toEqual(Array(padded - one.length).fill(0));
        expect(one.words.length).toBeGreaterThanOrEqual(padded / 4);
      }
    }
  });

  it('is as good as new after a key that was refused', () => {
    const good = bytesOf(['a', { b: 1 }]);
    for (const bad of [['x'.repeat(2 * MAX_KEY_BYTES)], ['a', null], '€'.repeat(MAX_KEY_BYTES)]) {
      expect(() => codec.encode(0, bad as KvKey)).toThrow();
      expect(bytesOf(['a', { b: 1 }])).toEqual(good);
    }
  });
});
