/** RocksDB through @nxtedition/rocksdb: its defaults, and as much block cache as the workload allows. */
import { RocksLevel } from '@nxtedition/rocksdb';
import { adapterOf, encodingOf } from './level.mjs';

export const packageName = '@nxtedition/rocksdb';

export async function open(path, settings) {
  const { data, cacheBytes, compression = true } = settings;
  const db = new RocksLevel(path, {
    valueEncoding: encodingOf(data),
    createIfMissing: true,
    compression,
    ...(cacheBytes && { cacheSize: cacheBytes }),
  });
  await db.open();
  const adapter = adapterOf(db, settings);
  // This interface, of abstract-level 1, throws where a key is absent.
  const get = (key) =>
    db.get(key).catch((error) => {
      if (error.code !== 'LEVEL_NOT_FOUND') throw error;
    });
  return { ...adapter, get };
}
