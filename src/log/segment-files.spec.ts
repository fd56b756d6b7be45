import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import { FileDevice, MemoryDevice } from '../device/index.js';
import { KvCorruptionError } from '../errors.js';
import { type LogAddress } from './address.js';
import { SegmentFiles } from './segment-files.js';

const MIB = 1024 * 1024;

const at = (address: number): LogAddress => address as LogAddress;

/** A log on a simulated disk, where it can be seen what is durable. */
function onDisk(segmentSize = MIB): { disk: SimulatedDisk; device: FileDevice; segments: SegmentFiles } {
  const disk = new SimulatedDisk();
  disk.mkdir('/data');
  disk.syncDirectorySync('/');
  const device = new FileDevice(disk.env(), '/data');
  return { disk, device, segments: new SegmentFiles(device, 'hot', segmentSize) };
}

describe('addresses and files', () => {
  const { segments } = onDisk();

  it('puts each address into the segment that holds it, also beyond 2^32', () => {
    expect(segments.segmentOf(0)).toBe(0);
    expect(segments.segmentOf(MIB - 1)).toBe(0);
    expect(segments.segmentOf(MIB)).toBe(1);
    expect(segments.segmentOf(2 ** 32)).toBe(4096);
    expect(segments.segmentOf(2 ** 48 - 8)).toBe(2 ** 28 - 1);
    expect(segments.startOf(2 ** 28 - 1)).toBe(2 ** 48 - MIB);
  });

  it('names files by segment, so that names sort as addresses do', () => {
    expect(segments.nameOf(0)).toBe('hot-00000000.log');
    expect(segments.nameOf(2 ** 28 - 1)).toBe('hot-0fffffff.log');
    expect(SegmentFiles.isSegmentName(segments.nameOf(255))).toBe(true);
    expect(
      ['hot-0.log', 'hot-00000000.log.tmp', 'x-hot-00000000.log', 'MANIFEST'].some(
        SegmentFiles.isSegmentName,
      ),
    ).toBe(false);
  });

  it('finds the files of its own log, whatever else is there', () => {
    const device = new MemoryDevice(16 * MIB);
    for (const name of ['hot-00000010.log', 'cold-00000001.log', 'hot-0000000a.log', 'hot-1.log', 'MANIFEST'])
      device.open(name, { create: true }).close();
    expect(new SegmentFiles(device, 'hot', MIB).numbers()).toEqual([10, 16]);
  });
});

describe('gaps', () => {
  it('are where files end early, or are missing, before the last one', () => {
    const device = new MemoryDevice(16 * MIB);
    for (const [name, bytes] of [
      ['hot-00000000.log', 500],
      ['hot-00000002.log', MIB],
      ['hot-00000003.log', 100],
    ] as const)
      device.open(name, { create: true }).truncate(bytes);
    const segments = new SegmentFiles(device, 'hot', MIB);
    expect(segments.gaps(at(64), at(3 * MIB + 100))).toEqual([
      { end: MIB, bytes: MIB - 500 },
      { end: 2 * MIB, bytes: MIB },
    ]);
    expect(segments.gaps(at(2 * MIB), at(3 * MIB + 100))).toEqual([]);
    expect(segments.gaps(at(700), at(2 * MIB))[0]).toEqual({ end: MIB, bytes: MIB - 700 });
  });
});

describe('zeros ahead of what is written', () => {
  it('give back the room that they took, where there is not enough for all of them', async () => {
    const disk = new SimulatedDisk();
    disk.mkdir('/data');
    const env = disk.env();
    let left = 8192;
    // As a file system does: what fits is written, and only then it says that it is full.
    const writeSync: typeof env.fs.writeSync = (fd, buffer, offset, length, position) => {
      if (left === 0) throw Object.assign(new Error('no space left'), { code: 'ENOSPC', errno: -28 });
      const count = Math.min(length, left);
      left -= count;
      return env.fs.writeSync(fd, buffer, offset, count, position);
    };
    const device = new FileDevice({ ...env, fs: { ...env.fs, writeSync } }, '/data');
    const segments = new SegmentFiles(device, 'hot', 4 * MIB, 0, true);
    await segments.write(at(0), Buffer.alloc(1000, 'x'), 0, 1000);
    expect(left).toBe(0);
    expect(disk.contents('/data/hot-00000000.log')).toEqual(Buffer.alloc(1000, 'x'));
    await segments.write(at(1000), Buffer.alloc(1000, 'y'), 0, 1000);
    expect(disk.sizeOf('/data/hot-00000000.log')).toBe(2000);
  });
});

describe('a write that a sync is to follow', () => {
  const bytes = Buffer.alloc(1024, 'x');
  const durably = (segments: SegmentFiles, address: LogAddress): Promise<void> =>
    segments.writeDurably(address, bytes, 0, 1024) ?? segments.write(address, bytes, 0, 1024);

  it('has a descriptor of its own as long as it is under way: the system tells each once of what failed', async () => {
    const { disk, segments } = onDisk();
    await durably(segments, at(0));
    await segments.sync();
    const before = disk.counts().open ?? 0;
    for (let round = 0; round < 5; round++)
      await Promise.all([durably(segments, at(1024)), durably(segments, at(2048))]);
    expect(disk.counts().open).toBe(before + 1);
    const removed = Promise.all([durably(segments, at(1024)), durably(segments, at(2048))]);
    await segments.remove(0);
    await removed;
    segments.close();
    expect(disk.counts().close).toBe(disk.counts().open);
  });

  it('makes the sync on the way, unless another write of the file waits for one', async () => {
    const { disk, segments } = onDisk();
    segments.writeSync(at(0), bytes, 0, 1024);
    await durably(segments, at(1024));
    await segments.sync();
    const { sync } = disk.counts();
    await durably(segments, at(2048));
    await segments.sync();
    expect(disk.counts().sync).toBe((sync ?? 0) + 1);
    disk.crash('none');
    expect(disk.contents('/data/hot-00000000.log').equals(Buffer.alloc(3072, 'x'))).toBe(true);
  });

  it('is followed by one where no more files can be opened, and tries again', async () => {
    const { disk, segments } = onDisk();
    disk.failAt({ operation: 'open', nth: 2, code: 'EMFILE' });
    for (let i = 0; i < 3; i++) {
      await durably(segments, at(i * 1024));
      await segments.sync();
      expect(disk.unsyncedChanges).toBe(0);
    }
    expect(disk.counts()).toMatchObject({ open: 3, sync: 3 });
    segments.close();
    expect(disk.counts().close).toBe(2);
  });

  it('keeps one more file open, and no other: the last one', async () => {
    const { disk, segments } = onDisk();
    for (let segment = 0; segment < 4; segment++) {
      await durably(segments, at(segment * MIB));
      await durably(segments, at(segment * MIB + 1024));
    }
    const open = (): number => (disk.counts().open ?? 0) - (disk.counts().close ?? 0);
    expect(open()).toBe(5);
    await segments.remove(3);
    expect(open()).toBe(3);
    segments.close();
    expect(open()).toBe(0);
  });

  it('takes the zeros behind it along when it has lengthened the file, for the writes to come', async () => {
    const disk = new SimulatedDisk();
    const device = new FileDevice(disk.env(), '/');
    const segments = new SegmentFiles(device, 'hot', 4 * MIB, 0, true);
    await durably(segments, at(0));
    await segments.sync();
    expect(disk.unsyncedChanges).toBe(0);
    expect(disk.contents('/hot-00000000.log', 'durable')).toHaveLength(1024 + MIB);
    await durably(segments, at(1024));
    expect(disk.unsyncedChanges).toBe(0);
  });
});

describe('reading and writing', () => {
  it.each([0, 2 ** 32 + 5 * MIB, 2 ** 48 - MIB])('gives back what was written around %d', async (start) => {
    const { segments } = onDisk();
    const bytes = Buffer.from('abcdefgh');
    await segments.write(at(start + 64), bytes, 2, 6);
    segments.writeSync(at(start + MIB - 8), bytes, 0, 8);
    const buffer = Buffer.alloc(16);
    expect(await segments.read(at(start + 64), buffer, 4)).toBe(4);
    expect(buffer.toString('utf8', 0, 4)).toBe('cdef');
    // A read ends with its segment.
    expect(await segments.read(at(start + MIB - 8), buffer, 16)).toBe(8);
    expect(segments.numbers()).toEqual([start / MIB]);
    expect(segments.sizeOf(start / MIB)).toBe(MIB);
    expect(segments.totalSize()).toBe(MIB);
  });

  it('reads fewer bytes at the end of a file', async () => {
    const { segments } = onDisk();
    segments.writeSync(at(0), Buffer.alloc(100), 0, 100);
    expect(await segments.read(at(96), Buffer.alloc(16), 16)).toBe(4);
    expect(await segments.read(at(4096), Buffer.alloc(16), 16)).toBe(0);
  });

  it('reports a missing segment as damage, with its file and the address', async () => {
    const { segments } = onDisk();
    const read = async (): Promise<number> => segments.read(at(3 * MIB + 8), Buffer.alloc(8), 8);
    const error: unknown = await read().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(KvCorruptionError);
    expect(error).toMatchObject({ file: 'hot-00000003.log', address: 3 * MIB + 8 });
    expect(segments.sizeOf(3)).toBe(0);
  });
});

describe('durability', () => {
  const bytes = Buffer.alloc(4096, 7);

  it('makes bytes and names of all files durable with one sync', async () => {
    const { disk, segments } = onDisk();
    await segments.write(at(0), bytes, 0, 4096);
    segments.writeSync(at(MIB), bytes, 0, 4096);
    await segments.sync();
    disk.crash('none');
    expect(disk.contents('/data/hot-00000000.log').equals(bytes)).toBe(true);
    expect(disk.contents('/data/hot-00000001.log').equals(bytes)).toBe(true);
  });

  it('syncs only what was written since', async () => {
    const { disk, segments } = onDisk();
    segments.writeSync(at(0), bytes, 0, 4096);
    await segments.sync();
    segments.writeSync(at(MIB), bytes, 0, 4096);
    const before = disk.counts();
    await segments.sync();
    await segments.sync();
    expect(disk.counts().sync).toBe((before.sync ?? 0) + 1);
    expect(disk.counts().syncDirectory).toBe((before.syncDirectory ?? 0) + 1);
  });

  it('makes a name durable that came while an earlier sync was under way, with the next', async () => {
    const { disk, segments } = onDisk();
    segments.writeSync(at(0), bytes, 0, 4096);
    const sync = segments.sync();
    segments.writeSync(at(MIB), bytes, 0, 4096);
    await sync;
    const lost = disk.fork();
    lost.crash('none');
    expect(lost.paths()).toEqual(['/data/hot-00000000.log']);
    await segments.sync();
    disk.crash('none');
    expect(disk.contents('/data/hot-00000001.log').equals(bytes)).toBe(true);
  });

  it('makes names durable with the next sync when one has failed', async () => {
    const { disk, segments } = onDisk();
    segments.writeSync(at(0), bytes, 0, 4096);
    disk.failAt({ operation: 'syncDirectory', nth: 1, code: 'EIO' });
    await expect(segments.sync()).rejects.toThrow('EIO');
    await segments.sync();
    disk.crash('none');
    expect(disk.contents('/data/hot-00000000.log').equals(bytes)).toBe(true);
  });

  it('removes a file for good also when a sync was under way meanwhile', async () => {
    const { disk, segments } = onDisk();
    segments.writeSync(at(0), bytes, 0, 4096);
    segments.writeSync(at(MIB), bytes, 0, 4096);
    await Promise.all([segments.remove(0), segments.sync()]);
    await segments.sync();
    disk.crash('none');
    expect(disk.paths()).toEqual(['/data/hot-00000001.log']);
  });

  it('syncs a file that is removed meanwhile', async () => {
    const { segments } = onDisk();
    segments.writeSync(at(0), bytes, 0, 4096);
    const sync = segments.sync();
    await segments.remove(0);
    await expect(sync).resolves.toBeUndefined();
  });

  it('syncs a write that ended after an earlier sync had begun', async () => {
    const { disk, segments } = onDisk();
    segments.writeSync(at(0), bytes, 0, 8);
    const write = segments.write(at(8), bytes, 0, 1000);
    await segments.sync();
    await write;
    await segments.sync();
    expect(disk.contents('/data/hot-00000000.log', 'durable')).toHaveLength(1008);
  });

  it('does not sync the file of a segment that was removed while it was written', async () => {
    const { segments } = onDisk();
    segments.writeSync(at(0), bytes, 0, 8);
    const write = segments.write(at(8), bytes, 0, 1000);
    await segments.remove(0);
    await write;
    await expect(segments.sync()).resolves.toBeUndefined();
  });

  it.each(['remove', 'removeSync'] as const)('%s is for good with the next sync', async (remove) => {
    const { disk, segments } = onDisk();
    segments.writeSync(at(0), bytes, 0, 4096);
    segments.writeSync(at(MIB), bytes, 0, 4096);
    await segments.sync();
    await segments[remove](0);
    await segments[remove](7);
    expect(segments.numbers()).toEqual([1]);
    await segments.sync();
    disk.crash('none');
    expect(disk.paths()).toEqual(['/data/hot-00000001.log']);
  });

  it('cuts a file durably, and only the file of that address', async () => {
    const { disk, segments } = onDisk();
    segments.writeSync(at(0), bytes, 0, 4096);
    segments.writeSync(at(MIB), bytes, 0, 4096);
    await segments.sync();
    segments.cut(at(MIB + 1000));
    segments.cut(at(9 * MIB));
    disk.crash('none');
    expect(disk.contents('/data/hot-00000000.log')).toHaveLength(4096);
    expect(disk.contents('/data/hot-00000001.log')).toHaveLength(1000);
  });

  it('closes every file', () => {
    const { disk, segments } = onDisk();
    for (let segment = 0; segment < 3; segment++) segments.writeSync(at(segment * MIB), bytes, 0, 8);
    segments.close();
    expect(disk.counts().close).toBe(3);
    expect(segments.numbers()).toEqual([]);
  });
});
