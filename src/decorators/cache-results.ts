/**
 * What `@Cached` and `@CachePut` keep of a result, and how: the options that both have, and instances of classes, which
 * the store carries as plain objects.
 */
import { KvOptionsError } from '../errors.js';
import {
  CachePlan,
  checkCacheOptions,
  type CacheHooks,
  type KvGetOrSetOptions,
} from '../store/cache-options.js';
import type { KvDuration } from '../store/options.js';
import { TIMEOUT_MS, type DecoratedMethod, type OfResult } from './decorated-method.js';
import { warnOnce } from './cached-stats.js';
import { isInstance, isStream, type AnyMethod } from './result-kind.js';

/** A class whose instances a method returns. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type KvResultType = abstract new (...args: any[]) => object;

/** How results are kept. */
export interface KvResultOptions {
  /**
   * How long a result is kept: milliseconds, or text like `'5m'`, or a function of result and arguments; 0 or less from a
   * function keeps nothing. Default: the default of the namespace, if `KvModule.forFeature` declared one, else for ever.
   */
  ttl?: KvDuration | OfResult<KvDuration | undefined>;
  /** Names to drop results by (`@CacheEvict`, `invalidateTags`), or a function of result and arguments. */
  tags?: readonly string[] | OfResult<readonly string[]>;
  /** For so long behind its ttl a result is answered at once while the method runs in the background. */
  staleWhileRevalidate?: KvDuration;
  /** For so long behind its ttl a result is answered if the method fails. */
  staleIfError?: KvDuration;
  /** By up to this share of itself a ttl is shortened by chance, so that not all results expire at once: 0 (default) to 1. */
  jitter?: number;
  /**
   * Whether `undefined` is a result worth keeping. Default `false`. `null` always is. A plain method whose declared type
   * does not tell that it is one (`User | undefined`) has to return something else first: until then it could be one that
   * returns promises.
   */
  cacheUndefined?: boolean;
  /** Raise it when a deploy changes the shape of the result: what was kept with another one is not used. Default 0. */
  version?: number;
  /**
   * Class of the result, or of the elements of a list: what comes from the store is an instance of it again, with the
   * fields as they were; its constructor is not called. For classes without private `#fields`: those are not stored, and a
   * `TypeError` is thrown where the instance reads them.
   */
  type?: KvResultType;
  /** Runs the method if the store has not answered after so long. Default `'1s'`. */
  timeout?: KvDuration;
}

export const RESULT_OPTIONS = [
  ...['ttl', 'tags', 'staleWhileRevalidate', 'staleIfError', 'jitter', 'cacheUndefined', 'version', 'type'],
  'timeout',
];

export class ResultPlan {
  readonly type: KvResultType | undefined;
  readonly version: number;
  private readonly plan: CachePlan;
  private readonly ttl: AnyMethod | undefined;
  private readonly tags: AnyMethod | undefined;

  constructor(
    options: KvResultOptions,
    onError: NonNullable<KvGetOrSetOptions['onError']>,
    hooks?: CacheHooks,
  ) {
    const { ttl, tags, timeout = TIMEOUT_MS, type, ...others } = picked(options);
    this.type = type;
    this.ttl = typeof ttl === 'function' ? ttl : undefined;
    this.tags = typeof tags === 'function' ? tags : undefined;
    this.plan = CachePlan.from({ ...others, ttl, tags, timeout, onError } as KvGetOrSetOptions, hooks);
    this.version = this.plan.version;
  }

  /** For one call: ttl and tags may be functions of its arguments. */
  of(instance: unknown, args: unknown[]): CachePlan {
    const { plan, tags, ttl } = this;
    if (!ttl && !tags) return plan;
    return plan.withResults(
      ttl && ((result) => ttl.apply(instance, [result, ...args]) as KvDuration | undefined),
      tags && ((result) => tags.apply(instance, [result, ...args]) as readonly string[]),
    );
  }

  /** What the store has, as the method returned it. */
  revived(found: unknown): unknown {
    const { type } = this;
    if (!type) return found;
    return Array.isArray(found) ? found.map((element) => revive(element, type)) : revive(found, type);
  }

  /** Whether something can be kept as a result of a method; says why not, or what becomes of it. */
  keeps(result: unknown, method: DecoratedMethod, refuse: (reason: string) => void): boolean {
    if (isStream(result)) return false;
    if (!isInstance(result) || (this.type && result instanceof this.type)) return true;
    const name = result.constructor?.name || 'a class';
    if (Object.keys(result).length === 0 && typeof (result as { toJSON?: unknown }).toJSON !== 'function') {
      refuse(`it returned an instance of ${name}, whose state cannot be seen from outside`);
      return false;
    }
    warnOnce(
      method,
      `${method.label} returned an instance of ${name}. What is answered from the store is a plain object with its fields: its ` +
        `methods, and decorators such as @Exclude(), are gone. The option \`type\` brings them back.`,
    );
    return true;
  }
}

/** Reports what is wrong with these options. */
export function checkResultOptions(
  options: KvResultOptions,
  report: (option: string, problem: string) => void,
): void {
  const { type, ...others } = picked(options);
  try {
    checkCacheOptions(others);
  } catch (error) {
    if (!(error instanceof KvOptionsError)) throw error;
    for (const { path, problem } of error.problems) report(path, problem);
  }
  const prototype: unknown = (type as { prototype?: unknown } | undefined)?.prototype;
  if (type !== undefined && (typeof type !== 'function' || typeof prototype !== 'object'))
    report('type', 'must be a class');
}

/** These options among others, those left out that are `undefined`. */
function picked(options: KvResultOptions): KvResultOptions {
  const entries = Object.entries(options).filter(
    ([name, value]) => RESULT_OPTIONS.includes(name) && value !== undefined,
  );
  return Object.fromEntries(entries);
}

function revive(value: unknown, type: KvResultType): unknown {
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype)
    return value;
  // Not assigned: accessors of the class must not run.
  return Object.create(type.prototype as object, Object.getOwnPropertyDescriptors(value)) as unknown;
}
