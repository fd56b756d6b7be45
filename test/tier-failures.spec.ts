/**
 * Compactions on a disk that is full or broken: every call within one fails, once or together with all changes from then
 * on. Nothing that was acknowledged is lost, reads go on, nobody waits for ever, and what the store says of itself is
 * true: a full disk passes, a failed write or sync does not.
 */
import { KvCorruptionError, KvDiskError, KvReadOnlyError, KvStore } from 'nestjs-hotcold/store';
import { systemError } from '../src/device/system-error.js';
import { SimulatedDisk, type DiskOperation } from './support/simulated-disk.js';
import { History, PATH, tieredOptions } from './support/tiered-store.js';
import { CHANGES, watched, type BeforeCall } from './support/watched-fs.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Waits for a promise only so long: simulated disks need some turns of the event loop, never many. */
async function soon<T>(what: string, promise: Promise<T>): Promise<T> {
  let settled = false;
  const settle = () => (settled = true);
  promise.then(settle, settle);
  for (let turns = 0; !settled && turns < 5000; turns++) await turn();
  if (!settled) throw new Error(`${what} never ends`);
  return promise;
}

const failureOf = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

async function passTime(disk: SimulatedDisk, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 50) {
    disk.clock.advance(50);
    for (let turns = 0; turns < 5; turns++) await turn();
  }
}

/** A closed store with both tiers full, and much to be compacted in both. */
async function fullStore(): Promise<{ disk: SimulatedDisk; history: History }> {
  const disk = new SimulatedDisk();
  const history = new History(disk, 40);
  const store = await KvStore.open(tieredOptions(disk));
  await history.fill(store);
  await store.compact({ full: true });
  await history.rewrite(store);
  await store.close();
  return { disk, history };
}

interface Call {
  operation: DiskOperation;
  file: string;
}

/** The calls of a compaction of the store that may fail. */
async function callsOf(base: SimulatedDisk): Promise<Call[]> {
  const disk = base.fork();
  const calls: Call[] = [];
  let compacting = false;
  const env = watched(disk.env(), (operation, file) => {
    if (compacting && mayFail(operation)) calls.push({ operation, file });
  });
  const store = await KvStore.open({ ...tieredOptions(disk), env });
  compacting = true;
  const { hot, cold } = await store.compact({ full: true });
  expect(Math.min(hot.truncatedBytes, cold.truncatedBytes)).toBeGreaterThan(100_000);
  compacting = false;
  await store.close();
  return calls;
}

const mayFail = (operation: DiskOperation) => operation === 'read' || CHANGES.includes(operation);

type Code = 'EIO' | 'ENOSPC';

/** What a failure has to do to the store: end its writes, let them pass, or either. */
function consequence({ operation, file }: Call, code: Code): 'read-only' | 'writable' | 'either' {
  if (operation === 'sync' || operation === 'syncDirectory') return 'read-only';
  if (code === 'EIO') return operation === 'write' ? 'read-only' : 'either';
  // Removed files are only leftovers, wherever it fails.
  return file.length > 0 ? 'writable' : 'either';
}

async function failing(
  base: SimulatedDisk,
  before: History,
  nth: number,
  call: Call,
  code: Code,
  fromThenOn: boolean,
): Promise<string> {
  const disk = base.fork();
  const history = new History(disk, before.keys, nth);
  history.goOnFrom(before.last);
  let left = -1;
  const env = watched(disk.env(), (operation) => {
    if (left < 0 || !mayFail(operation) || left-- > 0) return;
    const operations = fromThenOn ? CHANGES : [operation];
    for (const kind of operations) disk.failAt({ operation: kind, nth: 1, code, sticky: fromThenOn });
    if (fromThenOn && operation === 'read') disk.failAt({ operation, nth: 1, code });
  });
  let store = await KvStore.open({ ...tieredOptions(disk), env });
  const told: Error[] = [];
  store.on('error', (error) => told.push(error));
  left = nth;
  const failure = await soon('the compaction', failureOf(store.compact({ full: true })));
  left = -1;
  if (failure !== undefined && !(failure instanceof KvDiskError) && !(failure instanceof KvReadOnlyError))
    throw failure as Error;

  // Reads go on, and writes are taken or refused, at once.
  await history.stateOf(store);
  for (let i = 0; i < 3; i++) {
    const refused = await soon('a write', failureOf(history.any(store)));
    if (refused === undefined) continue;
    history.forgetLast();
    expect([KvDiskError, KvReadOnlyError]).toContain((refused as Error).constructor);
  }
  await soon('a flush', failureOf(history.flush(store)));
  await history.stateOf(store);

  disk.clearFaults();
  await soon('time', passTime(disk, 1000));
  const refused = await soon('a write', failureOf(history.set(store, 0, 1, 100)));
  const expected = consequence(call, code);
  if (refused) {
    history.forgetLast();
    expect(refused).toBeInstanceOf(KvReadOnlyError);
    expect(String((refused as Error).cause)).toContain(code);
    if (!fromThenOn) expect(expected).not.toBe('writable');
    expect(failure).toBeDefined();
    expect(told.length).toBeGreaterThan(0);
    expect(store.stats().failure).toContain(code);
  } else {
    expect(expected).not.toBe('read-only');
    expect(store.stats().failure).toBeUndefined();
    await soon('the next compaction', store.compact({ full: true }));
    await history.flush(store);
  }
  await history.stateOf(store);

  if (nth % 2 === 0) {
    expect((await soon('close', failureOf(store.close()))) === undefined).toBe(refused === undefined);
  } else {
    disk.crash('none');
  }
  store = await KvStore.open(tieredOptions(disk));
  const state = await history.stateOf(store);
  if (!refused) expect(state).toBe(history.last);
  history.goOnFrom(state);
  await store.compact({ full: true });
  await history.stateOf(store);
  disk.kill();
  return refused ? 'read-only' : failure ? 'failed' : 'unharmed';
}

describe.each<[Code, string, boolean]>([
  ['EIO', 'once', false],
  ['EIO', 'from then on', true],
  ['ENOSPC', 'once', false],
  ['ENOSPC', 'from then on', true],
])('%s at every call of a compaction, %s', (code, _, fromThenOn) => {
  it('loses nothing that was acknowledged', async () => {
    const { disk, history } = await fullStore();
    const calls = await callsOf(disk);
    const outcomes: Record<string, number> = {};
    for (const [nth, call] of calls.entries()) {
      if (code === 'ENOSPC' && call.operation === 'read') continue;
      const outcome = await failing(disk, history, nth, call, code, fromThenOn).catch((error: unknown) => {
        const where = `${code} at call ${nth}, ${call.operation} ${call.file}`;
        throw new Error(`${where}: ${String(error)}`, { cause: error });
      });
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    }
    if (process.env.TALLY) console.log(code, fromThenOn, calls.length, JSON.stringify(outcomes));
    expect(outcomes['read-only']).toBeGreaterThan(0);
    // Where all changes fail with EIO, a write soon meets one, whatever the compaction met.
    if (code === 'ENOSPC' || !fromThenOn) expect(outcomes.failed).toBeGreaterThan(0);
  });
});

describe('a compaction that needs more room than there is', () => {
  it('rejects, and works once there is room', async () => {
    const { disk: base, history: before } = await fullStore();
    let refusals = 0;
    for (let room = 0; room < 24; room++) {
      const disk = base.fork();
      const history = new History(disk, before.keys, room);
      history.goOnFrom(before.last);
      let store = await KvStore.open(tieredOptions(disk));
      let used = 0;
      for (const path of disk.paths()) used += disk.sizeOf(path);
      disk.capacityBytes = used + room * 65_536;
      const failure = await soon('the compaction', failureOf(store.compact({ full: true })));
      if (failure) {
        refusals++;
        expect(failure).toMatchObject({ code: 'KV_DISK', full: true });
      }
      await history.stateOf(store);
      disk.capacityBytes = Infinity;
      await passTime(disk, 1000);
      await history.set(store, 0, 1, 100);
      await soon('the next compaction', store.compact({ full: true }));
      await history.flush(store);
      disk.crash({ seed: room });
      store = await KvStore.open(tieredOptions(disk));
      await history.stateOf(store);
      await store.close();
    }
    expect(refusals).toBeGreaterThan(5);
    expect(refusals).toBeLessThan(24);
  });
});

it('a store whose index files cannot be removed is closed all the same', async () => {
  const disk = new SimulatedDisk();
  const store = await KvStore.open(tieredOptions(disk));
  for (let i = 0; i < 3000; i++) await store.set(i, `${i} `.padEnd(500, 'x'));
  await store.compact({ full: true });
  expect(disk.paths()).toContain(`${PATH}/index-00000000.log`);
  // Without a checkpoint nobody needs them.
  disk.failAt({ operation: 'write', path: '.dat', nth: 1, code: 'ENOSPC', sticky: true });
  disk.failAt({ operation: 'unlink', nth: 1, code: 'EIO', sticky: true });
  const told: Error[] = [];
  store.on('error', (error) => told.push(error));
  await store.close();
  expect(told).toMatchObject([{ code: 'KV_DISK', full: true }]);
  // Left behind, and still no harm: neither the lock nor the name.
  expect(disk.paths()).toContain(`${PATH}/index-00000000.log`);
  disk.clearFaults();
  const { length } = disk.trace;
  for (const checkpoint of [undefined, 1]) {
    const again = await KvStore.open(tieredOptions(disk));
    expect(again.opened).toMatchObject({ clean: true, checkpoint });
    for (let i = 0; i < 3000; i += 7) expect(await again.get(i)).toBe(`${i} `.padEnd(500, 'x'));
    await again.close();
  }
  // They were removed before others took their names.
  expect(disk.trace.slice(length).map(({ operation, path }) => `${operation} ${path}`)).toContain(
    `unlink ${PATH}/index-00000000.log`,
  );
});

describe('a schedule whose compactions cannot run', () => {
  const failures: [string, (operation: DiskOperation, file: string) => boolean, Code][] = [
    ['the cold log cannot be written', (op, file) => op === 'write' && file.startsWith('cold-'), 'ENOSPC'],
    ['the cold log cannot be created', (op, file) => op === 'open' && file.startsWith('cold-'), 'ENOSPC'],
    ['the manifest cannot be written', (op, file) => op === 'write' && file.startsWith('MANIFEST'), 'ENOSPC'],
    ['a segment cannot be removed', (op) => op === 'unlink', 'EIO'],
    ['the hot log cannot be read', (op, file) => op === 'read' && file.startsWith('hot-'), 'EIO'],
  ];

  it.each(failures)('does not stop writers: %s', async (_, fails, code) => {
    const disk = new SimulatedDisk();
    let broken = false;
    const before: BeforeCall = (operation, file) => {
      if (broken && fails(operation, file)) throw systemError(code, operation, file);
    };
    const options = { ...tieredOptions(disk), compaction: { every: 1000 } };
    let store = await KvStore.open({ ...options, env: watched(disk.env(), before) });
    broken = true;
    const told: Error[] = [];
    store.on('error', (error) => told.push(error));
    const value = (i: number) => `${i} `.padEnd(10_000, 'x');
    for (let i = 0; i < 300; i++) {
      await soon('a write', store.set(i, value(i)));
      if (i % 100 === 99) await passTime(disk, 1000);
    }
    await soon(
      'writes',
      Promise.all(Array.from({ length: 100 }, (__, i) => store.set(300 + i, value(300 + i)))),
    );
    const { compaction, hot, failure } = store.stats();
    expect(compaction.failures).toBeGreaterThan(0);
    expect(compaction.failure).toContain(code);
    expect(told.length).toBeGreaterThan(0);
    expect(failure).toBeUndefined();
    for (let i = 0; i < 400; i += 7) {
      // What is in memory can be read wherever the disk cannot.
      const found = await store.get(i).catch((error: unknown) => error);
      if (!(found instanceof KvDiskError)) expect(found).toBe(value(i));
      else expect(code).toBe('EIO');
    }

    broken = false;
    await passTime(disk, 3000);
    for (let i = 0; store.stats().compaction.running && i < 5000; i++) await turn();
    expect(store.stats().hot.diskBytes).toBeLessThan(Math.max(hot.diskBytes, 2 ** 21 + 1));
    await soon('close', store.close());
    store = await KvStore.open(options);
    for (let i = 0; i < 400; i++) expect(await store.get(i)).toBe(value(i));
    await store.close();
  });

  it('does not stop writers: the hot log is damaged, and stays', async () => {
    const disk = new SimulatedDisk();
    const options = { ...tieredOptions(disk), compaction: { every: 1000 } };
    const store = await KvStore.open({ ...options, compaction: false });
    for (let i = 0; i < 100; i++) await store.set(i, `${i} `.padEnd(10_000, 'x'));
    await store.close();
    const again = await KvStore.openIdle(options);
    disk.flip(`${PATH}/hot-00000000.log`, 8 * 400_000);
    again.startCompaction();
    const told: Error[] = [];
    again.on('error', (error) => told.push(error));
    for (let i = 100; i < 300; i++) await soon('a write', again.set(i, `${i} `.padEnd(10_000, 'x')));
    await passTime(disk, 3000);
    expect(told.length).toBeGreaterThan(0);
    for (const error of told) expect(error).toMatchObject({ file: 'hot-00000000.log' });
    await expect(soon('a compaction', again.compact({ full: true }))).rejects.toThrow(KvCorruptionError);
    expect(disk.paths()).toContain(`${PATH}/hot-00000000.log`);
    let refused = 0;
    for (let i = 0; i < 300; i++) {
      const found = await again.get(i).catch((error: unknown) => error);
      if (found instanceof KvCorruptionError) refused++;
      else expect(found).toBe(`${i} `.padEnd(10_000, 'x'));
    }
    expect(refused).toBe(1);
    await soon('close', again.close());
  });
});
