/**
 * A device over another one that is never changed: what is created, written, cut off, renamed or removed is so in memory
 * only, and gone with the device. A store that is opened to be read stands on it, so that recovery can do what it always
 * does.
 *
 * Memory holds what was changed and nothing else, in chunks: the chunk that is written to is copied, the rest of its file
 * is not; what is cut off or removed takes none. The device below is taken with a shared lock, and its files are opened to
 * be read. They must not change meanwhile.
 */
import { KvDiskError } from '../errors.js';
import type { Device, DeviceFile, KvDiskSpace } from './device.js';
import { assertPlainName } from './file-name.js';
import { diskError, systemError } from './system-error.js';
import { forEachPiece } from './pieces.js';

const CHUNK_BYTES = 64 * 1024;

export class OverlayDevice implements Device {
  readonly location: string;
  readonly retains: boolean;
  readonly volatile = true;

  /** Files that were opened or renamed here; `undefined` is a file below that is gone here. */
  private readonly files = new Map<string, OverlayFile | undefined>();

  constructor(private readonly below: Device) {
    this.location = below.location;
    this.retains = below.retains;
  }

  /** Bytes that memory holds of what was changed. */
  get memoryBytes(): number {
    let bytes = 0;
    for (const file of this.files.values()) bytes += file?.memoryBytes ?? 0;
    return bytes;
  }

  list(): string[] {
    const names = new Set(this.below.list());
    for (const [name, file] of this.files) {
      if (file) names.add(name);
      else names.delete(name);
    }
    return [...names];
  }

  open(name: string, { create }: { create: boolean }): DeviceFile {
    assertPlainName('open', this.location, name);
    let file = this.find(name);
    if (!file) {
      if (!create) throw this.missing('open', name);
      file = new OverlayFile();
      this.files.set(name, file);
    }
    return new OverlayHandle(file, name, `${this.location}/${name}`);
  }

  async remove(name: string): Promise<void> {
    this.removeSync(name);
  }

  removeSync(name: string): void {
    assertPlainName('remove', this.location, name);
    const file = this.find(name);
    if (!file) throw this.missing('remove', name);
    this.files.set(name, undefined);
    file.closeIfIdle();
  }

  rename(from: string, to: string): void {
    assertPlainName('rename', this.location, from);
    assertPlainName('rename', this.location, to);
    const file = this.find(from);
    if (!file) throw this.missing('rename', from);
    this.files.set(from, undefined);
    this.files.set(to, file);
    file.closeIfIdle();
  }

  async syncDirectory(): Promise<void> {
    this.syncDirectorySync();
  }

  syncDirectorySync(): void {
    // Nothing here is to be kept.
  }

  async space(): Promise<KvDiskSpace | undefined> {
    return this.below.space?.();
  }

  lock(): Promise<void> {
    return this.below.lock({ shared: true });
  }

  close(): void {
    this.below.close();
  }

  private find(name: string): OverlayFile | undefined {
    if (this.files.has(name)) return this.files.get(name);
    try {
      const file = new OverlayFile(() => this.below.open(name, { create: false, readOnly: true }));
      this.files.set(name, file);
      return file;
    } catch (error) {
      if (error instanceof KvDiskError && error.errno === 'ENOENT') return undefined;
      throw error;
    }
  }

  private missing(operation: string, name: string): Error {
    const path = `${this.location}/${name}`;
    return diskError(operation, path, systemError('ENOENT', operation, path));
  }
}

/** The bytes of a file: those that were written here, then those below, then zeros. */
class OverlayFile {
  size = 0;
  /** Bytes from the beginning that are as below, where there is no chunk. */
  private sizeBelow = 0;
  private below: DeviceFile | undefined;
  private readonly chunks = new Map<number, Buffer>();
  private handles = 0;

  /** @param openBelow opens the file that this one is as long as nothing changes it */
  constructor(private readonly openBelow?: () => DeviceFile) {
    this.below = openBelow?.();
    this.size = this.sizeBelow = this.below?.size() ?? 0;
  }

  get memoryBytes(): number {
    return this.chunks.size * CHUNK_BYTES;
  }

  /** Somebody has it open. */
  opened(): void {
    this.below ??= this.openBelow?.();
    this.handles++;
  }

  closed(): void {
    this.handles--;
    this.closeIfIdle();
  }

  /** The file below is open only while somebody has this one open. */
  closeIfIdle(): void {
    if (this.handles > 0) return;
    this.below?.close();
    this.below = undefined;
  }

  async read(target: Uint8Array, offset: number, length: number, position: number): Promise<number> {
    const bytes = this.bytesBelow(length, position);
    const count = bytes > 0 ? await this.below?.read(target, offset, bytes, position) : 0;
    return this.complete(target, offset, length, position, count ?? 0);
  }

  readSync(target: Uint8Array, offset: number, length: number, position: number): number {
    const bytes = this.bytesBelow(length, position);
    const count = bytes > 0 ? this.below?.readSync(target, offset, bytes, position) : 0;
    return this.complete(target, offset, length, position, count ?? 0);
  }

  write(source: Uint8Array, offset: number, length: number, position: number): void {
    forEachPiece(CHUNK_BYTES, position, length, (index, start, bytes, done) => {
      this.chunkFor(index).set(source.subarray(offset + done, offset + done + bytes), start);
    });
    if (length > 0) this.size = Math.max(this.size, position + length);
  }

  truncate(length: number): void {
    if (length < this.size) {
      const kept = Math.ceil(length / CHUNK_BYTES);
      for (const index of this.chunks.keys()) if (index >= kept) this.chunks.delete(index);
      if (length % CHUNK_BYTES > 0) this.chunks.get(kept - 1)?.fill(0, length % CHUNK_BYTES);
      this.sizeBelow = Math.min(this.sizeBelow, length);
    }
    this.size = length;
  }

  private bytesBelow(length: number, position: number): number {
    return Math.max(0, Math.min(length, this.sizeBelow - position));
  }

  /** Puts what was changed, up to now, over the bytes that were read from below. */
  private complete(
    target: Uint8Array,
    offset: number,
    length: number,
    position: number,
    countBelow: number,
  ): number {
    const count = Math.max(0, Math.min(length, this.size - position));
    const fromBelow = Math.min(countBelow, this.bytesBelow(count, position));
    target.fill(0, offset + fromBelow, offset + count);
    if (this.chunks.size === 0) return count;
    forEachPiece(CHUNK_BYTES, position, count, (index, start, bytes, done) => {
      const chunk = this.chunks.get(index);
      if (chunk) target.set(chunk.subarray(start, start + bytes), offset + done);
    });
    return count;
  }

  /** The chunk, to be written to: with what lies below, if that is the first time. */
  private chunkFor(index: number): Buffer {
    let chunk = this.chunks.get(index);
    if (!chunk) {
      chunk = Buffer.alloc(CHUNK_BYTES);
      this.readSync(chunk, 0, CHUNK_BYTES, index * CHUNK_BYTES);
      this.chunks.set(index, chunk);
    }
    return chunk;
  }
}

class OverlayHandle implements DeviceFile {
  private isClosed = false;

  constructor(
    private readonly file: OverlayFile,
    readonly name: string,
    private readonly path: string,
  ) {
    file.opened();
  }

  size(): number {
    this.assertOpen('size');
    return this.file.size;
  }

  async read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<number> {
    this.assertOpen('read');
    return this.file.read(buffer, offset, length, position);
  }

  readSync(buffer: Uint8Array, offset: number, length: number, position: number): number {
    this.assertOpen('read');
    return this.file.readSync(buffer, offset, length, position);
  }

  async write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<void> {
    this.writeSync(buffer, offset, length, position);
  }

  writeSync(buffer: Uint8Array, offset: number, length: number, position: number): void {
    this.assertOpen('write');
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
    this.file.truncate(length);
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.file.closed();
  }

  private assertOpen(operation: string): void {
    if (this.isClosed) throw diskError(operation, this.path, new Error('the file is closed'));
  }
}
