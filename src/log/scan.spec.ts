import { LogBuilder } from '../../test/support/log-builder.js';
import { MemoryDevice } from '../device/index.js';
import { type LogAddress } from './address.js';
import { COMMIT_BYTES } from './commit.js';
import { KIND_COMMIT, KIND_MASK } from './record.js';
import { findCommits, scanSegment } from './scan.js';
import { SegmentFiles } from './segment-files.js';

const KIB = 1024;
const MIB = 1024 * KIB;
/** How much the scan reads at once, as far as these tests know: a record over this border is one in two reads. */
const READ = MIB;
const SEGMENT = 8 * MIB;

interface Found {
  address: number;
  bytes: number;
}

/** Puts a log on a device, lets a test damage it, and gives it to be read. */
function stored(log: LogBuilder, damage: (file: Buffer) => Buffer | void = () => {}): SegmentFiles {
  const device = new MemoryDevice(64 * MIB);
  for (const [name, bytes] of log.files()) {
    const copy = Buffer.from(bytes);
    const file = damage(copy) ?? copy;
    device.open(name, { create: true }).writeSync(file, 0, file.length, 0);
  }
  return new SegmentFiles(device, log.log, log.segmentSize);
}

async function scan(segments: SegmentFiles, from: LogAddress): Promise<{ found: Found[]; end: number }> {
  const found: Found[] = [];
  const end = await scanSegment(segments, from, (words, at, address, bytes) => {
    if ((words[at + 1] & KIND_MASK) !== KIND_COMMIT) found.push({ address, bytes });
  });
  return { found, end };
}

async function commitsFrom(segments: SegmentFiles, from: number): Promise<[number, number][]> {
  const found = new Map<number, number>();
  await findCommits(segments, from as LogAddress, (commit, address) => found.set(address, commit.number));
  return [...found];
}

/** A log whose tail stands `bytes` before the end of what the first read brings. */
function upToBorder(bytes: number, begin = 64): LogBuilder {
  const log = new LogBuilder(SEGMENT, begin as LogAddress);
  const start = log.tail;
  const most = READ - bytes;
  while (log.tail - start < most) log.value(Math.min(64 * KIB, Math.max(32, most - (log.tail - start))));
  return log;
}

describe('scanSegment', () => {
  it('visits every record in order, from any of them on', async () => {
    const log = new LogBuilder(SEGMENT).value(32).value(4096).filler(8).filler(16).commit().value(40);
    const segments = stored(log);
    for (let i = 0; i < log.records.length; i++) {
      expect(await scan(segments, log.records[i].address)).toEqual({
        found: log.records.slice(i),
        end: log.tail,
      });
    }
  });

  it.each([8, 16, 24, 32, 40, 96])(
    'sees a record that begins %i bytes before the end of a read',
    async (bytes) => {
      const log = upToBorder(bytes).value(200).value(64).commit().value(80);
      expect(await scan(stored(log), 64 as LogAddress)).toEqual({ found: log.records, end: log.tail });
    },
  );

  it.each([8, 16])('sees a filler of %i bytes at the end of a read', async (bytes) => {
    const log = upToBorder(bytes).filler(bytes).value(64);
    expect(await scan(stored(log), 64 as LogAddress)).toEqual({ found: log.records, end: log.tail });
  });

  it.each([READ - 8, READ, READ + 8, 3 * MIB, 4 * MIB])('sees a record of %i bytes', async (bytes) => {
    const log = new LogBuilder(SEGMENT).value(40).value(bytes).value(48);
    expect(await scan(stored(log), 64 as LogAddress)).toEqual({ found: log.records, end: log.tail });
  });

  it('passes over a filler longer than a read, up to the end of the segment', async () => {
    const log = new LogBuilder(SEGMENT)
      .value(64)
      .filler(4 * MIB)
      .value(64)
      .fillSegment();
    expect(await scan(stored(log), 64 as LogAddress)).toEqual({ found: log.records, end: SEGMENT });
  });

  it('reads a segment far beyond 2^40', async () => {
    const begin = (2 ** 40 * 3) as LogAddress;
    const log = upToBorder(24, begin).value(200).commit();
    expect(await scan(stored(log), begin)).toEqual({ found: log.records, end: log.tail });
  });

  it.each([0, 5, 400])('stops in front of a damaged record, the %i-th', async (nth) => {
    const log = new LogBuilder(SEGMENT);
    for (let i = 0; i < 500; i++) log.value(4096);
    const { address } = log.records[nth];
    const segments = stored(log, (file) => void (file[address + 1000] ^= 4));
    expect(await scan(segments, 64 as LogAddress)).toEqual({
      found: log.records.slice(0, nth),
      end: address,
    });
  });

  it('stops in front of zeros, and of a record from another address', async () => {
    const log = new LogBuilder(SEGMENT).value(64).value(64).value(64);
    const zeros = stored(log, (file) => void file.fill(0, 128));
    const moved = stored(log, (file) => void file.copyWithin(128, 64, 128));
    expect((await scan(zeros, 64 as LogAddress)).end).toBe(128);
    expect((await scan(moved, 64 as LogAddress)).end).toBe(128);
  });

  it('stops in front of a record that the end of the file cuts, wherever it cuts', async () => {
    const log = new LogBuilder(SEGMENT).value(64).value(64);
    for (let length = 128; length < 192; length++) {
      const segments = stored(log, (file) => file.subarray(0, length));
      expect(await scan(segments, 64 as LogAddress)).toEqual({ found: log.records.slice(0, 1), end: 128 });
    }
  });

  it('does not go beyond the end of a file that cuts a filler', async () => {
    const log = new LogBuilder(SEGMENT).value(64).filler(4096);
    const segments = stored(log, (file) => file.subarray(0, 1000));
    expect((await scan(segments, 64 as LogAddress)).end).toBe(1000);
  });

  it('finds nothing at the end of a file', async () => {
    const log = new LogBuilder(SEGMENT).value(64);
    expect(await scan(stored(log), log.tail)).toEqual({ found: [], end: log.tail });
  });

  it('looks for a record no longer than a page at a damaged place, however large the segment is', async () => {
    const log = new LogBuilder(64 * MIB);
    for (let i = 0; i < 20; i++) log.value(MIB);
    const segments = stored(log, (file) => void (file[100] ^= 1));
    let largest = 0;
    const read = segments.read.bind(segments);
    jest.spyOn(segments, 'read').mockImplementation((address, buffer, length) => {
      largest = Math.max(largest, length);
      return read(address, buffer, length);
    });
    expect((await scan(segments, 64 as LogAddress)).end).toBe(64);
    expect(largest).toBeLessThanOrEqual(4 * MIB);
  });
});

describe('findCommits', () => {
  it('finds every intact commit record behind damage, whatever lies between', async () => {
    const log = new LogBuilder(SEGMENT).value(64).commit().value(504).commit().value(48).commit();
    const [first, second, third] = log.commitEnds.map((end) => end - COMMIT_BYTES);
    const segments = stored(log, (file) => {
      file[70] ^= 1;
      file[second + 30] ^= 1;
    });
    expect(await commitsFrom(segments, 64)).toEqual([
      [first, 1],
      [third, 3],
    ]);
    expect(await commitsFrom(segments, first + 8)).toEqual([[third, 3]]);
  });

  it.each([8, 16, 24, COMMIT_BYTES - 8, COMMIT_BYTES, COMMIT_BYTES + 8, 256, 264])(
    'finds a commit record that begins %i bytes before the end of a read',
    async (bytes) => {
      const log = upToBorder(bytes)
        .commit()
        .value(512 * KIB)
        .value(512 * KIB)
        .commit();
      expect(await commitsFrom(stored(log), 64)).toEqual(
        log.commitEnds.map((end, i) => [end - COMMIT_BYTES, i + 1]),
      );
    },
  );

  it('finds a commit record at the very end of a segment, and none in a file that cuts it', async () => {
    const log = new LogBuilder(MIB)
      .value(64)
      .filler(MIB - 128 - COMMIT_BYTES)
      .commit();
    expect(log.tail).toBe(MIB);
    expect(await commitsFrom(stored(log), 64)).toEqual([[MIB - COMMIT_BYTES, 1]]);
    const cut = stored(log, (file) => file.subarray(0, MIB - 8));
    expect(await commitsFrom(cut, 64)).toEqual([]);
  });

  it('finds nothing in bytes that only look like a commit record', async () => {
    const log = new LogBuilder(MIB).value(64).commit().value(200);
    const segments = stored(log, (file) => {
      // A copy elsewhere, as an older life of the file might leave it.
      file.copyWithin(64 + 64 + COMMIT_BYTES + 40, 128, 128 + COMMIT_BYTES);
      file[129] ^= 1;
    });
    expect(await commitsFrom(segments, 64)).toEqual([]);
  });
});
