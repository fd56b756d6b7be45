/** `readOnly`: a store is opened, recovered and read without one byte of its directory being changed. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import {
  KvClosedError,
  KvCorruptionError,
  KvDiskError,
  KvFormatError,
  KvLockedError,
  KvReadOnlyError,
  KvStore,
  type KvNamespace,
  type KvStoreOptions,
} from 'nestjs-hotcold/store';
import type { OverlayDevice } from '../src/device/index.js';
import { FORMAT_VERSION } from '../src/store/manifest.js';
import { SimulatedDisk } from './support/simulated-disk.js';
import { copyOf, missingPath, tempDirectory } from './support/temp-directory.js';

const KEYS = 2000;
const SMALL: KvStoreOptions = {
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', diskBudget: '1mb' },
  cold: { segmentSize: '1mb' },
  compaction: false,
  durability: { level: 'checkpoint' },
};

const valueOf = (key: number) => `${key} `.repeat(100 + (key % 100));

/** What everybody who opens one of the stores below has to find. */
async function expectAll(store: KvStore): Promise<void> {
  const values = await store.getMany(Array.from({ length: KEYS }, (_, key) => key));
  for (const [key, value] of values.entries())
    if (value !== (key % 7 === 0 ? undefined : valueOf(key))) throw new Error(`key ${key} is not as it was`);
  expect(await store.namespace('n').get('k')).toEqual({ field: 1 });
  const large = (await store.namespace('n').get('large')) as Buffer;
  expect(large.equals(Buffer.alloc(200_000, 7))).toBe(true);
  expect(await store.get('absent')).toBeUndefined();
}

/** A store with something of everything in both tiers; then one that was closed, and one whose process was killed. */
async function makeStores(): Promise<{ closed: string; killed: string }> {
  const path = missingPath();
  const store = await KvStore.open({ path, ...SMALL });
  await store.namespace('n').set('k', { field: 1 });
  await store.namespace('n').set('large', Buffer.alloc(200_000, 7));
  for (let key = 0; key < KEYS; key++) await store.set(key, valueOf(key));
  await store.flush();
  await store.compact({ full: true });
  await store.checkpoint();
  for (let key = 0; key < KEYS; key += 7) await store.delete(key);
  for (let key = 1; key < KEYS; key += 700) await store.set(key, valueOf(key));
  await store.flush();
  await store.set('last', 1);
  await store.flush();
  const killed = copyOf(path);
  await store.close();
  return { closed: path, killed };
}

/** Everything that can be told of a directory without changing it, but when it was read last. */
function stateOf(path: string): Record<string, string> {
  const state: Record<string, string> = {};
  for (const name of ['.', ...readdirSync(path).sort()]) {
    const { mode, size, mtimeNs, ctimeNs, ino } = statSync(join(path, name), { bigint: true });
    const sum = name === '.' ? 0 : crc32(readFileSync(join(path, name)));
    state[name] = [mode, size, mtimeNs, ctimeNs, ino, sum].join(' ');
  }
  return state;
}

const namesOf = (path: string, prefix: string) =>
  readdirSync(path)
    .filter((name) => name.startsWith(prefix))
    .sort();

const overlayOf = (store: KvStore) =>
  (store as unknown as { core: { parts: { device: OverlayDevice } } }).core.parts.device;

let closed: string;
let killed: string;

beforeAll(async () => {
  ({ closed, killed } = await makeStores());
});

/** What may have happened to a directory; none of it loses anything. */
const CONDITIONS: [name: string, source: 'closed' | 'killed', change: (path: string) => void][] = [
  ['was closed', 'closed', () => undefined],
  ['was killed', 'killed', () => undefined],
  [
    'was killed and has a torn tail in both logs',
    'killed',
    (path) => {
      for (const log of ['hot', 'cold'])
        appendFileSync(join(path, namesOf(path, `${log}-`).at(-1) ?? ''), Buffer.alloc(5000, 0x5a));
    },
  ],
  [
    'has leftovers of work that was interrupted',
    'killed',
    (path) => {
      writeFileSync(join(path, 'MANIFEST.tmp'), 'half a manif');
      writeFileSync(join(path, 'MANIFEST.deleted'), readFileSync(join(path, 'MANIFEST')));
      writeFileSync(join(path, 'checkpoint-0000ffff.dat'), Buffer.alloc(3000, 1));
      writeFileSync(join(path, 'index-0000ffff.log'), Buffer.alloc(3000, 1));
      copyFileSync(join(path, namesOf(path, 'hot-')[0]), join(path, 'hot-00000000.log'));
      appendFileSync(join(path, 'DICTIONARY'), '12345678 {"namesp');
    },
  ],
  [
    'has no checkpoint',
    'closed',
    (path) => namesOf(path, 'checkpoint-').forEach((name) => rmSync(join(path, name))),
  ],
  [
    'has a damaged checkpoint',
    'killed',
    (path) => {
      for (const name of namesOf(path, 'checkpoint-')) {
        const bytes = readFileSync(join(path, name));
        bytes[bytes.length >> 1] ^= 1;
        writeFileSync(join(path, name), bytes);
      }
    },
  ],
  [
    'has a checkpoint whose chunks are missing',
    'closed',
    (path) => namesOf(path, 'index-').forEach((name) => rmSync(join(path, name))),
  ],
  ['has no LOCK', 'killed', (path) => rmSync(join(path, 'LOCK'))],
];

describe('a store that is opened with readOnly', () => {
  it.each(CONDITIONS)('%s: all is there, and the directory is as it was', async (_, source, change) => {
    const path = copyOf(source === 'closed' ? closed : killed);
    change(path);
    const before = stateOf(path);
    const store = await KvStore.open({ path, ...SMALL, readOnly: true });
    expect(stateOf(path)).toEqual(before);
    const beside = await KvStore.open({ path, ...SMALL, readOnly: true });
    await Promise.all([expectAll(store), expectAll(beside)]);
    // The first commit of an opening, and the index of the cold tier where there is no checkpoint of it.
    expect(overlayOf(store).memoryBytes).toBeLessThan(512 * 1024);
    expect(store.opened.created).toBe(false);
    await store.close();
    await beside.close();
    expect(stateOf(path)).toEqual(before);

    const writer = await KvStore.open({ path, ...SMALL });
    const { clean, droppedBytes, checkpoint } = writer.opened;
    expect({ clean, droppedBytes, checkpoint }).toEqual({
      clean: store.opened.clean,
      droppedBytes: store.opened.droppedBytes,
      checkpoint: store.opened.checkpoint,
    });
    await expectAll(writer);
    await writer.set('k', 1);
    await writer.close();
    const leftovers = ['MANIFEST.tmp', 'MANIFEST.deleted', 'checkpoint-0000ffff.dat', 'index-0000ffff.log'];
    expect(readdirSync(path).filter((name) => leftovers.includes(name))).toEqual([]);
  });

  it('makes no call on the disk that changes something', async () => {
    const disk = new SimulatedDisk();
    const options = { path: '/store', ...SMALL, durability: { level: 'interval' } } as const;
    const writer = await KvStore.open({ ...options, env: disk.env() });
    await writer.setMany(Array.from({ length: 2000 }, (_, key) => [key, valueOf(key)] as const));
    await writer.compact({ full: true });
    await writer.set('a', 1);
    await writer.flush();
    disk.kill();
    const paths = disk.paths();
    const from = disk.trace.length;
    const { unsyncedChanges } = disk;
    const store = await KvStore.open({ ...options, env: disk.env(), readOnly: true });
    store.startCompaction();
    for (let key = 0; key < 2000; key++) expect(await store.get(key)).toBe(valueOf(key));
    disk.clock.advance(120_000);
    await store.flush();
    await store.close();
    expect(new Set(disk.trace.slice(from).map(({ operation }) => operation))).toEqual(
      new Set(['readdir', 'open', 'size', 'read', 'lock', 'close']),
    );
    expect(disk.paths()).toEqual(paths);
    expect(disk.unsyncedChanges).toBe(unsyncedChanges);
  });

  const CHANGES: [string, (store: KvStore | KvNamespace) => Promise<unknown>][] = [
    ['set', (s) => s.set('k', 2)],
    ['set with a condition', (s) => s.set('k', 2, { ifPresent: true })],
    ['set of what cannot be carried', (s) => s.set('k', () => 1)],
    ['setIfAbsent', (s) => s.setIfAbsent('k', 2)],
    ['setMany', (s) => s.setMany([['k', 2]])],
    ['delete', (s) => s.delete('k')],
    ['delete of an absent key', (s) => s.delete('absent')],
    ['deleteMany', (s) => s.deleteMany(['k'])],
    ['update', (s) => s.update('k', () => 2)],
    ['increment', (s) => s.increment('k')],
    ['touch', (s) => s.touch('k', 1000)],
    ['clear', (s) => s.clear()],
  ];

  it('refuses every change, and goes on reading', async () => {
    const path = copyOf(closed);
    const before = stateOf(path);
    const store = await KvStore.open({ path, ...SMALL, readOnly: true });
    const calls = CHANGES.flatMap(([name, call]) => [
      [name, call(store)] as const,
      [`${name} in a namespace`, call(store.namespace('n'))] as const,
    ]);
    calls.push(['compact', store.compact()], ['checkpoint', store.checkpoint()]);
    // Nobody awaits them one after the other.
    for (const [name, promise] of calls) {
      const error: unknown = await promise.catch((thrown: unknown) => thrown);
      expect([name, error]).toEqual([name, expect.any(KvReadOnlyError)]);
      expect((error as Error).message).toContain('readOnly');
    }
    expect(await store.namespace('new').get('k')).toBeUndefined();
    expect(await store.flush()).toMatchObject({ commit: expect.any(Number) as number });
    expect(store.stats()).toMatchObject({ failure: undefined, compaction: { running: false } });
    await expectAll(store);
    let keys = 0;
    for await (const key of store.keys()) keys += typeof key === 'number' ? 1 : 0;
    expect(keys).toBe(KEYS - Math.ceil(KEYS / 7));
    await Promise.all([store.close(), store.close()]);
    await expect(store.get(1)).rejects.toBeInstanceOf(KvClosedError);
    await expect(store.set(1, 1)).rejects.toBeInstanceOf(KvClosedError);
    expect(stateOf(path)).toEqual(before);
  });

  it('finishes the reads that are under way when it is closed', async () => {
    const path = copyOf(killed);
    const store = await KvStore.open({ path, ...SMALL, readOnly: true, readCache: { memory: 0 } });
    const reads = Array.from({ length: KEYS }, (_, key) => store.get(key));
    await store.close();
    const values = await Promise.all(reads);
    for (const [key, value] of values.entries())
      if (value !== (key % 7 === 0 ? undefined : valueOf(key))) throw new Error(`key ${key}`);
    await (await KvStore.open({ path })).close();
  });

  it('opens beside many others, never beside one that writes', async () => {
    const path = copyOf(killed);
    const options = { path, ...SMALL, readOnly: true };
    const stores = await Promise.all(Array.from({ length: 8 }, () => KvStore.open(options)));
    const error = await KvStore.open({ path }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(KvLockedError);
    // The name of the one that was killed is still in LOCK, but it does not hold it.
    expect(readFileSync(join(path, 'LOCK'), 'utf8')).toContain(`"pid":${process.pid}`);
    expect(error).toMatchObject({ path, holder: undefined, byReaders: true });
    expect((error as Error).message).toContain('readOnly');
    for (const store of stores.slice(1)) await store.close();
    await expect(KvStore.open({ path })).rejects.toMatchObject({ byReaders: true });
    expect(await stores[0].get(1)).toBe(valueOf(1));
    await stores[0].close();

    const writer = await KvStore.open({ path });
    await expect(KvStore.open(options)).rejects.toMatchObject({
      code: 'KV_LOCKED',
      byReaders: false,
      holder: { pid: process.pid },
    });
    await writer.close();
    await (await KvStore.open(options)).close();
  });

  it('stands on an own device, too', async () => {
    const { MemoryDevice } = await import('../src/device/index.js');
    const device = new MemoryDevice(64 * 1024 * 1024);
    await expect(KvStore.open({ device, readOnly: true })).rejects.toMatchObject({ errno: 'ENOENT' });
    expect(device.list()).toEqual([]);
    const writer = await KvStore.open({ device });
    await writer.set('k', 1);
    await writer.close();
    const { memoryBytes } = device;
    const store = await KvStore.open({ device, readOnly: true });
    expect(await store.get('k')).toBe(1);
    await store.close();
    expect(device.memoryBytes).toBe(memoryBytes);
  });
});

describe('what cannot be opened with readOnly', () => {
  const failureOf = (path: string) =>
    KvStore.open({ path, readOnly: true }).then(
      (store) => store.close(),
      (error: unknown) => error,
    );

  it('is missing, and is not created', async () => {
    const path = missingPath();
    const error = await failureOf(path);
    expect(error).toBeInstanceOf(KvDiskError);
    expect(error).toMatchObject({ errno: 'ENOENT', path });
    expect((error as Error).message).toContain('With readOnly a store has to be there');
    expect(existsSync(path)).toBe(false);
  });

  it.each<[string, abstract new (...args: never[]) => Error, (path: string) => void]>([
    ['is empty', KvDiskError, () => undefined],
    ['has what an interrupted creation left', KvDiskError, (p) => writeFileSync(join(p, 'MANIFEST.tmp'), '')],
    [
      'has what an interrupted removal left',
      KvDiskError,
      (path) => copyFileSync(join(closed, 'MANIFEST'), join(path, 'MANIFEST.deleted')),
    ],
    ["has somebody else's files", KvFormatError, (path) => writeFileSync(join(path, 'notes.txt'), 'mine')],
    [
      'has lost its manifest',
      KvCorruptionError,
      (path) => {
        for (const name of ['DICTIONARY', ...namesOf(closed, 'checkpoint-'), ...namesOf(closed, 'hot-')])
          copyFileSync(join(closed, name), join(path, name));
      },
    ],
  ])('%s', async (_, kind, fill) => {
    const path = tempDirectory();
    fill(path);
    const before = stateOf(path);
    expect(await failureOf(path)).toBeInstanceOf(kind);
    expect(stateOf(path)).toEqual(before);
  });

  it('has damage in what was safe: it is said, and left', async () => {
    const path = copyOf(closed);
    for (const name of namesOf(path, 'checkpoint-')) rmSync(join(path, name));
    const [name] = namesOf(path, 'hot-');
    truncateSync(join(path, name), 2000);
    const before = stateOf(path);
    expect(await failureOf(path)).toMatchObject({ code: 'KV_CORRUPTION', file: name });
    expect(stateOf(path)).toEqual(before);
  });

  it.each([true, false])(
    'is of another format, or has features that are not known (readOnly: %s)',
    async (readOnly) => {
      const path = copyOf(killed);
      const file = join(path, 'MANIFEST');
      const [json] = readFileSync(file, 'utf8').split('\n');
      const changes: [object, string][] = [
        ...Array.from({ length: 256 }, (_, format): [object, string] => [{ format }, `version ${format};`]),
        [{ features: ['blobs'] }, 'uses "blobs"'],
        [{ features: ['tags', 'blobs'] }, 'uses "tags", "blobs"'],
      ];
      for (const [change, message] of changes) {
        if ((change as { format?: number }).format === FORMAT_VERSION) continue;
        const changed = JSON.stringify({ ...(JSON.parse(json) as object), ...change });
        writeFileSync(file, `${changed}\n${crc32(changed).toString(16).padStart(8, '0')}\n`);
        const before = message.includes('5') ? stateOf(path) : undefined;
        const error = await KvStore.open({ path, readOnly }).catch((thrown: unknown) => thrown);
        expect(error).toBeInstanceOf(KvFormatError);
        expect((error as Error).message).toContain(message);
        expect((error as Error).message).toContain(path);
        if (before) expect(stateOf(path)).toEqual(before);
      }
    },
  );
});

describe('where nothing may be written', () => {
  const isRoot = process.getuid?.() === 0;
  const asRoot = isRoot ? it : it.skip;

  asRoot.each([true, false])(
    'a read-only file system is enough, with LOCK: %s (skipped where nobody may mount)',
    async (hasLock) => {
      const path = copyOf(killed);
      if (!hasLock) rmSync(join(path, 'LOCK'));
      try {
        execFileSync('mount', ['--bind', path, path], { stdio: 'pipe' });
      } catch {
        console.warn('mount is not allowed here: the read-only file system was not tested');
        return;
      }
      try {
        execFileSync('mount', ['-o', 'remount,ro,bind', path], { stdio: 'pipe' });
        await expect(KvStore.open({ path })).rejects.toMatchObject({ errno: 'EROFS' });
        const stores = await Promise.all([1, 2].map(() => KvStore.open({ path, ...SMALL, readOnly: true })));
        for (const store of stores) await expectAll(store);
        for (const store of stores) await store.close();
      } finally {
        execFileSync('umount', [path], { stdio: 'pipe' });
      }
    },
  );

  asRoot(
    'so are files that the user may only read (skipped: needs root, to become somebody else)',
    async () => {
      const path = copyOf(killed);
      const nobody = 65534;
      for (const one of [dirname(path), path]) chownSync(one, nobody, nobody);
      for (const name of readdirSync(path)) {
        chownSync(join(path, name), nobody, nobody);
        chmodSync(join(path, name), 0o400);
      }
      chmodSync(path, 0o500);
      process.seteuid?.(nobody);
      try {
        await expect(KvStore.open({ path })).rejects.toMatchObject({ errno: 'EACCES' });
        const store = await KvStore.open({ path, ...SMALL, readOnly: true });
        await expectAll(store);
        await store.close();
      } finally {
        process.seteuid?.(0);
      }
    },
  );
});
