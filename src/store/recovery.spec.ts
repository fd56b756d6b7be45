import { LogBuilder } from '../../test/support/log-builder.js';
import { SeededRandom } from '../../test/support/seeded-random.js';
import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import { FileDevice, type Device } from '../device/index.js';
import { KvCorruptionError } from '../errors.js';
import { FIRST_ADDRESS, type LogAddress } from '../log/address.js';
import { COMMIT_BYTES, type Commit } from '../log/commit.js';
import { commitBefore } from '../log/scan.js';
import { SegmentFiles } from '../log/segment-files.js';
import { newManifest, type LogManifest } from './manifest.js';
import { Recovery, type Recovered } from './recovery.js';

const SEGMENT = 64 * 1024;

interface Outcome extends Recovered {
  /** Addresses of the records that were applied, in order. */
  applied: number[];
}

/** A disk that holds a log, for a store that was never closed. */
class Disk {
  readonly disk = new SimulatedDisk();
  readonly device: Device;
  manifest: LogManifest = newManifest((length) => new Uint8Array(length), SEGMENT, SEGMENT).hot;

  constructor(readonly log?: LogBuilder) {
    this.disk.mkdir('/data');
    this.disk.syncDirectorySync('/');
    this.device = new FileDevice(this.disk.env(), '/data');
    log?.writeTo(this.device);
  }

  closed(commit: number, tail: number): this {
    return this.says({ closed: { commit, tail: tail as LogAddress } });
  }

  /** Puts fields into the manifest. */
  says(fields: Partial<LogManifest>): this {
    this.manifest = { ...this.manifest, ...fields };
    return this;
  }

  /** The log was truncated behind this commit. */
  truncatedBehind(log: LogBuilder, commit: number): this {
    return this.says({ begin: log.commitEnds[commit - 1], beginCommit: commit });
  }

  /** @param behind the commit behind which recovery begins, if not at the begin of the log */
  async recover(behind?: LogAddress): Promise<Outcome> {
    const segments = new SegmentFiles(this.device, 'hot', SEGMENT);
    const staged: number[] = [];
    const applied: number[] = [];
    const sink = {
      stage: (_words: unknown, _at: unknown, address: number) => staged.push(address),
      apply: async () => void applied.push(...staged.splice(0)),
    };
    const from = behind && { commit: commitBefore(segments, behind) as Commit, end: behind };
    const recovery = new Recovery(segments, this.manifest, sink, from);
    try {
      return { ...(await recovery.run()), applied };
    } finally {
      await segments.sync();
      segments.close();
    }
  }

  async failure(behind?: LogAddress): Promise<KvCorruptionError> {
    const error: unknown = await this.recover(behind).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(KvCorruptionError);
    return error as KvCorruptionError;
  }

  /** Changes one bit of the log. */
  flip(address: number, bit = 0): this {
    const segment = Math.floor(address / SEGMENT);
    this.disk.flip(this.pathOf(segment), (address % SEGMENT) * 8 + bit);
    return this;
  }

  remove(segment: number): this {
    this.device.removeSync(this.pathOf(segment).slice('/data/'.length));
    this.device.syncDirectorySync();
    return this;
  }

  truncate(segment: number, length: number): this {
    this.disk.put(this.pathOf(segment), this.disk.contents(this.pathOf(segment)).subarray(0, length));
    return this;
  }

  size(segment: number): number {
    return this.disk.contents(this.pathOf(segment), 'durable').length;
  }

  pathOf(segment: number): string {
    return `/data/hot-${segment.toString(16).padStart(8, '0')}.log`;
  }
}

/** Addresses of the records up to a commit, from behind another one. */
const addressesUpTo = (log: LogBuilder, commit: number, behind = 0): number[] =>
  log.records
    .map(({ address }) => address as number)
    .filter(
      (address) =>
        address < (log.commitEnds[commit - 1] ?? 0) && address >= (log.commitEnds[behind - 1] ?? 0),
    );

/** Three commits of two records each. */
function threeCommits(): LogBuilder {
  const log = new LogBuilder(SEGMENT);
  for (let i = 0; i < 3; i++) log.value(64).value(200).commit();
  return log;
}

/** Commits whose ranges cross into the next segment, over four segments. */
function fourSegments(): LogBuilder {
  const log = new LogBuilder(SEGMENT);
  while (log.tail < 3.5 * SEGMENT) {
    const rest = SEGMENT - (log.tail % SEGMENT);
    if (rest < 4096 + COMMIT_BYTES) log.fillSegment().value(4096).commit();
    else if (log.records.length % 3 === 2) log.value(4096).commit();
    else log.value(4096);
  }
  return log.commit();
}

describe('a whole log', () => {
  it('that is empty is new', async () => {
    expect(await new Disk().recover()).toStrictEqual({
      report: { created: false, clean: true, records: 0, hinted: 0, commit: 0, droppedBytes: 0 },
      tail: FIRST_ADDRESS,
      last: undefined,
      lastEnd: FIRST_ADDRESS,
      applied: [],
    });
  });

  it.each([
    ['within a segment', threeCommits],
    ['over segments', fourSegments],
  ])('after a clean close is applied %s, and goes on where it ended', async (_name, make) => {
    const log = make();
    const disk = new Disk(log).closed(log.commitEnds.length, log.tail);
    const { report, tail, last, applied } = await disk.recover();
    expect(applied).toEqual(log.records.map(({ address }) => address));
    expect(report).toMatchObject({ clean: true, records: log.records.length, droppedBytes: 0 });
    expect(report.droppedFrom).toBeUndefined();
    expect(tail).toBe(log.tail);
    expect(last).toMatchObject({ number: log.commitEnds.length, knownSynced: log.commitEnds.length - 1 });
  });

  it('without a clean close is applied, and goes on in a new segment', async () => {
    const log = threeCommits();
    for (const disk of [new Disk(log), new Disk(log).closed(2, log.commitEnds[1])]) {
      const { report, tail, lastEnd, applied } = await disk.recover();
      expect(applied).toEqual(addressesUpTo(log, 3));
      expect(report).toMatchObject({ clean: false, records: 6, commit: 3, droppedBytes: 0 });
      expect([lastEnd, tail]).toEqual([log.tail, SEGMENT]);
      expect(disk.size(0)).toBe(log.tail);
    }
  });

  it('applies nothing before the commit that closes it', async () => {
    const log = threeCommits();
    const segments = new SegmentFiles(new Disk(log).device, 'hot', SEGMENT);
    const calls: string[] = [];
    const manifest = newManifest((length) => new Uint8Array(length), SEGMENT, SEGMENT).hot;
    await new Recovery(segments, manifest, {
      stage: () => calls.push('stage'),
      apply: async () => void calls.push('apply'),
    }).run();
    expect(calls.join(' ')).toBe(Array(3).fill('stage stage apply').join(' '));
  });
});

describe('a torn tail', () => {
  it('is cut off durably behind the last commit, and reported', async () => {
    const log = threeCommits()
      .value(500 * 8)
      .value(72);
    const disk = new Disk(log);
    const { report, tail, applied, lastEnd } = await disk.recover();
    expect(applied).toEqual(addressesUpTo(log, 3));
    expect(report).toMatchObject({
      clean: false,
      commit: 3,
      records: 6,
      droppedBytes: 4072,
      droppedFrom: `hot-00000000.log, address ${log.commitEnds[2]}`,
    });
    expect([lastEnd, tail, disk.size(0)]).toEqual([log.commitEnds[2], SEGMENT, log.commitEnds[2]]);
  });

  it('over several segments is removed, and its addresses are not used again', async () => {
    const log = threeCommits().fillSegment().value(64).fillSegment().value(64).fillSegment().value(64);
    const disk = new Disk(log);
    const { report, tail } = await disk.recover();
    expect(report.droppedBytes).toBe(log.writtenBehind(log.commitEnds[2]));
    expect(report.droppedFrom).toBe(`hot-00000000.log, address ${log.commitEnds[2]}`);
    expect(disk.disk.paths()).toEqual([disk.pathOf(0)]);
    expect(tail).toBe(4 * SEGMENT);
  });

  it('that begins exactly at a segment is removed with it', async () => {
    const log = new LogBuilder(SEGMENT)
      .value(64)
      .filler(SEGMENT - 128 - COMMIT_BYTES)
      .commit()
      .value(64);
    expect(log.lastEnd).toBe(SEGMENT);
    const disk = new Disk(log);
    const { tail, lastEnd, report } = await disk.recover();
    expect([lastEnd, tail, report.droppedBytes]).toEqual([SEGMENT, 2 * SEGMENT, 64]);
    expect(disk.disk.paths()).toEqual([disk.pathOf(0)]);
    expect(disk.size(0)).toBe(SEGMENT);
  });

  it('without any commit before leaves an empty log at higher addresses', async () => {
    const disk = new Disk(new LogBuilder(SEGMENT).value(64).value(64));
    const { tail, last, report } = await disk.recover();
    expect([tail, last, report.droppedBytes, report.clean]).toEqual([SEGMENT, undefined, 128, false]);
    expect(disk.size(0)).toBe(FIRST_ADDRESS);
  });

  it('may end anywhere: what remains is what the commits before it say', async () => {
    const log = threeCommits();
    for (let length = 0; length <= log.tail; length += 4) {
      const { report, applied, lastEnd } = await new Disk(log).truncate(0, length).recover();
      const commits = log.commitEnds.filter((end) => end <= length).length;
      expect([report.commit, lastEnd]).toEqual([commits, log.commitEnds[commits - 1] ?? FIRST_ADDRESS]);
      expect(applied).toEqual(addressesUpTo(log, commits));
    }
  });

  it('gives the same state when recovery is repeated, also after a crash right behind the cut', async () => {
    const log = fourSegments().value(64).value(64);
    const disk = new Disk(log);
    const first = await disk.recover();
    disk.disk.crash('none');
    const again = new Disk();
    for (const path of disk.disk.paths()) again.disk.put(path, disk.disk.contents(path));
    const second = await again.recover();
    expect(second.applied).toEqual(first.applied);
    expect(second.report).toMatchObject({ droppedBytes: 0, commit: first.report.commit });
    expect(second.tail).toBe(first.tail);
  });
});

describe('the continuation after a cut', () => {
  it('in the next segment belongs to the log', async () => {
    const log = threeCommits().value(64).continueInSegment(1).value(64).commit().value(72).commit();
    const { report, last, tail } = await new Disk(log).recover();
    expect(report).toMatchObject({ records: 8, commit: 5, droppedBytes: 0 });
    expect(last?.previousEnd).toBe(log.commitEnds[3]);
    expect(tail).toBe(2 * SEGMENT);
  });

  it('may leave out segments, again and again', async () => {
    const log = threeCommits().fillSegment().value(64);
    for (const segment of [4, 5, 17]) log.value(64).continueInSegment(segment).value(64).commit().value(64);
    log.continueInSegment(7000).commit();
    const { report, tail } = await new Disk(log).recover();
    expect(report).toMatchObject({ records: 9, commit: 7, droppedBytes: 0 });
    expect(tail).toBe(7001 * SEGMENT);
  });

  it('behind a commit that ends a segment leaves out nothing', async () => {
    const log = new LogBuilder(SEGMENT)
      .value(64)
      .filler(SEGMENT - 128 - COMMIT_BYTES)
      .commit();
    log.value(64).continueInSegment(2).value(64).commit();
    expect((await new Disk(log).recover()).report).toMatchObject({ commit: 2, records: 3, droppedBytes: 0 });
  });

  it('is cut in turn, back to where the first cut was if need be', async () => {
    const log = threeCommits().value(64).continueInSegment(1).value(64).commit();
    const disk = new Disk(log).truncate(1, 66);
    const { report, lastEnd, tail } = await disk.recover();
    expect(report).toMatchObject({
      commit: 3,
      droppedBytes: 66,
      droppedFrom: `hot-00000001.log, address ${SEGMENT}`,
    });
    expect([lastEnd, tail]).toEqual([log.commitEnds[2], 2 * SEGMENT]);
    expect(disk.disk.paths()).toEqual([disk.pathOf(0)]);
  });

  it('that does not name the commit it follows is no part of the log', async () => {
    const log = threeCommits()
      .continueInSegment(1)
      .value(64)
      .commit({ previousEnd: threeCommits().commitEnds[1] });
    expect((await new Disk(log).recover()).report).toMatchObject({
      commit: 3,
      droppedBytes: log.writtenBehind(SEGMENT),
    });
  });
});

describe('a log that was truncated', () => {
  const log = fourSegments();
  const commits = log.commitEnds.length;
  /** The second commit of the second segment. */
  const behind = log.commitEnds.findIndex((end) => end > SEGMENT) + 2;

  it('begins behind the commit that the manifest names', async () => {
    const disk = new Disk(log).truncatedBehind(log, behind).closed(commits, log.tail);
    // Nobody reads what lies below.
    disk.flip(SEGMENT + 100);
    const { applied, report, tail } = await disk.recover();
    const expected = addressesUpTo(log, commits, behind);
    expect(applied).toEqual(expected);
    expect(report).toMatchObject({ clean: true, records: expected.length, commit: commits, droppedBytes: 0 });
    expect(tail).toBe(log.tail);
    expect(disk.disk.paths()).toEqual([1, 2, 3].map((segment) => disk.pathOf(segment)));
  });

  it('keeps all segments from its begin on', async () => {
    const last = log.commitEnds.filter((end) => end < SEGMENT).length;
    const disk = new Disk(log).truncatedBehind(log, last);
    expect((await disk.recover()).applied).toEqual(addressesUpTo(log, commits, last));
    expect(disk.disk.paths()).toContain(disk.pathOf(0));
  });

  it('has a commit behind its begin, or it is damaged', async () => {
    const short = threeCommits();
    const [, second, third] = short.commitEnds;
    const whole = await new Disk(short).truncatedBehind(short, 2).truncate(0, third).recover();
    expect(whole.report).toMatchObject({ commit: 3, records: 2 });
    const error = await new Disk(short)
      .truncatedBehind(short, 2)
      .truncate(0, third - 8)
      .failure();
    expect(error).toMatchObject({ file: 'hot-00000000.log' });
    expect(error.message).toContain(
      'commits up to 3 were on stable storage, the last one that can be read is 2',
    );
    await new Disk(short).truncatedBehind(short, 2).truncate(0, second).failure();
    await new Disk(short).truncatedBehind(short, 2).remove(0).failure();
  });

  it('is the one that it was before, where it begins at the first address', async () => {
    const disk = new Disk(threeCommits()).truncate(0, FIRST_ADDRESS);
    expect((await disk.recover()).report).toMatchObject({ commit: 0, droppedBytes: 0, clean: true });
  });
});

describe('behind a checkpoint', () => {
  it('only what came since is applied, and the commits go on from its one', async () => {
    const log = threeCommits();
    for (const behind of [1, 2]) {
      const disk = new Disk(log).closed(3, log.tail).flip(FIRST_ADDRESS + 40);
      const { applied, report, last, lastEnd, tail } = await disk.recover(log.commitEnds[behind - 1]);
      expect(applied).toEqual(addressesUpTo(log, 3, behind));
      expect(report).toMatchObject({ clean: true, commit: 3, records: 2 * (3 - behind), droppedBytes: 0 });
      expect(last?.number).toBe(3);
      expect([lastEnd, tail]).toEqual([log.tail, log.tail]);
    }
  });

  it('there may be nothing', async () => {
    const log = threeCommits();
    const clean = await new Disk(log).closed(3, log.tail).recover(log.tail);
    expect(clean.report).toMatchObject({ clean: true, commit: 3, records: 0 });
    const unclean = await new Disk(log).recover(log.tail);
    expect(unclean.report).toMatchObject({ clean: false, commit: 3, records: 0 });
    expect([unclean.applied, unclean.last?.number, unclean.lastEnd]).toEqual([[], 3, log.tail]);
    expect([clean.tail, unclean.tail]).toEqual([log.tail, SEGMENT]);
  });

  it('may lie a torn tail, or damage', async () => {
    const log = threeCommits();
    const [first, second] = log.commitEnds;
    const torn = await new Disk(log).flip(second + 40).recover(first);
    expect(torn.report).toMatchObject({ commit: 2, records: 2, droppedBytes: log.writtenBehind(second) });
    expect((await new Disk(log).flip(first + 40).failure(first)).address).toBe(first);
    const lost = await new Disk(log).flip(second + 40).recover(second);
    expect(lost.report).toMatchObject({ commit: 2, records: 0, droppedBytes: log.writtenBehind(second) });
    expect(lost.lastEnd).toBe(second);
  });

  it('segments are read from the one of its commit on, and none is removed', async () => {
    const log = fourSegments();
    const commits = log.commitEnds.length;
    const behind = log.commitEnds.findIndex((end) => end > 2 * SEGMENT) + 2;
    const disk = new Disk(log).flip(FIRST_ADDRESS + 40).flip(SEGMENT + 4096);
    const { applied, report } = await disk.recover(log.commitEnds[behind - 1]);
    expect(applied).toEqual(addressesUpTo(log, commits, behind));
    expect(report).toMatchObject({ commit: commits, droppedBytes: 0 });
    expect(disk.disk.paths()).toHaveLength(4);
  });

  it('the log may go on in a later segment, where the commit ended one', async () => {
    const log = new LogBuilder(SEGMENT)
      .value(64)
      .filler(SEGMENT - 128 - COMMIT_BYTES)
      .commit();
    log.value(64).continueInSegment(2).value(64).commit().value(72);
    expect((await new Disk(log).recover(SEGMENT as LogAddress)).report).toMatchObject({
      commit: 2,
      records: 1,
      droppedBytes: 72,
      droppedFrom: `hot-00000002.log, address ${log.commitEnds[1]}`,
    });
  });
});

describe('what was read back after an unclean stop', () => {
  /** Ranges of the log that recovery has written. */
  async function written(disk: Disk, behind?: LogAddress): Promise<number[][]> {
    const { length } = disk.disk.trace;
    await disk.recover(behind);
    return disk.disk.trace
      .slice(length)
      .filter(({ operation }) => operation === 'write')
      .map(({ path, position = 0, length: bytes = 0 }) => {
        const start = Number.parseInt(path.slice(-12, -4), 16) * SEGMENT + position;
        return [start, start + bytes];
      });
  }

  it('is written again from the last commit on that is known to be synced, and synced', async () => {
    for (const knownSynced of [0, 1, 2]) {
      const log = new LogBuilder(SEGMENT);
      for (let i = 0; i < 3; i++) log.value(64).commit({ knownSynced: Math.min(i, knownSynced) });
      const from = log.commitEnds[knownSynced - 1] ?? FIRST_ADDRESS;
      expect(await written(new Disk(log))).toEqual([[from, log.tail]]);
      // Those before the checkpoint are synced, whatever the last commit knows.
      const start = log.commitEnds[1];
      expect(await written(new Disk(log), start)).toEqual([[Math.max(from, start), log.tail]]);
    }
  });

  it('does not include a tail that is dropped', async () => {
    const log = threeCommits().value(64);
    expect(await written(new Disk(log))).toEqual([[log.commitEnds[1], log.commitEnds[2]]]);
  });

  it('is left as it is after a clean close', async () => {
    const log = threeCommits();
    expect(await written(new Disk(log).closed(3, log.tail))).toEqual([]);
    expect(await written(new Disk(log).closed(3, log.tail - 8))).toHaveLength(1);
    expect(await written(new Disk(log).closed(2, log.tail))).toHaveLength(1);
  });
});

describe('damage', () => {
  it('at or below the highest commit known synced is corruption, above it a torn tail', async () => {
    for (const knownSynced of [0, 1, 2]) {
      for (const damaged of [0, 1, 2]) {
        const log = new LogBuilder(SEGMENT);
        for (let i = 0; i < 3; i++)
          log
            .value(64)
            .value(200)
            .commit({ knownSynced: Math.min(i, knownSynced) });
        const address = log.records[damaged * 2].address + 40;
        const disk = new Disk(log).flip(address);
        if (damaged < knownSynced) {
          expect(await disk.failure()).toMatchObject({ file: 'hot-00000000.log', address: address - 40 });
          // Nothing was touched.
          expect(disk.size(0)).toBe(log.tail);
        } else {
          const { report, applied } = await disk.recover();
          expect(report.commit).toBe(damaged);
          expect(applied).toEqual(addressesUpTo(log, damaged));
        }
      }
    }
  });

  it('says which commits are gone', async () => {
    const log = threeCommits();
    const error = await new Disk(log).flip(log.commitEnds[0] + 30).failure();
    expect(error.message).toContain(
      'commits up to 2 were on stable storage, the last one that can be read is 1',
    );
  });

  it('is found by what the manifest says, where no later commit tells', async () => {
    const log = threeCommits();
    const last = log.commitEnds[2] - COMMIT_BYTES;
    expect((await new Disk(log).flip(last).recover()).report.commit).toBe(2);
    expect((await new Disk(log).closed(2, log.commitEnds[1]).flip(last).recover()).report.commit).toBe(2);
    expect(await new Disk(log).closed(3, log.tail).flip(last).failure()).toMatchObject({ address: last });
    await new Disk(log)
      .closed(3, log.tail)
      .truncate(0, log.tail - 8)
      .failure();
    await new Disk(log).closed(3, log.tail).remove(0).failure();
    expect((await new Disk(log).says({ synced: 2 }).flip(last).recover()).report.commit).toBe(2);
    expect(await new Disk(log).says({ synced: 3 }).flip(last).failure()).toMatchObject({ address: last });
  });

  it('of any one bit is corruption, a torn tail, or harmless in a filler, and never another state', async () => {
    const log = fourSegments().value(4096).value(4096).commit();
    const random = new SeededRandom(1);
    const commits = log.commitEnds.length;
    const beforeLast = log.commitEnds[commits - 2];
    const outcomes = { corrupt: 0, torn: 0, harmless: 0 };
    for (let i = 0; i < 150; i++) {
      const address =
        i < 20
          ? log.tail - 1 - random.below(COMMIT_BYTES)
          : FIRST_ADDRESS + random.below(log.tail - FIRST_ADDRESS);
      const disk = new Disk(log).flip(address, random.below(8));
      const outcome = await disk.recover().catch((error: unknown) => error);
      if (outcome instanceof KvCorruptionError) {
        expect(address).toBeLessThan(beforeLast);
        outcomes.corrupt++;
        continue;
      }
      const { report, applied } = outcome as Outcome;
      if (report.commit === commits) {
        const filler = log.records.find(
          (record) => record.address <= address && address < record.address + record.bytes,
        );
        expect(filler?.bytes).not.toBe(4096);
        expect(address - (filler?.address ?? 0)).toBeGreaterThanOrEqual(8);
        outcomes.harmless++;
      } else {
        expect(address).toBeGreaterThanOrEqual(beforeLast);
        expect(report.commit).toBe(commits - 1);
        outcomes.torn++;
      }
      expect(applied).toEqual(addressesUpTo(log, report.commit));
    }
    expect(Math.min(outcomes.corrupt, outcomes.torn)).toBeGreaterThan(10);
  });

  it('is a missing segment, whichever it is', async () => {
    const log = fourSegments();
    for (const segment of [0, 1, 2]) {
      const error = await new Disk(log).remove(segment).failure();
      expect(error.file).toBe(log.nameOf(segment));
    }
    expect((await new Disk(log).closed(log.commitEnds.length, log.tail).remove(3).failure()).file).toBe(
      log.nameOf(3),
    );
  });

  it('is a segment that ends early, though the next ones are whole', async () => {
    const log = fourSegments();
    for (const length of [0, 64, 5000, SEGMENT - 8]) await new Disk(log).truncate(1, length).failure();
    // Exactly behind a commit, as a cut would have left it: but the next segment does not follow that commit.
    const end = log.commitEnds.filter((one) => one > SEGMENT && one < 2 * SEGMENT).at(-1) as number;
    await new Disk(log).truncate(1, end - SEGMENT).failure();
  });
});

describe('a commit record that is whole', () => {
  it.each<[string, (log: LogBuilder) => LogBuilder]>([
    ['but has the number after next', (log) => log.value(64).commit({ number: 5 })],
    ['but has the number of the last one', (log) => log.value(64).commit({ number: 3 })],
    ['but begins elsewhere', (log) => log.value(64).commit({ from: log.commitEnds[1] })],
    ['but follows another commit', (log) => log.value(64).commit({ previousEnd: log.commitEnds[1] })],
    ['but sums up other records', (log) => log.value(64).commit({ rangeSum: 1 })],
  ])('%s does not count', async (_name, add) => {
    const log = add(threeCommits());
    const { report, applied } = await new Disk(log).recover();
    const droppedBytes = log.writtenBehind(log.commitEnds[2]);
    expect(droppedBytes).toBeGreaterThan(64);
    expect(report).toMatchObject({ commit: 3, records: 6, droppedBytes });
    expect(applied).toEqual(addressesUpTo(log, 3));
  });

  it('does not count when it reached the disk before one that it follows', async () => {
    const log = threeCommits().value(64).commit({ knownSynced: 3 }).value(64).commit({ knownSynced: 3 });
    // The fourth was still on its way when the power went out.
    const { report } = await new Disk(log).flip(log.commitEnds[3] - 50).recover();
    expect(report).toMatchObject({ commit: 3, droppedBytes: log.writtenBehind(log.commitEnds[2]) });
  });

  it('tells of damage also when it lies segments behind it', async () => {
    const log = fourSegments();
    const error = await new Disk(log).flip(log.records[1].address + 50).failure();
    expect(error).toMatchObject({ file: log.nameOf(0), address: log.records[1].address });
    expect(error.message).toContain(`commits up to ${log.commitEnds.length - 1} were on stable storage`);
  });
});
