/**
 * Errors of the operating system: made for devices that have none below them, and explained to people.
 */
import { KvDiskError } from '../errors.js';

const REASONS = {
  EACCES: 'permission denied',
  EBADF: 'bad file descriptor',
  EDQUOT: 'disk quota exceeded',
  EEXIST: 'file already exists',
  EINVAL: 'invalid argument',
  EIO: 'i/o error',
  EISDIR: 'illegal operation on a directory',
  EMFILE: 'too many open files',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no space left on device',
  ENOTDIR: 'not a directory',
  ENOTEMPTY: 'directory not empty',
  EROFS: 'read-only file system',
  EXDEV: 'cross-device link not permitted',
} as const;

export type SystemErrorCode = keyof typeof REASONS;

/** An error as Node gives it for a failed system call. */
export function systemError(code: SystemErrorCode, call: string, path?: string): NodeJS.ErrnoException {
  const where = path === undefined ? '' : ` '${path}'`;
  return Object.assign(new Error(`${code}: ${REASONS[code]}, ${call}${where}`), {
    code,
    syscall: call,
    ...(path === undefined ? {} : { path }),
  });
}

const PERMISSIONS = 'Give the user of this process the right to read and write it, or choose another path';

/** What a person can do about it. */
const HINTS: Readonly<Record<string, string>> = {
  EACCES: PERMISSIONS,
  EPERM: PERMISSIONS,
  EROFS: 'The file system is mounted read-only: remount it, or choose another path',
  ENOSPC: 'The disk is full: free some space, and writing goes on',
  EDQUOT: 'The disk quota is used up: free some space or raise it, and writing goes on',
  EFBIG: 'The file would exceed the largest size that the file system or ulimit -f allows',
  ENOTDIR: 'A part of the path is a file where a directory is needed: choose another path',
  EEXIST: 'The path is a file where a directory is needed: choose another path',
  EISDIR: 'There is a directory where a file is needed: choose another path',
  ENOENT: 'It does not exist: was it moved or deleted?',
  ENAMETOOLONG: 'Choose a shorter path',
  EMFILE: 'This process has too many open files: raise ulimit -n',
  ENFILE: 'The system has too many open files: raise its limit',
  EIO: 'The disk reports a failure: look into the system log, and check the disk',
};

/** Wraps what the operating system threw, with a hint where there is something to do. */
export function diskError(operation: string, path: string, cause: unknown): KvDiskError {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  return new KvDiskError(operation, path, cause, code === undefined ? undefined : HINTS[code]);
}

/** Calls the operating system; what it throws is wrapped. */
export function attempt<T>(operation: string, path: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw diskError(operation, path, error);
  }
}

/** Whether an error of the operating system has a certain code. */
export function hasCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === code;
}
