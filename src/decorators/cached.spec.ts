import 'reflect-metadata';
import {
  Controller,
  Get,
  Injectable,
  Logger,
  Param,
  Scope,
  SetMetadata,
  StreamableFile,
} from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { Test, type TestingModule } from '@nestjs/testing';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  BehaviorSubject,
  firstValueFrom,
  lastValueFrom,
  map,
  Observable,
  of,
  throwError,
  toArray,
} from 'rxjs';
import request from 'supertest';
import { SimulatedClock } from '../../test/support/simulated-clock.js';
import { tempDirectory } from '../../test/support/temp-directory.js';
import { nodeEnv } from '../device/node-env.js';
import { KvModule } from '../module/kv.module.js';
import { KvStoreService } from '../module/kv-store.service.js';
import { KvOptionsError, KvStore } from '../store/index.js';
import { CacheEvict } from './cache-evict.js';
import { CachePut } from './cache-put.js';
import { Cached } from './cached.js';
import { getCachedStats } from './cached-stats.js';
import { CACHED_NAMESPACE } from './decorated-method.js';
import { getKvStoreToken } from './inject-kv.js';

/** Everything a method below was called with. */
let calls: unknown[][];
let warn: jest.SpyInstance;
let testing: TestingModule | undefined;

beforeEach(() => {
  calls = [];
  warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
});

afterEach(async () => {
  await testing?.close();
  testing = undefined;
  warn.mockRestore();
});

async function start(...providers: any[]): Promise<TestingModule> {
  return startWith({}, ...providers);
}

async function startWith(options: object, ...providers: any[]): Promise<TestingModule> {
  testing = await Test.createTestingModule({ imports: [KvModule.forRoot(options)], providers }).compile();
  return testing.init();
}

@Injectable()
class Users {
  @Cached({ ttl: '1m', key: (id: string) => `user:${id}` })
  async find(id: string): Promise<{ id: string; at: number } | null> {
    calls.push([id]);
    await sleep(1);
    return id === 'nobody' ? null : { id, at: calls.length };
  }

  @Cached()
  async search(filter: unknown, ...more: unknown[]): Promise<number> {
    calls.push([filter, ...more]);
    return calls.length;
  }

  @Cached()
  async nothing(): Promise<undefined> {
    calls.push([]);
  }

  @Cached({ cacheUndefined: true })
  async keepsNothing(): Promise<undefined> {
    calls.push([]);
  }

  @Cached({ key: 'one' })
  async fails(times: number): Promise<string> {
    calls.push([times]);
    await sleep(1);
    if (calls.length <= times) throw new Error(`failure ${calls.length}`);
    return 'fine';
  }

  @Cached({ condition: (id: string) => id !== 'fresh' })
  async maybe(id: string): Promise<number> {
    calls.push([id]);
    return calls.length;
  }
}

describe('@Cached on methods that return promises', () => {
  it('runs the method once for each key', async () => {
    const users = (await start(Users)).get(Users);
    const first = await users.find('a');
    expect(await users.find('a')).toEqual(first);
    await users.find('b');
    expect(calls).toEqual([['a'], ['b']]);
  });

  it('keeps the result under the key, in a namespace of its own', async () => {
    const app = await start(Users);
    const user = await app.get(Users).find('a');
    const kv = app.get(KvStoreService);
    expect(await kv.get('user:a')).toBeUndefined();
    const cached = kv.namespace(CACHED_NAMESPACE);
    expect(await cached.get('user:a')).toEqual(user);
    expect(await cached.ttl('user:a')).toBeLessThanOrEqual(60_000);
    await cached.delete('user:a');
    await app.get(Users).find('a');
    expect(calls).toHaveLength(2);
  });

  it('keys on all arguments when no key is given', async () => {
    const users = (await start(Users)).get(Users);
    const day = new Date(86_400_000);
    for (let i = 0; i < 2; i++) {
      await users.search({ b: [day], a: 1 });
      await users.search({ a: 1, b: [day] });
      await users.search({ a: 1, b: [new Date(0)] });
      await users.search(undefined);
      await users.search(null);
      await users.search('1', 2);
      await users.search(1, 2);
      await users.search(new Map([['x', 1]]));
    }
    expect(calls).toHaveLength(7);
  });

  it('keeps null, and undefined only when asked', async () => {
    const users = (await start(Users)).get(Users);
    expect([await users.find('nobody'), await users.find('nobody')]).toEqual([null, null]);
    expect(calls).toHaveLength(1);
    await users.nothing();
    await users.nothing();
    expect(calls).toHaveLength(3);
    expect(await users.keepsNothing()).toBeUndefined();
    expect(await users.keepsNothing()).toBeUndefined();
    expect(calls).toHaveLength(4);
  });

  it('runs the method once for 100 concurrent calls', async () => {
    const app = await start(Users);
    const users = app.get(Users);
    const results = await Promise.all(Array.from({ length: 100 }, () => users.find('a')));
    expect(calls).toHaveLength(1);
    expect(new Set(results.map((r) => r?.at))).toEqual(new Set([1]));
    expect(getCachedStats(app.get(KvStoreService))).toEqual({ hits: 0, misses: 1, shared: 99, failures: 0 });
    await users.find('a');
    expect(getCachedStats(app.get(KvStoreService)).hits).toBe(1);
  });

  it('gives each caller his own copy of what the store has', async () => {
    const users = (await start(Users)).get(Users);
    await users.find('a');
    const [one, other] = await Promise.all([users.find('a'), users.find('a')]);
    expect(one).toEqual(other);
    expect(one).not.toBe(other);
  });

  it('does not keep errors, and goes on after them', async () => {
    const users = (await start(Users)).get(Users);
    const failed = await Promise.allSettled([users.fails(1), users.fails(1)]);
    expect(failed.map((f) => (f as PromiseRejectedResult).reason.message)).toEqual([
      'failure 1',
      'failure 1',
    ]);
    expect(await users.fails(1)).toBe('fine');
    expect(await users.fails(1)).toBe('fine');
    expect(calls).toHaveLength(2);
  });

  it('runs the method again when the ttl is over', async () => {
    const clock = new SimulatedClock();
    const users = (await startWith({ env: { ...nodeEnv, clock } }, Users)).get(Users);
    await users.find('a');
    clock.advance(59_999);
    await users.find('a');
    expect(calls).toHaveLength(1);
    clock.advance(1);
    await users.find('a');
    expect(calls).toHaveLength(2);
  });

  it('asks the condition', async () => {
    const users = (await start(Users)).get(Users);
    expect([await users.maybe('fresh'), await users.maybe('fresh')]).toEqual([1, 2]);
    expect([await users.maybe('old'), await users.maybe('old')]).toEqual([3, 3]);
  });

  it('runs uncached when there can be no key', async () => {
    const users = (await start(Users)).get(Users);
    expect([await users.search(() => 1), await users.search(() => 1)]).toEqual([1, 2]);
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn.mock.calls[0][0]).toContain('Users.search runs uncached: argument 1 has no canonical key');
  });

  it('answers from the disk after a restart', async () => {
    const path = tempDirectory();
    const first = await (await startWith({ path }, Users)).get(Users).find('a');
    await testing?.close();
    const users = (await startWith({ path }, Users)).get(Users);
    expect(await users.find('a')).toEqual(first);
    expect(calls).toHaveLength(1);
  });

  it('warns once that instances of classes come back as plain objects', async () => {
    class User {
      constructor(readonly name: string) {}
    }
    @Injectable()
    class Entities {
      @Cached() async find(name: string): Promise<User> {
        return new User(name);
      }
      @Cached() async hidden(): Promise<URL> {
        calls.push([]);
        return new URL('http://localhost/');
      }
    }
    const entities = (await start(Entities)).get(Entities);
    expect(await entities.find('a')).toBeInstanceOf(User);
    expect(await entities.find('a')).toEqual({ name: 'a' });
    await entities.find('b');
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn.mock.calls[0][0]).toContain('Entities.find returned an instance of User');
    expect((await entities.hidden()).href).toBe('http://localhost/');
  });
});

describe('@Cached on methods that return plain values', () => {
  @Injectable()
  class Plain {
    @Cached() declared(n: number): number[] {
      calls.push([n]);
      return [n, calls.length];
    }
    @Cached() inferred(n: number) {
      calls.push([n]);
      return { n, call: calls.length };
    }
    @Cached() promise(n: number): any {
      calls.push([n]);
      return Promise.resolve({ n, call: calls.length });
    }
    @Cached() throws(): number {
      calls.push([]);
      throw new Error('no');
    }
  }

  it('stays synchronous', async () => {
    const plain = (await start(Plain)).get(Plain);
    expect(plain.declared(1)).toEqual([1, 1]);
    expect(plain.declared(1)).toEqual([1, 1]);
    expect(plain.inferred(1)).toEqual({ n: 1, call: 2 });
    expect(plain.inferred(1)).toEqual({ n: 1, call: 2 });
    expect(() => plain.throws()).toThrow('no');
    expect(() => plain.throws()).toThrow('no');
    expect(calls).toHaveLength(4);
  });

  it('finds out that a method returns promises, and runs it once from the first call on', async () => {
    const plain = (await start(Plain)).get(Plain);
    const results = await Promise.all([plain.promise(1), plain.promise(1), plain.promise(1)]);
    expect(results.map((r) => r.call)).toEqual([1, 1, 1]);
    expect((await plain.promise(1)).call).toBe(1);
  });

  it('answers at once after a restart if the type is declared, as far as the value is in memory', async () => {
    const store = await KvStore.open();
    const plain = (await startWith({ store }, Plain)).get(Plain);
    plain.declared(7);
    plain.inferred(7);
    await testing?.close();
    const again = (await startWith({ store }, Plain)).get(Plain);
    expect(again.declared(7)).toEqual([7, 1]);
    expect(Plain.prototype.declared.length).toBe(1);
    await store.close();
  });
});

describe('@Cached on methods that return Observables', () => {
  let source: () => Observable<unknown>;
  @Injectable()
  class Streams {
    @Cached() declared(n: number): Observable<unknown> {
      calls.push([n]);
      return source();
    }
    @Cached() inferred(n: number) {
      calls.push([n]);
      return source();
    }
  }

  it('keeps the value of a single-valued one', async () => {
    source = () => of({ call: calls.length });
    const streams = (await start(Streams)).get(Streams);
    expect(await firstValueFrom(streams.declared(1))).toEqual({ call: 1 });
    expect(await lastValueFrom(streams.declared(1))).toEqual({ call: 1 });
    expect(await lastValueFrom(streams.inferred(1))).toEqual({ call: 2 });
    expect(await lastValueFrom(streams.inferred(1))).toEqual({ call: 2 });
    expect(calls).toHaveLength(2);
  });

  it('runs the method once for concurrent subscribers', async () => {
    const subject = new BehaviorSubject('early');
    source = () => subject.pipe(toArray());
    const streams = (await start(Streams)).get(Streams);
    const all = Promise.all(Array.from({ length: 20 }, () => lastValueFrom(streams.declared(1))));
    await sleep(5);
    subject.complete();
    expect(await all).toEqual(Array.from({ length: 20 }, () => ['early']));
    expect(calls).toHaveLength(1);
    expect(await lastValueFrom(streams.declared(1))).toEqual(['early']);
    expect(calls).toHaveLength(1);
  });

  it('runs the method once for concurrent subscribers, also if it emits at once', async () => {
    class User {
      name = 'ada';
    }
    @Injectable()
    class Users {
      @Cached({ type: User }) read(): Observable<User> {
        calls.push([]);
        return of(new User());
      }
    }
    const app = await start(Users);
    const users = app.get(Users);
    for (const leave of [lastValueFrom, firstValueFrom]) {
      const all = await Promise.all(Array.from({ length: 10 }, () => leave(users.read())));
      for (const user of all) expect(user).toBeInstanceOf(User);
    }
    expect(calls).toHaveLength(1);
    const { failures, hits, misses } = getCachedStats(app.get(KvStoreService));
    expect({ failures, hits, misses }).toEqual({ failures: 0, hits: 19, misses: 1 });
  });

  it('passes several values through, as they come, and leaves the method alone from then on', async () => {
    source = () => of(1, 2, 3);
    const streams = (await start(Streams)).get(Streams);
    for (let i = 1; i <= 3; i++) {
      expect(await lastValueFrom(streams.declared(1).pipe(toArray()))).toEqual([1, 2, 3]);
      expect(calls).toHaveLength(i);
    }
  });

  it('lets each of several subscribers see all values of a stream', async () => {
    const subject = new BehaviorSubject(1);
    source = () => subject;
    const streams = (await start(Streams)).get(Streams);
    const both = Promise.all([1, 2].map(() => lastValueFrom(streams.declared(1).pipe(toArray()))));
    await sleep(5);
    subject.next(2);
    subject.next(3);
    subject.complete();
    expect(await both).toEqual([
      [1, 2, 3],
      [1, 2, 3],
    ]);
  });

  it('keeps the value as it was, whatever a subscriber does to it', async () => {
    @Injectable()
    class Users {
      @Cached() declared(_n: number): Observable<unknown> {
        return source();
      }
      @Cached() inferred(_n: number) {
        return source();
      }
    }
    const users = (await start(Users)).get(Users);
    const user = () => ({ id: 1, password: 'p' });
    const without = (found: any) => (delete found.password, found);
    for (const [n, leave] of [lastValueFrom, firstValueFrom].entries()) {
      for (const read of [() => users.declared(n), () => users.inferred(n)]) {
        source = () => of(user());
        expect(await leave(read().pipe(map(without)))).toEqual({ id: 1 });
        await sleep(2);
        source = () => of('made anew');
        expect(await lastValueFrom(read())).toEqual(user());
      }
    }
  });

  it('complains of a value that cannot be kept only if it is the only one', async () => {
    @Injectable()
    class Values {
      @Cached() read(): Observable<unknown> {
        return source();
      }
    }
    const app = await start(Values);
    const failuresOf = async () => {
      await lastValueFrom(app.get(Values).read());
      await sleep(1);
      return getCachedStats(app.get(KvStoreService)).failures;
    };
    source = () => of(() => 'no value');
    expect(await failuresOf()).toBe(1);
    source = () => of(() => 'no value', 2);
    expect(await failuresOf()).toBe(1);
  });

  it('does not keep errors, and ends the source when nobody listens', async () => {
    source = () => throwError(() => new Error('no'));
    const streams = (await start(Streams)).get(Streams);
    await expect(lastValueFrom(streams.declared(1))).rejects.toThrow('no');
    let ended = 0;
    source = () =>
      new Observable(() => () => {
        ended++;
      });
    const subscription = streams.declared(1).subscribe();
    await sleep(5);
    subscription.unsubscribe();
    expect(ended).toBe(1);
    source = () => of('fine');
    expect(await lastValueFrom(streams.declared(1))).toBe('fine');
  });
});

describe('@Cached and streams', () => {
  @Injectable()
  class Files {
    @Cached() async readable(): Promise<Readable> {
      calls.push([]);
      await sleep(1);
      return Readable.from(['a', 'b']);
    }
    @Cached() async file(): Promise<StreamableFile> {
      calls.push([]);
      return new StreamableFile(Buffer.from('ab'));
    }
    @Cached() async *generated() {
      calls.push([]);
      yield await Promise.resolve('ab');
    }
  }

  it('gives every caller a stream of his own', async () => {
    const files = (await start(Files)).get(Files);
    const streams = await Promise.all([files.readable(), files.readable()]);
    for (const stream of [...streams, await files.readable()])
      expect((await stream.toArray()).join('')).toBe('ab');
    expect(calls).toHaveLength(3);
    for (let i = 0; i < 2; i++) {
      expect((await files.file()).getStream().read().toString()).toBe('ab');
      for await (const text of files.generated()) expect(text).toBe('ab');
    }
    expect(calls).toHaveLength(7);
    expect(warn).not.toHaveBeenCalled();
  });
});

describe('@Cached and classes', () => {
  class Animal {
    kind(): string {
      return 'animal';
    }
    @Cached() async describe(): Promise<string> {
      calls.push([]);
      return this.kind();
    }
    @Cached() async loud(): Promise<string> {
      calls.push([]);
      return `loud ${this.kind()}`;
    }
    async both(): Promise<string[]> {
      return [await this.describe(), await this.describe()];
    }
  }
  @Injectable()
  class Dog extends Animal {
    override kind() {
      return 'dog';
    }
    @Cached() override async loud(): Promise<string> {
      calls.push([]);
      return `very ${await super.loud()}`;
    }
  }
  @Injectable()
  class Cat extends Animal {
    override kind() {
      return 'cat';
    }
  }

  it('keeps two subclasses apart', async () => {
    const app = await start(Dog, Cat);
    for (let i = 0; i < 2; i++) {
      expect(await app.get(Dog).describe()).toBe('dog');
      expect(await app.get(Cat).describe()).toBe('cat');
    }
    expect(calls).toHaveLength(2);
  });

  it('works through this and super', async () => {
    const app = await start(Dog);
    expect(await app.get(Dog).both()).toEqual(['dog', 'dog']);
    expect(calls).toHaveLength(1);
    expect(await app.get(Dog).loud()).toBe('very loud dog');
    expect(await app.get(Dog).loud()).toBe('very loud dog');
    expect(calls).toHaveLength(3);
  });

  it('does not let a method wait for the one it overrides, when both have the same key', async () => {
    class Base {
      @Cached({ key: 'k' }) async get(): Promise<string> {
        return 'base';
      }
    }
    @Injectable()
    class Derived extends Base {
      @Cached({ key: 'k' }) override async get(): Promise<string> {
        return `derived ${await super.get()}`;
      }
    }
    expect(await (await start(Derived)).get(Derived).get()).toBe('derived base');
  });

  it('runs a second class of the same name uncached', async () => {
    const make = (answer: string) => {
      @Injectable()
      class Same {
        @Cached() async get(): Promise<string> {
          return answer;
        }
      }
      return Same;
    };
    const [One, Two] = [make('one'), make('two')];
    const app = await start(One, Two);
    expect([await app.get(One).get(), await app.get(Two).get()]).toEqual(['one', 'two']);
    expect(await app.get(Two).get()).toBe('two');
    expect(warn.mock.calls.at(-1)?.[0]).toContain('another class of the same name');
  });

  it('works in request-scoped providers', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class PerRequest {
      @Cached() async get(n: number): Promise<number> {
        calls.push([n]);
        return n;
      }
    }
    const app = await start(PerRequest);
    const [one, other] = [await app.resolve(PerRequest), await app.resolve(PerRequest)];
    expect(one).not.toBe(other);
    await one.get(1);
    await other.get(1);
    expect(calls).toHaveLength(1);
  });

  it('hands the instance to the key function', async () => {
    @Injectable({ scope: Scope.TRANSIENT })
    class Greeter {
      language = 'en';
      @Cached({
        key(this: Greeter, name: string) {
          return ['greeting', this.language, name];
        },
      })
      async greet(name: string): Promise<string> {
        return `${this.language} ${name}`;
      }
    }
    const app = await start(Greeter);
    const [english, german] = [await app.resolve(Greeter), await app.resolve(Greeter)];
    german.language = 'de';
    expect([await english.greet('a'), await german.greet('a')]).toEqual(['en a', 'de a']);
  });
});

describe('@Cached on controllers', () => {
  const Marked = SetMetadata('mark', 'yes');

  @Controller()
  class Pages {
    @Cached()
    @Marked
    @Get('below/:id')
    async below(@Param('id') id: string): Promise<object> {
      calls.push([id]);
      return { id, call: calls.length };
    }

    @Get('above/:id')
    @Marked
    @Cached()
    async above(@Param('id') id: string): Promise<object> {
      calls.push([id]);
      return { id, call: calls.length };
    }
  }

  it('works in either order with @Get()', async () => {
    testing = await Test.createTestingModule({
      imports: [KvModule.forRoot()],
      controllers: [Pages],
    }).compile();
    const app = testing.createNestApplication<NestExpressApplication>();
    await app.init();
    for (const path of ['/below/x', '/above/x']) {
      const first = await request(app.getHttpServer()).get(path).expect(200);
      const second = await request(app.getHttpServer()).get(path).expect(200);
      expect(second.body).toEqual(first.body);
      expect(first.body.id).toBe('x');
    }
    expect(calls).toHaveLength(2);
    await app.close();
  });

  it('keeps name, length and metadata of the method', () => {
    for (const method of ['below', 'above'] as const) {
      const wrapper = Pages.prototype[method];
      expect([wrapper.name, wrapper.length]).toEqual([method, 1]);
      expect(Reflect.getMetadata('mark', wrapper)).toBe('yes');
      expect(Reflect.getMetadata('path', wrapper)).toBe(`${method}/:id`);
    }
  });
});

describe('@Cached without a store that works', () => {
  it('runs uncached when no module provides the store, logs it once and counts it', async () => {
    const before = getCachedStats().failures;
    testing = await Test.createTestingModule({ providers: [Users] }).compile();
    for (let i = 0; i < 50; i++) await testing.get(Users).find('a');
    expect(calls).toHaveLength(50);
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn).toHaveBeenCalledWith(
      'Users.find runs uncached: no store "default" is provided. Import KvModule.forRoot() in the application, and let Nest ' +
        'make the instance of Users.',
    );
    expect(getCachedStats().failures - before).toBe(50);
  });

  it('runs uncached on an instance that Nest did not make, and on none', async () => {
    expect(await new Users().find('a')).toMatchObject({ id: 'a' });
    const { find } = Users.prototype;
    expect(await find('a')).toMatchObject({ id: 'a' });
    expect(calls).toHaveLength(2);
  });

  it('answers when the store fails in the middle, and logs once a minute', async () => {
    const now = jest.spyOn(nodeEnv.clock, 'now');
    try {
      const app = await start(Users);
      const [users, kv] = [app.get(Users), app.get(KvStoreService)];
      await users.find('a');
      await kv.store.close();
      const results = await Promise.all([users.find('a'), users.find('a'), users.find('b')]);
      expect(results.map((r) => r?.id)).toEqual(['a', 'a', 'b']);
      expect(warn).toHaveBeenCalledTimes(1);
      expect(warn.mock.calls[0][0]).toContain('Users.find runs uncached: The store "default" is closed');
      await users.find('c');
      expect(warn).toHaveBeenCalledTimes(1);
      const { failures } = getCachedStats(kv);
      expect(failures).toBeGreaterThan(4);
      now.mockReturnValue(Date.now() + 60_000);
      await users.find('d');
      expect(warn).toHaveBeenCalledTimes(2);
      expect(warn.mock.calls[1][0]).toContain(`(${failures - 1} more since the last message)`);
    } finally {
      now.mockRestore();
    }
  });

  it('returns what it could not store', async () => {
    @Injectable()
    class Odd {
      @Cached() async get(): Promise<unknown> {
        calls.push([]);
        return { run: () => 'ran' };
      }
    }
    const odd = (await start(Odd)).get(Odd);
    expect(((await odd.get()) as any).run()).toBe('ran');
    expect(((await odd.get()) as any).run()).toBe('ran');
    expect(calls).toHaveLength(2);
  });

  it('uses whatever a test puts in the place of the store', async () => {
    const fake = { getOrSet: jest.fn().mockResolvedValue('from the fake') };
    testing = await Test.createTestingModule({
      providers: [Users, { provide: getKvStoreToken(), useValue: { namespace: () => fake } }],
    }).compile();
    expect(await testing.get(Users).find('a')).toBe('from the fake');
    expect(calls).toHaveLength(0);
  });
});

describe('the options of @Cached', () => {
  const decorate = (options: any) => () => {
    class Victim {
      @Cached(options) async find(): Promise<void> {}
    }
    return Victim;
  };

  it('are checked when the class is defined, all at once', () => {
    let problems: readonly { path: string }[] = [];
    try {
      decorate({
        ttl: '-1s',
        namespace: '',
        condition: 1,
        cacheUndefined: 'yes',
        nonsense: 1,
        tags: [''],
        type: () => {},
        key: null,
      })();
    } catch (error) {
      problems = (error as KvOptionsError).problems;
    }
    const options = ['nonsense', 'ttl', 'tags[0]', 'cacheUndefined', 'type', 'key', 'namespace', 'condition'];
    expect(problems.map(({ path }) => path)).toEqual(options.map((o) => `@Cached on Victim.find: ${o}`));
    expect(decorate({ ttl: 0 })).toThrow('@Cached on Victim.find: ttl: must be a duration above 0');
    expect(decorate({ tll: '5m' })).toThrow("Victim.find: tll: is not an option; did you mean 'ttl'?");
    expect(decorate(null)).toThrow("must be an object, such as @Cached({ ttl: '5m' }), not null");
    expect(decorate('5m')).toThrow(
      "@Cached on Victim.find: options: must be an object, such as @Cached({ ttl: '5m' }), not a string",
    );
  });
});

it.each<[string, any]>([
  ['@Cached', Cached],
  ['@CacheEvict', CacheEvict],
  ['@CachePut', CachePut],
])('%s without its parentheses says so', (name, factory) => {
  class Victim {
    find() {}
  }
  const put = () =>
    factory(Victim.prototype, 'find', Object.getOwnPropertyDescriptor(Victim.prototype, 'find')) as unknown;
  expect(put).toThrow(KvOptionsError);
  expect(put).toThrow(`${name} on a method of Victim: is missing its parentheses: ${name}(`);
});

describe.each<[string, (...where: any[]) => unknown]>([
  ['@Cached', Cached() as any],
  ['@CacheEvict', CacheEvict({ key: 'a' }) as any],
  ['@CachePut', CachePut({ key: 'a' }) as any],
])('%s where it cannot stand', (name, decorator) => {
  class Victim {
    static make() {}
    get accessor() {
      return 1;
    }
    find() {}
  }
  const descriptorOf = (target: object, property: string) =>
    Object.getOwnPropertyDescriptor(target, property);

  it.each<[string, unknown[], string]>([
    [
      'a static method',
      [Victim, 'make', descriptorOf(Victim, 'make')],
      'Victim.make: cannot be on a static method, because Nest injects the store into instances: make it a method of the ' +
        'instance, or call the store in it (getOrSet, set, delete)',
    ],
    [
      'a property',
      [Victim.prototype, 'field', undefined],
      'Victim.field: is for methods, and this is a property (also if it holds a function): write it as a method, async ' +
        'field() { … }',
    ],
    [
      'an accessor',
      [Victim.prototype, 'accessor', descriptorOf(Victim.prototype, 'accessor')],
      'Victim.accessor: is for methods, and this is an accessor: make a method of it',
    ],
    [
      'a class',
      [Victim],
      'Victim: is for methods, not for a class: put it on each method that it is meant for',
    ],
    [
      'a parameter',
      [Victim.prototype, 'find', 0],
      'Victim.find: is for methods, not for their parameters: put it above the method',
    ],
    [
      'a method, by the later standard',
      [Victim.prototype.find, { kind: 'method', name: 'find' }],
      'find: needs legacy decorators: set experimentalDecorators in tsconfig.json',
    ],
  ])('tells so, with the remedy: on %s', (_, where, message) => {
    expect(() => decorator(...where)).toThrow(KvOptionsError);
    expect(() => decorator(...where)).toThrow(`${name} on ${message}`);
  });
});
