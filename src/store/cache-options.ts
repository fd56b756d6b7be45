/** The options of `getOrSet`, their check, and what they come to. */
import { KvOptionsError, type KvOptionProblem } from '../errors.js';
import { MAX_STALE_MS } from '../log/attributes.js';
import { isObject, notAnObject, unknownOption } from './option-problems.js';
import { parseTtl, type KvDuration } from './options.js';
import { checkTags } from './tags.js';

/** What a failure was about that did not fail the call: see `KvGetOrSetOptions.onError`. */
export type KvCacheFailure = 'read' | 'write' | 'refresh';

/** How `getOrSet` keeps a value, and what it may answer instead of a fresh one. */
export interface KvGetOrSetOptions<V = unknown> {
  /**
   * How long a value is kept: milliseconds, or text like `'5m'`, or a function of the value; 0 or less from a function keeps
   * nothing. Without it, or where the function returns `undefined`: the namespace's default, else for ever.
   */
  ttl?: KvDuration | ((value: V) => KvDuration | undefined);
  /** Names to drop the entry by (`invalidateTags`), or a function of the value. */
  tags?: readonly string[] | ((value: V) => readonly string[]);
  /** For so long behind its ttl a value is answered at once while it is made anew in the background. Default: not at all. */
  staleWhileRevalidate?: KvDuration;
  /** For so long behind its ttl a value is answered if making it anew fails. Default: not at all. */
  staleIfError?: KvDuration;
  /** By up to this share of itself a ttl is shortened by chance, so that not all entries expire at once: 0 (default) to 1. */
  jitter?: number;
  /** Whether `undefined` is kept as well, so that what is known to be missing is not looked for again. Default `false`. */
  cacheUndefined?: boolean;
  /**
   * Version of the shape of the value, a whole number, 0 by default: an entry that was kept with another one is not used.
   * Raise it when a deploy changes what the factory returns.
   */
  version?: number;
  /** Runs the factory if the store has not answered after so long. Default: waits. */
  timeout?: KvDuration;
  /**
   * Told when the store cannot be read or written, and nobody waits for a write to be durable: the call gets its value from
   * the factory all the same. Also told of factories that failed behind a stale value. Without it the call rejects in the
   * first two cases, and the store's event `error` tells of the third, as it does of what `onError` throws.
   */
  onError?: (error: unknown, during: KvCacheFailure) => void;
}

const OPTIONS = [
  ...['ttl', 'tags', 'staleWhileRevalidate', 'staleIfError', 'jitter', 'cacheUndefined', 'version'],
  ...['timeout', 'onError'],
];

/** What a caller with a plan of its own hears of, and has a say in. */
export interface CacheHooks {
  /** What became of a call. */
  outcome: (outcome: 'hits' | 'misses' | 'shared') => void;
  /** Whether a result can be given to others who wait for it; if not, they run their own factory. */
  shares: (value: unknown) => boolean;
  /** Whether a result can be kept. */
  keeps: (value: unknown) => boolean;
}

/** Options that were checked. Whoever calls often with the same makes it once, and passes it as the options. */
export class CachePlan implements KvGetOrSetOptions {
  readonly jitter: number;
  readonly cacheUndefined: boolean;
  readonly version: number;
  readonly onError?: NonNullable<KvGetOrSetOptions['onError']>;
  /** Milliseconds behind the expiry; 0 where nothing stale may be answered. */
  readonly revalidateMs: number;
  readonly ifErrorMs: number;
  readonly timeoutMs: number;
  /** Runs are shared only among calls with the same hooks: what others would make under this key may be another thing. */
  readonly hooks: CacheHooks | undefined;

  private constructor(
    fields: Omit<CachePlan, 'ttl' | 'tags' | 'withResults' | 'ttlOf' | 'tagsOf'>,
    /** `NaN` where there is none. */
    readonly ttl: NonNullable<KvGetOrSetOptions['ttl']>,
    readonly tags: NonNullable<KvGetOrSetOptions['tags']>,
  ) {
    this.jitter = fields.jitter;
    this.cacheUndefined = fields.cacheUndefined;
    this.version = fields.version;
    if (fields.onError) this.onError = fields.onError;
    this.revalidateMs = fields.revalidateMs;
    this.ifErrorMs = fields.ifErrorMs;
    this.timeoutMs = fields.timeoutMs;
    this.hooks = fields.hooks;
  }

  /** @throws KvOptionsError with every problem */
  static from(options: KvGetOrSetOptions, hooks?: CacheHooks): CachePlan {
    checkCacheOptions(options);
    const { jitter = 0, cacheUndefined = false, version = 0, onError, tags = [], ttl } = options;
    const duration = (input: KvDuration | undefined, otherwise: number) =>
      input === undefined ? otherwise : parseTtl(input);
    const fields = {
      jitter,
      cacheUndefined,
      version,
      ...(onError && { onError }),
      revalidateMs: duration(options.staleWhileRevalidate, 0),
      ifErrorMs: duration(options.staleIfError, 0),
      timeoutMs: duration(options.timeout, Infinity),
      hooks,
    };
    return new CachePlan(fields, typeof ttl === 'function' ? ttl : duration(ttl, NaN), tags);
  }

  static of(options: KvGetOrSetOptions | undefined): CachePlan {
    if (options instanceof CachePlan) return options;
    return options === undefined ? DEFAULT : CachePlan.from(options);
  }

  /** The same plan with a ttl and tags of its own. Made for each call of some methods, so it is a plain copy. */
  withResults(ttl: KvGetOrSetOptions['ttl'], tags: KvGetOrSetOptions['tags']): CachePlan {
    return new CachePlan(this, ttl ?? this.ttl, tags ?? this.tags);
  }

  /**
   * Milliseconds that a value is kept; `undefined` for the default, 0 or less for not at all.
   * @throws KvOptionsError when the function returned no duration
   */
  ttlOf(value: unknown): number | undefined {
    const { ttl } = this;
    if (typeof ttl === 'number') return Number.isNaN(ttl) ? undefined : ttl;
    const made = (ttl as (value: unknown) => KvDuration | undefined)(value);
    if (made === undefined || (typeof made === 'number' && made <= 0)) return made;
    return parseTtl(made);
  }

  /** @throws KvOptionsError when the function returned no tags */
  tagsOf(value: unknown): readonly string[] {
    const { tags } = this;
    if (typeof tags !== 'function') return tags;
    const made = tags(value);
    checkTags(made);
    return made;
  }
}

const DEFAULT = CachePlan.from({});

/** @throws KvOptionsError with every problem */
export function checkCacheOptions(options: KvGetOrSetOptions): void {
  const problems: KvOptionProblem[] = [];
  const report = (path: string, problem: string) => problems.push({ path, problem });
  const collect = (check: () => unknown) => {
    try {
      check();
    } catch (error) {
      if (!(error instanceof KvOptionsError)) throw error;
      problems.push(...error.problems);
    }
  };
  if (!isObject(options))
    throw new KvOptionsError([{ path: 'options', problem: notAnObject(options, "{ ttl: '5m' }") }]);
  for (const name of Object.keys(options))
    if (!OPTIONS.includes(name)) report(name, unknownOption(name, OPTIONS));
  const { ttl, tags, jitter, cacheUndefined, version, timeout, onError } = options;
  if (ttl !== undefined && typeof ttl !== 'function') collect(() => parseTtl(ttl));
  if (tags !== undefined && typeof tags !== 'function') collect(() => checkTags(tags));
  for (const name of ['staleWhileRevalidate', 'staleIfError'] as const) {
    const window = options[name];
    if (window === undefined) continue;
    collect(() => {
      if (parseTtl(window, name) > MAX_STALE_MS) report(name, 'must be 49 days at the most');
    });
  }
  if (jitter !== undefined && !(typeof jitter === 'number' && jitter >= 0 && jitter <= 1))
    report('jitter', 'must be a share from 0 to 1');
  if (!['undefined', 'boolean'].includes(typeof cacheUndefined))
    report('cacheUndefined', 'must be true or false');
  if (version !== undefined && !(Number.isInteger(version) && version >= 0 && version < 2 ** 31))
    report('version', 'must be a whole number from 0 up');
  if (timeout !== undefined) collect(() => parseTtl(timeout, 'timeout'));
  if (!['undefined', 'function'].includes(typeof onError)) report('onError', 'must be a function');
  if (problems.length > 0) throw new KvOptionsError(problems);
}
