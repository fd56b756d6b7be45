/**
 * Files in memory, outside the JavaScript heap: for stores that keep nothing on disk, and for tests. A file is a row
 * of chunks, so that growing copies nothing; a chunk nobody wrote to is not there and reads as zeros.
 *
 * The limit, with what may be taken beyond it, is a hard bound on the chunks of all files together. A write that would exceed
 * it changes nothing and fails with `KvOverloadedError`. Files stay when the device is closed, so that it can be opened again.
 */
import { KvLockedError, KvOverloadedError } from '../errors.js';
import type { Device, DeviceFile, KvDiskSpace } from './device.js';
import { assertPlainName } from './file-name.js';
import { diskError, systemError } from './system-error.js';
import { forEachPiece } from './pieces.js';

const CHUNK_BYTES = 256 * 1024;

/** The first chunk of a file starts at one page and doubles, so that many small files stay small. */
const FIRST_CHUNK_BYTES = 4096;

export class MemoryDevice implements Device {
  readonly location = 'memory';
  readonly retains = true;
  readonly volatile = true;

  private readonly files = new Map<string, MemoryFile>();
  private readonly budget: MemoryBudget;
  private locked = false;

  /** @param extraBytes beyond the limit, for whoever has to write before he can give something back; it is not shown as free */
  constructor(memoryLimitBytes: number, extraBytes = 0) {
    this.budget = new MemoryBudget(memoryLimitBytes, extraBytes);
  }

  /** Bytes that the chunks of all files take. */
  get memoryBytes(): number {
    return this.budget.used;
  }

  list(): string[] {
    return [...this.files.keys()];
  }

  open(name: string, { create }: { create: boolean }): DeviceFile {
    assertPlainName('open', this.location, name);
    let file = this.files.get(name);
    if (!file) {
      if (!create) throw this.missing('open', name);
      file = new MemoryFile(this.budget);
      this.files.set(name, file);
    }
    return new MemoryFileHandle(file, name, `${this.location}/${name}`);
  }

  async remove(name: string): Promise<void> {
    this.removeSync(name);
  }

  removeSync(name: string): void {
    assertPlainName('remove', this.location, name);
    const file = this.files.get(name);
    if (!file) throw this.missing('remove', name);
    this.files.delete(name);
    file.unlink();
  }

  rename(from: string, to: string): void {
    assertPlainName('rename', this.location, from);
    assertPlainName('rename', this.location, to);
    const file = this.files.get(from);
    if (!file) throw this.missing('rename', from);
    if (from === to) return;
    this.files.get(to)?.unlink();
    this.files.delete(from);
    this.files.set(to, file);
  }

  async syncDirectory(): Promise<void> {
    this.syncDirectorySync();
  }

  syncDirectorySync(): void {
    // Nothing in memory is more durable than the rest.
  }

  async space(): Promise<KvDiskSpace> {
    const { freeBytes, totalBytes } = this.ownSpace();
    return { freeBytes: Math.max(0, freeBytes), totalBytes };
  }

  ownSpace(): KvDiskSpace {
    const { limitBytes, used } = this.budget;
    return { freeBytes: limitBytes - used, totalBytes: limitBytes };
  }

  lock(): Promise<void> {
    if (this.locked) return Promise.reject(new KvLockedError(this.location, undefined));
    this.locked = true;
    return Promise.resolve();
  }

  close(): void {
    this.locked = false;
  }

  private missing(operation: string, name: string): Error {
    const path = `${this.location}/${name}`;
    return diskError(operation, path, systemError('ENOENT', operation, path));
  }
}

class MemoryBudget {
  used = 0;

  constructor(
    readonly limitBytes: number,
    private readonly extraBytes: number,
  ) {}

  take(bytes: number): void {
    if (this.used + bytes > this.limitBytes + this.extraBytes) {
      throw new KvOverloadedError(
        `The memory device is full: ${this.used} of ${this.limitBytes} bytes are taken and ${bytes} more are needed. ` +
          'Raise memoryLimit, or give the store a path; space of old entries comes back with compaction.',
      );
    }
    this.used += bytes;
  }

  giveBack(bytes: number): void {
    this.used -= bytes;
  }
}

/** The bytes of a file. Like a Unix file it lives on without its name for as long as somebody has it open. */
class MemoryFile {
  size = 0;
  handles = 0;

  private chunks: (Buffer | undefined)[] = [];
  private linked = true;

  constructor(private readonly budget: MemoryBudget) {}

  unlink(): void {
    this.linked = false;
    this.freeIfUnreachable();
  }

  freeIfUnreachable(): void {
    if (!this.linked && this.handles === 0) this.truncate(0);
  }

  read(target: Uint8Array, offset: number, length: number, position: number): number {
    const count = Math.max(0, Math.min(length, this.size - position));
    forEachPiece(CHUNK_BYTES, position, count, (index, start, bytes, done) => {
      const chunk = this.chunks[index];
      const there = chunk?.subarray(start, start + bytes);
      if (there) target.set(there, offset + done);
      target.fill(0, offset + done + (there?.length ?? 0), offset + done + bytes);
    });
    return count;
  }

  write(source: Uint8Array, offset: number, length: number, position: number): void {
    let missing = 0;
    forEachPiece(CHUNK_BYTES, position, length, (index, start, bytes) => {
      missing += chunkBytes(index, start + bytes, this.chunks[index]) - (this.chunks[index]?.length ?? 0);
    });
    this.budget.take(missing);

    forEachPiece(CHUNK_BYTES, position, length, (index, start, bytes, done) => {
      this.chunkFor(index, start + bytes).set(source.subarray(offset + done, offset + done + bytes), start);
    });
    if (length > 0) this.size = Math.max(this.size, position + length);
  }

  truncate(length: number): void {
    if (length < this.size) {
      const kept = Math.ceil(length / CHUNK_BYTES);
      for (const chunk of this.chunks.splice(kept)) this.budget.giveBack(chunk?.length ?? 0);
      if (length % CHUNK_BYTES > 0) this.chunks[kept - 1]?.fill(0, length % CHUNK_BYTES);
    }
    this.size = length;
  }

  private chunkFor(index: number, end: number): Buffer {
    const chunk = this.chunks[index];
    const bytes = chunkBytes(index, end, chunk);
    if (chunk?.length === bytes) return chunk;
    // Zero-filled by the operating system, page by page, as the pages are touched.
    const grown = Buffer.alloc(bytes);
    if (chunk) grown.set(chunk);
    this.chunks[index] = grown;
    return grown;
  }
}

/** How large a chunk has to be to hold its bytes up to `end`. */
function chunkBytes(index: number, end: number, chunk: Buffer | undefined): number {
  if (index > 0) return CHUNK_BYTES;
  let bytes = chunk?.length ?? FIRST_CHUNK_BYTES;
  while (bytes < end) bytes *= 2;
  return bytes;
}

class MemoryFileHandle implements DeviceFile {
  private closed = false;

  constructor(
    private readonly file: MemoryFile,
    readonly name: string,
    private readonly path: string,
  ) {
    file.handles++;
  }

  size(): number {
    this.assertOpen('size');
    return this.file.size;
  }

  async read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<number> {
    return this.readSync(buffer, offset, length, position);
  }

  readSync(buffer: Uint8Array, offset: number, length: number, position: number): number {
    this.assertOpen('read');
    this.assertRange('read', buffer, offset, length, position);
    return this.file.read(buffer, offset, length, position);
  }

  async write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<void> {
    this.writeSync(buffer, offset, length, position);
  }

  writeSync(buffer: Uint8Array, offset: number, length: number, position: number): void {
    this.assertOpen('write');
    this.assertRange('write', buffer, offset, length, position);
    this.file.write(buffer, offset, length, position);
  }

  async sync(): Promise<void> {
    this.syncSync();
  }

  syncSync(): void {
    this.assertOpen('sync');
  }

  truncate(length: number): void {
    this.assertOpen('truncate');
    if (!isCount(length))
      throw diskError('truncate', this.path, systemError('EINVAL', 'truncate', this.path));
    this.file.truncate(length);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.file.handles--;
    this.file.freeIfUnreachable();
  }

  private assertOpen(operation: string): void {
    if (this.closed) throw diskError(operation, this.path, new Error('the file is closed'));
  }

  private assertRange(
    operation: string,
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): void {
    if (isCount(offset) && isCount(length) && isCount(position) && offset + length <= buffer.length) return;
    throw diskError(operation, this.path, systemError('EINVAL', operation, this.path));
  }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
