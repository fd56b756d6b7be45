/**
 * Whether a store can do its work, for `@nestjs/terminus`. Down is what an orchestrator should act upon: a store that is
 * closed, takes no writes although it was opened for them, or has less room or more waiting than the options allow. What
 * passes or is for people to look at (failed compactions, old checkpoints) is told, and changes nothing.
 *
 * Nothing is written to find out: the store knows of every write that failed, and a probe would wear the disk.
 */
import { Injectable } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { HealthIndicatorService, type HealthIndicatorResult } from '@nestjs/terminus';
import { DEFAULT_STORE, getKvStoreToken } from '../decorators/inject-kv.js';
import { KvOptionsError, type KvOptionProblem } from '../errors.js';
import { KvStoreService } from '../module/kv-store.service.js';
import type { KvDiskSpace, KvSize, KvStats } from '../store/index.js';
import { isObject, notAnObject, unknownOption } from '../store/option-problems.js';
import { parseSize } from '../store/options.js';

export interface KvHealthOptions {
  /** Name of the store, as in `KvModule.forRoot({ name })`. Default `'default'`. */
  store?: string;
  /**
   * Least room on the disk: bytes, or text like `'500mb'`; with less the store is down. Default 0: until writes fail. It says
   * nothing of a store in memory, which has no disk.
   */
  minFree?: KvSize;
  /** Most writes that may wait for stable storage; with more the store is down. Default: `maxBacklog` of the store. */
  maxBacklog?: number;
}

/** What a check tells beside up or down. Times are ISO 8601; what never happened is missing. */
export interface KvHealthDetails {
  /** Why it is down. */
  message?: string;
  open: boolean;
  /** Whether changes are taken. A store that was opened with `readOnly` takes none, and is up. */
  writable: boolean;
  /** Room on the disk, where it can be told. */
  freeBytes?: number;
  totalBytes?: number;
  /** Writes that wait for stable storage now. */
  backlog: number;
  lastCompaction?: string;
  lastCheckpoint?: string;
  /** What failed in the background since the store was opened, and the last of it. */
  errors: number;
  lastError?: string;
  lastErrorAt?: string;
  [detail: string]: unknown;
}

/**
 * Tells `@nestjs/terminus` whether a store can do its work. Provide it in the module of the health controller, which
 * imports `TerminusModule`.
 *
 * @example
 * ```ts
 * @Controller('health')
 * class HealthController {
 *   constructor(private readonly health: HealthCheckService, private readonly kv: KvHealthIndicator) {}
 *
 *   @Get()
 *   @HealthCheck()
 *   check() {
 *     return this.health.check([() => this.kv.isHealthy('kv', { minFree: '500mb' })]);
 *   }
 * }
 * ```
 */
@Injectable()
export class KvHealthIndicator {
  constructor(
    private readonly moduleRef: ModuleRef,
    private readonly indicators: HealthIndicatorService,
  ) {}

  /**
   * Checks one store.
   *
   * @param key name of the result
   * @throws KvOptionsError with every problem of the options. Anything else is a result, also that there is no such store
   */
  async isHealthy<const Key extends string>(
    key: Key,
    options: KvHealthOptions = {},
  ): Promise<HealthIndicatorResult<Key>> {
    const { store = DEFAULT_STORE, minFreeBytes, maxBacklog } = checked(options);
    const indicator = this.indicators.check(key);
    const service = this.storeNamed(store);
    if (!service) return indicator.down({ message: `No module provides the store "${store}"` });
    if (!service.isOpen) return indicator.down({ message: 'The store is closed', open: false });
    const reasons: string[] = [];
    let space: KvDiskSpace | undefined;
    try {
      space = await service.diskSpace();
    } catch (error) {
      reasons.push((error as Error).message);
    }
    const stats = service.stats();
    const details = detailsOf(service, stats, space);
    if (stats.failure !== undefined) reasons.push(stats.failure);
    if (space && !service.isVolatile && space.freeBytes < minFreeBytes)
      reasons.push(`The disk has ${space.freeBytes} bytes left, less than ${minFreeBytes} (minFree)`);
    if (stats.writes.backlog > maxBacklog)
      reasons.push(
        `${stats.writes.backlog} writes wait for stable storage, more than ${maxBacklog} (maxBacklog)`,
      );
    // It may have been closed while the disk was asked.
    if (!details.open) reasons.unshift('The store is closed');
    if (reasons.length === 0) return indicator.up(details);
    return indicator.down({ ...details, message: reasons.join('. ') });
  }

  private storeNamed(name: string): KvStoreService | undefined {
    try {
      const found: unknown = this.moduleRef.get(getKvStoreToken(name), { strict: false });
      return found instanceof KvStoreService ? found : undefined;
    } catch {
      return undefined;
    }
  }
}

function detailsOf(service: KvStoreService, stats: KvStats, space: KvDiskSpace | undefined): KvHealthDetails {
  const { checkpoints, compaction, errors, writable, writes } = stats;
  const details: KvHealthDetails = {
    open: service.isOpen,
    writable,
    ...space,
    backlog: writes.backlog,
    errors: errors.count,
  };
  if (compaction.lastAt !== undefined) details.lastCompaction = isoTime(compaction.lastAt);
  if (checkpoints.lastAt !== undefined) details.lastCheckpoint = isoTime(checkpoints.lastAt);
  if (errors.last) {
    details.lastError = errors.last.message;
    details.lastErrorAt = isoTime(errors.last.at);
  }
  return details;
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

function checked(options: KvHealthOptions) {
  if (!isObject(options))
    throw new KvOptionsError([{ path: 'options', problem: notAnObject(options, "{ minFree: '500mb' }") }]);
  const { minFree = 0, maxBacklog = Infinity, ...rest } = options;
  const problems: KvOptionProblem[] = [];
  const minFreeBytes = parseSize(minFree);
  if (minFreeBytes === undefined)
    problems.push({ path: 'minFree', problem: "must be a size, in bytes or as text like '500mb'" });
  if (typeof maxBacklog !== 'number' || !(maxBacklog >= 0))
    problems.push({ path: 'maxBacklog', problem: 'must be a number from 0' });
  for (const name of Object.keys(rest))
    if (name !== 'store')
      problems.push({ path: name, problem: unknownOption(name, ['store', 'minFree', 'maxBacklog']) });
  if (problems.length > 0) throw new KvOptionsError(problems);
  return { ...rest, maxBacklog, minFreeBytes: minFreeBytes ?? 0 };
}
