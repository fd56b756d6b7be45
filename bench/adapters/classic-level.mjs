/** LevelDB through classic-level, values as JSON, with its defaults. */
import { ClassicLevel } from 'classic-level';

export async function open(path) {
  const db = new ClassicLevel(path, { valueEncoding: 'json' });
  await db.open();
  return {
    get: (key) => db.get(key),
    set: (key, value) => db.put(key, value),
    update: async (key, change) => db.put(key, change(await db.get(key))),
    close: () => db.close(),
  };
}
