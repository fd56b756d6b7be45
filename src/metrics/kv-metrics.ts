/**
 * Metrics of stores for Prometheus, on `prom-client`. Values are read from `stats()` when they are asked for, once for all
 * metrics of a scrape; the one thing that is measured while calls are made is how long they take, on one call in 127. The
 * registry is one of its own, or one that is given: never the global one by itself.
 */
import { Counter, Gauge, Histogram, Registry, type Metric } from 'prom-client';
import { getCachedStats } from '../decorators/cached-stats.js';
import { KvOptionsError } from '../errors.js';
import type { KvDiskSpace, KvOperation, KvStats, KvStoreEvents } from '../store/index.js';
import { DEFINITIONS, type Definition, type Observed } from './definitions.js';

/** From a microsecond, which a read from memory takes, to a disk that hangs. */
const LATENCY_BUCKETS = [
  1e-6, 1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5,
];

const OPERATIONS: readonly KvOperation[] = ['get', 'set', 'delete', 'update', 'batch'];

const UP = 'hotcold_up';
const DURATION = 'hotcold_operation_duration_seconds';
const NAMES: readonly string[] = [UP, DURATION, ...DEFINITIONS.map(({ name }) => name)];

export interface KvMetricsOptions {
  /** Where the metrics are registered, beside others that are there. Default: a registry of their own. */
  registry?: Registry;
}

/** What is needed of a store: a `KvStore` or a `KvStoreService`. */
export interface KvMeteredStore {
  readonly name: string;
  readonly isOpen: boolean;
  stats(): KvStats;
  diskSpace(): Promise<KvDiskSpace | undefined>;
  on(event: 'latency', listener: (sample: KvStoreEvents['latency']) => void): () => void;
}

type Labels = Record<string, string>;

interface Watched {
  store: KvMeteredStore;
  end: () => void;
}

/**
 * Metrics of any number of stores, told apart by the label `store`. `KvMetricsModule` makes one of these for all stores of
 * an application; without Nest, hand it the stores.
 *
 * @example
 * const metrics = new KvMetrics();
 * metrics.watch(store);
 * http.createServer(async (_, response) => response.end(await metrics.metrics())).listen(9100);
 */
export class KvMetrics {
  /** Where the metrics are. */
  readonly registry: Registry;
  private readonly watched = new Map<string, Watched>();
  /** By their names. */
  private readonly own = new Map<string, Metric>();
  private readonly latency: Histogram;
  private joined = false;
  /** What this turn of the microtask queue has read already. */
  private observed: Promise<Map<string, Observed>> | undefined;

  /** @throws KvOptionsError when the registry has metrics of these names, such as those of another `KvMetrics` */
  constructor(options?: KvMetricsOptions);
  /** @internal */
  constructor(options: KvMetricsOptions, when: 'later');
  constructor({ registry = new Registry() }: KvMetricsOptions = {}, when?: 'later') {
    requireRoom(registry);
    this.registry = registry;
    const up = new Gauge({
      name: UP,
      help: '1 while the store is open.',
      labelNames: ['store'],
      registers: [],
      collect: () => {
        up.reset();
        for (const [name, { store }] of this.watched) up.set({ store: name }, Number(store.isOpen));
      },
    });
    this.latency = new Histogram({
      name: DURATION,
      help: 'How long calls take until their promise is settled, of one call in 127.',
      labelNames: ['store', 'operation'],
      buckets: LATENCY_BUCKETS,
      registers: [],
    });
    this.own.set(UP, up).set(DURATION, this.latency);
    for (const definition of DEFINITIONS) this.own.set(definition.name, this.metric(definition));
    if (when !== 'later') this.join();
  }

  /** Registers what was made to be registered later. Throws as the constructor does. @internal */
  join(): void {
    if (this.joined) return;
    requireRoom(this.registry);
    this.joined = true;
    for (const metric of this.own.values()) this.registry.registerMetric(metric);
  }

  /**
   * Includes a store. Its calls are timed from now on.
   *
   * @param label value of the label `store`; default the store's name
   * @returns a function that leaves it out again
   * @throws KvOptionsError when another store has the label
   */
  watch(store: KvMeteredStore, label = store.name): () => void {
    if (this.watched.has(label)) {
      const problem = `${JSON.stringify(label)} is the label of another store: give this one its own`;
      throw new KvOptionsError([{ path: 'label', problem }]);
    }
    this.join();
    const labels = OPERATIONS.map((operation) => ({ store: label, operation }));
    const silence = store.on('latency', ({ operation, ms }) => {
      this.latency.observe({ store: label, operation }, ms / 1000);
    });
    const end = () => {
      if (!this.watched.delete(label)) return;
      silence();
      for (const one of labels) this.latency.remove(one);
    };
    this.watched.set(label, { store, end });
    return end;
  }

  /** Everything in the registry as text, for a scrape. */
  metrics(): Promise<string> {
    return this.registry.metrics();
  }

  /** What `metrics()` returns, for the header `Content-Type`. */
  get contentType(): string {
    return this.registry.contentType;
  }

  /** Leaves all stores out, and takes the metrics out of the registry. */
  close(): void {
    for (const { end } of [...this.watched.values()]) end();
    for (const [name, metric] of this.own) {
      // Since the registry was cleared, or these metrics closed, there may be others.
      if (this.registry.getSingleMetric(name) === metric) this.registry.removeSingleMetric(name);
    }
  }

  private metric(definition: Definition): Metric {
    const { name, type, help, label } = definition;
    const labelNames = label === undefined ? ['store'] : ['store', label];
    const common = { name, help, labelNames, registers: [] };
    if (type === 'gauge') {
      const put = (labels: Labels, value: number) => gauge.set(labels, value);
      const gauge: Gauge = new Gauge({ ...common, collect: () => this.collect(definition, gauge, put) });
      return gauge;
    }
    // A counter of `prom-client` only goes up; what it counts is counted elsewhere.
    const put = (labels: Labels, value: number) => counter.inc(labels, value);
    const counter: Counter = new Counter({
      ...common,
      collect: () => this.collect(definition, counter, put),
    });
    return counter;
  }

  private async collect(
    { label, read }: Definition,
    metric: { reset(): void },
    put: (labels: Labels, value: number) => void,
  ): Promise<void> {
    const observed = await this.observe();
    metric.reset();
    for (const [store, one] of observed) {
      const values = read(one);
      if (label === undefined || typeof values !== 'object') {
        if (typeof values === 'number') put({ store }, values);
        continue;
      }
      for (const [value, number] of Object.entries(values))
        if (number !== undefined) put({ store, [label]: value }, number);
    }
  }

  /** Of all stores that are open, once for all metrics that are collected together. */
  private observe(): Promise<Map<string, Observed>> {
    if (this.observed) return this.observed;
    const observed = this.read();
    this.observed = observed;
    // A registry asks all metrics before it waits for one.
    void observed.finally(() => (this.observed = undefined));
    return observed;
  }

  private async read(): Promise<Map<string, Observed>> {
    const open = [...this.watched].filter(([, { store }]) => store.isOpen);
    const spaces = await Promise.all(open.map(([, { store }]) => store.diskSpace().catch(() => undefined)));
    const observed = new Map<string, Observed>();
    open.forEach(([name, { store }], index) => {
      // It may have been closed while the disk was asked.
      if (!store.isOpen) return;
      observed.set(name, { stats: store.stats(), cached: getCachedStats(store), space: spaces[index] });
    });
    return observed;
  }
}

/** Before anything is registered: half of the metrics would stay. @throws KvOptionsError */
function requireRoom(registry: Registry): void {
  if (typeof (registry as Partial<Registry> | null)?.getSingleMetric !== 'function')
    throw new KvOptionsError([{ path: 'registry', problem: 'must be a Registry of prom-client' }]);
  const taken = NAMES.find((name) => registry.getSingleMetric(name));
  if (taken === undefined) return;
  const problem =
    `has the metric ${taken} already, such as of another KvMetricsModule or KvMetrics that joined it: let one of them have it ` +
    '(it watches all stores of its application, and KvMetrics.watch() adds others), give this one a registry of its own, or ' +
    'close() the other first';
  throw new KvOptionsError([{ path: 'registry', problem }]);
}
