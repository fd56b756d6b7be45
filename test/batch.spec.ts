/** Batches: all or nothing for conditions, readers, full disks and crashes. `SEED=…`, `RUNS=…` as in the random tests. */
import fc from 'fast-check';
import { inspect } from 'node:util';
import {
  KvClosedError,
  KvDiskError,
  KvEncodingError,
  KvOptionsError,
  KvStore,
  KvTooLargeError,
  KvVersionConflictError,
  type KvBatch,
  type KvStoreOptions,
} from 'nestjs-hotcold/store';
import { inEveryPlace } from './support/places.js';
import { SimulatedDisk } from './support/simulated-disk.js';
import { tieredOptions } from './support/tiered-store.js';
import { CHANGES, watched } from './support/watched-fs.js';

const RUNS = Number(process.env.RUNS ?? 1);
const seed = process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) };

describe('batch', () => {
  inEveryPlace((placed) => {
    let version: number;
    beforeEach(async () => {
      version = await placed().store.set('a', 'old');
      await placed().store.set('gone', 'old');
      await placed().settle();
    });

    it('writes everything, and tells the versions in their order', async () => {
      const { store } = placed();
      const versions = await store.batch((b) =>
        b.set('a', 1).set('b', 2).delete('gone').delete('never there'),
      );
      const entries = [await store.getEntry('a'), await store.getEntry('b')];
      expect(entries.map((entry) => entry?.version)).toEqual(versions.slice(0, 2));
      expect(versions[2]).toBeGreaterThan(versions[1] as number);
      expect(versions[3]).toBeUndefined();
      await placed().settle();
      expect(await placed().store.getMany(['a', 'b', 'gone', 'never there'])).toEqual([
        1,
        2,
        undefined,
        undefined,
      ]);
    });

    it('writes nothing when one condition does not hold', async () => {
      const { store } = placed();
      const conditions: ((b: KvBatch) => void)[] = [
        (b) => b.set('a', 'x', { ifVersion: version + 1 }),
        (b) => b.set('missing', 'x', { ifPresent: true }),
        (b) => b.set('missing', 'x', { ifVersion: version }),
        (b) => b.delete('a', { ifVersion: version + 1 }),
      ];
      for (const condition of conditions) {
        const batch = store.batch((b) => {
          b.set('first', 1).delete('gone');
          condition(b);
          b.set('last', 1);
        });
        await expect(batch).rejects.toThrow(KvVersionConflictError);
      }
      expect(await store.getMany(['first', 'last', 'missing', 'a', 'gone'])).toEqual([
        ...[undefined, undefined, undefined],
        ...['old', 'old'],
      ]);
    });

    it('checks conditions against what was there before the batch', async () => {
      const { store } = placed();
      await store.batch((b) =>
        b
          .set('a', 1)
          .set('a', 2, { ifVersion: version })
          .delete('gone', { ifVersion: version + 1 }),
      );
      expect(await store.getMany(['a', 'gone'])).toEqual([2, undefined]);
      await expect(store.batch((b) => b.set('new', 1).set('new', 2, { ifPresent: true }))).rejects.toThrow(
        KvVersionConflictError,
      );
      expect(await store.has('new')).toBe(false);
    });

    it('counts what is there, whatever is set and deleted again', async () => {
      const { store } = placed();
      const before = store.stats().keys;
      const versions = await store.batch((b) =>
        b.set('n', 1).delete('n').delete('n').set('m', 1).delete('a').set('a', 'back'),
      );
      expect(versions.map((one) => one === undefined)).toEqual([false, false, true, false, false, false]);
      expect(await store.getMany(['n', 'm', 'a'])).toEqual([undefined, 1, 'back']);
      if (placed().place === 'in memory') expect(store.stats().keys).toBe(before + 1);
    });

    it('keeps the expiry where it is asked to', async () => {
      const { store, clock } = placed();
      await store.touch('a', 1000);
      await placed().settle();
      await placed().store.batch((b) => b.set('a', 'new', { keepTtl: true }).set('gone', 1, { ttl: 500 }));
      expect(await placed().store.ttl('a')).toBeLessThanOrEqual(1000);
      clock.advance(600);
      expect(await placed().store.getMany(['a', 'gone'])).toEqual(['new', undefined]);
      clock.advance(600);
      expect(await placed().store.get('a')).toBeUndefined();
    });

    it('is checked again when a key has changed while another was read from disk', async () => {
      const { store, clock } = placed();
      const conditional = () =>
        store.batch((b) => b.set('a', 'new', { ifVersion: version }).set('gone', 1, { ifPresent: true }));
      // Reads take so long that none of them is made at once.
      clock.tickMs = 1e6;
      await store.get('gone');
      const results = await Promise.allSettled([conditional(), conditional(), conditional()]);
      expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected']);
      for (const result of results)
        if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(KvVersionConflictError);
    });

    it('reaches into other namespaces of the store, with their defaults', async () => {
      const { store, clock } = placed();
      const users = store.namespace<string>('users', { ttl: 100 });
      await store.batch((b) => b.set('a', 1).in(users).set('a', 'ada').set('b', 'bob', { ttl: Infinity }));
      expect([await store.get('a'), await users.get('a')]).toEqual([1, 'ada']);
      clock.advance(200);
      expect(await users.getMany(['a', 'b'])).toEqual([undefined, 'bob']);
    });

    it('carries values that a page does not hold', async () => {
      const { store } = placed();
      const large = 'x'.repeat(300_000);
      const batch = store.batch((b) => b.set('large', large).set('small', 1));
      if (placed().place === 'spilled to disk') {
        await expect(batch).rejects.toThrow(KvTooLargeError);
        expect(await store.has('small')).toBe(false);
        return;
      }
      await batch;
      await placed().settle();
      expect(await placed().store.getMany(['large', 'small'])).toEqual([large, 1]);
    });
  });

  describe('on an open store', () => {
    let store: KvStore;
    beforeEach(async () => {
      store = await KvStore.open({ hot: { memory: '8mb' } });
    });
    afterEach(async () => {
      await store.close();
    });

    it('is there in the turn of its call, where nothing has to be read from disk', () => {
      void store.batch((b) => b.set('a', 1).set('b', 2));
      expect([store.peek('a'), store.peek('b')]).toEqual([1, 2]);
    });

    it('collects copies: what is changed later is not in it', async () => {
      const key = Buffer.from('key');
      const value = { list: [1] };
      await store.batch(async (b) => {
        b.set(key, value);
        value.list.push(2);
        key.fill(0);
        await Promise.resolve();
        b.set('late', 1);
      });
      expect(await store.getMany([Buffer.from('key'), 'late'])).toEqual([{ list: [1] }, 1]);
    });

    it.each<[string, (b: KvBatch, other: KvStore) => unknown, new (...args: never[]) => Error]>([
      ['a value that cannot be carried', (b) => b.set('x', () => 1), KvEncodingError],
      ['undefined', (b) => b.set('x', undefined), KvEncodingError],
      ['a key that is none', (b) => b.delete(null as never), KvEncodingError],
      ['a misspelt option', (b) => b.set('x', 1, { tll: 5 } as never), KvOptionsError],
      ['a misspelt option of a delete', (b) => b.delete('x', { ttl: 5 } as never), KvOptionsError],
      ['a namespace of another store', (b, other) => b.in(other.namespace('n')).set('x', 1), KvOptionsError],
      ['something else than a namespace', (b) => b.in({} as never), KvOptionsError],
      ['null instead of a namespace', (b) => b.in(null as never), KvOptionsError],
      ['nothing instead of a namespace', (b) => b.in(undefined as never), KvOptionsError],
      ['an error of the caller', () => Promise.reject(new RangeError('mine')), RangeError],
    ])('%s: nothing is written', async (_, wrong, error) => {
      const other = await KvStore.open();
      const batch = store.batch((b) => {
        b.set('before', 1);
        return wrong(b, other);
      });
      await expect(batch).rejects.toThrow(error);
      expect(await store.has('before')).toBe(false);
      await other.close();
    });

    it('is empty, or over: nothing happens, or an error', async () => {
      expect(await store.batch(() => undefined)).toEqual([]);
      let kept: KvBatch | undefined;
      await store.batch((b) => (kept = b.set('a', 1)));
      expect(() => kept?.set('b', 1)).toThrow(KvOptionsError);
      await store.close();
      await expect(store.batch((b) => b.set('a', 1))).rejects.toThrow(KvClosedError);
    });

    it('is refused when the store is closed while it is collected', async () => {
      const batch = store.batch(async (b) => {
        b.set('a', 1);
        await store.close();
      });
      await expect(batch).rejects.toThrow(KvClosedError);
    });

    it('says which write it was whose condition does not hold, and no key in what is logged', async () => {
      const users = store.namespace('users');
      await store.set('there', 1);
      const conflict = async (build: (b: KvBatch) => void) =>
        store.batch(build).catch((error: unknown) => error as KvVersionConflictError);
      const first = await conflict((b) => b.set('a', 1).set('secret key', 2, { ifVersion: 77 }));
      expect((first as KvVersionConflictError).write).toEqual({ index: 1, key: 'secret key' });
      expect((first as Error).message).toMatch(/^The entry of write 1 of the batch is at no version/);
      const other = await conflict((b) =>
        b.set('there', 2, { ifPresent: true }).in(users).delete(['secret', 7], { ifVersion: 5 }),
      );
      expect((other as KvVersionConflictError).write).toEqual({
        index: 1,
        namespace: 'users',
        key: ['secret', 7],
      });
      expect((other as Error).message).toContain('write 1 of the batch (namespace "users")');
      for (const error of [first, other])
        expect(inspect(error) + JSON.stringify(error)).not.toContain('secret');
      const single = await store.set('x', 1, { ifPresent: true }).catch((error: unknown) => error);
      expect(single).not.toHaveProperty('write');
    });

    it('says in bytes what it takes and may take', async () => {
      const batch = store.batch((b) => {
        for (let i = 0; i < 40; i++) b.set(i, 'x'.repeat(150_000));
      });
      const message = await batch.catch(({ message: text }: Error) => text);
      const [, takes, most] = /takes (\d+) bytes .* (\d+) bytes now\. Split it/.exec(String(message)) ?? [];
      expect(Number(most)).toBeGreaterThan(1_000_000);
      expect(Number(takes)).toBeGreaterThan(Number(most));
    });

    it('is refused beyond half of the memory, before it is collected whole', async () => {
      let collected = 0;
      const batch = store.batch((b) => {
        for (; collected < 1_000_000; collected++) b.set(collected, 'x'.repeat(1000));
      });
      await expect(batch).rejects.toThrow(KvTooLargeError);
      expect(collected).toBeLessThan(8_000);
      expect(await store.has(0)).toBe(false);
      const { length } = await store.batch((b) => {
        for (let i = 0; i < 1000; i++) b.set(i, 'x'.repeat(1000));
      });
      expect(length).toBe(1000);
    });

    it('drops decoded values of what it writes', async () => {
      const decoding = await KvStore.open({ readCache: { decodedEntries: 10 } });
      await decoding.set('a', { n: 1 });
      expect(await decoding.get('a')).toEqual({ n: 1 });
      await decoding.batch((b) => b.set('a', { n: 2 }));
      expect(await decoding.get('a')).toEqual({ n: 2 });
      await decoding.close();
    });
  });

  it('is all or nothing when the disk is full, wherever that begins', async () => {
    let refused = 0;
    for (let room = 0; room < 40; room++) {
      const disk = new SimulatedDisk();
      const store = await KvStore.open(onDisk(disk));
      disk.capacityBytes = 100_000 + room * 20_000;
      const value = (n: number) => `${n} `.padEnd(10_000, 'x');
      let taken = 0;
      // 120 KB each, of which several fill the memory.
      for (let n = 1; n <= 10; n++) {
        const result = await store
          .batch((b) => {
            for (let i = 0; i < 12; i++) b.set(i % 3 === 0 ? `own ${n} ${i}` : i, value(n));
          })
          .catch((error: unknown) => error);
        if (result instanceof Error) {
          expect(result).toBeInstanceOf(KvDiskError);
          refused++;
          break;
        }
        taken = n;
      }
      for (let i = 0; i < 12; i++) {
        if (i % 3 !== 0) expect(await store.get(i)).toBe(taken === 0 ? undefined : value(taken));
        else expect(await store.has(`own ${taken + 1} ${i}`)).toBe(false);
      }
      disk.kill();
    }
    expect(refused).toBeGreaterThan(20);
  });
});

/** Little memory, so that pages are written while a batch comes in. */
const onDisk = (disk: SimulatedDisk): KvStoreOptions => ({
  path: '/store',
  env: disk.env(),
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', expectedKeys: 500_000 },
  durability: { level: 'interval' },
  compaction: false,
});

const ACCOUNTS = 12;
const TOTAL = ACCOUNTS * 100;

interface Account {
  balance: number;
  fill: string;
}

const sum = (accounts: (Account | undefined)[]): number =>
  accounts.reduce((total, account) => total + (account?.balance ?? 0), 0);

const keys = Array.from({ length: ACCOUNTS }, (_, i) => `account ${i}`);

/** Moves something from one account to another, if both are as they were read. Resolves to whether it did. */
async function transfer(
  store: KvStore,
  from: string,
  to: string,
  amount: number,
  bytes: number,
): Promise<boolean> {
  const [source, target] = await Promise.all([store.getEntry<Account>(from), store.getEntry<Account>(to)]);
  const fill = 'x'.repeat(bytes);
  try {
    await store.batch((b) => {
      // An account that is not there must still not be there: two may find one without money.
      if (source && source.value.balance === amount) b.delete(from, { ifVersion: source.version });
      else
        b.set(
          from,
          { balance: (source?.value.balance ?? 0) - amount, fill },
          { ifVersion: source?.version ?? null },
        );
      b.set(
        to,
        { balance: (target?.value.balance ?? 0) + amount, fill },
        { ifVersion: target?.version ?? null },
      );
    });
    return true;
  } catch (error) {
    if (error instanceof KvVersionConflictError) return false;
    throw error;
  }
}

interface Step {
  from: number;
  to: number;
  amount: number;
  bytes: number;
  then: 'nothing' | 'turn' | 'flush' | 'compact' | 'fill';
}

const transfers: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    from: fc.nat(ACCOUNTS - 1),
    to: fc.nat(ACCOUNTS - 1),
    amount: fc.nat(50),
    bytes: fc.constantFrom(0, 10, 3000, 20_000, 70_000),
    then: fc.constantFrom(
      'nothing' as const,
      'turn' as const,
      'flush' as const,
      'compact' as const,
      'fill' as const,
    ),
  }),
  { minLength: 10, maxLength: 60, size: 'max' },
);

describe('money that is moved by batches', () => {
  it(
    'is never seen to grow or vanish: not by readers, not beside compaction, not after a crash',
    async () => {
      const run = async (steps: Step[], cut: number, crashSeed: number) => {
        const disk = new SimulatedDisk({ completion: 'random', seed: crashSeed });
        const moments: SimulatedDisk[] = [];
        let calls = 0;
        const env = watched(disk.env(), (operation) => {
          if (CHANGES.includes(operation) && calls++ % cut === 0) moments.push(disk.fork());
        });
        const store = await KvStore.open({ ...tieredOptions(disk), env });
        await store.batch((b) => {
          for (const key of keys) b.set(key, { balance: 100, fill: '' });
        });
        await store.flush();
        moments.length = 0;
        const under: Promise<unknown>[] = [];
        for (const [i, { from, to, amount, bytes, then }] of steps.entries()) {
          if (from !== to) under.push(transfer(store, keys[from], keys[to], amount, bytes));
          // What is in memory is seen in one turn.
          const seen = keys.map((key) => store.peek<Account>(key));
          if (!seen.includes(undefined)) {
            expect(sum(seen)).toBe(TOTAL);
            looks++;
          }
          if (then === 'turn') await new Promise((resolve) => setImmediate(resolve));
          if (then === 'flush') await store.flush();
          if (then === 'compact') under.push(store.compact({ full: i % 2 === 0 }));
          if (then === 'fill') await store.namespace('filler').set(i % 5, Buffer.alloc(60_000, i));
        }
        await Promise.all(under);
        expect(sum(await store.getMany<Account>(keys))).toBe(TOTAL);
        moments.push(disk.fork());
        await store.close();
        for (const [at, moment] of moments.entries()) {
          const mode = at % 3 === 0 ? 'none' : 'random';
          moment.crash({ mode, seed: crashSeed + at });
          const again = await KvStore.open(tieredOptions(moment));
          expect(sum(await again.getMany<Account>(keys))).toBe(TOTAL);
          moment.kill();
        }
        states += moments.length;
      };
      let states = 0;
      let looks = 0;
      await fc.assert(fc.asyncProperty(transfers, fc.integer({ min: 1, max: 7 }), fc.nat(), run), {
        numRuns: 15 * RUNS,
        interruptAfterTimeLimit: 100_000 * RUNS,
        ...seed,
      });
      if (process.env.TALLY) console.log(states, looks);
      expect(looks).toBeGreaterThan(100);
      expect(states).toBeGreaterThan(100);
    },
    120_000 * RUNS,
  );
});
