/** Which stores an application has: for what looks at all of them, such as metrics. */
import type { ModulesContainer } from '@nestjs/core';
import { KvStoreService } from './kv-store.service.js';
import { KvLifecycle } from './kv.lifecycle.js';

type Module = NonNullable<ReturnType<ModulesContainer['get']>>;

/** The stores of all modules, each once. What a test has put in the place of one is none. */
export function storesOf(modules: ModulesContainer): KvStoreService[] {
  const found = new Set<KvStoreService>();
  for (const { providers } of modules.values()) {
    for (const { instance } of providers.values())
      if (instance instanceof KvStoreService) found.add(instance);
  }
  return [...found];
}

/** Whether the application has a store, or what a test has put in the place of one. */
export function hasStores(modules: ModulesContainer): boolean {
  const isRoot = [...modules.values()].some(({ providers }) => providers.has(KvLifecycle));
  return isRoot || storesOf(modules).length > 0;
}

/**
 * Whether a module came into an application that was there already, by `LazyModuleLoader`: of the modules that the
 * application was made of, none imports it. Those with `global` are imported by all.
 *
 * @param holds whether it is the module in question
 */
export function isLoadedLazily(modules: ModulesContainer, holds: (module: Module) => boolean): boolean {
  // The first one is Nest's own.
  const [, root] = modules.values();
  const reached = new Set([root]);
  for (const module of reached) {
    if (holds(module)) return false;
    for (const imported of module.imports) reached.add(imported);
  }
  return true;
}
