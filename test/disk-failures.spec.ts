/** A disk that is full or broken: what is refused, what goes on, and what must never happen afterwards. */
import {
  KvDiskError,
  KvReadOnlyError,
  KvStore,
  type KvDurabilityLevel,
  type KvStoreOptions,
} from 'nestjs-hotcold/store';
import { SimulatedDisk } from './support/simulated-disk.js';
import { watched } from './support/watched-fs.js';

const LEVELS: KvDurabilityLevel[] = ['always', 'interval', 'checkpoint'];

const on = (disk: SimulatedDisk, level: KvDurabilityLevel): KvStoreOptions => ({
  path: '/store',
  env: disk.env(),
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', expectedKeys: 500_000 },
  durability: { level },
});

const value = (i: number) => `${i}`.padEnd(20_000, 'x');

/** Lets what is under way on the simulated disk end, and time pass. */
async function passTime(disk: SimulatedDisk, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 10) {
    disk.clock.advance(10);
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
}

describe.each(LEVELS)('a full disk, at %s', (level) => {
  it('refuses writes, answers reads, and takes writes again once there is room', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(on(disk, level));
    await store.set('before', 'kept');
    await store.flush();
    disk.capacityBytes = 600_000;
    let refused: unknown;
    let written = 0;
    for (let i = 0; i < 1000 && !refused; i++) {
      refused = await store.set(i, value(i)).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (!refused) written = i + 1;
    }
    expect(refused).toBeInstanceOf(KvDiskError);
    expect(refused).toMatchObject({ full: true, errno: 'ENOSPC' });
    await expect(store.set('more', 1)).rejects.toThrow(KvDiskError);
    expect(store.stats().failure).toContain('ENOSPC');
    expect(await store.get('before')).toBe('kept');
    for (let i = 0; i < written; i++) expect(await store.get(i)).toBe(value(i));

    disk.capacityBytes = Infinity;
    await passTime(disk, 1000);
    expect(store.stats().failure).toBeUndefined();
    await store.set('after', 1);
    await store.close();
    disk.crash('none');
    const again = await KvStore.open(on(disk, level));
    expect(await again.getMany(['before', 'after'])).toEqual(['kept', 1]);
    for (let i = 0; i < written; i++) expect(await again.get(i)).toBe(value(i));
    await again.close();
  });

  it('that fails the opening leaves nobody behind who writes later', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(on(disk, level));
    await store.set('k', 1);
    await store.flush();
    disk.kill();
    // The commit of the opening is the first write to the log, behind an unclean stop.
    disk.failAt({ operation: 'write', path: '.log', nth: 1, code: 'ENOSPC', sticky: true });
    await expect(KvStore.open(on(disk, level))).rejects.toThrow(KvDiskError);
    disk.clearFaults();
    const calls = disk.trace.length;
    await passTime(disk, 2000);
    expect(disk.trace.slice(calls)).toEqual([]);
    expect(disk.clock.pending).toBe(0);
    const again = await KvStore.open(on(disk, level));
    expect(await again.get('k')).toBe(1);
    await again.close();
  });

  it('behind a clean stop: it is opened, writes are refused, and it goes on when there is room', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(on(disk, level));
    await store.set('k', 1);
    await store.close();
    disk.failAt({ operation: 'write', path: '.log', nth: 1, code: 'ENOSPC', sticky: true });
    const full = await KvStore.open(on(disk, level));
    expect(await full.get('k')).toBe(1);
    await expect(full.set('k', 2)).rejects.toThrow(KvDiskError);
    await expect(full.set('k', 3)).rejects.toThrow(KvDiskError);
    disk.clearFaults();
    await passTime(disk, 1000);
    await full.set('k', 4);
    await full.close();
    const again = await KvStore.open(on(disk, level));
    expect(await again.get('k')).toBe(4);
    await again.close();
  });
});

describe.each(LEVELS)('a disk that fails, at %s', (level) => {
  it.each(['write', 'sync'] as const)('at a %s: read-only from then on, and said so', async (operation) => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(on(disk, level));
    await store.set('before', 'kept');
    await store.flush();
    const told: Error[] = [];
    store.on('error', (error) => told.push(error));
    disk.failAt({ operation, path: '.log', nth: 1, code: 'EIO' });
    const write = store.set('k', 1).then(() => store.flush());
    await expect(write).rejects.toMatchObject({
      name: expect.stringMatching(/^Kv(ReadOnly|Disk)Error$/) as string,
    });
    // The disk would work again, but nobody knows any more which bytes are on it.
    await expect(store.flush()).rejects.toThrow(KvReadOnlyError);
    await expect(store.set('k', 2)).rejects.toThrow(KvReadOnlyError);
    await expect(store.delete('before')).rejects.toThrow(KvReadOnlyError);
    expect(told).toHaveLength(1);
    expect(told[0]).toBeInstanceOf(KvReadOnlyError);
    expect(store.stats().failure).toContain('read-only');
    expect(await store.get('before')).toBe('kept');
    await expect(store.close()).rejects.toThrow(KvReadOnlyError);

    // Whatever is read back after a restart is safe from then on, although the failed sync has lost bytes.
    disk.kill();
    const again = await KvStore.open(on(disk, level));
    const seen = await again.get('k');
    expect([undefined, 1]).toContain(seen);
    await again.set('after', 1);
    await again.flush();
    disk.crash('none');
    const last = await KvStore.open(on(disk, level));
    expect(await last.getMany(['before', 'k', 'after'])).toEqual(['kept', seen, 1]);
    await last.close();
  });
});

describe('a process killed between write and sync', () => {
  it('leaves bytes that the next one makes safe before it builds on them', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(on(disk, 'checkpoint'));
    // Several segments, all written and none synced when the process is killed at the sync of the commit.
    for (let i = 0; i < 200; i++) await store.set(i, value(i));
    const syncs = disk.counts().sync ?? 0;
    const flushed = store.flush().catch(() => undefined);
    while ((disk.counts().sync ?? 0) === syncs) await new Promise((resolve) => setImmediate(resolve));
    disk.kill();
    await flushed;

    const again = await KvStore.open(on(disk, 'checkpoint'));
    const seen = await Promise.all(Array.from({ length: 200 }, (_, i) => again.get(i)));
    await again.set('after', 1);
    await again.flush();
    disk.crash('none');
    const last = await KvStore.open(on(disk, 'checkpoint'));
    expect(await last.get('after')).toBe(1);
    for (let i = 0; i < 200; i++) expect(await last.get(i)).toBe(seen[i]);
    await last.close();
  });
});

describe('a dictionary that was written and not synced', () => {
  it.each([
    ['its process was killed', undefined],
    ['its sync had failed', 'EIO' as const],
  ])('because %s, is made safe before anything relies on it', async (_, code) => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(on(disk, 'interval'));
    await store.set('before', 1);
    await store.flush();
    let killed = disk;
    const env = watched(disk.env(), (operation, file) => {
      if (operation === 'sync' && file === 'DICTIONARY') killed = disk.fork();
    });
    await store.close();
    const writer = await KvStore.open({ ...on(disk, 'interval'), env });
    if (code) disk.failAt({ operation: 'sync', path: 'DICTIONARY', nth: 1, code });
    await Promise.resolve()
      .then(() => writer.namespace('new').set('k', 1))
      .catch(() => undefined);
    if (code) {
      disk.kill();
      killed = disk;
    }
    expect(killed === disk).toBe(code !== undefined);

    const again = await KvStore.open(on(killed, 'interval'));
    await again.namespace('new').set('k', 2);
    await again.flush();
    killed.crash('none');
    const last = await KvStore.open(on(killed, 'interval'));
    expect(await last.namespace('new').get('k')).toBe(2);
    expect(await last.get('before')).toBe(1);
    await last.close();
  });
});

describe('the dictionary on a full disk', () => {
  it('is right about every shape when its write fails', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(on(disk, 'interval'));
    disk.failAt({ operation: 'write', path: 'DICTIONARY', nth: 1, code: 'ENOSPC' });
    // Three new shapes at once.
    const nested = { outer: { middle: { inner: 1 } } };
    const refused = await store.set('k', nested).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(KvDiskError);
    await passTime(disk, 1000);
    await store.flush();
    await store.set('k', nested);
    await store.set('other', { other: { shape: 2 } });
    await store.close();
    const again = await KvStore.open(on(disk, 'interval'));
    expect(await again.getMany(['k', 'other'])).toEqual([nested, { other: { shape: 2 } }]);
    await again.close();
  });
});

it('a listener that throws does not change what a failure does', async () => {
  const disk = new SimulatedDisk();
  const store = await KvStore.open(on(disk, 'always'));
  store.on('error', () => {
    throw new Error('mine');
  });
  disk.failAt({ operation: 'sync', path: '.log', nth: 1, code: 'EIO' });
  await expect(store.set('k', 1)).rejects.toThrow(KvReadOnlyError);
  await expect(store.set('k', 1)).rejects.toThrow(KvReadOnlyError);
  await store.close().catch(() => undefined);
});
