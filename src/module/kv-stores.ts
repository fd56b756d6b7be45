/** Which stores an application has: for what looks at all of them, such as metrics. */
import type { ModulesContainer } from '@nestjs/core';
import { KvStoreService } from './kv-store.service.js';
import { KvLifecycle } from './kv.lifecycle.js';

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
