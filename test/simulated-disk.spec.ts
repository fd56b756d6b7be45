/** Proof that the simulated disk does what its head comment says: every fault really happens. */
import type { Env, EnvFs } from '../src/device/env.js';
import { SeededRandom, SimulatedClock, SimulatedDisk } from './support/simulated-disk.js';

const SECTOR = 512;

function fill(letter: string, length: number): Buffer {
  return Buffer.alloc(length, letter);
}

function append(fs: EnvFs, fd: number, bytes: Buffer): void {
  fs.writeSync(fd, bytes, 0, bytes.length, fs.size(fd));
}

/** A disk with `/log`, whose name and content `base` are durable. */
function diskWithLog(base = ''): { disk: SimulatedDisk; env: Env; fs: EnvFs; fd: number } {
  const disk = new SimulatedDisk();
  disk.put('/log', Buffer.from(base));
  const env = disk.env();
  return { disk, env, fs: env.fs, fd: env.fs.open('/log', { create: false }) };
}

/** What `/log` holds after crashes with many seeds. */
function outcomes(disk: SimulatedDisk, crashes = 500): string[] {
  const found = new Set<string>();
  for (let seed = 0; seed < crashes; seed++) {
    const copy = disk.fork();
    copy.crash({ seed });
    found.add(copy.contents('/log').toString());
  }
  return [...found];
}

describe('unsynced bytes', () => {
  it('are all lost with none, all kept with all, and synced ones stay', () => {
    const { disk, fs, fd } = diskWithLog();
    append(fs, fd, Buffer.from('synced '));
    fs.syncSync(fd);
    append(fs, fd, Buffer.from('not'));
    expect(disk.unsyncedChanges).toBe(1);
    expect(disk.contents('/log', 'durable').toString()).toBe('synced ');

    const none = disk.fork();
    expect(none.crash('none').writes).toEqual({ kept: 0, torn: 0, lost: 1 });
    expect(none.contents('/log').toString()).toBe('synced ');
    const all = disk.fork();
    expect(all.crash('all').writes).toEqual({ kept: 1, torn: 0, lost: 0 });
    expect(all.contents('/log').toString()).toBe('synced not');
    expect(disk.contents('/log').toString()).toBe('synced not');
  });

  it('are torn at sectors: a part survives, in whole sectors only', () => {
    const { disk, fs, fd } = diskWithLog();
    fs.writeSync(fd, fill('a', 4 * SECTOR), 0, 4 * SECTOR, 0);
    fs.syncSync(fd);
    fs.writeSync(fd, fill('b', 3 * SECTOR), 0, 3 * SECTOR, SECTOR / 2);
    const seen = outcomes(disk);
    for (const text of seen) {
      expect(text).toHaveLength(4 * SECTOR);
      expect(text).toMatch(/^a{256}(a{256}|b{256})(a{512}|b{512})(a{512}|b{512})(a{256}|b{256})a{256}$/);
    }
    // Whole, absent, and every shape of a tear.
    expect(seen).toHaveLength(16);
  });

  it('are reordered: a later write survives an earlier one', () => {
    const { disk, fs, fd } = diskWithLog();
    append(fs, fd, fill('a', SECTOR));
    append(fs, fd, fill('b', SECTOR));
    const zeros = '\0'.repeat(SECTOR);
    const a = 'a'.repeat(SECTOR);
    const b = 'b'.repeat(SECTOR);
    expect(new Set(outcomes(disk))).toEqual(
      new Set(['', a, a + b, zeros + b, a + zeros, zeros, zeros + zeros]),
    );
  });

  it('share the fate of earlier ones in the same sector', () => {
    const { disk, fs, fd } = diskWithLog('........');
    fs.writeSync(fd, Buffer.from('aa'), 0, 2, 0);
    fs.writeSync(fd, Buffer.from('bb'), 0, 2, 4);
    expect(outcomes(disk).sort()).toEqual(['........', 'aa......', 'aa..bb..']);
  });

  it('may come back after a truncation that is lost', () => {
    const { disk, fs, fd } = diskWithLog('content');
    fs.truncate(fd, 3);
    expect(outcomes(disk).sort()).toEqual(['con', 'content']);
    fs.syncSync(fd);
    expect(outcomes(disk)).toEqual(['con']);
  });
});

describe('unsynced names', () => {
  const names = (disk: SimulatedDisk): string => disk.paths().join(' ');

  function nameOutcomes(disk: SimulatedDisk): string[] {
    const found = new Set<string>();
    for (let seed = 0; seed < 200; seed++) {
      const copy = disk.fork();
      copy.crash({ seed });
      found.add(names(copy));
    }
    return [...found].sort();
  }

  it('are lost or kept, whether or not the file was synced', () => {
    const disk = new SimulatedDisk();
    const { fs } = disk.env();
    const fd = fs.open('/new', { create: true });
    append(fs, fd, Buffer.from('x'));
    fs.syncSync(fd);
    expect(nameOutcomes(disk)).toEqual(['', '/new']);
    fs.syncDirectorySync('/');
    expect(nameOutcomes(disk)).toEqual(['/new']);
    fs.unlinkSync('/new');
    expect(nameOutcomes(disk)).toEqual(['', '/new']);
    disk.crash('none');
    expect(disk.contents('/new').toString()).toBe('x');
  });

  it('are synced as far as they were there when the sync was called', async () => {
    const disk = new SimulatedDisk();
    const { fs } = disk.env();
    fs.open('/before', { create: true });
    const sync = fs.syncDirectory('/');
    fs.open('/after', { create: true });
    expect(disk.unsyncedChanges).toBe(2);
    await sync;
    expect(nameOutcomes(disk)).toEqual(['/after /before', '/before']);
    await Promise.all([fs.syncDirectory('/'), fs.syncDirectory('/')]);
    expect(disk.unsyncedChanges).toBe(0);
  });

  it('are synced by the next call when one has failed', async () => {
    const disk = new SimulatedDisk();
    const { fs } = disk.env();
    fs.open('/a', { create: true });
    disk.failAt({ operation: 'syncDirectory', nth: 1, code: 'EIO' });
    await expect(fs.syncDirectory('/')).rejects.toThrow('EIO');
    expect(disk.unsyncedChanges).toBe(1);
    await fs.syncDirectory('/');
    expect(disk.unsyncedChanges).toBe(0);
  });

  it('go later with an asynchronous removal: a crash finds it done or not begun, a kill done', async () => {
    const removed = (end: (disk: SimulatedDisk) => void) => {
      const disk = new SimulatedDisk();
      disk.put('/a', Buffer.from('x'));
      const removal = disk.env().fs.unlink('/a');
      expect(names(disk)).toBe('/a');
      end(disk);
      return expect(removal)
        .rejects.toMatchObject({ code: 'EBADF' })
        .then(() => names(disk) === '');
    };
    expect(await removed((disk) => disk.crash('none'))).toBe(false);
    expect(await removed((disk) => disk.crash('all'))).toBe(true);
    expect(await removed((disk) => disk.kill())).toBe(true);
    const disk = new SimulatedDisk();
    disk.put('/a', Buffer.from('x'));
    const { fs } = disk.env();
    disk.failAt({ operation: 'unlink', nth: 1, code: 'EIO' });
    await expect(fs.unlink('/a')).rejects.toThrow('EIO');
    await fs.unlink('/a');
    await expect(fs.unlink('/a')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('make a rename happen as a whole or not at all', () => {
    const disk = new SimulatedDisk();
    disk.put('/tmp', Buffer.from('new'));
    disk.put('/file', Buffer.from('old'));
    disk.env().fs.rename('/tmp', '/file');
    expect(nameOutcomes(disk)).toEqual(['/file', '/file /tmp']);
    const kept = disk.fork();
    kept.crash('all');
    expect(kept.contents('/file').toString()).toBe('new');
    disk.crash('none');
    expect(disk.contents('/file').toString()).toBe('old');
  });

  it('are reordered, and take a directory with all that is in it', () => {
    const disk = new SimulatedDisk();
    const { fs } = disk.env();
    fs.open('/a', { create: true });
    fs.open('/b', { create: true });
    expect(nameOutcomes(disk)).toEqual(['', '/a', '/a /b', '/b']);
    fs.mkdir('/d/e');
    fs.open('/d/e/f', { create: true });
    fs.syncDirectorySync('/d/e');
    fs.syncDirectorySync('/d');
    disk.crash('none');
    expect(names(disk)).toBe('');
  });
});

describe('failing calls', () => {
  it('fail once', () => {
    const { disk, fs, fd } = diskWithLog();
    disk.failAt({ operation: 'write', nth: 2, code: 'EIO' });
    append(fs, fd, Buffer.from('1'));
    expect(() => append(fs, fd, Buffer.from('2'))).toThrow(expect.objectContaining({ code: 'EIO' }));
    append(fs, fd, Buffer.from('3'));
    expect(disk.contents('/log').toString()).toBe('13');
    expect(disk.trace.filter(({ fault }) => fault === 'EIO')).toHaveLength(1);
  });

  it('fail from then on, until the failure is taken back', async () => {
    const { disk, fs, fd } = diskWithLog('abc');
    const lift = disk.failAt({ operation: 'read', nth: 2, code: 'EIO', sticky: true });
    const buffer = Buffer.alloc(3);
    expect(await fs.read(fd, buffer, 0, 3, 0)).toBe(3);
    for (let i = 0; i < 3; i++) {
      await expect(fs.read(fd, buffer, 0, 3, 0)).rejects.toMatchObject({ code: 'EIO' });
      expect(() => fs.readSync(fd, buffer, 0, 3, 0)).toThrow('EIO');
    }
    lift();
    expect(fs.readSync(fd, buffer, 0, 3, 0)).toBe(3);
  });

  it('can be any call, or those on one path', () => {
    const { disk, fs } = diskWithLog();
    disk.failAt({ nth: 1, code: 'EACCES' });
    expect(() => fs.readdir('/')).toThrow('EACCES');
    disk.failAt({ operation: 'open', path: '.seg', nth: 1, code: 'EMFILE' });
    fs.open('/other', { create: true });
    expect(() => fs.open('/1.seg', { create: true })).toThrow('EMFILE');
    expect(disk.paths()).toEqual(['/log', '/other']);
  });

  it.each(['async', 'sync'])(
    'a failed %s sync drops bytes that a later one reports as durable',
    async (how) => {
      const { disk, fs, fd } = diskWithLog();
      append(fs, fd, Buffer.from('dropped'));
      disk.failAt({ operation: 'sync', nth: 1, code: 'EIO' });
      if (how === 'async') await expect(fs.sync(fd)).rejects.toMatchObject({ code: 'EIO' });
      else expect(() => fs.syncSync(fd)).toThrow('EIO');
      await fs.sync(fd);
      fs.syncSync(fd);
      expect(disk.contents('/log').toString()).toBe('dropped');
      disk.crash('all');
      expect(disk.contents('/log').toString()).toBe('');
    },
  );

  it('writes short on request', async () => {
    const { disk, fs, fd } = diskWithLog();
    disk.shortWriteAt({ nth: 1 });
    disk.shortWriteAt({ nth: 2, bytes: 1 });
    expect(await fs.write(fd, Buffer.from('abcdef'), 0, 6, 0)).toBe(3);
    expect(fs.writeSync(fd, Buffer.from('xyz'), 0, 3, 3)).toBe(1);
    expect(fs.writeSync(fd, Buffer.from('xyz'), 0, 3, 4)).toBe(3);
    expect(disk.contents('/log').toString()).toBe('abcxxyz');
  });

  it('is full at its capacity: short first, then ENOSPC, and writable again once there is room', () => {
    const disk = new SimulatedDisk({ capacityBytes: 10 });
    const { fs } = disk.env();
    const [a, b] = [fs.open('/a', { create: true }), fs.open('/b', { create: true })];
    expect(fs.writeSync(a, fill('a', 6), 0, 6, 0)).toBe(6);
    expect(fs.writeSync(b, fill('b', 6), 0, 6, 0)).toBe(4);
    expect(() => fs.writeSync(b, fill('b', 2), 0, 2, 4)).toThrow('ENOSPC');
    expect(fs.writeSync(b, fill('c', 6), 0, 6, 0)).toBe(4);
    fs.unlinkSync('/a');
    expect(() => fs.writeSync(b, fill('b', 2), 0, 2, 4)).toThrow('ENOSPC');
    fs.close(a);
    expect(fs.writeSync(b, fill('b', 2), 0, 2, 4)).toBe(2);
    disk.capacityBytes = 0;
    expect(() => fs.writeSync(b, fill('b', 1), 0, 1, 6)).toThrow('ENOSPC');
  });
});

describe('asynchronous calls', () => {
  it('take effect later, one by one', async () => {
    const { disk, fs, fd } = diskWithLog();
    const writes = [fs.write(fd, Buffer.from('a'), 0, 1, 0), fs.write(fd, Buffer.from('b'), 0, 1, 1)];
    expect(disk.contents('/log').toString()).toBe('');
    await writes[0];
    expect(disk.contents('/log').toString()).toBe('a');
    await writes[1];
    expect(disk.contents('/log').toString()).toBe('ab');
  });

  it('sync covers what had ended when it was called', async () => {
    const { disk, fs, fd } = diskWithLog();
    await fs.write(fd, Buffer.from('a'), 0, 1, 0);
    const write = fs.write(fd, Buffer.from('b'), 0, 1, 1);
    await fs.sync(fd);
    await write;
    disk.crash('none');
    expect(disk.contents('/log').toString()).toBe('a');
  });

  it('take effect in another order where that is asked for', async () => {
    const orders = new Set<string>();
    for (let seed = 0; seed < 50; seed++) {
      const disk = new SimulatedDisk({ seed, completion: 'random' });
      const { fs } = disk.env();
      const fd = fs.open('/log', { create: true });
      let order = '';
      const note = (name: string) => (): void => {
        order += name;
      };
      await Promise.all(
        ['a', 'b', 'c'].map((name) => fs.write(fd, Buffer.from(name), 0, 1, 0).then(note(name))),
      );
      expect(disk.contents('/log').toString()).toBe(order.at(-1));
      orders.add(order);
    }
    expect(orders.size).toBe(6);
  });

  it('are cut off by a crash, begun or not, and fail', async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 300; seed++) {
      const { disk, fs, fd } = diskWithLog();
      const write = fs.write(fd, Buffer.from('x'), 0, 1, 0);
      disk.crash({ seed });
      await expect(write).rejects.toMatchObject({ code: 'EBADF' });
      seen.add(disk.contents('/log').toString());
    }
    expect([...seen].sort()).toEqual(['', '\0', 'x'].sort());
  });
});

describe('the end of a life', () => {
  it.each(['crash', 'kill'] as const)('%s leaves dead descriptors, free locks, no timers', async (end) => {
    const { disk, env, fs, fd } = diskWithLog('x');
    const release = await fs.lock(fd);
    expect(release).toBeDefined();
    const other = fs.open('/log', { create: false });
    expect(await fs.lock(other)).toBeUndefined();
    env.clock.after(10, () => {
      throw new Error('a timer of a dead process');
    });
    disk[end]();
    disk.clock.advance(100);

    const buffer = Buffer.alloc(1);
    for (const call of [
      () => fs.readSync(fd, buffer, 0, 1, 0),
      () => fs.close(fd),
      () => fs.unlinkSync('/log'),
      () => fs.open('/more', { create: true }),
      () => disk.readSync(fd, buffer, 0, 1, 0),
    ]) {
      expect(call).toThrow('EBADF');
    }
    await expect(fs.read(fd, buffer, 0, 1, 0)).rejects.toMatchObject({ code: 'EBADF' });
    expect(disk.paths()).toEqual(['/log']);

    const next = disk.env().fs;
    const again = next.open('/log', { create: false });
    expect(await next.lock(again)).toBeDefined();
    // What the dead process still does to its lock does not touch the new one.
    release?.();
    expect(await next.lock(next.open('/log', { create: false }))).toBeUndefined();
  });

  it('kill loses nothing, and leaves it unsynced', () => {
    const { disk, fs, fd } = diskWithLog();
    append(fs, fd, Buffer.from('x'));
    disk.kill();
    expect(disk.contents('/log').toString()).toBe('x');
    disk.crash('none');
    expect(disk.contents('/log').toString()).toBe('');
  });

  it('closing or releasing frees a lock', async () => {
    const { fs, fd } = diskWithLog();
    const other = fs.open('/log', { create: false });
    const release = await fs.lock(fd);
    release?.();
    expect(await fs.lock(other)).toBeDefined();
    fs.close(other);
    expect(await fs.lock(fd)).toBeDefined();
  });
});

describe('forks and flips', () => {
  it('a fork changes by itself', () => {
    const { disk, fs, fd } = diskWithLog('base');
    append(fs, fd, Buffer.from('+unsynced'));
    const copy = disk.fork();
    const copyFs = copy.env().fs;
    const copyFd = copyFs.open('/log', { create: false });
    copyFs.writeSync(copyFd, Buffer.from('COPY'), 0, 4, 0);
    fs.writeSync(fd, Buffer.from('ORIG'), 0, 4, 0);
    copyFs.open('/only-there', { create: true });
    expect(copy.contents('/log').toString()).toBe('COPY+unsynced');
    expect(disk.contents('/log').toString()).toBe('ORIG+unsynced');
    expect(disk.paths()).toEqual(['/log']);
    expect(copy.contents('/log', 'durable').toString()).toBe('base');
    copy.crash('none');
    expect(copy.contents('/log').toString()).toBe('base');
    expect(disk.contents('/log').toString()).toBe('ORIG+unsynced');
  });

  it('flips one bit, durably, and in this disk only', () => {
    const { disk, fs, fd } = diskWithLog('abc');
    append(fs, fd, Buffer.from('def'));
    const copy = disk.fork();
    copy.flip('/log', 8 + 1);
    copy.flip('/log', 8 * 4);
    expect(copy.contents('/log').toString()).toBe('a`cddf');
    copy.crash('all');
    expect(copy.contents('/log').toString()).toBe('a`cddf');
    expect(disk.contents('/log').toString()).toBe('abcdef');
  });
});

describe('determinism', () => {
  async function run(seed: number): Promise<string> {
    const disk = new SimulatedDisk({ seed, completion: 'random' });
    for (let life = 0; life < 5; life++) {
      const env = disk.env();
      const script = new SeededRandom(seed);
      env.fs.mkdir('/d');
      const calls: Promise<unknown>[] = [];
      for (let i = 0; i < 30; i++) {
        const path = `/d/${script.below(4)}`;
        const fd = env.fs.open(path, { create: true });
        const bytes = Buffer.from(env.random.bytes(1 + script.below(3000)));
        calls.push(env.fs.write(fd, bytes, 0, bytes.length, script.below(5000)));
        if (script.chance(0.3)) calls.push(env.fs.sync(fd));
        if (script.chance(0.2)) calls.push(env.fs.unlink(path).catch(() => undefined));
        if (script.chance(0.2)) calls.push(env.fs.syncDirectory('/d'));
        if (script.chance(0.2)) await calls.at(-1);
      }
      const settled = Promise.allSettled(calls);
      disk.crash();
      await settled;
    }
    const files = disk.paths().map((path) => [path, disk.contents(path).toString('base64')]);
    return JSON.stringify({ trace: disk.trace, files });
  }

  it('the same seed gives the same trace and the same bytes, another seed others', async () => {
    const first = await run(7);
    expect(await run(7)).toBe(first);
    expect(await run(8)).not.toBe(first);
  });

  it('traces what was called, where', async () => {
    const { disk, fs, fd } = diskWithLog();
    await fs.write(fd, Buffer.from('abc'), 1, 2, 7);
    fs.syncSync(fd);
    expect(disk.trace).toEqual([
      { operation: 'open', path: '/log' },
      { operation: 'write', path: '/log', position: 7, length: 2 },
      { operation: 'sync', path: '/log' },
    ]);
    expect(disk.counts()).toEqual({ open: 1, write: 1, sync: 1 });
  });
});

describe('errors of a real file system', () => {
  it.each<[string, string, (fs: EnvFs) => unknown]>([
    ['open', 'ENOENT', (fs) => fs.open('/no/file', { create: true })],
    ['open', 'ENOENT', (fs) => fs.open('/no', { create: false })],
    ['open', 'EISDIR', (fs) => fs.open('/dir', { create: true })],
    ['open', 'ENOTDIR', (fs) => fs.open('/log/x', { create: true })],
    ['mkdir', 'EEXIST', (fs) => fs.mkdir('/log')],
    ['mkdir', 'ENOTDIR', (fs) => fs.mkdir('/log/x')],
    ['readdir', 'ENOENT', (fs) => fs.readdir('/no')],
    ['readdir', 'ENOTDIR', (fs) => fs.readdir('/log')],
    ['rename', 'ENOENT', (fs) => fs.rename('/no', '/yes')],
    ['rename', 'EXDEV', (fs) => fs.rename('/log', '/dir/log')],
    ['unlink', 'ENOENT', (fs) => fs.unlinkSync('/no')],
    ['unlink', 'EISDIR', (fs) => fs.unlinkSync('/dir')],
    ['close', 'EBADF', (fs) => fs.close(99)],
  ])('%s %s', (_call, code, call) => {
    const { fs } = diskWithLog();
    fs.mkdir('/dir');
    fs.mkdir('/dir');
    expect(() => call(fs)).toThrow(expect.objectContaining({ code }));
  });
});

describe('SimulatedClock', () => {
  it('fires timers in their order, those set meanwhile too, and none before their time', () => {
    const clock = new SimulatedClock();
    const start = clock.now();
    const fired: string[] = [];
    const note = (name: string) => (): void => {
      fired.push(`${name}@${clock.now() - start}`);
    };
    clock.after(20, note('second'));
    clock.after(10, () => {
      note('first')();
      clock.after(5, note('set meanwhile'));
    });
    clock.after(20, note('third'));
    clock.after(30, note('cancelled'))();
    clock.advance(9);
    expect(fired).toEqual([]);
    clock.advance(100);
    expect(fired).toEqual(['first@10', 'set meanwhile@15', 'second@20', 'third@20']);
    expect(clock.now() - start).toBe(109);
    expect(clock.pending).toBe(0);
  });

  it('jumps without firing timers early or late', () => {
    const clock = new SimulatedClock();
    const start = clock.now();
    let fired = 0;
    clock.after(10, () => fired++);
    clock.jump(-1_000_000);
    expect(clock.now()).toBe(start - 1_000_000);
    clock.jump(2_000_000);
    expect(fired).toBe(0);
    clock.advance(10);
    expect(fired).toBe(1);
  });
});
