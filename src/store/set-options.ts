/** The options of a single `set`, and their check. */
import { KvOptionsError } from '../errors.js';
import { isObject, notAnObject, unknownOption } from './option-problems.js';
import { parseTtl, type KvDuration } from './options.js';
import { checkTags } from './tags.js';

/** How long an entry lives. */
export interface KvTtlOptions {
  /** Milliseconds, or text like `'5m'`; `Infinity` for no expiry where the namespace has a default. */
  ttl?: KvDuration;
}

/** What an entry is set with. */
export interface KvEntryOptions extends KvTtlOptions {
  /**
   * Names under which the entry can be dropped together with others, by `invalidateTags`: up to 64, of 1 to 512 bytes.
   * They are kept by `update`, `increment` and `touch`; another `set` replaces them.
   */
  tags?: readonly string[];
}

export interface KvSetOptions extends KvEntryOptions {
  /** Set only if the entry has this version now; `null`: only if there is none. */
  ifVersion?: number | null;
  /** Set only if the key is present. */
  ifPresent?: boolean;
  /** Keep the expiry that the entry has; a new entry gets `ttl`. */
  keepTtl?: boolean;
}

const TTL_OPTIONS = ['ttl'];
const ENTRY_OPTIONS = [...TTL_OPTIONS, 'tags'];
const SET_OPTIONS = [...ENTRY_OPTIONS, 'ifVersion', 'ifPresent', 'keepTtl'];

export interface KvDeleteOptions {
  /** Delete only if the entry has this version now. */
  ifVersion?: number;
}

const DELETE_OPTIONS = ['ifVersion'];

/** A misspelt `ttl` would be an entry that never expires. @throws KvOptionsError */
export function checkSetOptions(options: KvSetOptions): void {
  checkNames(options, SET_OPTIONS, "{ ttl: '5m' }");
  if (options.tags !== undefined) checkTags(options.tags);
  if ('ifVersion' in options && options.ifVersion !== null) checkVersion(options.ifVersion);
  for (const name of ['ifPresent', 'keepTtl'] as const) {
    if (!['boolean', 'undefined'].includes(typeof options[name]))
      throw new KvOptionsError([{ path: name, problem: 'must be true or false' }]);
  }
}

/** Those of a call that has its own condition: another one would be dropped without a word. @throws KvOptionsError */
export function checkEntryOptions(options: KvEntryOptions): void {
  checkNames(options, ENTRY_OPTIONS, "{ ttl: '5m' }");
  if (options.tags !== undefined) checkTags(options.tags);
}

/** Those of a change of what is there, for the entry that it may make. @throws KvOptionsError */
export function checkTtlOptions(options: KvTtlOptions): void {
  checkNames(options, TTL_OPTIONS, "{ ttl: '1m' }");
  if (options.ttl !== undefined) parseTtl(options.ttl);
}

/** @throws KvOptionsError */
export function checkDeleteOptions(options: KvDeleteOptions): void {
  checkNames(options, DELETE_OPTIONS, '{ ifVersion: 7 }');
  if ('ifVersion' in options) checkVersion(options.ifVersion);
}

/** `undefined` as well: a condition that is dropped without a word would let somebody's write be lost. */
function checkVersion(version: unknown): void {
  if (Number.isSafeInteger(version)) return;
  const problem = 'must be a version; null for an entry that must not be there (set only), or left out';
  throw new KvOptionsError([{ path: 'ifVersion', problem }]);
}

/** Whether the version that is there (`undefined`: none) is not the one that was asked for. */
export function isOtherVersion(expected: number | null | undefined, actual: number | undefined): boolean {
  return expected !== undefined && (actual ?? null) !== expected;
}

/**
 * @param example options that are right, for whoever gave something else
 * @throws KvOptionsError when there are options of other names
 */
export function checkNames(options: object, names: readonly string[], example: string): void {
  if (!isObject(options))
    throw new KvOptionsError([{ path: 'options', problem: notAnObject(options, example) }]);
  const problems = Object.keys(options)
    .filter((name) => !names.includes(name))
    .map((path) => ({ path, problem: unknownOption(path, names) }));
  if (problems.length > 0) throw new KvOptionsError(problems);
}

/** @throws KvOptionsError */
export function checkIterable(path: string, argument: unknown): void {
  const isIterable =
    typeof (argument as Iterable<unknown> | null | undefined)?.[Symbol.iterator] === 'function';
  if (!isIterable || typeof argument === 'string')
    throw new KvOptionsError([
      { path, problem: 'must be an array, a Map, or something else to iterate over' },
    ]);
}

/** @throws KvOptionsError */
export function checkFunction(path: string, argument: unknown): void {
  if (typeof argument !== 'function') throw new KvOptionsError([{ path, problem: 'must be a function' }]);
}

/** @throws KvOptionsError */
export function checkPair(entry: unknown): void {
  if (!Array.isArray(entry))
    throw new KvOptionsError([{ path: 'entries', problem: 'must consist of pairs of key and value' }]);
}

/** Whether a set has to look at the entry before. */
export function isConditional({ ifVersion, ifPresent, keepTtl }: KvSetOptions): boolean {
  return ifVersion !== undefined || ifPresent === true || keepTtl === true;
}
