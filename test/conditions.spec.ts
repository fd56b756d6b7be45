/** Writes with conditions: setIfAbsent, ifVersion, ifPresent, keepTtl, and delete with ifVersion. */
import { KvEncodingError, KvOptionsError, KvStore, KvVersionConflictError } from 'nestjs-hotcold/store';
import { HeldReads, openOn, turns, valueOf } from './support/compacting.js';
import { inEveryPlace } from './support/places.js';
import { SimulatedDisk } from './support/simulated-disk.js';

const conflict = (expected: number | undefined, actual: number | undefined) =>
  expect.objectContaining({ code: 'KV_VERSION_CONFLICT', expected, actual }) as Error;

describe('conditions', () => {
  inEveryPlace((placed) => {
    let version: number;
    beforeEach(async () => {
      version = await placed().store.set('k', 'old');
      await placed().settle();
    });

    it('setIfAbsent sets an absent key only', async () => {
      const { store } = placed();
      expect(await store.setIfAbsent('k', 'new')).toBe(false);
      expect(await store.setIfAbsent('new', 1)).toBe(true);
      expect(await store.setIfAbsent('new', 2)).toBe(false);
      await placed().settle();
      expect(await placed().store.getMany(['k', 'new'])).toEqual(['old', 1]);
    });

    it('setIfAbsent sets what was deleted, and only one of many wins', async () => {
      const { store } = placed();
      await store.delete('k');
      const won = await Promise.all([1, 2, 3, 4].map((n) => store.setIfAbsent('k', n)));
      expect(won.filter(Boolean)).toHaveLength(1);
      expect(await store.get('k')).toBe(1 + won.indexOf(true));
    });

    it('ifVersion sets at that version only, and names both versions', async () => {
      const { store } = placed();
      const wrong = store.set('k', 'new', { ifVersion: version + 1 });
      await expect(wrong).rejects.toBeInstanceOf(KvVersionConflictError);
      await expect(wrong).rejects.toEqual(conflict(version + 1, version));
      await expect(store.set('missing', 1, { ifVersion: 1 })).rejects.toEqual(conflict(1, undefined));
      expect(await store.getMany(['k', 'missing'])).toEqual(['old', undefined]);
      const newer = await store.set('k', 'new', { ifVersion: version });
      expect(newer).toBeGreaterThan(version);
      await expect(store.set('k', 'late', { ifVersion: version })).rejects.toEqual(conflict(version, newer));
      await placed().settle();
      expect(await placed().store.get('k')).toBe('new');
    });

    it('ifVersion lets one of many through', async () => {
      const { store } = placed();
      const results = await Promise.allSettled(
        [1, 2, 3, 4, 5].map((n) => store.set('k', n, { ifVersion: version })),
      );
      expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      expect(await store.get('k')).toBe(1 + results.findIndex(({ status }) => status === 'fulfilled'));
    });

    it('ifPresent sets a present key only', async () => {
      const { store } = placed();
      await expect(store.set('missing', 1, { ifPresent: true })).rejects.toEqual(
        conflict(undefined, undefined),
      );
      await store.set('k', 'new', { ifPresent: true });
      await store.delete('k');
      await expect(store.set('k', 1, { ifPresent: true })).rejects.toEqual(conflict(undefined, undefined));
      await placed().settle();
      expect(await placed().store.getMany(['missing', 'k'])).toEqual([undefined, undefined]);
    });

    it('delete with ifVersion deletes at that version only', async () => {
      const { store } = placed();
      await expect(store.delete('k', { ifVersion: version + 1 })).rejects.toEqual(
        conflict(version + 1, version),
      );
      await expect(store.delete('missing', { ifVersion: 1 })).rejects.toEqual(conflict(1, undefined));
      expect(await store.delete('k', { ifVersion: version })).toBe(true);
      await placed().settle();
      expect(await placed().store.get('k')).toBeUndefined();
    });

    it('keepTtl keeps the expiry, a plain set drops it', async () => {
      const { store, clock } = placed();
      await store.set('t', 1, { ttl: 1000 });
      await placed().settle();
      clock.advance(400);
      await placed().store.set('t', 2, { keepTtl: true });
      await placed().store.set('k', 3, { keepTtl: true });
      await placed().settle();
      expect(await placed().store.ttl('t')).toBe(600);
      expect(await placed().store.ttl('k')).toBe(Infinity);
      await placed().store.set('t', 4);
      expect(await placed().store.ttl('t')).toBe(Infinity);
      await placed().store.set('absent', 5, { keepTtl: true, ttl: 50 });
      expect(await placed().store.ttl('absent')).toBe(50);
    });
  });
});

describe('conditions that are none', () => {
  it('are refused: a version that is undefined or no number would be a write without its condition', async () => {
    const store = await KvStore.open();
    for (const wrong of [
      { ifVersion: undefined },
      { ifVersion: '5' },
      { ifVersion: NaN },
      { ifPresent: 'no' },
      { keepTtl: 1 },
    ]) {
      await expect(store.set('k', 1, wrong as never)).rejects.toThrow(KvOptionsError);
      await expect(store.batch((b) => b.set('k', 1, wrong as never))).rejects.toThrow(KvOptionsError);
    }
    for (const wrong of [{ ifVersion: undefined }, { ifVersion: null }, { ifversion: 1 }]) {
      await expect(store.delete('k', wrong as never)).rejects.toThrow(KvOptionsError);
    }
    expect(await store.has('k')).toBe(false);
    await store.close();
  });

  it('are refused beside that of setIfAbsent', async () => {
    const store = await KvStore.open();
    for (const other of [{ ifVersion: 7 }, { ifVersion: null }, { ifPresent: true }, { keepTtl: true }])
      await expect(store.setIfAbsent('k', 1, other as never)).rejects.toThrow(KvOptionsError);
    expect(await store.setIfAbsent('k', 1, { ttl: '1m', tags: ['t'] })).toBe(true);
    await store.close();
  });

  it('null is a version: that of an entry that is not there', async () => {
    const store = await KvStore.open();
    const version = await store.set('k', 1, { ifVersion: null });
    await expect(store.set('k', 2, { ifVersion: null })).rejects.toEqual(
      expect.objectContaining({ code: 'KV_VERSION_CONFLICT', expected: null, actual: version }),
    );
    await expect(store.batch((b) => b.set('new', 1).set('k', 2, { ifVersion: null }))).rejects.toThrow(
      'absent',
    );
    expect(await store.getMany(['k', 'new'])).toEqual([1, undefined]);
    await store.close();
  });
});

it('a conditional set writes the value that it was called with, whatever its owner does while the disk is read', async () => {
  const disk = new SimulatedDisk();
  const reads = new HeldReads(disk);
  const store = await openOn(disk, { env: reads.env });
  for (let i = 0; i < 100; i++) await store.set(`k${i}`, valueOf(i, 0, 10_000));
  await store.set('expiring', valueOf('expiring', 0, 10_000), { ttl: 1000 });
  for (let i = 0; i < 100; i++) await store.set(`filler ${i}`, valueOf(i, 0, 10_000));
  await reads.slowDown(
    store,
    Array.from({ length: 50 }, (_, i) => `k${10 + i}`),
  );
  disk.clock.advance(2000);
  const values = [{ n: 1 }, { n: 2 }];
  reads.hold('before');
  const written = [
    store.set('k1', values[0], { ifPresent: true }),
    store.setIfAbsent('expiring', values[1]),
    store.setMany([['k2', values[0], { ifPresent: true }]]),
  ];
  while (reads.held === 0) await turns(1);
  for (const value of values) value.n = 0;
  reads.release();
  await Promise.all(written);
  expect(await store.getMany(['k1', 'expiring', 'k2'])).toEqual([{ n: 1 }, { n: 2 }, { n: 1 }]);
  await store.close();
});

it('a value that cannot be stored is refused whether the condition holds or not', async () => {
  const store = await KvStore.open({ device: 'memory' });
  await store.set('k', 1);
  const promise = Promise.resolve() as unknown;
  await expect(store.setIfAbsent('k', promise)).rejects.toThrow(KvEncodingError);
  await expect(store.set('absent', promise, { ifPresent: true })).rejects.toThrow(KvEncodingError);
  await store.close();
});
