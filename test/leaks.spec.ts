/**
 * Errors end up in logs, and logs with others: whatever goes wrong, no error has a value in it, nor a key, in its message,
 * its stack, its causes, or what a logger makes of it. Every class of error is provoked, with a secret in what was written.
 * (The `write` of a conflict in a batch has the key, and is not enumerable. Damages name keys: that is what they are for.)
 */
import { inspect } from 'node:util';
import * as errors from '../src/errors.js';
import { KvError, KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { SimulatedDisk } from './support/simulated-disk.js';

const SECRET = 'Tr0ub4dor';
const KEY = `key of ${SECRET}`;
const VALUE = { password: SECRET, [`field ${SECRET}`]: [SECRET, { deep: SECRET }] };
const PATH = '/store';
const NEEDLES = [
  SECRET,
  Buffer.from(SECRET).toString('hex'),
  Buffer.from(SECRET).toString('base64').slice(0, -1),
];

const found = new Set<string>();

/** Everything that a logger could write of an error. */
function textOf(error: unknown): string {
  const parts: string[] = [];
  for (let at = error, depth = 0; at !== undefined && depth < 10; depth++) {
    parts.push(inspect(at, { depth: 99, breakLength: Infinity }), JSON.stringify(at) ?? '');
    if (!(at instanceof Error)) break;
    parts.push(String(at), at.message, at.stack ?? '', JSON.stringify(Object.entries(at)));
    at = at.cause;
  }
  return parts.join('\n');
}

/** The error of a call, which has to fail; nothing of the secret is in it. */
async function failing(call: () => unknown): Promise<KvError> {
  let error: unknown;
  try {
    await call();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(KvError);
  expectClean(error);
  found.add((error as KvError).name);
  return error as KvError;
}

function expectClean(error: unknown): void {
  const text = textOf(error);
  for (const needle of NEEDLES) expect(text).not.toContain(needle);
}

const optionsOn = (disk: SimulatedDisk): KvStoreOptions => ({
  path: PATH,
  env: disk.env(),
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' },
  compaction: false,
});

/** A store on disk that holds the secret, closed. */
async function written(disk: SimulatedDisk): Promise<void> {
  const store = await KvStore.open(optionsOn(disk));
  await store.set(KEY, VALUE);
  await store.namespace('n').set(KEY, SECRET);
  await store.flush();
  await store.set(KEY, VALUE);
  await store.close();
}

const calls: Record<string, (store: KvStore) => unknown> = {
  set: (store) => store.set(KEY, VALUE),
  setMany: (store) => store.setMany([[KEY, VALUE]]),
  update: (store) => store.update(KEY, () => VALUE),
  batch: (store) => store.batch((b) => b.set(KEY, VALUE)),
};

it('finds what it looks for', () => {
  expect(() => expectClean(new Error('x', { cause: new Error(SECRET) }))).toThrow();
  expect(() => expectClean(Object.assign(new Error('x'), { value: { deep: [VALUE] } }))).toThrow();
});

describe('no error has a value or a key in it:', () => {
  it('conditions that do not hold', async () => {
    const store = await KvStore.open();
    await store.set(KEY, VALUE);
    await failing(() => store.set(KEY, VALUE, { ifVersion: 0 }));
    await failing(() => store.set(KEY, VALUE, { ifVersion: null }));
    await failing(() => store.set(`other ${KEY}`, VALUE, { ifPresent: true }));
    await failing(() => store.delete(KEY, { ifVersion: 0 }));
    await failing(() => store.batch((b) => b.set(KEY, VALUE, { ifVersion: 0 })));
    await store.close();
  });

  it('what cannot be encoded, or is not what a call needs', async () => {
    const store = await KvStore.open();
    await store.set(KEY, SECRET);
    await failing(() => store.increment(KEY));
    const values = [
      { ...VALUE, f: () => SECRET },
      { ...VALUE, s: Symbol(SECRET) },
      new Map([[SECRET, Promise.resolve(SECRET)]]),
      { ...VALUE, surrogate: `${SECRET}\ud800` },
      { [`${SECRET}\ud800`]: SECRET },
      JSON.parse(`{"__proto__":"${SECRET}"}`) as unknown,
      new WeakMap([[VALUE, SECRET]]),
      new Error(SECRET),
      new RegExp(SECRET),
      new URL(`https://${SECRET}@example.org`),
    ];
    // Some are carried; those that are not say nothing of what they hold.
    for (const value of values) {
      const outcome = await store.set(KEY, value).catch((error: unknown) => error);
      if (typeof outcome !== 'number') expectClean(outcome);
    }
    await failing(() => store.set(KEY, values[0]));
    const keys = [
      { [SECRET]: undefined },
      [SECRET, () => SECRET],
      [SECRET, null],
      new Date(),
      [SECRET, NaN],
    ] as never[];
    for (const key of keys) {
      const outcome = await store.set(key, VALUE).catch((error: unknown) => error);
      if (typeof outcome !== 'number') expectClean(outcome);
    }
    await failing(() => store.get([SECRET, null] as never));
    await store.close();
  });

  it('what is too large', async () => {
    const store = await KvStore.open();
    await failing(() => store.set(SECRET.repeat(2000), VALUE));
    await failing(() => store.set(KEY, Buffer.alloc(65 * 1024 * 1024, SECRET)));
    await store.close();
  });

  it('options of calls', async () => {
    const store = await KvStore.open();
    await failing(() => store.set(KEY, VALUE, { ttl: -1 }));
    await failing(() => store.set(KEY, VALUE, { tll: SECRET } as never));
    await failing(() => store.namespace(`${SECRET}\ud800`));
    await failing(() => KvStore.open({ path: 7, hot: { memory: { password: SECRET } } } as never));
    await store.close();
  });

  it('a store that is full, overloaded, closed or read only', async () => {
    const full = await KvStore.open({ memoryLimit: '16mb', hot: { memory: '8mb' } });
    await failing(async () => {
      for (let i = 0; i < 10_000; i++) await full.set([KEY, i], SECRET.repeat(2000));
    });
    // It cannot take what was not written yet.
    await full.close().catch(expectClean);
    for (const call of Object.values(calls)) await failing(() => call(full));

    const busy = await KvStore.open({ durability: { level: 'always' }, maxBacklog: 10 });
    await failing(() => Promise.all(Array.from({ length: 100 }, (_, i) => busy.set([KEY, i], VALUE))));
    await busy.close();

    const disk = new SimulatedDisk();
    await written(disk);
    const reader = await KvStore.open({ ...optionsOn(disk), readOnly: true });
    for (const call of Object.values(calls)) await failing(() => call(reader));
    await reader.close();
  });

  it('a directory in use, or of another format', async () => {
    const disk = new SimulatedDisk();
    await written(disk);
    const store = await KvStore.open(optionsOn(disk));
    await failing(() => KvStore.open(optionsOn(disk)));
    await store.close();
    const other = new SimulatedDisk();
    const env = other.env();
    env.fs.mkdir(PATH);
    env.fs.close(env.fs.open(`${PATH}/foreign.txt`, { create: true, readOnly: false }));
    await failing(() => KvStore.open({ ...optionsOn(other), env }));
  });

  it.each(['EIO', 'ENOSPC'] as const)('a disk that fails with %s', async (code) => {
    const disk = new SimulatedDisk();
    await written(disk);
    const store = await KvStore.open({ ...optionsOn(disk), durability: { level: 'always' } });
    const events: Error[] = [];
    store.on('error', (error) => events.push(error));
    const heal = disk.failAt({ operation: 'write', nth: 1, code, sticky: true });
    for (const call of Object.values(calls)) await failing(() => call(store));
    await store.close().catch(expectClean);
    events.forEach(expectClean);
    heal();
  });

  it('bytes on disk that are damaged, wherever', async () => {
    const disk = new SimulatedDisk();
    await written(disk);
    const files = disk.paths().filter((path) => path.startsWith(`${PATH}/`) && !path.endsWith('LOCK'));
    expect(files.length).toBeGreaterThan(2);
    for (const file of files) {
      const { length } = disk.contents(file);
      for (let bit = 3; bit < Math.min(length, 4096) * 8; bit += 61) {
        const damaged = disk.fork();
        damaged.flip(file, bit);
        await KvStore.open(optionsOn(damaged))
          .then(async (store) => {
            for (const space of [store, store.namespace('n')])
              await space.get(KEY).catch((error: KvError) => {
                expectClean(error);
                found.add(error.name);
              });
            await store.close();
          })
          .catch((error: KvError) => {
            expectClean(error);
            found.add(error.name);
          });
      }
    }
  });
});

it('and that was every class of error', () => {
  const classes = Object.entries(errors).flatMap(([name, { prototype }]) =>
    prototype instanceof KvError ? [name] : [],
  );
  expect([...found].sort()).toEqual(classes.sort());
});
