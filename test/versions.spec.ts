/** Versions are handed out once: whoever remembers one that was lost with a power cut never meets it with another value. */
import { KvStore, type KvDurabilityLevel } from 'nestjs-hotcold/store';
import { SimulatedDisk } from './support/simulated-disk.js';

it.each<KvDurabilityLevel>(['always', 'interval', 'checkpoint'])(
  'no version comes twice, whatever a power cut takes, at %s',
  async (level) => {
    const disk = new SimulatedDisk({ completion: 'random' });
    const seen = new Set<number>();
    let highest = 0;
    const note = (version: number) => {
      expect(seen.has(version)).toBe(false);
      expect(version).toBeGreaterThan(highest);
      seen.add(version);
      highest = version;
    };
    for (let life = 0; life < 6; life++) {
      const store = await KvStore.open({ path: '/s', env: disk.env(), durability: { level } });
      for (let i = 0; i < 10; i++) note(await store.set('k', i));
      if (life % 2 === 0) await store.flush();
      // In memory alone, if the level does not wait.
      for (let i = 0; i < 10; i++) note(await store.set(i, life));
      disk.crash('none');
    }
  },
);

const WRITES: [string, (store: KvStore) => Promise<unknown>][] = [
  ['set', (store) => store.set('k', 1)],
  ['setMany', (store) => store.setMany([['k', 1]])],
  ['delete', (store) => store.delete('k')],
  ['increment', (store) => store.increment('n')],
  ['update', (store) => store.update('k', () => 2)],
  ['a batch', (store) => store.batch((batch) => void batch.set('k', 1))],
  ['clear', (store) => store.clear()],
  ['invalidateTags', (store) => store.invalidateTags('tag')],
];

describe.each<KvDurabilityLevel>(['always', 'interval', 'checkpoint'])(
  'behind a clean stop, at %s',
  (level) => {
    const open = (disk: SimulatedDisk) =>
      KvStore.open({ path: '/s', env: disk.env(), durability: { level, everyMs: 3_600_000 } });

    it.each(WRITES)(
      'the first write, %s, is acknowledged when no version can come twice',
      async (_name, write) => {
        const disk = new SimulatedDisk();
        const first = await open(disk);
        const before = await first.set('k', 0);
        await first.close();
        for (let life = 0, highest = before; life < 3; life++) {
          const store = await open(disk);
          await write(store);
          const version = await store.set('other', life);
          expect(version).toBeGreaterThan(highest);
          highest = version;
          disk.crash('none');
        }
      },
    );

    it('opening writes nothing itself, and reserves versions when it has time', async () => {
      const disk = new SimulatedDisk();
      await (await open(disk)).close();
      await open(disk);
      disk.crash('none');
      const undisturbed = await open(disk);
      expect(undisturbed.opened).toMatchObject({ clean: true, commit: 2 });
      await disk.clock.turn();
      for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
      disk.crash('none');
      const store = await open(disk);
      expect(store.opened).toMatchObject({ clean: false, commit: 3 });
      await store.close();
    });
  },
);

it('a write for which no version is left leaves the log as it was', async () => {
  const disk = new SimulatedDisk();
  const open = () => KvStore.open({ path: '/s', env: disk.env(), durability: { level: 'checkpoint' } });
  const store = await open();
  await store.set('a', 1);
  await store.set('k', 0);
  await store.flush();
  store['core'].parts.versions.last = 2 ** 48 - 2;
  await store.set('b', 2);
  for (const [, write] of WRITES) await expect(write(store)).rejects.toThrow('used up its 2^48 versions');
  await store.flush();
  await store.close();
  const again = await open();
  expect(await again.getMany(['a', 'b', 'k'])).toEqual([1, 2, 0]);
  await again.close();
});
