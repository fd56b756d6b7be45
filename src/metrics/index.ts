/** `nestjs-hotcold/metrics`: metrics for Prometheus on `prom-client`, which only this entry point imports. */
export { KvMetrics, type KvMeteredStore, type KvMetricsOptions } from './kv-metrics.js';
export { KvMetricsController, KvMetricsModule, type KvMetricsModuleOptions } from './kv-metrics.module.js';
