import 'reflect-metadata';
import {
  Controller,
  Get,
  Inject,
  Injectable,
  Logger,
  Module,
  type OnApplicationShutdown,
  type OnModuleInit,
  Param,
} from '@nestjs/common';
import { LazyModuleLoader, REQUEST } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { Test, type TestingModule } from '@nestjs/testing';
import { setTimeout as sleep } from 'node:timers/promises';
import request from 'supertest';
import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import { copyOf, tempDirectory } from '../../test/support/temp-directory.js';
import { Cached } from '../decorators/cached.js';
import { InjectKv, InjectKvStore, getKvStoreToken, getKvToken } from '../decorators/inject-kv.js';
import { KvStore, type KvNamespace } from '../store/index.js';
import type { KvModuleOptions, KvOptionsFactory } from './kv-module.options.js';
import { KvModule } from './kv.module.js';
import { KvStoreService } from './kv-store.service.js';

interface User {
  name: string;
}

@Injectable()
class Users implements OnModuleInit {
  foundAtInit: unknown;

  constructor(
    readonly kv: KvStoreService,
    @InjectKv('users') readonly users: KvNamespace<User>,
  ) {}

  async onModuleInit() {
    this.foundAtInit = await this.users.get('a');
  }
}

const open: TestingModule[] = [];
let log: jest.SpyInstance;
let warn: jest.SpyInstance;
let error: jest.SpyInstance;

beforeEach(() => {
  log = jest.spyOn(Logger.prototype, 'log').mockImplementation(() => {});
  warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
  error = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => {});
});

afterEach(async () => {
  for (const app of open.splice(0)) await app.close();
  jest.restoreAllMocks();
});

async function start(imports: any[], providers: any[] = []): Promise<TestingModule> {
  const app = await (await Test.createTestingModule({ imports, providers }).compile()).init();
  open.push(app);
  return app;
}

describe('KvModule.forRoot', () => {
  it('opens a store before anything that injects it, and keeps the data over a restart', async () => {
    const path = tempDirectory();
    const imports = [KvModule.forRoot({ path }), KvModule.forFeature([{ name: 'users', ttl: '10m' }])];
    const first = await start(imports, [Users]);
    expect(first.get(Users).foundAtInit).toBeUndefined();
    await first.get(Users).users.set('a', { name: 'Ada' });
    await first.close();
    const second = await start(imports, [Users]);
    expect(second.get(Users).foundAtInit).toEqual({ name: 'Ada' });
    expect(await second.get(Users).users.ttl('a')).toBeLessThanOrEqual(600_000);
  });

  it('is global unless it is told otherwise', async () => {
    @Injectable()
    class Inner {
      constructor(readonly kv: KvStoreService) {}
    }
    @Module({ providers: [Inner], exports: [Inner] })
    class InnerModule {}
    const app = await start([KvModule.forRoot(), InnerModule]);
    expect(app.get(Inner, { strict: false }).kv).toBe(app.get(KvStoreService));
    await expect(start([KvModule.forRoot({ isGlobal: false }), InnerModule])).rejects.toThrow(
      /resolve dependencies of the Inner/,
    );
  });

  it('serves forFeature from a store that is not global', async () => {
    const storage = KvModule.forRoot({ isGlobal: false });
    const app = await start(
      [KvModule.forFeature([{ name: 'users' }], { imports: [storage] }), storage],
      [Users],
    );
    expect(await app.get(Users).users.set('a', { name: 'Ada' })).toBeGreaterThan(0);
  });

  it('lists all problems of the options when it starts', async () => {
    const options = {
      hot: { memory: '1kb', colour: 'red' },
      durability: { level: 'maybe' },
      nonsense: 1,
    } as any;
    await expect(start([KvModule.forRoot(options)])).rejects.toMatchObject({
      code: 'KV_OPTIONS',
      problems: expect.arrayContaining([
        expect.objectContaining({ path: 'hot.memory' }),
        expect.objectContaining({ path: 'hot.colour' }),
        expect.objectContaining({ path: 'durability.level' }),
        expect.objectContaining({ path: 'nonsense' }),
      ]),
    });
    expect(() => KvModule.forRoot({ isGlobal: 'yes', name: '' } as any)).toThrow(
      /name: must be[^]*isGlobal: must be/,
    );
    for (const call of ['forRoot', 'forRootAsync', 'forTesting'] as const)
      expect(() => KvModule[call]('./data' as any)).toThrow(
        new RegExp(`options: must be an object, such as KvModule\\.${call}\\(\\{.*, not a string`),
      );
  });

  it('tells which option of the module was probably meant', async () => {
    for (const [given, meant] of [
      ['isglobal', 'isGlobal'],
      ['extraProvider', 'extraProviders'],
      ['durabilty', 'durability'],
    ])
      await expect(start([KvModule.forRoot({ [given]: true } as any)])).rejects.toThrow(
        `${given}: is not an option; did you mean '${meant}'?`,
      );
  });

  it('fails to start on a directory that is open elsewhere, and leaves that one alone', async () => {
    const path = tempDirectory();
    const other = await KvStore.open({ path });
    await expect(start([KvModule.forRoot({ path })])).rejects.toMatchObject({ code: 'KV_LOCKED', path });
    expect(error).toHaveBeenCalledWith(
      expect.stringMatching(
        /cannot be opened: .* is in use by process \d+ .*PM2 in cluster mode.*a path of its own/,
      ),
    );
    await other.set('a', 1);
    await other.close();
    expect(await (await start([KvModule.forRoot({ path })])).get(KvStoreService).get('a')).toBe(1);
  });

  it.each([
    ['the first one', ['b', 'a'], 0],
    ['the second one', ['a', 'b'], 0],
    ['the second, before the first has its options,', ['late', 'b'], 300],
  ])(
    'closes the other stores where %s cannot be opened, so that the next start can',
    async (_, names, ms) => {
      const paths = new Map(names.map((name) => [name, tempDirectory()]));
      const modules = () =>
        names.map((name) =>
          KvModule.forRootAsync({
            name,
            useFactory: () => sleep(name === 'late' ? ms : 0, { path: paths.get(name)! }),
          }),
        );
      const other = await KvStore.open({ path: paths.get('b')! });
      await expect(start(modules())).rejects.toMatchObject({ code: 'KV_LOCKED', path: paths.get('b') });
      await other.close();
      await sleep(2 * ms);
      const app = await start(modules());
      for (const name of names) await app.get<KvStoreService>(getKvStoreToken(name)).set('a', 1);
    },
  );

  it('leaves the stores of a running application open where one that is loaded lazily cannot be opened', async () => {
    const [path, locked, lazy] = [tempDirectory(), tempDirectory(), tempDirectory()];
    const other = await KvStore.open({ path: locked });
    const app = await start([KvModule.forRoot({ path })]);
    const loader = app.get(LazyModuleLoader);
    const load = (name: string, at: string) => loader.load(() => KvModule.forRoot({ name, path: at }));
    const loaded = await load('lazy', lazy);
    await expect(load('locked', locked)).rejects.toMatchObject({ code: 'KV_LOCKED' });
    await app.get(KvStoreService).set('a', 1);
    const service = loaded.get<KvStoreService>(getKvStoreToken('lazy'));
    await service.set('a', 1);
    await other.close();
  });

  it.each([
    ['beside another one', [KvModule.forRoot()]],
    ['as the only one', []],
  ])('has a store that is loaded lazily %s work at once, and closes it', async (_, imports) => {
    const [path, locked] = [tempDirectory(), tempDirectory()];
    const other = await KvStore.open({ path: locked });
    const schedule = jest.spyOn(KvStore.prototype, 'startCompaction').mockClear();
    const app = await start(imports);
    const before = schedule.mock.calls.length;
    const load = async (name: string, at: string) => {
      const loaded = await app.get(LazyModuleLoader).load(() => KvModule.forRoot({ name, path: at }));
      return loaded.get<KvStoreService>(getKvStoreToken(name));
    };
    const lazy = await load('lazy', path);
    expect(schedule.mock.contexts.slice(before)).toEqual([lazy.store]);
    await expect(load('second', locked)).rejects.toMatchObject({ code: 'KV_LOCKED' });
    await other.close();
    const second = await load('second', locked);
    await lazy.set('a', 1);
    await app.close();
    expect([lazy.isOpen, second.isOpen]).toEqual([false, false]);
    const again = await KvStore.open({ path });
    expect([again.opened.clean, await again.get('a')]).toEqual([true, 1]);
    await again.close();
  });

  it('takes a store that was opened by hand, and does not close it', async () => {
    const store = await KvStore.open();
    const app = await start([KvModule.forRoot({ store }), KvModule.forFeature([{ name: 'users' }])], [Users]);
    expect(app.get(KvStoreService).store).toBe(store);
    await app.get(Users).users.set('a', { name: 'Ada' });
    await app.close();
    expect(await store.namespace('users').get('a')).toEqual({ name: 'Ada' });
    await expect(start([KvModule.forRoot({ store, path: 'x' } as any)])).rejects.toThrow(
      'path: has no effect',
    );
    await store.close();
    await expect(start([KvModule.forRoot({ store })])).rejects.toMatchObject({ code: 'KV_CLOSED' });
    await expect(start([KvModule.forRoot({ store: {} } as any)])).rejects.toThrow(
      'store: must be an open KvStore',
    );
  });

  it('tells of a store that was opened by hand as long as the application is there', async () => {
    const store = await KvStore.open({ compaction: false });
    const told = async () => {
      log.mockClear();
      await store.set('a', 1);
      await store.compact({ full: true });
      return log.mock.calls.filter(([message]) => /compaction \(.*done/.test(message as string)).length;
    };
    const module = KvModule.forRoot({ store });
    const app = await start([module]);
    expect(await told()).toBe(1);
    await app.close();
    expect(await told()).toBe(0);
    const failing = KvModule.forRoot({ name: 'failing', path: '' });
    await expect(start([module, failing])).rejects.toMatchObject({ code: 'KV_OPTIONS' });
    expect(await told()).toBe(0);
    await store.close();
  });

  it('gives a store that was opened by hand the name that it has in the application', async () => {
    const store = await KvStore.open({ name: 'own' });
    const app = await start([KvModule.forRoot({ store }), KvModule.forRoot({ name: 'archive', store })]);
    expect(app.get(KvStoreService).name).toBe('default');
    expect(app.get<KvStoreService>(getKvStoreToken('archive')).name).toBe('archive');
    await app.close();
    await store.close();
  });

  it('keeps stores of different names apart', async () => {
    @Injectable()
    class Both {
      constructor(
        @InjectKvStore() readonly main: KvStoreService,
        @InjectKvStore('sessions') readonly sessions: KvStoreService,
        @InjectKv('users') readonly users: KvNamespace,
        @InjectKv('users', { store: 'sessions' }) readonly others: KvNamespace,
      ) {}
      @Cached({ store: 'sessions', key: 'k' }) async cached() {
        return 1;
      }
    }
    const path = tempDirectory();
    const app = await start(
      [
        KvModule.forRoot(),
        KvModule.forRoot({ name: 'sessions', path }),
        KvModule.forFeature([{ name: 'users' }]),
        KvModule.forFeature([{ name: 'users' }], { store: 'sessions' }),
      ],
      [Both],
    );
    const both = app.get(Both);
    expect([both.main.name, both.sessions.name]).toEqual(['default', 'sessions']);
    expect(both.main).toBe(app.get(KvStoreService));
    expect(both.sessions).toBe(app.get(getKvStoreToken('sessions')));
    await both.users.set('a', 'main');
    await both.others.set('a', 'sessions');
    expect(await app.get<KvNamespace>(getKvToken('users')).get('a')).toBe('main');
    expect(await both.sessions.namespace('users').get('a')).toBe('sessions');
    await both.cached();
    expect(both.sessions.stats().keys - both.main.stats().keys).toBe(1);
  });

  it('refuses two stores of one name', async () => {
    await expect(start([KvModule.forRoot(), KvModule.forRoot({ hot: { memory: '16mb' } })])).rejects.toThrow(
      'name: "default" names 2 stores',
    );
  });
});

describe('KvModule.forRootAsync', () => {
  const PATH = Symbol('path');
  @Module({ providers: [{ provide: PATH, useFactory: () => tempDirectory() }], exports: [PATH] })
  class ConfigModule {}

  @Injectable()
  class Factory implements KvOptionsFactory {
    constructor(@Inject(PATH) private readonly path: string) {}
    async createKvOptions(): Promise<KvModuleOptions> {
      return { path: this.path, hot: { memory: '8mb' } };
    }
  }

  const here = { provide: PATH, useFactory: () => tempDirectory() };
  const useFactory = async (path: string) => ({ path });

  it.each([
    ['useFactory', { imports: [ConfigModule], inject: [PATH], useFactory }],
    ['useFactory with extraProviders', { extraProviders: [here], inject: [PATH], useFactory }],
    ['useClass', { imports: [ConfigModule], useClass: Factory }],
    ['useClass with extraProviders', { extraProviders: [here], useClass: Factory }],
    ['useExisting with extraProviders', { extraProviders: [here, Factory], useExisting: Factory }],
  ])('takes %s', async (_, options) => {
    const app = await start([KvModule.forRootAsync(options)]);
    const kv = app.get(KvStoreService);
    await kv.set('a', 1);
    expect(await kv.get('a')).toBe(1);
    expect(log).toHaveBeenCalledWith(expect.stringMatching(/^Store "default" in \/.*: created$/));
  });

  it('is global unless it is told otherwise, and keeps extraProviders to itself', async () => {
    const options = { name: 'sessions', extraProviders: [here], inject: [PATH], useFactory };
    @Injectable()
    class Inner {
      constructor(@InjectKvStore('sessions') readonly kv: KvStoreService) {}
    }
    @Module({ providers: [Inner] })
    class InnerModule {}
    const app = await start([KvModule.forRootAsync(options), InnerModule]);
    expect(app.get(Inner, { strict: false }).kv.name).toBe('sessions');
    await expect(
      start([KvModule.forRootAsync({ ...options, isGlobal: false }), InnerModule]),
    ).rejects.toThrow(/resolve dependencies of the Inner/);
    await expect(
      start([KvModule.forRootAsync(options)], [{ provide: 'x', inject: [PATH], useFactory }]),
    ).rejects.toThrow(/resolve dependencies/);
  });

  it('takes useExisting', async () => {
    @Module({ imports: [ConfigModule], providers: [Factory], exports: [Factory] })
    class FactoryModule {}
    const app = await start([KvModule.forRootAsync({ imports: [FactoryModule], useExisting: Factory })]);
    expect(app.get(KvStoreService).stats().hot.memoryBudgetBytes).toBe(8 * 1024 * 1024);
  });

  it('takes a name, which the options need not repeat', async () => {
    const app = await start([KvModule.forRootAsync({ name: 'sessions', useFactory: () => ({}) })]);
    expect(app.get<KvStoreService>(getKvStoreToken('sessions')).name).toBe('sessions');
    const factory = (options: any) => start([KvModule.forRootAsync({ useFactory: () => options })]);
    await expect(factory({ name: 'other', isGlobal: true })).rejects.toThrow(
      /name: must be beside useFactory[^]*isGlobal: must be beside/,
    );
    await expect(factory(undefined)).rejects.toThrow(
      "options: must be an object, such as { path: './data' }, not undefined: that is what the factory returned",
    );
    // What `config.get('KV_PATH')` of a variable makes that nobody has set.
    await expect(factory({ path: undefined })).rejects.toThrow(/path: is undefined .*: give a directory/);
    const ofClass = new (class {
      get hot() {
        return { memory: 1 };
      }
    })();
    await expect(factory(ofClass)).rejects.toThrow(/hot\.memory/);
    await expect(factory({ hot: { memory: 1 }, nonsense: 1 })).rejects.toThrow(/hot\.memory[^]*nonsense/);
    expect(() => KvModule.forRootAsync({})).toThrow('needs one of useFactory, useClass and useExisting');
  });

  it('refuses what would have no effect beside the factory', () => {
    const options = { path: './data', hot: {}, isglobal: false, useFactory: () => ({}) } as any;
    expect(() => KvModule.forRootAsync(options)).toThrow(
      /path: must be in what useFactory returns[^]*hot: must be in what[^]*isglobal: .*did you mean 'isGlobal'/,
    );
  });

  it('refuses to open a store for each request', async () => {
    const options = { inject: [REQUEST], useFactory: () => ({}) };
    await expect(start([KvModule.forRootAsync(options)])).rejects.toThrow(
      /forRootAsync: needs a provider that is made for each request/,
    );
  });

  it('fails to start when the factory fails', async () => {
    const useFactory = () => Promise.reject(new Error('no configuration'));
    await expect(start([KvModule.forRootAsync({ useFactory })])).rejects.toThrow('no configuration');
  });
});

describe('KvModule.forFeature', () => {
  it('is needed for a namespace, and Nest says which is missing', async () => {
    await expect(start([KvModule.forRoot()], [Users])).rejects.toThrow('KvNamespace("users")');
  });

  it('needs the store', async () => {
    await expect(start([KvModule.forFeature([{ name: 'users' }])], [Users])).rejects.toThrow('KvStore');
  });

  it('refuses what is no namespace, all at once', () => {
    const features = [{ name: '' }, { name: 'a', ttl: 'soon' }, 'users', { name: 'b', colour: 1 }] as any;
    expect(() => KvModule.forFeature(features)).toThrow(
      /\[0\]\.name[^]*\[1\]\.ttl[^]*\[2\]: must be an object[^]*\[3\]\.colour: is not an option/,
    );
    expect(() => KvModule.forFeature('users' as any)).toThrow('must get a list');
    expect(() => KvModule.forFeature([{ name: 'users', tll: 1 } as any])).toThrow("did you mean 'ttl'?");
  });

  it('does not take the default store where another one was meant', () => {
    const example = "must be an object, such as { store: 'archive' }, not a string";
    const users = [{ name: 'users' }];
    expect(() => KvModule.forFeature(users, 'archive' as any)).toThrow(`second argument: ${example}`);
    expect(() => KvModule.forFeature(users, { stor: 'archive' } as any)).toThrow(
      "second argument: stor: is not an option; did you mean 'store'?",
    );
    expect(() => InjectKv('users', 'archive' as any)).toThrow(example);
    expect(() => getKvToken('users', { name: 'archive' } as any)).toThrow('name: is not an option');
  });

  it('gives a namespace one default ttl for the whole application', async () => {
    class WithTtl {
      @Cached({ namespace: 'users' }) async get(): Promise<number> {
        return 1;
      }
    }
    const app = await start(
      [KvModule.forRoot(), KvModule.forFeature([{ name: 'users', ttl: '10m' }])],
      [WithTtl],
    );
    const kv = app.get(KvStoreService);
    await kv.namespace('users').set('a', 1);
    expect(await kv.namespace('users').ttl('a')).toBeLessThanOrEqual(600_000);
    await app.get(WithTtl).get();
    expect(await kv.namespace('users').ttl(['WithTtl', 'WithTtl', 'get'])).toBeLessThanOrEqual(600_000);
    const twice = [
      KvModule.forFeature([{ name: 'users', ttl: '10m' }]),
      KvModule.forFeature([{ name: 'users', ttl: 1 }]),
    ];
    await expect(start([KvModule.forRoot(), ...twice])).rejects.toThrow('declare the same one everywhere');
  });
});

describe('KvStoreService', () => {
  it('passes every call on to the engine, with its own promises', async () => {
    const kv = (await start([KvModule.forRoot()])).get(KvStoreService);
    const promise = Promise.resolve(1 as unknown);
    jest.spyOn(kv.store, 'get').mockReturnValueOnce(promise);
    expect(kv.get('a')).toBe(promise);
    expect(await kv.set('a', 1)).toBeGreaterThan(0);
    expect(await kv.setIfAbsent('a', 2)).toBe(false);
    await kv.setMany([
      ['b', 2],
      ['c', 3, { ttl: '1m' }],
    ]);
    expect(await kv.getMany(['a', 'b', 'x'])).toEqual([1, 2, undefined]);
    expect([kv.peek('a'), await kv.has('a'), await kv.has('x')]).toEqual([1, true, false]);
    expect(await kv.getEntry('a')).toMatchObject({ value: 1, expiresAt: undefined });
    expect(await kv.increment('a')).toBe(2);
    expect(await kv.update<number>('a', (n = 0) => n * 10)).toBe(20);
    expect(await kv.touch('a', '1m')).toBe(true);
    expect(await kv.ttl('a')).toBeLessThanOrEqual(60_000);
    expect([await kv.delete('a'), await kv.deleteMany(['a', 'b'])]).toEqual([true, 1]);
    expect(await kv.flush()).toBeDefined();
    await kv.clear();
    expect(kv.stats().keys).toBe(0);
    expect([kv.isOpen, kv.opened.created, typeof kv.on('error', () => {})]).toEqual([true, true, 'function']);
  });

  it('says so where a module has it among its own providers', async () => {
    await expect(start([KvModule.forRoot()], [KvStoreService])).rejects.toThrow(
      /KvStoreService: needs an open store: .*`providers` of a module.* KvModule\.forRoot\(\) provides it/,
    );
  });

  it('can be replaced in a test, and then no store is opened', async () => {
    const openStore = jest.spyOn(KvStore, 'open');
    const users = { get: jest.fn().mockResolvedValue({ name: 'fake' }) };
    const app = await Test.createTestingModule({
      imports: [KvModule.forRoot({ path: '/nowhere/at/all' }), KvModule.forFeature([{ name: 'users' }])],
      providers: [Users],
    })
      .overrideProvider(KvStoreService)
      .useValue({ namespace: () => users })
      .compile();
    await app.init();
    expect(app.get(Users).foundAtInit).toEqual({ name: 'fake' });
    expect(openStore).not.toHaveBeenCalled();
    await app.close();
  });

  it('leaves a single namespace to be replaced as well', async () => {
    const app = await Test.createTestingModule({
      providers: [
        Users,
        { provide: KvStoreService, useValue: {} },
        { provide: getKvToken('users'), useValue: new Map([['a', { name: 'map' }]]) },
      ],
    }).compile();
    await app.init();
    expect(app.get(Users).foundAtInit).toEqual({ name: 'map' });
  });
});

describe('the life of a store', () => {
  it('ends after the last request, and after the hooks of those who use it', async () => {
    const atShutdown: unknown[] = [];
    let arrived = () => {};
    const inFlight = new Promise<void>((resolve) => (arrived = resolve));
    @Controller()
    class Slow implements OnApplicationShutdown {
      constructor(private readonly kv: KvStoreService) {}
      @Get('slow/:key')
      async slow(@Param('key') key: string) {
        arrived();
        await sleep(100);
        await this.kv.set(key, 'written late');
        return { value: await this.kv.get(key) };
      }
      async onApplicationShutdown() {
        atShutdown.push(await this.kv.get('a'));
      }
    }
    const path = tempDirectory();
    const testing = await Test.createTestingModule({
      imports: [KvModule.forRoot({ path })],
      controllers: [Slow],
    }).compile();
    const app = testing.createNestApplication<NestExpressApplication>();
    await app.listen(0);
    const answer = request(app.getHttpServer())
      .get('/slow/a')
      .set('Connection', 'close')
      .then((r) => r.body);
    await inFlight;
    const { store } = app.get(KvStoreService);
    await app.close();
    expect(await answer).toEqual({ value: 'written late' });
    expect(atShutdown).toEqual(['written late']);
    expect(store.isOpen).toBe(false);
    const reopened = await KvStore.open({ path });
    expect(await reopened.get('a')).toBe('written late');
    await reopened.close();
  });

  it('is logged: what was created, recovered, and dropped after an unclean stop', async () => {
    const path = tempDirectory();
    const first = await start([KvModule.forRoot({ path })]);
    expect(log).toHaveBeenCalledWith(`Store "default" in ${path}: created`);
    const kv = first.get(KvStoreService);
    await kv.set('a', 1);
    await kv.flush();
    const killed = copyOf(path);
    await first.close();
    await start([KvModule.forRoot({ path })]);
    expect(log).toHaveBeenCalledWith(expect.stringMatching(/: opened in \d+ ms$/));
    expect(warn).not.toHaveBeenCalled();
    await start([KvModule.forRoot({ path: killed })]);
    expect(log).toHaveBeenCalledWith(expect.stringMatching(/: recovered 1 records in \d+ ms$/));
    expect(warn).toHaveBeenCalledWith(expect.stringContaining('had not been closed'));
  });

  it('compacts from the start of the application until it shuts down, and tells what it did', async () => {
    const path = tempDirectory();
    const tiny = {
      path,
      hot: { memory: '8mb', segmentSize: '1mb', diskBudget: '1mb' },
      compaction: { every: 20 },
    } as const;
    const module = await Test.createTestingModule({ imports: [KvModule.forRoot(tiny)] }).compile();
    const { store } = module.get(KvStoreService);
    const fill = async () => {
      for (let i = 0; i < 3000; i++) await store.set(i, `${i}`.padEnd(1000, 'x'));
      await store.flush();
    };
    const messages = () =>
      log.mock.calls.map(([text]) => String(text)).filter((text) => text.includes('compaction'));
    // Before the application is up, nothing runs by itself.
    await fill();
    await sleep(60);
    expect(store.stats()).toMatchObject({ compaction: { running: false }, cold: { diskBytes: 0 } });
    await module.init();
    for (let i = 0; messages().length === 0 && i < 500; i++) await sleep(10);
    expect(messages()[0]).toMatch(
      /^Store "default": compaction \((budget|interval)\) done in \d+ ms: read .* MiB, copied \d+ records .*write amplification so far \d/,
    );
    expect(store.stats().cold.diskBytes).toBeGreaterThan(0);
    expect(store.stats().hot.diskBytes).toBeLessThan(2.5 * 1024 * 1024);
    // Between the first and the last hook of the shutdown the store is open, and nothing runs.
    const stopped = store.stopCompaction.bind(store);
    let filledAfterwards = false;
    jest.spyOn(store, 'stopCompaction').mockImplementation(async () => {
      await stopped();
      const before = messages().length;
      await fill();
      await sleep(60);
      expect(messages()).toHaveLength(before);
      expect(store.stats().compaction.running).toBe(false);
      filledAfterwards = true;
    });
    await module.close();
    expect(filledAfterwards).toBe(true);
    expect(store.isOpen).toBe(false);
  });

  it('ends for each store, also where one of them cannot be closed', async () => {
    // Nest 11 rejects, later ones log it.
    const told = jest.spyOn(Logger, 'error').mockImplementation(() => {});
    for (const failing of ['a', 'b']) {
      const disks = new Map(['a', 'b'].map((name) => [name, new SimulatedDisk()]));
      const modules = [...disks].map(([name, disk]) =>
        KvModule.forRoot({ name, path: '/data', env: disk.env() }),
      );
      const app = await Test.createTestingModule({ imports: modules }).compile();
      await app.init();
      const stores = ['a', 'b'].map((name) => app.get<KvStoreService>(getKvStoreToken(name)));
      for (const store of stores) await store.set('a', 1);
      disks.get(failing)!.failAt({ operation: 'sync', nth: 1, code: 'EIO', sticky: true });
      await app.close().catch((failure: Error) => Logger.error(failure));
      expect(told.mock.lastCall?.[0]).toMatchObject({ code: 'KV_READ_ONLY' });
      expect(stores.map(({ isOpen }) => isOpen)).toEqual([false, false]);
    }
  });

  it('tells what fails in the background', async () => {
    const kv = (await start([KvModule.forRoot()])).get(KvStoreService);
    (kv.store as any).core.parts.onError(new Error('disk on fire'));
    expect(error).toHaveBeenCalledWith('Store "default": disk on fire', expect.anything());
  });
});
