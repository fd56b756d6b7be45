/** When `@CacheEvict` and `@CachePut` act on methods that return Observables, and what they see of the values. */
import 'reflect-metadata';
import { Injectable, Logger } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  concat,
  defer,
  first,
  firstValueFrom,
  from,
  lastValueFrom,
  map,
  NEVER,
  of,
  take,
  tap,
  throwError,
  timer,
  type Observable,
} from 'rxjs';
import { KvModule } from '../module/kv.module.js';
import { KvStoreService } from '../module/kv-store.service.js';
import { KvNamespace } from '../store/kv-store.js';
import { CacheEvict } from './cache-evict.js';
import { CachePut } from './cache-put.js';
import { Cached } from './cached.js';
import { getCachedStats } from './cached-stats.js';

let warn: jest.SpyInstance;
let testing: TestingModule;
let runs = 0;
let source: Observable<any>;

@Injectable()
class Names {
  @Cached({ key: 'a' }) async find(): Promise<unknown> {
    return ++runs;
  }
  @CacheEvict({ key: 'a' }) evict(): Observable<any> {
    return source;
  }
  @CachePut({ key: 'a' }) put(): Observable<any> {
    return source;
  }
}

async function start(provider: any): Promise<TestingModule> {
  testing = await Test.createTestingModule({
    imports: [KvModule.forRoot()],
    providers: [provider],
  }).compile();
  return testing.init();
}

beforeEach(() => {
  runs = 0;
  warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
});

afterEach(async () => {
  await testing.close();
  warn.mockRestore();
});

describe('an Observable that is left before it completes', () => {
  it.each<[string, (values: Observable<string>) => Promise<string>]>([
    ['firstValueFrom', (values) => firstValueFrom(values)],
    ['take(1)', (values) => lastValueFrom(values.pipe(take(1)))],
    ['first()', (values) => lastValueFrom(values.pipe(first()))],
  ])('has been acted on, with %s', async (_, leave) => {
    const names = (await start(Names)).get(Names);
    const sources = [
      of('new'),
      of('new', 'newer'),
      timer(1).pipe(map(() => 'new')),
      concat(of('new'), NEVER),
    ];
    for (source of sources) {
      const before = runs;
      expect(await leave(names.evict())).toBe('new');
      expect(await names.find()).toBe(before + 1);
      expect(await leave(names.put())).toBe('new');
      expect(await names.find()).toBe('new');
    }
  });

  it('has not, if it failed or had no value yet', async () => {
    const names = (await start(Names)).get(Names);
    expect(await names.find()).toBe(1);
    source = concat(
      of('new'),
      throwError(() => new Error('no')),
    );
    await expect(lastValueFrom(names.evict())).rejects.toThrow('no');
    await expect(lastValueFrom(names.put())).rejects.toThrow('no');
    source = NEVER;
    names.evict().subscribe().unsubscribe();
    names.put().subscribe().unsubscribe();
    expect(await names.find()).toBe(1);
  });

  it('has been acted on once, also if it completes', async () => {
    const names = (await start(Names)).get(Names);
    source = of('new', 'newer');
    expect(await lastValueFrom(names.put())).toBe('newer');
    expect(await names.find()).toBe('newer');
    const deletes = jest.spyOn(KvNamespace.prototype, 'delete');
    expect(await lastValueFrom(names.evict())).toBe('newer');
    expect(await firstValueFrom(names.evict())).toBe('new');
    expect(deletes).toHaveBeenCalledTimes(2);
    deletes.mockRestore();
  });
});

describe('what a subscriber does to a value', () => {
  const strip = (user: any) => {
    delete user.password;
    user.id = 'other';
    return user;
  };

  it('does not get into the store, nor into keys and tags', async () => {
    @Injectable()
    class Users {
      @Cached({ key: 'u', ttl: '1h' }) async find(): Promise<unknown> {
        return ++runs;
      }
      @CachePut({
        resultKey: ({ id }) => id,
        ttl: ({ password }) => (password ? '1h' : 0),
        tags: ({ id }) => [id],
      })
      put(): Observable<any> {
        return source;
      }
      @CacheEvict({ resultKey: ({ id }) => id }) evict(): Observable<any> {
        return source;
      }
      @CacheEvict({ tags: ({ id }) => [id] }) untag(): Observable<any> {
        return source;
      }
    }
    const users = (await start(Users)).get(Users);
    const user = () => ({ id: 'u', password: 'p' });
    for (const leave of [lastValueFrom, firstValueFrom]) {
      for (const drop of [() => users.evict(), () => users.untag()]) {
        source = defer(() => of(user()));
        expect(await leave(users.put().pipe(map(strip)))).toEqual({ id: 'other' });
        expect(await users.find()).toEqual(user());
        await leave(drop().pipe(map(strip)));
        const before = runs;
        expect(await users.find()).toBe(before + 1);
      }
    }
  });

  it('leaves the last of several values as it was', async () => {
    const names = (await start(Names)).get(Names);
    source = defer(() => from([{ n: 1 }, { n: 2 }]));
    await lastValueFrom(names.put().pipe(tap((value) => (value.n = 7))));
    expect(await names.find()).toEqual({ n: 2 });
  });

  it('hides no trouble with the last value, and that with others is none', async () => {
    const app = await start(Names);
    const names = app.get(Names);
    const failures = () => getCachedStats(app.get(KvStoreService)).failures;
    source = of(() => 'no value', 'new');
    expect(await lastValueFrom(names.put())).toBe('new');
    expect([await names.find(), failures()]).toEqual(['new', 0]);
    source = of('newer', () => 'no value');
    await lastValueFrom(names.put());
    expect([await names.find(), failures()]).toEqual([1, 1]);
  });
});
