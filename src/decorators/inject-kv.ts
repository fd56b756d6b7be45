/**
 * Injection tokens of stores and namespaces, and the decorators that ask for them. They are here and not with the
 * module, because `@Cached` needs them too, and imports go down only. Tokens are text that says what is missing when
 * Nest reports one it cannot resolve.
 */
import { Inject } from '@nestjs/common';
import { KvOptionsError } from '../errors.js';
import { checkNames } from '../store/set-options.js';

/** Name of the store that `KvModule.forRoot()` opens when it is given none. */
export const DEFAULT_STORE = 'default';

/** Which store a namespace belongs to. */
export interface KvTokenOptions {
  /** Name of the store, as in `KvModule.forRoot({ name })`. Default `'default'`. */
  store?: string;
}

/**
 * Token of a whole store: what `@InjectKvStore(name)` injects. For factories, `moduleRef.get()` and
 * `overrideProvider()`. The default store is also there by its class, `KvStoreService`; a test that replaces it
 * overrides that, and this token follows.
 *
 * @param name name of the store, default `'default'`
 * @example
 * const sessions = app.get<KvStoreService>(getKvStoreToken('sessions'));
 */
export function getKvStoreToken(name: string = DEFAULT_STORE): string {
  return name === DEFAULT_STORE ? 'KvStore' : `KvStore(${JSON.stringify(name)})`;
}

/** How a store is brought into an application, for messages that miss it. */
export function forRootCall(name: string): string {
  return name === DEFAULT_STORE
    ? 'KvModule.forRoot()'
    : `KvModule.forRoot({ name: ${JSON.stringify(name)} })`;
}

/**
 * Token of a namespace: what `@InjectKv(namespace)` injects.
 *
 * @param namespace name of the namespace, as in `KvModule.forFeature`
 * @throws KvOptionsError when the name or the options are none
 * @example
 * Test.createTestingModule({ providers: [UsersService, { provide: getKvToken('users'), useValue: fake }] });
 */
export function getKvToken(namespace: string, options: KvTokenOptions = {}): string {
  // Not the default store: the namespace would be another one than was meant.
  checkNames(options, ['store'], "{ store: 'archive' }");
  if (typeof namespace !== 'string' || namespace === '') {
    const problem = "must be the name of one, such as @InjectKv('users'); a whole store is @InjectKvStore()";
    throw new KvOptionsError([{ path: 'namespace', problem }]);
  }
  const { store = DEFAULT_STORE } = options;
  const where = store === DEFAULT_STORE ? '' : `, store ${JSON.stringify(store)}`;
  return `KvNamespace(${JSON.stringify(namespace)}${where})`;
}

/**
 * Injects a namespace as a `KvNamespace`. The module of the class has to import
 * `KvModule.forFeature([{ name: namespace }])`, otherwise Nest reports the token as unknown.
 *
 * @param namespace name of the namespace
 * @param options `store`: name of the store it belongs to, default `'default'`
 * @example
 * constructor(@InjectKv('users') private readonly users: KvNamespace<User>) {}
 */
export function InjectKv(namespace: string, options: KvTokenOptions = {}) {
  return Inject(getKvToken(namespace, options));
}

/**
 * Injects a whole store as a `KvStoreService`.
 *
 * @param name name of the store, default `'default'` (which can be injected by its class as well)
 * @example
 * constructor(@InjectKvStore('sessions') private readonly sessions: KvStoreService) {}
 */
export function InjectKvStore(name: string = DEFAULT_STORE) {
  return Inject(getKvStoreToken(name));
}
