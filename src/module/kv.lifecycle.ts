/**
 * A store's life inside an application: opened by the factory of its provider, so before anything that injects it
 * exists; watched while it runs; closed in `onApplicationShutdown`, the last of Nest's hooks, because requests in
 * flight still use it in the earlier ones. What opening found and what fails in the background goes to Nest's log.
 *
 * Nest calls no hook of an application that does not start. So where one of several stores cannot be opened, the others
 * are closed here: they would stay locked for as long as the process lives, and be in the way of another attempt.
 *
 * Nor does it call those of modules that are loaded lazily. A store of these works from its opening on, and its hooks are
 * hung on Nest's own module, which shuts down last.
 */
import {
  Logger,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import type { Env } from '../device/env.js';
import { nodeEnv } from '../device/node-env.js';
import { KvLockedError } from '../errors.js';
import type { KvCompactionReport, KvStoreOptions } from '../store/index.js';
import { KvStore } from '../store/kv-store.js';
import { sizeText } from '../store/options.js';
import { KvStoreService } from './kv-store.service.js';
import { checkModuleOptions } from './kv-module.options.js';

const logger = new Logger('KvModule');

/** Stores that were opened here, and that are therefore ours to close. */
const ours = new WeakSet<KvStoreService>();

/** Ends the listening to a store that its owner may go on with. */
const unwatch = new WeakMap<KvStoreService, () => void>();

/** The stores of an application. */
interface Application {
  readonly openings: Promise<KvStoreService>[];
  /** Rejects as the first of them has. */
  failed?: Promise<KvStoreService>;
  /** Those that have a store to close. */
  readonly lifecycles: Set<KvLifecycle>;
  /** What failed first while stores were closed. */
  failure?: { error: unknown } | undefined;
}

const applications = new WeakMap<ModulesContainer, Application>();

function applicationOf(modules: ModulesContainer): Application {
  const application = applications.get(modules) ?? { openings: [], lifecycles: new Set() };
  applications.set(modules, application);
  return application;
}

/**
 * Opens the store that the options describe, or takes the one they hold. Where it cannot be opened, it closes those that
 * were opened for the same start of an application.
 *
 * @throws KvOptionsError, KvLockedError, KvFormatError, KvCorruptionError, KvDiskError, KvClosedError
 */
export async function openService(
  input: unknown,
  name: string,
  modules: ModulesContainer,
): Promise<KvStoreService> {
  const application = applicationOf(modules);
  if (application.failed) return application.failed;
  const opening = openAlone(input, name);
  application.openings.push(opening);
  try {
    return await opening;
  } catch (error) {
    application.failed ??= opening;
    await closeAll(application.openings);
    throw error;
  }
}

/** Those that are still being opened as well. */
async function closeAll(openings: Promise<KvStoreService>[]): Promise<void> {
  for (const opening of await Promise.allSettled(openings)) {
    if (opening.status === 'rejected') continue;
    await closed(opening.value).catch((error: unknown) => {
      logger.error(`Store "${opening.value.name}" could not be closed: ${String(error)}`);
    });
  }
}

/** Of a store that was opened by hand, the application lets go. */
async function closed(service: KvStoreService): Promise<void> {
  if (ours.has(service)) await service.store.close();
  unwatch.get(service)?.();
}

/** For a module that is loaded lazily: the others are no concern of it. Throws as `openService` does. */
export async function openAlone(input: unknown, name: string): Promise<KvStoreService> {
  const options = checkModuleOptions(input, name);
  if (options.store) return watched(new KvStoreService(options.store, name));
  const { clock }: Env = options.env ?? nodeEnv;
  const startMs = clock.now();
  const service = watched(new KvStoreService(await opened(options, name), name));
  ours.add(service);
  logOpened(service, options, clock.now() - startMs);
  return service;
}

/** Nest tells the error; what it means for a process that is one of several is told here. */
async function opened(options: KvStoreOptions, name: string): Promise<KvStore> {
  try {
    return await KvStore.openIdle(options);
  } catch (error) {
    if (error instanceof KvLockedError)
      logger.error(
        `Store "${name}" cannot be opened: ${error.message} If this process is one of several of one application (PM2 in ` +
          `cluster mode, node:cluster, replicas on one volume, or an old one that has not ended yet): give each a path of its ` +
          `own, such as \`./data/\${process.env.NODE_APP_INSTANCE ?? 0}\`, or let one of them have the store.`,
      );
    throw error;
  }
}

function watched(service: KvStoreService): KvStoreService {
  const { name } = service;
  const ends = [
    service.on('error', (error) => {
      logger.error(`Store "${name}": ${error.message}`, error.stack);
    }),
    service.on('compaction', (report) => {
      logger.log(`Store "${name}": ${compactionText(report)}`);
    }),
  ];
  unwatch.set(service, () => ends.forEach((end) => end()));
  return service;
}

function logOpened(
  service: KvStoreService,
  { path, readOnly = false }: KvStoreOptions,
  tookMs: number,
): void {
  const { created, clean, records, droppedBytes, droppedFrom } = service.opened;
  const store = `Store "${service.name}" ${path === undefined ? 'in memory' : `in ${path}`}`;
  if (created) {
    logger.log(`${store}: created`);
    return;
  }
  const access = readOnly ? ', to be read only' : '';
  const opened = clean ? 'opened' : `recovered ${records} records`;
  logger.log(`${store}: ${opened} in ${Math.round(tookMs)} ms${access}`);
  if (clean) return;
  const dropped =
    droppedBytes > 0
      ? `${droppedBytes} bytes behind the last complete commit were ${readOnly ? 'left out' : 'dropped'}, from ` +
        `${droppedFrom} on`
      : 'everything up to its last commit is there';
  logger.warn(`${store} had not been closed: ${dropped}`);
}

function compactionText(report: KvCompactionReport): string {
  const { hot, cold, copiedRecords, copiedBytes, bytesBefore, bytesAfter, tookMs, aborted } = report;
  const read = hot.truncatedBytes + cold.truncatedBytes;
  const dropped = hot.droppedRecords + cold.droppedRecords;
  return (
    `compaction (${report.reason}) ${aborted ? 'ended early' : 'done'} in ${Math.round(tookMs)} ms: read ${size(read)}, ` +
    `copied ${copiedRecords} records (${size(copiedBytes)}), dropped ${dropped}; ${size(bytesBefore)} on disk before, ` +
    `${size(bytesAfter)} after; write amplification so far ${report.writeAmplification.toFixed(2)}`
  );
}

function size(value: number): string {
  return sizeText(value, 1);
}

/**
 * The background work of the store of one `KvModule` begins when the application is up and ends before it goes down; the
 * store closes when the application has shut down.
 */
export class KvLifecycle implements OnApplicationBootstrap, BeforeApplicationShutdown, OnApplicationShutdown {
  private readonly application: Application;

  /** @param service what the store's token resolves to: in a test that may be something else */
  constructor(
    private readonly service: unknown,
    modules: ModulesContainer,
  ) {
    this.application = applicationOf(modules);
    this.application.lifecycles.add(this);
  }

  /** For a module that is loaded lazily. */
  join(modules: ModulesContainer): this {
    this.onApplicationBootstrap();
    const [core] = modules.values();
    core.addProvider({ provide: Symbol('KvLifecycle'), useValue: this });
    return this;
  }

  onApplicationBootstrap(): void {
    const { service } = this;
    if (service instanceof KvStoreService && ours.has(service) && service.isOpen)
      service.store.startCompaction();
  }

  async beforeApplicationShutdown(): Promise<void> {
    const { service } = this;
    if (service instanceof KvStoreService && ours.has(service)) await service.store.stopCompaction();
  }

  /**
   * Nest 11 calls no more hooks once one has failed, and other stores would stay open: the last one tells of it.
   *
   * @throws KvReadOnlyError, KvDiskError when the last writes of a store could not be made durable: Nest reports them
   */
  async onApplicationShutdown(): Promise<void> {
    const { application, service } = this;
    application.lifecycles.delete(this);
    try {
      if (service instanceof KvStoreService) await closed(service);
    } catch (error) {
      application.failure ??= { error };
    }
    const { failure } = application;
    if (!failure || application.lifecycles.size > 0) return;
    application.failure = undefined;
    throw failure.error;
  }
}
