/**
 * The bytes of small stores, pinned: a change of the format shows as a change of a text file that a person can read.
 * `UPDATE_GOLDEN=1 npx jest test/format-golden` writes it anew (and `docs/format.md` has to follow).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KvStore } from 'nestjs-hotcold/store';
import { dumpCheckpoint } from './support/dump-checkpoint.js';
import { dumpLog } from './support/dump-log.js';
import { SimulatedDisk } from './support/simulated-disk.js';

const GOLDEN = join(__dirname, 'golden', 'format.txt');
const TIERS = join(__dirname, 'golden', 'tiers.txt');

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

const SEGMENT_BYTES = 1024 * 1024;

/**
 * A store with both tiers, in two lives: a checkpoint behind a compaction, then another compaction that a kill leaves
 * without one, so that what it put into the cold index is pending in the next life, and a second, incremental checkpoint.
 */
async function writeTiers(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk({ seed: 2 });
  const open = () =>
    KvStore.open({
      path: '/data',
      env: disk.env(),
      hot: { memory: '8mb', pageSize: '64kb', segmentSize: SEGMENT_BYTES },
      cold: { segmentSize: SEGMENT_BYTES },
      compaction: false,
      durability: { level: 'checkpoint' },
    });
  let store = await open();
  await store.set('city', 'Wien');
  await store.set('session', 'gone', { ttl: 1000 });
  await store.set('token', 'kept', { ttl: 3_600_000 });
  await store.set('letter', 'Es war einmal '.repeat(6000));
  await store.compact({ full: true });
  await store.set('river', 'Donau');
  await store.checkpoint();
  await store.set('city', 'Linz');
  await store.compact({ full: true });
  disk.kill();
  store = await open();
  await store.delete('river');
  await store.checkpoint();
  disk.kill();
  return disk;
}

/** The files that a store without a cold tier has not got. */
function dumpAll(disk: SimulatedDisk): string {
  return disk
    .paths()
    .map((path) => path.slice('/data/'.length))
    .filter((name) => /^(checkpoint|cold|index)-/.test(name))
    .map((name) => {
      const file = Buffer.from(disk.contents(`/data/${name}`));
      const number = Number.parseInt(name.split('-')[1], 16);
      const start = number * SEGMENT_BYTES;
      return name.startsWith('checkpoint')
        ? `${name}\n${dumpCheckpoint(file, number)}`
        : `${name}\n${dumpLog(file, start, start + (number === 0 ? 64 : 0))}`;
    })
    .join('\n');
}

function expectGolden(dump: string, path: string): void {
  if (process.env.UPDATE_GOLDEN) writeFileSync(path, dump);
  expect(dump).toBe(readFileSync(path, 'utf8'));
}

describe('the format on disk', () => {
  it('is, byte for byte, the one in the golden dump', async () => {
    const disk = await writeExample();
    const parts = ['MANIFEST', 'DICTIONARY'].map(
      (name) => `${name}\n${disk.contents(`/data/${name}`).toString('utf8')}`,
    );
    parts.push(`hot-00000000.log\n${dumpLog(Buffer.from(disk.contents('/data/hot-00000000.log')), 0, 64)}`);
    expectGolden(parts.join('\n'), GOLDEN);
  });

  it('is the one in the golden dump in the cold log, in chunks, extents and checkpoints as well', async () => {
    expectGolden(dumpAll(await writeTiers()), TIERS);
  });

  it('is what the worked example of docs/format.md shows', () => {
    const shown = /```golden\n([\s\S]*?)```/.exec(
      readFileSync(join(__dirname, '..', 'docs', 'format.md'), 'utf8'),
    );
    expect(shown).not.toBeNull();
    expect(readFileSync(GOLDEN, 'utf8')).toContain(shown![1]);
  });
});
