/**
 * What `compact()` does, seen from outside: what it reports, that every key keeps its value, version and expiry, and
 * that the disk gets back what nobody needs: superseded and expired records, tombstones, clear marks.
 */
import { KvClosedError, KvReadOnlyError, KvStore, type KvCompactionReport } from 'nestjs-hotcold/store';
import { ExtentList } from '../src/log/extents.js';
import { keysOfPartition, withZeroHashKey } from './support/colliding-keys.js';
import {
  COMPACTING,
  differences,
  manifestOf,
  MIB,
  openOn,
  PATH,
  segmentsOf,
  turns,
  valueOf,
} from './support/compacting.js';
import { SimulatedDisk } from './support/simulated-disk.js';
import { watched } from './support/watched-fs.js';

const VALUE_BYTES = 10_000;

let disk: SimulatedDisk;
let store: KvStore;
/** What the store should hold of its own keys. */
let expected: Map<string, unknown>;

beforeEach(async () => {
  disk = new SimulatedDisk({ completion: 'random' });
  store = await openOn(disk);
  expected = new Map();
});

afterEach(async () => {
  await store.close();
});

async function reopen(): Promise<void> {
  await store.close();
  store = await openOn(disk);
  expect(store.opened).toMatchObject({ clean: true, droppedBytes: 0 });
}

async function fill(from: number, to: number, round = 0): Promise<void> {
  for (let i = from; i < to; i++) {
    const value = valueOf(i, round, VALUE_BYTES);
    await store.set(`k${i}`, value);
    expected.set(`k${i}`, value);
  }
}

/** Compares every key, before and after a restart. */
async function check(): Promise<void> {
  expect(await differences(store, expected)).toEqual([]);
  await reopen();
  expect(await differences(store, expected)).toEqual([]);
}

const full = () => store.compact({ full: true });

/** Bytes of all files of both logs. */
const logBytes = () => store.stats().hot.diskBytes + store.stats().cold.diskBytes;

describe('compact()', () => {
  it('moves what is not in memory, and leaves the rest hot', async () => {
    for (let i = 0; i < 100; i += 10) {
      await fill(i, i + 10);
      await store.flush();
    }
    expect(store.stats().cold.indexEntries).toBe(0);
    const report = await store.compact();
    const { hot, cold } = store.stats();
    expect(report).toMatchObject({
      reason: 'manual',
      cold: { truncatedBytes: 0, records: 0, droppedRecords: 0 },
      aborted: false,
    });
    expect(report.hot.droppedRecords).toBe(0);
    expect(report.copiedRecords).toBe(report.hot.records);
    expect(report.copiedRecords).toBe(cold.indexEntries);
    expect(cold.indexEntries + hot.indexEntries).toBe(100);
    expect(report.copiedBytes).toBeGreaterThan(report.copiedRecords * VALUE_BYTES);
    expect(report.hot.truncatedBytes).toBeGreaterThanOrEqual(report.copiedBytes);
    expect(report.tookMs).toBeGreaterThan(0);
    expect(store.stats().compaction).toMatchObject({ running: false, last: report, failures: 0 });
    // The oldest keys are cold, the newest are in memory as before.
    expect(store.peek('k0')).toBeUndefined();
    expect(store.peek('k99')).toBe(expected.get('k99'));
    await check();
  });

  it('moves everything, if it is a full one', async () => {
    await fill(0, 100);
    const report = await full();
    expect(report).toMatchObject({ hot: { records: 100, droppedRecords: 0 }, copiedRecords: 100 });
    expect(store.stats().hot.indexEntries).toBe(0);
    expect(store.stats().cold.indexEntries).toBe(100);
    expect(store.peek('k99')).toBeUndefined();
    expect(store.stats().reads.coldHits).toBe(0);
    expect(await differences(store, expected)).toEqual([]);
    expect(store.stats().reads.coldHits).toBe(100);
    await check();
  });

  it('does nothing, and says so, where there is nothing to do', async () => {
    const events: KvCompactionReport[] = [];
    store.on('compaction', (report) => events.push(report));
    await store.set('k', 1);
    const report = await store.compact();
    expect(report).toMatchObject({
      hot: { truncatedBytes: 0, records: 0, droppedRecords: 0 },
      cold: { truncatedBytes: 0, records: 0, droppedRecords: 0 },
      copiedRecords: 0,
      copiedBytes: 0,
    });
    expect(report.bytesAfter).toBe(report.bytesBefore);
    expect(events).toEqual([]);
    expect(store.stats().compaction.last).toBeUndefined();
  });

  it('tells listeners what it did, once', async () => {
    const events: KvCompactionReport[] = [];
    const end = store.on('compaction', (report) => events.push(report));
    store.on('compaction', () => {
      throw new Error('a listener that fails is its own affair');
    });
    await fill(0, 50);
    const report = await full();
    expect(events).toEqual([report]);
    end();
    await fill(0, 50, 1);
    await full();
    expect(events).toHaveLength(1);
  });

  it('tells a listener from the next time on that begins while others are told, and none that has ended', async () => {
    let times = 0;
    const again = () => {
      end();
      endOther();
      // Without end, were it told of the same compaction once more.
      if (++times < 100) end = store.on('compaction', again);
    };
    let end = store.on('compaction', again);
    const other = jest.fn();
    const endOther = store.on('compaction', other);
    for (const expected of [1, 2]) {
      await fill(0, 50, expected);
      await full();
      expect(times).toBe(expected);
    }
    expect(other).not.toHaveBeenCalled();
  });

  it('tells a listener that was given twice, twice, until one of them ends', async () => {
    const events: KvCompactionReport[] = [];
    const listener = (report: KvCompactionReport) => void events.push(report);
    const end = store.on('compaction', listener);
    store.on('compaction', listener);
    await fill(0, 50);
    await full();
    expect(events).toHaveLength(2);
    end();
    end();
    await fill(0, 50, 1);
    await full();
    expect(events).toHaveLength(3);
  });

  it('is joined by whoever asks while it runs', async () => {
    await fill(0, 100);
    const first = full();
    expect(store.stats().compaction.running).toBe(true);
    const second = store.compact();
    await turns(3);
    const third = full();
    const report = await first;
    expect(await second).toBe(report);
    expect(await third).toBe(report);
    expect(report.copiedRecords).toBe(100);
    expect(store.stats().compaction.running).toBe(false);
    // Another one is a new one.
    expect(await full()).not.toBe(report);
    await check();
  });

  it('follows the run under way when it is a full one, and that is not', async () => {
    await fill(0, 300);
    await fill(0, 150);
    const some = store.compact();
    const all = full();
    expect(full()).not.toBe(some);
    const [first, second] = await Promise.all([some, all]);
    expect(second).not.toBe(first);
    expect(first.hot.records).toBeGreaterThan(0);
    // Also what was superseded in the cold log meanwhile.
    expect(store.stats().cold.garbageBytes).toBe(0);
    expect(store.stats().hot.diskBytes).toBeLessThan(MIB);
    expect(store.stats().compaction.running).toBe(false);
    await check();
  });

  it('follows no more when the store is closed meanwhile', async () => {
    await fill(0, 300);
    const some = store.compact();
    const all = full();
    await store.close();
    expect(await Promise.all([some, all])).toMatchObject([{ aborted: true }, { aborted: true }]);
    store = await openOn(disk);
    await check();
  });

  it.each([{ ful: true }, 7, null])('refuses options that there are not: %j', async (options) => {
    await expect(store.compact(options as never)).rejects.toMatchObject({ code: 'KV_OPTIONS' });
  });

  it('ends early at a signal, and keeps what was done', async () => {
    for (let i = 0; i < 20; i++) {
      await fill(i * 10, i * 10 + 10);
      await store.flush();
    }
    // Slices end after every group of records.
    disk.clock.tickMs = 5;
    const controller = new AbortController();
    const run = store.compact({ full: true, signal: controller.signal });
    while (store.stats().cold.diskBytes === 0) await turns(1);
    controller.abort();
    const report = await run;
    expect(report.aborted).toBe(true);
    expect(report.hot.records).toBeGreaterThan(0);
    expect(report.hot.records).toBeLessThan(200);
    expect(report.hot.truncatedBytes).toBeGreaterThan(0);
    expect(manifestOf(disk).hot.begin).toBeGreaterThan(report.hot.truncatedBytes - 1);
    expect(await differences(store, expected)).toEqual([]);
    const rest = await full();
    expect(rest.aborted).toBe(false);
    expect(rest.hot.records + report.hot.records).toBe(200);
    await check();
  });

  it('leaves superseded records of the cold log behind, also when it ends on the way', async () => {
    await store.close();
    store = await openOn(disk, { cold: { ...COMPACTING.cold, garbageShare: 0.9 } });
    for (const round of [0, 1]) {
      for (let i = 0; i < 20; i++) {
        await fill(i * 10, i * 10 + 10, round);
        await store.flush();
      }
      expect((await store.compact()).cold.records).toBe(0);
    }
    // Slices end after every group of records.
    disk.clock.tickMs = 5;
    const controller = new AbortController();
    const before = store.stats().compaction.copiedRecords;
    const begin = manifestOf(disk).cold.begin;
    const run = store.compact({ full: true, signal: controller.signal });
    while (manifestOf(disk).cold.begin === begin) await turns(1);
    controller.abort();
    const { aborted, cold } = await run;
    expect(aborted).toBe(true);
    expect(cold.records).toBeGreaterThan(50);
    expect(cold.records).toBeLessThan(300);
    // What was in memory.
    expect(store.stats().compaction.copiedRecords - before).toBeLessThan(30);
    await check();
  });

  it('moves nothing when the signal has come before', async () => {
    await fill(0, 50);
    const report = await store.compact({ full: true, signal: AbortSignal.abort() });
    expect(report).toMatchObject({ aborted: true, copiedRecords: 0, hot: { truncatedBytes: 0 } });
    await check();
  });

  it('keeps versions, and times to live', async () => {
    const version = await store.set('a', 1);
    await store.set('b', 2, { ttl: 5000 });
    await full();
    expect(await store.getEntry('a')).toEqual({ value: 1, version, expiresAt: undefined });
    expect(await store.ttl('b')).toBe(5000);
    await store.set('a', 2, { ifVersion: version });
    await expect(store.set('a', 3, { ifVersion: version })).rejects.toThrow('version');
    await full();
    disk.clock.advance(4999);
    expect(await store.get('b')).toBe(2);
    disk.clock.advance(1);
    expect(await store.get('b')).toBeUndefined();
    expect(await store.get('a')).toBe(2);
  });

  it('keeps the same key of several namespaces apart', async () => {
    const spaces = ['x', 'y', 'z'].map((name) => store.namespace(name));
    for (const [i, space] of [store, ...spaces].entries()) await space.set('k', i);
    await full();
    await spaces[0].delete('k');
    await spaces[1].set('k', 'new');
    await full();
    await full();
    await reopen();
    const names = ['x', 'y', 'z'].map((name) => store.namespace(name));
    expect(await Promise.all([store, ...names].map((space) => space.get('k')))).toEqual([
      0,
      undefined,
      'new',
      3,
    ]);
  });

  it('moves values in extents, and values that are too long for a page of the cold log only', async () => {
    await store.close();
    const hot = { ...COMPACTING.hot, pageSize: '512kb', diskBudget: '8mb' };
    const pieces = [70_000, 200_000, 300_000, 500_000, 600_000, 2_000_000];
    store = await openOn(disk, { hot });
    for (const bytes of pieces) {
      const value = valueOf(bytes, 0, bytes);
      await store.set(`k${bytes}`, value, { ttl: '1h' });
      expected.set(`k${bytes}`, value);
    }
    expect((await full()).copiedRecords).toBe(pieces.length);
    expect(await differences(store, expected)).toEqual([]);
    expect(await store.ttl('k600000')).toBe(3_600_000);
    // Cold → cold, with half of them superseded.
    for (const bytes of pieces.slice(0, 3)) await store.set(`k${bytes}`, bytes);
    for (const bytes of pieces.slice(0, 3)) expected.set(`k${bytes}`, bytes);
    const report = await full();
    expect(report.cold.truncatedBytes).toBeGreaterThan(2_000_000);
    await check();
  });

  it('copies a value in extents whole, while the pages that it lies in are used again', async () => {
    await store.close();
    store = await openOn(disk, { hot: { ...COMPACTING.hot, pageSize: '512kb', diskBudget: '64mb' } });
    const value = Buffer.alloc(1_900_000, 'a value of several pages, ');
    await store.set('large', value);
    await store.flush();
    const run = full();
    // The first pieces are being written, and those behind them are in memory.
    while (store.stats().cold.diskBytes === 0) await turns(1);
    // In every turn as much as fits into memory.
    for (let i = 0; store.stats().compaction.running; i++) {
      for (let j = 0; j < 20; j++) await store.set(`other${i}/${j}`, Buffer.alloc(100_000, i));
      await turns(1);
    }
    await run;
    expect(store.stats().cold.indexEntries).toBe(1);
    const found = await store.get<Buffer>('large');
    expect(found?.equals(value)).toBe(true);
  });

  it('copies a value in extents as often as one likes: it has no more pieces than pages need', async () => {
    const bytes = 40 * 64 * 1024;
    const value = valueOf('large', 0, bytes);
    await store.set('large', value);
    const pieces: number[] = [];
    for (let round = 0; round < 6; round++) {
      // Whatever lies before it, it begins elsewhere in a page each time.
      await store.set('small', valueOf('small', round, 5000 * (1 + (round % 3))));
      await full();
      const { reads } = store['core'];
      const { record } = await reads.load(store['core'].key(0, 'large').copy());
      if (record) pieces.push(new ExtentList(record.words, record.at).count);
    }
    expect(pieces).toHaveLength(6);
    expect(Math.max(...pieces)).toBeLessThan(43);
    expect(await store.get('large')).toBe(value);
  });

  it('goes on where a few keys came so often that their entries fit into no chunk', async () => {
    await store.close();
    // Hardly anything is garbage, so nothing but that asks for a rewrite.
    const options = {
      env: withZeroHashKey(disk.env()),
      path: '/few',
      cold: { ...COMPACTING.cold, garbageShare: 0.9 },
    };
    store = await openOn(disk, options);
    const keys = keysOfPartition(77, 500);
    for (let i = 0; i < 200; i++) await store.set(`live ${i}`, valueOf(i, 0, 50_000));
    await full();
    let rewritten = 0;
    for (let round = 0; round < 20; round++) {
      for (const key of keys) await store.set(key, round);
      for (let i = 0; i < 12; i++) await store.set(`filler ${i}`, Buffer.alloc(32 * 1024, i));
      await store.flush();
      const { cold } = await store.compact();
      rewritten += cold.truncatedBytes;
    }
    expect(rewritten).toBeGreaterThan(0);
    for (const key of keys) expect(await store.get(key)).toBe(19);
    expect(store['core'].parts.cold?.index.isOverfull).toBe(false);
  });

  it('finds nothing to do in a cold log of which a kill has left a gap alone', async () => {
    await fill(0, 300);
    await store.flush();
    const file = `${PATH}/cold-00000000.log`;
    const run = full().catch(() => undefined);
    while (!disk.paths().includes(file) || disk.sizeOf(file) === 0) await turns(1);
    disk.kill();
    await run;
    store = await openOn(disk);
    expect(store['core'].parts.cold?.log.bytes).toBe(0);
    await store.clear();
    expect(await store.compact()).toMatchObject({ cold: { records: 0 } });
  });

  it('blocks nobody with a sync or a removal, until the store is closed', async () => {
    await store.close();
    const blocking: string[] = [];
    const removed: string[] = [];
    const env = watched(disk.env(), (operation, file, blocks) => {
      if (operation === 'unlink') removed.push(file);
      if (blocks && ['sync', 'syncDirectory', 'unlink'].includes(operation))
        blocking.push(`${operation} ${file}`);
    });
    store = await openOn(disk, { env });
    blocking.length = removed.length = 0;
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 3000; i++) {
        const value = valueOf(i, round, 300);
        void store.set(i, value);
      }
      await full();
    }
    for (const file of ['hot-00000000.log', 'cold-00000000.log', 'index-00000000.log'])
      expect(removed).toContain(file);
    await store.close();
    expect(blocking).toEqual([]);
    store = await openOn(disk);
  });

  it('has nothing to do on a null device, and the device goes on', async () => {
    const forgetful = await KvStore.open({ device: 'null', hot: { memory: '8mb' } });
    await expect(forgetful.compact()).rejects.toThrow(KvReadOnlyError);
    for (let i = 0; i < 3000; i++) await forgetful.set(i, valueOf(i, 0, VALUE_BYTES));
    expect(await forgetful.get(2999)).toBe(valueOf(2999, 0, VALUE_BYTES));
    expect(await forgetful.get(0)).toBeUndefined();
    await forgetful.close();
  });

  it('is refused by a closed store', async () => {
    await store.close();
    await expect(store.compact()).rejects.toThrow(KvClosedError);
    store = await openOn(disk);
  });
});

describe('disk space', () => {
  it('of superseded records is given back, segment by segment', async () => {
    for (let round = 0; round < 10; round++) {
      await fill(0, 200, round);
      await store.compact();
    }
    await full();
    // 2 MB live. A log begins and ends in the middle of a segment.
    expect(logBytes()).toBeLessThan(5 * MIB);
    const names = [...segmentsOf(disk, 'hot'), ...segmentsOf(disk, 'cold')];
    expect(names).not.toContain('/store/hot-00000000.log');
    expect(names).not.toContain('/store/cold-00000000.log');
    await check();
    expect(logBytes()).toBeLessThan(5 * MIB);
  });

  it('of deleted keys is given back: tombstones travel to the cold log and end there', async () => {
    await fill(0, 300);
    await full();
    expect(store.stats().cold.diskBytes).toBeGreaterThan(3_000_000);
    for (const key of expected.keys()) {
      expect(await store.delete(key)).toBe(true);
      expected.set(key, undefined);
    }
    const moved = await full();
    expect(moved.copiedRecords).toBe(300);
    expect(await differences(store, expected)).toEqual([]);
    for (let i = 0; i < 3; i++) await full();
    expect(store.stats().cold.diskBytes).toBeLessThan(MIB + 1);
    // Tombstones of keys that never were cold are not carried on.
    await store.set('never cold', 1);
    await store.delete('never cold');
    expect((await full()).copiedRecords).toBe(0);
    await check();
  });

  it('of records that live for seconds is given back within seconds', async () => {
    for (let i = 0; i < 300; i++) await store.set(`cold${i}`, valueOf(i, 0, VALUE_BYTES), { ttl: '3s' });
    await full();
    disk.clock.advance(2000);
    await store.compact();
    expect(store.stats().cold.diskBytes).toBeGreaterThan(2.5 * MIB);
    disk.clock.advance(2001);
    await store.compact();
    expect(store.stats().cold.diskBytes).toBeLessThan(MIB);
  });

  it('of expired records is given back, wherever they lie', async () => {
    for (let i = 0; i < 300; i++) await store.set(`cold${i}`, valueOf(i, 0, VALUE_BYTES), { ttl: '1h' });
    await full();
    for (let i = 0; i < 100; i++) await store.set(`hot${i}`, valueOf(i, 0, VALUE_BYTES), { ttl: '1h' });
    await fill(0, 10);
    disk.clock.advance(2 * 3_600_000);
    const report = await full();
    // Not one of those that never were cold; of the others, none is left. What lives may be copied twice.
    expect(report.hot).toMatchObject({ records: 110, droppedRecords: 100 });
    expect(report.copiedRecords).toBeLessThanOrEqual(10 + 10);
    expect(store.stats().cold.diskBytes).toBeLessThan(2 * MIB);
    for (let i = 0; i < 300; i++) expected.set(`cold${i}`, undefined).set(`hot${i}`, undefined);
    await check();
  });

  it('that was given back is not read again, by synchronous reads either', async () => {
    const short = Array.from({ length: 3000 }, (_, i) => `short${i}`);
    for (const key of short) await store.set(key, valueOf(key, 0, 1000), { ttl: '1h' });
    await full();
    const [first] = segmentsOf(disk, 'cold');
    disk.clock.advance(2 * 3_600_000);
    await full();
    expect(segmentsOf(disk, 'cold')).not.toContain(first);
    for (const key of short.slice(0, 300)) {
      await turns(1);
      expect(await store.get(key)).toBeUndefined();
    }
  });

  it('of a cleared store is given back, by one run, tombstones included', async () => {
    await fill(0, 300);
    for (let i = 0; i < 30; i++) await store.delete(`k${i}`);
    await full();
    await store.clear();
    for (const key of expected.keys()) expected.set(key, undefined);
    expect((await full()).cold).toMatchObject({ records: 270, droppedRecords: 270 });
    expect(store.stats().cold.garbageBytes).toBe(0);
    // Less than a segment.
    expect(store.stats().cold.diskBytes).toBeLessThan(MIB);
    await check();
  });

  it.each(['the store', 'a namespace'])(
    'of %s that was cleared before a restart is given back',
    async (what) => {
      const space = store.namespace('cleared');
      const target = what === 'the store' ? store : space;
      for (let i = 0; i < 300; i++) await target.set(`c${i}`, valueOf(i, 0, VALUE_BYTES));
      await fill(0, 20);
      await full();
      await target.clear();
      if (target === store) expected.clear();
      await reopen();
      expect(store.stats().cold.garbageBytes).toBeGreaterThan(2.5 * MIB);
      await store.compact();
      await store.compact();
      expect(store.stats().cold.diskBytes).toBeLessThan(MIB);
      await check();
    },
  );

  it('is not given back before its time: a clear mark moves to the cold log, as long as it has something to cover', async () => {
    await store.close();
    const patient = { cold: { ...COMPACTING.cold, garbageShare: 0.9 } };
    store = await openOn(disk, patient);
    const space = () => store.namespace('cleared');
    for (let i = 0; i < 10; i++) await space().set(`k${i}`, valueOf(i, 0, VALUE_BYTES));
    await fill(0, 100);
    await full();
    await space().clear();
    await space().set('k1', 'new');
    // The mark leaves the hot log; what it covers stays in the cold log, which is not worth rewriting.
    for (let round = 1; round < 4; round++) {
      await fill(100, 200, round);
      await store.flush();
      await store.compact();
      expect(store.stats().compaction.last?.cold.records).toBe(0);
      await store.close();
      store = await openOn(disk, patient);
      expect(await space().get('k0')).toBeUndefined();
      expect(await space().get('k1')).toBe('new');
    }
    for (let i = 0; i < 3; i++) {
      await full();
      await check();
      expect(await space().get('k0')).toBeUndefined();
      expect(await space().get('k1')).toBe('new');
    }
  });

  it('of a cleared namespace is given back, and the others stay', async () => {
    const space = store.namespace('cleared');
    for (let i = 0; i < 300; i++) await space.set(`k${i}`, valueOf(i, 0, VALUE_BYTES));
    await fill(0, 20);
    await full();
    await space.clear();
    for (let i = 0; i < 3; i++) await full();
    expect(store.stats().cold.diskBytes).toBeLessThan(2 * MIB);
    await check();
    expect(await store.namespace('cleared').get('k7')).toBeUndefined();
  });

  it('is not given back again and again where there is no more garbage', async () => {
    // Superseded and expired: garbage once, not twice.
    await fill(0, 150);
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 100; i++) await store.set(`t${i}`, valueOf(i, round, VALUE_BYTES), { ttl: '10m' });
      await full();
    }
    disk.clock.advance(3_600_000);
    await store.compact();
    await store.compact();
    const report = await store.compact();
    expect(report).toMatchObject({ copiedRecords: 0, cold: { truncatedBytes: 0 } });
    await check();
  });

  it('is not read again and again where few long values lie', async () => {
    await store.close();
    const reads = new Map<string, number>();
    const env = watched(disk.env(), (operation, file) => {
      const log = file.split('-')[0];
      if (operation === 'read') reads.set(log, (reads.get(log) ?? 0) + 1);
    });
    store = await openOn(disk, { env });
    const count = 150;
    const cleared = store.namespace('cleared');
    for (let i = 0; i < count; i++) {
      await store.set(i, valueOf(i, 0, 50_000));
      await cleared.set(i, valueOf(i, 1, 50_000));
      // A pass ends behind a commit.
      if (i % 10 === 9) await store.flush();
    }
    await full();
    await cleared.clear();
    reads.clear();
    const { cold } = await full();
    expect(cold.records).toBe(2 * count);
    // Half a MiB each, twice, and parts of it again, since a pass is short here. As far as it goes, it were twelve times.
    const loads = Math.ceil((cold.records * 50_000) / (MIB / 2));
    expect(reads.get('cold')).toBeLessThan(5 * loads);
  });

  it('asks the cold index for many records at a time', async () => {
    const keys = 20_000;
    await Promise.all(Array.from({ length: keys }, (_, i) => store.set(i, `first ${i}`)));
    await full();
    await Promise.all(Array.from({ length: keys / 2 }, (_, i) => store.set(i * 2, `second ${i}`)));
    const before = store.stats().reads.indexReads;
    const { cold } = await full();
    expect(cold.records).toBeGreaterThan(keys * 0.9);
    expect(store.stats().reads.indexReads - before).toBeLessThan(cold.records / 8);
    for (let i = 0; i < keys; i++)
      expect(await store.get(i)).toBe(i % 2 === 0 ? `second ${i / 2}` : `first ${i}`);
  });

  it('is not wasted on records that stay where they are', async () => {
    // One range, which the run itself has to close before it can be given up.
    await fill(0, 100);
    for (let i = 0; i < 2; i++) {
      const { copiedRecords, hot } = await store.compact();
      expect(copiedRecords).toBe(hot.truncatedBytes > 1000 ? 100 : 0);
      expect(store.stats().cold.indexEntries + store.stats().hot.indexEntries).toBe(100);
    }
    await check();
  });
});

describe('the number of keys', () => {
  it('is without those that have expired, or are dead by a tag, once a compaction has dropped them', async () => {
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 300; i++) await store.set(`${round}/${i}`, i, { ttl: 1000 });
      for (let i = 0; i < 100; i++) await store.set(`tagged ${i}`, i, { tags: ['t'] });
      expect(store.stats().keys).toBe(400);
      disk.clock.advance(2000);
      await store.invalidateTags('t');
      await full();
      expect(store.stats().keys).toBe(0);
      await reopen();
      expect(store.stats().keys).toBe(0);
    }
  });

  it('is without those that have expired in the cold tier, and with those that were written anew', async () => {
    for (let i = 0; i < 300; i++) await store.set(i, valueOf(i, 0, 1000), { ttl: 1000 });
    for (let i = 300; i < 400; i++) await store.set(i, valueOf(i, 0, 1000));
    await full();
    expect(store.stats().keys).toBe(400);
    for (let i = 0; i < 50; i++) await store.set(i, valueOf(i, 1, 1000));
    disk.clock.advance(2000);
    await full();
    await full();
    expect(store.stats().keys).toBe(150);
    for (let i = 0; i < 400; i++) await store.set(i, valueOf(i, 2, 1000));
    expect(store.stats().keys).toBe(400);
  });

  it('is the same where a pass had to be repeated, and counts what is set anew right behind it', async () => {
    for (let i = 0; i < 1000; i++) await store.set(`expiring ${i}`, i, { ttl: 1000 });
    for (let i = 0; i < 3000; i++) await store.set(i, valueOf(i, 0, 100));
    await store.flush();
    disk.clock.advance(2000);
    for (let i = 0; i < 3; i++) {
      const release = disk.failAt({
        operation: 'write',
        path: `${PATH}/cold-00000000.log`,
        nth: 1,
        code: 'ENOSPC',
      });
      await expect(full()).rejects.toThrow();
      release();
      await store.flush();
    }
    await full();
    expect(store.stats().keys).toBe(3000);
  });

  it('counts what is set anew while its expired record is still in memory', async () => {
    for (let i = 0; i < 5000; i++) await store.set(i, i, { ttl: 1000 });
    await store.flush();
    disk.clock.advance(2000);
    const compaction = full();
    while (store.stats().keys === 5000) await turns(1);
    for (let i = 0; i < 5000; i++) await store.set(i, -i);
    await compaction;
    expect(store.stats().keys).toBe(5000);
  });
});
