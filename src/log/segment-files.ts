/**
 * A log on a device: a row of files of one size, each holding the bytes of one range of addresses, found by listing
 * the device. Knows nothing of records. A new file's directory entry is made durable by `sync`, together with the
 * bytes. Every file stays open until it is removed, so a read is one call.
 *
 * A log whose commits somebody waits for has its file lengthened with zeros ahead of what is written: a sync that finds
 * the length of the file unchanged need not wait for the journal of the file system (decision 15). Zeros behind the last
 * byte that was written are no part of the log.
 */
import type { Device, DeviceFile } from '../device/device.js';
import { KvCorruptionError, KvDiskError } from '../errors.js';
import type { LogAddress } from './address.js';

const NAME_DIGITS = 8;
const HARDEN_BYTES = 1024 * 1024;

/** Zeros are written, and looked for, so many bytes at a time: some 0.3 ms, every 116 commits of 64 small records. */
export const LENGTHEN_BYTES = 1024 * 1024;
const ZEROS = new Uint8Array(LENGTHEN_BYTES);

/** A file of a log, and how many bytes it has to have. */
export type SegmentLength = [segment: number, bytes: number];

/** Addresses without bytes, up to where the log goes on. */
export interface Gap {
  end: LogAddress;
  bytes: number;
}

export class SegmentFiles {
  private readonly files = new Map<number, DeviceFile>();
  private readonly unsynced = new Set<DeviceFile>();
  private entriesUnsynced = false;
  /** The file that was lengthened last, and its length. */
  private lengthened: DeviceFile | undefined;
  private length = 0;
  /** The file that the last commit went to, opened again so that what is written there is durable, by nobody just now. */
  private durable: { of: DeviceFile; free: DeviceFile[] } | undefined;

  /**
   * @param device where the files lie
   * @param log name of the log, the first part of each file's name
   * @param segmentSize bytes of one file, a multiple of the page size
   * @param salt goes into every checksum, so that a value cannot pass for a record, nor a record of another store
   * @param lengthens whether files are lengthened ahead of what is written
   */
  constructor(
    private readonly device: Device,
    private readonly log: string,
    readonly segmentSize: number,
    readonly salt = 0,
    private readonly lengthens = false,
  ) {
    const pattern = new RegExp(`^${log}-([0-9a-f]{${NAME_DIGITS}})\\.log$`);
    for (const name of device.list()) {
      const match = pattern.exec(name);
      if (match) this.files.set(Number.parseInt(match[1], 16), device.open(name, { create: false }));
    }
  }

  /** Whether a name on the device belongs to some log. */
  static isSegmentName(name: string): boolean {
    return /^[a-z]+-[0-9a-f]{8}\.log$/.test(name);
  }

  /** Numbers of the segments there are, in order. */
  numbers(): number[] {
    return [...this.files.keys()].sort((a, b) => a - b);
  }

  /** How many there are. */
  get count(): number {
    return this.files.size;
  }

  segmentOf(address: number): number {
    return Math.floor(address / this.segmentSize);
  }

  startOf(segment: number): LogAddress {
    return (segment * this.segmentSize) as LogAddress;
  }

  nameOf(segment: number): string {
    return `${this.log}-${segment.toString(16).padStart(NAME_DIGITS, '0')}.log`;
  }

  /** Bytes in the file of a segment. */
  sizeOf(segment: number): number {
    return this.files.get(segment)?.size() ?? 0;
  }

  /** Bytes of a segment from a position in its file on, without the zeros that it may have been lengthened with. */
  writtenBehind(segment: number, position: number): number {
    const file = this.files.get(segment);
    const buffer = Buffer.allocUnsafeSlow(LENGTHEN_BYTES);
    for (let end = file?.size() ?? 0; file && end > position;) {
      const start = Math.max(position, end - LENGTHEN_BYTES);
      const count = file.readSync(buffer, 0, end - start, start);
      for (let at = count; at > 0; at--) if (buffer[at - 1] !== 0) return start + at - position;
      end = start;
    }
    return 0;
  }

  /** The files that hold `[begin, end)`: some end early, where a tail was cut off. */
  lengths(begin: LogAddress, end: LogAddress): SegmentLength[] {
    return this.numbers()
      .filter((segment) => this.startOf(segment + 1) > begin && this.startOf(segment) < end)
      .map((segment) => [segment, Math.min(this.sizeOf(segment), end - this.startOf(segment))]);
  }

  /** Where `[begin, end)` has no bytes, because a tail was cut off and the log went on in a new segment. */
  gaps(begin: LogAddress, end: LogAddress): Gap[] {
    const gaps: Gap[] = [];
    for (let segment = this.segmentOf(begin); segment < this.segmentOf(end); segment++) {
      const from = Math.max(begin, this.startOf(segment) + this.sizeOf(segment));
      const next = this.startOf(segment + 1);
      if (from < next) gaps.push({ end: next, bytes: next - from });
    }
    return gaps;
  }

  /** The first segment whose file is missing or shorter than it has to be. */
  lacking(lengths: SegmentLength[]): number | undefined {
    return lengths.find(([segment, bytes]) => this.sizeOf(segment) < bytes)?.[0];
  }

  /** Bytes of all files together. */
  totalSize(): number {
    let size = 0;
    for (const file of this.files.values()) size += file.size();
    return size;
  }

  /**
   * Reads up to `length` bytes from `address` on, not beyond its segment; resolves to the count.
   * @throws KvCorruptionError at once where the segment is missing
   */
  read(address: LogAddress, buffer: Uint8Array, length: number): Promise<number> {
    const position = address % this.segmentSize;
    return this.fileOf(address).read(buffer, 0, Math.min(length, this.segmentSize - position), position);
  }

  /** The same at once, blocking. */
  readSync(address: LogAddress, buffer: Uint8Array, length: number): number {
    const position = address % this.segmentSize;
    return this.fileOf(address).readSync(buffer, 0, Math.min(length, this.segmentSize - position), position);
  }

  /** Writes `bytes[from, to)` at `address`; the range lies within one segment. */
  async write(address: LogAddress, bytes: Uint8Array, from: number, to: number): Promise<void> {
    const file = this.fileFor(address);
    const position = address % this.segmentSize;
    this.lengthen(file, position + to - from);
    await file.write(bytes, from, to - from, position);
    // Only now: a sync that began while the write was under way does not cover it.
    if (this.files.get(this.segmentOf(address)) === file) this.unsynced.add(file);
  }

  /**
   * The same, on stable storage when it is done. Several may be under way, each on a descriptor of its own: the system tells
   * each descriptor once of what failed.
   * @returns `undefined`, and nothing is done, where it takes a `write` and a `sync`
   */
  writeDurably(address: LogAddress, bytes: Uint8Array, from: number, to: number): Promise<void> | undefined {
    const file = this.fileFor(address);
    const position = address % this.segmentSize;
    this.lengthen(file, position + to - from);
    const opened = this.unsynced.has(file) ? undefined : this.durableOf(file);
    if (!opened) return undefined;
    return opened.write(bytes, from, to - from, position).finally(() => {
      if (this.durable?.of === file) this.durable.free.push(opened);
      else opened.close();
    });
  }

  writeSync(address: LogAddress, bytes: Uint8Array, from: number, to: number): void {
    const file = this.fileFor(address);
    this.unsynced.add(file);
    this.lengthen(file, (address % this.segmentSize) + to - from);
    file.writeSync(bytes, from, to - from, address % this.segmentSize);
  }

  /** Makes durable what was written before the call. One at a time: a second would not wait for what the first does. */
  async sync(): Promise<void> {
    const files = [...this.unsynced];
    this.unsynced.clear();
    // Side by side: a file that is removed meanwhile cannot be asked for a sync any more.
    await Promise.all([this.syncEntries(), ...files.map((file) => file.sync())]);
  }

  /**
   * Makes everything durable that was found after an unclean stop, the bytes of `[from, to)` by writing them again:
   * what can be read may be in the operating system's memory only, and after a failed sync it would stay there, because
   * the system takes the pages for written.
   */
  async harden(from: LogAddress, to: LogAddress): Promise<void> {
    if (this.device.volatile) return;
    for (let address = from; address < to;) {
      const segmentEnd = this.startOf(this.segmentOf(address) + 1);
      const buffer = new Uint8Array(Math.min(HARDEN_BYTES, to - address, segmentEnd - address));
      const count = this.files.has(this.segmentOf(address))
        ? await this.read(address, buffer, buffer.length)
        : 0;
      if (count > 0) await this.write(address, buffer, 0, count);
      // The log has gaps where a tail was cut off.
      address = count === buffer.length ? ((address + count) as LogAddress) : segmentEnd;
    }
    for (const file of this.files.values()) this.unsynced.add(file);
    this.entriesUnsynced = true;
    await this.sync();
  }

  /** Takes back the zeros behind `tail`; not durably, because they say nothing. */
  trim(tail: LogAddress): void {
    const file = this.files.get(this.segmentOf(tail));
    const position = tail % this.segmentSize;
    if (this.lengthens && file && file.size() > position) file.truncate(position);
  }

  /** Cuts a segment's file at `address`, durably. */
  cut(address: LogAddress): void {
    const file = this.files.get(this.segmentOf(address));
    if (!file) return;
    file.truncate(address % this.segmentSize);
    file.syncSync();
  }

  /** Removes a segment's file; `sync` makes it durable. */
  async remove(segment: number): Promise<void> {
    const name = this.forget(segment);
    if (name === undefined) return;
    await this.device.remove(name);
    // Only now: a sync that began before does not cover it.
    this.entriesUnsynced = true;
  }

  /** The same at once, blocking. */
  removeSync(segment: number): void {
    const name = this.forget(segment);
    if (name === undefined) return;
    this.device.removeSync(name);
    this.entriesUnsynced = true;
  }

  close(): void {
    this.closeDurable();
    for (const file of this.files.values()) file.close();
    this.files.clear();
  }

  private async syncEntries(): Promise<void> {
    if (!this.entriesUnsynced) return;
    // Before the call, which does not cover the entries that come while it is under way.
    this.entriesUnsynced = false;
    try {
      await this.device.syncDirectory();
    } catch (error) {
      this.entriesUnsynced = true;
      throw error;
    }
  }

  /** Closes the file of a segment that is to be removed; returns its name. */
  private forget(segment: number): string | undefined {
    const file = this.files.get(segment);
    if (!file) return undefined;
    this.files.delete(segment);
    this.unsynced.delete(file);
    const closes = [...(this.durable?.of === file ? this.takeDurable() : []), file];
    for (const one of closes) {
      try {
        one.close();
      } catch {
        // Nobody needs what is in it.
      }
    }
    return file.name;
  }

  private durableOf(file: DeviceFile): DeviceFile | undefined {
    if (this.durable?.of !== file) {
      this.closeDurable();
      this.durable = { of: file, free: [] };
    }
    return this.durable.free.pop() ?? this.device.openDurable?.(file);
  }

  private closeDurable(): void {
    for (const file of this.takeDurable()) file.close();
  }

  /** Those that nobody uses just now; the others are closed by who does. */
  private takeDurable(): DeviceFile[] {
    const free = this.durable?.free ?? [];
    this.durable = undefined;
    return free;
  }

  /** Sees to it that a file is longer than `end`, up to which it is about to be written. At once: nobody writes behind that meanwhile. */
  private lengthen(file: DeviceFile, end: number): void {
    if (!this.lengthens) return;
    if (file !== this.lengthened) {
      this.lengthened = file;
      this.length = file.size();
    }
    if (end <= this.length) return;
    const bytes = Math.min(LENGTHEN_BYTES, this.segmentSize - end);
    try {
      file.writeSync(ZEROS, 0, bytes, end);
      // Their blocks are found by a sync of the whole file: it is for the commits behind that they are there.
      this.unsynced.add(file);
      this.length = end + bytes;
    } catch (error) {
      if (!(error instanceof KvDiskError && error.full)) throw error;
      // What was asked for may still find room, if the zeros that did give it back. This file is not lengthened any more.
      if (file.size() > end) file.truncate(end);
      this.length = this.segmentSize;
    }
  }

  private fileOf(address: LogAddress): DeviceFile {
    const segment = this.segmentOf(address);
    const file = this.files.get(segment);
    if (!file) {
      throw new KvCorruptionError('A segment of the log is missing', this.nameOf(segment), address);
    }
    return file;
  }

  private fileFor(address: LogAddress): DeviceFile {
    const segment = this.segmentOf(address);
    let file = this.files.get(segment);
    if (!file) {
      file = this.device.open(this.nameOf(segment), { create: true });
      this.files.set(segment, file);
      this.entriesUnsynced = true;
    }
    return file;
  }
}
