/** Metrics in a Nest application: of all its stores, and a controller for whoever wants it. */
import {
  Controller,
  Get,
  Inject,
  Logger,
  Module,
  Res,
  type DynamicModule,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { KvOptionsError } from '../errors.js';
import { isObject, notAnObject, unknownOption } from '../store/option-problems.js';
import { hasStores, storesOf } from '../module/kv-stores.js';
import { KvMetrics, type KvMetricsOptions } from './kv-metrics.js';

const logger = new Logger('KvMetricsModule');

export interface KvMetricsModuleOptions extends KvMetricsOptions {
  /**
   * Path of a controller that answers a scrape, such as `'metrics'`. Without it none is mounted: the metrics say much about
   * an application, so think of who may read them.
   */
  path?: string;
}

/**
 * Answers a scrape. `KvMetricsModule.forRoot({ path })` mounts it; to put guards on it, derive a controller of your own, and
 * list that in a module which imports `KvMetricsModule`.
 *
 * @example
 * ```ts
 * @Controller('internal/metrics')
 * @UseGuards(ScraperGuard)
 * class MetricsController extends KvMetricsController {}
 * ```
 */
@Controller('metrics')
export class KvMetricsController {
  // Injected as a property, so that a derived controller needs no constructor.
  @Inject(KvMetrics)
  private readonly kvMetrics!: KvMetrics;

  @Get()
  async metrics(
    @Res({ passthrough: true }) response: { header(name: string, value: string): unknown },
  ): Promise<string> {
    response.header('Content-Type', this.kvMetrics.contentType);
    return this.kvMetrics.metrics();
  }
}

class KvMetricsLifecycle implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    private readonly metrics: KvMetrics,
    private readonly modules: ModulesContainer,
  ) {}

  onApplicationBootstrap(): void {
    // Not before: of an application that does not start, nobody would take them out again.
    this.metrics.join();
    if (!hasStores(this.modules))
      logger.warn(
        'There is no store to tell metrics of: import KvModule.forRoot() as well, or hand KvMetrics.watch() the stores that ' +
          'you have opened yourself.',
      );
    const taken = new Set<string>();
    for (const store of storesOf(this.modules)) {
      // Stores of modules that are not global may share a name.
      let label = store.name;
      for (let n = 2; taken.has(label); n++) label = `${store.name} ${n}`;
      taken.add(label);
      if (store.isOpen) this.metrics.watch(store, label);
    }
  }

  /** So that the next application of this process, as in tests, can have the registry. */
  onApplicationShutdown(): void {
    this.metrics.close();
  }
}

/**
 * Metrics of all stores that the application starts with, to be injected as `KvMetrics`; those of modules that are loaded
 * lazily are handed to `KvMetrics.watch()`.
 *
 * @example
 * ```ts
 * @Module({ imports: [KvModule.forRoot({ path: './data' }), KvMetricsModule.forRoot({ path: 'metrics' })] })
 * class AppModule {}
 * ```
 */
@Module({})
export class KvMetricsModule {
  /**
   * @param options `registry`: one to join, default its own; `path`: where to mount a controller, default nowhere
   * @throws KvOptionsError with every problem
   */
  static forRoot(options: KvMetricsModuleOptions = {}): DynamicModule {
    if (!isObject(options)) {
      const problem = notAnObject(options, "KvMetricsModule.forRoot({ path: 'metrics' })");
      throw new KvOptionsError([{ path: 'options', problem }]);
    }
    const { path, registry, ...rest } = options;
    const problems = Object.keys(rest).map((name) => ({
      path: name,
      problem: unknownOption(name, ['path', 'registry']),
    }));
    if (path !== undefined && (typeof path !== 'string' || path === ''))
      problems.push({ path: 'path', problem: "must be text, such as 'metrics'" });
    if (problems.length > 0) throw new KvOptionsError(problems);
    return {
      module: KvMetricsModule,
      providers: [
        { provide: KvMetrics, useFactory: () => new KvMetrics(registry ? { registry } : {}, 'later') },
        {
          provide: KvMetricsLifecycle,
          inject: [KvMetrics, ModulesContainer],
          useFactory: (metrics: KvMetrics, modules: ModulesContainer) =>
            new KvMetricsLifecycle(metrics, modules),
        },
      ],
      controllers: path === undefined ? [] : [controllerAt(path)],
      exports: [KvMetrics],
    };
  }
}

function controllerAt(path: string) {
  @Controller(path)
  class MountedKvMetricsController extends KvMetricsController {}
  return MountedKvMetricsController;
}
