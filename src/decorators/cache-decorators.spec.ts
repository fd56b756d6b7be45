/** What the options of the decorators do, beyond the matrix of `test/nest/matrix.spec.ts`. */
import 'reflect-metadata';
import { Controller, Get, Inject, Injectable, Logger, Param, Req, Scope } from '@nestjs/common';
import { REQUEST } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { Test, type TestingModule } from '@nestjs/testing';
import { setTimeout as sleep } from 'node:timers/promises';
import { concat, lastValueFrom, of, throwError, type Observable } from 'rxjs';
import request from 'supertest';
import { SimulatedClock } from '../../test/support/simulated-clock.js';
import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import { HeldReads, openOn, turns, valueOf } from '../../test/support/compacting.js';
import { nodeEnv } from '../device/node-env.js';
import { KvModule } from '../module/kv.module.js';
import { KvStoreService } from '../module/kv-store.service.js';
import { CacheEvict } from './cache-evict.js';
import { CachePut } from './cache-put.js';
import { Cached } from './cached.js';
import { getCachedStats } from './cached-stats.js';

let runs = 0;
let warn: jest.SpyInstance;
let testing: TestingModule | undefined;
const clock = new SimulatedClock();

beforeEach(() => {
  runs = 0;
  warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
});

afterEach(async () => {
  await testing?.close();
  testing = undefined;
  warn.mockRestore();
});

async function start(...providers: any[]): Promise<TestingModule> {
  return startWith({ env: { ...nodeEnv, clock } }, ...providers);
}

async function startWith(options: object, ...providers: any[]): Promise<TestingModule> {
  testing = await Test.createTestingModule({ imports: [KvModule.forRoot(options)], providers }).compile();
  return testing.init();
}

class User {
  constructor(
    readonly name: string,
    readonly team: number,
  ) {}
  get shout(): string {
    return this.name.toUpperCase();
  }
}

describe('@Cached', () => {
  it('runs the method once for 10,000 concurrent calls of one cold key', async () => {
    @Injectable()
    class Slow {
      @Cached() async get(id: number): Promise<object> {
        await sleep(5);
        return { id, run: ++runs };
      }
    }
    const app = await start(Slow);
    const slow = app.get(Slow);
    const results = await Promise.all(Array.from({ length: 10_000 }, () => slow.get(1)));
    expect([runs, new Set(results).size]).toEqual([1, 1]);
    expect(getCachedStats(app.get(KvStoreService))).toMatchObject({ misses: 1, shared: 9_999, failures: 0 });
  });

  it('takes ttl and tags as functions of result and arguments, with the instance as this', async () => {
    @Injectable()
    class Users {
      prefix = 'team';
      @Cached({
        key: (id: number) => id,
        ttl: (user: User | null) => (user ? '1m' : 1000),
        tags(this: Users, user: User | null, id: number) {
          return user ? [`${this.prefix}:${user.team}`, `user:${id}`] : [];
        },
      })
      async find(id: number): Promise<object | null> {
        runs++;
        return id === 0 ? null : { name: `u${id}`, team: id % 2 };
      }
    }
    const app = await start(Users);
    const [users, kv] = [app.get(Users), app.get(KvStoreService)];
    const all = async () => {
      for (const id of [0, 1, 2, 3]) await users.find(id);
      return runs;
    };
    expect([await all(), await all()]).toEqual([4, 4]);
    await kv.invalidateTags('team:1');
    expect(await all()).toBe(6);
    await kv.invalidateTags('user:2');
    expect(await all()).toBe(7);
    clock.advance(1000);
    expect(await all()).toBe(8);
  });

  it('answers stale results while the method runs, and when it fails', async () => {
    @Injectable()
    class Stale {
      @Cached({ ttl: 1000, staleWhileRevalidate: 1000 }) async swr(): Promise<number> {
        return ++runs;
      }
      @Cached({ ttl: 1000, staleWhileRevalidate: 1000 }) observed(): Observable<number> {
        return of(++runs);
      }
      @Cached({ ttl: 1000, staleIfError: 1000 }) async sie(): Promise<number> {
        if (++runs > 1) throw new Error('down');
        return runs;
      }
      @Cached({ ttl: 1000, staleIfError: 1000 }) observedSie(): Observable<number> {
        return ++runs > 1 ? throwError(() => new Error('down')) : of(runs);
      }
    }
    const stale = (await start(Stale)).get(Stale);
    for (const call of [() => stale.swr(), () => lastValueFrom(stale.observed())]) {
      runs = 0;
      expect(await call()).toBe(1);
      clock.advance(1500);
      expect(await call()).toBe(1);
      await turns(5);
      expect([await call(), runs]).toEqual([2, 2]);
    }
    for (const call of [() => stale.sie(), () => lastValueFrom(stale.observedSie())]) {
      runs = 0;
      expect(await call()).toBe(1);
      clock.advance(1500);
      expect([await call(), runs]).toEqual([1, 2]);
      clock.advance(500);
      await expect(call()).rejects.toThrow('down');
    }
  });

  it('does not answer a stale result behind what an Observable has emitted before it failed', async () => {
    @Injectable()
    class Stale {
      @Cached({ ttl: 1000, staleIfError: 1000 }) read(): Observable<number> {
        return ++runs === 1
          ? of(runs)
          : concat(
              of(runs),
              throwError(() => new Error('late')),
            );
      }
    }
    const stale = (await start(Stale)).get(Stale);
    await lastValueFrom(stale.read());
    clock.advance(1500);
    const seen: unknown[] = [];
    await new Promise<void>((resolve) => {
      stale.read().subscribe({
        next: (value) => seen.push(value),
        error: (error) => resolve(void seen.push(error.message)),
        complete: () => resolve(void seen.push('complete')),
      });
    });
    expect(seen).toEqual([2, 'late']);
  });

  it('makes a stale result anew once for concurrent subscribers, also if it is emitted at once', async () => {
    @Injectable()
    class Stale {
      @Cached({ key: 'swr', ttl: 1000, staleWhileRevalidate: 1000 }) swr(): Observable<number> {
        return of(++runs);
      }
      @Cached({ key: 'sie', ttl: 1000, staleIfError: 1000 }) sie(): Observable<number> {
        return of(++runs);
      }
    }
    const stale = (await start(Stale)).get(Stale);
    for (const call of [() => stale.swr(), () => stale.sie()]) {
      runs = 0;
      await lastValueFrom(call());
      clock.advance(1500);
      await Promise.all(Array.from({ length: 5 }, () => lastValueFrom(call())));
      expect([await lastValueFrom(call()), runs]).toEqual([2, 2]);
    }
  });

  it('does not use what was kept with another version, for every kind of method', async () => {
    const classOf = (version: number) => {
      @Injectable()
      class Versioned {
        @Cached({ key: 'a', version }) async async(): Promise<number> {
          return ++runs;
        }
        @Cached({ key: 'p', version }) plain(): number[] {
          return [++runs];
        }
        @Cached({ key: 'o', version }) observed(): Observable<number> {
          return of(++runs);
        }
      }
      return Versioned;
    };
    const versions = [classOf(0), classOf(1)];
    const app = await start(...versions);
    const all = async () => {
      for (const type of versions) {
        const it = app.get(type);
        for (let i = 0; i < 2; i++) {
          await it.async();
          it.plain();
          await lastValueFrom(it.observed());
        }
      }
      return runs;
    };
    expect([await all(), await all()]).toEqual([6, 12]);
  });

  it('brings instances of a class back', async () => {
    @Injectable()
    class Users {
      @Cached({ type: User }) async one(name: string): Promise<User> {
        return new User(name, ++runs);
      }
      @Cached({ type: User }) async many(): Promise<(User | null)[]> {
        return [new User('a', ++runs), null];
      }
      @Cached({ type: User }) observed(): Observable<User> {
        return of(new User('o', ++runs));
      }
      @Cached({ type: User }) plain(): any {
        return new User('p', ++runs);
      }
      @Cached({ type: User }) async none(): Promise<User | null> {
        return null;
      }
    }
    const users = (await start(Users)).get(Users);
    for (let i = 0; i < 2; i++) {
      const found = [
        await users.one('n'),
        (await users.many())[0],
        await lastValueFrom(users.observed()),
        users.plain(),
      ];
      for (const user of found) expect(user).toBeInstanceOf(User);
      expect(found.map((user) => user?.shout)).toEqual(['N', 'A', 'O', 'P']);
      expect((await users.many())[1]).toBeNull();
      expect(await users.none()).toBeNull();
    }
    expect(runs).toBe(4);
    expect(warn).not.toHaveBeenCalled();
  });

  it('does not wait for a store that is slow', async () => {
    @Injectable()
    class Users {
      @Cached({ key: (id: string) => id, namespace: 'n', timeout: 200 }) async find(
        id: string,
      ): Promise<string> {
        return `${id} ${++runs}`;
      }
      @Cached({ key: (id: string) => id, namespace: 'n', timeout: 200 }) observed(
        id: string,
      ): Observable<string> {
        return of(`${id} ${++runs}`);
      }
    }
    const disk = new SimulatedDisk();
    const reads = new HeldReads(disk);
    const store = await openOn(disk, { env: reads.env });
    const space = store.namespace('n');
    const keys = Array.from({ length: 200 }, (_, i) => `k${i}`);
    for (const key of keys) {
      await space.set(key, valueOf(key, 0, 5000));
      await store.set(key, valueOf(key, 0, 5000));
    }
    await store.flush();
    await reads.slowDown(store, keys);
    const app = await startWith({ store }, Users);
    const users = app.get(Users);
    disk.hangAt({ operation: 'read', nth: 1 });
    const calls = [users.find('k7'), lastValueFrom(users.observed('k7'))];
    await turns(20);
    disk.clock.advance(200);
    await turns(20);
    disk.clock.advance(200);
    expect((await Promise.all(calls)).map((text) => text.slice(0, 3))).toEqual(['k7 ', 'k7 ']);
    expect(getCachedStats(app.get(KvStoreService)).failures).toBeGreaterThan(0);
    disk.letGo();
    await store.close();
  });

  it('keeps users and languages apart, in controllers and request-scoped providers', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class Menu {
      constructor(@Inject(REQUEST) readonly request: any) {}
      @Cached({
        key(this: Menu, page: string) {
          return ['menu', this.request.headers['x-user'], page];
        },
      })
      async of(page: string): Promise<string> {
        return `${this.request.headers['x-user']} ${page} ${++runs}`;
      }
    }
    @Controller()
    class Pages {
      constructor(private readonly menu: Menu) {}
      @Get('page/:id')
      @Cached({ key: (id: string, { headers }: any) => ['page', id, headers['accept-language']] })
      async page(@Param('id') id: string, @Req() { headers }: any): Promise<string> {
        return `${headers['accept-language']} ${id} ${++runs}`;
      }
      @Get('menu')
      async ofUser(): Promise<string> {
        return this.menu.of('home');
      }
    }
    testing = await Test.createTestingModule({
      imports: [KvModule.forRoot()],
      controllers: [Pages],
      providers: [Menu],
    }).compile();
    const app = testing.createNestApplication<NestExpressApplication>();
    await app.init();
    const get = async (path: string, headers: Record<string, string>) =>
      (await request(app.getHttpServer()).get(path).set(headers)).text;
    for (let i = 0; i < 2; i++) {
      expect(await get('/page/1', { 'accept-language': 'en' })).toBe('en 1 1');
      expect(await get('/page/1', { 'accept-language': 'de' })).toBe('de 1 2');
      expect(await get('/menu', { 'x-user': 'ada' })).toBe('ada home 3');
      expect(await get('/menu', { 'x-user': 'bob' })).toBe('bob home 4');
    }
  });
});

describe('@CacheEvict', () => {
  @Injectable()
  class Users {
    @Cached({ key: (id: string) => id, tags: ['users'] }) async find(id: string): Promise<number> {
      await sleep(1);
      return ++runs + Number(id.length === 0);
    }
    @Cached({ key: 'list', namespace: 'lists', tags: ['users'] }) async list(): Promise<number> {
      return ++runs;
    }
    @CacheEvict({ key: (id: string) => id, condition: (_: string, fails?: string) => fails !== 'skip' })
    async rename(_id: string, fails?: string): Promise<string> {
      if (fails === 'fail') throw new Error('no');
      return 'done';
    }
    @CacheEvict({ tags: ['users'] }) async importAll(): Promise<void> {}
    @CacheEvict({ tags: ['users'], namespace: 'lists' }) async relist(): Promise<void> {}
    @CacheEvict({ all: true }) async reset(): Promise<void> {}
    @CacheEvict({ resultKey: ({ id }: { id: string }) => id }) async create(
      id: string,
    ): Promise<{ id: string }> {
      return { id };
    }
    @CacheEvict({ key: 'a' })
    @CacheEvict({ key: 'b' })
    async both(): Promise<void> {}
    @CacheEvict({ key: () => undefined as any }) async bad(): Promise<string> {
      return 'done';
    }
    @CacheEvict({ key: 'a' }) async *generated(): AsyncGenerator<number> {
      yield 1;
    }
  }

  it('drops by key, tag, namespace, and all', async () => {
    const users = (await start(Users)).get(Users);
    const state = async () => [await users.find('a'), await users.find('b'), await users.list()];
    expect(await state()).toEqual([1, 2, 3]);
    await users.rename('a');
    expect(await state()).toEqual([4, 2, 3]);
    await users.create('b');
    expect(await state()).toEqual([4, 5, 3]);
    await users.relist();
    expect(await state()).toEqual([4, 5, 6]);
    await users.importAll();
    expect(await state()).toEqual([7, 8, 9]);
    await users.reset();
    expect(await state()).toEqual([10, 11, 9]);
    await users.both();
    expect(await state()).toEqual([12, 13, 9]);
    for await (const one of users.generated()) expect(one).toBe(1);
    expect(await state()).toEqual([14, 13, 9]);
  });

  it('drops the others where one cannot be told', async () => {
    @Injectable()
    class Users {
      @Cached({ key: (id: string) => id, tags: (_, id: string) => [id] })
      async find(_id: string): Promise<number> {
        return ++runs;
      }
      @CacheEvict({ key: 'a', resultKey: ({ id }: any) => id, tags: ['c'] })
      async change(): Promise<void> {}
    }
    const app = await start(Users);
    const users = app.get(Users);
    const state = async () => [await users.find('a'), await users.find('b'), await users.find('c')];
    expect(await state()).toEqual([1, 2, 3]);
    await users.change();
    expect(await state()).toEqual([4, 2, 5]);
    expect(getCachedStats(app.get(KvStoreService)).failures).toBe(1);
  });

  it('does nothing when the method fails, or the condition says so', async () => {
    const users = (await start(Users)).get(Users);
    await users.find('a');
    await expect(users.rename('a', 'fail')).rejects.toThrow('no');
    await users.rename('a', 'skip');
    expect(await users.find('a')).toBe(1);
  });

  it('makes a run that is under way keep nothing', async () => {
    const users = (await start(Users)).get(Users);
    const early = users.find('a');
    await users.rename('a');
    const late = users.find('a');
    expect([await early, await late, await users.find('a'), runs]).toEqual([1, 2, 2, 2]);
  });

  it('never fails the method', async () => {
    const app = await start(Users);
    const users = app.get(Users);
    expect(await users.bad()).toBe('done');
    expect(warn.mock.calls[0][0]).toMatch(/^@CacheEvict on Users\.bad failed: /);
    expect(warn.mock.contexts[0].context).toBe('CacheEvict');
    await app.get(KvStoreService).store.close();
    expect(await users.rename('a')).toBe('done');
    expect(await new Users().rename('a')).toBe('done');
  });

  it('has to be told what to drop', () => {
    const decorate = (options: any) => () => {
      class Victim {
        @CacheEvict(options) async change(): Promise<void> {}
      }
      return Victim;
    };
    expect(decorate({})).toThrow('@CacheEvict on Victim.change: options: must say what to drop');
    const bad = { key: null, resultKey: 1, all: 1, tags: [1], nonsense: 1 };
    expect(decorate(bad)).toThrow(/nonsense[^]*key[^]*resultKey[^]*all[^]*tags\[0\]/);
  });
});

describe('@CachePut', () => {
  @Injectable()
  class Users {
    @Cached({ key: (id: string) => id, ttl: '1h', version: 1, type: User }) async find(
      id: string,
    ): Promise<User | undefined> {
      return new User(id, ++runs);
    }
    @CachePut({ key: (user: User) => user.name, ttl: '1m', version: 1, tags: ['users'], type: User })
    async save(user: User): Promise<User | undefined> {
      if (user.team < 0) throw new Error('no');
      return user.team === 0 ? undefined : user;
    }
    @CachePut({ resultKey: (user: User) => user.name, version: 1 }) async create(): Promise<object> {
      return { name: 'made', team: 7 };
    }
  }

  it('keeps what the method returns, as the options say', async () => {
    const app = await start(Users);
    const [users, kv] = [app.get(Users), app.get(KvStoreService)];
    expect((await users.find('a'))?.team).toBe(1);
    await users.save(new User('a', 50));
    expect(await users.find('a')).toEqual(new User('a', 50));
    expect(await kv.namespace('@Cached').ttl('a')).toBe(60_000);
    await expect(users.save(new User('a', -1))).rejects.toThrow('no');
    expect((await users.find('a'))?.team).toBe(50);
    await kv.invalidateTags('users');
    expect((await users.find('a'))?.team).toBe(2);
    await users.create();
    expect((await users.find('made'))?.team).toBe(7);
    // Nothing to keep: what was there is not true any more.
    await users.save(new User('a', 0));
    expect((await users.find('a'))?.team).toBe(3);
  });

  it('never fails the method, and has to be told the key', async () => {
    const app = await start(Users);
    await app.get(KvStoreService).store.close();
    expect((await app.get(Users).save(new User('a', 1)))?.name).toBe('a');
    const decorate = (options: any) => () => {
      class Victim {
        @CachePut(options) async change(): Promise<void> {}
      }
      return Victim;
    };
    expect(decorate({})).toThrow('@CachePut on Victim.change: key: must be given');
    expect(decorate({ key: 'a', resultKey: () => 'b' })).toThrow('key: must be given');
    expect(decorate({ key: 'a', ttl: 'soon', jitter: 3, type: {} })).toThrow(/ttl[^]*jitter[^]*type/);
  });
});
