/**
 * SQLite through better-sqlite3: one table, a write-ahead log, statements prepared once, values as JSON. Each write is a
 * transaction; it is synced when `durable`, else at checkpoints (`synchronous = NORMAL`).
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';

export function open(path, { data, cacheBytes, durable = false }) {
  mkdirSync(path, { recursive: true });
  const db = new Database(join(path, 'data.sqlite'));
  db.pragma('journal_mode = WAL');
  db.pragma(`synchronous = ${durable ? 'FULL' : 'NORMAL'}`);
  if (cacheBytes) db.pragma(`cache_size = -${Math.floor(cacheBytes / 1024)}`);
  const [keyType, valueType] = [
    data.integerKeys ? 'INTEGER' : 'TEXT',
    data.values === 'bytes' ? 'BLOB' : 'TEXT',
  ];
  // A rowid table already is a tree by integer; text keys want a tree of their own.
  const layout = data.integerKeys ? '' : 'WITHOUT ROWID';
  db.exec(`CREATE TABLE IF NOT EXISTS kv (key ${keyType} PRIMARY KEY, value ${valueType}) ${layout}`);
  const select = db.prepare('SELECT value FROM kv WHERE key = ?').pluck();
  const upsert = db.prepare(
    'INSERT INTO kv VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
  );
  const encode = data.values === 'bytes' ? (value) => value : JSON.stringify;
  const decode =
    data.values === 'bytes' ? (value) => value : (text) => (text === undefined ? text : JSON.parse(text));

  const get = (key) => decode(select.get(key));
  const set = (key, value) => void upsert.run(key, encode(value));
  return {
    get,
    set,
    update: (key, change) => set(key, change(get(key))),
    setMany: db.transaction((entries) => {
      for (const [key, value] of entries) upsert.run(key, encode(value));
    }),
    close: () => db.close(),
  };
}
