/**
 * Writes the pages of a log to its segment files: ahead of need, for a commit, or at once, because memory is full. One
 * writer serves everybody who waits, a page at a time; a durable write may have another one beside it (decision 15).
 *
 * A write reads the page while the log goes on. So the buffer of a page that leaves the ring meanwhile is held back until
 * no write reads it any more.
 *
 * Not here: what may be written, which the log says (`sealed`), and syncs.
 */
import { assert } from '../assert.js';
import { NO_ADDRESS, type LogAddress } from './address.js';
import type { PageRing } from './page-ring.js';
import type { SegmentFiles } from './segment-files.js';

/** What the writer has to know of the log, and tells it. */
export interface WrittenLog {
  /** Everything below it has its checksums. */
  readonly sealed: LogAddress;
  /** Everything below it is written; the writer alone moves it. */
  flushed: LogAddress;
}

export class PageWriter {
  /** Pages that asynchronous writes are reading: by how many, and the buffer of one that had to leave the ring. */
  private readonly writing = new Map<LogAddress, { writes: number; detached?: Buffer }>();
  /** How many have left the ring. */
  detached = 0;
  /** The last durable write, while it is under way: up to where it goes, and when it is done, and all before it. */
  private durable: { end: LogAddress; done: Promise<void> } | undefined;
  /** Whether what is to be durable was written in one call the last time: so another one can be under way beside it. */
  overlaps = false;
  private flushGoal: LogAddress;
  /** What the last caller wants to be durable. */
  private durableGoal: LogAddress = NO_ADDRESS;
  private flushRun: Promise<void> | undefined;
  /** Bytes of pages that were written synchronously because memory was full. */
  pressureBytes = 0;

  /** @param onWriteError told of every failed write, before whoever waits for it */
  constructor(
    private readonly log: WrittenLog,
    private readonly ring: PageRing,
    private readonly segments: SegmentFiles,
    private readonly onWriteError: (error: unknown) => void,
  ) {
    this.flushGoal = log.flushed;
  }

  /**
   * Writes everything below `goal`. Calls overlap: one run serves them all.
   * @param durable whether a sync of the segment files will follow right away
   * @throws KvDiskError
   */
  async flushTo(goal: LogAddress, durable: boolean): Promise<void> {
    if (goal > this.flushGoal) this.flushGoal = goal;
    if (durable) this.durableGoal = goal;
    while (this.log.flushed < goal) {
      this.flushRun ??= this.flushPage().finally(() => (this.flushRun = undefined));
      await this.flushRun;
    }
  }

  /**
   * Like a durable `flushTo`, beside the durable write that is under way, if there is one, and done when that is done as well.
   * @throws KvDiskError also when the other one failed
   */
  async flushBeside(goal: LogAddress): Promise<void> {
    const { durable, log, ring } = this;
    const from = durable?.end ?? goal;
    const isInOnePage = from < goal && goal <= ring.startOf(from) + ring.pageSize;
    const write = durable && isInOnePage ? this.write(from, goal, true) : undefined;
    if (!durable || !write) return this.flushTo(goal, true);
    await this.noted(goal, bothOf(durable.done, write));
    if (goal > log.flushed) log.flushed = goal;
  }

  /**
   * Writes everything below `goal` at once, blocking.
   * @throws KvDiskError
   */
  flushSync(goal: LogAddress): void {
    const { log, ring } = this;
    while (log.flushed < goal) {
      const from = log.flushed;
      const to = Math.min(goal, ring.startOf(from) + ring.pageSize) as LogAddress;
      const offset = ring.byteOffset(from);
      try {
        this.segments.writeSync(from, ring.bytesAt(from), offset, offset + (to - from));
      } catch (error) {
        this.onWriteError(error);
        throw error;
      }
      this.pressureBytes += to - from;
      log.flushed = to;
    }
  }

  /** Takes the page that begins at `start` out of the ring; its buffer is used again once no write reads it. */
  release(start: LogAddress): void {
    const buffer = this.ring.take(start);
    const written = this.writing.get(start);
    if (written) {
      written.detached = buffer;
      this.detached++;
    } else {
      this.ring.giveBack(buffer);
    }
  }

  /** Writes one page, or what the goal asks of it: so nobody waits for more than he asked for. */
  private async flushPage(): Promise<void> {
    const { log, ring } = this;
    const from = log.flushed;
    const to = Math.min(this.flushGoal, ring.startOf(from) + ring.pageSize) as LogAddress;
    assert(from < to && to <= log.sealed, 'INV-4');
    const durable = from < this.durableGoal && this.durableGoal <= to;
    const durably = durable ? this.write(from, to, true) : undefined;
    if (durable) this.overlaps = durably !== undefined;
    await (durably ? this.noted(to, durably) : this.write(from, to));
    // Memory pressure may have written the same bytes, and more, in the meantime.
    if (to > log.flushed) log.flushed = to;
  }

  /** Notes a durable write that is under way. */
  private async noted(end: LogAddress, done: Promise<void>): Promise<void> {
    const durable = (this.durable = { end, done });
    try {
      await done;
    } finally {
      if (this.durable === durable) this.durable = undefined;
    }
  }

  /** Writes what lies within a page. @returns `undefined` where it cannot be durable by itself */
  private write(from: LogAddress, to: LogAddress): Promise<void>;
  private write(from: LogAddress, to: LogAddress, durable: true): Promise<void> | undefined;
  private write(from: LogAddress, to: LogAddress, durable = false): Promise<void> | undefined {
    const { ring, segments, writing } = this;
    const page = ring.startOf(from);
    const offset = ring.byteOffset(from);
    const end = offset + (to - from);
    const refuse = (error: unknown): never => {
      this.onWriteError(error);
      throw error;
    };
    let write: Promise<void> | undefined;
    try {
      write = durable
        ? segments.writeDurably(from, ring.bytesAt(from), offset, end)
        : segments.write(from, ring.bytesAt(from), offset, end);
    } catch (error) {
      return refuse(error);
    }
    if (!write) return undefined;
    const written = writing.get(page) ?? { writes: 0 };
    written.writes++;
    writing.set(page, written);
    return write.catch(refuse).finally(() => {
      if (--written.writes > 0) return;
      writing.delete(page);
      if (!written.detached) return;
      ring.giveBack(written.detached);
      this.detached--;
    });
  }
}

/** Fulfilled when both are, and settled no sooner than both are. */
async function bothOf(first: Promise<void>, second: Promise<void>): Promise<void> {
  await Promise.allSettled([first, second]);
  await first;
  await second;
}
