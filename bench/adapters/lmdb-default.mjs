/** lmdb-js with the encoding that it has by default: each value carries the names of its properties. */
import { open as openShared } from './lmdb.mjs';

export const packageName = 'lmdb';

export function open(path, settings) {
  return openShared(path, { ...settings, sharedStructures: false });
}
