/**
 * `@Cached`: the decorator. It checks its options where they stand, and puts a wrapper in the place of the method. What
 * happens in a call is in `cached-method.ts`.
 */
import { checkResultOptions, RESULT_OPTIONS } from './cache-results.js';
import { CachedMethod, type CachedOptions } from './cached-method.js';
import { checkCalled, checkKey, checkNames, DecoratedMethod } from './decorated-method.js';

const OPTIONS = ['key', 'namespace', 'store', 'condition', ...RESULT_OPTIONS];

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
 * - **Overtaken results** are not kept: if, while the method runs, its key is evicted or written, or one of its tags
 *   invalidated, those who wait get the result, and the next call runs the method again.
 * - **Errors** are passed on and not kept; the next call runs the method again.
 * - **Promises** are the common case. **Plain methods** stay synchronous: they are answered from memory only, never with a
 *   stale value, and run again when the result is on disk. A method that declares no return type has to run once after a
 *   start before its results can be used. **Observables** are asked for when they are subscribed to; the value of one that
 *   emits exactly one is kept. One with several values passes through, and its method is uncached from then on.
 *   **Streams**, iterators and `StreamableFile` pass through uncached.
 * - **Instances** of classes come back as plain objects, unless `type` names the class.
 * - **Trouble** in the store, one that is slow (`timeout`), or no store at all, never fails the method: it runs uncached.
 *   Failures are counted (`getCachedStats`), and logged once a minute at the most.
 *
 * @throws KvOptionsError when the class is defined: where the decorator cannot stand, or with every problem of the options
 * @example
 * ```ts
 * class UsersService {
 *   @Cached({ ttl: '5m', key: (id: string) => `user:${id}`, tags: (user) => [`team:${user.teamId}`] })
 *   async find(id: string): Promise<User> { ... }
 * }
 * ```
 */
export function Cached(options: CachedOptions = {}): MethodDecorator {
  checkCalled('@Cached', options);
  return (target: object, property: string | symbol, descriptor: PropertyDescriptor) => {
    const method = new DecoratedMethod('@Cached', target, property, descriptor, options, (report) => {
      checkNames(options, OPTIONS, report);
      checkResultOptions(options, report);
      checkKey(options.key, report);
    });
    const cached = new CachedMethod(method, options);
    method.replace(target, descriptor, (instance, args) => cached.call(instance, args));
  };
}
