/**
 * What a hit of `@Cached` costs over the bare call, at a million cached entries: the promise of the issue is 1.5 µs. Awaited
 * one by one, keys by chance, in memory; `engine` is `get` of the store with the same key. Beside it what others have for
 * the same: `wrap` of cache-manager and `getOrSet` of bentocache, each with nothing but its tier in memory, where it keeps
 * objects, and those of all who asked are the same.
 * Needs a build and the peers (`npm run build`, `npm run bench:install`).
 * Run: node bench/micro/cached.mjs [entries] [decoded]
 */
import 'reflect-metadata';
import { BentoCache, bentostore } from 'bentocache';
import { memoryDriver } from 'bentocache/drivers/memory';
import { createCache } from 'cache-manager';
import { Cached, KvStoreService } from '../../dist/esm/index.js';
import { KvStore } from '../../dist/esm/store/index.js';
import { getKvStoreToken } from '../../dist/esm/index.js';

const ENTRIES = Number(process.argv[2] ?? 1_000_000);
/** Values that are kept decoded, and shared. */
const DECODED = Number(process.argv[3] ?? 0);
const CALLS = 400_000;
const ROUNDS = 7;
const STORE = Symbol.for(`nestjs-hotcold:${getKvStoreToken()}`);

class Users {
  async bare(id) {
    return { id, name: 'Ada', team: id & 7 };
  }
  async byKey(id) {
    return { id, name: 'Ada', team: id & 7 };
  }
  async tagged(id) {
    return { id, name: 'Ada', team: id & 7 };
  }
  async byArguments(id) {
    return { id, name: 'Ada', team: id & 7 };
  }
}

function decorate(name, options) {
  const descriptor = Object.getOwnPropertyDescriptor(Users.prototype, name);
  Cached(options)(Users.prototype, name, descriptor);
  Object.defineProperty(Users.prototype, name, descriptor);
}

decorate('byKey', { key: (id) => `user:${id}`, ttl: '1h' });
decorate('tagged', {
  namespace: 'tagged',
  key: (id) => `user:${id}`,
  ttl: '1h',
  tags: (user) => [`team:${user.team}`, 'users'],
});
decorate('byArguments', { namespace: 'args', ttl: '1h' });

const store = await KvStore.open({
  hot: { memory: '512mb' },
  readCache: { decodedEntries: DECODED },
  memoryLimit: '1gb',
});
const service = new KvStoreService(store);
const users = new Users();
users[STORE] = service;
for (const name of ['byKey', 'tagged', 'byArguments']) for (let i = 0; i < ENTRIES; i++) await users[name](i);
// So that the marks of tags have to be asked.
await store.invalidateTags('nobody', 'nothing');

const ids = Uint32Array.from({ length: CALLS }, () => Math.random() * ENTRIES);
let sink = 0;

async function nanoseconds(name) {
  const start = process.hrtime.bigint();
  for (let i = 0; i < CALLS; i++) sink ^= (await users[name](ids[i])).team;
  return Number(process.hrtime.bigint() - start) / CALLS;
}

const space = store.namespace('@Cached');
users.engine = (id) => space.get(`user:${id}`);
const manager = createCache();
users.wrap = (id) => manager.wrap(`user:${id}`, () => users.bare(id), 3_600_000);
const bento = new BentoCache({
  default: 'memory',
  stores: { memory: bentostore().useL1Layer(memoryDriver({ maxItems: ENTRIES, serialize: false })) },
});
users.bento = (id) => bento.getOrSet({ key: `user:${id}`, ttl: '1h', factory: () => users.bare(id) });
for (const name of ['wrap', 'bento']) for (let i = 0; i < ENTRIES; i++) await users[name](i);
const NAMES = ['bare', 'engine', 'byKey', 'tagged', 'byArguments', 'wrap', 'bento'];
const times = {};
for (let round = 0; round < ROUNDS; round++)
  for (const name of NAMES) (times[name] ??= []).push(await nanoseconds(name));
const median = (row) => row.sort((a, b) => a - b)[ROUNDS >> 1];
const bare = median(times.bare);
console.log(`${ENTRIES} entries; bare call ${bare.toFixed(0)} ns; over it:`);
for (const name of NAMES.slice(1)) console.log(`  ${name}: ${(median(times[name]) - bare).toFixed(0)} ns`);
if (sink === 42) console.log(sink);
await store.close();
await bento.disconnectAll();
