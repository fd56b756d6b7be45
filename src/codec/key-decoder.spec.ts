import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { anyKey, textKey } from '../../test/support/keys.js';
import { KvEncodingError } from '../errors.js';
import { MAX_KEY_BYTES, MAX_KEY_DEPTH } from '../limits.js';
import { KeyCodec, type KvKey } from './key-codec.js';
import { decodeKey, namespaceOf } from './key-decoder.js';

const codec = new KeyCodec();

function encode(key: KvKey, namespace = 0): Buffer {
  const { bytes, length } = codec.encode(namespace, key);
  return Buffer.from(bytes.subarray(0, length));
}

const decode = (bytes: Uint8Array): KvKey => decodeKey(bytes, 0, bytes.length);
const fromHex = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const throughBytes = (key: KvKey): KvKey => decode(encode(key));

/** The form of a key in which it comes back. */
function canonical(key: KvKey): KvKey {
  if (typeof key !== 'object') return key === 0 ? 0 : key;
  if (key instanceof Uint8Array) return Uint8Array.from(key);
  if (Array.isArray(key)) return key.map(canonical);
  const fields: Record<string, KvKey> = {};
  for (const [name, value] of Object.entries(key)) {
    Object.defineProperty(fields, name, {
      value: canonical(value),
      writable: true,
      enumerable: true,
      configurable: true,
    });
  }
  return fields;
}

/** Whether the bytes are those of a key; anything but a key or a `KvEncodingError` fails the test. */
function decodes(bytes: Uint8Array): boolean {
  let key: KvKey;
  try {
    key = decode(bytes);
  } catch (error) {
    if (error instanceof KvEncodingError) return false;
    throw error;
  }
  if (!encode(key, namespaceOf(bytes, 0)).equals(bytes)) {
    throw new Error(`not canonical: ${Buffer.from(bytes).toString('hex')}`);
  }
  return true;
}

describe('the way back', () => {
  it('has the canonical key, whose bytes are the same', () => {
    fc.assert(
      fc.property(anyKey, (key) => {
        const bytes = encode(key);
        const decoded = decode(bytes);
        return isDeepStrictEqual(decoded, canonical(key)) && encode(decoded).equals(bytes);
      }),
      { numRuns: 5000 },
    );
  });

  it('has any string, alone and nested', () => {
    const string = fc.oneof(
      textKey,
      fc.string({ unit: 'binary' }),
      fc.array(fc.integer({ min: 0, max: 0xffff })).map((codes) => String.fromCharCode(...codes)),
    );
    fc.assert(
      fc.property(
        string,
        (text) => throughBytes(text) === text && (throughBytes([text]) as [string])[0] === text,
      ),
      { numRuns: 2000 },
    );
  });

  it('has any number', () => {
    fc.assert(
      fc.property(fc.double(), (number) => Object.is(throughBytes(number), number === 0 ? 0 : number)),
    );
    for (const number of [
      NaN,
      Infinity,
      -Infinity,
      0,
      Number.MAX_VALUE,
      -Number.MAX_VALUE,
      5e-324,
      -5e-324,
    ]) {
      expect(throughBytes(number)).toBe(number);
    }
    expect(throughBytes(-0)).toBe(0);
  });

  it('has any bigint', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 1n - 2n ** 1008n, max: 2n ** 1008n - 1n }), (n) => throughBytes(n) === n),
    );
    for (let bits = 0n; bits < 1008n; bits += 8n) {
      for (const n of [2n ** bits, 2n ** bits - 1n, -(2n ** bits), 1n - 2n ** bits])
        expect(throughBytes(n)).toBe(n);
    }
  });

  it('has any bytes, as a plain Uint8Array of its own', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) =>
        isDeepStrictEqual([throughBytes(bytes), throughBytes([bytes])], [bytes, [bytes]]),
      ),
    );
    for (const key of [Buffer.from('ab\0c'), [Buffer.from('ab\0c')]]) {
      const bytes = encode(key);
      const decoded = [decode(bytes)].flat()[0] as Uint8Array;
      bytes.fill(0);
      encode('overwrites what is shared');
      throughBytes([Uint8Array.of(7, 7, 7, 7)]);
      expect(Object.getPrototypeOf(decoded)).toBe(Uint8Array.prototype);
      expect(decoded).toEqual(Uint8Array.of(97, 98, 0, 99));
      expect(decoded.buffer.byteLength).toBe(4);
    }
  });

  it('has objects with their fields in order', () => {
    expect(Object.keys(throughBytes({ b: 1, '': 2, a: 3, '😀': 4, '\uffff': 5 }))).toEqual([
      '',
      'a',
      'b',
      '😀',
      '\uffff',
    ]);
    const bare = Object.assign(Object.create(null) as object, { a: 1 }) as KvKey;
    expect(Object.getPrototypeOf(throughBytes(bare))).toBe(Object.prototype);
  });

  it('has fields by the names that the prototype has, too', () => {
    const key = JSON.parse('{"__proto__": {"admin": true}, "constructor": 1, "toString": [2]}') as KvKey;
    const decoded = throughBytes(key) as Record<string, KvKey>;
    expect(Object.getPrototypeOf(decoded)).toBe(Object.prototype);
    expect('admin' in decoded).toBe(false);
    expect(Object.getOwnPropertyDescriptor(decoded, '__proto__')).toEqual({
      value: { admin: true },
      writable: true,
      enumerable: true,
      configurable: true,
    });
    expect(isDeepStrictEqual(decoded, key)).toBe(true);
    expect('admin' in {}).toBe(false);
  });

  it('has the longest and the deepest keys', () => {
    const longest: KvKey[] = [
      'x'.repeat(MAX_KEY_BYTES - 2),
      '😀'.repeat((MAX_KEY_BYTES - 4) / 4),
      new Uint8Array(MAX_KEY_BYTES - 2),
      ['x'.repeat(MAX_KEY_BYTES - 5)],
      ['\0'.repeat((MAX_KEY_BYTES - 6) / 2)],
      [new Uint8Array((MAX_KEY_BYTES - 6) / 2)],
      Array<boolean>(MAX_KEY_BYTES - 3).fill(true),
    ];
    for (const key of longest) expect(isDeepStrictEqual(throughBytes(key), key)).toBe(true);
    for (const innermost of ['a', 1, 1n, true]) {
      let array: KvKey = innermost;
      let object: KvKey = innermost;
      for (let depth = 0; depth < MAX_KEY_DEPTH; depth++) {
        array = [array];
        object = { a: object };
      }
      expect(isDeepStrictEqual(throughBytes(array), array)).toBe(true);
      expect(isDeepStrictEqual(throughBytes(object), object)).toBe(true);
    }
  });
});

describe('namespaces', () => {
  it.each([0, 1, 127, 128, 255, 256, 32767])(
    'number %i is found and skipped, anywhere in a buffer',
    (namespace) => {
      for (const key of ['a', '', 1, ['a', Uint8Array.of(0)], Uint8Array.of(0xff)]) {
        const bytes = encode(key, namespace);
        const around = Buffer.concat([Buffer.alloc(3, 0xff), bytes, Buffer.alloc(3, 0xff)]);
        for (const whole of [around, new Uint8Array(around)]) {
          expect(namespaceOf(whole, 3)).toBe(namespace);
          expect(decodeKey(whole, 3, 3 + bytes.length)).toEqual(key);
        }
      }
    },
  );
});

describe('bytes that are no key', () => {
  const nested = (tag: string, depth: number, inner: string, name = ''): string =>
    `00${`${tag}${name}`.repeat(depth)}${inner}${'00'.repeat(depth)}`;

  it.each([
    ['nothing', ''],
    ['a namespace alone', '00'],
    ['half a namespace', '80'],
    ['a long namespace alone', '8080'],
    ['a short namespace in two bytes', '807f 05'],
    ['an unknown tag', '0007'],
    ['an end', '0000'],
    ['something behind a boolean', '000505'],
    ['something behind an array', '00200000'],
    ['a number cut short', '0008bff00000000000'],
    ['-0', '00087fffffffffffffff'],
    ['another NaN', '0008fff8000000000001'],
    ['a negative NaN', '00080007ffffffffffff'],
    ['a bigint without a length', '000a'],
    ['a bigint cut short', '000a820100'.slice(0, -2)],
    ['a bigint with a leading zero', '000a820001'],
    ['a negative bigint with a leading zero', '000a7dfffe'],
    ['a negative 0n', '000a7f'],
    ['a bigint that is too long', `000aff${'01'.repeat(127)}`],
    ['a negative bigint that is too long', `000a00${'01'.repeat(127)}`],
    ['a continuation byte first', '001080'],
    ['an overlong zero', '0010c080'],
    ['an overlong character of three bytes', '0010e08080'],
    ['an overlong character of four bytes', '0010f0808080'],
    ['a code point that is too high', '0010f4908080'],
    ['a lead byte that is none', '0010f8908080'],
    ['0xff in a string', '0010ff'],
    ['a character cut short', '0010e282'],
    ['a character cut short by ASCII', '0010e28261'],
    ['a pair of surrogates as six bytes', '0010eda0bdedb880'],
    ['a nested string without an end', '00201061'],
    ['a nested string that ends in a character', '002010c3a9'],
    ['a nested string that ends in an escape', '00201000ff'],
    ['a nested byte array without an end', '00201101'],
    ['a nested byte array that ends in an escape', '00201100ff'],
    ['an array without an end', '002005'],
    ['an object without an end', '0021'],
    ['an object that ends behind a name', '0021106100'],
    ['a field without a value', '002110610000'],
    ['a field whose name is no string', '0021050500'],
    ['fields out of order', '0021 106200 05 106100 05 00'],
    ['a field twice', '0021 106100 05 106100 05 00'],
    ['an array that is too deep', nested('20', MAX_KEY_DEPTH + 1, '05')],
    ['an object that is too deep', nested('21', MAX_KEY_DEPTH + 1, '05', '106100')],
    ['a byte array that is too deep', nested('20', MAX_KEY_DEPTH, '110100')],
    ['arrays that only open', `00${'20'.repeat(MAX_KEY_BYTES - 1)}`],
    ['a key that is too long', `0010${'61'.repeat(MAX_KEY_BYTES - 1)}`],
  ])('%s', (_name, hex) => {
    expect(() => decode(fromHex(hex))).toThrow(KvEncodingError);
  });

  it('are not looked for outside of the range', () => {
    const bytes = encode(['a', 1, 5n, 'é']);
    for (let to = 0; to < bytes.length; to++) {
      expect(() => decodeKey(bytes, 0, to)).toThrow(KvEncodingError);
    }
    const word = encode('word', 0x10); // The number is a tag as well.
    expect(() => decodeKey(word, 0, word.length + 1)).toThrow(KvEncodingError);
    expect(() => decodeKey(word, -1, word.length)).toThrow(KvEncodingError);
    expect(() => decodeKey(word, word.length, 0)).toThrow(KvEncodingError);
  });

  it('do not end up in the message', () => {
    expect(() => decode(Buffer.concat([encode(['secret']), Buffer.of(1)]))).toThrow(
      /^(?!.*secret).*bytes behind its end/,
    );
  });

  it('are told from keys: what decodes is canonical, and all else is a KvEncodingError', () => {
    const edit = fc.record({
      at: fc.nat({ max: 1000 }),
      cut: fc.nat({ max: 2 }),
      put: fc.array(
        fc.oneof(
          fc.constantFrom(0, 5, 8, 0x0a, 0x10, 0x11, 0x20, 0x21, 0x61, 0x80, 0xc3, 0xed, 0xf0, 0xff),
          fc.nat({ max: 255 }),
        ),
        { maxLength: 2 },
      ),
    });
    const count = { true: 0, false: 0 };
    fc.assert(
      fc.property(anyKey, fc.array(edit, { minLength: 1, maxLength: 3 }), (key, edits) => {
        const bytes = [...encode(key)];
        for (const { at, cut, put } of edits) bytes.splice(at % (bytes.length + 1), cut, ...put);
        count[`${decodes(Uint8Array.from(bytes))}`]++;
      }),
      { numRuns: 20_000 },
    );
    // The mutants are of use only if many are keys, and many are not.
    expect(Math.min(count.true, count.false)).toBeGreaterThan(1000);
  });

  it('are told from keys when they are nothing but random', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => void decodes(bytes)),
      { numRuns: 5000 },
    );
    const tags = fc.array(fc.constantFrom(0, 0, 5, 0x10, 0x11, 0x20, 0x21, 0x61, 0xff), { maxLength: 20 });
    fc.assert(
      fc.property(tags, (bytes) => void decodes(Uint8Array.of(0, ...bytes))),
      { numRuns: 10_000 },
    );
  });
});
