/**
 * The lock that keeps a second store out of a directory. Node has no flock, so a helper program takes it on a
 * descriptor that we keep open: the lock belongs to the open file, not to the helper, and stays when the helper ends.
 * It holds across processes and across pid, mount and network namespaces, and the kernel drops it with our
 * descriptor, also at SIGKILL. A pid file could do none of this.
 *
 * Where no helper is installed, a listening socket named after device and inode of the lock file takes its place; it
 * too ends with the process. It reaches less far:
 *   linux    abstract unix socket: only within one network namespace
 *   windows  named pipe: within one machine
 *   others   socket file in the temporary directory: within one machine and one temporary directory; a file left by
 *            a killed process is found by connecting to it, and replacing it is not atomic
 * On linux both are taken, flock first, so that a process without the helper and one with it exclude each other.
 *
 * Readers share the lock, which keeps writers out. Sockets cannot be shared: where there is no helper, readers exclude each
 * other as well. A reader that has the flock looks whether somebody listens who has no helper, but takes no socket: so a
 * writer without the helper is not kept from readers that have it.
 *
 * Two opens in one process, worker threads and cluster workers are told apart like processes are.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** A program that takes a flock on its descriptor 3 without waiting: exit code 0 = ours, 1 = held. */
export type LockHelper = (shared: boolean) => readonly [command: string, ...args: string[]];

export const FLOCK: LockHelper = (shared) => ['flock', '-n', shared ? '-s' : '-x', '3'];

/** macOS has Perl, but no flock(1). `LOCK_SH | LOCK_NB` is 5 on Linux, macOS and the BSDs, `LOCK_EX | LOCK_NB` 6. */
export const PERL: LockHelper = (shared) => [
  'perl',
  '-e',
  `open(my $f, "<&=", 3) or exit 2; exit(flock($f, ${shared ? 5 : 6}) ? 0 : $!{EWOULDBLOCK} ? 1 : 2)`,
];

/** Not on other systems: there Perl may emulate flock by a lock that ends with the helper. */
const PLATFORMS_WITH_FLOCK: readonly string[] = ['linux', 'darwin', 'freebsd', 'openbsd'];

const LOCK_HELPERS: readonly LockHelper[] = [FLOCK, PERL];

/** A helper asked not to wait answers in milliseconds. One that hangs (a dead network file system) is given up. */
const HELPER_TIMEOUT_MS = 10_000;

/**
 * The kernel closes the descriptors of a killed process one after the other, so its flock may be free a moment
 * before its socket is. Only who got the flock waits, and only while a process without the helper may hold the socket.
 */
const SOCKET_ATTEMPTS = 10;
const SOCKET_RETRY_MS = 10;

/**
 * Takes the lock on an open file; resolves to `undefined` when somebody else holds it. The flock lasts until the
 * descriptor is closed; the returned function gives back the socket, so call it and then close the descriptor.
 * @param shared whether others may have it shared at the same time
 */
export async function lockDescriptor(
  fd: number,
  shared = false,
  helpers: readonly LockHelper[] = LOCK_HELPERS,
): Promise<(() => void) | undefined> {
  const asked = tryFlock(fd, shared, helpers);
  // `listen` loads the first and checkpoints need the second, which can as well be done while the helper runs. Not by
  // `import`, which Jest has not.
  for (const name of ['node:cluster', 'node:zlib']) process.getBuiltinModule(name);
  const flock = await asked;
  if (flock === 'held') return undefined;
  if (flock === 'ours' && process.platform !== 'linux') return () => undefined;
  if (flock === 'ours' && shared) return (await someoneListens(fd)) ? undefined : () => undefined;

  try {
    let server = await trySocket(fd);
    for (let attempt = 1; !server && flock === 'ours' && attempt < SOCKET_ATTEMPTS; attempt++) {
      await sleep(SOCKET_RETRY_MS);
      server = await trySocket(fd);
    }
    return server && (() => void server.close());
  } catch (error) {
    // A sandbox without sockets. The flock alone is a lock; without one there is none, and no store may open.
    if (flock === 'ours') return () => undefined;
    throw error;
  }
}

async function tryFlock(
  fd: number,
  shared: boolean,
  helpers: readonly LockHelper[],
): Promise<'ours' | 'held' | 'unknown'> {
  if (!PLATFORMS_WITH_FLOCK.includes(process.platform)) return 'unknown';
  for (const helper of helpers) {
    const status = await exitCode(fd, helper(shared));
    if (status === 0) return 'ours';
    if (status === 1) return 'held';
  }
  return 'unknown';
}

/** Resolves to `null` when the program cannot be run, or is given up. */
async function exitCode(fd: number, [command, ...args]: ReturnType<LockHelper>): Promise<number | null> {
  try {
    const child = spawn(command, args, {
      stdio: ['ignore', 'ignore', 'ignore', fd],
      timeout: HELPER_TIMEOUT_MS,
      // Without a language it reads no files of translations.
      env: { ...process.env, LC_ALL: 'C' },
    });
    const [code] = (await once(child, 'exit')) as [number | null];
    return code;
  } catch {
    return null;
  }
}

/** Whether a process without the helper holds the lock. Its socket may outlive it by a moment. */
async function someoneListens(fd: number): Promise<boolean> {
  for (let attempt = 1; (await answers(`\0${socketName(fd)}`)) === true; attempt++) {
    if (attempt === SOCKET_ATTEMPTS) return true;
    await sleep(SOCKET_RETRY_MS);
  }
  return false;
}

function socketName(fd: number): string {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return `hotcold-${dev}-${ino}`;
}

async function trySocket(fd: number): Promise<Server | undefined> {
  const name = socketName(fd);
  if (process.platform === 'linux') return listen(`\0${name}`);
  if (process.platform === 'win32') return listen(`\\\\.\\pipe\\${name}`);

  const path = join(tmpdir(), `${name}.sock`);
  const server = await listen(path);
  if (server || (await answers(path)) !== false) return server;
  unlinkSync(path);
  return listen(path);
}

/** Resolves to `undefined` when the name is taken. */
function listen(path: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.unref();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      // A named pipe of another user's process.
      else if (error.code === 'EACCES' && process.platform === 'win32') resolve(undefined);
      else reject(error);
    });
    // Exclusive, because cluster workers would share the socket through their primary otherwise.
    server.listen({ path, exclusive: true }, () => resolve(server));
  });
}

/** Whether a process listens on a socket; `undefined` when that cannot be told. */
function answers(path: string): Promise<boolean | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      const isFree = error.code === 'ECONNREFUSED' || error.code === 'ENOENT';
      resolve(isFree ? false : undefined);
    });
  });
}
