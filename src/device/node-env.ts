/**
 * The real world behind `Env`: node:fs, the system's clock, its random bytes. Thin on purpose: a read or write is one
 * call with a callback wrapped in one promise, errors pass through as Node gives them (`FileDevice` adds path and
 * operation), and nothing is cached. Files are 0600 and directories 0700, because values may be private.
 *
 * `sync` is `fdatasync`: it includes the size of a file that grew, which is the only metadata that a log needs.
 */
import * as fs from 'node:fs';
import { hostname } from 'node:os';
import { lockDescriptor } from './file-lock.js';
import type { Env, EnvClock, EnvFs, EnvMemory, EnvProcess, EnvRandom } from './env.js';

const { O_CREAT, O_DSYNC, O_RDONLY, O_RDWR } = fs.constants;

const nodeFs: EnvFs = {
  mkdir(path) {
    fs.mkdirSync(path, { recursive: true, mode: 0o700 });
  },

  readdir: (path) => fs.readdirSync(path),

  rmdir(path) {
    fs.rmdirSync(path);
  },

  open(path, { create, readOnly }) {
    const flags = readOnly ? O_RDONLY : O_RDWR;
    return fs.openSync(path, create ? flags | O_CREAT : flags, 0o600);
  },

  // Elsewhere the flag is missing, or does not reach through the cache of the drive, as Node's `fdatasync` does on macOS.
  ...(process.platform === 'linux' && {
    openDurable: (fd: number) => fs.openSync(`/proc/self/fd/${fd}`, O_RDWR | O_DSYNC),
  }),

  close(fd) {
    fs.closeSync(fd);
  },

  size: (fd) => fs.fstatSync(fd).size,

  isAt(fd, path) {
    const opened = fs.fstatSync(fd, { bigint: true });
    const there = fs.statSync(path, { bigint: true, throwIfNoEntry: false });
    return there?.ino === opened.ino && there.dev === opened.dev;
  },

  read: (fd, buffer, offset, length, position) =>
    new Promise((resolve, reject) => {
      fs.read(fd, buffer, offset, length, position, (error, count) => {
        if (error) reject(error);
        else resolve(count);
      });
    }),

  readSync: (fd, buffer, offset, length, position) => fs.readSync(fd, buffer, offset, length, position),

  write: (fd, buffer, offset, length, position) =>
    new Promise((resolve, reject) => {
      fs.write(fd, buffer, offset, length, position, (error, count) => {
        if (error) reject(error);
        else resolve(count);
      });
    }),

  writeSync: (fd, buffer, offset, length, position) => fs.writeSync(fd, buffer, offset, length, position),

  sync: (fd) =>
    new Promise((resolve, reject) => {
      fs.fdatasync(fd, (error) => {
        if (error) reject(error);
        else resolve();
      });
    }),

  syncSync(fd) {
    fs.fdatasyncSync(fd);
  },

  truncate(fd, length) {
    fs.ftruncateSync(fd, length);
  },

  rename(from, to) {
    fs.renameSync(from, to);
  },

  unlink: (path) => fs.promises.unlink(path),

  unlinkSync(path) {
    fs.unlinkSync(path);
  },

  async space(path) {
    const { bavail, blocks, bsize } = await fs.promises.statfs(path);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  },

  // One trip to the thread pool: opening and closing a directory take less than another.
  syncDirectory: (path) =>
    new Promise((resolve, reject) => {
      const end = (error: Error | null) => {
        if (error && !directoriesCannotSync(error)) reject(error);
        else resolve();
      };
      let fd: number;
      try {
        fd = fs.openSync(path, O_RDONLY);
      } catch (error) {
        end(error as Error);
        return;
      }
      fs.fsync(fd, (error) => fs.close(fd, (closeError) => end(error ?? closeError ?? null)));
    }),

  syncDirectorySync(path) {
    try {
      const fd = fs.openSync(path, O_RDONLY);
      try {
        fs.fsyncSync(fd);
      } finally {
        fs.closeSync(fd);
      }
    } catch (error) {
      if (!directoriesCannotSync(error)) throw error;
    }
  },

  lock: (fd, shared) => lockDescriptor(fd, shared),
};

/**
 * Tells "there is no such operation here" from a failure of the disk. Windows opens no directory for syncing, and some
 * network file systems answer EINVAL: their servers order the entries themselves.
 */
function directoriesCannotSync(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  if (process.platform === 'win32') return code === 'EPERM' || code === 'EISDIR' || code === 'EACCES';
  return code === 'EINVAL' || code === 'ENOTSUP';
}

const nodeClock: EnvClock = {
  now: () => Date.now(),
  // Not `performance.now()`: Node loads seven modules for it when it is first used.
  tick: () => {
    const [seconds, nanoseconds] = process.hrtime();
    return seconds * 1000 + nanoseconds / 1e6;
  },

  after(ms, callback, idly = false) {
    const timer = setTimeout(callback, ms);
    if (idly) timer.unref();
    return () => {
      clearTimeout(timer);
    };
  },

  turn: () => new Promise((resolve) => setImmediate(resolve)),
};

// The global one is loaded when it is used: only a new store needs it.
const nodeRandom: EnvRandom = { bytes: (length) => crypto.getRandomValues(new Uint8Array(length)) };

const nodeProcess: EnvProcess = { identity: () => ({ pid: process.pid, hostname: hostname() }) };

/** A read of zeros by the thread pool. */
const nodeMemory: EnvMemory = {
  async zero(buffer) {
    const fd = fs.openSync('/dev/zero', O_RDONLY);
    try {
      const count = await nodeFs.read(fd, buffer, 0, buffer.length, 0);
      if (count < buffer.length) buffer.fill(0, count);
    } finally {
      fs.closeSync(fd);
    }
  },
};

export const nodeEnv: Env = {
  memory: process.platform === 'win32' ? undefined : nodeMemory,
  fs: nodeFs,
  clock: nodeClock,
  random: nodeRandom,
  process: nodeProcess,
};
