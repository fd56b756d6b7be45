/**
 * `@Cached`: the decorator. It checks its options where they stand, replaces the method by a wrapper that looks like
 * it (name, length, metadata, so that `@Get()` and others work above and below), and has Nest inject the store as a
 * property of the instance. Wrapping the method instead of patching instances reaches controllers, resolvers,
 * request-scoped and inherited classes, and calls through `this` and `super`. What happens in a call is in
 * `cached-method.ts`.
 */
import { Inject, Optional } from '@nestjs/common';
import type { KvKey } from '../codec/key-codec.js';
import { KvOptionsError, type KvOptionProblem } from '../errors.js';
import { parseTtl, type KvDuration } from '../store/options.js';
import { CachedMethod, type AnyMethod } from './cached-method.js';
import { DEFAULT_STORE, getKvStoreToken } from './inject-kv.js';

/** Where results are kept without the option `namespace`: apart from what the application stores itself. */
export const CACHED_NAMESPACE = '@Cached';

/** How a method is cached. Anything else in here is refused when the class is defined. */
export interface CachedOptions {
  /**
   * How long a result is kept: milliseconds, or text like `'5m'`. Default: the default of the namespace, if
   * `KvModule.forFeature` declared one, else until it is deleted.
   */
  ttl?: KvDuration;
  /**
   * Key of a result: a constant, or a function of the arguments, called with the instance as `this`. It should name
   * everything the result depends on, such as the user or the language. Default: class, method and arguments.
   */
  // Any arguments, or a key function with typed parameters would not be assignable.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  key?: KvKey | ((this: any, ...args: any[]) => KvKey);
  /** Namespace that keeps the results. Default `'@Cached'`, which nothing else uses. */
  namespace?: string;
  /** Name of the store, as in `KvModule.forRoot({ name })`. Default `'default'`. */
  store?: string;
  /** Called with the arguments (and the instance as `this`): `false` runs the method uncached. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  condition?: (this: any, ...args: any[]) => boolean;
  /** Whether `undefined` is a result worth keeping. Default `false`. `null` always is. */
  cacheUndefined?: boolean;
}

/**
 * Keeps what a method returns, and answers later calls with the same key from the store, also after a restart. For
 * methods of injectables and controllers that Nest instantiates.
 *
 * - **Key.** Without `key`: the class of the instance, the class that declares the method, the method, and the
 *   arguments. Arguments may hold plain data, dates, maps, sets, byte arrays, and instances whose fields are all public
 *   (or whose `toJSON()` returns text or a number). With any other argument the call runs uncached, and so it does when
 *   two classes of one name would share keys. State that is not an argument, such as the current user of a
 *   request-scoped provider, is not part of the key: name it in `key`, which sees the instance as `this`.
 * - **Once at a time.** Calls for one key that arrive while the method runs wait for that run and share its result,
 *   the same object. Answers from the store are each caller's own copy. A method that waits for itself with the
 *   same key would wait forever.
 * - **Errors** are passed on and not kept; the next call runs the method again.
 * - **Promises** are the common case. **Plain methods** stay synchronous: they are answered from memory only, and run
 *   again when the result is on disk. A method that declares no return type has to run once after a start before its
 *   results can be used. **Observables** are asked for when they are subscribed to; the value of one that emits exactly
 *   one is kept. One with several values passes through, and its method is uncached from then on. **Streams**, iterators
 *   and `StreamableFile` pass through uncached.
 * - **Instances** of classes come back as plain objects.
 * - **Trouble** in the store, or no store at all, never fails the method: it runs uncached. Failures are counted
 *   (`getCachedStats`), and logged once a minute at the most.
 *
 * @throws KvOptionsError when the class is defined with options that are not usable, with every problem
 * @example
 * ```ts
 * class UsersService {
 *   @Cached({ ttl: '5m', key: (id: string) => `user:${id}` })
 *   async find(id: string): Promise<User | null> { ... }
 * }
 * ```
 */
export function Cached(options: CachedOptions = {}): MethodDecorator {
  return (target: object, property: string | symbol, descriptor: PropertyDescriptor) => {
    const original = methodOf(target, property, descriptor);
    const declaringClass = target.constructor.name;
    const method = String(property);
    const label = `${declaringClass}.${method}`;
    checkOptions(options, label);
    const { ttl, key, namespace = CACHED_NAMESPACE, store = DEFAULT_STORE, condition } = options;
    const storeProperty = Symbol.for(`nestjs-hotcold:${getKvStoreToken(store)}`);
    const cached = new CachedMethod(
      original,
      {
        label,
        declaringClass,
        method,
        storeProperty,
        store,
        namespace,
        key,
        condition,
        ttlMs: ttl === undefined ? undefined : parseTtl(ttl),
        cacheUndefined: options.cacheUndefined === true,
      },
      Reflect.getMetadata('design:returntype', target, property),
    );
    const wrapper = function (this: unknown, ...args: unknown[]): unknown {
      return cached.call(this, args);
    };
    makeAlike(wrapper, original);
    descriptor.value = wrapper;
    Inject(getKvStoreToken(store))(target, storeProperty);
    Optional()(target, storeProperty);
  };
}

function methodOf(
  target: object,
  property: string | symbol,
  descriptor: PropertyDescriptor | undefined,
): AnyMethod {
  if (typeof (property as unknown) === 'object') {
    throw new TypeError('@Cached needs legacy decorators: set experimentalDecorators in tsconfig.json.');
  }
  const name = String(property);
  if (typeof target === 'function') {
    throw new TypeError(`@Cached cannot be on the static method ${name}: Nest injects into instances only.`);
  }
  if (typeof descriptor?.value !== 'function') {
    throw new TypeError(`@Cached is for methods; ${name} is none.`);
  }
  return descriptor.value as AnyMethod;
}

/** Everything that other decorators left on the method, or will look for. */
function makeAlike(wrapper: object, original: object): void {
  for (const key of Reflect.ownKeys(original)) {
    if (key === 'prototype') continue;
    const descriptor = Object.getOwnPropertyDescriptor(original, key) as PropertyDescriptor;
    Object.defineProperty(wrapper, key, descriptor);
  }
  for (const key of Reflect.getMetadataKeys(original) as unknown[]) {
    Reflect.defineMetadata(key, Reflect.getMetadata(key, original), wrapper);
  }
}

const optionNames = ['ttl', 'key', 'namespace', 'store', 'condition', 'cacheUndefined'];
const laterOptions = ['tags', 'staleWhileRevalidate', 'version', 'type'];

function checkOptions(options: CachedOptions, label: string): void {
  const problems: KvOptionProblem[] = [];
  const report = (option: string, problem: string) => {
    problems.push({ path: `@Cached on ${label}: ${option}`, problem });
  };
  if (typeof options !== 'object' || options === null) {
    report('options', 'must be an object');
    throw new KvOptionsError(problems);
  }
  for (const name of Object.keys(options)) {
    if (laterOptions.includes(name)) report(name, 'is not supported by this version yet');
    else if (!optionNames.includes(name)) report(name, 'is not an option');
  }
  const { ttl, key, namespace, store, condition, cacheUndefined } = options;
  if (ttl !== undefined) {
    try {
      parseTtl(ttl);
    } catch (error) {
      if (!(error instanceof KvOptionsError)) throw error;
      for (const { path, problem } of error.problems) report(path, problem);
    }
  }
  if (key === null) report('key', 'must be a key, or a function that returns one');
  if (namespace !== undefined && !isName(namespace)) report('namespace', 'must be text and not empty');
  if (store !== undefined && !isName(store)) report('store', 'must be text and not empty');
  if (condition !== undefined && typeof condition !== 'function') report('condition', 'must be a function');
  if (cacheUndefined !== undefined && typeof cacheUndefined !== 'boolean') {
    report('cacheUndefined', 'must be true or false');
  }
  if (problems.length > 0) throw new KvOptionsError(problems);
}

function isName(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}
