/** `nestjs-hotcold/health`: an indicator for `@nestjs/terminus`, which only this entry point imports. */
export { KvHealthIndicator, type KvHealthDetails, type KvHealthOptions } from './kv-health.indicator.js';
