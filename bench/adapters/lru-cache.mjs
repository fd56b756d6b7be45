/** lru-cache with room for everything: the objects themselves, in order of use. */
import { LRUCache } from 'lru-cache';

export function open(_path, { room }) {
  const cache = new LRUCache({ max: room });
  return {
    get: (key) => cache.get(key),
    set: (key, value) => cache.set(key, value),
    update: (key, change) => cache.set(key, change(cache.get(key))),
    setMany: (entries) => {
      for (const [key, value] of entries) cache.set(key, value);
    },
  };
}
