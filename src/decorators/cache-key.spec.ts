import { transformSync as swc } from '@swc/core';
import { transformSync as esbuild } from 'esbuild';
import { runInThisContext } from 'node:vm';
import ts from 'typescript';
import { KeyCodec } from '../codec/key-codec.js';
import { canonicalKey } from './cache-key.js';

const codec = new KeyCodec();

/** The bytes of the key: what the store goes by. */
function bytesOf(...args: unknown[]): string {
  const { bytes, length } = codec.encode(0, canonicalKey(args));
  return Buffer.from(bytes.subarray(0, length)).toString('hex');
}

class Point {
  constructor(
    public x: number,
    public y: number,
  ) {}
}
class Size {
  constructor(
    public x: number,
    public y: number,
  ) {}
}
class Secret {
  readonly #pin: number;
  label = 'same';
  constructor(pin: number) {
    this.#pin = pin;
  }
  check(pin: number) {
    return this.#pin === pin;
  }
}
class Money {
  readonly #cents: number;
  constructor(cents: number) {
    this.#cents = cents;
  }
  toJSON() {
    return `${this.#cents} ct`;
  }
}

describe('canonicalKey', () => {
  it('gives every distinguishable list of arguments a key of its own', () => {
    const calls: unknown[][] = [
      [],
      [undefined],
      [null],
      [undefined, undefined],
      [0],
      ['0'],
      [0n],
      [false],
      [''],
      [[]],
      [{}],
      [[undefined]],
      [[null]],
      ['undefined'],
      [{ a: undefined }],
      [{ a: null }],
      [new Date(0)],
      [new Date(NaN)],
      [new Date(0).toISOString()],
      [{ '': ['Date', 0] }],
      [{ '': ['undefined'] }],
      [{ '': ['object', { '': ['undefined'] }] }],
      [new Map([['a', 1]])],
      [[['a', 1]]],
      [new Set(['a'])],
      [['a']],
      [new Map()],
      [new Set()],
      [/a/],
      [/a/g],
      [new Point(1, 2)],
      [new Size(1, 2)],
      [{ x: 1, y: 2 }],
      [new Money(1)],
      [new Money(2)],
      ['1 ct'],
      [new URL('http://a/')],
      [new URL('http://b/')],
      [new Uint8Array([1])],
      [new Uint16Array([1])],
      [new Uint8Array([1, 0])],
      [new Uint8Array([1, 0]).buffer],
      ['a', 'b'],
      [['a', 'b']],
      ['ab'],
      [NaN],
      [Infinity],
    ];
    const keys = calls.map((args) => bytesOf(...args));
    expect(new Set(keys).size).toBe(calls.length);
  });

  it('gives equal arguments one key', () => {
    expect(bytesOf({ a: 1, b: [new Date(5)] })).toBe(bytesOf({ b: [new Date(5)], a: 1 }));
    expect(bytesOf(new Map([[{ a: 1 }, null]]))).toBe(bytesOf(new Map([[{ a: 1 }, null]])));
    expect(bytesOf(new Point(1, 2))).toBe(bytesOf(new Point(1, 2)));
    expect(bytesOf(NaN)).toBe(bytesOf(NaN));
    expect(bytesOf(Object.create(null))).toBe(bytesOf({}));
  });

  it.each([
    ['a function', () => 1, 'function'],
    ['a symbol', Symbol('s'), 'symbol'],
    ['a promise', Promise.resolve(), 'cannot be seen'],
    ['private fields', new Secret(1), 'cannot be seen'],
    ['an object with a method in it', { run: () => 1 }, 'function'],
    ['symbol fields', { [Symbol('s')]: 1 }, 'symbol fields'],
  ])('refuses %s, and says which argument it is', (_, value, reason) => {
    expect(() => canonicalKey([1, value])).toThrow(`argument 2 has no canonical key`);
    expect(() => canonicalKey([1, value])).toThrow(reason);
  });

  it.each<[string, (code: string) => string]>([
    ['swc', (code) => swc(code, { isModule: false, jsc: { target: 'es2021' } }).code],
    ['esbuild', (code) => esbuild(code, { target: 'es2021' }).code],
    [
      'TypeScript',
      (code) => ts.transpileModule(code, { compilerOptions: { target: ts.ScriptTarget.ES2021 } }).outputText,
    ],
  ])('refuses private fields that %s has compiled for an old target', (_, compile) => {
    const code = compile(`
      class Written { #pin; label = 1; constructor(pin) { this.#pin = pin; } check(pin) { return this.#pin === pin; } }
      class Made { #pin = Math.random(); label = 1; get pin() { return this.#pin; } }
      class Inherited extends Made { more = 1; }
      class Open { label = 1; get pin() { return this.label; } }`);
    expect(code).not.toMatch(/#pin/);
    const [open, ...secret] = runInThisContext(
      `{ ${code}; [new Open(), new Written(1), new Made(), new Inherited()] }`,
    );
    for (const instance of secret) expect(() => canonicalKey([instance])).toThrow('cannot be seen');
    expect(bytesOf(open)).toBe(bytesOf(open));
  });

  it('refuses what contains itself, or is a large graph', () => {
    const loop: Record<string, unknown> = {};
    loop.self = loop;
    expect(() => canonicalKey([loop])).toThrow('deeper');
    expect(() => canonicalKey([Array.from({ length: 10_000 }, () => [])])).toThrow('more than 4096');
  });
});
