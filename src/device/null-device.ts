/**
 * A device that takes everything and keeps nothing: for measuring the store without its disk, and for a cache whose
 * cold entries may vanish. Every write, sync, rename and removal succeeds; every file has size 0, reads end at once,
 * and no name is ever listed. `retains` says so, because a log on it must not expect to find anything again.
 */
import { KvLockedError } from '../errors.js';
import type { Device, DeviceFile } from './device.js';
import { assertPlainName } from './file-name.js';
import { diskError, systemError } from './system-error.js';

export class NullDevice implements Device {
  readonly location = 'null';
  readonly retains = false;
  readonly volatile = true;

  private locked = false;

  list(): string[] {
    return [];
  }

  /** Without `create` every file is missing. */
  open(name: string, { create }: { create: boolean }): DeviceFile {
    assertPlainName('open', this.location, name);
    const path = `${this.location}/${name}`;
    if (!create) throw diskError('open', path, systemError('ENOENT', 'open', path));
    return new NullFile(name, path);
  }

  async remove(name: string): Promise<void> {
    this.removeSync(name);
  }

  removeSync(name: string): void {
    assertPlainName('remove', this.location, name);
  }

  rename(from: string, to: string): void {
    assertPlainName('rename', this.location, from);
    assertPlainName('rename', this.location, to);
  }

  async syncDirectory(): Promise<void> {
    this.syncDirectorySync();
  }

  syncDirectorySync(): void {
    // No names, nothing to sync.
  }

  lock(): Promise<void> {
    if (this.locked) return Promise.reject(new KvLockedError(this.location, undefined));
    this.locked = true;
    return Promise.resolve();
  }

  close(): void {
    this.locked = false;
  }
}

/** Checks only that it is open: a use after closing is a mistake on every device. */
class NullFile implements DeviceFile {
  private closed = false;

  constructor(
    readonly name: string,
    private readonly path: string,
  ) {}

  size(): number {
    this.assertOpen('size');
    return 0;
  }

  async read(): Promise<number> {
    return this.readSync();
  }

  readSync(): number {
    this.assertOpen('read');
    return 0;
  }

  async write(): Promise<void> {
    this.writeSync();
  }

  writeSync(): void {
    this.assertOpen('write');
  }

  async sync(): Promise<void> {
    this.syncSync();
  }

  syncSync(): void {
    this.assertOpen('sync');
  }

  truncate(): void {
    this.assertOpen('truncate');
  }

  close(): void {
    this.closed = true;
  }

  private assertOpen(operation: string): void {
    if (this.closed) throw diskError(operation, this.path, new Error('the file is closed'));
  }
}
