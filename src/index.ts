/** `nestjs-hotcold`: the module, the decorators, and the engine underneath. */
export { KV_MODULE_OPTIONS, KvModule } from './module/kv.module.js';
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
export { Cached } from './decorators/cached.js';
export type { CachedOptions } from './decorators/cached-method.js';
export { CacheEvict, type CacheEvictOptions } from './decorators/cache-evict.js';
export { CachePut, type CachePutOptions } from './decorators/cache-put.js';
export type { KvResultOptions, KvResultType } from './decorators/cache-results.js';
export {
  CACHED_NAMESPACE,
  type KvMethodOptions,
  type OfArguments,
  type OfResult,
} from './decorators/decorated-method.js';
export { getCachedStats, type KvCachedStats } from './decorators/cached-stats.js';
export {
  InjectKv,
  InjectKvStore,
  getKvStoreToken,
  getKvToken,
  type KvTokenOptions,
} from './decorators/inject-kv.js';
export * from './store/index.js';
