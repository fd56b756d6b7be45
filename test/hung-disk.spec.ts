/**
 * A disk that does not answer: a read, a write, a sync that hangs, for a while or for ever. Whoever needs it waits, and
 * nobody else; nothing is acknowledged meanwhile that is not there; when it answers at last, everything goes on.
 */
import { KvStore, type KvDurabilityLevel, type KvStoreOptions } from 'nestjs-hotcold/store';
import { HeldReads, openOn, turns, valueOf } from './support/compacting.js';
import { SimulatedDisk } from './support/simulated-disk.js';

const PENDING = 'still waiting';

/** What a promise has come to after some turns of the event loop. */
async function soon(promise: Promise<unknown>): Promise<unknown> {
  return Promise.race([promise, turns(200).then(() => PENDING)]);
}

describe('a read that hangs', () => {
  it('holds up its caller alone; close() waits for it, and ends with it', async () => {
    const disk = new SimulatedDisk();
    const reads = new HeldReads(disk);
    const store = await openOn(disk, { env: reads.env });
    const keys = Array.from({ length: 300 }, (_, i) => `k${i}`);
    for (const key of keys) await store.set(key, valueOf(key, 0, 5000));
    await store.flush();
    await reads.slowDown(store, keys.slice(100));
    disk.hangAt({ operation: 'read', nth: 1 });
    const hung = store.get('k1');
    await turns(5);
    expect(disk.hanging).toBe(1);
    // Others are read from disk, from memory, written, and made durable.
    expect(await soon(store.get('k2'))).toBe(valueOf('k2', 0, 5000));
    expect(await soon(store.getMany(['k3', 'missing', 'k299']))).toHaveLength(3);
    expect(await soon(store.set('k1', 'new'))).not.toBe(PENDING);
    expect(await soon(store.flush())).not.toBe(PENDING);
    expect(await soon(store.get('k1'))).toBe('new');
    expect(await soon(hung)).toBe(PENDING);
    const closed = store.close();
    expect(await soon(closed)).toBe(PENDING);
    await expect(store.get('k2')).rejects.toMatchObject({ code: 'KV_CLOSED' });
    disk.letGo();
    // What was current when it was asked for, or what is now.
    expect([valueOf('k1', 0, 5000), 'new']).toContain(await hung);
    await closed;
  });
});

describe.each<KvDurabilityLevel>(['always', 'interval', 'checkpoint'])('at %s', (level) => {
  const optionsOn = (disk: SimulatedDisk): KvStoreOptions => ({
    path: '/s',
    env: disk.env(),
    hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' },
    durability: { level },
  });

  it.each(['write', 'sync'] as const)(
    'a %s that hangs acknowledges nothing, and stops no reads',
    async (operation) => {
      const disk = new SimulatedDisk();
      const store = await KvStore.open(optionsOn(disk));
      await store.set('before', 1);
      await store.flush();
      disk.hangAt({ operation, path: '.log', nth: 1, sticky: true });
      const write = store.set('k', 1);
      const flushed = store.flush();
      expect(await soon(flushed)).toBe(PENDING);
      expect(await soon(write)).toEqual(level === 'always' ? PENDING : expect.any(Number));
      expect(await soon(store.getMany(['before', 'k']))).toEqual([1, 1]);
      // Whoever comes meanwhile waits, too, if he waits at all.
      expect(await soon(store.set('more', 1))).toEqual(level === 'always' ? PENDING : expect.any(Number));
      disk.letGo();
      await Promise.all([write, flushed]);
      await store.flush();
      disk.crash('none');
      const again = await KvStore.open(optionsOn(disk));
      expect(await again.getMany(['before', 'k', 'more'])).toEqual([1, 1, 1]);
      await again.close();
    },
  );

  it('a sync that hangs until the machine ends has acknowledged nothing that is gone', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(optionsOn(disk));
    await store.set('before', 1);
    await store.flush();
    disk.hangAt({ operation: 'sync', path: '.log', nth: 1, sticky: true });
    const told: string[] = [];
    const dead = () => undefined;
    void store.set('k', 1).then(() => told.push('set'), dead);
    void store.flush().then(() => told.push('flushed'), dead);
    await turns(50);
    disk.crash('none');
    expect(told).toEqual(level === 'always' ? [] : ['set']);
    disk.letGo();
    const again = await KvStore.open(optionsOn(disk));
    expect(await again.getMany(['before', 'k'])).toEqual([1, undefined]);
    await again.close();
  });
});
