/** `deleteOnClose`: after close nothing of the store is left, and nothing else is gone; and leftovers in general. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { KvModule, KvStoreService } from 'nestjs-hotcold';
import {
  KvClosedError,
  KvDiskError,
  KvReadOnlyError,
  KvStore,
  type KvStoreOptions,
} from 'nestjs-hotcold/store';
import { SimulatedDisk } from './support/simulated-disk.js';
import { copyOf, missingPath, tempDirectory } from './support/temp-directory.js';

const SMALL: KvStoreOptions = {
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', diskBudget: '1mb' },
  cold: { segmentSize: '1mb' },
  compaction: false,
};

/** Something of every kind of file. */
async function fill(store: KvStore): Promise<void> {
  await store.namespace('n').set('k', { field: 1 });
  for (let key = 0; key < 600; key++) await store.set(key, Buffer.alloc(5000, key));
  await store.compact({ full: true });
  await store.checkpoint();
  for (let key = 0; key < 400; key++) await store.set(key, Buffer.alloc(5000, key));
  await store.flush();
}

const kindsOf = (path: string) => new Set(readdirSync(path).map((name) => name.replace(/[-.].*/, '')));

describe('deleteOnClose', () => {
  it('removes the directory that the store had created, but not its parents', async () => {
    const path = join(missingPath(), 'deep', 'store');
    const store = await KvStore.open({ path, ...SMALL, deleteOnClose: true });
    await fill(store);
    expect(kindsOf(path)).toEqual(
      new Set(['LOCK', 'MANIFEST', 'DICTIONARY', 'hot', 'cold', 'index', 'checkpoint', 'hint']),
    );
    await Promise.all([store.close(), store.close()]);
    expect(readdirSync(dirname(path))).toEqual([]);
    await expect(store.get(1)).rejects.toBeInstanceOf(KvClosedError);
    const again = await KvStore.open({ path, deleteOnClose: true });
    expect(again.opened.created).toBe(true);
    expect(await again.get(1)).toBeUndefined();
    await again.close();
    expect(existsSync(path)).toBe(false);
  });

  it('leaves a directory that was there, and whatever is not its own', async () => {
    const path = tempDirectory();
    mkdirSync(join(path, 'lost+found'));
    writeFileSync(join(path, '.gitkeep'), '');
    const store = await KvStore.open({ path, ...SMALL, deleteOnClose: true });
    await fill(store);
    const others = [
      'notes.txt',
      'access-20240101.log',
      'MANIFEST.old',
      'hot-1.log',
      'checkpoint-1.dat',
      'LOCK.txt',
    ];
    for (const name of others) writeFileSync(join(path, name), 'mine');
    await store.close();
    expect(readdirSync(path).sort()).toEqual([...others, 'lost+found', '.gitkeep'].sort());
    for (const name of others) expect(readFileSync(join(path, name), 'utf8')).toBe('mine');
  });

  it('leaves a directory that it had created when there are files of others in it', async () => {
    const path = missingPath();
    const store = await KvStore.open({ path, deleteOnClose: true });
    writeFileSync(join(path, 'notes.txt'), 'mine');
    await store.close();
    expect(readdirSync(path)).toEqual(['notes.txt']);
  });

  it('waits for reads, writes, a compaction and a checkpoint that nobody awaited', async () => {
    for (const level of ['interval', 'always', 'checkpoint'] as const) {
      const path = missingPath();
      const store = await KvStore.open({ path, ...SMALL, durability: { level }, deleteOnClose: true });
      await fill(store);
      const calls = [
        ...Array.from({ length: 100 }, (_, key) => store.set(`new ${key}`, 'x'.repeat(20_000))),
        ...Array.from({ length: 100 }, (_, key) => store.get(key)),
        store.compact({ full: true }),
        store.checkpoint(),
      ];
      const ended = Promise.allSettled(calls);
      await store.close();
      expect(existsSync(path)).toBe(false);
      for (const result of await ended)
        if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(KvClosedError);
      expect(existsSync(path)).toBe(false);
    }
  });

  it('works through app.close()', async () => {
    const path = missingPath();
    @Module({ imports: [KvModule.forRoot({ path, deleteOnClose: true })] })
    class AppModule {}
    const app = await Test.createTestingModule({ imports: [AppModule] }).compile();
    app.useLogger(false);
    await app.init();
    await app.get(KvStoreService).set('k', 1);
    expect(existsSync(path)).toBe(true);
    await app.close();
    expect(existsSync(path)).toBe(false);
  });

  it('is nothing to a store in memory', async () => {
    for (const device of ['memory', 'null'] as const) {
      const store = await KvStore.open({ device, deleteOnClose: true });
      await store.set('k', 1);
      await store.close();
    }
  });

  it('a killed process leaves a normal store, wherever it was killed but in the removal; then there is none', async () => {
    const options = (disk: SimulatedDisk): KvStoreOptions => ({
      path: '/store',
      env: disk.env(),
      ...SMALL,
      durability: { level: 'always' },
      deleteOnClose: true,
    });
    const outcomes = new Set<string>();
    for (let calls = 0, isOver = false; !isOver; calls++) {
      for (const mode of ['kill', 'none', 'all', 'random'] as const) {
        const disk = new SimulatedDisk({ seed: calls + 1 });
        const store = await KvStore.open(options(disk));
        await store.namespace('n').set('k', { field: 1 });
        await store.set('k', Buffer.alloc(2_000_000, 1));
        // From here on nothing works any more after so many calls: then the machine is gone.
        disk.failAt({ nth: calls + 1, code: 'EIO', sticky: true });
        isOver = await store.close().then(
          () => true,
          () => false,
        );
        disk.clearFaults();
        if (mode === 'kill') disk.kill();
        else disk.crash(mode);
        const next = await KvStore.open({ ...options(disk), deleteOnClose: false });
        const isThere = (await next.get('k')) !== undefined;
        outcomes.add(isThere ? 'there' : 'gone');
        expect(next.opened.created).toBe(!isThere);
        if (isThere) expect(await next.namespace('n').get('k')).toEqual({ field: 1 });
        await next.set('more', 1);
        await next.close();
        expect(disk.paths().filter((path) => path.includes('deleted'))).toEqual([]);
        const last = await KvStore.open({ ...options(disk), readOnly: true, deleteOnClose: false });
        expect(await last.get('more')).toBe(1);
        await last.close();
      }
    }
    expect([...outcomes].sort()).toEqual(['gone', 'there']);
  });

  it('works on a full disk, and after a disk has failed', async () => {
    for (const code of ['ENOSPC', 'EIO'] as const) {
      const disk = new SimulatedDisk();
      const errors: Error[] = [];
      const store = await KvStore.open({ path: '/store', env: disk.env(), ...SMALL, deleteOnClose: true });
      store.on('error', (error) => errors.push(error));
      await store.set('k', 1);
      disk.failAt({ operation: 'write', nth: 1, code, sticky: true });
      await expect(store.flush()).rejects.toBeInstanceOf(code === 'ENOSPC' ? KvDiskError : KvReadOnlyError);
      expect(errors).toHaveLength(1);
      await store.close();
      expect(disk.paths()).toEqual([]);
    }
  });

  it('says when files could not be removed, and gives the lock back', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open({ path: '/store', env: disk.env(), ...SMALL, deleteOnClose: true });
    await store.set('k', 1);
    const lift = disk.failAt({ operation: 'unlink', path: 'DICTIONARY', nth: 1, code: 'EACCES' });
    await expect(store.close()).rejects.toMatchObject({
      code: 'KV_DISK',
      operation: 'remove',
      errno: 'EACCES',
    });
    lift();
    const next = await KvStore.open({ path: '/store', env: disk.env(), ...SMALL, deleteOnClose: true });
    expect(next.opened.created).toBe(true);
    await next.close();
    expect(disk.paths()).toEqual([]);
  });
});

describe('leftovers of interrupted work', () => {
  /** Names after a store was opened and closed once more. */
  async function namesAfterOpening(path: string, hasCheckpoint: boolean): Promise<string[]> {
    if (!hasCheckpoint)
      for (const name of readdirSync(path)) if (name.startsWith('checkpoint-')) rmSync(join(path, name));
    const store = await KvStore.open({ path, ...SMALL });
    for (let key = 0; key < 400; key++) {
      const value = await store.get<Buffer>(key);
      if (!value?.equals(Buffer.alloc(5000, key))) throw new Error(`key ${key} is not as it was`);
    }
    const names = readdirSync(path).sort();
    await store.close();
    return names;
  }

  it.each([true, false])('are gone once the store is open, with a checkpoint: %s', async (hasCheckpoint) => {
    const path = missingPath();
    const store = await KvStore.open({ path, ...SMALL });
    await fill(store);
    const plain = copyOf(path);
    await store.close();
    const littered = copyOf(plain);
    const put = (name: string, source: string) => copyFileSync(join(plain, source), join(littered, name));
    const first = (log: string) =>
      readdirSync(plain)
        .filter((name) => name.startsWith(log))
        .sort()[0];
    // Replacement of the manifest, removal, checkpoints, segments that were truncated, the index of earlier lives.
    put('MANIFEST.tmp', 'MANIFEST');
    put('MANIFEST.deleted', 'MANIFEST');
    for (const number of ['00000000', '00000009', '1ffffffff'])
      put(`checkpoint-${number}.dat`, first('checkpoint'));
    expect(first('hot')).not.toBe('hot-00000000.log');
    put('hot-00000000.log', first('hot'));
    for (const number of ['00000007', '0000abcd']) put(`index-${number}.log`, first('index'));
    const names = await namesAfterOpening(littered, hasCheckpoint);
    expect(names).toEqual(await namesAfterOpening(plain, hasCheckpoint));
  });
});
