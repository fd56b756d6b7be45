import { crc32 } from 'node:zlib';
import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import { FileDevice, NullDevice } from '../device/index.js';
import { KvCorruptionError, KvDiskError, KvFormatError } from '../errors.js';
import { FIRST_ADDRESS, type LogAddress } from '../log/address.js';
import {
  FORMAT_VERSION,
  isManifestName,
  ManifestFile,
  newManifest,
  readManifest,
  writeManifest,
  type Manifest,
} from './manifest.js';

const PATH = '/data/MANIFEST';
const MIB = 1024 * 1024;

const manifest = newManifest((length) => new Uint8Array(length).fill(0xab), 32 * MIB, MIB);
const closed = {
  ...manifest,
  hot: { ...manifest.hot, closed: { tail: (2 ** 40 + 8) as LogAddress, commit: 2 ** 33 } },
};

function onDisk(disk = new SimulatedDisk()): { disk: SimulatedDisk; device: FileDevice } {
  disk.mkdir('/data');
  disk.syncDirectorySync('/');
  return { disk, device: new FileDevice(disk.env(), '/data') };
}

function put(text: string): FileDevice {
  const { disk, device } = onDisk();
  disk.put(PATH, Buffer.from(text));
  return device;
}

function signed(json: string): string {
  return `${json}\n${crc32(json).toString(16).padStart(8, '0')}\n`;
}

describe('the manifest', () => {
  it('of a new store has random names of its own', () => {
    let next = 1;
    const random = (length: number): Uint8Array => new Uint8Array(length).fill(next++);
    const log = { begin: FIRST_ADDRESS, beginCommit: 0 };
    expect(newManifest(random, MIB, 2 * MIB)).toEqual({
      format: FORMAT_VERSION,
      features: ['attributes'],
      storeId: '01'.repeat(16),
      hashKey: '02'.repeat(8),
      hot: { ...log, segmentSize: MIB, salt: 0x03030303 },
      cold: { ...log, segmentSize: 2 * MIB, salt: 0x04040404 },
    });
  });

  it('comes back as it was written', async () => {
    const { device } = onDisk();
    expect(readManifest(device)).toBeUndefined();
    for (const one of [manifest, closed, manifest]) {
      await writeManifest(device, one);
      expect(readManifest(device)).toEqual(one);
    }
    expect(device.list()).toEqual(['MANIFEST']);
  });

  it('is not there on a device that keeps nothing', async () => {
    const device = new NullDevice();
    await writeManifest(device, manifest);
    expect(readManifest(device)).toBeUndefined();
  });

  it('is on stable storage once it is written', async () => {
    const { disk, device } = onDisk();
    await writeManifest(device, manifest);
    disk.crash('none');
    expect(readManifest(onDisk(disk).device)).toEqual(manifest);
  });

  it('is the old or the new one, whole, wherever a crash or an error interrupts its replacement', async () => {
    const outcomes = new Set<string>();
    const calls = await (async () => {
      const { disk, device } = onDisk();
      await writeManifest(device, manifest);
      const before = disk.trace.length;
      await writeManifest(device, closed);
      return disk.trace.length - before;
    })();
    expect(calls).toBeGreaterThan(5);
    for (let nth = 1; nth <= calls; nth++) {
      for (let seed = 1; seed <= 10; seed++) {
        const { disk, device } = onDisk(new SimulatedDisk({ seed }));
        await writeManifest(device, manifest);
        disk.failAt({ nth, code: 'EIO', sticky: true });
        try {
          await writeManifest(device, closed);
        } catch (error) {
          expect(error).toBeInstanceOf(KvDiskError);
        }
        disk.clearFaults();
        disk.crash({ seed });
        const again = onDisk(disk).device;
        const found = readManifest(again);
        expect([manifest, closed]).toContainEqual(found);
        outcomes.add(found?.hot.closed ? 'new' : 'old');
        // What was left behind is in nobody's way.
        await writeManifest(again, closed);
        expect(readManifest(again)).toEqual(closed);
      }
    }
    expect(outcomes.size).toBe(2);
  });

  it('is the old or the new one when the power goes out while its replacement is under way, at any turn', async () => {
    const outcomes = new Set<string>();
    for (let turns = 0; turns < 8; turns++) {
      for (const mode of ['none', 'all', 'kill'] as const) {
        const { disk, device } = onDisk();
        await writeManifest(device, manifest);
        const file = new ManifestFile(device, manifest);
        let replaced = false;
        const replacing = file
          .replace(() => closed)
          .then(
            () => (replaced = true),
            () => undefined,
          );
        for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
        const isCurrent = file.current === closed;
        if (mode === 'kill') disk.kill();
        else disk.crash(mode);
        await replacing;
        expect(isCurrent).toBe(replaced);
        expect(file.current).toBe(replaced ? closed : manifest);
        const found = readManifest(onDisk(disk).device);
        expect([manifest, closed]).toContainEqual(found);
        if (replaced) expect(found).toEqual(closed);
        outcomes.add(`${replaced ? 'replaced' : 'interrupted'}, ${found?.hot.closed ? 'new' : 'old'}`);
      }
    }
    expect([...outcomes].sort()).toEqual(['interrupted, new', 'interrupted, old', 'replaced, new']);
  });

  it('is replaced by one after the other, each made of the one before', async () => {
    const { disk, device } = onDisk(new SimulatedDisk({ completion: 'random' }));
    const file = new ManifestFile(device, manifest);
    const next = (latest: Manifest) => ({
      ...latest,
      hot: { ...latest.hot, beginCommit: latest.hot.beginCommit + 1 },
    });
    const replacements = [next, next, next].map((change) => file.replace(change));
    expect(file.current).toEqual(manifest);
    disk.failAt({ operation: 'rename', nth: 2, code: 'EIO' });
    const settled = await Promise.allSettled(replacements);
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(file.current.hot.beginCommit).toBe(2);
    expect(readManifest(device)).toEqual(file.current);
  });

  it('is not mixed with what a longer one left behind', async () => {
    const { disk, device } = onDisk();
    disk.put(
      '/data/MANIFEST.tmp',
      Buffer.from(signed(JSON.stringify({ ...closed, more: 'x'.repeat(5000) }))),
    );
    await writeManifest(device, manifest);
    expect(disk.sizeOf(PATH)).toBeLessThan(1000);
    expect(readManifest(device)).toEqual(manifest);
  });

  it('with any bit flipped is damaged', async () => {
    const { disk, device } = onDisk();
    await writeManifest(device, closed);
    const bits = (disk.sizeOf(PATH) - 1) * 8;
    for (let bit = 0; bit < bits; bit++) {
      disk.flip(PATH, bit);
      expect(() => readManifest(device)).toThrow(KvCorruptionError);
      disk.flip(PATH, bit);
    }
    expect(readManifest(device)).toEqual(closed);
  });

  it('cut short is damaged, wherever it is cut', () => {
    const whole = signed(JSON.stringify(manifest));
    for (let length = 0; length < whole.length - 1; length++) {
      expect(() => readManifest(put(whole.slice(0, length)))).toThrow(KvCorruptionError);
    }
  });

  it.each(['null', '7', '"text"'].map(signed))('%j is damaged: it is no object', (text) => {
    expect(() => readManifest(put(text))).toThrow(KvCorruptionError);
  });

  it.each(['', '\n', 'hello', 'hello\nworld\n', signed('{"format":'), '{}\n00000000\n'])(
    '%j is damaged',
    (text) => {
      expect(() => readManifest(put(text))).toThrow(KvCorruptionError);
    },
  );

  it('of a later format is refused by its number', () => {
    const later = signed(JSON.stringify({ ...manifest, format: FORMAT_VERSION + 1 }));
    expect(() => readManifest(put(later))).toThrow(KvFormatError);
    expect(() => readManifest(put(later))).toThrow(`/data has format version ${FORMAT_VERSION + 1}`);
  });

  it('of any other format is refused by its number, whatever that is', () => {
    const others: unknown[] = Array.from({ length: 256 }, (_, byte) => byte);
    others.push(-2, 2.5, 2 ** 53, '2', '', null, true, [2], {}, undefined);
    for (const format of others.filter((other) => other !== FORMAT_VERSION)) {
      const other = put(signed(JSON.stringify({ ...manifest, format })));
      expect(() => readManifest(other)).toThrow(KvFormatError);
      expect(() => readManifest(other)).toThrow(`has format version ${JSON.stringify(format)};`);
    }
  });

  it('with a feature that is not known is refused by its name', () => {
    for (const features of [['blobs'], ['blobs', 'tags'], [''], [null], [7], [['blobs']], 'blobs', {}, 0]) {
      const other = put(signed(JSON.stringify({ ...manifest, features })));
      expect(() => readManifest(other)).toThrow(KvFormatError);
      const first = JSON.stringify([features].flat()[0]);
      expect(() => readManifest(other)).toThrow(`/data uses ${first}`);
    }
    const before = { ...manifest };
    delete before.features;
    expect(readManifest(put(signed(JSON.stringify(before))))).toEqual(before);
  });

  it('goes by three names', () => {
    const names = ['MANIFEST', 'MANIFEST.tmp', 'MANIFEST.deleted', 'manifest', 'MANIFEST.old'];
    expect(names.map(isManifestName)).toEqual([true, true, true, false, false]);
  });
});
