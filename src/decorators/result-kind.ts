/**
 * What kind of thing a method returns: a promise, an Observable, a plain value, or something that can be read only once.
 * Its declared type tells where TypeScript wrote it down, otherwise what comes back does.
 */
import { Observable } from 'rxjs';

export type AnyMethod = (this: unknown, ...args: unknown[]) => unknown;

/** `many`: streams and Observables with several values; not cached. */
export type Kind = 'promise' | 'observable' | 'plain' | 'many' | undefined;

const plainTypes = new Set<unknown>([
  String,
  Number,
  Boolean,
  BigInt,
  Array,
  Date,
  Map,
  Set,
  Uint8Array,
  Buffer,
]);

/** What `design:returntype` or the function itself tells; `undefined` when only a run can. */
export function kindOfType(type: unknown, original: AnyMethod): Kind {
  const name = original.constructor.name;
  if (name === 'GeneratorFunction' || name === 'AsyncGeneratorFunction') return 'many';
  if (name === 'AsyncFunction') return 'promise';
  if (typeof type !== 'function') return undefined;
  if (type === Promise || type.prototype instanceof Promise) return 'promise';
  if (type === Observable || type.prototype instanceof Observable) return 'observable';
  return plainTypes.has(type) ? 'plain' : undefined;
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';
}

/** What can be read only once: Node and web streams, iterators, Nest's StreamableFile, and an inner Observable. */
export function isStream(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { pipe, getReader, getStream, next } = value as Record<string, unknown>;
  if ([pipe, getReader, getStream, next].some((method) => typeof method === 'function')) return true;
  return Symbol.asyncIterator in value;
}

/** Whether a value is of a class that the store does not know by itself. */
export function isInstance(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return false;
  const known = [Date, Map, Set, RegExp, Error, ArrayBuffer].some((type) => value instanceof type);
  return !known && !ArrayBuffer.isView(value);
}
