/**
 * Random bits flipped in the files of a store of several megabytes, in both tiers, closed or killed: what the store
 * answers is right, or it refuses with an error that names the file. Of a store that was killed, the last commit may be
 * taken for torn.
 */
import { KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { SeededRandom, SimulatedDisk } from '../support/simulated-disk.js';
import { RUNS, SEED, tally } from '../support/tally.js';

const FLIPS = 300 * RUNS;
const KEYS = 6000;
const PATH = '/store';

const optionsOn = (disk: SimulatedDisk): KvStoreOptions => ({
  path: PATH,
  env: disk.env(),
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' },
  cold: { segmentSize: '1mb' },
  compaction: false,
  durability: { level: 'checkpoint' },
});

const valueOf = (key: number, round: number) => `${key}/${round}/`.padEnd(100 + ((key * 31) % 900), 'v');
/** Round that a key was written in last. */
const roundOf = (key: number) => (key % 3 === 0 ? 2 : 1);

async function largeStore(end: 'closed' | 'killed'): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  const store = await KvStore.open(optionsOn(disk));
  for (let key = 0; key < KEYS; key++) await store.set(key, valueOf(key, 1));
  await store.compact({ full: true });
  for (let key = 0; key < KEYS; key += 3) {
    await store.set(key, valueOf(key, 2));
    if (key % 300 === 0) await store.flush();
  }
  if (end === 'killed') await store.checkpoint();
  // The one that may be taken for torn.
  await store.set('last', 1);
  await store.flush();
  if (end === 'closed') await store.close();
  else disk.kill();
  return disk;
}

/** What a store that was damaged does: `right`, `refused`, or what is wrong. */
async function outcomeOf(disk: SimulatedDisk, random: SeededRandom): Promise<string> {
  let refused = false;
  const refuse = (error: unknown): undefined => {
    const { code, message } = error as { code?: string; message: string };
    if (code !== 'KV_CORRUPTION' && code !== 'KV_FORMAT') throw error;
    if (
      code === 'KV_CORRUPTION' &&
      !/\b(MANIFEST|DICTIONARY|(hot|cold|index)-[0-9a-f]{8}\.log)\b/.test(message)
    )
      throw new Error(`No file is named: ${message}`);
    refused = true;
    return undefined;
  };
  const store = await KvStore.open(optionsOn(disk)).catch(refuse);
  if (!store) return 'refused';
  for (let i = 0; i < 150; i++) {
    const key = random.below(KEYS);
    let failed = false;
    const found = await store.get(key).catch((error: unknown) => {
      failed = true;
      return refuse(error);
    });
    if (!failed && found !== valueOf(key, roundOf(key))) return `key ${key} is ${String(found).slice(0, 30)}`;
  }
  await store.compact({ full: true }).catch(refuse);
  disk.kill();
  return refused ? 'refused' : 'right';
}

describe.each(['closed', 'killed'] as const)('a large store that was %s', (end) => {
  it('gives no wrong answer, whichever bit is flipped', async () => {
    const intact = await largeStore(end);
    const random = new SeededRandom(SEED);
    const files = intact
      .paths()
      .filter((path) => !path.endsWith('LOCK'))
      .map((path) => ({ path, bits: intact.sizeOf(path) * 8 }));
    const counts: Record<string, number> = {};
    for (let flip = 0; flip < FLIPS; flip++) {
      const { path, bits } = files[random.below(files.length)];
      const bit = random.below(bits);
      const disk = intact.fork();
      disk.flip(path, bit);
      const outcome = await outcomeOf(disk, random).catch((error: unknown) => String(error));
      if (outcome !== 'right' && outcome !== 'refused') throw new Error(`${path} bit ${bit}: ${outcome}`);
      counts[outcome] = (counts[outcome] ?? 0) + 1;
    }
    tally({ flips: FLIPS, ...counts });
    expect(counts.refused).toBeGreaterThan(0);
    expect(counts.right).toBeGreaterThan(0);
  });
});
