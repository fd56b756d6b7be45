/** lru-cache with room for everything: the objects themselves, in order of use. */
import { LRUCache } from 'lru-cache';

export function open(_path, { keys }) {
  const cache = new LRUCache({ max: keys });
  return {
    get: (key) => cache.get(key),
    set: (key, value) => cache.set(key, value),
    update: (key, change) => cache.set(key, change(cache.get(key))),
  };
}
