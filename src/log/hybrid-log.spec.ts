import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import { SeededRandom } from '../../test/support/seeded-random.js';
import { InvariantError } from '../assert.js';
import type { Device } from '../device/device.js';
import { FileDevice, MemoryDevice, NullDevice } from '../device/index.js';
import { KvCorruptionError, KvDiskError, KvTooLargeError } from '../errors.js';
import { FIRST_ADDRESS, type LogAddress } from './address.js';
import { COMMIT_BYTES, readCommit } from './commit.js';
import {
  HEADER_WORDS,
  KIND_COMMIT,
  KIND_MASK,
  KIND_VALUE,
  recordBytes,
  sequenceOf,
  writeHeader,
} from './record.js';
import { scanSegment } from './scan.js';
import { SegmentFiles } from './segment-files.js';
import { LARGEST_SIZE_CLASS, sizeClassOf } from './size-class.js';
import { HybridLog, type HybridLogOptions } from './hybrid-log.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const PAGE = 64 * KIB;
const SEGMENT = MIB;

interface Entry {
  address: LogAddress;
  bytes: number;
  sequence: number;
}

/** A hybrid log, what was appended to it, and what a reader of its files finds. */
class Bench {
  readonly segments: SegmentFiles;
  readonly log: HybridLog;
  readonly entries: Entry[] = [];
  readonly givenAway: Buffer[] = [];
  readonly writeErrors: unknown[] = [];
  budget = 6 * PAGE;
  private sequence = 0;
  private commits = 0;
  private lastEnd: LogAddress = FIRST_ADDRESS;

  constructor(
    readonly device: Device,
    options: Partial<HybridLogOptions> = {},
  ) {
    this.segments = new SegmentFiles(device, 'hot', SEGMENT);
    if (options.maxMemory) this.budget = options.maxMemory;
    this.log = new HybridLog(this.segments, {
      pageSize: PAGE,
      memoryBudget: () => this.budget,
      maxMemory: this.budget,
      mutableFraction: 0.5,
      retains: device.retains,
      giveAway: (page) => this.givenAway.push(page),
      onWriteError: (error) => this.writeErrors.push(error),
      begin: FIRST_ADDRESS,
      tail: FIRST_ADDRESS,
      ...options,
    });
  }

  append(bytes: number): Entry {
    const { log } = this;
    const address = log.reserve(bytes);
    const entry = { address, bytes, sequence: ++this.sequence };
    const words = log.ring.wordsAt(address);
    const at = log.ring.wordOffset(address);
    const length = bytes - recordBytes(KIND_VALUE, 0, 0);
    writeHeader(words, at, KIND_VALUE, 0, 0, length, entry.sequence, 0 as LogAddress);
    words.fill(entry.sequence, at + HEADER_WORDS, at + (bytes >> 2));
    log.appended();
    this.entries.push(entry);
    return entry;
  }

  /** Writes the entry anew where it is. */
  change(entry: Entry): void {
    const { log } = this;
    entry.sequence = ++this.sequence;
    log.beforeChange(entry.address);
    const words = log.ring.wordsAt(entry.address);
    const at = log.ring.wordOffset(entry.address);
    words[at + 3] = entry.sequence;
    words.fill(entry.sequence, at + HEADER_WORDS, at + (entry.bytes >> 2));
    log.afterChange(entry.address);
  }

  commit(): LogAddress {
    this.lastEnd = this.log.appendCommit(
      {
        number: this.commits + 1,
        previousEnd: this.lastEnd,
        knownSynced: 0,
        nextSequence: this.sequence + 1,
        hotBegin: FIRST_ADDRESS,
        coldBegin: 0 as LogAddress,
        maxTime: 0,
        dictionaryEntries: 0,
      },
      this.sequence,
    );
    this.commits++;
    return this.lastEnd;
  }

  async commitAndFlush(): Promise<LogAddress> {
    const end = this.commit();
    await this.log.flushTo(end);
    return end;
  }

  /** Reads the files as recovery does, and checks that they hold what was appended, and that the sums are right. */
  async expectOnDisk(): Promise<void> {
    // A reader of its own: nothing in memory can help it.
    const segments = new SegmentFiles(this.device, 'hot', SEGMENT);
    const found: Entry[] = [];
    const wrongSums: number[] = [];
    let sum = 0;
    let from: number = FIRST_ADDRESS;
    let end: number = FIRST_ADDRESS;
    for (const segment of segments.numbers()) {
      const start = Math.max(segments.startOf(segment), FIRST_ADDRESS) as LogAddress;
      if (end !== start) break;
      end = await scanSegment(segments, start, (words, at, address, bytes) => {
        const kind = words[at + 1] & KIND_MASK;
        if (kind === KIND_VALUE) found.push({ address, bytes, sequence: sequenceOf(words, at) });
        if (kind !== KIND_COMMIT) {
          sum = (sum + words[at]) | 0;
          return;
        }
        const commit = readCommit(words, at);
        if (commit.rangeSum !== sum || commit.from !== from) wrongSums.push(commit.number);
        from = address + bytes;
        sum = 0;
      });
    }
    segments.close();
    expect(end).toBe(this.log.flushed);
    expect(wrongSums).toEqual([]);
    expect(found).toEqual(this.entries.filter(({ address }) => address < this.log.flushed));
  }
}

function inMemory(options: Partial<HybridLogOptions> = {}): Bench {
  return new Bench(new MemoryDevice(64 * MIB), options);
}

function onDisk(disk = new SimulatedDisk(), options: Partial<HybridLogOptions> = {}): Bench {
  disk.mkdir('/data');
  return new Bench(new FileDevice(disk.env(), '/data'), options);
}

function randomBytes(random: SeededRandom): number {
  return random.chance(0.05) ? 8 * (3000 + random.below(5000)) : 8 * (3 + random.below(200));
}

describe('appending', () => {
  it('gives rising addresses on multiples of 8, and no record across two pages', () => {
    const bench = inMemory();
    const random = new SeededRandom(1);
    let last = FIRST_ADDRESS - 8;
    for (let i = 0; i < 3000; i++) {
      const { address, bytes } = bench.append(randomBytes(random));
      expect(address).toBeGreaterThan(last);
      expect(address % 8).toBe(0);
      expect(Math.floor(address / PAGE)).toBe(Math.floor((address + bytes - 1) / PAGE));
      last = address + bytes - 8;
    }
    expect(bench.log.tail).toBe(last + 8);
  });

  it('begins behind the reserved start of the log', () => {
    expect(inMemory().append(64).address).toBe(FIRST_ADDRESS);
  });

  it.each([0, 8, 16, 24, 32])('fills up a page that lacks %i bytes', async (rest) => {
    const bench = inMemory();
    bench.append(PAGE - FIRST_ADDRESS - rest - 1024);
    bench.append(1024);
    expect(bench.append(40).address).toBe(PAGE);
    await bench.commitAndFlush();
    await bench.expectOnDisk();
  });

  it('takes records as long as a page, one after the other', async () => {
    const bench = inMemory();
    expect(bench.log.maxRecordBytes).toBe(PAGE);
    for (let i = 1; i <= 20; i++) expect(bench.append(PAGE).address).toBe(i * PAGE);
    await bench.commitAndFlush();
    await bench.expectOnDisk();
  });

  it('knows whether there is something to commit', async () => {
    const bench = inMemory();
    expect(bench.log.hasUncommitted).toBe(false);
    bench.append(64);
    expect(bench.log.hasUncommitted).toBe(true);
    bench.commit();
    expect(bench.log.hasUncommitted).toBe(false);
  });

  it.each([
    ['memory', () => inMemory()],
    ['the simulated disk', () => onDisk(new SimulatedDisk({ completion: 'random' }))],
  ])('to %s leaves everything readable, with a commit now and then', async (_name, make) => {
    const bench = make();
    const random = new SeededRandom(2);
    for (let i = 0; i < 4000; i++) {
      bench.append(randomBytes(random));
      if (random.chance(0.01)) await bench.commitAndFlush();
    }
    await bench.commitAndFlush();
    expect(bench.log.tail).toBeGreaterThan(3 * SEGMENT);
    await bench.expectOnDisk();
    expect(bench.writeErrors).toEqual([]);
  });
});

describe('changing in place', () => {
  it('keeps the sum of the range right, sealed already or not', async () => {
    const bench = inMemory({ maxMemory: 64 * PAGE, mutableFraction: 1 });
    for (let i = 0; i < 1200; i++) bench.append(1024);
    expect(bench.log.sealed).toBeGreaterThan(FIRST_ADDRESS + PAGE);
    expect(bench.log.sealed).toBeLessThan(bench.log.tail);
    expect(bench.log.readOnly).toBe(FIRST_ADDRESS);
    const random = new SeededRandom(3);
    for (let i = 0; i < 2000; i++) {
      bench.change(bench.entries[random.below(bench.entries.length)]);
      if (i % 10 === 0) bench.append(1024);
    }
    // The first and the last record below `sealed`, and the first one behind it.
    const behind = bench.entries.findIndex(({ address }) => address === bench.log.sealed);
    for (const at of [0, behind - 1, behind, behind]) bench.change(bench.entries[at]);
    await bench.commitAndFlush();
    await bench.expectOnDisk();
  });

  it('keeps the sum right when pages leave memory between', async () => {
    const bench = inMemory({ maxMemory: 20 * PAGE, mutableFraction: 0.9 });
    const random = new SeededRandom(4);
    for (let i = 0; i < 6000; i++) {
      bench.append(8 * (3 + random.below(100)));
      const entry =
        bench.entries[bench.entries.length - 1 - random.below(Math.min(bench.entries.length, 1500))];
      if (entry.address >= bench.log.readOnly) bench.change(entry);
      if (i % 1000 === 999) bench.commit();
    }
    expect(bench.log.head).toBeGreaterThan(FIRST_ADDRESS);
    await bench.commitAndFlush();
    await bench.expectOnDisk();
  });

  it('is refused below the mutable region, where a commit or the fraction has put an end to it', () => {
    const bench = inMemory({ maxMemory: 12 * PAGE, mutableFraction: 0.25 });
    const committed = bench.append(64);
    bench.commit();
    expect(() => bench.change(committed)).toThrow(InvariantError);
    const later = bench.append(64);
    bench.change(later);
    for (let i = 0; i < 5; i++) bench.append(PAGE);
    expect(later.address).toBeGreaterThanOrEqual(bench.log.head);
    expect(() => bench.change(later)).toThrow(InvariantError);
  });

  it.each([0, 0.25, 0.9, 1])('has a mutable region of at most %f of the memory', (mutableFraction) => {
    const bench = inMemory({ maxMemory: 16 * PAGE, mutableFraction });
    for (let i = 0; i < 3000; i++) {
      bench.append(1000);
      const { readOnly, tail } = bench.log;
      // And the page that is being filled.
      expect(tail - readOnly).toBeLessThanOrEqual(mutableFraction * 16 * PAGE + PAGE);
    }
    expect(bench.log.readOnly).toBeGreaterThan(FIRST_ADDRESS);
  });
});

describe('the regions', () => {
  it('stay in order, whatever happens', async () => {
    const bench = onDisk(new SimulatedDisk({ completion: 'random' }), { maxMemory: 8 * PAGE });
    const random = new SeededRandom(5);
    const running: Promise<unknown>[] = [];
    for (let i = 0; i < 3000; i++) {
      bench.append(randomBytes(random));
      if (random.chance(0.02)) running.push(bench.commitAndFlush());
      if (random.chance(0.1)) await new Promise(setImmediate);
      const { begin, head, readOnly, sealed, flushed, tail } = bench.log;
      const inOrder =
        begin <= head &&
        head <= readOnly &&
        readOnly <= tail &&
        head <= flushed &&
        flushed <= sealed &&
        sealed <= tail;
      if (!inOrder) expect({ begin, head, readOnly, sealed, flushed, tail }).toBe('in order');
      expect(bench.log.residentBytes).toBe(tail - head);
    }
    await Promise.all(running);
    await bench.commitAndFlush();
    await bench.expectOnDisk();
  });

  it('keep everything from head on in memory', () => {
    const bench = inMemory({ maxMemory: 8 * PAGE });
    const random = new SeededRandom(6);
    for (let i = 0; i < 2000; i++) bench.append(randomBytes(random));
    const resident = bench.entries.filter(({ address }) => address >= bench.log.head);
    expect(resident.length).toBeGreaterThan(10);
    const { ring } = bench.log;
    for (const { address, sequence } of resident) {
      expect(sequenceOf(ring.wordsAt(address), ring.wordOffset(address))).toBe(sequence);
    }
  });
});

describe('memory', () => {
  it('stays within its budget while nobody awaits', () => {
    const bench = inMemory({ maxMemory: 8 * PAGE });
    for (let i = 0; i < 400; i++) {
      bench.append(PAGE / 2);
      expect(bench.log.usedMemory).toBeLessThanOrEqual(8 * PAGE);
    }
    expect(bench.log.pressureBytes).toBeGreaterThan(100 * PAGE);
  });

  it('follows a budget that shrinks and grows again, and loses nothing', async () => {
    const bench = inMemory({ maxMemory: 16 * PAGE });
    const used: number[] = [];
    for (const pages of [16, 7, 16, 5]) {
      bench.budget = pages * PAGE;
      for (let i = 0; i < 40; i++) bench.append(PAGE / 2);
      used.push(bench.log.usedMemory / PAGE);
      expect(bench.log.usedMemory).toBeLessThanOrEqual(bench.budget);
    }
    expect(used[0]).toBeGreaterThan(12);
    expect(used[2]).toBeGreaterThan(12);
    await bench.commitAndFlush();
    await bench.expectOnDisk();
  });

  it('goes on with four pages when there is no budget at all', async () => {
    const bench = inMemory({ maxMemory: 16 * PAGE });
    bench.budget = -PAGE;
    for (let i = 0; i < 100; i++) bench.append(PAGE / 4);
    expect(bench.log.usedMemory).toBeLessThanOrEqual(5 * PAGE);
    await bench.commitAndFlush();
    await bench.expectOnDisk();
  });

  it('does not use the buffer of a page that a write is still reading', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const disk = new SimulatedDisk({ seed, completion: 'random' });
      const bench = onDisk(disk, { maxMemory: 6 * PAGE });
      const random = new SeededRandom(seed);
      const running: Promise<unknown>[] = [];
      for (let round = 0; round < 6; round++) {
        for (let i = random.below(40); i >= 0; i--) bench.append(randomBytes(random));
        // The write has begun, and takes effect some turns later; meanwhile its page is pushed out.
        running.push(bench.commitAndFlush());
        for (let i = 0; i < 12; i++) bench.append(PAGE / 2);
        if (random.chance(0.5)) await new Promise(setImmediate);
      }
      await Promise.all(running);
      await bench.commitAndFlush();
      await bench.expectOnDisk();
    }
  });
});

describe('flushing', () => {
  it('writes every byte once when there is no pressure, calls overlapping', async () => {
    const disk = new SimulatedDisk({ completion: 'random' });
    const bench = onDisk(disk, { maxMemory: 64 * PAGE });
    const running: Promise<unknown>[] = [];
    for (let i = 0; i < 30; i++) {
      bench.append(PAGE / 2);
      running.push(bench.commitAndFlush());
    }
    await Promise.all(running);
    const written = disk.trace.filter(({ operation }) => operation === 'write');
    expect(written.reduce((sum, { length }) => sum + (length ?? 0), 0)).toBe(bench.log.tail - FIRST_ADDRESS);
    await bench.expectOnDisk();
  });

  it('resolves only once everything below the goal is written', async () => {
    const disk = new SimulatedDisk({ completion: 'random' });
    const bench = onDisk(disk);
    for (let i = 0; i < 10; i++) {
      for (let k = 0; k < 7; k++) bench.append(20_000);
      const end = bench.commit();
      await bench.log.flushTo(end);
      expect(bench.log.flushed).toBeGreaterThanOrEqual(end);
    }
    await bench.expectOnDisk();
  });

  it('begins before a page has to leave memory', async () => {
    const bench = onDisk(new SimulatedDisk(), { maxMemory: 16 * PAGE, mutableFraction: 0.25 });
    for (let i = 0; i < 40; i++) {
      bench.append(PAGE / 2);
      for (let turn = 0; turn < 4; turn++) await new Promise(setImmediate);
    }
    expect(bench.log.flushed).toBeGreaterThan(bench.log.head);
    expect(bench.log.pressureBytes).toBe(0);
  });

  it('tells of a failed write once, to the listener and to everybody who waits, and can be tried again', async () => {
    const disk = new SimulatedDisk();
    const bench = onDisk(disk);
    bench.append(1000);
    const end = bench.commit();
    disk.failAt({ operation: 'write', nth: 1, code: 'EIO' });
    const results = await Promise.allSettled([bench.log.flushTo(end), bench.log.flushTo(end)]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(bench.writeErrors).toHaveLength(1);
    expect(bench.log.flushed).toBe(FIRST_ADDRESS);
    await bench.log.flushTo(end);
    await bench.expectOnDisk();
  });

  it('does nothing for a goal that is reached', async () => {
    const disk = new SimulatedDisk();
    const bench = onDisk(disk);
    bench.append(1000);
    const end = await bench.commitAndFlush();
    const calls = disk.trace.length;
    await bench.log.flushTo(end);
    await bench.log.flushTo(FIRST_ADDRESS);
    expect(disk.trace).toHaveLength(calls);
  });
});

describe('a durable write beside another', () => {
  /** Two commits, of which the first hangs; and what becomes of the promises. */
  async function twoCommits(bench: Bench, disk: SimulatedDisk) {
    await bench.commitAndFlush();
    await bench.segments.sync();
    expect(bench.log.overlaps).toBe(false);
    const before = bench.log.flushed;
    disk.hangAt({ operation: 'write', nth: 1 });
    bench.append(1000);
    const ends = [bench.commit()];
    const done: string[] = [];
    const first = bench.log.flushTo(ends[0], true).then(() => done.push('first'));
    expect(bench.log.overlaps).toBe(true);
    bench.append(2000);
    ends.push(bench.commit());
    const second = bench.log.flushBeside(ends[1]).then(() => done.push('second'));
    for (let turns = 0; turns < 10; turns++) await new Promise(setImmediate);
    return { before, ends, done, both: Promise.allSettled([first, second]) };
  }

  it('is made at once, and done when both are', async () => {
    const disk = new SimulatedDisk();
    const bench = onDisk(disk);
    const { before, ends, done, both } = await twoCommits(bench, disk);
    expect(disk.contents('/data/hot-00000000.log', 'durable')).toHaveLength(ends[1]);
    expect([done, bench.log.flushed]).toEqual([[], before]);
    disk.letGo();
    await both;
    expect([done, bench.log.flushed]).toEqual([['first', 'second'], ends[1]]);
    await bench.expectOnDisk();
    const [seen, durable] = (['seen', 'durable'] as const).map((as) =>
      disk.contents('/data/hot-00000000.log', as),
    );
    expect(durable.equals(seen)).toBe(true);
  });

  it('fails when the other one does, and both are written again', async () => {
    const disk = new SimulatedDisk();
    const bench = onDisk(disk);
    await bench.commitAndFlush();
    await bench.segments.sync();
    bench.append(1000);
    const first = bench.commit();
    disk.failAt({ operation: 'write', nth: 1, code: 'ENOSPC' });
    const flushes = [bench.log.flushTo(first, true)];
    bench.append(2000);
    const second = bench.commit();
    flushes.push(bench.log.flushBeside(second));
    const outcomes = await Promise.allSettled(flushes);
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(bench.log.flushed).toBeLessThan(first);
    expect(bench.writeErrors).toHaveLength(1);
    await bench.log.flushTo(second, true);
    await bench.expectOnDisk();
  });

  it('keeps the page from being used again until both are done', async () => {
    const disk = new SimulatedDisk();
    const bench = onDisk(disk);
    const { both, ends } = await twoCommits(bench, disk);
    // The second is done; the page leaves memory.
    for (let i = 0; i < 30; i++) bench.append(PAGE / 2);
    expect(bench.log.head).toBeGreaterThan(ends[1]);
    disk.letGo();
    await both;
    await bench.commitAndFlush();
    await bench.expectOnDisk();
  });

  it('comes after the other where it is in another page, or there is none', async () => {
    const disk = new SimulatedDisk();
    const bench = onDisk(disk);
    await bench.commitAndFlush();
    await bench.segments.sync();
    bench.append(PAGE / 2);
    const first = bench.log.flushTo(bench.commit(), true);
    bench.append(PAGE / 2);
    const end = bench.commit();
    await bench.log.flushBeside(end);
    await first;
    bench.append(104);
    await bench.log.flushBeside(bench.commit());
    await bench.expectOnDisk();
  });
});

describe('a full disk', () => {
  it('in the middle of a page turn leaves the log as it was, and it goes on when there is room', async () => {
    for (const mutableFraction of [0.5, 1]) {
      const disk = new SimulatedDisk({ capacityBytes: 10 * PAGE + 1000 });
      const bench = onDisk(disk, { mutableFraction });
      let error: unknown;
      while (!error) {
        try {
          bench.append(20_000);
        } catch (thrown) {
          error = thrown;
        }
        await new Promise(setImmediate);
      }
      expect(error).toBeInstanceOf(KvDiskError);
      expect((error as KvDiskError).full).toBe(true);
      expect(bench.writeErrors.length).toBeGreaterThan(0);
      const { head, tail } = bench.log;
      for (let i = 0; i < 3; i++) expect(() => bench.append(20_000)).toThrow(KvDiskError);
      expect(() => bench.commit()).toThrow(KvDiskError);
      expect({ head: bench.log.head, tail: bench.log.tail }).toEqual({ head, tail });
      const { ring } = bench.log;
      for (const { address, sequence } of bench.entries.filter((entry) => entry.address >= head))
        expect(sequenceOf(ring.wordsAt(address), ring.wordOffset(address))).toBe(sequence);

      disk.capacityBytes = Infinity;
      for (let i = 0; i < 50; i++) bench.append(20_000);
      await bench.commitAndFlush();
      await bench.expectOnDisk();
    }
  });
});

describe('appending together', () => {
  it('writes to disk before, and not at all meanwhile, even if the budget shrinks', () => {
    const disk = new SimulatedDisk();
    const bench = onDisk(disk, { maxMemory: 16 * PAGE });
    for (let i = 0; i < 40; i++) bench.append(PAGE / 2);
    const sizes = Array<number>(10).fill(PAGE / 2);
    let calls = 0;
    bench.log.appendTogether(sizes, () => {
      calls = disk.trace.length;
      bench.budget = 8 * PAGE;
      for (const bytes of sizes) bench.append(bytes);
      expect(disk.trace).toHaveLength(calls);
    });
    bench.append(PAGE);
    expect(disk.trace.length).toBeGreaterThan(calls);
    expect(bench.log.usedMemory).toBeLessThanOrEqual(8 * PAGE);
  });

  it('fails before anything is appended: too much for half of the memory, or a full disk', () => {
    const disk = new SimulatedDisk();
    const bench = onDisk(disk, { maxMemory: 16 * PAGE });
    for (let i = 0; i < 20; i++) bench.append(PAGE / 2);
    const never = () => {
      throw new Error('was appended');
    };
    const most = bench.log.mostTogether;
    expect(() => bench.log.appendTogether(Array<number>(most / PAGE + 1).fill(PAGE), never)).toThrow(
      KvTooLargeError,
    );
    expect(() => bench.log.appendTogether([most], never)).toThrow(KvTooLargeError);
    disk.capacityBytes = 0;
    const { tail } = bench.log;
    expect(() => bench.log.appendTogether(Array<number>(most / PAGE).fill(PAGE), never)).toThrow(KvDiskError);
    expect(bench.log.tail).toBe(tail);
  });
});

describe('going on with a log', () => {
  it.each([
    ['in the middle of a page', PAGE * 3 + 5000 * 8],
    ['8 bytes before the end of a page', PAGE * 4 - 8],
    ['at the end of a page', PAGE * 4],
    ['at the end of a segment', SEGMENT],
    ['beyond 2^40', 2 ** 40 * 5 + 24],
  ])('that ended %s', async (_name, tail) => {
    const bench = inMemory({ tail: tail as LogAddress, maxMemory: 6 * PAGE });
    expect(bench.log).toMatchObject({ head: tail, readOnly: tail, flushed: tail, tail });
    expect(bench.log.hasUncommitted).toBe(false);
    const first = bench.append(64);
    expect(first.address).toBe(PAGE - (tail % PAGE) >= 64 ? tail : tail + PAGE - (tail % PAGE));
    bench.change(first);
    const random = new SeededRandom(7);
    for (let i = 0; i < 600; i++) bench.append(randomBytes(random));
    const end = await bench.commitAndFlush();
    let next = tail as LogAddress;
    const found: number[] = [];
    while (next < end) {
      next = await scanSegment(bench.segments, next, (words, at) => {
        if ((words[at + 1] & KIND_MASK) === KIND_VALUE) found.push(sequenceOf(words, at));
      });
    }
    expect(next).toBe(end);
    expect(found).toEqual(bench.entries.map(({ sequence }) => sequence));
  });

  it('reads back from disk what lies before, in the page of the tail, too', async () => {
    const device = new MemoryDevice(64 * MIB);
    const before = new Bench(device);
    const old = before.append(1000);
    const tail = await before.commitAndFlush();
    const after = new Bench(device, { tail });
    after.append(1000);
    await after.commitAndFlush();
    const record = await after.log.readRecord(old.address, sizeClassOf(old.bytes));
    expect(sequenceOf(record.words, record.at)).toBe(old.sequence);
  });
});

describe('reading a record from disk', () => {
  async function written(sizes: number[]): Promise<{ disk: SimulatedDisk; bench: Bench }> {
    const disk = new SimulatedDisk();
    const bench = onDisk(disk);
    for (const bytes of sizes) bench.append(bytes);
    await bench.commitAndFlush();
    return { disk, bench };
  }

  it('takes one read where the size class covers it, two where it does not', async () => {
    const { bench } = await written([24, 128, 136, 1000, 40_000, PAGE]);
    const read = jest.spyOn(bench.segments, 'read');
    for (const { address, bytes, sequence } of bench.entries) {
      for (const [sizeClass, expected] of [
        [sizeClassOf(bytes), 1],
        [1, bytes > 128 ? 2 : 1],
        [LARGEST_SIZE_CLASS, bytes > 24 ? 2 : 1],
      ]) {
        read.mockClear();
        const record = await bench.log.readRecord(address, sizeClass);
        expect(sequenceOf(record.words, record.at)).toBe(sequence);
        expect(record.words[(bytes >> 2) - 1]).toBe(bytes > 24 ? sequence : 0);
        expect(record.bytes.buffer).toBe(record.words.buffer);
        expect(read).toHaveBeenCalledTimes(expected);
      }
    }
    expect(bench.log.diskReads).toBe(18);
  });

  it('reports any damaged byte with file and address, and never as a record', async () => {
    const { disk, bench } = await written([200, 2000]);
    const entry = bench.entries[1];
    for (let byte = 0; byte < 2000; byte += byte < 32 ? 1 : 97) {
      disk.flip('/data/hot-00000000.log', (entry.address + byte) * 8 + (byte % 8));
      for (const sizeClass of [1, sizeClassOf(2000), LARGEST_SIZE_CLASS]) {
        const error: unknown = await bench.log.readRecord(entry.address, sizeClass).catch((e: unknown) => e);
        expect(error).toBeInstanceOf(KvCorruptionError);
        expect(error).toMatchObject({ file: 'hot-00000000.log', address: entry.address });
      }
      disk.flip('/data/hot-00000000.log', (entry.address + byte) * 8 + (byte % 8));
    }
    await expect(bench.log.readRecord(entry.address, 1)).resolves.toMatchObject({ at: 0 });
  });

  it('reports a place where no record begins, and one behind the end', async () => {
    const { bench } = await written([200]);
    for (const address of [FIRST_ADDRESS + 8, 8, bench.log.tail, bench.log.tail + 4096, 7 * SEGMENT]) {
      await expect(bench.log.readRecord(address as LogAddress, 1)).rejects.toBeInstanceOf(KvCorruptionError);
    }
  });

  it('reads the last record of a segment', async () => {
    const sizes = [PAGE - FIRST_ADDRESS, ...Array<number>(14).fill(PAGE), PAGE - 48, 48, 64];
    const { bench } = await written(sizes);
    const last = bench.entries[sizes.length - 2];
    expect(last.address + last.bytes).toBe(SEGMENT);
    const record = await bench.log.readRecord(last.address, 5);
    expect(sequenceOf(record.words, record.at)).toBe(last.sequence);
  });
});

describe('on a device that keeps nothing', () => {
  it('moves begin to what is still in memory', () => {
    const bench = new Bench(new NullDevice(), { maxMemory: 8 * PAGE });
    for (let i = 0; i < 200; i++) {
      bench.append(PAGE / 2);
      expect(bench.log.begin).toBe(bench.log.head);
    }
    expect(bench.log.begin).toBeGreaterThan(90 * PAGE);
    expect(bench.log.usedMemory).toBeLessThanOrEqual(8 * PAGE);
  });
});

describe('the commit record', () => {
  it('never spans pages, and lies behind everything it closes', async () => {
    const bench = inMemory();
    for (let rest = 0; rest <= COMMIT_BYTES + 16; rest += 8) {
      bench.append(PAGE);
      bench.append(PAGE - rest);
      const end = bench.commit();
      expect((end - COMMIT_BYTES) % PAGE).toBeLessThanOrEqual(PAGE - COMMIT_BYTES);
      expect(bench.log.readOnly).toBe(end);
      expect(bench.log.sealed).toBe(end);
    }
    await bench.commitAndFlush();
    await bench.expectOnDisk();
  });
});

describe('memory of the next page', () => {
  const PAGES = 5;

  /** A log whose pages are made ready by `zero`, and what it asked for. */
  function preparing(zero: (page: Uint8Array) => Promise<void>): { bench: Bench; asked: Uint8Array[] } {
    const asked: Uint8Array[] = [];
    const options = {
      zero: (page: Uint8Array) => {
        asked.push(page);
        return zero(page);
      },
      maxMemory: (PAGES + 1) * PAGE,
    };
    return { bench: new Bench(new MemoryDevice(2 ** 24), options), asked };
  }

  async function fillPages(bench: Bench, pages: number): Promise<Uint8Array[]> {
    const used: Uint8Array[] = [];
    for (let i = 0; i < pages; i++) {
      used.push(bench.log.ring.bytesAt(bench.append(PAGE).address));
      await new Promise(setImmediate);
    }
    return used;
  }

  it('is made ready while the page before is filled, as far as the budget goes', async () => {
    const { bench, asked } = preparing(async (page) => void page.fill(0));
    const used = await fillPages(bench, 12);
    // Not for a log of one page; then for each further one, until pages are used again.
    expect(asked).toHaveLength(PAGES - 2);
    expect(used.slice(1, PAGES - 1).every((page, i) => page === asked[i])).toBe(true);
    expect(bench.log.usedMemory).toBeLessThanOrEqual((PAGES + 1) * PAGE);
    await bench.commitAndFlush();
    await bench.expectOnDisk();
  });

  it('is within the budget also while nobody awaits and a write is reading a page', async () => {
    const { bench } = preparing(() => new Promise(() => undefined));
    for (let i = 0; i < 40; i++) {
      bench.append(PAGE);
      expect(bench.log.usedMemory).toBeLessThanOrEqual((PAGES + 1) * PAGE);
    }
    await bench.commitAndFlush();
    await bench.expectOnDisk();
  });

  it('is taken as it comes where it is not ready in time, or cannot be', async () => {
    const never = preparing(() => new Promise(() => undefined));
    await fillPages(never.bench, 12);
    expect(never.asked).toHaveLength(1);
    await never.bench.commitAndFlush();
    await never.bench.expectOnDisk();
    const failing = preparing(() => Promise.reject(new Error('EMFILE')));
    await fillPages(failing.bench, 12);
    expect(failing.asked).toHaveLength(PAGES - 2);
    await failing.bench.commitAndFlush();
    await failing.bench.expectOnDisk();
  });
});
