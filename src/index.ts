/** `nestjs-hotcold`: the module, the decorators, and the engine underneath. */
export { KvModule } from './module/kv.module.js';
export { KvStoreService } from './module/kv-store.service.js';
export type {
  KvFeature,
  KvFeatureOptions,
  KvModuleAsyncOptions,
  KvModuleExtras,
  KvModuleOptions,
  KvOpenedStore,
  KvOptionsFactory,
} from './module/kv-module.options.js';
export { CACHED_NAMESPACE, Cached, type CachedOptions } from './decorators/cached.js';
export { getCachedStats, type KvCachedStats } from './decorators/cached-stats.js';
export {
  InjectKv,
  InjectKvStore,
  getKvStoreToken,
  getKvToken,
  type KvTokenOptions,
} from './decorators/inject-kv.js';
export * from './store/index.js';
