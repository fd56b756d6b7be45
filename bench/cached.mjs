/**
 * What a hit of `@Cached` costs over the bare call, beside what others have for the same: `wrap` of cache-manager and
 * `getOrSet` of bentocache, each with its tier in memory alone. Awaited one by one, keys by chance. Who is measured has a
 * fresh process, all in turn, round after round; what counts are medians. The result goes to `bench/results/`.
 *
 *   npm run bench:cached                       # some 8 minutes
 *   npm run bench:cached -- --entries 10000 --name cached-10k
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { markdownTable } from 'markdown-table';
import { median } from 'simple-statistics';
import { machine } from './report/machine.mjs';
import { write } from './report/record.mjs';

const CALLS = 400_000;
const PASSES = 7;

class Users {
  async bare(id) {
    return { id, name: 'Ada', team: id & 7 };
  }
  async find(id) {
    return { id, name: 'Ada', team: id & 7 };
  }
}

const KEYED = { key: (id) => `user:${id}`, ttl: '1h' };
/** Who is measured: what it is, and a maker of its `find` and of what ends it. */
const SUBJECTS = {
  keyed: { what: '`@Cached` with `key`', make: (entries) => decorated(KEYED, entries) },
  decoded: {
    what: 'the same, values kept decoded and shared (`readCache.decodedEntries`)',
    make: (entries) => decorated(KEYED, entries, { decodedEntries: entries }),
  },
  tagged: {
    what: 'with tags by the result',
    make: (entries) =>
      decorated({ ...KEYED, tags: (user) => [`team:${user.team}`, 'users'] }, entries, { tags: ['nobody'] }),
  },
  byArguments: { what: 'without `key`', make: (entries) => decorated({ ttl: '1h' }, entries) },
  wrap: {
    what: '`wrap` of cache-manager',
    make: async () => {
      const { createCache } = await import('cache-manager');
      const users = new Users();
      const manager = createCache();
      users.find = (id) => manager.wrap(`user:${id}`, () => users.bare(id), 3_600_000);
      return { users, end: () => manager.disconnect() };
    },
  },
  bento: {
    what: '`getOrSet` of bentocache',
    calls: CALLS / 4,
    make: async (maxItems) => {
      const { BentoCache, bentostore } = await import('bentocache');
      const { memoryDriver } = await import('bentocache/drivers/memory');
      const memory = bentostore().useL1Layer(memoryDriver({ maxItems, serialize: false }));
      const bento = new BentoCache({ default: 'memory', stores: { memory } });
      const users = new Users();
      users.find = (id) => bento.getOrSet({ key: `user:${id}`, ttl: '1h', factory: () => users.bare(id) });
      return { users, end: () => bento.disconnectAll() };
    },
  },
};

async function decorated(options, entries, { decodedEntries = 0, tags = [] } = {}) {
  await import('reflect-metadata');
  const { Cached, KvStoreService, getKvStoreToken } = await import('../dist/esm/index.js');
  const { KvStore } = await import('../dist/esm/store/index.js');
  const descriptor = Object.getOwnPropertyDescriptor(Users.prototype, 'find');
  Cached(options)(Users.prototype, 'find', descriptor);
  Object.defineProperty(Users.prototype, 'find', descriptor);
  const memoryLimit = '1gb';
  const store = await KvStore.open({ hot: { memory: '512mb' }, readCache: { decodedEntries }, memoryLimit });
  const users = new Users();
  users[Symbol.for(`nestjs-hotcold:${getKvStoreToken()}`)] = new KvStoreService(store);
  // So that the marks of tags have to be asked.
  await store.invalidateTags(...tags);
  return { users, end: () => store.close() };
}

/** Prints the nanoseconds of a bare call, and of a hit. */
async function measure(subject, entries) {
  const { calls = CALLS, make } = SUBJECTS[subject];
  const { users, end } = await make(entries);
  for (let i = 0; i < entries; i++) await users.find(i);
  const ids = Uint32Array.from({ length: calls }, () => Math.random() * entries);
  let sum = 0;
  const pass = async (name) => {
    const start = process.hrtime.bigint();
    for (let i = 0; i < calls; i++) sum += (await users[name](ids[i])).id;
    return Number(process.hrtime.bigint() - start) / calls;
  };
  const bare = [];
  const hit = [];
  for (let i = 0; i < PASSES; i++) {
    bare.push(await pass('bare'));
    hit.push(await pass('find'));
  }
  const right = ids.reduce((total, id) => total + id, 0) * 2 * PASSES;
  if (sum !== right) throw new Error(`${subject} answered wrongly.`);
  process.stdout.write(JSON.stringify({ bare: median(bare), hit: median(hit) }));
  await end();
}

function run(subject, entries) {
  const args = [fileURLToPath(import.meta.url), '--subject', subject, '--entries', String(entries)];
  const { status, stdout } = spawnSync(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  if (status !== 0) throw new Error(`Measuring ${subject} failed.`);
  return JSON.parse(stdout);
}

async function conduct(entries, rounds, name) {
  const over = Object.fromEntries(Object.keys(SUBJECTS).map((subject) => [subject, []]));
  for (let round = 1; round <= rounds; round++) {
    for (const subject of Object.keys(SUBJECTS)) {
      process.stderr.write(`Round ${round}: ${subject} …\n`);
      const { bare, hit } = run(subject, entries);
      over[subject].push(hit - bare);
    }
  }
  const ns = (subject) => median(over[subject]);
  const times = (peer, subject) => (ns(peer) / ns(subject)).toFixed(2);
  const date = new Date().toISOString().slice(0, 10);
  const { cpu, cores, node } = machine();
  const report = `${[
    `# A hit of \`@Cached\`, ${date}`,
    `${entries.toLocaleString('en')} entries, ${rounds} rounds, a fresh process each, in turn; medians. Node ${node}, ${cores} cores (${cpu}).`,
    markdownTable([
      ['', 'ns over the bare call', 'cache-manager takes × as long', 'bentocache'],
      ...Object.entries(SUBJECTS).map(([subject, { what }]) => [
        what,
        Math.round(ns(subject)).toLocaleString('en'),
        times('wrap', subject),
        times('bento', subject),
      ]),
    ]),
    'Wanted with `key`: at most 1,500 ns, a fifth of what the others take.',
  ].join('\n\n')}\n`;
  await write(`${date}-${name}.json`, JSON.stringify({ date, entries, rounds, machine: machine(), over }));
  await write(`${date}-${name}.md`, report);
  process.stdout.write(report);
}

const { values: given } = parseArgs({
  options: {
    entries: { type: 'string', default: '1000000' },
    rounds: { type: 'string', default: '5' },
    name: { type: 'string', default: 'cached' },
    subject: { type: 'string' },
  },
});
if (given.subject) await measure(given.subject, Number(given.entries));
else await conduct(Number(given.entries), Number(given.rounds), given.name);
