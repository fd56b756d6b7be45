/**
 * A disk in memory that fails as disks and machines fail, and does so again from the same seed.
 *
 * Fault model
 * - Bytes that are not synced may be lost, torn at sectors of 512 bytes (of the file), or reordered: a later write may
 *   survive an earlier one. A sector changes as a whole: it holds what it held at one moment since the last sync.
 *   The size of a file may grow while the bytes are lost; they read as zeros then. A truncation is kept or lost.
 * - Names that are not synced by `syncDirectory` (created, renamed, removed, directories too) may be kept or lost,
 *   each by itself, whether or not the file they mean was synced. A rename is one change.
 * - `sync` covers the writes that had ended when it was called, no later ones; `syncDirectory` so the names. A write to
 *   a file opened with `durable` is a write, and then a sync of its own sectors alone, which may fail by itself.
 * - A failed sync forgets the file's bytes that were not synced, as Linux does: they can be read until the crash, and
 *   later syncs succeed without writing them. A failed `syncDirectory` leaves its changes waiting for the next one.
 * - Any call fails on request, once or from then on; a write comes out short on request, or because the disk is full.
 * - An asynchronous call hangs on request: it takes no effect and gives no answer before it is let go, or ever.
 * - A crash in the middle of an asynchronous write or removal leaves it not begun or not synced.
 * - Synced bytes and names stay as they are unless a test flips a bit.
 *
 * Not modelled: stale bytes of other files in lost sectors, writes that land in a wrong place, a failed write that
 * changed some of its bytes, renames from one directory to another, links.
 *
 * Asynchronous calls take effect one by one, each in a turn of its own, in the order of their calls or in a random one.
 * `kill` ends the process and loses nothing, `crash` ends the machine. After either all descriptors are dead, the
 * locks are free, and the calls of an `env()` from before fail.
 */
// Not the global one, which a test may have replaced by a fake.
import { setImmediate } from 'node:timers';
import type { Env, EnvFs } from '../../src/device/env.js';
import { systemError, type SystemErrorCode } from '../../src/device/system-error.js';
import { SeededRandom } from './seeded-random.js';
import { SimulatedClock } from './simulated-clock.js';
import {
  SimulatedFaults,
  type DiskOperation,
  type Failure,
  type Hang,
  type ShortWrite,
  type TraceEntry,
} from './simulated-faults.js';
import { SimulatedDirectory, SimulatedFile, type CrashMode, type CrashReport } from './simulated-file.js';

export { SeededRandom, SimulatedClock };
export type { CrashMode, CrashReport, DiskOperation, Failure, Hang, ShortWrite, TraceEntry };

export interface SimulatedDiskOptions {
  seed?: number;
  /** In which order concurrent asynchronous calls take effect. */
  completion?: 'in order' | 'random';
  /** Room for the bytes of all files; without it there is no bound. */
  capacityBytes?: number;
  /** Whether files can be opened for durable writes, as on Linux; by default they can. */
  opensDurable?: boolean;
}

interface Descriptor {
  file: SimulatedFile;
  path: string;
  durable: boolean;
}

/** An asynchronous call that has not taken effect. */
interface Pending {
  operation: DiskOperation;
  effect: () => void;
  fail: (error: Error) => void;
}

export class SimulatedDisk implements EnvFs {
  /** Every call since the start (or since the fork), in order. */
  readonly trace: TraceEntry[] = [];
  /** Time for `env()`, which stands still until it is advanced. */
  readonly clock = new SimulatedClock();
  /** Changing it while a store is open is how a disk gets full, or gets room again. */
  capacityBytes: number;

  private readonly completion: 'in order' | 'random';
  private random: SeededRandom;
  private root = new SimulatedDirectory();
  private descriptors = new Map<number, Descriptor>();
  private nextDescriptor = 3;
  /** Descriptors that hold the lock of a file: one, or several that share it. */
  private locks = new Map<SimulatedFile, { shared: boolean; holders: Set<number> }>();
  private pending: Pending[] = [];
  /** Those that never do, unless they are let go. */
  private hung: Pending[] = [];
  private readonly faults = new SimulatedFaults();
  /** Counts crashes and kills, so that what belonged to an earlier life is known. */
  private life = 0;

  constructor(options: SimulatedDiskOptions = {}) {
    this.random = new SeededRandom(options.seed ?? 1);
    this.completion = options.completion ?? 'in order';
    this.capacityBytes = options.capacityBytes ?? Infinity;
    this.opensDurable = options.opensDurable ?? true;
  }

  /** A whole environment on this disk, for one life: after a crash its calls fail, and the next store needs a new one. */
  env(overrides: Partial<Env> = {}): Env {
    const { random } = this;
    const pid = 1 + this.life;
    return {
      fs: this.fsOfThisLife(),
      clock: this.clock,
      random: { bytes: (length) => random.bytes(length) },
      process: { identity: () => ({ pid, hostname: 'simulated' }) },
      ...overrides,
    };
  }

  // ── Faults ──

  /** Makes a call fail. Returns a function that takes the failure back. */
  failAt(failure: Failure): () => void {
    return this.faults.failAt(failure);
  }

  shortWriteAt(short: ShortWrite): void {
    this.faults.shortWriteAt(short);
  }

  /** Makes an asynchronous call hang: it takes no effect and gives no answer. */
  hangAt(hang: Hang): void {
    this.faults.hangAt(hang);
  }

  /** Calls that hang now. */
  get hanging(): number {
    return this.hung.length;
  }

  /** Lets the calls that hang take effect, and those to come do so in time. */
  letGo(): void {
    this.faults.clearHangs();
    for (const pending of this.hung.splice(0)) {
      this.pending.push(pending);
      setImmediate(() => this.completeOne());
    }
  }

  clearFaults(): void {
    this.faults.clear();
  }

  /** Flips one bit of a file, counted from its start, in what is seen and in what is durable. */
  flip(path: string, bit: number): void {
    this.fileAt('open', path).flip(bit);
  }

  /** The power goes out. Without a seed the disk's own goes on. */
  crash(how: CrashMode | { mode?: CrashMode; seed?: number } = {}): CrashReport {
    const { mode = 'random', seed } = typeof how === 'string' ? { mode: how } : how;
    const random = seed === undefined ? this.random : new SeededRandom(seed);
    const report: CrashReport = {
      writes: { kept: 0, torn: 0, lost: 0 },
      truncates: { kept: 0, lost: 0 },
      names: { kept: 0, lost: 0 },
    };
    this.endLife(() => mode === 'all' || (mode === 'random' && random.chance(0.5)));
    this.root.crash({ mode, random, surviving: [0.1, 0.5, 0.9][random.below(3)] ?? 0.5, report });
    return report;
  }

  /** The process is killed: the machine still has everything that was written, synced or not. */
  kill(): void {
    this.endLife(() => true);
  }

  // ── What tests look at ──

  /** How many calls of each kind there were. */
  counts(): Partial<Record<DiskOperation, number>> {
    const counts: Partial<Record<DiskOperation, number>> = {};
    for (const { operation } of this.trace) counts[operation] = (counts[operation] ?? 0) + 1;
    return counts;
  }

  /** Bytes of a file, as a reader sees them or as they would be after a crash that loses all it can. */
  contents(path: string, which: 'seen' | 'durable' = 'seen'): Buffer {
    return this.fileAt('open', path).contents(which);
  }

  /** Bytes in a file, as a reader sees it. */
  sizeOf(path: string): number {
    return this.fileAt('open', path).size;
  }

  /** Paths of all files, sorted. */
  paths(): string[] {
    const found: string[] = [];
    const visit = (directory: SimulatedDirectory, prefix: string): void => {
      for (const name of directory.names()) {
        const node = directory.get(name);
        if (node instanceof SimulatedDirectory) visit(node, `${prefix}/${name}`);
        else found.push(`${prefix}/${name}`);
      }
    };
    visit(this.root, '');
    return found.sort();
  }

  /** Puts a file there, in place of another, without a call in the trace. It and all names on the way are durable. */
  put(path: string, bytes: Uint8Array): void {
    const names = split(path);
    const name = names.pop() ?? '';
    const file = new SimulatedFile();
    file.write(bytes, 0);
    file.sync();
    this.makeDirectories('open', path, names).change([[name, file]]);
    for (let depth = 0; depth <= names.length; depth++) {
      this.directoryAt('open', path, names.slice(0, depth)).sync();
    }
  }

  /** Writes, truncations and names that a crash may lose. */
  get unsyncedChanges(): number {
    let changes = 0;
    const visit = (directory: SimulatedDirectory): void => {
      changes += directory.unsyncedChanges;
      for (const name of directory.names()) {
        const node = directory.get(name);
        if (node instanceof SimulatedDirectory) visit(node);
        else changes += node?.unsyncedChanges ?? 0;
      }
    };
    visit(this.root);
    return changes;
  }

  /**
   * An independent copy, as of another machine with the same disk: nothing is open, locked, under way or set to fail.
   * Pages are shared until written to, so a fork per crash state is cheap.
   */
  fork(): SimulatedDisk {
    const { completion, capacityBytes, opensDurable } = this;
    const copy = new SimulatedDisk({ completion, capacityBytes, opensDurable });
    copy.random = this.random.fork();
    copy.root = this.root.fork();
    copy.clock.jump(this.clock.now() - copy.clock.now());
    return copy;
  }

  // ── EnvFs ──

  mkdir(path: string): void {
    this.called({ operation: 'mkdir', path });
    this.makeDirectories('mkdir', path, split(path));
  }

  rmdir(path: string): void {
    this.called({ operation: 'rmdir', path });
    if (this.directoryAt('rmdir', path, split(path)).names().length > 0)
      throw systemError('ENOTEMPTY', 'rmdir', path);
    const { directory, name } = this.entryAt('rmdir', path);
    directory.change([[name, undefined]]);
  }

  readdir(path: string): string[] {
    this.called({ operation: 'readdir', path });
    return this.directoryAt('readdir', path, split(path)).names();
  }

  private readonly opensDurable: boolean;

  open(path: string, { create }: { create: boolean }): number {
    this.called({ operation: 'open', path });
    const { directory, name } = this.entryAt('open', path);
    let node = directory.get(name);
    if (node instanceof SimulatedDirectory) throw systemError('EISDIR', 'open', path);
    if (!node) {
      if (!create) throw systemError('ENOENT', 'open', path);
      node = new SimulatedFile();
      directory.change([[name, node]]);
    }
    const fd = this.nextDescriptor++;
    this.descriptors.set(fd, { file: node, path, durable: false });
    return fd;
  }

  openDurable(fd: number): number {
    const { file, path } = this.descriptor('open', fd);
    this.called({ operation: 'open', path });
    const durable = this.nextDescriptor++;
    this.descriptors.set(durable, { file, path, durable: true });
    return durable;
  }

  close(fd: number): void {
    const { file, path } = this.descriptor('close', fd);
    this.called({ operation: 'close', path });
    this.descriptors.delete(fd);
    this.unlock(file, fd);
  }

  private unlock(file: SimulatedFile, fd: number): void {
    const lock = this.locks.get(file);
    lock?.holders.delete(fd);
    if (lock?.holders.size === 0) this.locks.delete(file);
  }

  isAt(fd: number, path: string): boolean {
    const { file } = this.descriptor('size', fd);
    return this.paths().includes(path) && this.fileAt('open', path) === file;
  }

  size(fd: number): number {
    const { file, path } = this.descriptor('size', fd);
    this.called({ operation: 'size', path });
    return file.size;
  }

  async space(path: string): Promise<{ freeBytes: number; totalBytes: number }> {
    this.called({ operation: 'size', path });
    return { freeBytes: this.capacityBytes - this.usedBytes(), totalBytes: this.capacityBytes };
  }

  async read(
    fd: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<number> {
    const { file, path } = this.descriptor('read', fd);
    assertRange('read', path, buffer, offset, length, position);
    const fault = this.faultOf({ operation: 'read', path, position, length });
    return this.later('read', path, () => {
      if (fault) throw fault;
      return file.read(buffer, offset, length, position);
    });
  }

  readSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number {
    const { file, path } = this.descriptor('read', fd);
    assertRange('read', path, buffer, offset, length, position);
    this.called({ operation: 'read', path, position, length });
    return file.read(buffer, offset, length, position);
  }

  async write(
    fd: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<number> {
    const { file, path, durable } = this.descriptor('write', fd);
    assertRange('write', path, buffer, offset, length, position);
    const { fault, asked } = this.writeCalled(path, length, position);
    const count = await this.later('write', path, () => {
      if (fault) throw fault;
      return this.writeNow(file, path, buffer.subarray(offset, offset + asked), position);
    });
    if (durable) {
      const syncFault = this.faultOf({ operation: 'sync', path });
      await this.later('sync', path, () => {
        file.syncRange(position, position + count, syncFault !== undefined);
        if (syncFault) throw systemError(codeOf(syncFault), 'write', path);
      });
    }
    return count;
  }

  writeSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number {
    const { file, path } = this.descriptor('write', fd);
    assertRange('write', path, buffer, offset, length, position);
    const { fault, asked } = this.writeCalled(path, length, position);
    if (fault) throw fault;
    return this.writeNow(file, path, buffer.subarray(offset, offset + asked), position);
  }

  async sync(fd: number): Promise<void> {
    const { file, path } = this.descriptor('sync', fd);
    const fault = this.faultOf({ operation: 'sync', path });
    const upTo = file.lastChange;
    return this.later('sync', path, () => this.syncNow(file, upTo, fault));
  }

  syncSync(fd: number): void {
    const { file, path } = this.descriptor('sync', fd);
    this.syncNow(file, file.lastChange, this.faultOf({ operation: 'sync', path }));
  }

  truncate(fd: number, length: number): void {
    const { file, path } = this.descriptor('truncate', fd);
    if (!isCount(length)) throw systemError('EINVAL', 'truncate', path);
    this.called({ operation: 'truncate', path, length });
    file.truncate(length);
  }

  rename(from: string, to: string): void {
    this.called({ operation: 'rename', path: from });
    const source = this.entryAt('rename', from);
    const target = this.entryAt('rename', to);
    const node = source.directory.get(source.name);
    if (!node) throw systemError('ENOENT', 'rename', from);
    if (source.directory !== target.directory) throw systemError('EXDEV', 'rename', from);
    if (target.directory.get(target.name) instanceof SimulatedDirectory)
      throw systemError('EISDIR', 'rename', to);
    if (source.name === target.name) return;
    source.directory.change([
      [source.name, undefined],
      [target.name, node],
    ]);
  }

  async unlink(path: string): Promise<void> {
    const fault = this.faultOf({ operation: 'unlink', path });
    return this.later('unlink', path, () => {
      if (fault) throw fault;
      this.unlinkNow(path);
    });
  }

  unlinkSync(path: string): void {
    this.called({ operation: 'unlink', path });
    this.unlinkNow(path);
  }

  private unlinkNow(path: string): void {
    const { directory, name } = this.entryAt('unlink', path);
    const node = directory.get(name);
    if (!node) throw systemError('ENOENT', 'unlink', path);
    if (node instanceof SimulatedDirectory) throw systemError('EISDIR', 'unlink', path);
    directory.change([[name, undefined]]);
  }

  async syncDirectory(path: string): Promise<void> {
    const fault = this.faultOf({ operation: 'syncDirectory', path });
    const directory = this.directoryAt('open', path, split(path));
    const upTo = directory.lastChange;
    return this.later('syncDirectory', path, () => {
      if (fault) throw fault;
      directory.sync(upTo);
    });
  }

  syncDirectorySync(path: string): void {
    this.called({ operation: 'syncDirectory', path });
    this.directoryAt('open', path, split(path)).sync();
  }

  async lock(fd: number, shared = false): Promise<(() => void) | undefined> {
    const { file, path } = this.descriptor('lock', fd);
    const fault = this.faultOf({ operation: 'lock', path });
    return this.later('lock', path, () => {
      if (fault) throw fault;
      const lock = this.locks.get(file);
      if (lock && !(shared && lock.shared)) return undefined;
      this.locks.set(file, { shared, holders: (lock?.holders ?? new Set<number>()).add(fd) });
      return () => this.unlock(file, fd);
    });
  }

  // ── How it works ──

  private called(entry: TraceEntry): void {
    const fault = this.faultOf(entry);
    if (fault) throw fault;
  }

  private faultOf(entry: TraceEntry): Error | undefined {
    this.trace.push(entry);
    return this.faults.strike(entry);
  }

  private writeCalled(
    path: string,
    length: number,
    position: number,
  ): { fault: Error | undefined; asked: number } {
    const entry = { operation: 'write', path, position, length } as const;
    this.trace.push(entry);
    return this.faults.strikeWrite(entry);
  }

  private writeNow(file: SimulatedFile, path: string, bytes: Uint8Array, position: number): number {
    const room = this.capacityBytes - this.usedBytes() + file.size - position;
    // Bytes over old ones need no room.
    const count = Math.min(bytes.length, Math.max(room, file.size - position, 0));
    if (count === 0 && bytes.length > 0) throw systemError('ENOSPC', 'write', path);
    file.write(bytes.subarray(0, count), position);
    return count;
  }

  private usedBytes(): number {
    if (this.capacityBytes === Infinity) return 0;
    // Files that are removed but still open take room, too.
    const files = new Set([...this.descriptors.values()].map(({ file }) => file));
    for (const path of this.paths()) files.add(this.fileAt('open', path));
    let used = 0;
    for (const file of files) used += file.size;
    return used;
  }

  private syncNow(file: SimulatedFile, upTo: number, fault: Error | undefined): void {
    if (fault) {
      file.forget(upTo);
      throw fault;
    }
    file.sync(upTo);
  }

  private later<T>(operation: DiskOperation, path: string, effect: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const pending: Pending = {
        operation,
        effect: () => {
          try {
            resolve(effect());
          } catch (error) {
            pending.fail(error as Error);
          }
        },
        fail: reject,
      };
      if (this.faults.hangs(operation, path)) {
        this.hung.push(pending);
        return;
      }
      this.pending.push(pending);
      setImmediate(() => this.completeOne());
    });
  }

  private completeOne(): void {
    const index = this.completion === 'random' ? this.random.below(this.pending.length) : 0;
    const [pending] = this.pending.splice(index, 1);
    // Nothing is left when a crash ended it.
    pending?.effect();
  }

  private endLife(reachesTheDisk: () => boolean): void {
    this.life++;
    const interrupted = [...this.pending, ...this.hung];
    this.pending = [];
    this.hung = [];
    for (const { operation, effect, fail } of interrupted) {
      // Failed first: the promise of a dead caller never resolves, whatever its write still does.
      fail(systemError('EBADF', operation));
      if ((operation === 'write' || operation === 'unlink') && reachesTheDisk()) effect();
    }
    this.descriptors.clear();
    this.locks.clear();
    this.clock.clearTimers();
  }

  /** The calls of this disk, for as long as this life lasts. A store that a crash cut off must not touch the disk again. */
  private fsOfThisLife(): EnvFs {
    const born = this.life;
    const alive = <A extends unknown[], T>(operation: DiskOperation, call: (...args: A) => T) => {
      return (...args: A): T => {
        if (this.life !== born) throw systemError('EBADF', operation);
        return call.apply(this, args);
      };
    };
    const aliveAsync = <A extends unknown[], T>(
      operation: DiskOperation,
      call: (...args: A) => Promise<T>,
    ) => {
      return async (...args: A): Promise<T> => {
        if (this.life !== born) throw systemError('EBADF', operation);
        return call.apply(this, args);
      };
    };
    const disk = SimulatedDisk.prototype;
    return {
      mkdir: alive('mkdir', disk.mkdir),
      rmdir: alive('rmdir', disk.rmdir),
      readdir: alive('readdir', disk.readdir),
      open: alive('open', disk.open),
      ...(this.opensDurable && { openDurable: alive('open', disk.openDurable) }),
      close: alive('close', disk.close),
      size: alive('size', disk.size),
      isAt: alive('size', disk.isAt),
      read: aliveAsync('read', disk.read),
      readSync: alive('read', disk.readSync),
      write: aliveAsync('write', disk.write),
      writeSync: alive('write', disk.writeSync),
      sync: aliveAsync('sync', disk.sync),
      syncSync: alive('sync', disk.syncSync),
      truncate: alive('truncate', disk.truncate),
      rename: alive('rename', disk.rename),
      unlink: aliveAsync('unlink', disk.unlink),
      unlinkSync: alive('unlink', disk.unlinkSync),
      syncDirectory: aliveAsync('syncDirectory', disk.syncDirectory),
      syncDirectorySync: alive('syncDirectory', disk.syncDirectorySync),
      space: aliveAsync('size', disk.space),
      lock: aliveAsync('lock', disk.lock),
    };
  }

  private descriptor(call: string, fd: number): Descriptor {
    const descriptor = this.descriptors.get(fd);
    if (!descriptor) throw systemError('EBADF', call);
    return descriptor;
  }

  private makeDirectories(call: string, path: string, names: string[]): SimulatedDirectory {
    let directory = this.root;
    for (const [index, name] of names.entries()) {
      let node = directory.get(name);
      if (node instanceof SimulatedFile) {
        throw systemError(index === names.length - 1 ? 'EEXIST' : 'ENOTDIR', call, path);
      }
      if (!node) {
        node = new SimulatedDirectory();
        directory.change([[name, node]]);
      }
      directory = node;
    }
    return directory;
  }

  private directoryAt(call: string, path: string, names: string[]): SimulatedDirectory {
    let directory = this.root;
    for (const name of names) {
      const node = directory.get(name);
      if (!node) throw systemError('ENOENT', call, path);
      if (node instanceof SimulatedFile) throw systemError('ENOTDIR', call, path);
      directory = node;
    }
    return directory;
  }

  private entryAt(call: string, path: string): { directory: SimulatedDirectory; name: string } {
    const names = split(path);
    const name = names.pop();
    if (name === undefined) throw systemError('EISDIR', call, path);
    return { directory: this.directoryAt(call, path, names), name };
  }

  private fileAt(call: string, path: string): SimulatedFile {
    const { directory, name } = this.entryAt(call, path);
    const node = directory.get(name);
    if (!(node instanceof SimulatedFile)) throw systemError('ENOENT', call, path);
    return node;
  }
}

function codeOf(error: Error): SystemErrorCode {
  return (error as NodeJS.ErrnoException).code as SystemErrorCode;
}

function split(path: string): string[] {
  return path.split(/[\\/]/).filter((name) => name !== '' && name !== '.');
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function assertRange(
  call: string,
  path: string,
  buffer: Uint8Array,
  offset: number,
  length: number,
  position: number,
): void {
  if (isCount(offset) && isCount(length) && isCount(position) && offset + length <= buffer.length) return;
  throw systemError('EINVAL', call, path);
}
