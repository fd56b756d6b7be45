/**
 * What a log stands on: a flat set of named files that are written, read and synced by position. Four kinds keep
 * the same contract (one test-suite runs over all): files in a directory, memory, null, which forgets, and an overlay over
 * another device, which keeps in memory what is changed.
 */

export interface DeviceFile {
  readonly name: string;
  /** Size in bytes. */
  size(): number;
  /**
   * Reads up to `length` bytes at `position` into `buffer`; resolves to the count, which is less than asked only at
   * the end of the file.
   * @throws KvDiskError
   */
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<number>;
  readSync(buffer: Uint8Array, offset: number, length: number, position: number): number;
  /**
   * Writes all of the bytes at `position`.
   * @throws KvDiskError
   */
  write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<void>;
  writeSync(buffer: Uint8Array, offset: number, length: number, position: number): void;
  /** Makes everything that was written durable. */
  sync(): Promise<void>;
  syncSync(): void;
  truncate(length: number): void;
  close(): void;
}

/** Room on a device, in bytes. */
export interface KvDiskSpace {
  /** What may still be written. */
  freeBytes: number;
  /** All there is, of this store and others. */
  totalBytes: number;
}

export interface Device {
  /** What the device is, for messages: its directory, `memory` or `null`. */
  readonly location: string;
  /** Whether bytes that were written can be read again. The null device retains nothing. */
  readonly retains: boolean;
  /** Whether nothing outlives the process, so that there is no point in committing every now and then. */
  readonly volatile: boolean;
  /**
   * How much room there is; `undefined` where nobody can tell. A device need not have it.
   * @throws KvDiskError
   */
  space?(): Promise<KvDiskSpace | undefined>;
  /**
   * The same at once, where the device knows it by itself: the store keeps a part of it for compaction then. Free is below zero
   * where more was taken.
   */
  ownSpace?(): KvDiskSpace;
  /** Names of the files there are. */
  list(): string[];
  /**
   * Opens a file for reading and writing. A missing one is created where `create` is set, an error otherwise. With
   * `readOnly` it will only be read: there may be no right to write it.
   */
  open(name: string, options: { create: boolean; readOnly?: boolean }): DeviceFile;
  /**
   * Opens an open file once more: what is written there is durable when `write` resolves, which says nothing of what is written
   * elsewhere. A device need not have it.
   * @returns `undefined` when no more files can be opened, or this one cannot
   */
  openDurable?(file: DeviceFile): DeviceFile | undefined;
  remove(name: string): Promise<void>;
  removeSync(name: string): void;
  rename(from: string, to: string): void;
  /** Makes created, renamed and removed names durable. */
  syncDirectory(): Promise<void>;
  syncDirectorySync(): void;
  /**
   * Takes the device for this store alone, until `close`. `shared`: for stores that only read, which may be many; nothing
   * is created or changed then. A device that cannot share its lock may take it alone.
   * @throws KvLockedError who holds it
   */
  lock(options?: { shared?: boolean }): Promise<void>;
  /**
   * Gives the lock back. Files must be closed before. `remove`: what the device itself has made goes as well, such as the
   * file of its lock, and a directory that it has created and that is empty now.
   */
  close(options?: { remove?: boolean }): void;
}
