/**
 * Files in one directory, through an `Env`. It adds to the bare calls what every caller would need: short reads and
 * writes are continued, every failure is a `KvDiskError` with operation, path and a hint, names cannot leave the
 * directory, and one device at a time holds the directory (`LOCK`, which `list` does not show).
 *
 * It does not decide when to sync, and it never retries: what a failed write or sync means is the store's business.
 */
import { dirname, join, resolve } from 'node:path';
import { KvLockedError } from '../errors.js';
import type { Device, DeviceFile } from './device.js';
import type { Env, EnvFs } from './env.js';
import { assertPlainName, LOCK_NAME } from './file-name.js';
import { diskError, systemError } from './system-error.js';

/** Node takes lengths below 2 GiB only. */
const MAX_CALL_BYTES = 2 ** 30;

/** A holder's line has three short fields; more than this is not one. */
const MAX_HOLDER_BYTES = 4096;

/** How often to look for the name of a holder that has the lock but has not written its name yet: some 50 ms. */
const HOLDER_ATTEMPTS = 1000;

type Holder = NonNullable<KvLockedError['holder']>;

export class FileDevice implements Device {
  readonly location: string;
  readonly retains = true;
  readonly volatile = false;

  private readonly fs: EnvFs;
  private readonly openFiles = new Set<OpenFile>();
  /** Calls on names that have not ended. */
  private underWay = 0;
  private held: { fd: number; release: () => void } | undefined;
  private closing = false;

  constructor(
    private readonly env: Env,
    path: string,
  ) {
    this.fs = env.fs;
    this.location = resolve(path);
  }

  list(): string[] {
    try {
      return this.fs.readdir(this.location).filter((name) => name !== LOCK_NAME);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return [];
      throw diskError('list', this.location, error);
    }
  }

  open(name: string, options: { create: boolean }): DeviceFile {
    const path = this.pathOf('open', name);
    const fd = attempt('open', path, () => this.fs.open(path, options));
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

  async lock(): Promise<void> {
    this.createDirectory();
    const path = join(this.location, LOCK_NAME);
    const fd = attempt('open', path, () => this.fs.open(path, { create: true }));
    let kept = false;
    try {
      const release = await this.fs.lock(fd).catch((error: unknown) => {
        throw diskError('lock', path, error);
      });
      if (!release) throw new KvLockedError(this.location, await this.readHolder(fd));
      try {
        this.writeHolder(fd, path);
      } catch (error) {
        release();
        throw error;
      }
      this.held = { fd, release };
      this.closing = false;
      kept = true;
    } finally {
      if (!kept) this.fs.close(fd);
    }
  }

  close(): void {
    this.closing = true;
    for (const file of [...this.openFiles]) file.close();
    this.releaseLock();
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
    if (!this.held || this.openFiles.size + this.underWay > 0) return;
    const { fd, release } = this.held;
    this.held = undefined;
    try {
      // So that the next one to be refused is not told the name of somebody who has left.
      this.fs.truncate(fd, 0);
    } catch {
      // The name in the file is for messages only.
    }
    release();
    attempt('close', join(this.location, LOCK_NAME), () => this.fs.close(fd));
  }

  /**
   * Makes the directory, and its name durable in its parents: a synced file in a directory that is lost is lost. The
   * direct parent is synced also when the directory exists, for its maker may have been killed before.
   */
  private createDirectory(): void {
    const parents = [dirname(this.location)];
    for (
      let path = dirname(this.location);
      !this.exists(path) && dirname(path) !== path;
      path = dirname(path)
    ) {
      parents.push(dirname(path));
    }
    attempt('create', this.location, () => this.fs.mkdir(this.location));
    for (const parent of parents) this.syncParent(parent);
  }

  private syncParent(path: string): void {
    try {
      this.fs.syncDirectorySync(path);
    } catch (error) {
      // A parent that we may pass through but not read: there is nothing that we could do, and others synced it.
      if (!hasCode(error, 'EACCES') && !hasCode(error, 'EPERM')) throw diskError('sync', path, error);
    }
  }

  /** Anything but "no such directory" counts as there; if it is unusable, creating the directory says so. */
  private exists(path: string): boolean {
    try {
      this.fs.readdir(path);
      return true;
    } catch (error) {
      return !hasCode(error, 'ENOENT');
    }
  }

  private writeHolder(fd: number, path: string): void {
    const holder: Holder = {
      ...this.env.process.identity(),
      openedAt: new Date(this.env.clock.now()).toISOString(),
    };
    const bytes = Buffer.from(`${JSON.stringify(holder)}\n`);
    try {
      this.fs.truncate(fd, 0);
      this.fs.writeSync(fd, bytes, 0, bytes.length, 0);
    } catch (error) {
      const failure = diskError('write', path, error);
      // The name is for messages only; a full disk still allows to open, read and delete.
      if (!failure.full) throw failure;
    }
  }

  /** The holder writes its name a moment after it got the lock, so an unreadable name is looked at again. */
  private async readHolder(fd: number): Promise<Holder | undefined> {
    const buffer = Buffer.alloc(MAX_HOLDER_BYTES);
    for (let attempts = 0; attempts < HOLDER_ATTEMPTS; attempts++) {
      try {
        const count = await this.fs.read(fd, buffer, 0, buffer.length, 0);
        const holder = parseHolder(buffer.toString('utf8', 0, count));
        if (holder) return holder;
      } catch {
        // Windows may refuse to read a file that is locked. "Locked" is the answer either way.
        return undefined;
      }
    }
    return undefined;
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
    private readonly path: string,
    private readonly onClosed: () => void,
  ) {}

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

function attempt<T>(operation: string, path: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw diskError(operation, path, error);
  }
}

function hasCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === code;
}

function parseHolder(text: string): Holder | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { pid, hostname, openedAt } = (value ?? {}) as Partial<Record<keyof Holder, unknown>>;
  if (typeof pid !== 'number' || typeof hostname !== 'string' || typeof openedAt !== 'string')
    return undefined;
  return { pid, hostname, openedAt };
}
