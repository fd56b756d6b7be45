/**
 * Which names the files of a device may have: plain ones, that mean one file in one directory on every system. The
 * store makes all of them itself; the check is what keeps a mistake there from reaching outside the directory.
 */
import { diskError } from './system-error.js';

/** The device's own file, which carries its lock. */
export const LOCK_NAME = 'LOCK';

/** No separators, no `..`, no stream names (`:`), nothing hidden; Windows would drop a dot at the end. */
const PLAIN = /^[A-Za-z0-9_-](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9_-])?$/;

/** Windows opens a device under these, with any extension. */
const RESERVED_BY_WINDOWS = /^(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)/i;

/** @throws KvDiskError for a name that is not plain, or that is the device's own */
export function assertPlainName(operation: string, location: string, name: string): void {
  if (name.toUpperCase() === LOCK_NAME) {
    throw diskError(operation, location, new Error(`${JSON.stringify(name)} is the file of the lock`));
  }
  if (!PLAIN.test(name) || RESERVED_BY_WINDOWS.test(name)) {
    throw diskError(operation, location, new Error(`${JSON.stringify(name)} is not a plain file name`));
  }
}
