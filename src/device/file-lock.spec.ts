/** The lock between real processes. The holder is plain JavaScript that takes it the way `file-lock.ts` does. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KvLockedError } from '../errors.js';
import { FLOCK, lockDescriptor, PERL, type LockHelper } from './file-lock.js';
import { FileDevice, nodeEnv } from './index.js';

const NO_HELPERS: readonly LockHelper[] = [];

const HOLDER = `
  import { spawnSync } from 'node:child_process';
  import { fstatSync, mkdirSync, openSync, writeSync } from 'node:fs';
  import { createServer } from 'node:net';
  const [, directory, kind] = process.argv;
  mkdirSync(directory, { recursive: true });
  const fd = openSync(directory + '/LOCK', 'a+');
  if (kind === 'flock') {
    const { status } = spawnSync('flock', ['-n', '-x', '3'], { stdio: ['ignore', 'ignore', 'ignore', fd] });
    if (status !== 0) process.exit(3);
  } else {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    await new Promise((resolve) => createServer().listen('\\0hotcold-' + dev + '-' + ino, resolve));
  }
  writeSync(fd, JSON.stringify({ pid: process.pid, hostname: 'child', openedAt: 'now' }));
  process.stdout.write('held');
  setInterval(() => {}, 1000);
`;

let directory: string;
let children: ChildProcess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hotcold-lock-'));
});

afterEach(async () => {
  await Promise.all(children.map(kill));
  children = [];
  rmSync(directory, { recursive: true, force: true });
});

async function startHolder(kind: 'flock' | 'socket'): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', HOLDER, directory, kind], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('exit', (code) => reject(new Error(`the holder ended with ${code}`)));
  });
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

function openLockFile(): number {
  return openSync(join(directory, 'LOCK'), 'a+');
}

const has = (command: string): boolean => spawnSync(command, ['--version']).error === undefined;
const onLinux = process.platform === 'linux' ? it : it.skip;
const withFlock = process.platform === 'linux' && has('flock') ? it : it.skip;
const withPerl = process.platform === 'linux' && has('perl') ? it : it.skip;

describe('between processes', () => {
  for (const [kind, test] of [
    ['flock', withFlock],
    ['socket', onLinux],
  ] as const) {
    test(`refuses what a process holds by ${kind}, and SIGKILL frees it`, async () => {
      const child = await startHolder(kind);
      const device = new FileDevice(nodeEnv, directory);
      const text = readFileSync(join(directory, 'LOCK'), 'utf8');

      const error: unknown = await device.lock().catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(KvLockedError);
      expect(error).toMatchObject({ path: directory, holder: { pid: child.pid, hostname: 'child' } });
      expect(readFileSync(join(directory, 'LOCK'), 'utf8')).toBe(text);

      await kill(child);
      const startedMs = Date.now();
      await device.lock();
      expect(Date.now() - startedMs).toBeLessThan(1000);
      expect(JSON.parse(readFileSync(join(directory, 'LOCK'), 'utf8'))).toMatchObject({ pid: process.pid });
      device.close();
      expect(readFileSync(join(directory, 'LOCK'), 'utf8')).toBe('');
    });
  }

  withFlock('lets exactly one of many have it', async () => {
    const devices = Array.from({ length: 20 }, () => new FileDevice(nodeEnv, directory));
    for (let round = 0; round < 5; round++) {
      const results = await Promise.allSettled(devices.map((device) => device.lock()));
      const losers = results.filter((result) => result.status === 'rejected');
      expect(losers).toHaveLength(devices.length - 1);
      for (const { reason } of losers) {
        expect(reason).toBeInstanceOf(KvLockedError);
        expect((reason as KvLockedError).holder?.pid).toBe(process.pid);
      }
      for (const device of devices) device.close();
    }
  });
});

describe('within one process', () => {
  it('refuses a second device and admits it after close', async () => {
    const first = new FileDevice(nodeEnv, directory);
    const second = new FileDevice(nodeEnv, directory);
    await first.lock();
    await expect(second.lock()).rejects.toMatchObject({ code: 'KV_LOCKED', holder: { pid: process.pid } });
    first.close();
    await second.lock();
    await expect(first.lock()).rejects.toBeInstanceOf(KvLockedError);
    second.close();
  });

  const broken: readonly LockHelper[] = [
    () => ['hotcold-no-such-command'],
    () => ['node', '-e', 'process.exit(5)'],
    // What `spawn` throws at once.
    () => ['hotcold\0nul'],
  ];

  it.each([
    ['socket', 'socket', NO_HELPERS, NO_HELPERS],
    ['broken helpers', 'socket', broken, NO_HELPERS],
  ])('%s and %s exclude each other', exclude);
  withPerl.each<[string, string, readonly LockHelper[] | undefined, readonly LockHelper[] | undefined]>([
    ['the usual helper', 'perl', undefined, [PERL]],
    ['perl', 'the usual helper', [PERL], undefined],
    ['perl', 'socket', [PERL], NO_HELPERS],
    ['the usual helper', 'socket', undefined, NO_HELPERS],
    ['socket', 'the usual helper', NO_HELPERS, undefined],
  ])('%s and %s exclude each other', exclude);

  async function exclude(
    _one: string,
    _other: string,
    helpers: readonly LockHelper[] | undefined,
    otherHelpers: readonly LockHelper[] | undefined,
  ): Promise<void> {
    const fd = openLockFile();
    const otherFd = openLockFile();
    const release = await lockDescriptor(fd, false, helpers);
    expect(release).toBeDefined();
    expect(await lockDescriptor(otherFd, false, otherHelpers)).toBeUndefined();
    release?.();
    closeSync(fd);
    const otherRelease = await lockDescriptor(otherFd, false, otherHelpers);
    expect(otherRelease).toBeDefined();
    otherRelease?.();
    closeSync(otherFd);
  }

  const shares: [name: string, test: jest.It, helpers: readonly LockHelper[]][] = [
    ['flock', withFlock, [FLOCK]],
    ['perl', withPerl, [PERL]],
  ];
  for (const [name, test, helpers] of shares) {
    test(`${name} lets readers share, and keeps them from a writer`, async () => {
      // Readers have their descriptor for reading only.
      const [one, other] = [openSync(join(directory, 'LOCK'), 'a+'), openLockFile()];
      closeSync(one);
      const readers = [0, 1, 2].map(() => openSync(join(directory, 'LOCK'), 'r'));
      for (const fd of readers) expect(await lockDescriptor(fd, true, helpers)).toBeDefined();
      expect(await lockDescriptor(other, false, helpers)).toBeUndefined();
      for (const fd of readers) closeSync(fd);
      const release = await lockDescriptor(other, false, helpers);
      expect(release).toBeDefined();
      const late = openSync(join(directory, 'LOCK'), 'r');
      expect(await lockDescriptor(late, true, helpers)).toBeUndefined();
      release?.();
      closeSync(other);
      expect(await lockDescriptor(late, true, helpers)).toBeDefined();
      closeSync(late);
    });
  }

  it('without a helper, readers exclude each other and writers', async () => {
    const [one, other] = [openLockFile(), openLockFile()];
    const release = await lockDescriptor(one, true, NO_HELPERS);
    expect(release).toBeDefined();
    for (const shared of [true, false])
      expect(await lockDescriptor(other, shared, NO_HELPERS)).toBeUndefined();
    release?.();
    for (const fd of [one, other]) closeSync(fd);
  });

  withFlock('a reader is refused what a process without the helper holds', async () => {
    const [one, other] = [openLockFile(), openLockFile()];
    const release = await lockDescriptor(one, false, NO_HELPERS);
    expect(await lockDescriptor(other, true)).toBeUndefined();
    release?.();
    expect(await lockDescriptor(other, true)).toBeDefined();
    for (const fd of [one, other]) closeSync(fd);
  });

  it('tells lock files apart', async () => {
    const other = join(directory, 'OTHER');
    writeFileSync(other, '');
    const fds = [openLockFile(), openSync(other, 'r+')] as const;
    const releases = [
      await lockDescriptor(fds[0], false, NO_HELPERS),
      await lockDescriptor(fds[1], false, NO_HELPERS),
    ];
    for (const release of releases) {
      expect(release).toBeDefined();
      release?.();
    }
    for (const fd of fds) closeSync(fd);
  });
});
