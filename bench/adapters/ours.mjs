/**
 * This package. `memoryBytes` is its hot tier and `cacheBytes` are for its caches: the read cache, and that of the cold
 * index where `indexBytes` of it are for that. It commits every 100 ms (its default), or before it acknowledges.
 */
import { KvStore } from '../../dist/esm/store/index.js';

export async function open(
  path,
  {
    memoryBytes,
    cacheBytes,
    indexBytes = 0,
    decodedEntries,
    durable = false,
    level = durable ? 'always' : 'interval',
    compaction,
    diskBudget,
  },
) {
  const store = await KvStore.open({
    path,
    hot: { ...(memoryBytes && { memory: memoryBytes }), ...(diskBudget && { diskBudget }) },
    readCache: {
      ...(cacheBytes !== undefined && { memory: cacheBytes - indexBytes }),
      ...(decodedEntries && { decodedEntries }),
    },
    ...(indexBytes > 0 && { cold: { indexCache: indexBytes } }),
    durability: { level },
    ...(compaction === false && { compaction }),
  });
  return {
    get: (key) => store.get(key),
    set: (key, value) => store.set(key, value),
    update: (key, change) => store.update(key, change),
    setMany: (entries) => store.setMany(entries),
    flush: () => store.flush(),
    close: () => store.close(),
    stats: () => store.stats(),
    opened: store.opened,
  };
}
