/** One contract, all devices. What the null device does not do is skipped by `retains`, not left out. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SeededRandom, SimulatedDisk } from '../../test/support/simulated-disk.js';
import { KvDiskError, KvLockedError, KvOverloadedError } from '../errors.js';
import type { EnvFs } from './env.js';
import { systemError } from './system-error.js';
import {
  FileDevice,
  MemoryDevice,
  nodeEnv,
  NullDevice,
  OverlayDevice,
  type Device,
  type DeviceFile,
} from './index.js';

const MIB = 1024 * 1024;

const directory = mkdtempSync(join(tmpdir(), 'hotcold-device-'));

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

let stores = 0;

const devices: [name: string, make: () => Device][] = [
  ['FileDevice on the file system', () => new FileDevice(nodeEnv, join(directory, `store-${++stores}`))],
  ['FileDevice on the simulated disk', () => new FileDevice(new SimulatedDisk().env(), '/data/store')],
  ['MemoryDevice', () => new MemoryDevice(64 * MIB)],
  ['NullDevice', () => new NullDevice()],
  ['OverlayDevice over files', () => new OverlayDevice(new FileDevice(nodeEnv, existing()))],
  ['OverlayDevice over memory', () => new OverlayDevice(new MemoryDevice(64 * MIB))],
];

/** The path of an empty directory. */
function existing(): string {
  const path = join(directory, `store-${++stores}`);
  mkdirSync(path);
  return path;
}

/** Bytes that differ from place to place. */
function pattern(length: number, salt = 0): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 8) + salt) & 0xff;
  return bytes;
}

/** Everything from `position` on, up to `length` bytes, by both ways of reading. */
async function readBack(file: DeviceFile, length: number, position = 0): Promise<Buffer> {
  const buffer = Buffer.alloc(length, 0xee);
  const count = await file.read(buffer, 0, length, position);
  const again = Buffer.alloc(length, 0xdd);
  expect(file.readSync(again, 0, length, position)).toBe(count);
  expect(again.subarray(0, count).equals(buffer.subarray(0, count))).toBe(true);
  return buffer.subarray(0, count);
}

function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe.each(devices)('%s', (name, make) => {
  let device: Device;

  beforeEach(async () => {
    device = make();
    await device.lock();
  });

  afterEach(() => {
    device.close();
  });

  const retains = make().retains;
  const itWhereRetained = retains ? it : it.skip;

  it('starts empty', () => {
    expect(device.list()).toEqual([]);
  });

  it('tells how much room there is, if it can', async () => {
    const space = await device.space?.();
    expect(space === undefined).toBe(!retains);
    if (space) expect(space.totalBytes).toBeGreaterThanOrEqual(space.freeBytes);
    if (name.endsWith('emoryDevice') || name.endsWith('memory'))
      expect(space).toEqual({ freeBytes: 64 * MIB, totalBytes: 64 * MIB });
  });

  it('refuses to open a missing file without create, and says which', () => {
    const error = thrownBy(() => device.open('absent', { create: false }));
    expect(error).toBeInstanceOf(KvDiskError);
    expect(error).toMatchObject({ operation: 'open', errno: 'ENOENT' });
    expect((error as KvDiskError).path).toContain('absent');
    expect(device.list()).toEqual([]);
  });

  it('creates, lists and opens again', async () => {
    const file = device.open('a', { create: true });
    expect(file.name).toBe('a');
    expect(file.size()).toBe(0);
    await file.write(Buffer.from('hello'), 0, 5, 0);
    await file.sync();
    file.syncSync();
    file.close();
    device.open('b', { create: true }).close();
    await device.syncDirectory();
    device.syncDirectorySync();
    expect(device.list().sort()).toEqual(retains ? ['a', 'b'] : []);

    const again = device.open('a', { create: true });
    expect(again.size()).toBe(retains ? 5 : 0);
    expect((await readBack(again, 5)).toString()).toBe(retains ? 'hello' : '');
    again.close();
  });

  it('reads short only at the end of the file', async () => {
    const file = device.open('a', { create: true });
    file.writeSync(Buffer.from('0123456789'), 0, 10, 0);
    expect((await readBack(file, 4, 3)).toString()).toBe(retains ? '3456' : '');
    expect((await readBack(file, 100, 6)).toString()).toBe(retains ? '6789' : '');
    expect(await readBack(file, 10, 10)).toHaveLength(0);
    expect(await readBack(file, 10, 5000)).toHaveLength(0);
    expect(await readBack(file, 0, 0)).toHaveLength(0);
    file.close();
  });

  it('reads and writes a part of a buffer only', async () => {
    const file = device.open('a', { create: true });
    await file.write(Buffer.from('xxhelloxx'), 2, 5, 0);
    const buffer = Buffer.from('.........');
    const count = await file.read(buffer, 3, 4, 1);
    expect(count).toBe(retains ? 4 : 0);
    expect(buffer.toString()).toBe(retains ? '...ello..' : '.........');
    file.close();
  });

  itWhereRetained('fills a gap before a far position with zeros', async () => {
    const file = device.open('a', { create: true });
    await file.write(Buffer.from('end'), 0, 3, MIB);
    expect(file.size()).toBe(MIB + 3);
    const bytes = await readBack(file, MIB + 3);
    expect(bytes.subarray(0, MIB).every((byte) => byte === 0)).toBe(true);
    expect(bytes.subarray(MIB).toString()).toBe('end');
    file.close();
  });

  itWhereRetained('keeps positions above 4 GiB apart from those below', async () => {
    const file = device.open('a', { create: true });
    const far = 5 * 2 ** 30;
    file.writeSync(Buffer.from('near'), 0, 4, far - 2 ** 32);
    file.writeSync(Buffer.from('far'), 0, 3, far);
    expect(file.size()).toBe(far + 3);
    expect((await readBack(file, 10, far)).toString()).toBe('far');
    expect((await readBack(file, 4, far - 2 ** 32)).toString()).toBe('near');
    file.close();
    await device.remove('a');
  });

  itWhereRetained('carries large writes at odd positions', async () => {
    const file = device.open('a', { create: true });
    const expected = Buffer.alloc(3 * MIB);
    const writes: [position: number, length: number][] = [
      [0, 1],
      [4095, 2],
      [262_143, 2],
      [262_144, 262_144],
      [100_001, 1_500_003],
      [2 * MIB - 7, MIB],
    ];
    let size = 0;
    for (const [index, [position, length]] of writes.entries()) {
      const bytes = pattern(length, index);
      bytes.copy(expected, position);
      size = Math.max(size, position + length);
      if (index % 2) file.writeSync(bytes, 0, length, position);
      else await file.write(bytes, 0, length, position);
      expect(file.size()).toBe(size);
      expect((await readBack(file, 3 * MIB)).equals(expected.subarray(0, size))).toBe(true);
    }
    file.close();
  });

  itWhereRetained('truncates: what was cut off is gone and comes back as zeros', async () => {
    const file = device.open('a', { create: true });
    await file.write(pattern(MIB), 0, MIB, 0);
    file.truncate(300_000);
    expect(file.size()).toBe(300_000);
    file.truncate(400_000);
    expect(file.size()).toBe(400_000);
    const bytes = await readBack(file, MIB);
    expect(bytes).toHaveLength(400_000);
    expect(bytes.subarray(0, 300_000).equals(pattern(MIB).subarray(0, 300_000))).toBe(true);
    expect(bytes.subarray(300_000).every((byte) => byte === 0)).toBe(true);
    file.truncate(0);
    file.truncate(100_000);
    expect((await readBack(file, MIB)).every((byte) => byte === 0)).toBe(true);
    file.close();
  });

  itWhereRetained('sees one file through two handles', async () => {
    const one = device.open('a', { create: true });
    const two = device.open('a', { create: false });
    one.writeSync(Buffer.from('shared'), 0, 6, 0);
    expect((await readBack(two, 6)).toString()).toBe('shared');
    one.close();
    expect((await readBack(two, 6)).toString()).toBe('shared');
    two.close();
  });

  itWhereRetained('renames, replacing what had the name', async () => {
    const from = device.open('from', { create: true });
    from.writeSync(Buffer.from('new'), 0, 3, 0);
    from.close();
    const to = device.open('to', { create: true });
    to.writeSync(Buffer.from('older'), 0, 5, 0);
    to.close();
    device.rename('from', 'to');
    device.rename('to', 'to');
    expect(device.list()).toEqual(['to']);
    const file = device.open('to', { create: false });
    expect((await readBack(file, 10)).toString()).toBe('new');
    file.close();
  });

  itWhereRetained.each(['remove', 'removeSync'] as const)(
    '%s takes the name; who has the file open reads on',
    async (remove) => {
      const file = device.open('a', { create: true });
      file.writeSync(Buffer.from('still here'), 0, 10, 0);
      await device[remove]('a');
      expect(device.list()).toEqual([]);
      expect((await readBack(file, 10)).toString()).toBe('still here');
      file.close();
      const again = device.open('a', { create: true });
      expect(again.size()).toBe(0);
      again.close();
    },
  );

  itWhereRetained('names the missing file that is to be renamed or removed', async () => {
    for (const error of [
      await device.remove('x1').catch((reason: unknown) => reason),
      thrownBy(() => device.removeSync('x1')),
      thrownBy(() => device.rename('x1', 'x2')),
    ]) {
      expect(error).toBeInstanceOf(KvDiskError);
      expect((error as KvDiskError).message).toContain('x1');
      expect((error as KvDiskError).errno).toBe('ENOENT');
    }
  });

  it('refuses every use of a closed file', async () => {
    const file = device.open('a', { create: true });
    file.close();
    file.close();
    const buffer = Buffer.alloc(4);
    const calls: [operation: string, call: () => unknown][] = [
      ['size', () => file.size()],
      ['read', () => file.readSync(buffer, 0, 4, 0)],
      ['read', () => file.read(buffer, 0, 4, 0)],
      ['write', () => file.writeSync(buffer, 0, 4, 0)],
      ['write', () => file.write(buffer, 0, 4, 0)],
      ['sync', () => file.syncSync()],
      ['sync', () => file.sync()],
      ['truncate', () => file.truncate(0)],
    ];
    for (const [operation, call] of calls) {
      const error: unknown = await Promise.resolve()
        .then(call)
        .catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(KvDiskError);
      expect(error).toMatchObject({ operation });
      expect((error as KvDiskError).path).toMatch(/a$/);
    }
  });

  it.each([
    '',
    '.',
    '..',
    '../escape',
    'a/b',
    'a\\b',
    '/etc/passwd',
    'C:\\x',
    'a:stream',
    'nul\0byte',
    'line\nbreak',
    '.hidden',
    'trailing.',
    ' space',
    'CON',
    'lpt1.log',
    'ünïcode',
    'LOCK',
    'lock',
    'x'.repeat(201),
  ])('refuses the name %j everywhere', async (name) => {
    device.open('plain', { create: true }).close();
    const before = device.list();
    for (const call of [
      () => device.open(name, { create: true }),
      () => device.open(name, { create: false }),
      () => device.removeSync(name),
      () => device.rename(name, 'other'),
      () => device.rename('plain', name),
    ]) {
      expect(thrownBy(call)).toBeInstanceOf(KvDiskError);
    }
    await expect(device.remove(name)).rejects.toBeInstanceOf(KvDiskError);
    expect(device.list()).toEqual(before);
  });

  it.each(['hot-0000000000000000.log', 'MANIFEST', 'MANIFEST.tmp', '_x', '-1'])(
    'accepts the name %s',
    (name) => {
      device.open(name, { create: true }).close();
      expect(device.list()).toEqual(retains ? [name] : []);
    },
  );

  it('refuses a second lock until the first is given back, and keeps its files meanwhile', async () => {
    device.open('kept', { create: true }).close();
    await expect(device.lock()).rejects.toBeInstanceOf(KvLockedError);
    device.close();
    await device.lock();
    expect(device.list()).toEqual(retains ? ['kept'] : []);
    await expect(device.lock()).rejects.toBeInstanceOf(KvLockedError);
  });
});

describe('FileDevice', () => {
  it('lists nothing where there is no directory, and creates none', () => {
    const path = join(directory, 'nowhere');
    expect(new FileDevice(nodeEnv, path).list()).toEqual([]);
    expect(() => statSync(path)).toThrow('ENOENT');
  });

  it('creates directory and files for their owner only', async () => {
    const path = join(directory, 'deep', 'er', 'store');
    const device = new FileDevice(nodeEnv, path);
    await device.lock();
    device.open('a', { create: true }).close();
    if (process.platform !== 'win32') {
      expect(statSync(path).mode & 0o777).toBe(0o700);
      expect(statSync(join(path, 'a')).mode & 0o777).toBe(0o600);
      expect(statSync(join(path, 'LOCK')).mode & 0o777).toBe(0o600);
    }
    device.close();
  });

  it('makes the names of new directories durable', async () => {
    const disk = new SimulatedDisk();
    const device = new FileDevice(disk.env(), '/one/two/three');
    await device.lock();
    const file = device.open('a', { create: true });
    await file.write(Buffer.from('x'), 0, 1, 0);
    await file.sync();
    await device.syncDirectory();
    disk.crash('none');
    expect(disk.contents('/one/two/three/a').toString()).toBe('x');
  });

  it('names a path that is a file', async () => {
    const path = join(directory, 'a-file');
    writeFileSync(path, 'x');
    for (const inside of [path, join(path, 'below')]) {
      const error: unknown = await new FileDevice(nodeEnv, inside).lock().catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(KvDiskError);
      expect((error as KvDiskError).path).toBe(inside);
      expect((error as KvDiskError).message).toContain('is a file where a directory is needed');
    }
  });

  it('tells the holder of the lock, and leaves its file as it is', async () => {
    const disk = new SimulatedDisk();
    const env = disk.env();
    const holder = new FileDevice(env, '/store');
    await holder.lock();
    const before = disk.contents('/store/LOCK').toString();
    const error: unknown = await new FileDevice(env, '/store').lock().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(KvLockedError);
    expect(error).toMatchObject({
      path: expect.stringMatching(/store$/),
      holder: { pid: 1, hostname: 'simulated', openedAt: '2026-01-01T00:00:00.000Z' },
    });
    expect(disk.contents('/store/LOCK').toString()).toBe(before);
    holder.close();
    expect(disk.contents('/store/LOCK')).toHaveLength(0);
  });

  it.each(['', 'not json', '{"pid":"1"}', 'null', '7'])(
    'says "locked" also when the holder wrote %j',
    async (text) => {
      const disk = new SimulatedDisk();
      const env = disk.env();
      await new FileDevice(env, '/store').lock();
      const fd = env.fs.open('/store/LOCK', { create: false });
      env.fs.truncate(fd, 0);
      env.fs.writeSync(fd, Buffer.from(text), 0, text.length, 0);
      await expect(new FileDevice(env, '/store').lock()).rejects.toMatchObject({
        code: 'KV_LOCKED',
        holder: undefined,
      });
    },
  );

  it('can be locked on a full disk, and not where the lock file fails', async () => {
    const disk = new SimulatedDisk();
    disk.failAt({ operation: 'write', path: 'LOCK', nth: 1, code: 'ENOSPC' });
    disk.failAt({ operation: 'write', path: 'LOCK', nth: 2, code: 'EIO' });
    const device = new FileDevice(disk.env(), '/store');
    await device.lock();
    device.close();
    await expect(device.lock()).rejects.toMatchObject({ code: 'KV_DISK', operation: 'write', errno: 'EIO' });
    await device.lock();
    device.close();
  });

  it('continues a short write, which reveals the error behind it', async () => {
    const disk = new SimulatedDisk();
    const device = new FileDevice(disk.env(), '/store');
    await device.lock();
    const file = device.open('a', { create: true });
    const bytes = pattern(1000);
    disk.shortWriteAt({ nth: 1, path: '/a', bytes: 300 });
    await file.write(bytes, 0, 1000, 0);
    disk.shortWriteAt({ nth: 1, path: '/a', bytes: 1 });
    file.writeSync(bytes, 0, 1000, 1000);
    expect(disk.contents('/store/a').equals(Buffer.concat([bytes, bytes]))).toBe(true);

    disk.shortWriteAt({ nth: 1, path: '/a' });
    disk.failAt({ operation: 'write', path: '/a', nth: 2, code: 'ENOSPC' });
    const error: unknown = await file.write(bytes, 0, 1000, 2000).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'KV_DISK', operation: 'write', errno: 'ENOSPC', full: true });
    expect((error as KvDiskError).message).toContain('The disk is full');
    file.close();
    device.close();
  });

  /** A file whose name a power cut leaves. */
  async function durablyNamed() {
    const disk = new SimulatedDisk();
    const device = new FileDevice(disk.env(), '/store');
    await device.lock();
    const file = device.open('a', { create: true });
    await device.syncDirectory();
    return { device, disk, file };
  }

  it('makes durable what is written so, and nothing else', async () => {
    const { device, disk, file } = await durablyNamed();
    await file.write(Buffer.alloc(2048, 'x'), 0, 2048, 0);
    disk.shortWriteAt({ nth: 1, path: '/a', bytes: 100 });
    await device.openDurable(file)?.write(Buffer.alloc(512, 'y'), 0, 512, 1024);
    expect((await readBack(file, 2048)).toString()).toBe(
      'x'.repeat(1024) + 'y'.repeat(512) + 'x'.repeat(512),
    );
    disk.crash('none');
    // Sectors of zeros before, nothing behind.
    const left = disk.contents('/store/a');
    expect(left.equals(Buffer.concat([Buffer.alloc(1024), Buffer.alloc(512, 'y')]))).toBe(true);
  });

  it('tells of a durable write whose bytes did not get there', async () => {
    const { device, disk, file } = await durablyNamed();
    disk.failAt({ operation: 'sync', path: '/a', nth: 1, code: 'EIO' });
    await expect(device.openDurable(file)?.write(Buffer.from('lost'), 0, 4, 0)).rejects.toMatchObject({
      operation: 'write',
      errno: 'EIO',
    });
    await file.sync();
    disk.crash('none');
    expect(disk.contents('/store/a')).toHaveLength(0);
  });

  it('opens nothing for durable writes where that cannot be, and no closed file', async () => {
    const disk = new SimulatedDisk();
    const device = new FileDevice(disk.env(), '/');
    const file = device.open('a', { create: true });
    disk.failAt({ operation: 'open', path: '/a', nth: 1, code: 'EMFILE' });
    expect(device.openDurable(file)).toBeUndefined();
    expect(device.openDurable(file)).toBeDefined();
    file.close();
    expect(device.openDurable(file)).toBeUndefined();
    const elsewhere = new FileDevice(new SimulatedDisk({ opensDurable: false }).env(), '/');
    expect(elsewhere.openDurable(elsewhere.open('a', { create: true }))).toBeUndefined();
  });

  it('writes durably into the file that is open, whatever has its name by now', async () => {
    const path = mkdtempSync(join(tmpdir(), 'hotcold-test-'));
    const device = new FileDevice(nodeEnv, path);
    await device.lock();
    const file = device.open('a', { create: true });
    renameSync(join(path, 'a'), join(path, 'b'));
    writeFileSync(join(path, 'a'), 'another');
    await device.openDurable(file)?.write(Buffer.from('ours'), 0, 4, 0);
    const expected = process.platform === 'linux' ? 'ours' : '';
    expect(readFileSync(join(path, 'b'), 'utf8')).toBe(expected);
    expect(readFileSync(join(path, 'a'), 'utf8')).toBe('another');
    device.close();
    rmSync(path, { recursive: true });
  });

  it('reports a write that makes no progress instead of trying for ever', async () => {
    const disk = new SimulatedDisk();
    const device = new FileDevice(disk.env(), '/store');
    await device.lock();
    const file = device.open('a', { create: true });
    disk.shortWriteAt({ nth: 1, path: '/a', bytes: 0, sticky: true });
    await expect(file.write(pattern(10), 0, 10, 0)).rejects.toMatchObject({ code: 'KV_DISK', errno: 'EIO' });
    expect(() => file.writeSync(pattern(10), 0, 10, 0)).toThrow(KvDiskError);
  });

  it('wraps every failure with operation and path', async () => {
    const disk = new SimulatedDisk();
    const device = new FileDevice(disk.env(), '/store');
    await device.lock();
    const file = device.open('a', { create: true });
    const buffer = Buffer.alloc(8);
    const calls: [
      operation: Parameters<SimulatedDisk['failAt']>[0]['operation'],
      named: string,
      call: () => unknown,
    ][] = [
      ['open', 'open', () => device.open('a', { create: true })],
      ['readdir', 'list', () => device.list()],
      ['size', 'size', () => file.size()],
      ['read', 'read', () => file.read(buffer, 0, 8, 0)],
      ['read', 'read', () => file.readSync(buffer, 0, 8, 0)],
      ['write', 'write', () => file.write(buffer, 0, 8, 0)],
      ['write', 'write', () => file.writeSync(buffer, 0, 8, 0)],
      ['sync', 'sync', () => file.sync()],
      ['sync', 'sync', () => file.syncSync()],
      ['truncate', 'truncate', () => file.truncate(0)],
      ['rename', 'rename', () => device.rename('a', 'b')],
      ['unlink', 'remove', () => device.remove('a')],
      ['unlink', 'remove', () => device.removeSync('a')],
      ['syncDirectory', 'sync', () => device.syncDirectory()],
      ['syncDirectory', 'sync', () => device.syncDirectorySync()],
      ['lock', 'lock', () => new FileDevice(disk.env(), '/store').lock()],
      ['mkdir', 'create', () => new FileDevice(disk.env(), '/store').lock()],
      ['close', 'close', () => file.close()],
    ];
    for (const [operation, named, call] of calls) {
      const lift = disk.failAt({ ...(operation && { operation }), nth: 1, code: 'EIO' });
      const error: unknown = await Promise.resolve()
        .then(call)
        .catch((reason: unknown) => reason);
      lift();
      expect(error).toBeInstanceOf(KvDiskError);
      expect(error).toMatchObject({ operation: named, errno: 'EIO', path: expect.stringContaining('store') });
    }
  });

  it('keeps descriptor and lock until the calls under way have ended', async () => {
    const env = new SimulatedDisk().env();
    let letGo = (): void => undefined;
    const gate = new Promise<void>((resolve) => (letGo = resolve));
    const slowFs = {
      ...env.fs,
      write: (...args: Parameters<EnvFs['write']>) => gate.then(() => env.fs.write(...args)),
    };
    const device = new FileDevice({ ...env, fs: slowFs }, '/store');
    await device.lock();
    const file = device.open('a', { create: true });
    const write = file.write(Buffer.from('late'), 0, 4, 0);
    device.close();
    const next = new FileDevice(env, '/store');
    await expect(next.lock()).rejects.toBeInstanceOf(KvLockedError);
    letGo();
    await write;
    await next.lock();
    expect((await readBack(next.open('a', { create: false }), 9)).toString()).toBe('late');
    next.close();
  });

  it('keeps the lock until a removal under way has ended: the next holder may have a file of that name', async () => {
    const env = new SimulatedDisk().env();
    let letGo = (): void => undefined;
    const gate = new Promise<void>((resolve) => (letGo = resolve));
    const unlink: EnvFs['unlink'] = (path) => gate.then(() => env.fs.unlink(path));
    const device = new FileDevice({ ...env, fs: { ...env.fs, unlink } }, '/store');
    await device.lock();
    device.open('a', { create: true }).close();
    const removal = device.remove('a');
    device.close();
    const next = new FileDevice(env, '/store');
    await expect(next.lock()).rejects.toBeInstanceOf(KvLockedError);
    letGo();
    await removal;
    await next.lock();
    expect(next.list()).toEqual([]);
    next.close();
  });

  it('gives the lock back also when files were left open', async () => {
    const device = new FileDevice(nodeEnv, join(directory, 'left-open'));
    await device.lock();
    const file = device.open('a', { create: true });
    device.close();
    expect(() => file.size()).toThrow(KvDiskError);
    await device.lock();
    device.close();
  });
});

it('says where it could not be asked how much room there is', async () => {
  const env = {
    ...nodeEnv,
    fs: { ...nodeEnv.fs, space: () => Promise.reject(systemError('EIO', 'statfs')) },
  };
  const device = new FileDevice(env, '/data/store');
  await expect(device.space()).rejects.toMatchObject({
    code: 'KV_DISK',
    operation: 'statfs',
    path: '/data/store',
  });
});

describe('OverlayDevice', () => {
  const CHUNK = 64 * 1024;
  const SIZE = 3 * MIB + 77;
  let below: MemoryDevice;
  let device: OverlayDevice;

  beforeEach(async () => {
    below = new MemoryDevice(64 * MIB);
    for (const name of ['a', 'b']) {
      const file = below.open(name, { create: true });
      file.writeSync(pattern(SIZE, name === 'a' ? 0 : 9), 0, SIZE, 0);
      file.close();
    }
    device = new OverlayDevice(below);
    await device.lock();
  });

  afterEach(async () => {
    device.close();
    expect(below.list()).toEqual(['a', 'b']);
    for (const name of ['a', 'b']) {
      const file = below.open(name, { create: false });
      expect((await readBack(file, SIZE + 1)).equals(pattern(SIZE, name === 'a' ? 0 : 9))).toBe(true);
    }
  });

  it('reads what lies below, and takes no memory for it', async () => {
    expect(device.list()).toEqual(['a', 'b']);
    const file = device.open('a', { create: false });
    expect(file.size()).toBe(SIZE);
    expect((await readBack(file, SIZE + 1)).equals(pattern(SIZE))).toBe(true);
    expect(await readBack(file, 10, SIZE)).toHaveLength(0);
    expect(device.memoryBytes).toBe(0);
  });

  it('does as a file would that is changed at random places, and holds what was changed', async () => {
    const model = new MemoryDevice(64 * MIB).open('a', { create: true });
    model.writeSync(pattern(SIZE), 0, SIZE, 0);
    const random = new SeededRandom(7);
    let file = device.open('a', { create: true });
    let written = 0;
    for (let step = 0; step < 300; step++) {
      const dice = random.below(100);
      if (dice < 10) {
        const length = random.below(SIZE + MIB);
        for (const one of [model, file]) one.truncate(length);
      } else if (dice < 55) {
        const length = random.below(random.chance(0.1) ? 300_000 : 3000);
        const position = random.below(SIZE);
        const bytes = pattern(length, step);
        for (const one of [model, file]) one.writeSync(bytes, 0, length, position);
        written += length + 2 * CHUNK;
      } else if (dice < 60) {
        file.close();
        file = device.open('a', { create: random.chance(0.5) });
      }
      const position = random.below(SIZE);
      const length = random.below(200_000);
      expect(file.size()).toBe(model.size());
      const [bytes, expected] = [
        await readBack(file, length, position),
        await readBack(model, length, position),
      ];
      expect(bytes.equals(expected)).toBe(true);
    }
    expect((await readBack(file, SIZE + MIB)).equals(await readBack(model, SIZE + MIB))).toBe(true);
    expect(device.memoryBytes).toBeLessThanOrEqual(Math.min(written, SIZE + MIB + CHUNK));
  });

  it('takes a chunk of memory for a byte, none for what is cut off or removed', async () => {
    const file = device.open('a', { create: true });
    file.writeSync(Buffer.from('x'), 0, 1, MIB + 5);
    expect(device.memoryBytes).toBe(CHUNK);
    file.truncate(100);
    expect(device.memoryBytes).toBe(0);
    file.truncate(SIZE);
    const bytes = await readBack(file, SIZE);
    expect(bytes.subarray(0, 100).equals(pattern(100))).toBe(true);
    expect(bytes.subarray(100).every((byte) => byte === 0)).toBe(true);
    await device.remove('b');
    expect(device.memoryBytes).toBe(0);
  });

  it('removes, renames and creates for itself alone', async () => {
    const renamed = device.open('a', { create: false });
    device.rename('a', 'b');
    device.open('c', { create: true }).close();
    expect(device.list().sort()).toEqual(['b', 'c']);
    expect(() => device.open('a', { create: false })).toThrow('ENOENT');
    const file = device.open('b', { create: false });
    expect((await readBack(file, SIZE)).equals(pattern(SIZE))).toBe(true);
    renamed.writeSync(Buffer.from('changed'), 0, 7, 0);
    expect((await readBack(file, 7)).toString()).toBe('changed');
    await device.remove('b');
    expect((await readBack(file, 7)).toString()).toBe('changed');
    const again = device.open('a', { create: true });
    expect(again.size()).toBe(0);
  });

  it('has a read that is under way see a change as a whole or not at all', async () => {
    const file = device.open('a', { create: true });
    const buffer = Buffer.alloc(CHUNK * 3);
    const read = file.read(buffer, 0, buffer.length, 0);
    file.writeSync(Buffer.alloc(CHUNK * 2, 1), 0, CHUNK * 2, CHUNK / 2);
    file.truncate(CHUNK);
    expect(await read).toBe(CHUNK);
    expect(buffer.subarray(0, CHUNK / 2).equals(pattern(CHUNK / 2))).toBe(true);
    expect(buffer.subarray(CHUNK / 2, CHUNK).every((byte) => byte === 1)).toBe(true);
  });

  it('shares the directory with others of its kind, opens files to be read, and closes them', async () => {
    const disk = new SimulatedDisk();
    const writer = new FileDevice(disk.env(), '/store');
    await writer.lock();
    writer.open('a', { create: true }).close();
    await expect(new OverlayDevice(new FileDevice(disk.env(), '/store')).lock()).rejects.toBeInstanceOf(
      KvLockedError,
    );
    writer.close();
    const before = disk.trace.length;
    const readers = [1, 2, 3].map(() => new OverlayDevice(new FileDevice(disk.env(), '/store')));
    for (const reader of readers) {
      await reader.lock();
      await expect(reader.lock()).rejects.toBeInstanceOf(KvLockedError);
      const file = reader.open('a', { create: true });
      await file.write(Buffer.from('mine'), 0, 4, 0);
      await file.sync();
      await reader.syncDirectory();
      reader.removeSync('a');
      file.close();
    }
    await expect(writer.lock()).rejects.toMatchObject({ byReaders: true, holder: undefined });
    for (const reader of readers) reader.close();
    expect(new Set(disk.trace.slice(before).map(({ operation }) => operation))).toEqual(
      new Set(['open', 'size', 'lock', 'close', 'mkdir', 'readdir', 'syncDirectory']),
    );
    await writer.lock();
    writer.close();
  });
});

describe('the lock of a directory', () => {
  const reader = (path: string) => new OverlayDevice(new FileDevice(nodeEnv, path));
  const writer = (path: string) => new FileDevice(nodeEnv, path);
  const onPosix = process.platform === 'win32' ? it.skip : it;

  onPosix(
    'is on the directory where its file is missing: readers make none, writers none beside them',
    async () => {
      const path = existing();
      writeFileSync(join(path, 'a'), '');
      const readers = [reader(path), reader(path)];
      for (const one of readers) await one.lock();
      expect(readdirSync(path)).toEqual(['a']);
      await expect(writer(path).lock()).rejects.toMatchObject({ code: 'KV_LOCKED', byReaders: true });
      expect(readdirSync(path)).toEqual(['a']);
      for (const one of readers) one.close();
      const device = writer(path);
      await device.lock();
      await expect(reader(path).lock()).rejects.toMatchObject({
        holder: { pid: process.pid },
        byReaders: false,
      });
      device.close();
      expect(readdirSync(path).sort()).toEqual(['LOCK', 'a']);
      await readers[0].lock();
      await expect(device.lock()).rejects.toMatchObject({ byReaders: true });
      readers[0].close();
      await device.lock();
      device.close();
    },
  );

  it('goes with its file and the directory that was made for it, if that is wanted', async () => {
    const path = join(directory, 'goes', 'away');
    const device = writer(path);
    await device.lock();
    await expect(device.lock()).rejects.toBeInstanceOf(KvLockedError);
    device.open('a', { create: true }).close();
    await device.remove('a');
    device.close({ remove: true });
    expect(readdirSync(join(directory, 'goes'))).toEqual([]);

    await device.lock();
    device.open('mine', { create: true }).close();
    device.close({ remove: true });
    expect(readdirSync(path)).toEqual(['mine']);
    await device.lock();
    await device.remove('mine');
    device.close({ remove: true });
    expect(readdirSync(path)).toEqual([]);
  });

  it('has one holder also when its file is removed again and again by those before', async () => {
    const path = join(directory, 'again');
    let holders = 0;
    let locked = 0;
    const run = async () => {
      for (let round = 0; round < 6; round++) {
        const device = writer(path);
        try {
          await device.lock();
        } catch (error) {
          expect(error).toBeInstanceOf(KvLockedError);
          continue;
        }
        expect(++holders).toBe(1);
        locked++;
        await new Promise((resolve) => setTimeout(resolve, 5));
        holders--;
        device.close({ remove: true });
      }
    };
    await Promise.all([run(), run(), run()]);
    expect(locked).toBeGreaterThan(0);
    expect(() => statSync(path)).toThrow('ENOENT');
  });

  it('starts over when its file is removed while it is being taken, with the directory', async () => {
    const disk = new SimulatedDisk();
    const env = disk.env();
    const first = new FileDevice(env, '/store');
    await first.lock();
    let gone = false;
    const lock: EnvFs['lock'] = (fd, shared) => {
      if (!gone) first.close({ remove: true });
      gone = true;
      return env.fs.lock(fd, shared);
    };
    const second = new FileDevice({ ...env, fs: { ...env.fs, lock } }, '/store');
    await second.lock();
    expect(disk.paths()).toEqual(['/store/LOCK']);
    await expect(new FileDevice(env, '/store').lock()).rejects.toBeInstanceOf(KvLockedError);
    second.close({ remove: true });
    expect(disk.paths()).toEqual([]);
    expect(() => env.fs.readdir('/store')).toThrow('ENOENT');
  });
});

describe('MemoryDevice', () => {
  it('is a hard bound: a write beyond it changes nothing', async () => {
    const device = new MemoryDevice(MIB);
    const file = device.open('a', { create: true });
    await file.write(pattern(700_000), 0, 700_000, 0);
    const taken = device.memoryBytes;
    expect(taken).toBeLessThanOrEqual(MIB);
    await expect(file.write(pattern(700_000, 1), 0, 700_000, 500_000)).rejects.toBeInstanceOf(
      KvOverloadedError,
    );
    expect(() => file.writeSync(pattern(10), 0, 10, 10 * MIB)).not.toThrow();
    expect(() => file.writeSync(pattern(10), 0, 10, 20 * MIB)).toThrow(KvOverloadedError);
    expect((await readBack(file, 700_000)).equals(pattern(700_000))).toBe(true);
    file.truncate(700_000);
    expect(device.memoryBytes).toBe(taken);
  });

  it('gives memory back when files are truncated, or removed and closed', () => {
    const device = new MemoryDevice(MIB);
    const file = device.open('a', { create: true });
    file.writeSync(pattern(MIB), 0, MIB, 0);
    file.truncate(1);
    expect(device.memoryBytes).toBe(256 * 1024);
    device.removeSync('a');
    expect(device.memoryBytes).toBe(256 * 1024);
    file.close();
    expect(device.memoryBytes).toBe(0);

    device.open('b', { create: true }).writeSync(pattern(10), 0, 10, 0);
    const replaced = device.open('c', { create: true });
    replaced.writeSync(pattern(10), 0, 10, 0);
    replaced.close();
    expect(device.memoryBytes).toBe(2 * 4096);
    device.rename('b', 'c');
    expect(device.memoryBytes).toBe(4096);
  });

  it('reads the untouched part of a small first chunk as zeros', async () => {
    const device = new MemoryDevice(MIB);
    const file = device.open('a', { create: true });
    file.writeSync(Buffer.from('x'), 0, 1, 0);
    file.truncate(100_000);
    const bytes = await readBack(file, 100, 50_000);
    expect(bytes.equals(Buffer.alloc(100))).toBe(true);
    expect((await readBack(file, 8192))[0]).toBe('x'.charCodeAt(0));
  });

  it('refuses ranges outside of the buffer', async () => {
    const file = new MemoryDevice(MIB).open('a', { create: true });
    const buffer = Buffer.alloc(10);
    await expect(file.write(buffer, 5, 6, 0)).rejects.toMatchObject({ code: 'KV_DISK', errno: 'EINVAL' });
    await expect(file.read(buffer, 0, 10, -1)).rejects.toMatchObject({ code: 'KV_DISK', errno: 'EINVAL' });
    expect(() => file.truncate(0.5)).toThrow(KvDiskError);
  });
});
