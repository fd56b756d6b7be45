/** A `Map` of the objects themselves: no copies, no bounds, nothing kept. */
export function open() {
  const map = new Map();
  return {
    get: (key) => map.get(key),
    set: (key, value) => map.set(key, value),
    update: (key, change) => map.set(key, change(map.get(key))),
    setMany: (entries) => {
      for (const [key, value] of entries) map.set(key, value);
    },
  };
}
