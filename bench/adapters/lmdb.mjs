/**
 * lmdb-js as its README recommends: msgpack with shared structures, synchronous reads from the memory map, batched
 * writes whose promise resolves when their transaction is committed. Its read-modify-write is a read and a put
 * (not atomic, but cheaper than a transaction).
 */
import { open as openLmdb } from 'lmdb';

export function open(path, _workload, options = {}) {
  const db = openLmdb({
    path,
    encoding: 'msgpack',
    sharedStructuresKey: Symbol.for('structures'),
    ...options,
  });
  return {
    get: (key) => db.get(key),
    set: (key, value) => db.put(key, value),
    update: (key, change) => db.put(key, change(db.get(key))),
    flush: () => db.flushed,
    close: () => db.close(),
  };
}
