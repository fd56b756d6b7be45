/**
 * What the decorators of methods have in common: where they may stand, the wrapper that looks like the method it takes the
 * place of (name, length, metadata, so that `@Get()` and others work above and below), and the store that Nest injects as
 * a property of the instance. Wrapping the method instead of patching instances reaches controllers, resolvers,
 * request-scoped and inherited classes, and calls through `this` and `super`.
 */
import { Inject, Optional } from '@nestjs/common';
import { KeyCodec, type KvKey } from '../codec/key-codec.js';
import { KvOptionsError, type KvOptionProblem } from '../errors.js';
import type { KvNamespace } from '../store/kv-store.js';
import { isObject, notAnObject, unknownOption } from '../store/option-problems.js';
import { reportFailure } from './cached-stats.js';
import { rememberMethod, type DecoratedMethodInfo } from './decorated-methods.js';
import { DEFAULT_STORE, forRootCall, getKvStoreToken } from './inject-kv.js';
import { isThenable, type AnyMethod } from './result-kind.js';

/** Where results are kept without the option `namespace`: apart from what the application stores itself. */
export const CACHED_NAMESPACE = '@Cached';

/** Longest wait for a store that does not answer, unless the option `timeout` says otherwise. */
export const TIMEOUT_MS = 1000;

/** A function of the arguments of the method, called with the instance as `this`. */
// Any arguments, or a function with typed parameters would not be assignable.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type OfArguments<T> = (this: any, ...args: any[]) => T;

/** A function of the result of the method and its arguments, called with the instance as `this`. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type OfResult<T> = (this: any, result: any, ...args: any[]) => T;

/** What all of these decorators can be told. */
export interface KvMethodOptions {
  /** Namespace that keeps the results. Default `'@Cached'`, which nothing else uses. */
  namespace?: string;
  /** Name of the store, as in `KvModule.forRoot({ name })`. Default `'default'`. */
  store?: string;
  /** A function of the arguments: `false` runs the method as if it were not decorated. */
  condition?: OfArguments<boolean>;
}

/** Each decorator with options that are right, for whoever gave something else. */
const EXAMPLES = {
  '@Cached': "{ ttl: '5m' }",
  '@CacheEvict': '{ key: (id: string) => `user:${id}` }',
  '@CachePut': "{ ttl: '5m', key: (user: User) => `user:${user.id}` }",
};

export type DecoratorName = keyof typeof EXAMPLES;

/** What this needs of an injected store. */
export interface InjectedStore {
  namespace(name: string): KvNamespace;
  invalidateTags(...tags: string[]): Promise<void>;
}

/** A method that is being decorated. */
export class DecoratedMethod {
  /** `Class.method`, as logs name it. */
  readonly label: string;
  readonly original: AnyMethod;
  /** The class that declares the method, and the method's name. */
  readonly declaringClass: string;
  readonly name: string;
  readonly returnType: unknown;
  readonly namespace: string;
  readonly storeName: string;
  private readonly condition: AnyMethod | undefined;
  private readonly storeProperty: symbol;
  private readonly key: DecoratedMethodInfo['key'];

  /**
   * @param decorator its name, for messages
   * @param check reports what is wrong with the options beyond those of all decorators
   * @throws KvOptionsError where the decorator cannot stand, and with every problem of the options
   */
  constructor(
    readonly decorator: DecoratorName,
    target: object,
    property: string | symbol,
    descriptor: PropertyDescriptor | undefined,
    options: KvMethodOptions,
    check: (report: (option: string, problem: string) => void) => void,
  ) {
    this.original = methodOf(decorator, target, property, descriptor);
    this.declaringClass = target.constructor.name;
    this.name = String(property);
    this.label = `${this.declaringClass}.${this.name}`;
    const problems: KvOptionProblem[] = [];
    const report = (option: string, problem: string) => {
      problems.push({ path: `${decorator} on ${this.label}: ${option}`, problem });
    };
    if (!isObject(options)) {
      report('options', notAnObject(options, `${decorator}(${EXAMPLES[decorator]})`));
      throw new KvOptionsError(problems);
    }
    check(report);
    const { namespace = CACHED_NAMESPACE, store = DEFAULT_STORE, condition } = options;
    if (!isName(namespace)) report('namespace', 'must be text and not empty');
    if (!isName(store)) report('store', 'must be text and not empty');
    if (condition !== undefined && typeof condition !== 'function') report('condition', 'must be a function');
    if (problems.length > 0) throw new KvOptionsError(problems);
    this.namespace = namespace;
    this.storeName = store;
    this.condition = condition;
    this.storeProperty = Symbol.for(`nestjs-hotcold:${getKvStoreToken(store)}`);
    this.key = (options as { key?: DecoratedMethodInfo['key'] }).key;
    this.returnType = Reflect.getMetadata('design:returntype', target, property);
  }

  /** Puts a call in the place of the method. */
  replace(
    target: object,
    descriptor: PropertyDescriptor,
    call: (instance: unknown, args: unknown[]) => unknown,
  ): void {
    const wrapper = function (this: unknown, ...args: unknown[]): unknown {
      return call(this, args);
    };
    makeAlike(wrapper, this.original);
    rememberMethod(wrapper, {
      decorator: this.decorator,
      declaringClass: this.declaringClass,
      method: this.name,
      store: this.storeName,
      storeProperty: this.storeProperty,
      namespace: this.namespace,
      key: this.key,
    });
    descriptor.value = wrapper;
    Inject(getKvStoreToken(this.storeName))(target, this.storeProperty);
    Optional()(target, this.storeProperty);
  }

  /** The store that was injected; without one that is told, and the method goes on alone. */
  storeOf(instance: unknown): InjectedStore | undefined {
    const store = (instance as Record<symbol, InjectedStore | undefined> | undefined)?.[this.storeProperty];
    if (store) return store;
    const owner = ownerOf(instance);
    const error =
      `no store "${this.storeName}" is provided. Import ${forRootCall(this.storeName)} in the application, and let Nest make ` +
      `the instance of ${owner?.name ?? this.declaringClass}.`;
    reportFailure(undefined, owner ?? this, this, error);
    return undefined;
  }

  /** Whether the options let this call be looked at. @throws TypeError when the condition says neither yes nor no */
  applies(instance: unknown, args: unknown[]): boolean {
    if (this.condition === undefined) return true;
    const applies: unknown = this.condition.apply(instance, args);
    if (typeof applies !== 'boolean')
      throw new TypeError(`its condition returned ${what(applies)}, not true or false`);
    return applies;
  }

  /** Counts and logs a failure that the method does not hear of. */
  failed(store: object, error: unknown): void {
    reportFailure(store, store, this, error);
  }
}

/** The class of an instance. */
export function ownerOf(instance: unknown): (object & { name: string }) | undefined {
  return (instance as { constructor?: { name: string } } | null | undefined)?.constructor;
}

/** Reports options that there are not. */
export function checkNames(
  options: object,
  names: readonly string[],
  report: (option: string, problem: string) => void,
): void {
  for (const name of Object.keys(options))
    if (!names.includes(name)) report(name, unknownOption(name, names));
}

/** Reports a key that is given and can never be one. */
export function checkKey(key: unknown, report: (option: string, problem: string) => void): void {
  if (key === undefined || typeof key === 'function') return;
  try {
    new KeyCodec().encode(0, key as KvKey);
  } catch {
    report('key', 'must be a key (text, a number, a list of such), or a function that returns one');
  }
}

/** What a key function returned, if it is one that can be used. @throws TypeError */
export function madeKey(made: unknown): KvKey {
  if (made === undefined || made === null) throw new TypeError(`its key function returned ${made}`);
  return made as KvKey;
}

/**
 * TypeScript refuses a decorator without its parentheses; what only strips types hands over the prototype as options, and
 * would leave the method as it was.
 * @throws KvOptionsError
 */
export function checkCalled(decorator: DecoratorName, options: object): void {
  if (!isObject(options) || !Object.hasOwn(options, 'constructor')) return;
  const problem = `is missing its parentheses: ${decorator}(${EXAMPLES[decorator]})`;
  throw new KvOptionsError([{ path: `${decorator} on a method of ${options.constructor.name}`, problem }]);
}

/** @throws KvOptionsError where the decorator cannot stand */
function methodOf(
  decorator: DecoratorName,
  target: object,
  property: string | symbol | { name: string | symbol } | undefined,
  descriptor: PropertyDescriptor | number | undefined,
): AnyMethod {
  const misplaced = (where: string | symbol, problem: string) =>
    new KvOptionsError([{ path: `${decorator} on ${String(where)}`, problem }]);
  // By the later standard, which hands over a context.
  if (typeof property === 'object')
    throw misplaced(property.name, 'needs legacy decorators: set experimentalDecorators in tsconfig.json');
  const isStatic = typeof target === 'function';
  const className = isStatic ? target.name : target.constructor.name;
  if (property === undefined)
    throw misplaced(className, 'is for methods, not for a class: put it on each method that it is meant for');
  const name = String(property);
  const label = `${className}.${name}`;
  if (typeof descriptor === 'number')
    throw misplaced(label, 'is for methods, not for their parameters: put it above the method');
  if (descriptor && ('get' in descriptor || 'set' in descriptor))
    throw misplaced(label, 'is for methods, and this is an accessor: make a method of it');
  if (typeof descriptor?.value !== 'function') {
    const remedy = `write it as a method, async ${name}() { … }`;
    throw misplaced(label, `is for methods, and this is a property (also if it holds a function): ${remedy}`);
  }
  if (isStatic) {
    const remedy = 'make it a method of the instance, or call the store in it (getOrSet, set, delete)';
    throw misplaced(
      label,
      `cannot be on a static method, because Nest injects the store into instances: ${remedy}`,
    );
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

function what(value: unknown): string {
  if (isThenable(value)) return 'a promise';
  return value === undefined || value === null ? String(value) : `a ${typeof value}`;
}

function isName(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}
