/** lmdb-js that leaves syncing to the operating system: the closest to a store that commits at intervals. */
import { open as openSyncing } from './lmdb.mjs';

export const packageName = 'lmdb';

export function open(path, settings) {
  return openSyncing(path, { ...settings, noSync: true });
}
