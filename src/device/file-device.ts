/**
 * Files in one directory, through an `Env`. It adds to the bare calls what every caller would need: short reads and
 * writes are continued, every failure is a `KvDiskError` with operation, path and a hint, names cannot leave the
 * directory, and one device at a time holds the directory to write, or many to read (`LOCK`, which `list` does not show).
 *
 * It does not decide when to sync, and it never retries: what a failed write or sync means is the store's business.
 */
import { join, resolve } from 'node:path';
import type { Device, DeviceFile, KvDiskSpace } from './device.js';
import { DirectoryLock } from './directory-lock.js';
import type { Env, EnvFs } from './env.js';
import { assertPlainName, LOCK_NAME } from './file-name.js';
import { attempt, diskError, hasCode, systemError } from './system-error.js';

/** Node takes lengths below 2 GiB only. */
const MAX_CALL_BYTES = 2 ** 30;

export class FileDevice implements Device {
  readonly location: string;
  readonly retains = true;
  readonly volatile = false;

  private readonly fs: EnvFs;
  private readonly openFiles = new Set<OpenFile>();
  /** Calls on names that have not ended. */
  private underWay = 0;
  private readonly directoryLock: DirectoryLock;
  private closing = false;
  /** Whether what `lock` has made is removed with the lock. */
  private removing = false;

  constructor(env: Env, path: string) {
    this.fs = env.fs;
    this.location = resolve(path);
    this.directoryLock = new DirectoryLock(env, this.location);
  }

  list(): string[] {
    try {
      return this.fs.readdir(this.location).filter((name) => name !== LOCK_NAME);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return [];
      throw diskError('list', this.location, error);
    }
  }

  open(name: string, options: { create: boolean; readOnly?: boolean }): DeviceFile {
    const path = this.pathOf('open', name);
    const fd = attempt('open', path, () => this.fs.open(path, options));
    return this.opened(fd, name, path);
  }

  openDurable(file: DeviceFile): DeviceFile | undefined {
    if (!this.fs.openDurable || !(file instanceof OpenFile)) return undefined;
    try {
      return this.opened(this.fs.openDurable(file.descriptor), file.name, file.path);
    } catch {
      // It can be done without.
      return undefined;
    }
  }

  private opened(fd: number, name: string, path: string): DeviceFile {
    const file = new OpenFile(this.fs, fd, name, path, () => {
      this.openFiles.delete(file);
      if (this.closing) this.releaseLock();
    });
    this.openFiles.add(file);
    return file;
  }

  async remove(name: string): Promise<void> {
    const path = this.pathOf('remove', name);
    await this.attemptLater('remove', path, () => this.fs.unlink(path));
  }

  removeSync(name: string): void {
    const path = this.pathOf('remove', name);
    attempt('remove', path, () => this.fs.unlinkSync(path));
  }

  rename(from: string, to: string): void {
    const source = this.pathOf('rename', from);
    const target = this.pathOf('rename', to);
    attempt('rename', source, () => this.fs.rename(source, target));
  }

  async syncDirectory(): Promise<void> {
    await this.attemptLater('sync', this.location, () => this.fs.syncDirectory(this.location));
  }

  syncDirectorySync(): void {
    attempt('sync', this.location, () => this.fs.syncDirectorySync(this.location));
  }

  async space(): Promise<KvDiskSpace> {
    try {
      return await this.fs.space(this.location);
    } catch (error) {
      throw diskError('statfs', this.location, error);
    }
  }

  async lock({ shared = false }: { shared?: boolean } = {}): Promise<void> {
    await this.directoryLock.take(shared);
    this.closing = false;
  }

  close({ remove = false }: { remove?: boolean } = {}): void {
    this.closing = true;
    this.removing = remove;
    let failure: { error: unknown } | undefined;
    for (const file of [...this.openFiles]) {
      try {
        file.close();
      } catch (error) {
        // Its descriptor is given back all the same, and so are those of the others, and the directory.
        failure ??= { error };
      }
    }
    this.releaseLock();
    if (failure) throw failure.error;
  }

  private async attemptLater(operation: string, path: string, call: () => Promise<void>): Promise<void> {
    this.underWay++;
    try {
      await call();
    } catch (error) {
      throw diskError(operation, path, error);
    } finally {
      this.underWay--;
      if (this.closing) this.releaseLock();
    }
  }

  /** Not before the last call that is still under way: it would write or remove files of the next holder. */
  private releaseLock(): void {
    if (this.openFiles.size + this.underWay === 0) this.directoryLock.release(this.removing);
  }

  private pathOf(operation: string, name: string): string {
    assertPlainName(operation, this.location, name);
    return join(this.location, name);
  }
}

/**
 * One open file. A call that is under way keeps the descriptor open beyond `close`: the system would give its number
 * to the next file that is opened, and the rest of a write would go there.
 */
class OpenFile implements DeviceFile {
  private closed = false;
  private underWay = 0;

  constructor(
    private readonly fs: EnvFs,
    private readonly fd: number,
    readonly name: string,
    readonly path: string,
    private readonly onClosed: () => void,
  ) {}

  get descriptor(): number {
    this.assertOpen('open');
    return this.fd;
  }

  size(): number {
    this.assertOpen('size');
    return attempt('size', this.path, () => this.fs.size(this.fd));
  }

  async read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<number> {
    this.assertOpen('read');
    this.underWay++;
    try {
      let done = 0;
      while (done < length) {
        const bytes = Math.min(length - done, MAX_CALL_BYTES);
        const count = await this.fs.read(this.fd, buffer, offset + done, bytes, position + done);
        if (count === 0) break;
        done += count;
      }
      return done;
    } catch (error) {
      throw diskError('read', this.path, error);
    } finally {
      this.callEnded();
    }
  }

  readSync(buffer: Uint8Array, offset: number, length: number, position: number): number {
    this.assertOpen('read');
    try {
      let done = 0;
      while (done < length) {
        const bytes = Math.min(length - done, MAX_CALL_BYTES);
        const count = this.fs.readSync(this.fd, buffer, offset + done, bytes, position + done);
        if (count === 0) break;
        done += count;
      }
      return done;
    } catch (error) {
      throw diskError('read', this.path, error);
    }
  }

  async write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<void> {
    this.assertOpen('write');
    this.underWay++;
    try {
      // A short count hides an error; writing the rest reveals it.
      for (let done = 0; done < length;) {
        const bytes = Math.min(length - done, MAX_CALL_BYTES);
        const count = await this.fs.write(this.fd, buffer, offset + done, bytes, position + done);
        if (count === 0) throw systemError('EIO', 'write');
        done += count;
      }
    } catch (error) {
      throw diskError('write', this.path, error);
    } finally {
      this.callEnded();
    }
  }

  writeSync(buffer: Uint8Array, offset: number, length: number, position: number): void {
    this.assertOpen('write');
    try {
      for (let done = 0; done < length;) {
        const bytes = Math.min(length - done, MAX_CALL_BYTES);
        const count = this.fs.writeSync(this.fd, buffer, offset + done, bytes, position + done);
        if (count === 0) throw systemError('EIO', 'write');
        done += count;
      }
    } catch (error) {
      throw diskError('write', this.path, error);
    }
  }

  async sync(): Promise<void> {
    this.assertOpen('sync');
    this.underWay++;
    try {
      await this.fs.sync(this.fd);
    } catch (error) {
      throw diskError('sync', this.path, error);
    } finally {
      this.callEnded();
    }
  }

  syncSync(): void {
    this.assertOpen('sync');
    attempt('sync', this.path, () => this.fs.syncSync(this.fd));
  }

  truncate(length: number): void {
    this.assertOpen('truncate');
    attempt('truncate', this.path, () => this.fs.truncate(this.fd, length));
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.underWay === 0) this.closeDescriptor();
  }

  private assertOpen(operation: string): void {
    if (this.closed) throw diskError(operation, this.path, new Error('the file is closed'));
  }

  private callEnded(): void {
    this.underWay--;
    if (this.underWay > 0 || !this.closed) return;
    try {
      this.closeDescriptor();
    } catch {
      // Nobody waits for this close any more; whoever needed the bytes durable had called sync.
    }
  }

  private closeDescriptor(): void {
    try {
      attempt('close', this.path, () => this.fs.close(this.fd));
    } finally {
      this.onClosed();
    }
  }
}
