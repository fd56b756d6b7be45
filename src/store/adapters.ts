/** What the adapters for other libraries have in common: they are given a store and options, often by JavaScript. */
import { KvOptionsError } from '../errors.js';
import { checkNames } from './set-options.js';

/** @throws KvOptionsError when the first argument is no store, or an option there is not */
export function checkAdapter(store: unknown, options: object, names: readonly string[]): void {
  if (typeof (store as { namespace?: unknown } | null | undefined)?.namespace !== 'function') {
    const problem =
      'the first argument must be a KvStore (await KvStore.open({ path })) or the KvStoreService that Nest injects';
    throw new KvOptionsError([{ path: 'store', problem }]);
  }
  checkNames(options, names, "{ namespace: 'cache' }");
}
