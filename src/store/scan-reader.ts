/**
 * Finds the records that a scan visits: in the memory of their log, in a stretch of it that was read as a whole because many of
 * its records are wanted, or by a read of their own.
 */
import type { LogAddress } from '../log/address.js';
import type { HybridLog } from '../log/hybrid-log.js';
import { LogWindow } from '../log/log-window.js';
import type { SegmentFiles } from '../log/segment-files.js';
import { readBytesOf } from '../log/size-class.js';
import { MOST_TRIES, type RecordRef } from './read-path.js';
import { PART_BYTES, type ScanEntries } from './scan-entries.js';
import type { StoreCore } from './store-core.js';

/** Up to so many bytes of log for each record that is wanted, a stretch is read as a whole. */
const SPARSE_BYTES = 16 * 1024;
/** Longer records are read by themselves. */
const LONGEST_IN_WINDOW = 64 * 1024;
/** Records that are read by themselves at the same time, and about how many bytes together. */
const READS = 64;
const READ_BYTES = 1024 * 1024;

export class ScanReader implements RecordRef {
  // The record that `seek` found; valid until the next `await`.
  words: Int32Array = new Int32Array(0);
  bytes: Uint8Array = new Uint8Array(0);
  at = 0;
  /** The log that is read. */
  log: HybridLog;
  private segments: SegmentFiles;
  private readonly window = new LogWindow(PART_BYTES + LONGEST_IN_WINDOW);
  private readonly fetched = new Map<LogAddress, RecordRef>();
  /** How often it was waited for a turn of the event loop, for one record. */
  private tries = 0;

  constructor(
    private readonly core: StoreCore,
    private readonly entries: ScanEntries,
  ) {
    this.log = core.parts.log;
    this.segments = core.parts.segments;
  }

  get isHot(): boolean {
    return this.log === this.core.parts.log;
  }

  /** Finds the record at an address of the log. `false` when it has to be waited for. Hot path (`bench/micro/scan.mjs`). */
  seek(address: LogAddress, sizeClass: number): boolean {
    const { log, window } = this;
    if (address >= log.head) {
      this.words = log.ring.wordsAt(address);
      this.bytes = log.ring.bytesAt(address);
      this.at = log.ring.wordOffset(address);
      return true;
    }
    let record: RecordRef | undefined = window;
    if (!window.find(address)) {
      record = this.fetched.get(address) ?? log.tryReadRecord(address, sizeClass);
      if (!record) return false;
      this.tries = 0;
    }
    this.words = record.words;
    this.bytes = record.bytes;
    this.at = record.at;
    return true;
  }

  /** Whether a record is found without a read. */
  isAtHand(address: LogAddress): boolean {
    return address >= this.log.head || this.window.covers(address);
  }

  /** Goes on with the part that was taken last: reads it, if enough of it is wanted. */
  async load(count: number): Promise<void> {
    const { core, entries, window } = this;
    const { cold, log, segments } = core.parts;
    this.log = entries.isHotPart || !cold ? log : cold.log.log;
    this.segments = entries.isHotPart || !cold ? segments : cold.log.segments;
    this.fetched.clear();
    window.clear();
    const { begin, head } = this.log;
    // All of it is in memory.
    if (entries.addresses[entries.entryAt(0)] >= head) return;
    let from = Infinity;
    let to = 0;
    let wanted = 0;
    for (let at = 0; at < count; at++) {
      const entry = entries.entryAt(at);
      const address = entries.addresses[entry];
      const bytes = readBytesOf(entries.sizeClasses[entry]);
      if (address >= head || address < begin || bytes > LONGEST_IN_WINDOW) continue;
      if (address < from) from = address;
      if (address + bytes > to) to = address + bytes;
      wanted++;
    }
    to = Math.min(to, head);
    if (wanted < 2 || (to - from) / wanted > SPARSE_BYTES) return;
    try {
      await window.load(this.log, this.segments, from as LogAddress, to);
    } catch {
      // Truncated meanwhile; otherwise the reads of single records meet it, and tell.
    }
  }

  /**
   * Waits for the record of an entry, and for some of those that come behind it: the first `count` of the part.
   * @throws KvClosedError, KvCorruptionError, KvDiskError
   */
  async fetch(wanted: number, count: number): Promise<void> {
    const { entries, fetched, log } = this;
    const turned = log.turned();
    if (turned && this.tries++ < MOST_TRIES) {
      // What was read synchronously in this turn was enough: waiting for the next is cheaper than the thread pool.
      await turned;
      return;
    }
    this.tries = 0;
    fetched.clear();
    const reads: Promise<void>[] = [];
    let bytes = 0;
    for (let entry = wanted, at = count; ; entry = entries.entryAt(at)) {
      const address = entries.addresses[entry] as LogAddress;
      const isThere = entry !== wanted && this.isAtHand(address);
      if (address >= log.begin && !isThere) {
        bytes += readBytesOf(entries.sizeClasses[entry]);
        reads.push(this.readLater(address, entries.sizeClasses[entry], entry === wanted));
      }
      if (at-- === 0 || reads.length === READS || bytes >= READ_BYTES) break;
    }
    await Promise.all(reads);
  }

  private async readLater(address: LogAddress, sizeClass: number, isWanted: boolean): Promise<void> {
    const { fetched, log } = this;
    try {
      fetched.set(address, await log.readRecord(address, sizeClass));
    } catch (error) {
      this.core.assertOpen();
      // One that comes behind is read again when it has its turn, and told then.
      if (isWanted && address >= log.begin) throw error;
    }
  }
}
