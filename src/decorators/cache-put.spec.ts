/** `@CachePut` takes the place of what is there and of what is still being made; what fresh eyes found on it and around it. */
import 'reflect-metadata';
import { Injectable, Logger } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { setTimeout as sleep } from 'node:timers/promises';
import { firstValueFrom, from, lastValueFrom, type Observable } from 'rxjs';
import { HeldReads, openOn, segmentsOf, turns, valueOf } from '../../test/support/compacting.js';
import { SimulatedClock } from '../../test/support/simulated-clock.js';
import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import { nodeEnv } from '../device/node-env.js';
import { KvModule } from '../module/kv.module.js';
import { KvStoreService } from '../module/kv-store.service.js';
import { CachePlan } from '../store/cache-options.js';
import { KvCorruptionError, type KvDuration, type KvStore } from '../store/index.js';
import { CachePut } from './cache-put.js';
import { Cached } from './cached.js';
import { getCachedStats } from './cached-stats.js';
import { InjectKv } from './inject-kv.js';

let warn: jest.SpyInstance;
let testing: TestingModule | undefined;
const clock = new SimulatedClock();

beforeEach(() => {
  warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
});

afterEach(async () => {
  await testing?.close();
  testing = undefined;
  warn.mockRestore();
});

async function start(
  provider: any,
  options: object = { env: { ...nodeEnv, clock } },
): Promise<TestingModule> {
  testing = await Test.createTestingModule({
    imports: [KvModule.forRoot(options)],
    providers: [provider],
  }).compile();
  return testing.init();
}

@Injectable()
class Texts {
  @CachePut({ namespace: 'n', key: (key: string) => key, timeout: '10m' })
  async put(_key: string, text: string): Promise<string> {
    return text;
  }
}

/** What a test lets go on. */
class Gate {
  open: () => void = () => {};
  readonly opened = new Promise<void>((resolve) => (this.open = resolve));
}

let reading = new Gate();
let source = 'old';

@Injectable()
class Pages {
  @Cached({ ttl: '1m', staleWhileRevalidate: '1m', key: (id: string) => `page:${id}`, tags: ['pages'] })
  async find(_id: string): Promise<string> {
    const read = source;
    await reading.opened;
    return read;
  }

  @Cached({ ttl: '1m', key: (id: string) => `page:${id}` })
  watch(id: string): Observable<string> {
    return from(Pages.prototype.slowly.call(this, id));
  }

  async slowly(_id: string): Promise<string> {
    const read = source;
    await reading.opened;
    return read;
  }

  @CachePut({ ttl: '1m', staleWhileRevalidate: '1m', key: (id: string) => `page:${id}`, tags: ['pages'] })
  async save(_id: string, text: string): Promise<string> {
    return (source = text);
  }
}

describe('@CachePut', () => {
  beforeEach(() => {
    reading = new Gate();
    source = 'old';
  });

  it('takes the place of what a run brings that began before', async () => {
    const pages = (await start(Pages)).get(Pages);
    const found = pages.find('1');
    await pages.save('1', 'new');
    reading.open();
    expect(await found).toBe('old');
    expect(await pages.find('1')).toBe('new');
  });

  it('takes the place of what an Observable brings that began before', async () => {
    const pages = (await start(Pages)).get(Pages);
    const found = firstValueFrom(pages.watch('1'));
    await sleep(1);
    await pages.save('1', 'new');
    reading.open();
    expect(await found).toBe('old');
    await sleep(1);
    expect(await pages.find('1')).toBe('new');
  });

  it('takes the place of what a refresh in the background brings', async () => {
    const pages = (await start(Pages)).get(Pages);
    await pages.save('1', 'old');
    clock.advance(61_000);
    expect(await pages.find('1')).toBe('old');
    await pages.save('1', 'new');
    reading.open();
    await sleep(1);
    expect(await pages.find('1')).toBe('new');
  });

  it('leaves the last of several that overlap, also where all have to wait for the disk', async () => {
    const { keys, store } = await storeOnDisk();
    const app = await start(Texts, { store });
    const texts = app.get(Texts);
    await Promise.all(keys.flatMap((key) => ['A', 'B', 'C'].map((text) => texts.put(key, text))));
    const space = store.namespace('n');
    expect(await space.getMany(keys)).toEqual(keys.map(() => 'C'));
    expect(getCachedStats(app.get(KvStoreService)).failures).toBe(0);
    await store.close();
  });

  it('is not kept if its key is deleted while it waits for the disk', async () => {
    const { keys, store, reads } = await storeOnDisk();
    const texts = (await start(Texts, { store })).get(Texts);
    reads.hold('before');
    const put = texts.put(keys[3], 'A');
    await sleep(1);
    const gone = store.namespace('n').delete(keys[3]);
    reads.release();
    await Promise.all([put, gone]);
    expect(await store.namespace('n').get(keys[3])).toBeUndefined();
    await store.close();
  });

  it('leaves nothing there where the new result cannot be kept, or is not to be', async () => {
    @Injectable()
    class Things {
      @Cached({ key: (id: string) => id }) async find(_id: string): Promise<unknown> {
        return 'made anew';
      }
      @CachePut({ key: (id: string) => id }) async save(_id: string, thing: unknown): Promise<unknown> {
        return thing;
      }
      @CachePut({ key: (id: string) => id, ttl: () => 0 }) async short(_id: string): Promise<unknown> {
        return 'gone at once';
      }
      @CachePut({
        key: (id: string) => id,
        tags: () => {
          throw new Error('no tags');
        },
      })
      async untagged(_id: string): Promise<unknown> {
        return 'without tags';
      }
    }
    const app = await start(Things);
    const things = app.get(Things);
    const failures = () => getCachedStats(app.get(KvStoreService)).failures;
    for (const [put, failing] of [
      [() => things.short('k'), 0],
      [() => things.save('k', { call: () => 1 }), 1],
      [() => things.save('k', 'x'.repeat(65 * 2 ** 20)), 1],
      [() => things.untagged('k'), 1],
    ] as const) {
      await things.save('k', 'first');
      expect(await things.find('k')).toBe('first');
      const before = failures();
      await put();
      expect(await things.find('k')).toBe('made anew');
      expect(failures() - before).toBe(failing);
    }
  });

  it('keeps what the method returned, whatever the caller does to it while the store waits for the disk', async () => {
    @Injectable()
    class Lists {
      @CachePut({ namespace: 'n', key: (key: string) => key }) put(_key: string): number[] {
        return [3, 1, 2];
      }
      @CachePut({ namespace: 'n', key: (key: string) => key, timeout: 30 })
      async putLater(_key: string): Promise<number[]> {
        return [3, 1, 2];
      }
      @Cached({ namespace: 'n', key: (key: string) => key }) get(_key: string): number[] {
        return [3, 1, 2];
      }
    }
    const { keys, store, reads } = await storeOnDisk();
    const lists = (await start(Lists, { store })).get(Lists);
    lists.put(keys[3]).sort();
    lists.get(keys[4]).sort();
    reads.hold('before');
    (await lists.putLater(keys[5])).sort();
    reads.release();
    await turns(50);
    const space = store.namespace('n');
    expect(await space.getMany(keys.slice(3, 6))).toEqual(Array.from({ length: 3 }, () => [3, 1, 2]));
    await store.close();
  });

  it('waits for a store no longer than its timeout', async () => {
    @Injectable()
    class Texts {
      @CachePut({ namespace: 'n', key: (key: string) => key, timeout: 30 })
      async put(_key: string, text: string): Promise<string> {
        return text;
      }
    }
    const { keys, store, reads } = await storeOnDisk();
    const app = await start(Texts, { store });
    reads.hold('before');
    expect(await app.get(Texts).put(keys[5], 'A')).toBe('A');
    expect(warn.mock.calls.at(-1)?.[0]).toContain('did not answer within 30 ms');
    reads.release();
    await store.close();
  });
});

describe('@Cached', () => {
  it('answers from the store where the first call of a method without a type is rejected', async () => {
    let isUp = true;
    @Injectable()
    class Untyped {
      @Cached({ ttl: '1h', key: 'k' }) get(): any {
        return isUp ? Promise.resolve(5) : Promise.reject(new Error('db down'));
      }
    }
    const unhandled = jest.fn();
    process.on('unhandledRejection', unhandled);
    const app = await start(Untyped);
    await app.get(KvStoreService).namespace('@Cached').set('k', 4);
    isUp = false;
    expect(await app.get(Untyped).get()).toBe(4);
    await app.get(KvStoreService).namespace('@Cached').delete('k');
    await expect(app.get(Untyped).get()).rejects.toThrow('db down');
    await sleep(5);
    process.off('unhandledRejection', unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });

  it('keeps a result where what is there is damaged', async () => {
    @Injectable()
    class Texts {
      @Cached({ namespace: 'n', key: (key: string) => key }) async find(key: string): Promise<string> {
        return `made ${key}`;
      }
    }
    const { disk, keys, store } = await storeOnDisk();
    const [file] = segmentsOf(disk, 'hot');
    const half = disk.sizeOf(file) / 2;
    for (let at = 0; at < 20_000; at += 100) disk.flip(file, (half + at) * 8);
    const app = await start(Texts, { store });
    const texts = app.get(Texts);
    const failures = () => getCachedStats(app.get(KvStoreService)).failures;
    const answers = (): Promise<string[]> => Promise.all(keys.map((key) => texts.find(key)));
    const made = (await answers()).filter((answer) => answer.startsWith('made'));
    expect(made.length).toBeGreaterThan(0);
    const before = failures();
    expect(before).toBe(made.length);
    // What was made is kept behind the answer.
    await turns(50);
    expect((await answers()).filter((answer) => answer.startsWith('made'))).toEqual(made);
    expect(failures()).toBe(before);
    await store.close();
  });

  it('does not keep what was made before a write, if the read of a damaged entry comes to an end long after it', async () => {
    const { disk, keys, reads, store } = await storeOnDisk();
    const [file] = segmentsOf(disk, 'hot');
    const { length } = disk.contents(file);
    for (let at = 0; at < length; at += 100) disk.flip(file, at * 8);
    const space = store.namespace('n');
    await expect(space.get(keys[0])).rejects.toThrow(KvCorruptionError);
    const plan = CachePlan.from({});
    const run = space.cached.begin(keys[0], plan);
    reads.hold('after');
    const kept = space.cached.keep(run, keys[0], 'made before', plan);
    await turns(3);
    expect(reads.held).toBe(1);
    await space.set(keys[0], 'written meanwhile');
    // Enough for what was written to leave memory.
    for (let i = 0; i < 400; i++) await store.set(`filler ${i}`, valueOf(i, 0, 5000));
    await store.flush();
    expect(space.peek(keys[0])).toBeUndefined();
    reads.release();
    expect(await kept).toBe(false);
    expect(await space.get(keys[0])).toBe('written meanwhile');
    await store.close();
  });

  it('does not keep what an Observable brought if its key is deleted while the write waits for the disk', async () => {
    @Injectable()
    class Texts {
      @Cached({ namespace: 'n', key: (key: string) => key }) read(_key: string): Observable<string> {
        return from(['made before']);
      }
    }
    const { disk, keys, store, reads } = await storeOnDisk('1s');
    const space = store.namespace('n');
    disk.clock.advance(1000);
    const texts = (await start(Texts, { store })).get(Texts);
    reads.hold('before');
    expect(await lastValueFrom(texts.read(keys[3]))).toBe('made before');
    await turns(3);
    expect(reads.held).toBe(1);
    const gone = space.delete(keys[3]);
    reads.release();
    await gone;
    await turns(20);
    expect(await space.get(keys[3])).toBeUndefined();
    await store.close();
  });

  it('counts one failure for a key that cannot be used, in every way to get one', async () => {
    @Injectable()
    class Odd {
      @Cached({ key: (key: any) => key }) async find(_key: unknown): Promise<number> {
        return 1;
      }
      @Cached({ key: (key: any) => [key] }) async findIn(_key: unknown): Promise<number> {
        return 1;
      }
    }
    const app = await start(Odd);
    const odd = app.get(Odd);
    const failures = () => getCachedStats(app.get(KvStoreService)).failures;
    for (const key of [undefined, null, new Map(), new Date(), Promise.resolve(1), 'x'.repeat(20_000)]) {
      for (const find of [() => odd.find(key), () => odd.findIn(key)]) {
        const before = failures();
        expect(await find()).toBe(1);
        expect(failures() - before).toBe(1);
      }
    }
  });

  it('counts the same in the store as in getCachedStats, whatever a method returns', async () => {
    @Injectable()
    class Kinds {
      @Cached({ ttl: 1000, staleWhileRevalidate: 1000 }) async promised(n: number): Promise<number> {
        return n;
      }
      @Cached({ ttl: 1000, staleWhileRevalidate: 1000 }) watched(n: number): Observable<number> {
        return from([n]);
      }
      @Cached({ ttl: 1000 }) plain(n: number): number {
        return n;
      }
    }
    const app = await start(Kinds);
    const kinds = app.get(Kinds);
    const kv = app.get(KvStoreService);
    const readsOf = () => {
      const { cacheHits, coldHits, decodedHits, diskHits, memoryHits, misses } = kv.stats().reads;
      return { hits: cacheHits + coldHits + decodedHits + diskHits + memoryHits, misses };
    };
    const rounds: [string, (n: number) => unknown][] = [
      ['promised', (n) => kinds.promised(n)],
      ['watched', (n) => firstValueFrom(kinds.watched(n))],
      ['plain', (n) => kinds.plain(n)],
    ];
    for (const [kind, call] of rounds) {
      const before = readsOf();
      const counted = getCachedStats(kv);
      for (let n = 0; n < 5; n++) await call(n);
      for (let n = 0; n < 5; n++) await call(n);
      if (kind !== 'plain') {
        clock.advance(1500);
        for (let n = 0; n < 5; n++) await call(n);
      }
      await sleep(1);
      const after = readsOf();
      const now = getCachedStats(kv);
      const inStore = { hits: after.hits - before.hits, misses: after.misses - before.misses };
      expect([kind, inStore]).toEqual([
        kind,
        { hits: now.hits - counted.hits, misses: now.misses - counted.misses },
      ]);
      expect(inStore).toEqual({ hits: kind === 'plain' ? 5 : 10, misses: 5 });
    }
  });

  it('refuses a condition that says neither yes nor no, and a constant that can never be a key', async () => {
    @Injectable()
    class Odd {
      @Cached({ condition: ((user: string) => user) as any }) async find(_user: string): Promise<number> {
        return 1;
      }
      @Cached({ condition: (async () => true) as any }) async later(): Promise<number> {
        return 1;
      }
    }
    const app = await start(Odd);
    await app.get(Odd).find('ada');
    expect(warn.mock.calls.at(-1)?.[0]).toContain('its condition returned a string, not true or false');
    await app.get(Odd).later();
    expect(getCachedStats(app.get(KvStoreService)).failures).toBe(2);
    for (const key of [new Map(), Symbol('k'), null, [undefined]])
      for (const decorator of [Cached, CachePut])
        expect(() => decorator({ key: key as any })({}, 'find', { value: () => 1 })).toThrow(
          /key: must be a key/,
        );
    for (const name of [undefined, '', 7] as any[])
      expect(() => InjectKv(name)).toThrow("namespace: must be the name of one, such as @InjectKv('users')");
  });
});

/** A store with a namespace `n` whose records lie on disk, and whose reads are waited for. */
async function storeOnDisk(ttl: KvDuration = Infinity): Promise<{
  disk: SimulatedDisk;
  keys: string[];
  reads: HeldReads;
  store: KvStore;
}> {
  const disk = new SimulatedDisk();
  const reads = new HeldReads(disk);
  const store = await openOn(disk, { env: reads.env });
  const keys = Array.from({ length: 200 }, (_, i) => `k${i}`);
  for (const key of keys) {
    await store.namespace('n').set(key, valueOf(key, 0, 5000), { ttl });
    await store.set(key, valueOf(key, 0, 5000));
  }
  await store.flush();
  await reads.slowDown(store, keys);
  return { disk, keys, reads, store };
}
