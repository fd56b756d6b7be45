/**
 * The module: which providers a store and its namespaces get. Opening and closing are in `kv.lifecycle.ts`, options
 * and their checks in `kv-module.options.ts`, tokens with the decorators.
 *
 * The default store is provided by its class, and its token is an alias of that, so that a test which overrides
 * `KvStoreService` replaces the store everywhere, and none is opened.
 */
import {
  ConfigurableModuleBuilder,
  Module,
  type DynamicModule,
  type FactoryProvider,
  type InjectionToken,
  type Provider,
} from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { DEFAULT_STORE, getKvStoreToken, getKvToken } from '../decorators/inject-kv.js';
import { KvOptionsError } from '../errors.js';
import { KvTestClock, kvTestingOptions, type KvTestingOptions } from '../store/test-store.js';
import {
  checkAsyncOptions,
  checkExtras,
  checkFeatureOptions,
  checkFeatures,
  type KvFeature,
  type KvFeatureOptions,
  type KvModuleAsyncOptions,
  type KvModuleExtras,
  type KvModuleOptions,
} from './kv-module.options.js';
import { KvStoreService } from './kv-store.service.js';
import { isLoadedLazily } from './kv-stores.js';
import { KvExplorer } from './kv.explorer.js';
import { KvLifecycle, openAlone, openService } from './kv.lifecycle.js';

/**
 * Token of the options of every store of an application: a test that overrides it has all of them elsewhere.
 *
 * @example
 * Test.createTestingModule({ imports: [AppModule] })
 *   .overrideProvider(KV_MODULE_OPTIONS)
 *   .useValue(kvTestingOptions({ clock }))
 */
export const KV_MODULE_OPTIONS = 'KV_MODULE_OPTIONS';

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<KvModuleOptions>({
  moduleName: 'Kv',
  optionsInjectionToken: KV_MODULE_OPTIONS,
})
  .setClassMethodName('forRoot')
  .setFactoryMethodName('createKvOptions')
  .setExtras<KvModuleExtras>(
    { name: DEFAULT_STORE, isGlobal: true, extraProviders: [] },
    (definition, { name = DEFAULT_STORE, isGlobal = true, extraProviders = [] }) => ({
      ...definition,
      global: isGlobal,
      providers: [...(definition.providers ?? []), ...extraProviders, ...storeProviders(name)],
      exports: tokensOf(name),
    }),
  )
  .build();

/**
 * Brings stores into an application. Each is opened before anything that injects it is made and before the application
 * takes requests, and closed after the last request on shutdown (`app.close()`, or a signal with
 * `app.enableShutdownHooks()`). One that cannot be opened fails the bootstrap with the cause.
 *
 * @example
 * ```ts
 * @Module({ imports: [KvModule.forRoot({ path: './data' }), KvModule.forFeature([{ name: 'users', ttl: '10m' }])] })
 * class AppModule {}
 * ```
 */
@Module({})
export class KvModule extends ConfigurableModuleClass {
  /**
   * A store with options that are known now. Several stores stand side by side by their `name`.
   *
   * @param options the engine's options (`KvStoreOptions`), or `store`: one that was opened by hand and stays open when
   * the application closes; and `name` (default `'default'`), `isGlobal` (default `true`). Without `path` the store is
   * in memory.
   * @throws KvOptionsError for `name` and `isGlobal`; any other problem fails the bootstrap
   * @example
   * KvModule.forRoot({ path: './data', hot: { memory: '256mb' } })
   */
  static override forRoot(options: KvModuleOptions & KvModuleExtras = {}): DynamicModule {
    checkExtras(options, "KvModule.forRoot({ path: './data' })");
    return super.forRoot(options);
  }

  /**
   * A store whose options are made when the application starts.
   *
   * @param options one of `useFactory` (with `inject`), `useClass`, `useExisting` (an injectable with
   * `createKvOptions()`); `imports` and `extraProviders` for what those need; `name` and `isGlobal` as for `forRoot`.
   * @throws KvOptionsError when none of the three is given, for `name` and `isGlobal`, and for options that belong into
   * what they make. What they inject has to live as long as the application: with a provider that is made for each request
   * the application does not start
   * @example
   * KvModule.forRootAsync({
   *   inject: [ConfigService],
   *   useFactory: (config: ConfigService) => ({ path: config.getOrThrow('DATA') }),
   * })
   */
  static override forRootAsync(options: KvModuleAsyncOptions): DynamicModule {
    checkAsyncOptions(options);
    return super.forRootAsync(options);
  }

  /**
   * A store for tests: in memory, gone with the application, on a clock that the test moves, without compaction in the
   * background unless that is asked for. Nothing of it keeps the process alive. The clock can be injected as `KvTestClock`.
   *
   * @param options `clock`, to be shared by several stores; and those of `forRoot`, apart from where the store lies
   * @throws KvOptionsError for `name`, `isGlobal`, `clock`, and options that would put the store elsewhere
   * @example
   * const app = await Test.createTestingModule({ imports: [KvModule.forTesting()], providers: [Carts] }).compile();
   * app.get(KvTestClock).advance('10m');
   */
  static forTesting(options: KvTestingOptions & KvModuleExtras = {}): DynamicModule {
    checkExtras(options, 'KvModule.forTesting({ clock })');
    const { name, isGlobal, extraProviders, clock = new KvTestClock(), ...engine } = options;
    const extras = Object.entries({ name, isGlobal, extraProviders }).filter(
      ([, value]) => value !== undefined,
    );
    const module = KvModule.forRoot({
      ...kvTestingOptions({ ...engine, clock }),
      ...Object.fromEntries(extras),
    });
    return {
      ...module,
      providers: [...(module.providers ?? []), { provide: KvTestClock, useValue: clock }],
      exports: [...(module.exports ?? []), KvTestClock],
    };
  }

  /**
   * Namespaces for the classes of the importing module: `@InjectKv('users') users: KvNamespace<User>`. Modules may
   * declare the same namespace, with the same `ttl`.
   *
   * @param features names, and a default `ttl` for entries that are set without one
   * @param options `store`: name of their store, default `'default'`; `imports`: where that is not global, modules
   * that export it
   * @throws KvOptionsError with every problem
   * @example
   * KvModule.forFeature([{ name: 'users', ttl: '10m' }, { name: 'carts' }])
   */
  static forFeature(features: readonly KvFeature[], options: KvFeatureOptions = {}): DynamicModule {
    checkFeatures(features);
    checkFeatureOptions(options);
    const { store = DEFAULT_STORE, imports = [] } = options;
    const providers = features.map(({ name, ttl }): FactoryProvider => ({
      provide: getKvToken(name, { store }),
      inject: [getKvStoreToken(store)],
      useFactory: (service: KvStoreService) => {
        // A test may have put something simpler in the store's place.
        if (service instanceof KvStoreService) service.declare(name, ttl);
        return service.namespace(name, ttl === undefined ? {} : { ttl });
      },
    }));
    return { module: KvModule, imports, providers, exports: providers.map(({ provide }) => provide) };
  }
}

/** The token that the store itself is under; the others are aliases of it. */
function mainToken(name: string): InjectionToken {
  return name === DEFAULT_STORE ? KvStoreService : getKvStoreToken(name);
}

function tokensOf(name: string): InjectionToken[] {
  return [...new Set([mainToken(name), getKvStoreToken(name)])];
}

function storeProviders(name: string): Provider[] {
  const main = mainToken(name);
  const aliases = tokensOf(name).filter((token) => token !== main);
  const lifecycle = (service: unknown, modules: ModulesContainer) => {
    const hooks = new KvLifecycle(service, modules);
    return isLazy(modules) ? hooks.join(modules) : hooks;
  };
  // By the function, for modules that are not global may have stores of one name.
  const isLazy = (modules: ModulesContainer) =>
    isLoadedLazily(modules, ({ providers }) => providers.get(KvLifecycle)?.metatype === lifecycle);
  return [
    {
      provide: main,
      inject: [MODULE_OPTIONS_TOKEN, ModulesContainer],
      useFactory: (options: unknown, modules: ModulesContainer) => {
        requireOne(modules, main, name);
        return isLazy(modules) ? openAlone(options, name) : openService(options, name, modules);
      },
    },
    ...aliases.map((provide) => ({ provide, useExisting: main })),
    {
      provide: KvExplorer,
      inject: [ModulesContainer],
      useFactory: (modules: ModulesContainer) => new KvExplorer(modules),
    },
    {
      provide: KvLifecycle,
      inject: [main, ModulesContainer],
      useFactory: lifecycle,
    },
  ];
}

/** Two stores under one token: Nest would inject one or the other, by the order of imports. */
function requireOne(modules: ModulesContainer, token: InjectionToken, name: string): void {
  const holders = [...modules.values()].filter((module) => {
    return module.metatype === KvModule && module.providers.has(token);
  });
  if (holders.length < 2 || !holders.some((module) => module.isGlobal)) return;
  const problem = `${JSON.stringify(name)} names ${holders.length} stores; give each KvModule.forRoot() its own`;
  throw new KvOptionsError([{ path: 'name', problem }]);
}
