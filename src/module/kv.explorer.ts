/**
 * Looks an application through at its start: for stores that would be opened for each request, which it refuses; and for
 * decorated methods that will not do what they say, and warns of each with class and method. It finds; what is wrong is in `kv.misuse.ts`. It changes nothing: the decorators need no explorer.
 */
import { Logger, type OnApplicationBootstrap, type Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import { getKvStoreToken } from '../decorators/inject-kv.js';
import { decoratedMethodsOf } from '../decorators/decorated-methods.js';
import { KvOptionsError } from '../errors.js';
import { storesOf } from './kv-stores.js';
import { KvLifecycle } from './kv.lifecycle.js';
import { misuseOf, type FoundMethod } from './kv.misuse.js';

type Wrapper =
  ReturnType<ModulesContainer['get']> extends infer M | undefined
    ? M extends { providers: Map<unknown, infer W> }
      ? W
      : never
    : never;

const logger = new Logger('KvModule');

/** Applications that were looked through: each store's module has an explorer. */
const explored = new WeakSet<ModulesContainer>();

export class KvExplorer implements OnApplicationBootstrap {
  constructor(private readonly modules: ModulesContainer) {}

  /** @throws KvOptionsError when the options of a store are made for each request */
  onApplicationBootstrap(): void {
    this.refuseStoresOfRequests();
    if (explored.has(this.modules)) return;
    explored.add(this.modules);
    const methods = this.methods();
    const named = methods.map(({ info }) => info.store).filter((store) => this.isProvided(store));
    const stores = new Set([...storesOf(this.modules).map(({ name }) => name), ...named]);
    for (const warning of misuseOf(methods, stores)) logger.warn(warning);
  }

  /** The first would be open until the process ends, and the second find its directory locked. */
  private refuseStoresOfRequests(): void {
    for (const { providers } of this.modules.values()) {
      if (providers.get(KvLifecycle)?.isDependencyTreeStatic() ?? true) continue;
      const problem =
        'needs a provider that is made for each request, and so would the store be: inject what lives as long as the application';
      throw new KvOptionsError([{ path: 'forRootAsync', problem }]);
    }
  }

  private methods(): FoundMethod[] {
    const found: FoundMethod[] = [];
    for (const { controllers, name, providers } of this.modules.values()) {
      const seen = new Set<object>();
      for (const wrapper of [...controllers.values(), ...providers.values()]) {
        const type = typeOf(wrapper);
        if (!type || seen.has(type)) continue;
        seen.add(type);
        const injected = !wrapper.inject && Boolean(wrapper.metatype);
        for (const [method, infos] of decoratedMethodsOf(type)) {
          for (const info of infos) {
            const hasStore = hasProperty(wrapper, info.storeProperty);
            found.push({ info, type, method, module: name, hasStore, injected });
          }
        }
      }
    }
    return found;
  }

  private isProvided(store: string): boolean {
    const token = getKvStoreToken(store);
    return [...this.modules.values()].some(({ providers }) => providers.has(token));
  }
}

/** The class of a provider's instances; of what a factory makes, the class of what it has made. */
function typeOf({ inject, instance, isAlias, metatype }: Wrapper): Type | undefined {
  if (isAlias) return undefined;
  const type: unknown = inject || !metatype ? (instance as object | undefined)?.constructor : metatype;
  return typeof type === 'function' && type !== Object && type !== Function ? (type as Type) : undefined;
}

/** `undefined` for what is made anew for each request or each consumer. */
function hasProperty(wrapper: Wrapper, property: symbol): boolean | undefined {
  if (wrapper.isTransient || !wrapper.isDependencyTreeStatic()) return undefined;
  const instance = wrapper.instance as Record<symbol, unknown> | undefined;
  return instance?.[property] !== undefined;
}
