/**
 * What `KvModule` takes, and the checks that go beyond the engine's own. The rule is the engine's: every problem at
 * once, each by its path.
 */
import type { ConfigurableModuleAsyncOptions, DynamicModule, Provider } from '@nestjs/common';
import { DEFAULT_STORE } from '../decorators/inject-kv.js';
import { KvClosedError, KvOptionsError, type KvOptionProblem } from '../errors.js';
import { MAX_NAMESPACE_NAME_BYTES } from '../limits.js';
import type { KvStore } from '../store/kv-store.js';
import { isObject, notAnObject, unknownOption } from '../store/option-problems.js';
import {
  OPTION_NAMES,
  parseTtl,
  resolveOptions,
  type KvDuration,
  type KvStoreOptions,
} from '../store/options.js';

/** A store that was opened by hand takes the place of all options. */
export interface KvOpenedStore {
  /** The open store. The module does not close it: that is up to whoever opened it. */
  store: KvStore;
}

/** The options of a store: the engine's, or a store that is open already. */
export type KvModuleOptions = (KvStoreOptions & { store?: undefined }) | KvOpenedStore;

/** What concerns the wiring, and has to be known before the options are. */
export interface KvModuleExtras {
  /** Name of the store, for `@InjectKvStore(name)` and `@InjectKv(namespace, { store: name })`. Default `'default'`. */
  name?: string;
  /** Whether all modules of the application see the store without importing this one. Default `true`. */
  isGlobal?: boolean;
  /** Providers that the options' factory needs, private to the module. */
  extraProviders?: Provider[];
}

/** Makes the options, for `forRootAsync({ useClass })` and `useExisting`. */
export interface KvOptionsFactory {
  createKvOptions(): KvModuleOptions | Promise<KvModuleOptions>;
}

/** Options that are made when the application starts. */
export type KvModuleAsyncOptions = ConfigurableModuleAsyncOptions<KvModuleOptions, 'createKvOptions'> &
  KvModuleExtras;

/** A namespace that a module wants to have injected. */
export interface KvFeature {
  /** Name of the namespace: text, 1 to 512 bytes. */
  name: string;
  /** For entries that are set without one: milliseconds, or text like `'10m'`. Default: they do not expire. */
  ttl?: KvDuration;
}

/** Where the namespaces of `forFeature` belong. */
export interface KvFeatureOptions {
  /** Name of the store. Default `'default'`. */
  store?: string;
  /** Modules that export the store, where it is not global. */
  imports?: NonNullable<DynamicModule['imports']>;
}

/** What stands beside the options of the store, and is not one of them. */
const EXTRAS = ['isGlobal', 'extraProviders'];

/**
 * The options of the module with its name in them, checked as a whole.
 *
 * @throws KvOptionsError with every problem; KvClosedError when the given store is closed
 */
export function checkModuleOptions(input: unknown, name: string): KvModuleOptions {
  if (!isObject(input)) {
    // Not the defaults: those would be a store in memory, and nobody would notice until the data is missed.
    const problem = `${notAnObject(input, "{ path: './data' }")}: that is what the factory returned`;
    throw new KvOptionsError([{ path: 'options', problem }]);
  }
  const options = { name, ...ownAndInherited(input) } as Record<string, unknown>;
  const problems: KvOptionProblem[] = [];
  const report = (path: string, problem: string) => problems.push({ path, problem });
  if (options.name !== name) {
    report('name', `must be beside useFactory, not in what it returns: injection tokens are made of it`);
    options.name = name;
  }
  for (const extra of EXTRAS) {
    if (!(extra in options)) continue;
    report(extra, 'must be beside useFactory, not in what it returns');
    delete options[extra];
  }
  const { store, ...engine } = options;
  if (store === undefined) {
    problems.push(...problemsOf(engine));
  } else if (!isStore(store)) {
    report('store', 'must be an open KvStore');
  } else {
    for (const other of Object.keys(engine)) {
      if (other !== 'name') report(other, 'has no effect on a store that was opened by hand');
    }
  }
  if (problems.length > 0) throw new KvOptionsError(problems);
  if (!isStore(store)) return engine;
  if (!store.isOpen) throw new KvClosedError(store.name);
  return { store };
}

/** Also what an object has from its class, as one with getters does. */
function ownAndInherited(input: object): object {
  const found: Record<string, unknown> = {};
  for (const option of [...OPTION_NAMES, 'store'])
    if (option in input) found[option] = (input as Record<string, unknown>)[option];
  return { ...found, ...input };
}

function problemsOf(options: KvStoreOptions): readonly KvOptionProblem[] {
  try {
    resolveOptions(options, [...EXTRAS, 'store']);
    return [];
  } catch (error) {
    if (error instanceof KvOptionsError) return error.problems;
    throw error;
  }
}

/** By what it can do, not by its class: the package may be there twice. */
function isStore(value: unknown): value is KvStore {
  if (typeof value !== 'object' || value === null) return false;
  const { get, namespace, close } = value as Record<string, unknown>;
  return [get, namespace, close].every((method) => typeof method === 'function');
}

/**
 * @param example a call that is right, for whoever gave something else
 * @throws KvOptionsError with every problem
 */
export function checkExtras(extras: { name?: unknown; isGlobal?: unknown }, example: string): void {
  if (!isObject(extras))
    throw new KvOptionsError([{ path: 'options', problem: notAnObject(extras, example) }]);
  const problems: KvOptionProblem[] = [];
  const { name = DEFAULT_STORE, isGlobal = true } = extras;
  if (typeof name !== 'string' || name === '')
    problems.push({ path: 'name', problem: 'must be text and not empty' });
  if (typeof isGlobal !== 'boolean') problems.push({ path: 'isGlobal', problem: 'must be true or false' });
  if (problems.length > 0) throw new KvOptionsError(problems);
}

/** What `forRootAsync` takes. */
const ASYNC_OPTIONS = [
  ...['useFactory', 'useClass', 'useExisting', 'inject', 'imports', 'provideInjectionTokensFrom'],
  ...['name', ...EXTRAS],
];

/** @throws KvOptionsError with every problem */
export function checkAsyncOptions(options: KvModuleAsyncOptions): void {
  checkExtras(options, "KvModule.forRootAsync({ useFactory: () => ({ path: './data' }) })");
  const { useFactory, useClass, useExisting } = options;
  const problems: KvOptionProblem[] = [];
  if (!useFactory && !useClass && !useExisting)
    problems.push({ path: 'forRootAsync', problem: 'needs one of useFactory, useClass and useExisting' });
  for (const option of Object.keys(options)) {
    if (ASYNC_OPTIONS.includes(option)) continue;
    // Not the defaults in its place: without its path the store would be in memory.
    const isOfStore = option === 'store' || OPTION_NAMES.includes(option);
    const problem = isOfStore
      ? 'must be in what useFactory returns, not beside it'
      : unknownOption(option, ASYNC_OPTIONS);
    problems.push({ path: option, problem });
  }
  if (problems.length > 0) throw new KvOptionsError(problems);
}

/** @throws KvOptionsError with every problem */
export function checkFeatures(features: readonly KvFeature[]): void {
  if (!Array.isArray(features)) {
    throw new KvOptionsError([
      { path: 'forFeature', problem: "must get a list, such as [{ name: 'users' }]" },
    ]);
  }
  const problems: KvOptionProblem[] = [];
  features.forEach((feature: unknown, index) => {
    const report = (path: string, problem: string) =>
      problems.push({ path: `forFeature[${index}]${path}`, problem });
    if (!isObject(feature)) {
      report('', notAnObject(feature, "{ name: 'users' }"));
      return;
    }
    const { name, ttl, ...rest } = feature as Record<string, unknown>;
    if (typeof name !== 'string' || name === '' || Buffer.byteLength(name) > MAX_NAMESPACE_NAME_BYTES) {
      report('.name', `must be text of 1 to ${MAX_NAMESPACE_NAME_BYTES} bytes`);
    }
    try {
      if (ttl !== undefined) parseTtl(ttl);
    } catch (error) {
      for (const { path, problem } of (error as KvOptionsError).problems) report(`.${path}`, problem);
    }
    for (const other of Object.keys(rest)) {
      const belongs = "belongs into the second argument: forFeature([…], { store: 'name' })";
      report(`.${other}`, other === 'store' ? belongs : unknownOption(other, ['name', 'ttl']));
    }
  });
  if (problems.length > 0) throw new KvOptionsError(problems);
}

/** @throws KvOptionsError with every problem */
export function checkFeatureOptions(options: KvFeatureOptions): void {
  if (!isObject(options)) {
    // Not the default store: the namespace would be another one than was meant.
    const problem = notAnObject(options, "{ store: 'archive' }");
    throw new KvOptionsError([{ path: 'forFeature, second argument', problem }]);
  }
  const problems = Object.keys(options)
    .filter((name) => !['store', 'imports'].includes(name))
    .map((name) => ({
      path: `forFeature, second argument: ${name}`,
      problem: unknownOption(name, ['store', 'imports']),
    }));
  if (problems.length > 0) throw new KvOptionsError(problems);
}
