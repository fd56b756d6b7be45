import 'reflect-metadata';
import { Injectable, Logger } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { Cached } from '../decorators/cached.js';
import { InjectKv, getKvStoreToken, getKvToken } from '../decorators/inject-kv.js';
import { KvStore, KvTestClock, kvTestingOptions, type KvNamespace } from '../store/index.js';
import { KV_MODULE_OPTIONS, KvModule } from './kv.module.js';
import { KvStoreService } from './kv-store.service.js';

@Injectable()
class Carts {
  runs = 0;

  constructor(
    readonly kv: KvStoreService,
    @InjectKv('carts') readonly carts: KvNamespace<string[]>,
  ) {}

  @Cached({ ttl: '5m', key: 'total' })
  async total(): Promise<number> {
    return ++this.runs;
  }
}

beforeEach(() => {
  jest.spyOn(Logger.prototype, 'log').mockImplementation(() => {});
});

afterEach(() => jest.restoreAllMocks());

const features = KvModule.forFeature([{ name: 'carts', ttl: '1h' }]);

describe('KvModule.forTesting', () => {
  it('has a store whose TTLs follow a clock that the test moves', async () => {
    const app = await Test.createTestingModule({
      imports: [KvModule.forTesting(), features],
      providers: [Carts],
    }).compile();
    await app.init();
    const clock = app.get(KvTestClock);
    const { carts, kv } = app.get(Carts);
    expect(new Date(clock.now()).toISOString()).toBe('2026-01-01T00:00:00.000Z');
    await carts.set('ada', ['apple']);
    await kv.set('forever', 1);
    clock.advance('59m');
    expect(await carts.ttl('ada')).toBe(60_000);
    clock.advance(60_000);
    expect(await carts.get('ada')).toBeUndefined();
    expect(await kv.get('forever')).toBe(1);

    expect([await app.get(Carts).total(), await app.get(Carts).total()]).toEqual([1, 1]);
    clock.advance('6m');
    expect(await app.get(Carts).total()).toBe(2);
    await app.close();
  });

  it('shares a clock among stores', async () => {
    const clock = new KvTestClock(new Date('2030-02-03'));
    const app = await Test.createTestingModule({
      imports: [KvModule.forTesting({ clock }), KvModule.forTesting({ name: 'sessions', clock })],
    }).compile();
    const stores = [app.get(KvStoreService), app.get<KvStoreService>(getKvStoreToken('sessions'))];
    for (const store of stores) await store.set('a', store.name, { ttl: '1m' });
    expect(await Promise.all(stores.map((store) => store.get('a')))).toEqual(['default', 'sessions']);
    expect((await stores[0].getEntry('a'))?.expiresAt).toBe(Date.parse('2030-02-03T00:01:00Z'));
    clock.advance('1m');
    expect(await Promise.all(stores.map((store) => store.get('a')))).toEqual([undefined, undefined]);
    expect(app.get(KvTestClock)).toBe(clock);
    await app.close();
  });

  it('fires timers in their order, each at its time', () => {
    const clock = new KvTestClock(0);
    const fired: [string, number][] = [];
    const note = (name: string) => () => fired.push([name, clock.now()]);
    clock.after(20, note('second'));
    clock.after(10, () => {
      note('first')();
      clock.after(5, note('set on the way'));
    });
    clock.after(20, note('third'));
    clock.after(31, note('later'));
    clock.after(5, note('cancelled'))();
    clock.advance(30);
    expect(fired).toEqual([
      ['first', 10],
      ['set on the way', 15],
      ['second', 20],
      ['third', 20],
    ]);
    expect(clock.now()).toBe(30);
    expect(() => clock.advance('soon')).toThrow('duration: must be');
    expect(() => new KvTestClock(NaN)).toThrow('start: must be');
  });

  it('refuses what would put the store elsewhere', () => {
    const options = { path: './data', env: {}, clock: {} } as any;
    expect(() => KvModule.forTesting(options)).toThrow(
      /path: is not for[^]*env: is not for[^]*clock: must be/,
    );
    expect(() => KvModule.forTesting({ name: '' })).toThrow('name: must be');
  });

  it('takes the other options', async () => {
    const app = await Test.createTestingModule({
      imports: [KvModule.forTesting({ hot: { memory: '8mb' }, durability: { level: 'always' } })],
    }).compile();
    const kv = app.get(KvStoreService);
    expect(kv.stats().hot.memoryBudgetBytes).toBe(8 * 1024 * 1024);
    await kv.set('a', 1);
    await kv.compact({ full: true });
    expect(await kv.get('a')).toBe(1);
    await app.close();
  });
});

describe('an application in a test', () => {
  it('has all of its stores in memory when their options are overridden', async () => {
    const open = jest.spyOn(KvStore, 'openIdle');
    const clock = new KvTestClock();
    const app = await Test.createTestingModule({
      imports: [
        KvModule.forRoot({ path: '/nowhere/at/all' }),
        KvModule.forRootAsync({
          name: 'sessions',
          useFactory: () => {
            throw new Error('not to be called');
          },
        }),
        features,
      ],
      providers: [Carts],
    })
      .overrideProvider(KV_MODULE_OPTIONS)
      .useValue(kvTestingOptions({ clock }))
      .compile();
    await app.init();
    expect(open).toHaveBeenCalledTimes(2);
    const sessions = app.get<KvStoreService>(getKvStoreToken('sessions'));
    expect(sessions.name).toBe('sessions');
    await app.get(Carts).carts.set('ada', ['apple']);
    clock.advance('2h');
    expect(await app.get(Carts).carts.get('ada')).toBeUndefined();
    await app.close();
  });

  it('has something simple in the place of a namespace when that is overridden', async () => {
    const app = await Test.createTestingModule({
      imports: [KvModule.forTesting(), features],
      providers: [Carts],
    })
      .overrideProvider(getKvToken('carts'))
      .useValue(new Map([['ada', ['pear']]]))
      .compile();
    await app.init();
    expect(app.get(Carts).carts.get('ada')).toEqual(['pear']);
    await app.close();
  });
});
