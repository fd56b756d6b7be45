/**
 * Tells of every call on the disk right before it is made: with the kind of the call and the name of its file, so that
 * a test can look at the disk at that moment, take a copy of it, or make the call fail.
 */
import type { Env, EnvFs } from '../../src/device/env.js';
import type { DiskOperation } from './simulated-disk.js';

/** `file` is the last part of the path; `blocks` says that the call is one of those with an asynchronous variant. */
export type BeforeCall = (operation: DiskOperation, file: string, blocks: boolean) => void;

/** Calls that change what is on the disk. */
export const CHANGES: readonly DiskOperation[] = [
  'mkdir',
  'rmdir',
  'open',
  'write',
  'sync',
  'truncate',
  'rename',
  'unlink',
  'syncDirectory',
];

export function watched(env: Env, before: BeforeCall): Env {
  const names = new Map<number, string>();
  const { fs } = env;
  const watch = <A extends unknown[], T>(
    operation: DiskOperation,
    call: (...args: A) => T,
    blocks = false,
  ) => {
    return (...args: A): T => {
      const [where] = args as unknown as [string | number];
      before(operation, typeof where === 'number' ? (names.get(where) ?? '') : nameOf(where), blocks);
      const result = call(...args);
      if (operation === 'open')
        names.set(result as number, typeof where === 'number' ? (names.get(where) ?? '') : nameOf(where));
      return result;
    };
  };
  const watchedFs: EnvFs = {
    mkdir: watch('mkdir', fs.mkdir),
    rmdir: watch('rmdir', fs.rmdir),
    readdir: watch('readdir', fs.readdir),
    open: watch('open', fs.open),
    ...(fs.openDurable && { openDurable: watch('open', fs.openDurable) }),
    close: watch('close', fs.close),
    size: watch('size', fs.size),
    isAt: fs.isAt,
    read: watch('read', fs.read),
    readSync: watch('read', fs.readSync, true),
    write: watch('write', fs.write),
    writeSync: watch('write', fs.writeSync, true),
    sync: watch('sync', fs.sync),
    syncSync: watch('sync', fs.syncSync, true),
    truncate: watch('truncate', fs.truncate),
    rename: watch('rename', fs.rename),
    unlink: watch('unlink', fs.unlink),
    unlinkSync: watch('unlink', fs.unlinkSync, true),
    syncDirectory: watch('syncDirectory', fs.syncDirectory),
    syncDirectorySync: watch('syncDirectory', fs.syncDirectorySync, true),
    space: fs.space,
    lock: watch('lock', fs.lock),
  };
  return { ...env, fs: watchedFs };
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
