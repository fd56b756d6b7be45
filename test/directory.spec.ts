/** The directory of a store: made when missing, and left exactly as it was when it cannot be opened. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { KvCorruptionError, KvDiskError, KvFormatError, KvStore, type KvError } from 'nestjs-hotcold/store';
import { contentsOf, copyOf, missingPath, tempDirectory } from './support/temp-directory.js';

/** A store with some of everything in it, of three segments; closed, or left as a killed process would leave it. */
async function storeDirectory(end: 'closed' | 'killed' = 'closed'): Promise<string> {
  const path = missingPath();
  const store = await KvStore.open({ path, hot: { memory: '8mb', segmentSize: '1mb' } });
  await store.namespace('n').set('k', { field: 1 });
  for (let i = 0; i < 250; i++) await store.set(i, Buffer.alloc(10_000, i));
  await store.flush();
  // A second commit, which says of the first that it is on stable storage.
  await store.set('last', 1);
  await store.flush();
  const copy = end === 'killed' ? copyOf(path) : path;
  await store.close();
  if (end === 'killed') truncateSync(join(copy, 'LOCK'), 0);
  return copy;
}

/** Opens, expects that it fails and that nothing in the directory is any different; returns the error. */
async function expectRefused(
  path: string,
  kind: abstract new (...args: never[]) => KvError,
): Promise<KvError> {
  const before = contentsOf(path);
  const error = await KvStore.open({ path }).then(
    (store) => store.close().then(() => new Error('was opened')),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(kind);
  // Compared by name first: a diff of megabytes helps nobody.
  const after = contentsOf(path);
  expect(Object.keys(after)).toEqual(Object.keys(before));
  for (const name of Object.keys(before))
    expect([name, after[name]?.mode]).toEqual([name, before[name]?.mode]);
  for (const name of Object.keys(before))
    expect([name, after[name]?.bytes === before[name]?.bytes]).toEqual([name, true]);
  // It holds no lock either.
  await expect(KvStore.open({ path })).rejects.toBeInstanceOf(kind);
  return error as KvError;
}

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);

describe('a missing directory', () => {
  it('is created with its parents, for the owner alone, with files for the owner alone', async () => {
    const path = join(missingPath(), 'deep', 'er');
    const umask = process.umask(0);
    try {
      const store = await KvStore.open({ path });
      expect(store.opened.created).toBe(true);
      await store.namespace('n').set('k', { a: 1 });
      await store.close();
    } finally {
      process.umask(umask);
    }
    expect(modeOf(path)).toBe('700');
    expect(modeOf(join(path, '..'))).toBe('700');
    for (const name of Object.keys(contentsOf(path)))
      expect([name, modeOf(join(path, name))]).toEqual([name, '600']);
  });

  it('has every kind of file for the owner alone, and so has what is salvaged of it', async () => {
    const path = missingPath();
    const target = missingPath();
    const umask = process.umask(0);
    const seen = new Set<string>();
    const look = (directory: string) => {
      expect([directory, modeOf(directory)]).toEqual([directory, '700']);
      for (const name of Object.keys(contentsOf(directory)))
        seen.add(`${name.replace(/[0-9a-f]{8}/, '')} ${modeOf(join(directory, name))}`);
    };
    try {
      const small = { hot: { memory: '8mb', segmentSize: '1mb' }, cold: { segmentSize: '1mb' } } as const;
      const store = await KvStore.open({ path, ...small, durability: { level: 'always' } });
      for (let i = 0; i < 250; i++) await store.namespace('n').set(i, { bytes: Buffer.alloc(10_000, i) });
      await store.checkpoint();
      look(path);
      await store.compact({ full: true });
      await store.checkpoint();
      look(path);
      await store.close();
      look(path);
      await KvStore.salvage(path, target, small);
      look(target);
    } finally {
      process.umask(umask);
    }
    const kinds = [
      'DICTIONARY',
      'LOCK',
      'MANIFEST',
      'checkpoint-.dat',
      'cold-.log',
      'hot-.log',
      'index-.log',
    ];
    expect([...seen].sort()).toEqual(kinds.map((kind) => `${kind} 600`));
  });

  it('is not needed: an empty one does, also with what file systems and people leave there', async () => {
    const path = tempDirectory();
    mkdirSync(join(path, 'lost+found'));
    writeFileSync(join(path, '.gitkeep'), '');
    const store = await KvStore.open({ path });
    expect(store.opened.created).toBe(true);
    await store.close();
  });
});

describe('a path that cannot be a store', () => {
  it('is below a file', async () => {
    const directory = tempDirectory();
    writeFileSync(join(directory, 'file'), 'mine');
    const before = contentsOf(directory);
    const path = join(directory, 'file', 'store');
    const error = await KvStore.open({ path }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(KvDiskError);
    expect((error as Error).message).toContain(path);
    expect(contentsOf(directory)).toEqual(before);
  });

  it('is a file', async () => {
    const directory = tempDirectory();
    const path = join(directory, 'file');
    writeFileSync(path, 'mine');
    const before = contentsOf(directory);
    const error = await KvStore.open({ path }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(KvDiskError);
    expect((error as Error).message).toContain(path);
    expect(contentsOf(directory)).toEqual(before);
  });

  const isRoot = process.getuid?.() === 0;
  (isRoot ? it.skip : it)(
    'is a directory without the right to write (skipped: root may write anyway)',
    async () => {
      const path = tempDirectory();
      chmodSync(path, 0o500);
      const error = await KvStore.open({ path }).catch((thrown: unknown) => thrown);
      chmodSync(path, 0o700);
      expect(error).toBeInstanceOf(KvDiskError);
      expect(error).toMatchObject({ errno: 'EACCES' });
      expect((error as Error).message).toContain(path);
    },
  );

  (isRoot ? it : it.skip)('is on a read-only file system (skipped where nobody may mount)', async () => {
    const path = await storeDirectory();
    try {
      execFileSync('mount', ['--bind', path, path], { stdio: 'pipe' });
    } catch {
      // A container may forbid it; said aloud, because a test that does nothing should not look like one that does.
      console.warn('mount is not allowed here: the read-only file system was not tested');
      return;
    }
    try {
      execFileSync('mount', ['-o', 'remount,ro,bind', path], { stdio: 'pipe' });
      const error = await KvStore.open({ path }).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(KvDiskError);
      expect(error).toMatchObject({ errno: 'EROFS' });
      expect((error as Error).message).toContain(path);
    } finally {
      execFileSync('umount', [path], { stdio: 'pipe' });
    }
    const store = await KvStore.open({ path });
    expect(await store.namespace('n').get('k')).toEqual({ field: 1 });
    await store.close();
  });
});

describe('a directory that is not ours', () => {
  it.each(['notes.txt', 'package.json', 'CURRENT', 'data.mdb', 'store/MANIFEST'])(
    'holds %s',
    async (name) => {
      const path = tempDirectory();
      mkdirSync(join(path, name, '..'), { recursive: true });
      writeFileSync(join(path, name), 'something of somebody');
      const error = await expectRefused(path, KvFormatError);
      expect(error.message).toContain(path);
    },
  );

  it('has a MANIFEST of another program', async () => {
    const path = tempDirectory();
    writeFileSync(join(path, 'MANIFEST'), 'Manifest-Version: 1.0\nCreated-By: somebody\n');
    const error = await expectRefused(path, KvCorruptionError);
    expect(error.message).toContain('MANIFEST');
  });
});

/** Rewrites the JSON of a store's MANIFEST with a right checksum. */
function changeManifest(path: string, change: (manifest: Record<string, unknown>) => void): void {
  const file = join(path, 'MANIFEST');
  const manifest = JSON.parse(readFileSync(file, 'utf8').split('\n')[0] ?? '') as Record<string, unknown>;
  change(manifest);
  const json = JSON.stringify(manifest);
  writeFileSync(file, `${json}\n${crc32(json).toString(16).padStart(8, '0')}\n`);
}

describe.each(['closed', 'killed'] as const)('a store that was %s', (end) => {
  it.each([0, 1, 2, 4, 1000])('has format version %d', async (format) => {
    const path = await storeDirectory(end);
    changeManifest(path, (manifest) => (manifest.format = format));
    const error = await expectRefused(path, KvFormatError);
    expect(error.message).toContain(path);
    expect(error.message).toContain(`version ${format}`);
  });

  it('has an empty MANIFEST', async () => {
    const path = await storeDirectory(end);
    truncateSync(join(path, 'MANIFEST'), 0);
    expect(await expectRefused(path, KvCorruptionError)).toMatchObject({ file: 'MANIFEST' });
  });

  it('has lost its MANIFEST', async () => {
    const path = await storeDirectory(end);
    rmSync(join(path, 'MANIFEST'));
    expect(await expectRefused(path, KvCorruptionError)).toMatchObject({ file: 'MANIFEST' });
  });

  it('has lost its MANIFEST but for a temporary one', async () => {
    const path = await storeDirectory(end);
    renameSync(join(path, 'MANIFEST'), join(path, 'MANIFEST.tmp'));
    expect(await expectRefused(path, KvCorruptionError)).toMatchObject({ file: 'MANIFEST' });
  });

  it('has lost its DICTIONARY', async () => {
    const path = await storeDirectory(end);
    rmSync(join(path, 'DICTIONARY'));
    expect(await expectRefused(path, KvCorruptionError)).toMatchObject({ file: 'DICTIONARY' });
  });

  it('has a damaged DICTIONARY: a bit of each line', async () => {
    const intact = await storeDirectory(end);
    const bytes = readFileSync(join(intact, 'DICTIONARY'));
    const lines = bytes.toString('latin1').split('\n');
    expect(lines.length).toBeGreaterThan(2);
    let start = 0;
    for (const line of lines.slice(0, -1)) {
      // In the checksum, in the JSON, and the end of the line.
      for (const at of [start + 3, start + 15, start + line.length]) {
        const path = copyOf(intact);
        const damaged = Buffer.from(bytes);
        damaged[at] ^= 0x01;
        writeFileSync(join(path, 'DICTIONARY'), damaged);
        expect(await expectRefused(path, KvCorruptionError)).toMatchObject({ file: 'DICTIONARY' });
      }
      start += line.length + 1;
    }
  });

  it.each([0, 1])('has lost segment %d', async (segment) => {
    const path = await storeDirectory(end);
    const name = `hot-0000000${segment}.log`;
    rmSync(join(path, name));
    expect(await expectRefused(path, KvCorruptionError)).toMatchObject({
      file: name,
      address: expect.any(Number) as number,
    });
  });
});

it('a closed store that has lost its last segment is refused', async () => {
  const path = await storeDirectory();
  rmSync(join(path, 'hot-00000002.log'));
  expect(await expectRefused(path, KvCorruptionError)).toMatchObject({ file: 'hot-00000002.log' });
});
