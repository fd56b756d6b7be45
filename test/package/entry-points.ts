/** Every entry point as TypeScript sees it: compiled, with the declarations themselves checked, and not run. */
import { KvModule, type KvNamespace, type KvStore, type KvStoreService } from 'nestjs-hotcold';
import { type KvHealthIndicator } from 'nestjs-hotcold/health';
import { KvKeyvStore } from 'nestjs-hotcold/keyv';
import { KvMetrics, KvMetricsModule } from 'nestjs-hotcold/metrics';
import { KvSessionStore } from 'nestjs-hotcold/session';
import * as engine from 'nestjs-hotcold/store';
import { kvDriver } from 'nestjs-hotcold/unstorage';

export async function compiled(service: KvStoreService): Promise<unknown[]> {
  const store: KvStore = await engine.KvStore.open({ path: './data' });
  const users: KvNamespace<{ name: string }> = store.namespace('users');
  const user: { name: string } | undefined = await users.get('u-1');
  // @ts-expect-error a namespace has the type of its values
  await users.set('u-1', 1);
  const seconds: number = (await service.compact()).tookMs / 1000;
  const adapters = [new KvKeyvStore(service), new KvSessionStore(store), kvDriver(store)];
  const health = (kv: KvHealthIndicator) => kv.isHealthy('kv', { minFree: '1gb' });
  const metrics = [KvMetricsModule.forRoot({ path: 'metrics' }), new KvMetrics().watch(service), health];
  return [KvModule.forRoot({ store }), user, seconds, ...adapters, ...metrics];
}
