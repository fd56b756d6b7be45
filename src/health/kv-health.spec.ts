import 'reflect-metadata';
import { Controller, Get } from '@nestjs/common';
import { HealthCheck, HealthCheckService, TerminusModule } from '@nestjs/terminus';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { Test } from '@nestjs/testing';
import request from 'supertest';
import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import { KvModule } from '../module/kv.module.js';
import { KvStoreService } from '../module/kv-store.service.js';
import { KvStore, kvTestingOptions, type KvStoreOptions } from '../store/index.js';
import { KvHealthIndicator, type KvHealthOptions } from './index.js';

const MIB = 1024 * 1024;
let options: KvHealthOptions = {};

@Controller('health')
class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly kv: KvHealthIndicator,
  ) {}

  @Get()
  @HealthCheck()
  check() {
    return this.health.check([() => this.kv.isHealthy('kv', options)]);
  }
}

const apps: NestExpressApplication[] = [];

async function start(store: KvStoreOptions | KvStore) {
  const kv = store instanceof KvStore ? KvModule.forRoot({ store }) : KvModule.forRoot(store);
  const testing = await Test.createTestingModule({
    imports: [kv, TerminusModule.forRoot({ logger: false })],
    controllers: [HealthController],
    providers: [KvHealthIndicator],
  }).compile();
  const app = testing.createNestApplication<NestExpressApplication>({ logger: false });
  apps.push(app);
  await app.init();
  const check = async (asked: KvHealthOptions = {}) => {
    options = asked;
    const { status, body } = await request(app.getHttpServer()).get('/health');
    return { status, kv: { ...body.info?.kv, ...body.error?.kv } };
  };
  return { app, check, kv: app.get(KvStoreService) };
}

afterEach(async () => {
  for (const app of apps.splice(0)) await app.close().catch(() => undefined);
});

describe('KvHealthIndicator', () => {
  it('tells of a store on a disk what an operator wants to know', async () => {
    const disk = new SimulatedDisk({ capacityBytes: 64 * MIB });
    const { check, kv } = await start({ path: '/data', env: disk.env() });
    const { status, kv: first } = await check({ minFree: '8mb' });
    expect(status).toBe(200);
    expect(first).toMatchObject({ status: 'up', open: true, writable: true, backlog: 0, errors: 0 });
    expect(first).toMatchObject({ totalBytes: 64 * MIB });
    expect(first.freeBytes).toBeLessThan(64 * MIB);
    expect(first.lastCheckpoint ?? first.lastCompaction ?? first.lastError).toBeUndefined();

    await kv.set('a', 1);
    await kv.compact({ full: true });
    await kv.checkpoint();
    const { kv: then } = await check();
    const now = new Date(disk.clock.now()).toISOString();
    expect(then).toMatchObject({ status: 'up', lastCompaction: now, lastCheckpoint: now });
  });

  it('is down when the disk has less room than asked for', async () => {
    const disk = new SimulatedDisk({ capacityBytes: 64 * MIB });
    const { check } = await start({ path: '/data', env: disk.env() });
    const { status, kv } = await check({ minFree: '1gb' });
    expect(status).toBe(503);
    expect(kv).toMatchObject({ status: 'down', open: true, writable: true });
    expect(kv.message).toContain('less than 1073741824 (minFree)');
  });

  it('asks for no room on a disk where a store has none', async () => {
    const { check } = await start(kvTestingOptions({ memoryLimit: '64mb' }));
    expect(await check({ minFree: '500mb' })).toMatchObject({
      status: 200,
      kv: { status: 'up', totalBytes: 64 * MIB },
    });
  });

  it('is down when the store has become read-only, and says why', async () => {
    const disk = new SimulatedDisk();
    const { check, kv } = await start({ path: '/data', env: disk.env(), durability: { level: 'always' } });
    disk.failAt({ operation: 'sync', nth: 1, code: 'EIO', sticky: true });
    await expect(kv.set('a', 1)).rejects.toThrow();
    const { status, kv: down } = await check();
    expect(status).toBe(503);
    expect(down).toMatchObject({ status: 'down', open: true, writable: false, errors: 1 });
    expect(down.message).toContain('read-only since a write to disk failed');
    expect(down.lastError).toContain('read-only');
    expect(down.lastErrorAt).toBe(new Date(disk.clock.now()).toISOString());
  });

  it('is down when too many writes wait, and where the store is closed or missing', async () => {
    const store = await KvStore.open({ device: 'memory', durability: { level: 'always' } });
    const { check } = await start(store);
    const write = store.set('a', 1);
    // It waits for its commit, which takes longer than a look at the memory device.
    const indicator = apps[0].get(KvHealthIndicator);
    const waiting = await indicator.isHealthy('kv', { maxBacklog: 0 });
    expect(waiting.kv).toMatchObject({ status: 'down' });
    await write;
    expect(await check({ maxBacklog: 0 })).toMatchObject({ status: 200 });
    await store.close();
    expect(await check()).toMatchObject({ status: 503, kv: { message: 'The store is closed' } });
    expect((await check({ store: 'other' })).kv.message).toBe('No module provides the store "other"');
    await expect(
      indicator.isHealthy('kv', { minFree: 'much', maxBacklog: -1, free: 1 } as any),
    ).rejects.toThrow(/minFree: [^]*maxBacklog: [^]*free: is not an option/);
  });

  it('is up on a store that was opened to be read', async () => {
    const disk = new SimulatedDisk();
    await (await KvStore.open({ path: '/data', env: disk.env() })).close();
    const { check } = await start({ path: '/data', env: disk.env(), readOnly: true });
    expect((await check()).kv).toMatchObject({ status: 'up', writable: false });
  });
});
