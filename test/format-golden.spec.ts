/**
 * The bytes of a small store, pinned: a change of the format shows as a change of a text file that a person can read.
 * `UPDATE_GOLDEN=1 npx jest test/format-golden` writes it anew (and `docs/format.md` has to follow).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KvStore } from 'nestjs-hotcold/store';
import { dumpLog } from './support/dump-log.js';
import { SimulatedDisk } from './support/simulated-disk.js';

const GOLDEN = join(__dirname, 'golden', 'format.txt');

async function writeExample(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk({ seed: 1 });
  const store = await KvStore.open({
    path: '/data',
    env: disk.env(),
    hot: { memory: '8mb' },
    durability: { level: 'checkpoint' },
  });
  await store.set('greeting', 'hello');
  await store.set('greeting', 'hi');
  await store.set(7, { name: 'Ada', born: 1815 }, { ttl: 1000 });
  await store.flush();
  await store.set('greeting', 'good morning');
  await store.delete(7);
  const users = store.namespace('users');
  await users.set(['eu', 1], null);
  await users.clear();
  await users.set('ada', 1815, { tags: ['team:1'] });
  await users.invalidateTags('team:1');
  await store.close();
  return disk;
}

describe('the format on disk', () => {
  it('is, byte for byte, the one in the golden dump', async () => {
    const disk = await writeExample();
    const parts = ['MANIFEST', 'DICTIONARY'].map(
      (name) => `${name}\n${disk.contents(`/data/${name}`).toString('utf8')}`,
    );
    parts.push(`hot-00000000.log\n${dumpLog(Buffer.from(disk.contents('/data/hot-00000000.log')), 0, 64)}`);
    const dump = parts.join('\n');
    if (process.env.UPDATE_GOLDEN) writeFileSync(GOLDEN, dump);
    expect(dump).toBe(readFileSync(GOLDEN, 'utf8'));
  });

  it('is what the worked example of docs/format.md shows', () => {
    const shown = /```golden\n([\s\S]*?)```/.exec(
      readFileSync(join(__dirname, '..', 'docs', 'format.md'), 'utf8'),
    );
    expect(shown).not.toBeNull();
    expect(readFileSync(GOLDEN, 'utf8')).toContain(shown![1]);
  });
});
