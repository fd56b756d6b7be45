/** `@CachePut`: runs a method always, and keeps what it returns for `@Cached` to find. */
import type { KvKey } from '../codec/key-codec.js';
import { CachePlan } from '../store/cache-options.js';
import { AfterMethod, type Act, type Returned } from './after-method.js';
import { checkResultOptions, RESULT_OPTIONS, ResultPlan, type KvResultOptions } from './cache-results.js';
import {
  checkCalled,
  checkKey,
  checkNames,
  DecoratedMethod,
  madeKey,
  TIMEOUT_MS,
  type KvMethodOptions,
  type OfArguments,
  type OfResult,
} from './decorated-method.js';
import { isStream, type AnyMethod } from './result-kind.js';

/** Under which key a result is kept, and how. One of `key` and `resultKey`. */
export interface CachePutOptions extends KvMethodOptions, KvResultOptions {
  /** Key of the entry, as in `@Cached`: a constant, or a function of the arguments, called as that of `@CacheEvict` is. */
  key?: KvKey | OfArguments<KvKey>;
  /** The same as a function of result and arguments, where only the result tells it. */
  resultKey?: OfResult<KvKey>;
}

const OPTIONS = ['key', 'resultKey', 'namespace', 'store', 'condition', ...RESULT_OPTIONS];

/**
 * Runs the method, and keeps its result in the place of what was there; a result that is not kept (`undefined`, unless
 * `cacheUndefined` is set; a stream; what has no time to live, or cannot be carried) leaves nothing there. Options mean what they mean for `@Cached`, and should be those
 * of the method that reads the entry. The method never fails for the store: trouble is counted (`getCachedStats`), and
 * logged once a minute at the most.
 *
 * @throws KvOptionsError when the class is defined: where the decorator cannot stand, or with every problem of the options
 * @example
 * ```ts
 * class UsersService {
 *   @CachePut({ ttl: '5m', key: (user: User) => `user:${user.id}` })
 *   async save(user: User): Promise<User> { ... }
 * }
 * ```
 */
export function CachePut(options: CachePutOptions): MethodDecorator {
  checkCalled('@CachePut', options);
  return (target: object, property: string | symbol, descriptor: PropertyDescriptor) => {
    const method = new DecoratedMethod('@CachePut', target, property, descriptor, options, (report) => {
      checkNames(options, OPTIONS, report);
      checkResultOptions(options, report);
      const { key, resultKey } = options;
      checkKey(key, report);
      if (resultKey !== undefined && typeof resultKey !== 'function')
        report('resultKey', 'must be a function');
      if ((key === undefined) === (resultKey === undefined))
        report('key', 'must be given, or resultKey in its place');
    });
    const { timeoutMs } = CachePlan.from({ timeout: options.timeout ?? TIMEOUT_MS });
    const putting = new AfterMethod(method, (returned) => put(method, options, returned), timeoutMs);
    method.replace(target, descriptor, (instance, args) => putting.call(instance, args));
  };
}

function put(
  method: DecoratedMethod,
  options: CachePutOptions,
  { args, instance, isPassedOn, result, space, store }: Returned,
): Act {
  const failed = (error: unknown) => method.failed(store, error);
  const { key: given, resultKey } = options;
  const made = resultKey ? resultKey.apply(instance, [result, ...args]) : (given as KvKey | AnyMethod);
  const key = madeKey(typeof made === 'function' ? made.apply(instance, args) : made);
  const results = new ResultPlan(options, failed);
  const plan = results.of(instance, args);
  const snapshot = isPassedOn && !isStream(result) ? space.cached.snapshot(result, plan) : undefined;
  return async () => {
    const isForKeeping =
      result === undefined ? options.cacheUndefined : results.keeps(result, method, failed);
    if (isForKeeping) {
      try {
        if ((await space.cached.put(key, result, plan, snapshot)) !== undefined) return;
      } catch (error) {
        await space.delete(key).catch(() => undefined);
        throw error;
      }
    }
    await space.delete(key);
  };
}
