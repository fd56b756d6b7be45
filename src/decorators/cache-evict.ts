/** `@CacheEvict`: drops what `@Cached` has kept when a method has changed what it was made from. */
import type { KvKey } from '../codec/key-codec.js';
import { type KvOptionsError } from '../errors.js';
import { checkTags } from '../store/tags.js';
import { AfterMethod, type Act, type Returned } from './after-method.js';
import {
  checkCalled,
  checkKey,
  checkNames,
  DecoratedMethod,
  madeKey,
  type KvMethodOptions,
  type OfArguments,
  type OfResult,
} from './decorated-method.js';

/** What is dropped. At least one of `key`, `resultKey`, `tags` and `all`. */
export interface CacheEvictOptions extends KvMethodOptions {
  /**
   * Key of the entry, as in `@Cached`: a constant, or a function of the arguments. It is called when the method has returned
   * (or its Observable emitted), so it sees what the method has changed in its arguments.
   */
  key?: KvKey | OfArguments<KvKey>;
  /** The same as a function of result and arguments. */
  resultKey?: OfResult<KvKey>;
  /** Tags, or a function of result and arguments. They are invalidated in the whole store, or in the `namespace` if given. */
  tags?: readonly string[] | OfResult<readonly string[]>;
  /** Everything in the namespace: without `namespace`, the results of all methods that have none either. */
  all?: boolean;
}

const OPTIONS = ['key', 'resultKey', 'tags', 'all', 'namespace', 'store', 'condition'];

/**
 * Drops entries when the method has returned without an error: those of a key, those with a tag, or all of a namespace.
 * A method of `@Cached` that runs meanwhile does not keep its result. The method never fails for the store: trouble is
 * counted (`getCachedStats`), and logged once a minute at the most. May stand several times on one method.
 *
 * @throws KvOptionsError when the class is defined: where the decorator cannot stand, or with every problem of the options
 * @example
 * ```ts
 * class UsersService {
 *   @CacheEvict({ key: (id: string) => `user:${id}`, tags: (user) => [`team:${user.teamId}`] })
 *   async rename(id: string, name: string): Promise<User> { ... }
 * }
 * ```
 */
export function CacheEvict(options: CacheEvictOptions): MethodDecorator {
  checkCalled('@CacheEvict', options);
  return (target: object, property: string | symbol, descriptor: PropertyDescriptor) => {
    const method = new DecoratedMethod('@CacheEvict', target, property, descriptor, options, (report) => {
      checkNames(options, OPTIONS, report);
      check(options, report);
    });
    const evicting = new AfterMethod(method, (returned) => evict(options, returned));
    method.replace(target, descriptor, (instance, args) => evicting.call(instance, args));
  };
}

function evict(
  { all, key, namespace, resultKey, tags }: CacheEvictOptions,
  { args, instance, result, space, store }: Returned,
): Act {
  const drops: Act[] = [];
  // Where one cannot be told, the others are dropped all the same.
  const add = (prepare: () => Act) => {
    try {
      drops.push(prepare());
    } catch (error) {
      drops.push(() => {
        throw error;
      });
    }
  };
  const byKey = (made: KvKey) => () => space.delete(made);
  if (all) drops.push(() => space.clear());
  if (typeof key === 'function') add(() => byKey(madeKey(key.apply(instance, args))));
  else if (key !== undefined) drops.push(byKey(key));
  if (resultKey) add(() => byKey(madeKey(resultKey.apply(instance, [result, ...args]))));
  if (tags) {
    add(() => {
      const made = typeof tags === 'function' ? tags.apply(instance, [result, ...args]) : tags;
      checkTags(made, Infinity);
      const names = [...made];
      return () =>
        namespace === undefined ? store.invalidateTags(...names) : space.invalidateTags(...names);
    });
  }
  return () => Promise.all(drops.map(async (drop) => drop()));
}

function check(options: CacheEvictOptions, report: (option: string, problem: string) => void): void {
  const { all, key, resultKey, tags } = options;
  checkKey(key, report);
  if (resultKey !== undefined && typeof resultKey !== 'function') report('resultKey', 'must be a function');
  if (all !== undefined && typeof all !== 'boolean') report('all', 'must be true or false');
  if (tags !== undefined && typeof tags !== 'function') {
    try {
      checkTags(tags);
    } catch (error) {
      for (const { path, problem } of (error as KvOptionsError).problems) report(path, problem);
    }
  }
  if (key === undefined && !resultKey && !tags && !all)
    report('options', 'must say what to drop: key, resultKey, tags or all');
}
