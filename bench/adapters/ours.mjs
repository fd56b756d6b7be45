/** This package, with room in memory for everything, committing every 100 ms (its default). */
import { KvStore } from 'nestjs-hotcold/store';

export async function open(path) {
  const store = await KvStore.open({ path, hot: { memory: '512mb' }, durability: { level: 'interval' } });
  return {
    get: (key) => store.get(key),
    set: (key, value) => store.set(key, value),
    update: (key, change) => store.update(key, change),
    flush: () => store.flush(),
    close: () => store.close(),
    stats: () => store.stats(),
  };
}
