import { inspect } from 'node:util';
import { runInThisContext } from 'node:vm';
import fc from 'fast-check';
import { KvDiskError, KvEncodingError } from '../errors.js';
import { MAX_VALUE_DEPTH } from '../limits.js';
import { ValueCodec, type ValueStructure } from './value-codec.js';
import { RUNS, SEED, tally } from '../../test/support/tally.js';

const noted = (_added: ValueStructure[]): void => {};

function encoded(codec: ValueCodec, value: unknown): Uint8Array {
  codec.encode(value);
  return Uint8Array.from(codec.bytes.subarray(codec.start, codec.end));
}

function decoded(codec: ValueCodec, bytes: Uint8Array): unknown {
  return codec.decode(bytes, 0, bytes.length);
}

function roundTrip(value: unknown, codec = new ValueCodec([], noted)): unknown {
  return decoded(codec, encoded(codec, value));
}

/** A codec with a dictionary that lasts, of which `failing` forgets to note anything. */
function withDictionary(dictionary: ValueStructure[] = []): {
  dictionary: ValueStructure[];
  codec: ValueCodec;
  reopened: () => ValueCodec;
  failing: { error?: Error };
} {
  const failing: { error?: Error } = {};
  const codec = new ValueCodec(dictionary, (added) => {
    if (failing.error) throw failing.error;
    dictionary.push(...added);
  });
  return { dictionary, codec, failing, reopened: () => new ValueCodec(dictionary, noted) };
}

// Jest's sandbox has typed arrays of its own beside those of Node.js, which msgpackr recognises.
const typedArray = (name: string): new (source: unknown) => ArrayBufferView =>
  runInThisContext(name) as new (source: unknown) => ArrayBufferView;

const leaf = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 100 }),
  fc.string({ unit: 'binary', maxLength: 10 }),
  fc.integer(),
  fc.double().map((number) => number + 0), // -0 becomes 0, as in JSON
  fc.maxSafeInteger(),
  fc.bigInt({ min: -(2n ** 80n), max: 2n ** 80n }),
  fc.boolean(),
  fc.constant(null),
  fc.date({ noInvalidDate: false }),
  fc.uint8Array({ maxLength: 300 }),
);
const field = fc.oneof(
  fc.constantFrom(
    'id',
    'name',
    'tags',
    'constructor',
    'prototype',
    'hasOwnProperty',
    'toJSON',
    'toString',
    '0',
    '',
  ),
  fc.string({ maxLength: 6 }).filter((name) => name !== '__proto__' && name !== '__keys__'),
);
const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'medium' },
    leaf,
    fc.array(tie('value'), { maxLength: 20 }),
    fc
      .dictionary(field, fc.oneof(tie('value'), fc.constant(undefined)), {
        maxKeys: 6,
        noNullPrototype: true,
      })
      // Refused, see below.
      .filter((object) => !Object.hasOwn(object, 'constructor') || !Object.hasOwn(object, 'toJSON')),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 4 }).map((entries) => new Map(entries)),
    fc.array(tie('value'), { maxLength: 4 }).map((entries) => new Set(entries)),
  ),
})).value;

describe('round trip', () => {
  it('gives back any value, with the codec that wrote it and with one of a later life', () => {
    const { codec, reopened } = withDictionary();
    fc.assert(
      fc.property(value, (original) => {
        const bytes = encoded(codec, original);
        expect(decoded(codec, bytes)).toEqual(original);
        expect(decoded(reopened(), bytes)).toEqual(original);
      }),
      { numRuns: 200 },
    );
  });

  it.each([
    ['large strings', 'é'.repeat(100_000)],
    ['arrays of more than 65,535', Array.from({ length: 70_000 }, (_, i) => i)],
    [
      'numbers at the borders of their encodings',
      [
        31,
        32,
        63,
        64,
        127,
        128,
        255,
        256,
        65535,
        65536,
        2 ** 31,
        2 ** 32,
        2 ** 53,
        -32,
        -33,
        -128,
        -129,
        -32769,
        -(2 ** 31) - 1,
        5e-324,
        1.7e308,
      ],
    ],
    [
      'bigints of any size',
      [0n, -1n, 2n ** 63n - 1n, 2n ** 63n, -(2n ** 63n), -(2n ** 63n) - 1n, 2n ** 64n, 3n ** 1000n],
    ],
    [
      'dates from the first to the last',
      [
        new Date(-8.64e15),
        new Date(-1),
        new Date(0),
        new Date(1),
        new Date(2 ** 32 * 1000),
        new Date(8.64e15),
      ],
    ],
    ['regular expressions', /a+/giu],
    ['nothing much', [null, '', [], {}, new Map(), new Set(), NaN, Infinity, undefined]],
    ['objects without a prototype', Object.assign(Object.create(null) as object, { a: 1 })],
  ])('keeps %s', (_name, original) => {
    expect(roundTrip(original)).toEqual(original);
  });

  it('keeps the kind and message of errors', () => {
    const error = roundTrip(new RangeError('too far', { cause: 'legs' }));
    expect(error).toMatchObject({ name: 'RangeError', message: 'too far', cause: 'legs' });
  });

  it('gives errors no cause where they had none, and no stack of somewhere else', () => {
    for (const original of [
      new Error('a'),
      new TypeError(''),
      Object.assign(new Error('b'), { name: 'toString' }),
    ]) {
      const error = roundTrip(original) as Error;
      expect(Object.prototype.toString.call(error)).toBe('[object Error]');
      expect(error.name).toBe(original.name);
      expect(error.stack).toBe(String(original));
      expect('cause' in error).toBe(false);
      expect(inspect(roundTrip({ error }))).toBe(`{ error: [${String(original)}] }`);
    }
    const causeOf = (cause: unknown) => (roundTrip(new Error('a', { cause })) as Error).cause;
    expect([null, 0, ''].map(causeOf)).toEqual([null, 0, '']);
  });

  it('keeps the name, message and cause of errors of a class', () => {
    class NotFound extends Error {
      override name = 'NotFound';
    }
    const cause = new NotFound('no such user', { cause: { id: 17, at: new Date(0) } });
    const error = roundTrip({ error: new Error('no answer', { cause }) }) as { error: Error };
    expect(error.error.message).toBe('no answer');
    expect(error.error.cause).toBeInstanceOf(Error);
    expect(error.error.cause).toMatchObject({
      name: 'NotFound',
      message: 'no such user',
      cause: { id: 17, at: new Date(0) },
    });
  });

  it('stores what toJSON of an error of a class returns', () => {
    class Failed extends Error {
      constructor(readonly status: number) {
        super('failed');
      }
      toJSON(): unknown {
        return { status: this.status };
      }
    }
    expect(roundTrip(new Failed(404))).toEqual({ status: 404 });
  });

  it.each([
    'Int8Array',
    'Uint8ClampedArray',
    'Int16Array',
    'Uint16Array',
    'Int32Array',
    'Uint32Array',
    'Float32Array',
    'Float64Array',
  ])('keeps a %s, also one that starts at an odd place of its buffer', (name) => {
    const Typed = typedArray(name);
    const original = new Typed([1, 2, 100]);
    const copy = roundTrip({ odd: 1, original }) as { original: Float64Array };
    expect(Object.prototype.toString.call(copy.original)).toBe(`[object ${name}]`);
    expect([...copy.original]).toEqual([1, 2, 100]);
  });

  it('keeps plain objects of another realm, empty ones too', () => {
    const objects = runInThisContext('[{}, { a: {} }]') as object[];
    expect(Object.getPrototypeOf(objects[0])).not.toBe(Object.prototype);
    for (const object of objects) expect(JSON.stringify(roundTrip(object))).toBe(JSON.stringify(object));
  });

  it('keeps only the seen part of a view', () => {
    const whole = Uint8Array.of(1, 2, 3, 4, 5);
    expect(Buffer.from(roundTrip(whole.subarray(1, 3)) as Uint8Array)).toEqual(Buffer.of(2, 3));
    expect(roundTrip(Uint8Array.of(7, 8).buffer)).toEqual(Uint8Array.of(7, 8).buffer);
  });

  it('stores what toJSON of an instance returns', () => {
    const url = new URL('https://example.org/a');
    expect(roundTrip({ url })).toEqual({ url: 'https://example.org/a' });
  });

  it('takes a toJSON that returns undefined for undefined, which is no value but may be in one', () => {
    class Hidden {
      readonly field = 1;
      toJSON(): unknown {
        return undefined;
      }
    }
    expect(() => roundTrip(new Hidden())).toThrow(KvEncodingError);
    expect(roundTrip([new Hidden()])).toEqual([undefined]);
  });

  it('takes values as deep as the limit, and no deeper', () => {
    const nested = (depth: number, wrap: (inner: unknown) => unknown): unknown => {
      let inner: unknown = 1;
      for (let i = 0; i < depth; i++) inner = wrap(inner);
      return inner;
    };
    for (const wrap of [
      (inner: unknown) => [inner],
      (a: unknown) => ({ a }),
      (a: unknown) => new Map([[1, a]]),
    ]) {
      const deepest = nested(MAX_VALUE_DEPTH, wrap);
      expect(roundTrip(deepest)).toEqual(deepest);
      expect(() => roundTrip(nested(MAX_VALUE_DEPTH + 1, wrap))).toThrow(KvEncodingError);
    }
  });
});

describe('field names with a meaning of their own', () => {
  it.each([
    'constructor',
    'prototype',
    'hasOwnProperty',
    'toJSON',
    'toString',
    'valueOf',
    'then',
    '__defineGetter__',
    'length',
    '__proto_',
    ' ',
  ])('keeps a field "%s", in an object of one and of many', (name) => {
    const codec = new ValueCodec([], noted);
    for (const content of ['text', 0, null, { [name]: 1 }, undefined]) {
      const objects = [{ [name]: content }, { a: 1, [name]: content, z: 2 }];
      // Often enough for msgpackr to compile a reader.
      for (let i = 0; i < 8; i++) expect(roundTrip(objects, codec)).toEqual(objects);
    }
  });

  it('refuses a field "toJSON" that is no function beside a field "constructor"', () => {
    expect(() => roundTrip({ constructor: 'x', toJSON: 'y' })).toThrow(KvEncodingError);
    expect(() => roundTrip(Object.assign(Object.create(null) as object, { toJSON: 'y' }))).toThrow(
      KvEncodingError,
    );
  });

  it.each(['__proto__', '__keys__'])('refuses a field "%s", which would not come back', (name) => {
    const object = JSON.parse(`{"a":{"${name}":1}}`) as unknown;
    expect(() => roundTrip(object)).toThrow(KvEncodingError);
    expect(roundTrip(new Map([[name, 1]]))).toEqual(new Map([[name, 1]]));
  });
});

describe('what cannot be carried', () => {
  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;
  class SubMap extends Map<unknown, unknown> {}
  const causing = new Error('itself');
  causing.cause = causing;
  class FailedWith extends Error {
    constructor(private readonly json: unknown) {
      super('failed');
    }
    toJSON(): unknown {
      return this.json;
    }
  }
  const refused: [string, unknown][] = [
    ['undefined', undefined],
    ['a function', () => 1],
    ['a symbol', Symbol('a')],
    ['a lone surrogate', 'a\ud800'],
    ['a promise', Promise.resolve(1)],
    ['a weak map', new WeakMap()],
    ['a cycle', cyclic],
    ['an instance of a subclass of Map', new SubMap([[1, 2]])],
    ['a boxed number', new Number(5)],
    ['a boxed string', new String('a')],
    ['a boxed boolean', new Boolean(false)],
    ['a boxed bigint', Object(5n)],
    ['a generator', (function* () {})()],
    ['an iterator', [1].values()],
    ['shared memory', new SharedArrayBuffer(4)],
    ['an error with fields of its own', Object.assign(new Error('a'), { status: 404 })],
    ['an error with a toJSON of its own', Object.assign(new Error('a'), { toJSON: () => 1 })],
    ['an error whose toJSON returns a function', new FailedWith(() => 1)],
    ['an error that a function has caused', new Error('a', { cause: () => 1 })],
    ['an error that something with a promise has caused', new Error('a', { cause: [Promise.resolve(1)] })],
    ['an error that has caused itself', causing],
    ['an error made of several', new AggregateError([new Error('a')], 'b')],
    ['an error whose message is no text', Object.assign(new Error('a'), { message: { a: 1 } })],
    ['an error whose message has a lone surrogate', new Error('a\ud800')],
  ];

  it.each(refused)('refuses %s instead of storing something else', (_name, bad) => {
    const codec = new ValueCodec([], noted);
    expect(() => codec.encode(bad)).toThrow(KvEncodingError);
  });

  it.each(refused.slice(1))('refuses %s anywhere in a value', (_name, bad) => {
    const codec = new ValueCodec([], noted);
    for (const around of [[bad], { a: { b: bad } }, new Map([[1, bad]]), new Set([bad])])
      expect(() => codec.encode(around)).toThrow(KvEncodingError);
    if (typeof bad === 'string') expect(() => codec.encode(new Map([[bad, 1]]))).toThrow(KvEncodingError);
  });

  it('refuses a field name with a lone surrogate', () => {
    expect(() => roundTrip({ 'a\ud800': 1 })).toThrow(KvEncodingError);
  });

  it('is as good as new afterwards', () => {
    const { codec, reopened } = withDictionary();
    for (const [, bad] of refused.slice(1)) {
      expect(() => codec.encode([{ newShape: 1, [String(refused.length)]: 2 }, bad])).toThrow(
        KvEncodingError,
      );
      const bytes = encoded(codec, { a: 1 });
      expect(decoded(reopened(), bytes)).toEqual({ a: 1 });
    }
  });
});

describe('bytes that cannot be decoded', () => {
  const secret = 'Tr0ub4dor';
  const text = Buffer.concat([Buffer.from([0xa0 + secret.length]), Buffer.from(secret)]);
  it.each([
    ['with something behind them', Buffer.concat([text, text])],
    ['of a map, with something behind them', Buffer.concat([Buffer.from([0x81]), text, text, text])],
    [
      'of a regular expression that is none',
      Buffer.from([0xc7, 13, 0x78, 0x92, 0xaa, 0x28, ...Buffer.from(secret), 0xa0]),
    ],
  ])('%s are refused with an error that has nothing of them in it', (_, bytes) => {
    const codec = new ValueCodec([], noted);
    let error: unknown;
    try {
      decoded(codec, bytes);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(KvEncodingError);
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(secret);
  });
});

describe('shared structures', () => {
  it('keep field names out of the bytes', () => {
    const { codec } = withDictionary();
    encoded(codec, { aLongFieldName: 1 });
    expect(Buffer.from(encoded(codec, { aLongFieldName: 2 })).includes('aLongFieldName')).toBe(false);
  });

  it('are announced before the bytes that use them, once', () => {
    const { codec, dictionary } = withDictionary();
    codec.encode([
      { a: 1, b: { c: 2 } },
      { a: 3, b: { c: 4 } },
    ]);
    expect(dictionary.map((fields) => [...fields]).sort()).toEqual([['a', 'b'], ['c']]);
    codec.encode({ c: 5 });
    codec.encode({ a: 1, b: 1 });
    expect(dictionary).toHaveLength(2);
  });

  it('of an earlier life are used again, and added to', () => {
    const first = withDictionary();
    const old = encoded(first.codec, { a: 1, b: 2 });
    const second = withDictionary(first.dictionary);
    const young = encoded(second.codec, { c: 3 });
    expect(second.dictionary).toHaveLength(2);
    expect(encoded(second.codec, { a: 1, b: 2 })).toEqual(old);
    for (const codec of [second.codec, second.reopened()]) {
      expect(decoded(codec, old)).toEqual({ a: 1, b: 2 });
      expect(decoded(codec, young)).toEqual({ c: 3 });
    }
  });

  it('are not changed where they were given', () => {
    const dictionary = [['a'], ['b']];
    const codec = new ValueCodec(dictionary, noted);
    encoded(codec, [{ a: 1 }, { c: 1 }]);
    expect(dictionary).toEqual([['a'], ['b']]);
  });

  it('end at 32; further shapes carry their names', () => {
    const { codec, dictionary, reopened } = withDictionary();
    const values = Array.from({ length: 100 }, (_, i) => ({ [`f${i}`]: i, nested: { [`n${i}`]: [i] } }));
    const all = values.map((one) => encoded(codec, one));
    expect(dictionary).toHaveLength(32);
    const later = reopened();
    for (let round = 0; round < 4; round++) {
      for (const [i, bytes] of all.entries()) {
        expect(decoded(later, bytes)).toEqual(values[i]);
        expect(decoded(codec, bytes)).toEqual(values[i]);
      }
    }
    // One value that passes the limit in the middle.
    const other = withDictionary();
    const bytes = encoded(other.codec, values);
    expect(other.dictionary).toHaveLength(32);
    expect(decoded(other.reopened(), bytes)).toEqual(values);
  });

  it('keep their numbers whatever is encoded between', () => {
    const { codec, reopened } = withDictionary();
    fc.assert(
      fc.property(
        fc.array(fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), fc.integer())),
        (objects) => {
          const bytes = objects.map((object) => encoded(codec, object));
          const later = reopened();
          for (const [i, one] of bytes.entries()) expect(decoded(later, one)).toEqual({ ...objects[i] });
        },
      ),
    );
  });

  it('that could not be noted are announced again by the next value', () => {
    const { codec, dictionary, reopened, failing } = withDictionary();
    const old = encoded(codec, { known: 1 });
    failing.error = new KvDiskError('write', 'DICTIONARY', new Error('full'));
    for (let i = 0; i < 3; i++) expect(() => codec.encode({ a: 1, b: { c: i } })).toThrow(failing.error);
    expect(encoded(codec, { known: 1 })).toEqual(old);
    expect(() => codec.encode({ d: 1 })).toThrow(failing.error);
    expect(dictionary).toEqual([['known']]);
    delete failing.error;
    const bytes = encoded(codec, [{ a: 1, b: { c: 3 } }, { d: 1 }]);
    expect(dictionary).toHaveLength(4);
    for (const one of [codec, reopened()]) {
      expect(decoded(one, bytes)).toEqual([{ a: 1, b: { c: 3 } }, { d: 1 }]);
      expect(decoded(one, old)).toEqual({ known: 1 });
    }
  });

  it('are right for a value whose toJSON encodes another value', () => {
    const { codec, dictionary, reopened } = withDictionary();
    class Nosy {
      toJSON(): unknown {
        codec.encode({ inner: { shape: 1 } });
        return { outer: true };
      }
    }
    const bytes = encoded(codec, { before: { x: 1 }, nosy: new Nosy(), after: { y: 1 } });
    expect(decoded(reopened(), bytes)).toEqual({ before: { x: 1 }, nosy: { outer: true }, after: { y: 1 } });
    expect(decoded(codec, bytes)).toEqual({ before: { x: 1 }, nosy: { outer: true }, after: { y: 1 } });
    expect(new Set(dictionary.map(String)).size).toBe(dictionary.length);
  });
});

describe('memory', () => {
  it('is not shared between a value and the bytes it came from', () => {
    const { codec } = withDictionary();
    const original = {
      bytes: Uint8Array.of(1, 2, 3),
      large: new Uint8Array(5000).fill(9),
      node: Buffer.of(6, 7),
      floats: new (typedArray('Float64Array'))([1, 2]),
      buffer: Uint8Array.of(4, 5).buffer,
      text: 'é'.repeat(100),
    };
    const bytes = encoded(codec, original);
    const copy = decoded(codec, bytes) as typeof original;
    bytes.fill(0xee);
    codec.encode({ bytes: new Uint8Array(6000).fill(0xdd) });
    expect([...copy.bytes]).toEqual([1, 2, 3]);
    expect(copy.large.every((byte) => byte === 9)).toBe(true);
    expect([...(copy.floats as Float64Array)]).toEqual([1, 2]);
    expect([...new Uint8Array(copy.buffer)]).toEqual([4, 5]);
    expect([...copy.node]).toEqual([6, 7]);
    expect(copy.text).toBe('é'.repeat(100));
    expect(copy.bytes.buffer).not.toBe(bytes.buffer);
  });

  it('of a large value is let go of', () => {
    const { codec } = withDictionary();
    codec.encode('x'.repeat(3_000_000));
    codec.encode('small');
    codec.encode('small');
    expect(codec.bytes.buffer.byteLength).toBeLessThan(100_000);
    expect(Buffer.from(codec.bytes.subarray(codec.start + 1, codec.end)).toString()).toBe('small');
  });

  it.each(['the same codec', 'another one'])(
    'of a large value is not let go of while a toJSON encodes with %s',
    (which) => {
      const { codec } = withDictionary();
      const inner = which === 'the same codec' ? codec : withDictionary().codec;
      class Nosy {
        readonly shown = true;
        readonly inner: Uint8Array[] = [];
        constructor(private readonly written: unknown[]) {}
        toJSON(): unknown {
          for (const value of this.written) this.inner.push(encoded(inner, value));
          return { from: 'json', list: [1, 2] };
        }
      }
      const large = 'x'.repeat(3_000_000);
      for (const before of [[], [large]]) {
        for (const written of [[{ a: 'small' }], [large], [large, { a: 'small' }, 'b']]) {
          for (const value of before) inner.encode(value);
          const nosy = new Nosy(written);
          const value = { first: 'abcdefghij', nosy, second: [1, 2, 3] };
          const bytes = encoded(codec, value);
          expect(decoded(codec, bytes)).toEqual({ ...value, nosy: { from: 'json', list: [1, 2] } });
          const seen = nosy.inner.map((one) => decoded(inner, one));
          // Once by the check, once by msgpackr.
          expect(seen).toEqual([...written, ...written]);
        }
      }
    },
  );

  it('holds the value where start and end say, in the middle of other bytes', () => {
    const { codec } = withDictionary();
    const bytes = encoded(codec, { a: ['é'.repeat(40), 7n] });
    const page = new Uint8Array(bytes.length + 200).fill(0xc1);
    page.set(bytes, 100);
    expect(codec.decode(page, 100, 100 + bytes.length)).toEqual({ a: ['é'.repeat(40), 7n] });
    expect(() => codec.decode(page, 100, 99 + bytes.length)).toThrow(KvEncodingError);
    expect(() => codec.decode(page, 100, 101 + bytes.length)).toThrow(KvEncodingError);
  });
});

describe('hostile bytes', () => {
  jest.setTimeout(60_000 * RUNS);
  const MUTANTS = 20_000 * RUNS;
  const seed = process.env.SEED === undefined ? {} : { seed: SEED };
  afterAll(() => tally({ mutants: MUTANTS }));

  /** What reads them may answer with a value or with one kind of error, and goes on as before. */
  function feed(codec: ValueCodec, bytes: Uint8Array): void {
    try {
      decoded(codec, bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(KvEncodingError);
    }
  }

  const sample = {
    id: 17,
    name: 'é'.repeat(30),
    tags: ['a', 'b', { deep: [1.5, -3, 2n ** 70n] }],
    at: new Date(1_767_225_600_123),
    raw: Uint8Array.of(1, 2, 3),
    map: new Map<unknown, unknown>([[{ k: 1 }, new Set([1, 'x'])]]),
    bad: new TypeError('x'),
    pattern: /a/g,
  };

  it('made of valid ones only ever give KvEncodingError or a value, and leave the codec right', () => {
    const { codec } = withDictionary();
    const valid = encoded(codec, sample);
    const mutation = fc.record({
      at: fc.nat({ max: valid.length - 1 }),
      remove: fc.constantFrom(0, 1, 4, 1000),
      insert: fc.oneof(
        fc.uint8Array({ maxLength: 3 }),
        fc
          .constantFrom(0x40, 0x41, 0x5f, 0x72, 0xc1, 0xc7, 0xc9, 0xd4, 0xd5, 0xd6, 0xdb, 0xdd, 0xdf)
          .map((token) => Uint8Array.of(token)),
        fc
          .constantFrom(0x72, 0x74, 0x62, 0x65, 0x69, 0x70, 0x73, 0x78, 0xff, 0x42)
          .map((type) => Uint8Array.of(0xd4, type, 0x40)),
      ),
    });
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 4 }), (mutations) => {
        let bytes = Buffer.from(valid);
        for (const { at, remove, insert } of mutations)
          bytes = Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)]);
        feed(codec, bytes);
      }),
      { numRuns: MUTANTS / 2, ...seed },
    );
    expect(decoded(codec, valid)).toEqual(sample);
    expect(roundTrip(sample, codec)).toEqual(sample);
  });

  it('of any kind only ever give KvEncodingError or a value', () => {
    const { codec } = withDictionary();
    const valid = encoded(codec, sample);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), (bytes) => feed(codec, bytes)),
      { numRuns: MUTANTS / 2, ...seed },
    );
    expect(decoded(codec, valid)).toEqual(sample);
  });

  it.each([
    ['an array', Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff)],
    ['a map', Uint8Array.of(0xdf, 0xff, 0xff, 0xff, 0xff)],
    ['a string', Uint8Array.of(0xdb, 0xff, 0xff, 0xff, 0xff)],
    ['bytes', Uint8Array.of(0xc6, 0xff, 0xff, 0xff, 0xff)],
    ['nested arrays', new Uint8Array(100_000).fill(0x91)],
  ])('that announce more than there is of %s are refused at once', (_name, bytes) => {
    const codec = new ValueCodec([], noted);
    expect(() => decoded(codec, bytes)).toThrow(KvEncodingError);
    expect(roundTrip('fine', codec)).toBe('fine');
  });
});
