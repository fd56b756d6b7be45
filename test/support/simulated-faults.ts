/**
 * Which calls of the simulated disk fail, hang or write short: each fault counts the calls it is about from when it was set,
 * and strikes at the n-th, once or from then on.
 */
import { systemError, type SystemErrorCode } from '../../src/device/system-error.js';

/** The kinds of calls. Synchronous and asynchronous ones are one kind. */
export type DiskOperation =
  | 'mkdir'
  | 'rmdir'
  | 'readdir'
  | 'open'
  | 'close'
  | 'size'
  | 'read'
  | 'write'
  | 'sync'
  | 'truncate'
  | 'rename'
  | 'unlink'
  | 'syncDirectory'
  | 'lock';

/** These answer from what the kernel has in memory, and fail only when a test names them. */
const FAIL_ONLY_BY_NAME: readonly DiskOperation[] = ['close', 'size', 'lock'];

export interface TraceEntry {
  operation: DiskOperation;
  path: string;
  position?: number;
  /** Bytes asked for; the new size of a truncation. */
  length?: number;
  /** The error that the call was made to fail with, or `short`. */
  fault?: SystemErrorCode | 'short';
}

export interface Failure {
  /** Which kind of call; without it any, except `close`, `size` and `lock`. */
  operation?: DiskOperation;
  /** Only calls on paths that end so. */
  path?: string;
  /** The first is 1, counted from when the failure was set. */
  nth: number;
  code: SystemErrorCode;
  /** All from the n-th on fail, not only that one. */
  sticky?: boolean;
}

export interface ShortWrite {
  nth: number;
  path?: string;
  /** How many bytes are written; without it half of them. */
  bytes?: number;
  sticky?: boolean;
}

export interface Hang {
  operation: DiskOperation;
  path?: string;
  /** Counted among the asynchronous calls. */
  nth: number;
  sticky?: boolean;
}

interface Armed {
  seen: number;
  matches: (operation: DiskOperation, path: string) => boolean;
  nth: number;
  sticky: boolean;
}

export class SimulatedFaults {
  private failures: (Armed & { code: SystemErrorCode })[] = [];
  private shortWrites: (Armed & { bytes: number | undefined })[] = [];
  private hanging: Armed[] = [];

  /** Returns a function that takes the failure back. */
  failAt({ operation, path = '', nth, code, sticky = false }: Failure): () => void {
    const matches = (called: DiskOperation, calledPath: string): boolean =>
      (operation ? called === operation : !FAIL_ONLY_BY_NAME.includes(called)) && calledPath.endsWith(path);
    const armed = { seen: 0, matches, nth, sticky, code };
    this.failures.push(armed);
    return () => {
      this.failures = this.failures.filter((other) => other !== armed);
    };
  }

  shortWriteAt({ nth, path = '', bytes, sticky = false }: ShortWrite): void {
    const matches = (called: DiskOperation, calledPath: string): boolean =>
      called === 'write' && calledPath.endsWith(path);
    this.shortWrites.push({ seen: 0, matches, nth, sticky, bytes });
  }

  hangAt({ operation, path = '', nth, sticky = false }: Hang): void {
    const matches = (called: DiskOperation, calledPath: string): boolean =>
      called === operation && calledPath.endsWith(path);
    this.hanging.push({ seen: 0, matches, nth, sticky });
  }

  clearHangs(): void {
    this.hanging = [];
  }

  hangs(operation: DiskOperation, path: string): boolean {
    return this.hanging.filter((armed) => strikes(armed, operation, path)).length > 0;
  }

  clear(): void {
    this.failures = [];
    this.shortWrites = [];
  }

  /** The error that a call has to fail with, which is noted in its trace entry. */
  strike(entry: TraceEntry): Error | undefined {
    const { operation, path } = entry;
    let code: SystemErrorCode | undefined;
    // Every fault counts the call, also when another one has struck.
    for (const failure of this.failures) {
      if (strikes(failure, operation, path)) code ??= failure.code;
    }
    if (code === undefined) return undefined;
    entry.fault = code;
    return systemError(code, operation, path);
  }

  /** For a write also how many bytes it may write. */
  strikeWrite(entry: TraceEntry & { length: number }): { fault: Error | undefined; asked: number } {
    const { path, length } = entry;
    const fault = this.strike(entry);
    let asked = length;
    for (const short of this.shortWrites) {
      if (strikes(short, 'write', path)) asked = Math.min(asked, short.bytes ?? Math.ceil(length / 2));
    }
    if (asked < length && !fault) entry.fault = 'short';
    return { fault, asked };
  }
}

function strikes(armed: Armed, operation: DiskOperation, path: string): boolean {
  if (!armed.matches(operation, path)) return false;
  armed.seen++;
  return armed.seen === armed.nth || (armed.sticky && armed.seen > armed.nth);
}
