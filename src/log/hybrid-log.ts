/**
 * The hybrid log: its newest part in a ring of pages in memory, everything that was sealed by a commit or pushed out by
 * memory pressure in segment files (FASTER, SIGMOD 2018, sections 5 and 6).
 *
 *   begin ≤ head ≤ readOnly ≤ tail
 *
 *   [begin, head)      on disk only
 *   [head, readOnly)   in memory, immutable, on disk or on its way
 *   [readOnly, tail)   in memory, mutable: updated in place where the new record fits
 *   [.., sealed)       checksums are computed. Runs behind the tail by at most `SEAL_LAG`, so that a commit has
 *                      little to do at once; a record that changes below `sealed` is sealed again on the spot.
 *   [.., flushed)      written to the segment files (not necessarily synced)
 *
 * Memory is given by a budget that is asked at each new page. When no page is left, the oldest one is written
 * synchronously: a caller that never awaits meets the speed of the disk, not the end of memory.
 *
 * Not here: what a record means, the index, when to commit; how pages get to disk (`page-writer.ts`), and how many there may
 * be (`page-budget.ts`).
 */
import { assert } from '../assert.js';
import { KvCorruptionError, KvTooLargeError } from '../errors.js';
import { MAX_PAGE_SIZE, MIN_RING_PAGES } from '../limits.js';
import type { LogAddress } from './address.js';
import { COMMIT_BYTES, writeCommit, type Commit } from './commit.js';
import { PageBudget, type PageBudgetOptions } from './page-budget.js';
import { PageRing } from './page-ring.js';
import { PageWriter } from './page-writer.js';
import { checksumOf, HEADER_BYTES, isIntact, totalBytes, writeFiller } from './record.js';
import type { ReadPacer } from './read-pacer.js';
import type { Gap, SegmentFiles } from './segment-files.js';
import { LARGEST_SIZE_CLASS, readBytesOf } from './size-class.js';

/** Checksums are computed this many bytes behind the tail, in slices of this size: some 50 µs each. */
const SEAL_LAG = 512 * 1024;
const SEAL_SLICE = 64 * 1024;

/** Longest read that is made synchronously. */
const SYNC_READ_BYTES = 64 * 1024;

export interface HybridLogOptions extends PageBudgetOptions {
  pageSize: number;
  /** Most bytes that `memoryBudget` will ever return. */
  maxMemory: number;
  /** Upper bound of the mutable region's share of the memory, 0 to 1. */
  mutableFraction: number;
  /** Whether the device can be read back; if not, what leaves memory is gone. */
  retains: boolean;
  /** Says when a read may be synchronous; without it, none is. */
  pacer?: ReadPacer | undefined;
  /** Told of every failed write, before whoever waits for it. */
  onWriteError: (error: unknown) => void;
  /** Told of each new page. */
  onPage?: () => void;
  /** Where the log begins and where it goes on. */
  begin: LogAddress;
  tail: LogAddress;
}

/** A record in a page, or one that was read from disk and verified. */
export interface DiskRecord {
  bytes: Uint8Array;
  words: Int32Array;
  /** Index of the record's first word in `words`. */
  at: number;
}

/** The record at an address that is in memory; valid as long as its page is there. */
export function inMemory({ ring }: HybridLog, address: LogAddress): DiskRecord {
  return { words: ring.wordsAt(address), bytes: ring.bytesAt(address), at: ring.wordOffset(address) };
}

function newDiskRecord(length: number): DiskRecord {
  // A Buffer, as pages are: byte arrays in a value come back as the same class from memory and from disk.
  const bytes = Buffer.allocUnsafeSlow(length);
  return { bytes, words: new Int32Array(bytes.buffer, 0, length >> 2), at: 0 };
}

export class HybridLog {
  begin: LogAddress;
  head: LogAddress;
  readOnly: LogAddress;
  tail: LogAddress;
  sealed: LogAddress;
  flushed: LogAddress;
  /** End of the page that the tail is in. */
  private pageEnd: LogAddress;
  /** First address of the range that the next commit closes, and the sum of its records' checksums so far. */
  private rangeFrom: LogAddress;
  private rangeSum = 0;
  readonly ring: PageRing;
  private readonly pageSize: number;
  private readonly writer: PageWriter;
  private readonly budget: PageBudget;
  /** Pages that may still be added without pushing out old ones, because room was made for them. */
  private pagesMade = 0;

  /** What the last synchronous read brought. */
  private scratch: DiskRecord | undefined;
  /** Records read from disk. */
  diskReads = 0;
  private readonly openedAt: LogAddress;
  /** Between begin and where it was opened, once somebody has asked. */
  private gaps: Gap[] | undefined;

  constructor(
    private readonly segments: SegmentFiles,
    private readonly options: HybridLogOptions,
  ) {
    const { begin, tail, pageSize } = options;
    this.begin = begin;
    this.openedAt = tail;
    this.head = this.readOnly = this.sealed = this.flushed = this.tail = this.rangeFrom = tail;
    this.pageSize = pageSize;
    this.ring = new PageRing(
      pageSize,
      Math.max(MIN_RING_PAGES, Math.floor(options.maxMemory / pageSize)) + 1,
    );
    this.writer = new PageWriter(this, this.ring, segments, options.onWriteError);
    this.budget = new PageBudget(this.ring, options);
    // A tail inside a page goes on there; the part of the page before it is on disk only.
    const pageStart = this.ring.startOf(tail);
    this.pageEnd = pageStart;
    if (tail > pageStart) {
      this.ring.add(pageStart);
      this.pageEnd = (pageStart + pageSize) as LogAddress;
    }
  }

  /** Largest record in bytes. */
  get maxRecordBytes(): number {
    return this.pageSize;
  }

  /** Bytes left in the page that the tail is in. */
  get pageRoom(): number {
    return this.pageEnd - this.tail;
  }

  /** Bytes appended since the last commit. */
  get uncommittedBytes(): number {
    return this.tail - this.rangeFrom;
  }

  /** Whether pages were added for what is being written. */
  get hasMadeRoom(): boolean {
    return this.pagesMade > 0;
  }

  /** Bytes appended since the log was opened. */
  get appendedBytes(): number {
    return this.tail - this.openedAt;
  }

  /** Name of the file that an address lies in. */
  fileOf(address: LogAddress): string {
    return this.segments.nameOf(this.segments.segmentOf(address));
  }

  get usedMemory(): number {
    const beside = this.writer.detached + (this.budget.preparing ? 1 : 0);
    return this.ring.memoryBytes + beside * this.pageSize;
  }

  /** Bytes of the log in memory, in all regions. */
  get residentBytes(): number {
    return this.tail - this.head;
  }

  /**
   * Takes room for a record at the tail. The caller writes the whole record (its checksum apart) before the event loop
   * turns or anything else is reserved. Hot path (`npm run bench`).
   *
   * @param bytes length of the record, a multiple of 8, at most a page
   * @throws KvDiskError when memory is full and the oldest page cannot be written; nothing has changed then
   */
  reserve(bytes: number): LogAddress {
    if (this.tail + bytes > this.pageEnd) this.turnPage(bytes);
    const address = this.tail;
    this.tail = (address + bytes) as LogAddress;
    return address;
  }

  /**
   * Runs `append`, which reserves records of these sizes (a value in extents counts with its own length) and nothing
   * else: room for all of them is made before, so that it fails before anything has changed, or not at all.
   *
   * @throws KvTooLargeError when they take more than half of the memory
   * @throws KvDiskError, KvOverloadedError when memory is full and the oldest pages cannot be written
   */
  appendTogether(sizes: readonly number[], append: () => void): void {
    const needed = this.budget.pagesFor(sizes, this.pageRoom);
    const { pages } = this.budget;
    // Pages are not filled to their ends by records that do not fit, so it is they that count.
    this.requireTogether(needed * this.pageSize);
    while (this.ring.count + needed > pages) this.evictOldest();
    this.pagesMade = needed;
    try {
      append();
    } finally {
      this.pagesMade = 0;
    }
  }

  /** Bytes that `appendTogether` takes at the most. */
  get mostTogether(): number {
    return Math.floor(this.budget.pages / 2) * this.pageSize;
  }

  /** @throws KvTooLargeError when records of so many bytes cannot be appended together */
  requireTogether(bytes: number): void {
    const most = this.mostTogether;
    if (bytes <= most) return;
    throw new KvTooLargeError(
      `A batch takes ${bytes} bytes or more of the memory of the hot log; it may take half of what is there for records ` +
        `beside the indexes, ${most} bytes now. Split it into batches of a few MiB, or give hot.memory more.`,
    );
  }

  /** Computes checksums when enough records have piled up behind the tail. Called after a record was written. */
  appended(): void {
    if (this.tail - this.sealed > SEAL_LAG + SEAL_SLICE)
      this.sealTo((this.sealed + SEAL_SLICE) as LogAddress);
  }

  /** The record at `address` is about to be changed in place; its old checksum leaves the sum of the range. */
  beforeChange(address: LogAddress): void {
    assert(address >= this.readOnly, 'INV-2');
    if (address < this.sealed) this.rangeSum -= this.ring.wordsAt(address)[this.ring.wordOffset(address)];
  }

  /** The record at `address` was changed in place. */
  afterChange(address: LogAddress): void {
    if (address < this.sealed)
      this.sealRecord(this.ring.wordsAt(address), this.ring.wordOffset(address), address);
  }

  /**
   * Closes the range since the last commit: everything before it becomes immutable, and a commit record follows.
   * @returns where the commit record ends: what has to be on disk for the commit to count
   */
  appendCommit(commit: Omit<Commit, 'from' | 'rangeSum'>, sequence: number): LogAddress {
    const address = this.reserve(COMMIT_BYTES);
    this.sealTo(address);
    assert(this.sealed === address, 'INV-3');
    const words = this.ring.wordsAt(address);
    const at = this.ring.wordOffset(address);
    writeCommit(words, at, { ...commit, from: this.rangeFrom, rangeSum: this.rangeSum | 0 }, sequence);
    this.sealRecord(words, at, address);
    this.sealed = this.readOnly = this.rangeFrom = this.tail;
    this.rangeSum = 0;
    return this.tail;
  }

  /** Bytes between begin and tail, without gaps. */
  get bytes(): number {
    const { begin, openedAt, tail } = this;
    this.gaps ??= openedAt > begin ? this.segments.gaps(begin, openedAt) : [];
    let bytes = tail - begin;
    for (const gap of this.gaps) if (gap.end > begin) bytes -= gap.bytes;
    return bytes;
  }

  /** Whether anything was appended or changed since the last commit. */
  get hasUncommitted(): boolean {
    return this.tail > this.rangeFrom;
  }

  /** Gives up everything below `begin`, which is on the device; the files are removed by whoever has them. */
  truncate(begin: LogAddress): void {
    this.begin = begin;
    while (this.ring.startOf(this.head) + this.pageSize <= begin && this.ring.count > 1) this.evictOldest();
    if (this.head < begin) this.head = begin;
  }

  /**
   * Writes everything below `goal` to the segment files. Calls overlap: one writer serves them all.
   * @param durable whether a sync of the segment files will follow right away
   * @throws KvDiskError
   */
  flushTo(goal: LogAddress, durable = false): Promise<void> {
    return this.writer.flushTo(goal, durable);
  }

  /**
   * Like a durable `flushTo`, beside the durable write that is under way, if there is one, and done when that is done as well.
   * @throws KvDiskError also when the other one failed
   */
  flushBeside(goal: LogAddress): Promise<void> {
    return this.writer.flushBeside(goal);
  }

  /** Whether what is to be durable was written in one call the last time: so another one can be under way beside it. */
  get overlaps(): boolean {
    return this.writer.overlaps;
  }

  /** Bytes of pages that were written synchronously because memory was full. */
  get pressureBytes(): number {
    return this.writer.pressureBytes;
  }

  /**
   * Like `readRecord`, but at once, if a synchronous read may be made now and a single one of no more than
   * `SYNC_READ_BYTES` covers the record; `undefined` otherwise. The record is valid until the next call.
   * @throws KvCorruptionError when what lies there is not an intact record
   */
  tryReadRecord(address: LogAddress, sizeClass: number): DiskRecord | undefined {
    const { pacer } = this.options;
    if (!pacer || readBytesOf(sizeClass) > SYNC_READ_BYTES || !pacer.maySync()) return undefined;
    const record = (this.scratch ??= newDiskRecord(SYNC_READ_BYTES));
    pacer.began();
    const available = this.segments.readSync(address, record.bytes, readBytesOf(sizeClass));
    pacer.ended();
    this.diskReads++;
    if (isIntact(record.words, 0, available, address, this.segments.salt)) return record;
    // Longer than its class said (a guess), or damaged.
    if (available >= HEADER_BYTES && totalBytes(record.words, 0) > available) return undefined;
    throw this.damaged(address);
  }

  /**
   * When `tryReadRecord` gives nothing because the event loop has to turn first: settles when it has; `undefined` when there is
   * another reason.
   */
  turned(): Promise<void> | undefined {
    return this.options.pacer?.turned();
  }

  /**
   * Reads a record from disk, in one read where the size class covers it, and verifies it.
   * @param sizeClass of the record; a guess when it is not known
   * @throws KvCorruptionError when what lies there is not an intact record
   */
  async readRecord(address: LogAddress, sizeClass: number): Promise<DiskRecord> {
    const { segments } = this;
    this.diskReads++;
    const first = sizeClass === LARGEST_SIZE_CLASS ? HEADER_BYTES : readBytesOf(sizeClass);
    let record = newDiskRecord(first);
    let available = await this.readBytes(address, record.bytes);
    if (available === first && available >= HEADER_BYTES) {
      const total = totalBytes(record.words, 0);
      if (total > available && total <= MAX_PAGE_SIZE) {
        record = newDiskRecord(total);
        available = await this.readBytes(address, record.bytes);
      }
    }
    if (!isIntact(record.words, 0, available, address, segments.salt)) throw this.damaged(address);
    return record;
  }

  private damaged(address: LogAddress): KvCorruptionError {
    return new KvCorruptionError('A record is damaged', this.fileOf(address), address);
  }

  private readBytes(address: LogAddress, bytes: Uint8Array): number | Promise<number> {
    const { pacer } = this.options;
    if (!pacer || bytes.length > SYNC_READ_BYTES) return this.segments.read(address, bytes, bytes.length);
    // Too much was read at once: after a turn of the event loop it may go on so, which beats the thread pool.
    const turned = pacer.turned();
    return turned
      ? turned.then(() => this.readPaced(address, bytes, pacer))
      : this.readPaced(address, bytes, pacer);
  }

  private readPaced(address: LogAddress, bytes: Uint8Array, pacer: ReadPacer): number | Promise<number> {
    if (!pacer.maySync()) return this.segments.read(address, bytes, bytes.length);
    pacer.began();
    const available = this.segments.readSync(address, bytes, bytes.length);
    pacer.ended();
    return available;
  }

  /** Fills up the page of the tail, and makes everything immutable: so all of the log can be written. */
  endPage(): void {
    this.fillPage();
    this.seal(this.tail);
  }

  private fillPage(): void {
    if (this.tail === this.pageEnd) return;
    const bytes = this.pageEnd - this.tail;
    writeFiller(this.ring.wordsAt(this.tail), this.ring.wordOffset(this.tail), bytes, this.tail);
    this.tail = this.pageEnd;
  }

  /**
   * Fills up the page of the tail and puts a new one behind it, pushing out old ones as the budget asks.
   * @param bytes of the record that the new one is for
   */
  private turnPage(bytes: number): void {
    assert(bytes <= this.pageSize, 'INV-9');
    this.fillPage();
    const { budget } = this;
    const { pages } = budget;
    if (this.pagesMade > 0) this.pagesMade--;
    else while (this.ring.count >= budget.pagesInUse(pages)) this.evictOldest();
    // One is for the page that comes now, one for the next that is set aside (unless there is one already).
    budget.keepSpares((this.writer.detached > 0 ? 1 : 2) + this.pagesMade);
    this.ring.add(this.tail);
    this.pageEnd = (this.tail + this.pageSize) as LogAddress;
    budget.prepareNext(pages);
    const mutable = Math.floor(pages * this.options.mutableFraction) * this.pageSize;
    this.seal((this.tail - mutable) as LogAddress);
    // Written ahead of need, so that pages are on disk by the time they have to go. A failure shows there again.
    const immutable = this.ring.startOf(this.readOnly);
    if (immutable > this.flushed) void this.flushTo(immutable).catch(() => undefined);
    this.options.onPage?.();
  }

  /** Makes everything below `address` immutable. */
  private seal(address: LogAddress): void {
    if (address <= this.readOnly) return;
    this.sealTo(address);
    this.readOnly = address;
  }

  private evictOldest(): void {
    const start = this.ring.startOf(this.head);
    const end = (start + this.pageSize) as LogAddress;
    this.seal(end);
    this.writer.flushSync(end);
    this.writer.release(start);
    this.head = end;
    if (!this.options.retains) this.begin = end;
    assert(this.head <= this.flushed, 'INV-1');
  }

  /** Seals whole records until `sealed` is at or behind `goal` (it may end up beyond, at the end of a record). */
  private sealTo(goal: LogAddress): void {
    while (this.sealed < goal) {
      const words = this.ring.wordsAt(this.sealed);
      const at = this.ring.wordOffset(this.sealed);
      this.sealRecord(words, at, this.sealed);
      const bytes = totalBytes(words, at);
      assert(bytes > 0, 'INV-5');
      this.sealed = (this.sealed + bytes) as LogAddress;
    }
  }

  private sealRecord(words: Int32Array, at: number, address: LogAddress): void {
    const checksum = checksumOf(words, at, address, this.segments.salt);
    words[at] = checksum;
    this.rangeSum = (this.rangeSum + checksum) | 0;
  }
}
