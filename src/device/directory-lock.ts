/**
 * Who may use a directory: one store that writes, or any number of stores that read. The lock is taken on the file `LOCK`,
 * in which a writer leaves its name for the message to others; the name is no lock.
 *
 * A writer makes directory and file where they are missing. A reader makes nothing: where the file is missing (somebody
 * copied the directory without it) it locks the directory itself, and a writer that is about to create the file makes sure
 * that nobody does. The file is removed only by a store that is gone at close, so whoever has got the lock looks whether
 * it is still on the file that others will find, and starts over if not.
 */
import { dirname, join } from 'node:path';
import { KvLockedError } from '../errors.js';
import type { Env, EnvFs } from './env.js';
import { LOCK_NAME } from './file-name.js';
import { attempt, diskError, hasCode } from './system-error.js';

/** A holder's line has three short fields; more than this is not one. */
const MAX_HOLDER_BYTES = 4096;

/** How often to look for the name of a holder that has the lock but has not written its name yet: some 200 ms. */
const HOLDER_ATTEMPTS = 4000;

/** How often to start over because the file was removed or created meanwhile. */
const LOCK_ATTEMPTS = 20;

type Holder = NonNullable<KvLockedError['holder']>;

/** A lock on an open file, or on nothing, where there is nothing that could be locked. */
interface Held {
  fd: number | undefined;
  release: () => void;
}

export class DirectoryLock {
  private readonly fs: EnvFs;
  private readonly path: string;
  private held: Held | undefined;
  private shared = false;
  /** Whether the directory was missing. */
  private created = false;

  constructor(
    private readonly env: Env,
    private readonly directory: string,
  ) {
    this.fs = env.fs;
    this.path = join(directory, LOCK_NAME);
  }

  /** @throws KvLockedError, KvDiskError */
  async take(shared: boolean): Promise<void> {
    if (this.held) throw new KvLockedError(this.directory, undefined);
    this.created = false;
    let held: Held | undefined;
    for (let attempts = 1; !held; attempts++) {
      if (attempts > LOCK_ATTEMPTS) {
        throw diskError('lock', this.path, new Error('the file is removed or created again and again'));
      }
      held = shared ? await this.takeShared() : await this.takeAlone();
    }
    this.held = held;
    this.shared = shared;
  }

  /** @param remove whether the file is removed, and the directory if it was missing before and is empty now */
  release(remove: boolean): void {
    const { held } = this;
    if (!held) return;
    this.held = undefined;
    try {
      if (remove) attempt('remove', this.path, () => this.fs.unlinkSync(this.path));
      else if (!this.shared) this.eraseName(held);
    } finally {
      this.giveBack(held);
    }
    if (remove && this.created) this.removeDirectory();
  }

  /** @returns `undefined` to start over */
  private async takeAlone(): Promise<Held | undefined> {
    const { isMissing, lasting } = this.createDirectory();
    if (isMissing) this.created = true;
    const guard = await this.keepReadersOut();
    let held: Held | undefined;
    try {
      const fd = this.openIfThere(this.path, { create: true });
      if (fd === undefined) return undefined;
      const locking = this.lockOpen(fd, false);
      // A millisecond, as long as nobody has asked for the time: while we wait for the helper anyway.
      const name = this.nameLine();
      held = await locking;
      await lasting;
      if (!this.isLasting(held)) return undefined;
      this.writeName(held, name);
      const taken = held;
      held = undefined;
      return taken;
    } finally {
      if (held) this.giveBack(held);
      if (guard) this.giveBack(guard);
    }
  }

  /** @returns `undefined` to start over */
  private async takeShared(): Promise<Held | undefined> {
    const file = this.openIfThere(this.path, { create: false, readOnly: true });
    const fd = file ?? this.openDirectory();
    // There is no lock on Windows without the file.
    if (fd === undefined) return { fd, release: () => undefined };
    const held = await this.lockOpen(fd, true);
    if (file === undefined ? !this.names()?.includes(LOCK_NAME) : this.isLasting(held)) return held;
    this.giveBack(held);
    return undefined;
  }

  /** Whether the file that is locked is the one that others will find. */
  private isLasting({ fd }: Held): boolean {
    return attempt('lock', this.path, () => fd !== undefined && this.fs.isAt(fd, this.path));
  }

  /** Locks the directory for as long as it takes to create the file, if that is missing where there may be readers. */
  private async keepReadersOut(): Promise<Held | undefined> {
    const names = this.names() ?? [];
    if (names.length === 0 || names.includes(LOCK_NAME)) return undefined;
    const fd = this.openDirectory();
    return fd === undefined ? undefined : this.lockOpen(fd, false);
  }

  /** @throws KvLockedError; the descriptor is closed then */
  private async lockOpen(fd: number, shared: boolean): Promise<Held> {
    const lock = (asReader: boolean) =>
      this.fs.lock(fd, asReader).catch((error: unknown) => {
        throw diskError('lock', this.path, error);
      });
    let release: (() => void) | undefined;
    try {
      release = await lock(shared);
      if (release) return { fd, release };
      // Readers leave no name, and the name of a writer that was killed is still there: they are told by their sharing it.
      const shares = shared ? undefined : await lock(true);
      shares?.();
      throw new KvLockedError(this.directory, shares ? undefined : await this.readName(fd), !!shares);
    } finally {
      if (!release) this.fs.close(fd);
    }
  }

  private giveBack({ fd, release }: Held): void {
    release();
    if (fd !== undefined) attempt('close', this.path, () => this.fs.close(fd));
  }

  private openIfThere(path: string, options: { create: boolean; readOnly?: boolean }): number | undefined {
    try {
      return this.fs.open(path, options);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw diskError('open', path, error);
    }
  }

  /** @returns `undefined` where directories cannot be opened */
  private openDirectory(): number | undefined {
    try {
      return this.fs.open(this.directory, { create: false, readOnly: true });
    } catch (error) {
      if (['EISDIR', 'EPERM', 'EACCES'].some((code) => hasCode(error, code))) return undefined;
      throw diskError('open', this.directory, error);
    }
  }

  /**
   * Makes the directory, and its name durable in its parents: a synced file in a directory that is lost is lost. The
   * direct parent is synced also when the directory exists, for its maker may have been killed before.
   * @returns whether it was missing, and what resolves once its name is durable
   */
  private createDirectory(): { isMissing: boolean; lasting: Promise<void> } {
    const parents = [dirname(this.directory)];
    for (let path = parents[0]; !this.exists(path) && dirname(path) !== path; path = dirname(path)) {
      parents.push(dirname(path));
    }
    const isMissing = !this.exists(this.directory);
    attempt('create', this.directory, () => this.fs.mkdir(this.directory));
    const lasting = Promise.all(parents.map((parent) => this.syncParent(parent))).then(() => undefined);
    // Whoever does not get the lock does not wait for it.
    lasting.catch(() => undefined);
    return { isMissing, lasting };
  }

  private removeDirectory(): void {
    try {
      this.fs.rmdir(this.directory);
    } catch (error) {
      // Somebody else's files are in it, or the next store, or it is gone already.
      if (['ENOTEMPTY', 'EEXIST', 'ENOENT', 'EBUSY'].some((code) => hasCode(error, code))) return;
      throw diskError('remove', this.directory, error);
    }
  }

  private async syncParent(path: string): Promise<void> {
    try {
      await this.fs.syncDirectory(path);
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

  /** Names in the directory; `undefined` when it is missing. */
  private names(): string[] | undefined {
    try {
      return this.fs.readdir(this.directory);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw diskError('list', this.directory, error);
    }
  }

  /** Never fails, since the lock is being taken meanwhile: an empty line is the name of somebody who cannot tell it. */
  private nameLine(): Buffer {
    try {
      const openedAt = new Date(this.env.clock.now()).toISOString();
      const holder: Holder = { ...this.env.process.identity(), openedAt };
      return Buffer.from(`${JSON.stringify(holder)}\n`);
    } catch {
      return Buffer.alloc(0);
    }
  }

  private writeName({ fd }: Held, bytes: Buffer): void {
    if (fd === undefined) return;
    try {
      this.fs.truncate(fd, 0);
      this.fs.writeSync(fd, bytes, 0, bytes.length, 0);
    } catch (error) {
      const failure = diskError('write', this.path, error);
      // The name is for messages only; a full disk still allows to open, read and delete.
      if (!failure.full) throw failure;
    }
  }

  /** So that the next one to be refused is not told the name of somebody who has left. */
  private eraseName({ fd }: Held): void {
    try {
      if (fd !== undefined) this.fs.truncate(fd, 0);
    } catch {
      // The name is for messages only.
    }
  }

  /** The holder writes its name a moment after it got the lock, so an unreadable name is looked at again. */
  private async readName(fd: number): Promise<Holder | undefined> {
    const buffer = Buffer.alloc(MAX_HOLDER_BYTES);
    for (let attempts = 0; attempts < HOLDER_ATTEMPTS; attempts++) {
      try {
        const count = await this.fs.read(fd, buffer, 0, buffer.length, 0);
        const holder = parseHolder(buffer.toString('utf8', 0, count));
        if (holder) return holder;
      } catch {
        // Windows may refuse to read a file that is locked; a directory cannot be read. "Locked" is the answer either way.
        return undefined;
      }
    }
    return undefined;
  }
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
