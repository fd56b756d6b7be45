/** What classic-level and rocksdb have in common: the interface of abstract-level, values as JSON or as they are. */

/** @param db opened */
export function adapterOf(db, { durable = false }) {
  const options = { sync: durable };
  const set = durable ? (key, value) => db.put(key, value, options) : (key, value) => db.put(key, value);
  return {
    get: (key) => db.get(key),
    set,
    update: async (key, change) => db.put(key, change(await db.get(key))),
    setMany: (entries) => db.batch(entries.map(([key, value]) => ({ type: 'put', key, value }))),
    close: () => db.close(),
  };
}

export const encodingOf = (data) => (data.values === 'bytes' ? 'buffer' : 'json');
