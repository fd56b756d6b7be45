import { SimulatedDisk } from '../../test/support/simulated-disk.js';
import type { EnvFs } from '../device/env.js';
import { FileDevice } from '../device/index.js';
import { FIRST_ADDRESS, NO_ADDRESS } from '../log/address.js';
import { KIND_VALUE, writeHeader } from '../log/record.js';
import { SegmentFiles } from '../log/segment-files.js';
import { ColdLog } from './cold-log.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const PAGE = 256 * KIB;
const FIELDS = { nextSequence: 2, hotBegin: FIRST_ADDRESS, maxTime: 0, dictionaryEntries: 0 };

/** A cold log in one segment, and what is known of its syncs. */
class Bench {
  readonly disk = new SimulatedDisk();
  readonly cold: ColdLog;
  /** Bytes of the log that were written when each sync of the file began. */
  readonly syncs: number[] = [];
  underWay = 0;
  most = 0;
  /** Syncs wait for this. */
  gate: Promise<void> = Promise.resolve();
  private readonly record = new Int32Array(16);
  private readonly value = new Int32Array(30_000 / 4);

  constructor() {
    this.disk.mkdir('/data');
    this.disk.syncDirectorySync('/');
    const env = this.disk.env();
    const sync: EnvFs['sync'] = async (fd) => {
      this.syncs.push(this.cold.log.flushed);
      this.most = Math.max(this.most, ++this.underWay);
      try {
        await this.gate;
        await env.fs.sync(fd);
      } finally {
        this.underWay--;
      }
    };
    const device = new FileDevice({ ...env, fs: { ...env.fs, sync } }, '/data');
    this.cold = new ColdLog(new SegmentFiles(device, 'cold', 64 * MIB), {
      pageSize: PAGE,
      pacer: undefined,
      onWriteError: () => undefined,
      begin: FIRST_ADDRESS,
      tail: FIRST_ADDRESS,
      commit: 0,
      lastEnd: FIRST_ADDRESS,
    });
    writeHeader(this.record, 0, KIND_VALUE, 0, 4, 0, 1, NO_ADDRESS);
  }

  async append(bytes: number): Promise<void> {
    const { log } = this.cold;
    for (const end = log.tail + bytes; log.tail < end;) {
      this.cold.append(this.record, 0, KIND_VALUE, this.value);
      if (this.cold.isFull) await this.cold.drain();
    }
  }

  commit(): Promise<void> {
    return this.cold.commit(FIELDS, false);
  }
}

let bench: Bench;

beforeEach(() => {
  bench = new Bench();
});

describe('a cold log', () => {
  it('is synced on the way, each time that 8 MiB were written, so that the commit has little left to do', async () => {
    await bench.append(30 * MIB);
    expect(bench.syncs).toHaveLength(3);
    for (const [i, written] of bench.syncs.entries()) {
      expect(written).toBeGreaterThanOrEqual((i + 1) * 8 * MIB);
      expect(written).toBeLessThan((i + 1) * 9 * MIB);
    }
    expect(bench.disk.unsyncedChanges).toBeLessThan((9 * MIB) / PAGE);
    await bench.commit();
    expect(bench.syncs).toHaveLength(4);
    expect(bench.cold.synced).toEqual({ commit: 1, tail: bench.cold.log.tail });
    expect(bench.disk.contents('/data/cold-00000000.log', 'durable')).toHaveLength(bench.cold.log.tail);
  });

  it('is not synced on the way when less is written, and counts from the last commit', async () => {
    for (let i = 0; i < 3; i++) {
      await bench.append(7 * MIB);
      await bench.commit();
    }
    expect(bench.syncs).toHaveLength(3);
  });

  it('has one sync under way at most, and its commit waits for it', async () => {
    let open = (): void => undefined;
    bench.gate = new Promise((resolve) => (open = resolve));
    await bench.append(30 * MIB);
    expect(bench.syncs).toHaveLength(1);
    let committed = false;
    const commit = bench.commit().then(() => (committed = true));
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
    expect([committed, bench.syncs.length]).toEqual([false, 1]);
    open();
    await commit;
    expect([bench.syncs.length, bench.most]).toEqual([2, 1]);
    bench.disk.crash('none');
    expect(bench.disk.contents('/data/cold-00000000.log')).toHaveLength(bench.cold.log.tail);
  });

  it('is never committed again once a sync on the way has failed', async () => {
    bench.disk.failAt({ operation: 'sync', nth: 1, code: 'EIO' });
    await bench.append(30 * MIB);
    expect(bench.syncs).toHaveLength(1);
    for (let i = 0; i < 2; i++) await expect(bench.commit()).rejects.toThrow('EIO');
    expect(bench.cold.synced.commit).toBe(0);
    expect(bench.syncs).toHaveLength(1);
  });
});
