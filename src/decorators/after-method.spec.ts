/** When `@CacheEvict` and `@CachePut` act on methods that return Observables, and what they see of the values. */
import 'reflect-metadata';
import { Injectable } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  concat,
  first,
  firstValueFrom,
  lastValueFrom,
  map,
  NEVER,
  of,
  take,
  throwError,
  timer,
  type Observable,
} from 'rxjs';
import { KvModule } from '../module/kv.module.js';
import { CacheEvict } from './cache-evict.js';
import { CachePut } from './cache-put.js';
import { Cached } from './cached.js';

let testing: TestingModule;
let runs = 0;
let evictions = 0;
let source: Observable<any>;

@Injectable()
class Names {
  @Cached({ key: 'a' }) async find(): Promise<unknown> {
    return ++runs;
  }
  @CacheEvict({ key: () => (evictions++, 'a') }) evict(): Observable<any> {
    return source;
  }
  @CachePut({ key: 'a' }) put(): Observable<any> {
    return source;
  }
}

async function start(): Promise<Names> {
  testing = await Test.createTestingModule({ imports: [KvModule.forRoot()], providers: [Names] }).compile();
  await testing.init();
  return testing.get(Names);
}

beforeEach(() => {
  runs = evictions = 0;
});

afterEach(() => testing.close());

describe('an Observable that is left before it completes', () => {
  it.each<[string, (values: Observable<string>) => Promise<string>]>([
    ['firstValueFrom', (values) => firstValueFrom(values)],
    ['take(1)', (values) => lastValueFrom(values.pipe(take(1)))],
    ['first()', (values) => lastValueFrom(values.pipe(first()))],
  ])('has been acted on, with %s', async (_, leave) => {
    const names = await start();
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
    const names = await start();
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
    const names = await start();
    source = of('new', 'newer');
    expect(await lastValueFrom(names.put())).toBe('newer');
    expect(await names.find()).toBe('newer');
    expect(await lastValueFrom(names.evict())).toBe('newer');
    expect(await firstValueFrom(names.evict())).toBe('new');
    expect(evictions).toBe(2);
  });
});
