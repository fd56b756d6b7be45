/** `nestjs-hotcold/store`: the engine, without Nest. */
export { KvNamespace, KvStore, type KvStoreEvents } from './kv-store.js';
export { KeySpace, type KvEntry } from './key-space.js';
export type { KvBatch } from './batch.js';
export type { KvCacheFailure, KvGetOrSetOptions } from './cache-options.js';
export type { KvScanOptions } from './scan.js';
export type { KvDeleteOptions, KvEntryOptions, KvSetOptions, KvTtlOptions } from './set-options.js';
export type { KvDuration, KvDurabilityLevel, KvSize, KvStoreOptions } from './options.js';
export { parseDuration } from './options.js';
export type { KvCheckpointReport } from './checkpointer.js';
export type {
  KvCompactionPart,
  KvCompactionReason,
  KvCompactionReport,
  KvCompactOptions,
} from './compactor.js';
export type { KvFlushReport } from './group-commit.js';
export type { KvOpenReport } from './recovery.js';
export type { KvStats } from './stats.js';
export { KvTestClock, kvTestingOptions, type KvTestingOptions } from './test-store.js';
export type { KvFailure } from './activity.js';
export type { KvLatencySample, KvOperation } from './latency-sampler.js';
export type { KvDamage, KvDamageKind, KvNamedKey } from './repair/damage.js';
export type { KvSalvageOptions, KvSalvageReport } from './repair/salvage.js';
export type { KvVerifyOptions, KvVerifyReport } from './repair/verify.js';
export type { KvKey } from '../codec/key-codec.js';
export type { Device, DeviceFile, KvDiskSpace } from '../device/device.js';
export type { Env, EnvClock, EnvFs, EnvProcess, EnvRandom } from '../device/env.js';
export * from '../errors.js';
