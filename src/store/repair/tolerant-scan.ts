/**
 * Reading a log whatever has happened to it, for `verify` and `salvage`: every intact record in order, and every part that
 * is not as it was written. Behind damage it goes on with the next intact record, at whatever multiple of 8 it begins: a
 * checksum is seeded with the salt of the log and the record's own address, so that nothing else passes for one.
 *
 * Beside single records it checks what only the row of them can show: commits without gaps in their numbers, ranges that
 * join, range sums, and gaps in the log that no unclean stop explains. What the damage means is left to the callers.
 */
import { KvDiskError } from '../../errors.js';
import { MAX_KEY_BYTES, MAX_PAGE_SIZE } from '../../limits.js';
import type { LogAddress } from '../../log/address.js';
import { readCommit, type Commit } from '../../log/commit.js';
import {
  isIntact,
  KIND_CHUNK,
  KIND_COMMIT,
  KIND_FILLER,
  KIND_MASK,
  KIND_NONE,
  KIND_TOMBSTONE,
  KIND_VALUE,
  keyLengthOf,
  MIN_RECORD_BYTES,
  totalBytes,
} from '../../log/record.js';
import type { SegmentFiles } from '../../log/segment-files.js';
import type { Slices } from '../../log/slices.js';

const READ_BYTES = 1024 * 1024;

/** Behind damage a record may begin anywhere, and be as long as a page: read at once, no position is looked at twice. */
const SEARCH_BYTES = 2 * MAX_PAGE_SIZE;

/** Where a read fails, it is tried again in blocks of this size: as much of a disk as goes bad at once. */
const BLOCK_BYTES = 4096;

/** Positions that are tried between two looks at the clock. */
const TRIES = 256;

/** Why a part of a log is not as it was written. */
export type LogDamageKind =
  /** No intact record lies there. */
  | 'record'
  /** The bytes are not there. */
  | 'missing'
  /** Every record is intact, but they are not those that the commit closed. */
  | 'order';

export interface LogDamage {
  what: LogDamageKind;
  from: LogAddress;
  to: LogAddress;
  /** Only what a filler takes up is gone: no record is lost, but the store does not open so. */
  padding?: true;
}

export interface LogVisitor {
  /** An intact record of any kind; `words` is only valid during the call, and what it returns is waited for. */
  record(words: Int32Array, at: number, address: LogAddress, bytes: number): void | Promise<void>;
  /** Damage within one segment, before the records behind it. 'order' comes behind its records instead. */
  damaged(damage: LogDamage): void;
  /** What was not read yet was truncated: the scan goes on further up, behind a commit. */
  restarted?(): void;
  /** Asked again and again; `false` ends the scan. */
  mayGoOn(): boolean;
}

/** A log as it is read. Its borders may move while the scan is under way. */
export interface ScannedLog {
  segments: SegmentFiles;
  begin(): LogAddress;
  /** Number of the commit that ended at `begin`, if it is known. */
  beginCommit: number | undefined;
  /** What lies behind is not looked at. */
  until(): LogAddress;
}

export class TolerantScan {
  /** The last intact commit record, and where it ended; the begin of the log before the first. */
  last: Commit | undefined;
  lastEnd: LogAddress;
  private position: LogAddress;
  /** What the next commit has to say of the one before it; unknown behind damage. */
  private expected: { number: number | undefined; previousEnd: LogAddress } | undefined;
  /** First address of the range that the next commit closes, and the sum of its checksums. */
  private rangeFrom: LogAddress;
  private rangeSum = 0;
  private rangeDamaged = false;
  /** Where the log goes on in another file. An unclean stop leaves such a gap; the next commit tells. */
  private gap: { from: LogAddress; to: LogAddress } | undefined;
  /** Where the damage began that we are in. */
  private damageFrom: LogAddress | undefined;
  private buffer = new Uint8Array(READ_BYTES);
  private words = new Int32Array(0);
  private loadedFrom: LogAddress;
  private loadedEnd: LogAddress;
  /** What begins here does not fit into a short read. */
  private longAt: LogAddress | undefined;

  constructor(
    private readonly log: ScannedLog,
    private readonly visitor: LogVisitor,
    private readonly slices: Slices,
  ) {
    const begin = log.begin();
    this.position = this.lastEnd = this.rangeFrom = this.loadedFrom = this.loadedEnd = begin;
    const number = log.beginCommit === undefined ? undefined : log.beginCommit + 1;
    this.expected = { number, previousEnd: begin };
  }

  /** @throws what the visitor throws */
  async run(): Promise<void> {
    const { log, visitor } = this;
    this.slices.restart();
    while (visitor.mayGoOn()) {
      if (this.position < log.begin()) this.restartAt(log.begin());
      if (this.position >= log.until()) break;
      const end = this.endOfFile();
      if (this.position >= end) this.leaveFile();
      else if (await this.load(end)) await this.walk(end);
    }
    this.endDamage();
  }

  /** What was not read yet was truncated: the log begins behind a commit of which we know only where it ended. */
  private restartAt(begin: LogAddress): void {
    this.position = this.lastEnd = begin;
    this.expected = { number: undefined, previousEnd: begin };
    this.damageFrom = this.gap = undefined;
    this.startRange(begin);
    this.visitor.restarted?.();
  }

  private startRange(from: LogAddress): void {
    this.rangeFrom = from;
    this.rangeSum = 0;
    this.rangeDamaged = false;
  }

  /** Where the file of the current segment ends, or what is looked at. */
  private endOfFile(): LogAddress {
    const { segments } = this.log;
    const segment = segments.segmentOf(this.position);
    const size = Math.min(segments.sizeOf(segment), segments.segmentSize);
    return Math.min(segments.startOf(segment) + size - (size % 8), this.log.until()) as LogAddress;
  }

  /** The file ends before the segment does: the log goes on in the next one that there is. */
  private leaveFile(): void {
    const { segments } = this.log;
    const from = this.position;
    const until = this.log.until();
    const next = segments
      .numbers()
      .find((number) => number > segments.segmentOf(from) && segments.sizeOf(number) > 0);
    this.endDamage();
    this.gapIsMissing();
    if (next === undefined || segments.startOf(next) >= until) {
      this.position = until;
      this.tell('missing', from, until);
      return;
    }
    this.position = segments.startOf(next);
    this.gap = { from, to: this.position };
    this.startRange(this.position);
  }

  private gapIsMissing(): void {
    if (this.gap) this.tell('missing', this.gap.from, this.gap.to);
    this.gap = undefined;
  }

  /** Reads on. Resolves to `false` when the log has changed meanwhile. */
  private async load(end: number): Promise<boolean> {
    const { log, position } = this;
    const isLong = this.damageFrom !== undefined || this.longAt === position;
    if (isLong && this.buffer.length < SEARCH_BYTES) this.buffer = new Uint8Array(SEARCH_BYTES);
    const length = Math.min(isLong ? SEARCH_BYTES : READ_BYTES, end - position);
    let available: number;
    try {
      available = await log.segments.read(position, this.buffer, length);
    } catch (error) {
      // Truncated, and the file is gone; or the store was closed, and whoever is asked says so.
      if (position < log.begin() || !this.visitor.mayGoOn()) return false;
      if (!(error instanceof KvDiskError)) throw error;
      available = await this.readBlocks(length);
    }
    this.slices.restart();
    // A file that has become shorter meanwhile: zeros are no record.
    this.buffer.fill(0, available, length);
    this.words = new Int32Array(this.buffer.buffer, 0, length >> 2);
    this.loadedFrom = position;
    this.loadedEnd = (position + length) as LogAddress;
    return position >= log.begin();
  }

  /** Reads what can be read; the rest is zeros. */
  private async readBlocks(length: number): Promise<number> {
    const { buffer, log, position } = this;
    for (let at = 0; at < length;) {
      const bytes = Math.min(BLOCK_BYTES - ((position + at) % BLOCK_BYTES), length - at);
      const block = buffer.subarray(at, at + bytes);
      try {
        block.fill(0, await log.segments.read((position + at) as LogAddress, block, bytes));
      } catch (error) {
        if (!(error instanceof KvDiskError)) throw error;
        block.fill(0);
      }
      at += bytes;
    }
    return length;
  }

  /** Goes through what was loaded, as far as that can be told from it. */
  private async walk(end: LogAddress): Promise<void> {
    const { log, slices, visitor, words } = this;
    const { salt } = log.segments;
    for (let tries = 0; this.position < this.loadedEnd;) {
      const { position } = this;
      const at = (position - this.loadedFrom) / 4;
      const available = this.loadedEnd - position;
      const mayBe = this.damageFrom === undefined || mayBeRecord(words, at);
      if (mayBe && isIntact(words, at, available, position, salt)) {
        this.endDamage();
        const bytes = totalBytes(words, at);
        this.position = (position + bytes) as LogAddress;
        // Of a filler only the beginning has to be there to be intact.
        if (this.position > end)
          this.visitor.damaged({ what: 'missing', from: end, to: this.position, padding: true });
        const waiting = this.pass(words, at, position, bytes);
        if (waiting) await waiting;
      } else if (this.loadedEnd < end && available < MAX_PAGE_SIZE) {
        // Perhaps there is more of it.
        if (position === this.loadedFrom) this.longAt = position;
        return;
      } else {
        this.damageFrom ??= position;
        this.rangeDamaged = true;
        this.expected = undefined;
        this.position = (position + MIN_RECORD_BYTES) as LogAddress;
        if (++tries % TRIES !== 0) continue;
      }
      if (!slices.over) continue;
      await slices.next();
      if (!visitor.mayGoOn() || this.position < log.begin()) return;
    }
  }

  private pass(words: Int32Array, at: number, address: LogAddress, bytes: number): void | Promise<void> {
    if ((words[at + 1] & KIND_MASK) === KIND_COMMIT) this.judge(readCommit(words, at), this.position);
    else this.rangeSum = (this.rangeSum + words[at]) | 0;
    return this.visitor.record(words, at, address, bytes);
  }

  /** Whether a commit continues the one before it, and closes the records that we saw. */
  private judge(commit: Commit, end: LogAddress): void {
    const { expected, gap, rangeFrom } = this;
    let joins =
      !expected ||
      ((expected.number ?? commit.number) === commit.number && expected.previousEnd === commit.previousEnd);
    if (gap && (commit.previousEnd !== gap.from || commit.from !== gap.to)) {
      this.gapIsMissing();
      joins = true;
    } else if (!this.rangeDamaged && commit.from !== rangeFrom) joins = false;
    else if (!this.rangeDamaged && commit.rangeSum !== this.rangeSum) joins = false;
    this.gap = undefined;
    if (!joins) this.tell('order', rangeFrom, end);
    this.last = commit;
    this.lastEnd = end;
    this.expected = { number: commit.number + 1, previousEnd: end };
    this.startRange(end);
  }

  private endDamage(): void {
    if (this.damageFrom === undefined) return;
    this.tell('record', this.damageFrom, this.position);
    this.damageFrom = undefined;
  }

  /** Damage is told file by file. */
  private tell(what: LogDamageKind, from: LogAddress, to: LogAddress): void {
    const { segments } = this.log;
    if (what !== 'order') {
      this.rangeDamaged = true;
      this.expected = undefined;
    }
    for (let start = from; start < to;) {
      const end = Math.min(segments.startOf(segments.segmentOf(start) + 1), to) as LogAddress;
      this.visitor.damaged({ what, from: start, to: end });
      start = end;
    }
  }
}

/** Cheap signs by which nearly all of what is no record is found out; never wrong about a record. */
function mayBeRecord(words: Int32Array, at: number): boolean {
  const kind = words[at + 1] & KIND_MASK;
  if (kind === KIND_NONE || kind === KIND_CHUNK) return false;
  if (kind === KIND_FILLER) return words[at + 1] >>> 8 <= MAX_PAGE_SIZE / 8;
  if (kind !== KIND_VALUE && kind !== KIND_TOMBSTONE) return true;
  const keyLength = keyLengthOf(words, at);
  return keyLength > 1 && keyLength <= MAX_KEY_BYTES && words[at + 2] >>> 0 <= MAX_PAGE_SIZE;
}
