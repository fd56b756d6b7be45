/**
 * The only door to the operating system: files, time and chance. Everything in `src/` that needs one of them gets
 * it from an `Env`, so that tests can put a simulated disk, a clock that they turn, and fixed random bytes in its
 * place. Errors of `EnvFs` are the operating system's own (with `code`); `FileDevice` adds path and operation.
 */

/** File calls, by descriptor and by path. Asynchronous where a hot path waits for them, synchronous where it cannot. */
export interface EnvFs {
  /** Creates a directory (and its parents) with mode 0700; an existing one is left as it is. */
  mkdir(path: string): void;
  /** Names in a directory, in any order. */
  readdir(path: string): string[];
  /** Removes a directory that is empty. */
  rmdir(path: string): void;
  /**
   * Opens for reading and writing with mode 0600. `create`: makes the file when it is missing. `readOnly`: opens it for
   * reading, which may also be a directory that is to be locked.
   */
  open(path: string, options: { create: boolean; readOnly?: boolean }): number;
  /**
   * Opens an open file once more, whatever has become of its name: a write there ends when its bytes are durable
   * (`O_DSYNC`), which says nothing of others. Missing where there is no such way.
   */
  openDurable?(fd: number): number;
  close(fd: number): void;
  /** Size of an open file in bytes. */
  size(fd: number): number;
  /** Whether a path still means an open file, and not another one or none. */
  isAt(fd: number, path: string): boolean;
  /** Reads up to `length` bytes at `position`; resolves to the count, less than asked only at the end of the file. */
  read(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): Promise<number>;
  readSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number;
  /** Writes at `position`; resolves to the count, which may be short. */
  write(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): Promise<number>;
  writeSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number;
  /** Makes the bytes of a file durable (`fdatasync`). */
  sync(fd: number): Promise<void>;
  syncSync(fd: number): void;
  truncate(fd: number, length: number): void;
  rename(from: string, to: string): void;
  unlink(path: string): Promise<void>;
  unlinkSync(path: string): void;
  /** Bytes of the file system that a path lies on: those that this process may still write, and all. */
  space(path: string): Promise<{ freeBytes: number; totalBytes: number }>;
  /** Makes the entries of a directory durable (created, renamed and removed names). */
  syncDirectory(path: string): Promise<void>;
  syncDirectorySync(path: string): void;
  /**
   * Takes a lock on an open file, for as long as the descriptor stays open or the returned release is not called. Resolves
   * to `undefined` when somebody else holds it.
   * @param shared whether others may have it shared at the same time
   */
  lock(fd: number, shared?: boolean): Promise<(() => void) | undefined>;
}

export interface EnvClock {
  /** Wall-clock time in milliseconds since 1970. May jump, also backwards. */
  now(): number;
  /** Milliseconds, with fractions, from some fixed point on; never runs backwards. To measure how long work takes. */
  tick(): number;
  /**
   * Calls back once after `ms` milliseconds; returns a function that cancels it.
   * @param idly whether the process may end before, if it has nothing else to do
   */
  after(ms: number, callback: () => void, idly?: boolean): () => void;
  /** Resolves once the event loop has turned: everybody else who waited has had a go. */
  turn(): Promise<void>;
}

export interface EnvRandom {
  /** Random bytes that an attacker cannot predict. */
  bytes(length: number): Uint8Array;
}

export interface EnvProcess {
  /** Who we are, for the holder of a lock. */
  identity(): { pid: number; hostname: string };
}

export interface EnvMemory {
  /**
   * Fills a buffer with zeros, off the event loop. The system gives memory when it is first used, a small page at a time:
   * whoever gets the buffer then need not wait for that. Rejects when it cannot.
   */
  zero(buffer: Uint8Array): Promise<void>;
}

export interface Env {
  /** Missing where there is no such way. */
  readonly memory?: EnvMemory | undefined;
  readonly fs: EnvFs;
  readonly clock: EnvClock;
  readonly random: EnvRandom;
  readonly process: EnvProcess;
}
