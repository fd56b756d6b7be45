/**
 * lmdb-js as its README recommends: msgpack with shared structures, synchronous reads from the memory map, batched
 * writes whose promise resolves when their transaction is committed (durable once `flushed` has resolved: it is synced
 * in the background). Its read-modify-write is a read and a put (not atomic, but cheaper than a transaction).
 */
import { open as openLmdb } from 'lmdb';

export function open(
  path,
  { data, durable = false, noSync = false, sharedStructures = true, largerThanMemory = false },
) {
  const db = openLmdb({
    path,
    ...(data.values === 'bytes'
      ? { encoding: 'binary' }
      : { encoding: 'msgpack', ...(sharedStructures && { sharedStructuresKey: Symbol.for('structures') }) }),
    ...(noSync && { noSync }),
    // As its documentation advises: else each page that is not in memory brings megabytes of others with it.
    ...(largerThanMemory && { noReadAhead: true }),
  });
  return {
    get: (key) => db.get(key),
    set: durable
      ? (key, value) => db.put(key, value).then(() => db.flushed)
      : (key, value) => db.put(key, value),
    update: (key, change) => db.put(key, change(db.get(key))),
    setMany: (entries) => Promise.all(entries.map(([key, value]) => db.put(key, value))),
    flush: () => db.flushed,
    close: () => db.close(),
  };
}
