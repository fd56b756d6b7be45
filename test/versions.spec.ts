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
