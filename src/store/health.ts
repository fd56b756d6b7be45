/**
 * What failed in the background, and what writes may therefore still do. A full disk passes: writes are refused until
 * the bytes that could not be written are. Anything else (EIO, a failed sync) does not: the store is read-only from
 * then on, because nobody can say any more which bytes are on the disk. Every failure is told to the listener. A store
 * that was opened to be read takes no writes in the first place, which is no failure. Where room is short (`Room`), writes
 * are refused until compaction has given some back.
 */
import { KvDiskError, KvOverloadedError, KvReadOnlyError, type KvError } from '../errors.js';
import type { Room } from './room.js';

/**
 * Whether the disk was full, and the same bytes can be written later. Not where a sync failed, whatever it says: bytes
 * that it should have kept may be gone, so nothing that comes later can be trusted.
 */
export function isFull(error: unknown): boolean {
  if (error instanceof KvOverloadedError) return true;
  return error instanceof KvDiskError && error.full && error.operation !== 'sync';
}

export class Health {
  /** Why the store takes no writes any more. */
  failure: KvReadOnlyError | undefined;
  /** Why the store takes no writes for now. */
  full: KvError | undefined;
  /** Called when writes begin to be refused: whoever can write sees to it that they are taken again. */
  whenFull: () => void = () => undefined;
  /** Called when they are because room is short: whoever can give some back does. */
  whenShort: () => void = () => undefined;
  /** Of a device that knows how much it has. */
  room: Room | undefined;
  /** Whether writes are refused although there is some room, which is kept. */
  isShort = false;

  constructor(
    private readonly onFailure: (error: Error) => void,
    private readonly openedReadOnly = false,
  ) {}

  get writable(): boolean {
    return !this.openedReadOnly && !this.failure && !this.full;
  }

  /** @throws KvReadOnlyError, KvDiskError or KvOverloadedError */
  assertWritable(): void {
    this.assertSound();
    if (this.full) throw this.full;
  }

  /**
   * For what gives room back.
   * @param everything a single mark does so, which there is always room for
   * @throws as `assertWritable`, but not where room is only short
   */
  assertRemovable(everything = false): void {
    this.assertSound();
    if (this.full && !(this.isShort && (everything || !this.isTooShort))) throw this.full;
  }

  /** Whether room is so short that deletes have to wait. */
  get isTooShort(): boolean {
    return this.isShort && this.room?.isTooShort === true;
  }

  /** @throws KvOverloadedError */
  assertRoomFor(bytes: number): void {
    if (this.room?.isTooLong(bytes)) throw this.room.error();
  }

  /** For what may work on a full disk. @throws KvReadOnlyError */
  assertSound(): void {
    if (this.openedReadOnly)
      throw new KvReadOnlyError('The store was opened with readOnly: it takes no changes.');
    if (this.failure) throw this.failure;
  }

  /** Looks whether there is room for what writers bring. */
  look(): void {
    if (this.full || !this.room?.isShort) return;
    this.full = this.room.error();
    this.isShort = true;
    this.whenShort();
    this.onFailure(this.full);
  }

  /** Something was given back. */
  gaveBack(): void {
    if (!this.isShort || this.room?.isShort) return;
    this.isShort = false;
    this.full = undefined;
  }

  /** A write has failed. */
  writeFailed(error: unknown): void {
    if ((error instanceof KvDiskError && error.full) || error instanceof KvOverloadedError) {
      const isNew = this.full === undefined;
      this.full = error;
      if (!isNew) return;
      this.whenFull();
      this.onFailure(error);
      return;
    }
    this.fail(error);
  }

  /** Something failed that cannot be made good, such as a sync: the bytes it should have kept may be gone. */
  fail(error: unknown): void {
    if (this.failure) return;
    const reason = error instanceof Error ? error.message : String(error);
    this.failure = new KvReadOnlyError(
      `The store is read-only since a write to disk failed: ${reason}. Reads go on. Check the disk, then restart.`,
      { cause: error },
    );
    this.onFailure(this.failure);
  }

  /** Everything that had to be written could be. */
  written(): void {
    if (!this.isShort) this.full = undefined;
    this.look();
  }
}
