import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import { FileDevice, MemoryDevice, NullDevice } from '../device/index.js';
import { KvCorruptionError, KvDiskError, KvOptionsError } from '../errors.js';
import { MAX_NAMESPACES } from '../limits.js';
import { Dictionary, DICTIONARY_NAME } from './dictionary.js';

const MIB = 1024 * 1024;
const PATH = `/data/${DICTIONARY_NAME}`;

function onDisk(disk = new SimulatedDisk()): {
  disk: SimulatedDisk;
  device: FileDevice;
  open: () => Dictionary;
} {
  disk.mkdir('/data');
  disk.syncDirectorySync('/');
  const device = new FileDevice(disk.env(), '/data');
  return { disk, device, open: () => new Dictionary(device, true) };
}

/** A dictionary with five entries: namespaces 1 to 3 with structures between them. */
function filled(): ReturnType<typeof onDisk> {
  const made = onDisk();
  const dictionary = made.open();
  dictionary.namespace('first');
  dictionary.addStructures([['a', 'b'], ['c']]);
  dictionary.namespace('zweiter\n"Ω"');
  dictionary.namespace('third');
  dictionary.close();
  return made;
}

describe('Dictionary', () => {
  it('numbers namespaces from 1 on, and keeps the numbers', () => {
    const { open } = filled();
    for (let life = 0; life < 2; life++) {
      const dictionary = open();
      expect(['third', 'first', 'zweiter\n"Ω"'].map((name) => dictionary.namespace(name))).toEqual([3, 1, 2]);
      expect(dictionary.structures).toEqual([['a', 'b'], ['c']]);
      expect(dictionary.entries).toBe(5);
    }
    expect(open().namespace('fourth')).toBe(4);
    expect(open().namespace('fourth')).toBe(4);
  });

  it('has an entry on stable storage before it returns', () => {
    const { disk, open } = onDisk();
    const dictionary = open();
    dictionary.namespace('users');
    disk.crash('none');
    const after = onDisk(disk).open();
    expect(after.entries).toBe(1);
    after.addStructures([['x']]);
    disk.crash('none');
    expect(onDisk(disk).open().structures).toEqual([['x']]);
  });

  it('writes nothing for what it knows', () => {
    const { disk, open } = filled();
    const dictionary = open();
    const before = disk.counts().write;
    dictionary.namespace('third');
    dictionary.addStructures([]);
    expect(disk.contents(PATH).toString().split('\n')).toHaveLength(6);
    expect(disk.counts().write ?? 0).toBeLessThanOrEqual((before ?? 0) + 1);
  });

  it.each<[string, unknown]>([
    ['an empty name', ''],
    ['no text', 7],
    ['a lone surrogate', 'a\ud800'],
    ['more than 512 bytes', 'x'.repeat(513)],
    ['more than 512 bytes of two-byte characters', 'é'.repeat(257)],
  ])('refuses %s as a namespace, and enters nothing', (_name, name) => {
    const { disk, open } = onDisk();
    const dictionary = open();
    expect(() => dictionary.namespace(name as string)).toThrow(KvOptionsError);
    expect(dictionary.entries).toBe(0);
    expect(disk.contents(PATH)).toHaveLength(0);
  });

  it('takes a name of 512 bytes', () => {
    expect(onDisk().open().namespace('é'.repeat(256))).toBe(1);
  });

  it('takes as many namespaces as keys can name, and no more', () => {
    const dictionary = new Dictionary(new NullDevice(), true);
    for (let i = 1; i <= MAX_NAMESPACES; i++) dictionary.namespace(`n${i}`);
    expect(dictionary.namespace(`n${MAX_NAMESPACES}`)).toBe(MAX_NAMESPACES);
    expect(() => dictionary.namespace('one more')).toThrow(KvOptionsError);
  });
});

describe('a line that is not whole', () => {
  it('is dropped at the end, where a crash tore it off, wherever it was torn', () => {
    const { disk } = filled();
    const whole = disk.contents(PATH);
    const lastLine = whole.lastIndexOf(10, whole.length - 2) + 1;
    for (let length = lastLine; length < whole.length; length++) {
      disk.put(PATH, whole.subarray(0, length));
      const dictionary = onDisk(disk).open();
      expect(dictionary.entries).toBe(4);
      dictionary.require(4);
      expect(disk.contents(PATH, 'durable')).toHaveLength(lastLine);
      expect(dictionary.namespace('other')).toBe(3);
      dictionary.close();
      expect(onDisk(disk).open().namespace('other')).toBe(3);
    }
  });

  it('is damage where the log relies on it', () => {
    const { disk } = filled();
    const whole = disk.contents(PATH);
    const starts = [0];
    for (let at = whole.indexOf(10); at < whole.length - 1; at = whole.indexOf(10, at + 1))
      starts.push(at + 1);
    expect(starts).toHaveLength(5);
    for (const [line, start] of starts.entries()) {
      for (const bit of [0, 9 * 8, 12 * 8 + 3]) {
        disk.flip(PATH, start * 8 + bit);
        const dictionary = onDisk(disk).open();
        expect(dictionary.entries).toBe(line);
        expect(() => dictionary.require(5)).toThrow(KvCorruptionError);
        expect(() => dictionary.require(line + 1)).toThrow(`the dictionary, ${line} are intact`);
        dictionary.close();
        disk.flip(PATH, start * 8 + bit);
      }
    }
    expect(onDisk(disk).open().entries).toBe(5);
  });

  it('does no harm behind what the log relies on, and hides nothing that comes later', () => {
    const { disk } = filled();
    const whole = disk.contents(PATH);
    disk.flip(PATH, (whole.length - 5) * 8);
    const dictionary = onDisk(disk).open();
    dictionary.require(4);
    dictionary.addStructures([['d']]);
    expect(onDisk(disk).open()).toMatchObject({ entries: 5, structures: [['a', 'b'], ['c'], ['d']] });
  });

  it('cannot be missed when the file is gone', () => {
    const { disk, device } = filled();
    device.removeSync(DICTIONARY_NAME);
    expect(() => onDisk(disk).open().require(1)).toThrow(KvCorruptionError);
  });
});

describe('a write that fails', () => {
  it.each([
    ['at once', { nth: 1 }],
    ['after half of it', undefined],
  ])('%s leaves all of its entries out, and the next try takes its place', (_name, failure) => {
    const { disk, open } = filled();
    const dictionary = open();
    const size = disk.sizeOf(PATH);
    if (failure) disk.failAt({ operation: 'write', code: 'ENOSPC', ...failure });
    else disk.capacityBytes = size + 40;
    expect(() =>
      dictionary.addStructures([
        ['first', 'new'],
        ['second', 'new'],
      ]),
    ).toThrow(KvDiskError);
    expect(dictionary).toMatchObject({ entries: 5, structures: [['a', 'b'], ['c']] });
    disk.capacityBytes = Infinity;
    dictionary.addStructures([
      ['first', 'new'],
      ['second', 'new'],
    ]);
    expect(dictionary.entries).toBe(7);
    expect(open()).toMatchObject({ entries: 7, structures: dictionary.structures });
  });

  it('between two structures leaves both out: their order is their number', () => {
    const { disk, open } = filled();
    const dictionary = open();
    disk.failAt({ operation: 'sync', nth: 2, code: 'EIO' });
    disk.failAt({ operation: 'write', nth: 2, code: 'ENOSPC' });
    dictionary.addStructures([['x'], ['y']]);
    expect(dictionary.structures).toEqual([['a', 'b'], ['c'], ['x'], ['y']]);
    expect(() => dictionary.namespace('late')).toThrow(KvDiskError);
    expect(open()).toMatchObject({ entries: 7, structures: dictionary.structures });
  });

  it('to sync leaves its entry out', () => {
    const { disk, open } = filled();
    const dictionary = open();
    disk.failAt({ operation: 'sync', nth: 1, code: 'EIO' });
    expect(() => dictionary.namespace('late')).toThrow(KvDiskError);
    expect(dictionary.entries).toBe(5);
  });
});

describe('on other devices', () => {
  it('lasts as long as a memory device', () => {
    const device = new MemoryDevice(MIB);
    new Dictionary(device, true).namespace('a');
    expect(new Dictionary(device, true).entries).toBe(1);
  });

  it('works without lasting on a null device', () => {
    const dictionary = new Dictionary(new NullDevice(), true);
    expect(dictionary.namespace('a')).toBe(1);
    expect(() => dictionary.require(1)).not.toThrow();
  });
});
