import 'reflect-metadata';
import {
  Controller,
  Injectable,
  Logger,
  UseGuards,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { Test } from '@nestjs/testing';
import { Counter, register as globalRegistry, Registry } from 'prom-client';
import request from 'supertest';
import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import { Cached } from '../decorators/cached.js';
import { KvOptionsError } from '../errors.js';
import { KvModule } from '../module/kv.module.js';
import { KvStoreService } from '../module/kv-store.service.js';
import { KvStore } from '../store/index.js';
import { SAMPLE_EVERY } from '../store/latency-sampler.js';
import { DEFINITIONS } from './definitions.js';
import { KvMetrics, KvMetricsController, KvMetricsModule } from './index.js';

const open: { close(): Promise<unknown> }[] = [];

afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

/** The values of a scrape, by name and labels as they are written. */
async function scrape(metrics: KvMetrics): Promise<Map<string, number>> {
  const lines = (await metrics.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]));
}

async function start(imports: any[], more: { controllers?: any[]; providers?: any[] } = {}) {
  const testing = await Test.createTestingModule({ imports, ...more }).compile();
  const app = testing.createNestApplication<NestExpressApplication>({ logger: false });
  open.push(app);
  return app.init();
}

describe('KvMetrics', () => {
  it('tells what stats() tells, in units of Prometheus', async () => {
    const disk = new SimulatedDisk({ capacityBytes: 2 ** 26 });
    const store = await KvStore.open({ path: '/data', env: disk.env(), compaction: false });
    open.push(store);
    const metrics = new KvMetrics();
    metrics.watch(store);
    await store.setMany(Array.from({ length: 100 }, (_, i) => [i, 'x'.repeat(100)]));
    await store.compact({ full: true });
    await store.checkpoint();
    for (let i = 0; i < 200; i++) await store.get(i);
    const values = await scrape(metrics);
    const stats = store.stats();
    const expected = {
      'hotcold_up{store="default"}': 1,
      'hotcold_keys{store="default"}': 100,
      'hotcold_reads_total{store="default",tier="cold_disk"}': stats.reads.coldHits,
      'hotcold_reads_total{store="default",tier="read_cache"}': stats.reads.cacheHits,
      'hotcold_reads_total{store="default",tier="none"}': 100,
      'hotcold_writes_total{store="default",how="appended"}': stats.writes.appended,
      'hotcold_device_written_bytes_total{store="default"}': stats.writes.deviceBytes,
      'hotcold_disk_bytes{store="default",region="cold_log"}': stats.cold.diskBytes,
      'hotcold_disk_size_bytes{store="default"}': 2 ** 26,
      'hotcold_records{store="default",region="cold"}': 100,
      'hotcold_compactions_total{store="default"}': 1,
      'hotcold_compaction_records_total{store="default",fate="copied"}': 100,
      'hotcold_compaction_last_timestamp_seconds{store="default"}': disk.clock.now() / 1000,
      'hotcold_checkpoints_total{store="default"}': 1,
      'hotcold_writable{store="default"}': 1,
    };
    expect(Object.fromEntries(Object.keys(expected).map((name) => [name, values.get(name)]))).toEqual(
      expected,
    );
    expect(stats.reads.coldHits + stats.reads.cacheHits).toBe(100);
    // Nothing of it is not a number, and what has not happened is left out instead.
    expect([...values].filter(([, value]) => Number.isNaN(value))).toEqual([]);
    expect(values.has('hotcold_compaction_progress_ratio{store="default"}')).toBe(false);
    expect(values.get('hotcold_event_loop_seconds_total{store="default",work="background"}')).toBeGreaterThan(
      0,
    );
  });

  it('follows a compaction', async () => {
    const store = await KvStore.open({ compaction: false });
    open.push(store);
    await store.setMany(Array.from({ length: 20_000 }, (_, i) => [i, 'x'.repeat(100)]));
    const seen: number[] = [];
    let running = true;
    void store.compact({ full: true }).finally(() => (running = false));
    while (running) {
      const { progress } = store.stats().compaction;
      if (progress !== undefined) seen.push(progress);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(seen.some((progress) => progress > 0 && progress < 1)).toBe(true);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(Math.max(...seen)).toBeLessThanOrEqual(1);
    expect(store.stats().compaction).toMatchObject({ progress: undefined, runs: 1 });
  });

  it('has names and units by the conventions', () => {
    for (const { name, type, help, label } of DEFINITIONS) {
      expect(name).toMatch(/^hotcold_[a-z]+(_[a-z]+)*$/);
      expect(name.endsWith('_total')).toBe(type === 'counter');
      expect(name).not.toMatch(/_(ms|milliseconds|mb|kb|percent)(_|$)/);
      expect(help).toMatch(/^.+\.$/);
      if (label !== undefined) expect(name).not.toContain(`_${label}_`);
    }
    expect(new Set(DEFINITIONS.map(({ name }) => name)).size).toBe(DEFINITIONS.length);
  });

  it('times one call in 127 of each operation, only while somebody wants to know', async () => {
    const store = await KvStore.open();
    open.push(store);
    const clock = jest.spyOn((store as any).core.parts.clock, 'tick');
    const calls = async (times: number) => {
      for (let i = 0; i < times; i++) {
        await store.set('a', i);
        await store.get('a');
        await store.update<number>('a', (n = 0) => n + 1);
        await store.batch((b) => b.set('b', 1));
        await store.delete('a');
      }
    };
    await calls(SAMPLE_EVERY);
    const untimed = clock.mock.calls.length;
    const metrics = new KvMetrics();
    const end = metrics.watch(store);
    await calls(3 * SAMPLE_EVERY);
    await expect(store.set('a', undefined as never)).rejects.toThrow();
    const count = (operation: string) =>
      `hotcold_operation_duration_seconds_count{store="default",operation="${operation}"}`;
    const values = await scrape(metrics);
    for (const operation of ['get', 'set', 'update', 'batch', 'delete'])
      expect([operation, values.get(count(operation))]).toEqual([operation, operation === 'set' ? 4 : 3]);
    expect(clock.mock.calls.length - untimed).toBeGreaterThan(untimed);
    end();
    expect((await scrape(metrics)).has(count('get'))).toBe(false);
    expect((store as any).core.sampler).toBeUndefined();
    clock.mockRestore();
  });

  it('reads each store once for all metrics of a scrape', async () => {
    const store = await KvStore.open();
    open.push(store);
    const metrics = new KvMetrics();
    metrics.watch(store);
    const stats = jest.spyOn(store, 'stats');
    await metrics.metrics();
    expect(stats).toHaveBeenCalledTimes(1);
    await Promise.all([metrics.metrics(), metrics.registry.getMetricsAsJSON()]);
    expect(stats.mock.calls.length).toBeLessThanOrEqual(3);
  });

  it('says that a store is closed, and nothing more of it', async () => {
    const store = await KvStore.open({ name: 'gone' });
    const metrics = new KvMetrics();
    metrics.watch(store);
    expect((await scrape(metrics)).get('hotcold_keys{store="gone"}')).toBe(0);
    await store.close();
    const values = await scrape(metrics);
    expect([...values].filter(([name]) => name.includes('gone'))).toEqual([['hotcold_up{store="gone"}', 0]]);
    expect(() => metrics.watch(store)).toThrow('label: "gone" is the label of another store');
  });

  it('joins a registry, leaves it again, and never touches the global one', async () => {
    const registry = new Registry();
    new Counter({ name: 'theirs_total', help: 'x', registers: [registry] });
    const metrics = new KvMetrics({ registry });
    expect(metrics.registry).toBe(registry);
    expect(await registry.metrics()).toContain('theirs_total');
    expect(await registry.metrics()).toContain('hotcold_up');
    metrics.close();
    expect(registry.getMetricsAsArray().map((metric: any) => metric.name)).toEqual(['theirs_total']);
    new KvMetrics({ registry }).close();
    new KvMetrics();
    expect(globalRegistry.getMetricsAsArray()).toEqual([]);
  });
});

describe('a registry', () => {
  it('has room for one: the next is told which metric is there, and what to do', async () => {
    const registry = new Registry();
    const first = new KvMetrics({ registry });
    const metrics = () => registry.getMetricsAsArray().length;
    const before = metrics();
    const refused =
      /registry: has the metric hotcold_up already, .* another KvMetricsModule .* registry of its own/;
    expect(() => new KvMetrics({ registry })).toThrow(KvOptionsError);
    expect(() => new KvMetrics({ registry })).toThrow(refused);
    await expect(start([KvModule.forRoot(), KvMetricsModule.forRoot({ registry })])).rejects.toThrow(refused);
    expect(metrics()).toBe(before);
    first.close();
    // Of somebody else, and nothing is registered beside it.
    new Counter({ name: 'hotcold_commits_total', help: 'x', registers: [registry] });
    expect(() => new KvMetrics({ registry })).toThrow('has the metric hotcold_commits_total already');
    expect(metrics()).toBe(1);
  });

  it('keeps the metrics of others that have come since it was cleared, or left', () => {
    const registry = new Registry();
    const first = new KvMetrics({ registry });
    registry.clear();
    const second = new KvMetrics({ registry });
    const all = registry.getMetricsAsArray().length;
    first.close();
    expect(registry.getMetricsAsArray()).toHaveLength(all);
    second.close();
    new KvMetrics({ registry });
    second.close();
    expect(registry.getMetricsAsArray()).toHaveLength(all);
  });

  it('has to be one', () => {
    for (const registry of ['metrics', {}, null])
      expect(() => new KvMetrics({ registry } as any)).toThrow('must be a Registry of prom-client');
  });
});

describe('KvMetricsModule', () => {
  @Injectable()
  class Answers {
    @Cached({ key: 'a' }) async answer() {
      return 42;
    }
  }

  it('watches all stores of the application, and counts cached methods', async () => {
    const archive = await KvStore.open();
    open.push(archive);
    const app = await start(
      [
        KvModule.forRoot(),
        KvModule.forRoot({ name: 'sessions' }),
        KvModule.forRoot({ name: 'archive', store: archive }),
        KvMetricsModule.forRoot(),
      ],
      { providers: [Answers] },
    );
    await app.get(Answers).answer();
    await app.get(Answers).answer();
    await app.get(KvStoreService).set('a', 1);
    const values = await scrape(app.get(KvMetrics));
    expect(values.get('hotcold_cached_calls_total{store="default",result="hit"}')).toBe(1);
    expect(values.get('hotcold_cached_calls_total{store="default",result="miss"}')).toBe(1);
    expect(values.get('hotcold_keys{store="default"}')).toBe(2);
    expect(values.get('hotcold_keys{store="sessions"}')).toBe(0);
    expect(values.get('hotcold_keys{store="archive"}')).toBe(0);
    await request(app.getHttpServer()).get('/metrics').expect(404);
  });

  it('mounts a controller where it is asked to, and leaves the registry when the application ends', async () => {
    const registry = new Registry();
    const imports = () => [KvModule.forRoot(), KvMetricsModule.forRoot({ registry, path: 'ops/metrics' })];
    const app = await start(imports());
    const { text, headers } = await request(app.getHttpServer()).get('/ops/metrics').expect(200);
    expect(headers['content-type']).toBe(registry.contentType);
    expect(text).toContain('# TYPE hotcold_reads_total counter');
    expect(text).toContain('hotcold_up{store="default"} 1');
    await app.close();
    expect(registry.getMetricsAsArray()).toEqual([]);
    await start(imports());
    expect(() => KvMetricsModule.forRoot({ path: '', route: 1 } as any)).toThrow(
      /route: is not an option[^]*path: must be text/,
    );
    expect(() => KvMetricsModule.forRoot('metrics' as any)).toThrow(
      "must be an object, such as KvMetricsModule.forRoot({ path: 'metrics' }), not a string",
    );
  });

  it('leaves nothing in a registry where the application does not start', async () => {
    const registry = new Registry();
    const metrics = KvMetricsModule.forRoot({ registry });
    await expect(start([KvModule.forRoot({ path: '' }), metrics])).rejects.toMatchObject({
      code: 'KV_OPTIONS',
    });
    expect(registry.getMetricsAsArray()).toEqual([]);
    const app = await start([KvModule.forRoot(), metrics]);
    expect((await scrape(app.get(KvMetrics))).get('hotcold_up{store="default"}')).toBe(1);
  });

  it('warns at the start of an application that has no store', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    try {
      const app = await start([KvModule.forRoot({ name: 'sessions' }), KvMetricsModule.forRoot()]);
      await app.close();
      // In a test: something else in the place of the store.
      const testing = Test.createTestingModule({ imports: [KvModule.forRoot(), KvMetricsModule.forRoot()] });
      await (await testing.overrideProvider(KvStoreService).useValue({}).compile()).init();
      expect(warn).not.toHaveBeenCalled();
      await start([KvMetricsModule.forRoot()]);
      expect(warn.mock.calls).toEqual([
        [expect.stringMatching(/^There is no store .*: import KvModule\.forRoot\(\).* KvMetrics\.watch\(\)/)],
      ]);
      expect(warn.mock.contexts[0].context).toBe('KvMetricsModule');
    } finally {
      warn.mockRestore();
    }
  });

  it('leaves a controller to be derived, with guards', async () => {
    class Token implements CanActivate {
      canActivate(context: ExecutionContext) {
        return context.switchToHttp().getRequest().headers.token === 'secret';
      }
    }
    @Controller('guarded')
    @UseGuards(Token)
    class Guarded extends KvMetricsController {}
    const app = await start([KvModule.forRoot(), KvMetricsModule.forRoot()], { controllers: [Guarded] });
    await request(app.getHttpServer()).get('/guarded').expect(403);
    const { text } = await request(app.getHttpServer()).get('/guarded').set('token', 'secret').expect(200);
    expect(text).toContain('hotcold_up');
  });
});
