import 'reflect-metadata';
import { Controller, Get, Injectable, Logger, Module, Scope } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { CacheEvict } from '../decorators/cache-evict.js';
import { CachePut } from '../decorators/cache-put.js';
import { Cached } from '../decorators/cached.js';
import { getCachedStats } from '../decorators/cached-stats.js';
import { KvModule } from './kv.module.js';

let warn: jest.SpyInstance;
const open: TestingModule[] = [];

beforeEach(() => {
  jest.spyOn(Logger.prototype, 'log').mockImplementation(() => {});
  warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
});

afterEach(async () => {
  for (const app of open.splice(0)) await app.close();
  jest.restoreAllMocks();
});

/** What an application is warned of at its start. */
async function warnings(more: {
  imports?: any[];
  providers?: any[];
  controllers?: any[];
}): Promise<string[]> {
  const imports = [KvModule.forTesting(), ...(more.imports ?? [])];
  const app = await Test.createTestingModule({ ...more, imports }).compile();
  open.push(app);
  await app.init();
  return warn.mock.calls.map(([text]) => String(text));
}

/** A class whose method `find` is cached with these options. */
function cachedBy(name: string, options: Parameters<typeof Cached>[0]) {
  const type = {
    [name]: class {
      async find(id: number) {
        return id;
      }
    },
  }[name];
  const descriptor = Object.getOwnPropertyDescriptor(type.prototype, 'find') as PropertyDescriptor;
  Cached(options)(type.prototype, 'find', descriptor);
  Object.defineProperty(type.prototype, 'find', descriptor);
  Injectable()(type);
  return type;
}

describe('a decorated method without a store', () => {
  it('is warned of at the start, with class and method', async () => {
    @Controller('reports')
    class ReportsController {
      @Get()
      @Cached({ store: 'reports' })
      async list() {
        return 1;
      }
    }
    @Injectable({ scope: Scope.REQUEST })
    class PerRequest {
      @CacheEvict({ store: 'sessions', key: 'a' }) async end() {}
    }
    const told = await warnings({ controllers: [ReportsController], providers: [PerRequest] });
    expect(told).toHaveLength(2);
    expect(told[0]).toBe(
      '@Cached on ReportsController.list (RootTestModule) is without the store "reports", so the method runs as if it were ' +
        'not decorated. No module provides it (there is "default"): import KvModule.forRoot({ name: "reports" }).',
    );
    expect(told[1]).toMatch(/^@CacheEvict on PerRequest\.end .* "sessions"/);
  });

  it('is warned of where Nest has not made the instance', async () => {
    const Made = cachedBy('Made', { key: 'a' });
    const Given = cachedBy('Given', { key: 'b' });
    const told = await warnings({
      providers: [
        { provide: 'made', useFactory: () => new Made() },
        { provide: 'given', useValue: new Given() },
        { provide: 'alias', useExisting: 'made' },
      ],
    });
    expect(told).toHaveLength(2);
    expect(told[0]).toContain('Made.find (RootTestModule) is without the store "default"');
    expect(told[0]).toContain('Nest did not make the instance (useFactory, useValue)');
    expect(told[1]).toContain('Given.find');
  });

  it('is warned of where the store is not global, and not imported', async () => {
    const Inner = cachedBy('Inner', { store: 'own' });
    const Outer = cachedBy('Outer', { store: 'own' });
    const own = KvModule.forTesting({ name: 'own', isGlobal: false });
    @Module({ imports: [own], providers: [Inner] })
    class OwnModule {}
    const told = await warnings({ imports: [OwnModule], providers: [Outer] });
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/Outer\.find .* It is not global, and RootTestModule does not import it/);
  });

  it('without any store runs uncached, and tells so once', async () => {
    const Alone = cachedBy('Alone', {});
    const app = await Test.createTestingModule({ providers: [Alone] }).compile();
    open.push(app);
    await app.init();
    const before = getCachedStats().failures;
    const alone = app.get<{ find(id: number): Promise<number> }>(Alone);
    expect(await Promise.all([alone.find(1), alone.find(2), alone.find(3)])).toEqual([1, 2, 3]);
    expect(getCachedStats().failures - before).toBe(3);
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn).toHaveBeenCalledWith(
      expect.stringContaining('Alone.find runs uncached: no store "default"'),
    );
  });
});

describe('methods with the same keys', () => {
  it.each([
    ['a template', (id: number) => `user:${id}`, (key: number) => `user:${key}/x`, 'keys begin with "user:"'],
    ['a sum', (id: number) => 'user:' + id, (id: string) => `user:${id}`, 'keys begin with "user:"'],
    [
      'a list',
      (id: number) => ['user', id],
      function (id: number) {
        return ['user', id, 1];
      },
      'keys begin with "user"',
    ],
    ['the argument', (id: number) => id, (user: number) => user, 'the key is the first argument'],
    ['a constant', ['a', { b: 1 }], ['a', { b: 1 }], 'the key is the same'],
    ['the same text', (a: any) => a.id, (a: any) => a.id, 'the key functions are the same'],
  ])('are warned of: %s', async (_, first: any, second: any, what) => {
    const told = await warnings({
      providers: [cachedBy('Users', { key: first }), cachedBy('Orders', { key: second })],
    });
    expect(told).toEqual([
      `@Cached on Users.find (RootTestModule) and Orders.find (RootTestModule): ${what}, in namespace "@Cached" of store ` +
        '"default", so one may answer for the other. Give each a key prefix or a `namespace` of its own.',
    ]);
  });

  it('are warned of where two classes have one name, or inherit a method whose keys do not tell them apart', async () => {
    class Base {
      @Cached({ key: (id: number) => `entity:${id}` }) async find(id: number) {
        return id;
      }
    }
    @Injectable()
    class Cats extends Base {}
    @Injectable()
    class Dogs extends Base {}
    const told = await warnings({
      providers: [Cats, Dogs, cachedBy('Twin', {}), { provide: 'twin', useClass: cachedBy('Twin', {}) }],
    });
    expect(told).toHaveLength(2);
    expect(told[0]).toMatch(/Cats\.find .* and Dogs\.find .*: keys begin with "entity:"/);
    expect(told[1]).toMatch(
      /Twin\.find .* and Twin\.find .*: classes of one name have the same keys, .* only the first that is called/,
    );
  });

  it('are nothing to warn of where they are apart, or meant to be the same', async () => {
    @Injectable()
    class Users {
      @Cached({ key: (id: number) => `user:${id}` }) async find(id: number) {
        return id;
      }
      @CachePut({ key: (id: number) => `user:${id}` }) async save(id: number) {
        return id;
      }
      @CacheEvict({ key: (id: number) => `user:${id}` }) async remove(_id: number) {}
      @Cached({ key: (id: number) => `profile:${id}` }) async profile(id: number) {
        return id;
      }
      @Cached() async all() {
        return [];
      }
      get trap(): never {
        throw new Error('a getter is not to be asked');
      }
    }
    class PerClass {
      @Cached({
        key(this: object, id: number) {
          return `of:${this.constructor.name}:${id}`;
        },
      })
      async find(id: number) {
        return id;
      }
    }
    @Injectable()
    class A extends PerClass {}
    @Injectable()
    class B extends PerClass {}
    const told = await warnings({
      imports: [KvModule.forTesting({ name: 'other' })],
      providers: [
        Users,
        A,
        B,
        { provide: 'again', useClass: Users },
        cachedBy('Elsewhere', { key: (id: number) => `user:${id}`, namespace: 'elsewhere' }),
        cachedBy('OtherStore', { key: (id: number) => `user:${id}`, store: 'other' }),
        cachedBy('Suffix', { key: (id: number) => `${id}:user` }),
      ],
    });
    expect(told).toEqual([]);
  });
});
