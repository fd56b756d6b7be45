/**
 * verify(): what is whole is found whole, whatever goes on meanwhile; whatever is damaged on disk is found, in the right
 * file, with the keys whose look-up fails. `SEED` chooses bits and changes, `RUNS` how many there are.
 */
import {
  type KeySpace,
  KvClosedError,
  KvCorruptionError,
  KvOptionsError,
  KvStore,
  type KvNamedKey,
  type KvStoreOptions,
  type KvVerifyReport,
} from 'nestjs-hotcold/store';
import { COMPACTING } from './support/compacting.js';
import { ENDS, optionsOn, PATH, SALVAGED, smallStore } from './support/damaged-store.js';
import { SeededRandom, SimulatedDisk } from './support/simulated-disk.js';
import { History, tieredOptions } from './support/tiered-store.js';
import { CHANGES, watched } from './support/watched-fs.js';

const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const RUNS = Number(process.env.RUNS ?? 0.3);
/** Of one test, for a machine that has other things to do. */
const TIMEOUT = 60_000 * Math.max(1, RUNS / 0.3);

const summary = ({ ok, damages, damageCount, aborted }: KvVerifyReport) => ({
  ok,
  damages,
  damageCount,
  aborted,
});
const WHOLE = { ok: true, damages: [], damageCount: 0, aborted: false };

describe('a store that is whole', () => {
  it('is found so: empty, with one key, on a memory device, and where nothing is kept', async () => {
    const disk = new SimulatedDisk();
    for (const options of [optionsOn(disk), {}, { device: 'null' }] satisfies KvStoreOptions[]) {
      const store = await KvStore.open(options);
      expect(summary(await store.verify())).toEqual(WHOLE);
      await store.set('one', 1);
      const report = await store.verify();
      expect(summary(report)).toEqual(WHOLE);
      expect(report.records).toBe('device' in options ? 0 : 1);
      await store.close();
    }
  });

  it('is found so with everything in both tiers, after restarts and crashes', async () => {
    let disk = new SimulatedDisk({ seed: SEED });
    let store = await KvStore.open(tieredOptions(disk));
    const history = new History(disk, 150, SEED);
    const expectWhole = async (moment: string) =>
      expect([moment, SEED, summary(await store.verify())]).toEqual([moment, SEED, WHOLE]);
    await history.fill(store);
    await expectWhole('filled');
    await store.compact({ full: true });
    await expectWhole('compacted');
    await history.rewrite(store);
    await store.compact();
    await store.checkpoint();
    await expectWhole('with a checkpoint');
    await store.compact({ full: true });
    await expectWhole('compacted again');
    await store.close();
    store = await KvStore.open(tieredOptions(disk));
    await expectWhole('opened from a checkpoint');
    for (let crash = 0; crash < 4; crash++) {
      for (let i = 0; i < 50; i++) await history.any(store);
      if (crash % 2 === 0) await store.compact({ full: crash === 2 });
      disk.crash();
      disk = disk.fork();
      store = await KvStore.open(tieredOptions(disk));
      await expectWhole(`after crash ${crash}`);
    }
    await store.close();
  });

  it(
    'is found so beside writes and compaction',
    async () => {
      const disk = new SimulatedDisk({ seed: SEED });
      const store = await KvStore.open({ ...COMPACTING, env: disk.env() });
      const random = new SeededRandom(SEED);
      let compactions = 0;
      let ended = false;
      const write = async () => {
        for (let i = 0; !ended; i++) {
          const key = random.below(2000);
          if (random.chance(0.1)) await store.delete(key);
          else await store.set(key, 'v'.repeat(random.below(random.chance(0.02) ? 150_000 : 3000)));
          if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
        }
      };
      const compact = async () => {
        while (!ended) {
          await store.compact({ full: random.chance(0.5) });
          compactions++;
          if (random.chance(0.3)) await store.checkpoint();
          await new Promise((resolve) => setImmediate(resolve));
        }
      };
      for (let i = 0; i < 1500; i++) await store.set(i, 'v'.repeat(2000));
      const background = Promise.all([write(), compact()]);
      for (let run = 0; run < 12 * RUNS; run++)
        expect([SEED, run, summary(await store.verify())]).toEqual([SEED, run, WHOLE]);
      ended = true;
      await background;
      expect(compactions).toBeGreaterThan(1);
      await store.close();
    },
    TIMEOUT,
  );
});

describe('damage under an open store', () => {
  const FILES = /MANIFEST|DICTIONARY|(hot|cold)-/;

  it.each(ENDS)(
    'is found in any byte of logs, manifest and dictionary (%s)',
    async (end) => {
      const { disk } = await smallStore(end);
      const store = await KvStore.open(optionsOn(disk));
      await store.set('more', 'in the hot log');
      await store.set('large', 'x'.repeat(100_000));
      await store.flush();
      const begins = manifestOf(disk);
      const random = new SeededRandom(SEED);
      const wrong: string[] = [];
      for (const file of disk.paths().filter((path) => path.startsWith(`${PATH}/`) && FILES.test(path))) {
        const bytes = disk.contents(file);
        const name = file.slice(PATH.length + 1);
        // What lies below the begin of a log is read by nobody. The first records are small ones.
        const from = begins[name.split('-')[0] as 'hot'] ? begins[name.split('-')[0] as 'hot'].begin : 0;
        for (let run = 0; run < 300 * RUNS; run++) {
          const byte = from + random.below(Math.min(bytes.length - from, 3000));
          const isSlack =
            /MANIFEST|DICTIONARY/.test(name) && (byte === bytes.length - 1 || bytes[byte] === 32);
          if (isSlack) continue;
          const bit = byte * 8 + random.below(8);
          disk.flip(file, bit);
          const { damages } = await store.verify();
          if (!damages.some((damage) => damage.file === name)) wrong.push(`${name} bit ${bit}`);
          for (const damage of damages)
            if (damage.file !== name) wrong.push(`${name} bit ${bit}: ${JSON.stringify(damage)}`);
          disk.flip(file, bit);
        }
      }
      expect({ seed: SEED, wrong: wrong.slice(0, 5) }).toEqual({ seed: SEED, wrong: [] });
      expect(summary(await store.verify())).toEqual(WHOLE);
      await store.close();
    },
    60_000,
  );

  it('is found where a file was cut short, or is gone', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(tieredOptions(disk));
    await new History(disk, 150, SEED).fill(store);
    await store.compact({ full: true });
    for (let i = 0; i < 900; i++) await store.set(`hot ${i}`, 'v'.repeat(2000));
    await store.flush();
    const { fs } = disk.env();
    const random = new SeededRandom(SEED);
    const files = disk.paths().filter((path) => /(hot|cold)-/.test(path));
    expect(files.length).toBeGreaterThan(3);
    for (const file of files) {
      const bytes = disk.contents(file);
      const name = file.slice(PATH.length + 1);
      const log = name.split('-')[0] as 'hot' | 'cold';
      const { begin } = manifestOf(disk)[log];
      const segment = Number.parseInt(name.slice(-12, -4), 16);
      const least = Math.max(0, begin - segment * 1024 * 1024);
      for (const length of [least, least + random.below(bytes.length - least), bytes.length - 1]) {
        const fd = fs.open(file, { create: false });
        fs.truncate(fd, length);
        const { damages, ok } = await store.verify();
        expect([name, length, ok, damages[0]]).toEqual([
          name,
          length,
          false,
          expect.objectContaining({ file: name }),
        ]);
        fs.writeSync(fd, bytes, 0, bytes.length, 0);
        fs.close(fd);
      }
    }
    expect(summary(await store.verify())).toEqual(WHOLE);
    await store.close();
  });

  it(
    'names the keys whose look-up fails, and no others',
    async () => {
      const disk = new SimulatedDisk();
      const store = await KvStore.open({ ...COMPACTING, env: disk.env() });
      const users = store.namespace('users');
      const keys = Array.from({ length: 2000 }, (_, i) => i);
      // Older versions of all of them in the cold log, newer ones of some of them and others in the hot one.
      for (const key of keys) await users.set(key, `older ${key}`.padEnd(400));
      await store.compact({ full: true });
      for (const key of keys) if (key % 2 === 0) await users.set(key, `newer ${key}`.padEnd(700));
      for (let i = 0; i < 200; i++) await store.set(`only hot ${i}`, `only hot ${i}`.padEnd(3000));
      for (let i = 0; i < 30; i++) await store.set(`large ${i}`, `large ${i}`.padEnd(150_000));
      await store.flush();
      const random = new SeededRandom(SEED);
      const all: { space: KeySpace<any>; namespace: string; key: string | number }[] = keys.map((key) => ({
        space: users,
        namespace: 'users',
        key,
      }));
      for (let i = 0; i < 200; i++) all.push({ space: store, namespace: '', key: `only hot ${i}` });
      for (let i = 0; i < 30; i++) all.push({ space: store, namespace: '', key: `large ${i}` });
      for (let run = 0; run < 20 * RUNS; run++) {
        const files = disk.paths().filter((path) => /(hot|cold)-/.test(path));
        const bits: [string, number][] = [];
        for (const file of files)
          for (let i = 0; i < 8; i++) bits.push([file, random.below(disk.sizeOf(file) * 8)]);
        for (const [file, bit] of bits) disk.flip(file, bit);
        const { damages } = await store.verify();
        const named = new Set(damages.flatMap(({ keys: of }) => of.map(keyName)));
        const failing = new Set<string>();
        for (const { space, namespace, key } of all) {
          const error = await space.get(key).catch((thrown: unknown) => thrown);
          if (error instanceof KvCorruptionError) failing.add(`${namespace}/${key}`);
        }
        const counted = damages.reduce((sum, { keysAffected }) => sum + keysAffected, 0);
        expect([SEED, run, [...named].filter((name) => !failing.has(name))]).toEqual([SEED, run, []]);
        // A key of which nothing can be read is only counted.
        expect(counted).toBeGreaterThanOrEqual(failing.size);
        expect(named.size).toBeGreaterThanOrEqual(failing.size - 3);
        for (const [file, bit] of bits) disk.flip(file, bit);
      }
      expect(summary(await store.verify())).toEqual(WHOLE);
      await store.close();
    },
    TIMEOUT,
  );

  it(
    'is found in the cold index and in a checkpoint, and a damaged index is made anew',
    async () => {
      const disk = new SimulatedDisk();
      const options = { ...COMPACTING, env: disk.env() };
      const store = await KvStore.open(options);
      for (let key = 0; key < 30_000; key++) await store.set(key, key);
      await store.compact({ full: true });
      await store.checkpoint();
      expect(summary(await store.verify())).toEqual(WHOLE);
      const checkpoint = disk.paths().find((path) => path.includes('checkpoint-')) as string;
      disk.flip(checkpoint, 80_000);
      expect((await store.verify()).damages).toMatchObject([
        { file: checkpoint.slice(PATH.length + 1), what: 'checkpoint', keysAffected: 0 },
      ]);
      disk.flip(checkpoint, 80_000);
      const index = disk.paths().find((path) => path.includes('index-')) as string;
      const { length } = disk.contents(index);
      for (let byte = 1000; byte < length; byte += length / 20) disk.flip(index, Math.floor(byte) * 8);
      const { damages } = await store.verify();
      expect(damages.length).toBeGreaterThan(5);
      for (const damage of damages)
        expect(damage).toMatchObject({ file: index.slice(PATH.length + 1), what: 'index' });
      // It was made anew, so no look-up fails.
      expect(damages.reduce((sum, { keysAffected }) => sum + keysAffected, 0)).toBe(0);
      expect(summary(await store.verify())).toEqual(WHOLE);
      for (let key = 0; key < 30_000; key += 7) expect(await store.get(key)).toBe(key);
      await store.close();
      const again = await KvStore.open({ ...options, env: disk.env() });
      expect(summary(await again.verify())).toEqual(WHOLE);
      await again.close();
    },
    TIMEOUT,
  );

  it('is also what the disk refuses to read', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open(tieredOptions(disk));
    await new History(disk, 50, SEED).fill(store);
    const file = `${PATH}/hot-00000000.log`;
    disk.failAt({ operation: 'read', path: file, nth: 1, code: 'EIO', sticky: true });
    const { damages, ok } = await store.verify();
    expect(ok).toBe(false);
    for (const damage of damages) expect(damage.file).toBe('hot-00000000.log');
    disk.clearFaults();
    expect(summary(await store.verify())).toEqual(WHOLE);
    await store.close();
  });
});

describe('a dictionary under an open store', () => {
  it.each(['damaged', 'cut short', 'removed'])('that was %s is written anew at close', async (how) => {
    const disk = new SimulatedDisk();
    let store = await KvStore.open(optionsOn(disk));
    await store.set('object', { field: 1, other: 2 });
    for (const name of ['b', 'a', 'c']) await store.namespace(name).set('k', { [name]: name });
    await store.flush();
    const file = `${PATH}/DICTIONARY`;
    const { fs } = disk.env();
    const before = disk.contents(file);
    if (how === 'damaged') disk.flip(file, 90);
    else if (how === 'removed') fs.unlinkSync(file);
    else fs.truncate(fs.open(file, { create: false }), 30);
    expect((await store.verify()).damages).toMatchObject([{ what: 'dictionary' }]);
    // Also what is entered later.
    await store.namespace('late').set('k', { entirely: 'new' });
    await store.close();
    expect(disk.contents(file).subarray(0, before.length)).toEqual(before);
    expect(disk.paths()).not.toContain(`${file}.tmp`);
    disk.crash('none');
    store = await KvStore.open(optionsOn(disk));
    expect(await store.get('object')).toEqual({ field: 1, other: 2 });
    for (const name of ['b', 'a', 'c'])
      expect(await store.namespace(name).get('k')).toEqual({ [name]: name });
    expect(await store.namespace('late').get('k')).toEqual({ entirely: 'new' });
    expect(summary(await store.verify())).toEqual(WHOLE);
    await store.close();
  });

  it.each(['damaged', 'removed'])(
    'that was %s is the new one, once that is whole, after a kill',
    async (how) => {
      const disk = new SimulatedDisk();
      const killed: SimulatedDisk[] = [];
      let isClosing = false;
      const env = watched(disk.env(), (operation) => {
        if (isClosing && CHANGES.includes(operation)) killed.push(disk.fork());
      });
      const store = await KvStore.open({ ...optionsOn(disk), env });
      await store.set('object', { field: 1 });
      await store.namespace('n').set('object', { other: 2 });
      await store.flush();
      const file = `${PATH}/DICTIONARY`;
      const whole = disk.contents(file);
      if (how === 'damaged') disk.put(file, Buffer.alloc(whole.length));
      else disk.env().fs.unlinkSync(file);
      isClosing = true;
      await store.close();
      isClosing = false;
      const outcomes = new Set<string>();
      for (const copy of killed) {
        copy.kill();
        const names = copy.paths().filter((path) => path.startsWith(file));
        const isThere = names.some((path) => copy.contents(path).equals(whole));
        const { keys } = await KvStore.salvage(PATH, SALVAGED, { env: copy.env() });
        const opened = await KvStore.open(optionsOn(copy)).catch((error: unknown) => error);
        if (isThere) {
          expect(keys).toBe(2);
          expect(await (opened as KvStore).namespace('n').get('object')).toEqual({ other: 2 });
          await (opened as KvStore).close();
        } else {
          expect(keys).toBe(0);
          expect(opened).toBeInstanceOf(KvCorruptionError);
        }
        outcomes.add(`${isThere} in ${names.map((name) => name.slice(PATH.length + 1)).join()}`);
      }
      expect([...outcomes]).toEqual(
        expect.arrayContaining([expect.stringMatching(/true in .*DICTIONARY\.tmp/)]),
      );
    },
  );
});

it('a dictionary that is damaged is left to salvage where what was to replace it is torn', async () => {
  const disk = new SimulatedDisk();
  const store = await KvStore.open(optionsOn(disk));
  await store.set('a', { field: 1 });
  await store.namespace('n').set('b', { other: 2 });
  await store.namespace('m').set('c', { third: 3 });
  await store.close();
  const file = `${PATH}/DICTIONARY`;
  const whole = disk.contents(file);
  disk.flip(file, whole.indexOf('field') * 8);
  disk.put(`${file}.tmp`, whole.subarray(0, whole.indexOf('\n') + 1));
  await expect(KvStore.open(optionsOn(disk))).rejects.toThrow(KvCorruptionError);
  expect(await KvStore.salvage(PATH, SALVAGED, { env: disk.env() })).toMatchObject({ keys: 3 });
});

describe('verify()', () => {
  it('takes no options but a signal, ends with it, and with the store', async () => {
    const store = await KvStore.open({});
    await expect(store.verify({ full: true } as never)).rejects.toThrow(KvOptionsError);
    await store.set('k', 1);
    expect(await store.verify({ signal: AbortSignal.abort() })).toMatchObject({ ok: false, aborted: true });
    const running = store.verify();
    await store.close();
    await running.catch((error: unknown) => expect(error).toBeInstanceOf(KvClosedError));
    await expect(store.verify()).rejects.toThrow(KvClosedError);
  });

  it('lets the event loop turn', async () => {
    const store = await KvStore.open({ hot: { memory: '8mb' } });
    for (let i = 0; i < 20_000; i++) await store.set(i, 'v'.repeat(200));
    await store.compact({ full: true });
    let turns = 0;
    let ended = false;
    const turning = (async () => {
      for (; !ended; turns++) await new Promise((resolve) => setImmediate(resolve));
    })();
    const { tookMs } = await store.verify();
    ended = true;
    await turning;
    expect(turns).toBeGreaterThan(tookMs / 20);
    await store.close();
  });
});

const keyName = ({ namespace = '', key }: KvNamedKey) => `${namespace}/${key as string}`;

function manifestOf(disk: SimulatedDisk): Record<'hot' | 'cold', { begin: number }> {
  return JSON.parse(disk.contents(`${PATH}/MANIFEST`).toString().split('\n')[0]) as never;
}

it('is refused by a store that is closed before it has begun', async () => {
  const store = await KvStore.open({ path: PATH, env: new SimulatedDisk().env() });
  const refused = expect(store.verify()).rejects.toThrow(KvClosedError);
  await store.close();
  await refused;
});
