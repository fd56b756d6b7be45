/**
 * A large value lies in pieces, which may be gone or damaged while the record that lists them is still in memory: then it is
 * as if it were not there, and whoever writes the key does so once. (He looked again for ever, and never let go of the event
 * loop.)
 */
import { KvStore } from 'nestjs-hotcold/store';
import { CachePlan } from '../src/store/cache-options.js';
import { openOn, segmentsOf, valueOf } from './support/compacting.js';
import { SimulatedDisk } from './support/simulated-disk.js';

/** More than any of these calls takes. */
const MOST_LOADS = 50;

/** Ends what would go on for ever; nothing else could. */
function limitLoads(store: KvStore): void {
  const { reads } = store['core'];
  const load = reads.load.bind(reads);
  let loads = 0;
  reads.load = (key) => {
    if (++loads > MOST_LOADS) throw new Error('It is looked up again and again.');
    return load(key);
  };
}

describe('a value whose pieces a null device has forgotten', () => {
  const CALLS: [string, (store: KvStore) => Promise<unknown>, unknown][] = [
    ['getOrSet', (store) => store.getOrSet('k', () => 1), 1],
    ['update', (store) => store.update('k', (current) => current ?? 1), 1],
    ['setIfAbsent', (store) => store.setIfAbsent('k', 1), 1],
    ['set', (store) => store.set('k', 1), 1],
    ['delete', (store) => store.delete('k'), undefined],
    ['a batch', (store) => store.batch((batch) => void batch.delete('k')), undefined],
    ['touch', (store) => store.touch('k', 1000), undefined],
  ];

  it.each(CALLS)('is as good as absent for %s', async (_, call, after) => {
    const store = await KvStore.open({ device: 'null', hot: { memory: '8mb', pageSize: '64kb' } });
    // Longer than all pages together.
    await store.set('k', Buffer.alloc(20 * 1024 * 1024, 7));
    expect(await store.get('k')).toBeUndefined();
    limitLoads(store);
    await call(store);
    expect(await store.get('k')).toBe(after);
    await store.close();
  });
});

describe('a value whose pieces are damaged on disk', () => {
  it.each<[string, (store: KvStore) => Promise<unknown>]>([
    ['getOrSet', (store) => store.getOrSet('k', () => 'new', { onError: () => undefined })],
    ['what @CachePut does', (store) => store.cached.put('k', 'new', CachePlan.of({}))],
  ])('is written anew by %s', async (_, call) => {
    const disk = new SimulatedDisk();
    const store = await openOn(disk);
    await store.set('k', valueOf('k', 0, 2_000_000));
    await store.flush();
    disk.flip(segmentsOf(disk, 'hot')[0], 500_000 * 8);
    await expect(store.get('k')).rejects.toMatchObject({ code: 'KV_CORRUPTION' });
    limitLoads(store);
    await call(store);
    // `getOrSet` writes behind its answer.
    for (let i = 0; i < 100 && store.peek('k') === undefined; i++) await new Promise((r) => setImmediate(r));
    expect(await store.get('k')).toBe('new');
    await store.close();
  });
});
