/**
 * Values to bytes and back: msgpackr with shared record structures, which keep the field names of objects out of the
 * records. A structure must be durable before a record that needs it; the codec hands each new one to `onStructures`
 * before the bytes are used. What msgpackr would drop or rename without a word (functions, symbols, promises,
 * `__proto__` fields, lone surrogates) is refused here. Not so fields that have symbols as names, and those of an array
 * beside its elements: they are left out, because asking for them would be one more call for every object.
 */
import { KvEncodingError, KvError } from '../errors.js';
import { MAX_VALUE_DEPTH } from '../limits.js';
import { Packr, RESET_BUFFER_MODE, REUSE_BUFFER_MODE } from './msgpackr.js';

/** The field names of one shape of objects, in order. */
export type ValueStructure = string[];

/** A buffer that a large value has made msgpackr allocate is not kept beyond this size. */
const MAX_KEPT_BUFFER_BYTES = 1024 * 1024;
const FRESH_BUFFER_BYTES = 8192;

/** msgpackr's documented most with one-byte record ids. */
const MAX_SHARED_STRUCTURES = 32;

/** What msgpackr carries; it knows them by their names, and writes a subclass in a way that it cannot read. */
const VIEWS = new Set([
  ...[
    'Int8Array',
    'Uint8Array',
    'Uint8ClampedArray',
    'Int16Array',
    'Uint16Array',
    'Int32Array',
    'Uint32Array',
  ],
  ...['Float32Array', 'Float64Array', 'BigInt64Array', 'BigUint64Array', 'Buffer', 'DataView'],
]);

/** What msgpackr carries of an error, and what every error has. */
const ERROR_FIELDS = new Set(['name', 'message', 'cause', 'stack']);

type PackedBuffer = Uint8Array & { start?: number; end?: number };

/** How many values are being packed within each other, of all stores: msgpackr has one buffer for all. */
let packing = 0;

export class ValueCodec {
  /** The bytes of the value encoded last: `bytes[start, end)`, until the next call of `encode`. */
  bytes: Uint8Array = new Uint8Array(0);
  start = 0;
  end = 0;
  private readonly packr: Packr;
  private readonly range = { start: 0, end: 0 };
  private known: number;

  /**
   * @param structures what earlier lives of the store have saved, in order
   * @param onStructures makes new structures durable, or throws
   */
  constructor(structures: ValueStructure[], onStructures: (added: ValueStructure[]) => void) {
    this.known = structures.length;
    this.packr = new Packr({
      structures: structures.map((fields) => [...fields]),
      maxSharedStructures: MAX_SHARED_STRUCTURES,
      saveStructures: (all: ValueStructure[]) => {
        const added = all.slice(this.known, MAX_SHARED_STRUCTURES).map((s) => [...s]);
        onStructures(added);
        this.known += added.length;
      },
      moreTypes: true,
      copyBuffers: true,
    });
    this.packr.useBuffer(freshBuffer());
  }

  /**
   * Encodes a value into `bytes[start, end)`.
   * @param orUndefined whether `undefined` is a value, too
   * @throws KvEncodingError for what cannot be carried without loss
   */
  encode(value: unknown, orUndefined = false): void {
    if (value !== undefined || !orUndefined) checkValue(value, 0);
    // Not for a value that a toJSON of another one encodes: the buffer holds what there is of that one.
    if (packing === 0 && this.bytes.length > MAX_KEPT_BUFFER_BYTES) this.packr.useBuffer(freshBuffer());
    let packed: PackedBuffer;
    packing++;
    try {
      packed = this.packr.pack(value, REUSE_BUFFER_MODE | RESET_BUFFER_MODE);
    } catch (error) {
      if (error instanceof KvError) throw error;
      throw new KvEncodingError(`The value cannot be encoded: ${reason(error)}`, { cause: error });
    } finally {
      packing--;
    }
    this.bytes = packed;
    if (packed.end === undefined) {
      this.start = 0;
      this.end = packed.length;
    } else {
      this.start = packed.start as number;
      this.end = packed.end;
    }
  }

  /** A copy of the value encoded last, for whoever has to wait before it is written. Its buffer ends with a whole word. */
  copy(): Uint8Array {
    const length = this.end - this.start;
    const copy = new Uint8Array(new ArrayBuffer((length + 3) & ~3), 0, length);
    copy.set(this.bytes.subarray(this.start, this.end));
    return copy;
  }

  /**
   * Decodes `bytes[start, end)` into a value that shares nothing with the bytes.
   * @throws KvEncodingError for bytes that `encode` has not written
   */
  decode(bytes: Uint8Array, start: number, end: number): unknown {
    this.range.start = start;
    this.range.end = end;
    try {
      return this.packr.unpack(bytes, this.range);
    } catch {
      // Without what msgpackr says of it: that has the beginning of the value in it.
      throw new KvEncodingError(
        'A stored value cannot be decoded, although its checksum is right. Please report this, with what kind of value it is.',
      );
    }
  }
}

/** Zeroed, because up to three bytes behind a value go to disk with it: not what this memory was used for before. */
function freshBuffer(): Buffer {
  return Buffer.alloc(FRESH_BUFFER_BYTES);
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Hot path (`npm run bench`, load): one walk over the value before it is packed. */
function checkValue(value: unknown, depth: number): void {
  switch (typeof value) {
    case 'string':
      if (!value.isWellFormed()) refuse('a string with a lone surrogate (use a byte array)');
      return;
    case 'object':
      if (value !== null) checkObject(value, depth);
      return;
    case 'function':
      refuse('a function');
      return;
    case 'symbol':
      refuse('a symbol');
      return;
    case 'undefined':
      if (depth === 0) refuse('undefined (delete the key instead, or store null)');
  }
}

function checkObject(value: object, depth: number): void {
  if (depth >= MAX_VALUE_DEPTH)
    refuse(`something nested deeper than ${MAX_VALUE_DEPTH} levels, or something that contains itself`);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) checkValue(value[i], depth + 1);
      return;
    }
    // msgpackr knows a Map by its constructor, and would store nothing of a subclass.
    if (value instanceof Map && value.constructor === Map) {
      for (const [key, entry] of value) {
        checkValue(key, depth + 1);
        checkValue(entry, depth + 1);
      }
      return;
    }
    if (value instanceof Set) {
      for (const entry of value) checkValue(entry, depth + 1);
      return;
    }
    if (ArrayBuffer.isView(value)) {
      if (!VIEWS.has(value.constructor.name)) refuse('an instance of a subclass of a typed array');
      return;
    }
    if (value instanceof ArrayBuffer || value instanceof Date) return;
    if (value instanceof RegExp) return;
    const { toJSON } = value as { toJSON?: () => unknown };
    // msgpackr asks for the toJSON of subclasses alone.
    if (value instanceof Error && (typeof toJSON !== 'function' || value.constructor === Error)) {
      checkError(value, depth);
      return;
    }
    if (typeof (value as PromiseLike<unknown>).then === 'function') refuse('a promise (await it first)');
    if (value instanceof WeakMap || value instanceof WeakSet || value instanceof WeakRef)
      refuse('a weak collection');
    if (typeof toJSON === 'function') {
      const json = toJSON.call(value);
      if (json === undefined && depth === 0) refuse('an instance whose toJSON returns undefined');
      checkValue(json, depth + 1);
      return;
    }
    // Its state is private, or it has none: either way it would come back as {}.
    if (Object.keys(value).length === 0 && !isOfPlainObjects(prototype as object))
      refuse('an instance of a class that shows no fields (give it a toJSON)');
    // Boxed values, iterators, headers: what keeps its content elsewhere than in fields would come back empty.
    const kind = Object.prototype.toString.call(value).slice(8, -1);
    if (kind !== 'Object') refuse(`an instance of ${kind}, or of a class made of it`);
  }
  for (const field in value) {
    // One that msgpackr would rename, and one that it uses for its own bookkeeping.
    if (field === '__proto__' || field === '__keys__') refuse(`an object with a field "${field}"`);
    if (!field.isWellFormed()) refuse('a field name with a lone surrogate');
    checkValue((value as Record<string, unknown>)[field], depth + 1);
  }
}

/** Whether it is the `Object.prototype` of another realm: Jest and `node:vm` give one to what they run. */
function isOfPlainObjects(prototype: object): boolean {
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, 'isPrototypeOf');
}

function checkError(error: Error, depth: number): void {
  const { name, message, cause } = error;
  if (error instanceof AggregateError || name === 'AggregateError') refuse('an error made of several');
  if (typeof name !== 'string' || typeof message !== 'string')
    refuse('an error whose name or message is no text');
  if (Object.keys(error).some((field) => !ERROR_FIELDS.has(field)))
    refuse('an error with more fields than name, message and cause (give its class a toJSON)');
  checkValue(name, depth + 1);
  checkValue(message, depth + 1);
  checkValue(cause, depth + 1);
}

function refuse(what: string): never {
  throw new KvEncodingError(
    `The value is or contains ${what}. Values are plain data, Date, Map, Set, bigint, byte and typed arrays, and null.`,
  );
}
