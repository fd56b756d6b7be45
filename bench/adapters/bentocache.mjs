/**
 * bentocache with two tiers in one process, as this package has them: its memory driver with room for a tenth of the
 * entries, and behind it its database driver on SQLite (kysely and better-sqlite3, write-ahead log). Its usual second
 * tier, Redis, is another process, and a peer of its own here.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { BentoCache, bentostore } from 'bentocache';
import { kyselyDriver } from 'bentocache/drivers/kysely';
import { memoryDriver } from 'bentocache/drivers/memory';
import { Kysely, SqliteDialect } from 'kysely';

const SHARE_IN_MEMORY = 0.1;

export function open(path, { keys }) {
  mkdirSync(path, { recursive: true });
  const database = new Database(join(path, 'cache.sqlite'));
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = NORMAL');
  const connection = new Kysely({ dialect: new SqliteDialect({ database }) });
  const cache = new BentoCache({
    default: 'tiers',
    ttl: null,
    stores: {
      tiers: bentostore()
        .useL1Layer(memoryDriver({ maxItems: Math.ceil(keys * SHARE_IN_MEMORY) }))
        .useL2Layer(kyselyDriver({ connection, pruneInterval: false })),
    },
  });
  const get = (key) => cache.get({ key });
  const set = (key, value) => cache.set({ key, value });
  return {
    get,
    set,
    update: async (key, change) => set(key, change(await get(key))),
    setMany: (entries) => Promise.all(entries.map(([key, value]) => set(key, value))),
    close: () => cache.disconnectAll(),
  };
}
