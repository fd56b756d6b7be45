/**
 * Every error that the package throws on purpose: a closed set of classes under `KvError`, one for each kind of
 * trouble, each with a stable `code`. Messages say what happened, where (file, address, option path), and what to
 * do; they never carry keys or values, because errors end up in logs.
 */

/** Base class of all errors of this package. Programs tell errors apart by `code` (or `instanceof`), never by message. */
export abstract class KvError extends Error {
  /** Stable identifier of the kind of error, for example `KV_CLOSED`. */
  abstract readonly code: string;

  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** One thing that is wrong with the options: the path of the field and what it should be. */
export interface KvOptionProblem {
  /** Path of the option, for example `hot.memory`. */
  path: string;
  /** What is wrong with it and what would be right. */
  problem: string;
}

/** The options are not usable. Lists every problem at once, each with the path of its option. */
export class KvOptionsError extends KvError {
  readonly code = 'KV_OPTIONS';

  constructor(readonly problems: readonly KvOptionProblem[]) {
    super(`Invalid options:\n${problems.map((p) => `  ${p.path}: ${p.problem}`).join('\n')}`);
  }
}

/** The store was closed (or its opening failed) before the call. */
export class KvClosedError extends KvError {
  readonly code = 'KV_CLOSED';

  constructor(store: string) {
    super(`The store "${store}" is closed. Open it again with KvStore.open() before using it.`);
  }
}

/**
 * The store takes no writes: it was opened with `readOnly`, or the disk failed, and then the cause says how. Reads go on.
 */
export class KvReadOnlyError extends KvError {
  readonly code = 'KV_READ_ONLY';
}

/** Another process (or another store of this process) has the directory open. */
export class KvLockedError extends KvError {
  readonly code = 'KV_LOCKED';

  constructor(
    /** The directory that is locked. */
    readonly path: string,
    /** Who holds the lock, as far as it could be found out. */
    readonly holder: { pid: number; hostname: string; openedAt: string } | undefined,
    /** Whether stores that were opened with `readOnly` hold it: they leave no name. */
    readonly byReaders = false,
  ) {
    const who = holder
      ? `process ${holder.pid} on ${holder.hostname} (since ${holder.openedAt})`
      : 'another process or another store of this process';
    super(
      byReaders
        ? `The directory ${path} is open for reading (readOnly), here or in other processes. A store that writes needs ` +
            `it alone: close the readers, or choose another path.`
        : `The directory ${path} is in use by ${who}. One directory serves one open store: close the other one, ` +
            `share its KvStoreService, or choose another path.`,
    );
  }
}

/** Which write of a batch it was whose condition did not hold. */
export interface KvBatchWriteRef {
  /** Its place in the batch, from 0: the same as in the versions that a batch resolves to. */
  index: number;
  /** Name of its namespace; missing for the store's own keys. */
  namespace?: string;
  /** Its key, as the caller gave it. */
  key: unknown;
}

/** A condition on the version (or presence) of an entry did not hold; nothing was written. */
export class KvVersionConflictError extends KvError {
  readonly code = 'KV_VERSION_CONFLICT';
  /**
   * The write of a batch whose condition did not hold, the first of them; missing for a single write. It has the key, so it is
   * not enumerable: who writes errors to a log does not write keys.
   */
  declare readonly write?: KvBatchWriteRef;

  constructor(
    /** The version the caller expected; `null` for none, `undefined` where it only required the key to be present. */
    readonly expected: number | null | undefined,
    /** The version that is there; `undefined` when the key is absent. */
    readonly actual: number | undefined,
    write?: KvBatchWriteRef,
    /** How often `update` has begun anew. */
    attempts?: number,
  ) {
    const { index, namespace } = write ?? {};
    const where = namespace === undefined ? '' : ` (namespace ${JSON.stringify(namespace)})`;
    const conflict =
      `${index === undefined ? 'The entry' : `The entry of write ${index} of the batch${where}`} is at ` +
      `${actual === undefined ? 'no version (it is absent)' : `version ${actual}`}, expected ` +
      `${expected === undefined ? 'it to be present' : expected === null ? 'it to be absent' : `version ${expected}`}. `;
    super(
      attempts === undefined
        ? `${conflict}Read it again and retry.`
        : `${conflict}It has changed in each of ${attempts} attempts to update it: the function that update() is given must ` +
            `not write the key itself, and must be done sooner than others write it.`,
    );
    if (write) Object.defineProperty(this, 'write', { value: write });
  }
}

/** What to do about damage to what cannot be derived. */
const RESTORE = 'Restore a backup of the directory, or copy what is intact with KvStore.salvage().';

/** Bytes on disk are not what was written. They are never answered as a value, nor as "not found". */
export class KvCorruptionError extends KvError {
  readonly code = 'KV_CORRUPTION';

  constructor(
    message: string,
    /** The damaged file. */
    readonly file: string,
    /** Logical address of the damage in the log, or byte position in the file. */
    readonly address: number,
    { remedy = RESTORE, ...options }: { cause?: unknown; remedy?: string } = {},
  ) {
    super(`${message} (file ${file}, address ${address}). ${remedy}`, options);
  }
}

/** The directory holds something this version cannot read: a later format, or another program's files. */
export class KvFormatError extends KvError {
  readonly code = 'KV_FORMAT';
}

/** A key, value or batch is larger than the store can carry. */
export class KvTooLargeError extends KvError {
  readonly code = 'KV_TOO_LARGE';
}

/** A key or value cannot be carried, or does not have the type the call needs; nothing was written. */
export class KvEncodingError extends KvError {
  readonly code = 'KV_ENCODING';
}

/** Too much is waiting, or a bounded memory store is full. */
export class KvOverloadedError extends KvError {
  readonly code = 'KV_OVERLOADED';
}

/** The operating system refused a file operation. `path` and `operation` say which; `cause` is its error. */
export class KvDiskError extends KvError {
  readonly code = 'KV_DISK';

  constructor(
    /** What was tried: `open`, `read`, `write`, `sync`, ... */
    readonly operation: string,
    /** The file or directory. */
    readonly path: string,
    cause: unknown,
    hint = '',
  ) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(`Cannot ${operation} ${path}: ${reason}${hint ? `. ${hint}` : ''}`, { cause });
  }

  /** The operating system's code, for example `ENOSPC`, where it gave one. */
  get errno(): string | undefined {
    return (this.cause as NodeJS.ErrnoException | undefined)?.code;
  }

  /** Whether the disk (or the quota) is full: such a write may succeed once there is room again. */
  get full(): boolean {
    return this.errno === 'ENOSPC' || this.errno === 'EDQUOT';
  }
}
