/**
 * Tags: one mark makes every older entry with the tag dead, wherever its record lies, and nothing brings it back: no
 * cache, scan, restart, crash, compaction, salvage, also once the mark is forgotten. Sequences by chance, with crashes,
 * are in `model.spec.ts`, `crash.spec.ts` and `crash-compaction.spec.ts`.
 */
import { KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { textChecksum } from '../src/store/text-checksum.js';
import { HeldReads, openOn, PATH, turns, valueOf } from './support/compacting.js';
import { envWith } from './support/places.js';
import { SimulatedClock } from './support/simulated-clock.js';
import { SimulatedDisk } from './support/simulated-disk.js';

const marksOf = (store: KvStore): number => (store as any).core.parts.spaces.tags.count as number;

/** Entries that are tagged, and one that is not, so that the least of what is wrong shows. */
async function fill(store: KvStore, bytes = 100): Promise<void> {
  for (let i = 0; i < 20; i++) {
    const tags = i % 4 === 3 ? [] : [`team:${i % 4}`, 'all'];
    await store.set(`k${i}`, valueOf(i, 0, bytes), { tags });
  }
}

async function keysOf(store: KvStore): Promise<number[]> {
  const found: number[] = [];
  for (let i = 0; i < 20; i++) if ((await store.get(`k${i}`)) !== undefined) found.push(i);
  return found;
}

const without = (team: number): number[] => [...Array(20).keys()].filter((i) => i % 4 !== team);
const UNTAGGED = [3, 7, 11, 15, 19];

describe('tags', () => {
  it('let go of what carries them, for every call', async () => {
    await using store = await KvStore.open();
    await fill(store);
    await store.invalidateTags('team:1');
    expect(await keysOf(store)).toEqual(without(1));
    expect(store.peek('k1')).toBeUndefined();
    expect([await store.has('k1'), await store.ttl('k1'), await store.getEntry('k1')]).toEqual([
      false,
      undefined,
      undefined,
    ]);
    expect(await store.getMany(['k1', 'k2'])).toEqual([undefined, valueOf(2, 0, 100)]);
    expect([await store.delete('k1'), await store.touch('k1', 5)]).toEqual([false, false]);
    expect(await store.update('k1', (current) => current ?? 'new')).toBe('new');
    expect(await store.setIfAbsent('k5', 'new')).toBe(true);
    await expect(store.set('k9', 1, { ifPresent: true })).rejects.toMatchObject({ actual: undefined });
    await store.set('k9', 'new', { ifVersion: null });
    expect(await store.getMany(['k1', 'k5', 'k9'])).toEqual(['new', 'new', 'new']);
  });

  it('hold for what was set before, not for what comes later', async () => {
    await using store = await KvStore.open();
    await store.set('a', 1, { tags: ['x'] });
    await store.invalidateTags('x');
    await store.set('a', 2, { tags: ['x'] });
    expect(await store.get('a')).toBe(2);
    await store.invalidateTags('y');
    expect(await store.get('a')).toBe(2);
    await store.invalidateTags('y', 'x');
    expect(await store.get('a')).toBeUndefined();
    await store.invalidateTags();
  });

  it('and expiries do not make a key count twice when it is set again', async () => {
    const clock = new SimulatedClock();
    await using store = await KvStore.open({ env: envWith(clock) });
    for (let i = 0; i < 3; i++) {
      await store.set('a', i, { tags: ['x'] });
      await store.set('b', i, { ttl: 10 });
      await store.invalidateTags('x');
      clock.advance(10);
    }
    expect(store.stats().keys).toBe(2);
  });

  it('belong to an entry until it is set anew', async () => {
    await using store = await KvStore.open();
    for (const key of ['updated', 'added', 'touched', 'kept', 'set'])
      await store.set(key, 1, { tags: ['x'] });
    await store.update('updated', () => 2);
    await store.increment('added');
    await store.touch('touched', '1h');
    await store.set('kept', 2, { keepTtl: true });
    await store.set('set', 2);
    await store.setIfAbsent('new', 1, { tags: ['x'] });
    await store.setMany([['many', 1, { tags: ['x'] }]]);
    await store.batch((b) => b.set('batched', 1, { tags: ['x'] }).set('plain', 1));
    await store.invalidateTags('x');
    const all = ['updated', 'added', 'touched', 'kept', 'set', 'new', 'many', 'batched', 'plain'];
    const left = (await store.getMany(all)).map((value, i) => (value === undefined ? '' : all[i]));
    expect(left.filter(Boolean)).toEqual(['kept', 'set', 'plain']);
  });

  it('are those of one namespace, or of the whole store', async () => {
    await using store = await KvStore.open();
    const [one, other] = [store.namespace('one'), store.namespace('other')];
    const found = async () => [await store.get('a'), await one.get('a'), await other.get('a')];
    const set = async () => {
      for (const space of [store, one, other]) await space.set('a', 1, { tags: ['x'] });
    };
    await set();
    await one.invalidateTags('x');
    expect(await found()).toEqual([1, undefined, 1]);
    await store.invalidateTags('x');
    expect(await found()).toEqual([undefined, undefined, undefined]);
    await set();
    expect(await found()).toEqual([1, 1, 1]);
  });

  it('are checked', async () => {
    await using store = await KvStore.open();
    const bad: [unknown, string][] = [
      ['x', 'tags: must be a list'],
      [[''], 'tags[0]: must be text of 1 to 512 bytes'],
      [['x', 1], 'tags[1]: must be text'],
      [['ü'.repeat(257)], 'tags[0]: must be text'],
      [['\ud800'], 'tags[0]: must be text'],
      [Array.from({ length: 65 }, (_, i) => `${i}`), 'tags: must be 64 at the most'],
    ];
    for (const [tags, message] of bad) {
      await expect(store.set('a', 1, { tags: tags as string[] })).rejects.toThrow(message);
      await expect(store.setIfAbsent('a', 1, { tags: tags as string[] })).rejects.toThrow(message);
    }
    await expect(store.invalidateTags('x', '')).rejects.toThrow('tags[1]: must be text');
    await store.set('a', 1, { tags: Array.from({ length: 64 }, (_, i) => `${'ü'.repeat(254)}${i}`) });
    await store.invalidateTags(...Array.from({ length: 100 }, (_, i) => `${'ü'.repeat(254)}${i + 63}`));
    expect(await store.get('a')).toBeUndefined();
  });

  it('are found in values of any length, hot and cold', async () => {
    const disk = new SimulatedDisk();
    const store = await openOn(disk);
    const lengths = [1, 65_400, 65_480, 65_500, 65_536, 70_000, 300_000];
    const set = async (tag: string) => {
      for (const length of lengths) await store.set(length, valueOf(length, 0, length), { tags: [tag, 'x'] });
    };
    const found = async () => Promise.all(lengths.map(async (length) => (await store.get(length)) as string));
    for (const tag of ['hot', 'cold']) {
      await set(tag);
      if (tag === 'cold') await store.compact({ full: true });
      expect(await found()).toEqual(lengths.map((length) => valueOf(length, 0, length)));
      for (const length of lengths) await store.touch(length, '1h');
      if (tag === 'cold') await store.compact({ full: true });
      expect(await found()).toEqual(lengths.map((length) => valueOf(length, 0, length)));
      await store.invalidateTags(tag);
      expect((await found()).every((value) => value === undefined)).toBe(true);
    }
    await store.close();
  });

  it('are noticed by a change that has waited for the disk', async () => {
    const disk = new SimulatedDisk();
    const store = await openOn(disk);
    await store.set('a', 1, { tags: ['x'] });
    await store.compact({ full: true });
    const seen: unknown[] = [];
    const updated = store.update('a', async (current) => {
      seen.push(current);
      if (seen.length === 1) await store.invalidateTags('x');
      return 2;
    });
    expect(await updated).toBe(2);
    expect(seen).toEqual([1, undefined]);
    await store.close();
  });
});

describe('what a tag has made dead stays so', () => {
  const places: [string, KvStoreOptions, number][] = [
    ['with the least memory', {}, 30_000],
    ['in the read cache', { readCache: { memory: '16mb' } }, 1000],
    ['decoded', { readCache: { decodedEntries: 100 } }, 100],
  ];

  it.each(places)('in both tiers, %s', async (_, options, bytes) => {
    const disk = new SimulatedDisk();
    let store = await openOn(disk, options);
    await fill(store, bytes);
    await store.compact({ full: true });
    expect(await keysOf(store)).toHaveLength(20);
    expect(await keysOf(store)).toHaveLength(20);
    await store.invalidateTags('team:1');
    expect(await keysOf(store)).toEqual(without(1));
    for (const how of ['closed', 'checkpoint', 'killed', 'compacted', 'compacted']) {
      if (how === 'checkpoint') await store.checkpoint();
      if (how === 'killed') await store.flush();
      if (how === 'compacted') await store.compact({ full: true });
      if (how === 'killed' || how === 'checkpoint') disk.kill();
      else await store.close();
      store = await openOn(disk, options);
      expect([how, ...(await keysOf(store))]).toEqual([how, ...without(1)]);
    }
    const scanned: unknown[] = [];
    for await (const key of store.keys()) scanned.push(key);
    expect(scanned.sort()).toEqual(
      without(1)
        .map((i) => `k${i}`)
        .sort(),
    );
    await store.close();
  });

  it('when the mark is forgotten, which it is once compaction has passed everything', async () => {
    const disk = new SimulatedDisk();
    let store = await openOn(disk);
    await fill(store, 1000);
    await store.compact({ full: true });
    await fill(store, 1000);
    await store.invalidateTags('all');
    await store.invalidateTags('all', 'team:1');
    expect(marksOf(store)).toBe(2);
    // The hot log is passed, but not the part of the cold log that was there.
    await store.compact({ full: true });
    for (let i = 0; i < 4 && marksOf(store) > 0; i++) {
      // Only where there is garbage is the cold log rewritten.
      await store.set('k3', `garbage ${i}`);
      await store.compact({ full: true });
    }
    expect(marksOf(store)).toBe(0);
    expect((store as any).core.parts.spaces.tags.memoryBytes).toBe(0);
    expect(await keysOf(store)).toEqual(UNTAGGED);
    disk.kill();
    store = await openOn(disk);
    expect(await keysOf(store)).toEqual(UNTAGGED);
    await store.close();
  });

  it.each(['read cache', 'decoded values'])('also in the %s, when the mark is forgotten', async (cache) => {
    const disk = new SimulatedDisk();
    const decodedEntries = cache === 'read cache' ? 0 : 100;
    const store = await openOn(disk, { readCache: { memory: '16mb', decodedEntries } });
    await fill(store, 1000);
    await store.compact({ full: true });
    expect(await keysOf(store)).toHaveLength(20);
    await store.invalidateTags('all');
    // Nobody has read them since.
    for (let i = 0; i < 5 && marksOf(store) > 0; i++) {
      await store.set('garbage', i);
      await store.compact({ full: true });
    }
    expect(marksOf(store)).toBe(0);
    expect(await keysOf(store)).toEqual(UNTAGGED);
    await store.close();
  });

  it('for a read that was under way when the mark was forgotten', async () => {
    const disk = new SimulatedDisk();
    const reads = new HeldReads(disk);
    const store = await openOn(disk, { env: reads.env });
    const large = valueOf('large', 0, 150_000);
    await store.set('large', large, { tags: ['x'] });
    for (let i = 0; i < 200; i++) await store.set(`f${i}`, valueOf(i, 0, 5000));
    await store.compact({ full: true });
    await reads.slowDown(
      store,
      Array.from({ length: 200 }, (_, i) => `f${i}`),
    );
    // Held with the record in hand, while a piece of the value is read.
    reads.hold('after', 1);
    const read = store.get('large');
    while (reads.held === 0) await turns(1);
    await store.invalidateTags('x');
    for (let i = 0; i < 5 && marksOf(store) > 0; i++) {
      await store.set('garbage', i);
      await store.compact({ full: true });
    }
    expect(marksOf(store)).toBe(0);
    reads.release();
    expect(await read).toBeUndefined();
    await store.close();
  });

  it('and the mark stays as long as an older record lies anywhere', async () => {
    const disk = new SimulatedDisk();
    let store = await openOn(disk);
    await store.set('a', 1, { tags: ['x'] });
    await store.set('b', 1, { tags: ['x'] });
    await store.compact({ full: true });
    await store.set('c', 1, { tags: ['x'] });
    await store.invalidateTags('x');
    for (let i = 0; i < 3; i++) {
      // Hot → cold alone: without garbage, the cold log is left as it is.
      await store.set('d', i);
      await store.flush();
      await store.compact();
      expect(await store.getMany(['a', 'b', 'c'])).toEqual([undefined, undefined, undefined]);
      disk.kill();
      store = await openOn(disk);
      expect(await store.getMany(['a', 'b', 'c'])).toEqual([undefined, undefined, undefined]);
    }
    await store.close();
  });

  it('when the checkpoint that knew of the mark is lost', async () => {
    const disk = new SimulatedDisk();
    let store = await openOn(disk);
    await fill(store);
    await store.compact({ full: true });
    await store.invalidateTags('team:0');
    await store.checkpoint();
    await store.close();
    for (const path of disk.paths()) if (path.includes('checkpoint-')) disk.env().fs.unlinkSync(path);
    store = await openOn(disk);
    expect(store.opened.checkpoint).toBeUndefined();
    expect(await keysOf(store)).toEqual(without(0));
    await store.close();
  });

  it('in what salvage copies; and what it copies keeps its tags', async () => {
    const disk = new SimulatedDisk();
    const store = await openOn(disk);
    // An older version without the tag must not take the place of the dead one.
    await store.set('k1', 'older');
    await store.compact({ full: true });
    await fill(store);
    await store.set('large', valueOf('large', 0, 200_000), { tags: ['team:2'] });
    await store.invalidateTags('team:1');
    await store.close();
    const report = await KvStore.salvage(PATH, '/salvaged', { env: disk.env() });
    expect(report.complete).toBe(true);
    const salvaged = await KvStore.open({ path: '/salvaged', env: disk.env() });
    expect(await salvaged.get('large')).toBe(valueOf('large', 0, 200_000));
    await salvaged.invalidateTags('team:2');
    expect(await salvaged.get('large')).toBeUndefined();
    expect(await keysOf(salvaged)).toEqual(without(1).filter((i) => i % 4 !== 2));
    await salvaged.close();
    // The salvaged store can be salvaged as well.
    await KvStore.salvage('/salvaged', '/again', { env: disk.env() });
    const again = await KvStore.open({ path: '/again', env: disk.env() });
    await again.invalidateTags('team:0');
    expect(await keysOf(again)).toEqual(UNTAGGED);
    await again.close();
  });

  it('for hundreds of tags, over restarts', async () => {
    const disk = new SimulatedDisk();
    let store = await openOn(disk);
    const expectDead = async () => {
      const found = await store.getMany(Array.from({ length: 600 }, (_, i) => i));
      expect(found).toEqual(found.map((_, i) => (i % 3 === 0 ? undefined : i)));
    };
    for (let i = 0; i < 600; i++) await store.set(i, i, { tags: [`t${i}`] });
    await store.invalidateTags(...Array.from({ length: 200 }, (_, i) => `t${i * 3}`));
    for (let round = 0; round < 2; round++) {
      expect(marksOf(store)).toBe(200);
      await expectDead();
      await store.close();
      store = await openOn(disk);
    }
    await store.compact({ full: true });
    await expectDead();
    await store.close();
  });
});

describe('a store that was made before there were tags', () => {
  it('gets them when it is opened to be written, and is left as it is when it is opened to be read', async () => {
    const disk = new SimulatedDisk();
    const { fs } = disk.env();
    const manifest = () => disk.contents(`${PATH}/MANIFEST`).toString();
    const first = await openOn(disk);
    await first.set('a', 1);
    await first.close();
    const json = manifest().split('\n')[0].replace('"attributes"', '');
    const older = Buffer.from(`${json}\n${textChecksum(json)}\n`);
    const fd = fs.open(`${PATH}/MANIFEST`, { create: false });
    fs.truncate(fd, 0);
    fs.writeSync(fd, older, 0, older.length, 0);
    fs.syncSync(fd);
    fs.close(fd);
    const reader = await openOn(disk, { readOnly: true });
    expect(await reader.get('a')).toBe(1);
    await reader.close();
    expect(manifest()).toBe(older.toString());
    const store = await openOn(disk);
    expect(manifest()).toContain('"features":["attributes"]');
    await store.set('a', 2, { tags: ['x'] });
    await store.invalidateTags('x');
    await store.close();
    expect(await (await openOn(disk)).get('a')).toBeUndefined();
  });
});
