/**
 * Room on a device that knows its own limit, as that in memory does. Compaction has to write before it can give anything
 * back: so a part of the limit is kept for it, writers are refused before they come there, and compaction is due shortly
 * before that. Whoever deletes may use what is kept. Compaction may need more, of small entries and with small limits: for a
 * moment the device gives it half of the limit beyond that. Asked once a page, commit or value in pieces, never for a record.
 */
import type { KvDiskSpace } from '../device/device.js';
import { KvOverloadedError } from '../errors.js';

/** Share of the limit that is kept for compaction. It passes a segment at a time, and at most as far again to the next commit. */
const KEPT_SHARE = 1 / 8;

/** Compaction is due where less is left than this many times what is kept. */
const DUE_AT = 1.5;

export class Room {
  private readonly keptBytes: number;

  /**
   * @param space of the device
   * @param unwritten bytes in memory that are still to be written there
   * @param portion bytes that a pass of compaction goes through before it gives something back
   */
  constructor(
    private readonly space: () => KvDiskSpace,
    private readonly unwritten: () => number,
    portion: number,
  ) {
    const { totalBytes } = space();
    this.keptBytes = Math.min(Math.max(totalBytes * KEPT_SHARE, 3 * portion), totalBytes / 2);
  }

  /** Whether writers would use what is kept. */
  get isShort(): boolean {
    return this.left < this.keptBytes;
  }

  /** Whether something that is longer than a page would use what is kept. */
  isTooLong(bytes: number): boolean {
    return this.left - bytes < this.keptBytes;
  }

  /** Whether even the marks of what is deleted have to wait. */
  get isTooShort(): boolean {
    return this.left < 0;
  }

  /** How much of what it may have is in use: above 1, compaction is due. */
  get share(): number {
    const { totalBytes } = this.space();
    return (totalBytes - this.left) / (totalBytes - DUE_AT * this.keptBytes);
  }

  /** Bytes that may be written until compaction is due. */
  get untilDue(): number {
    return this.left - DUE_AT * this.keptBytes;
  }

  /** What writers are told. */
  error(): KvOverloadedError {
    const { totalBytes } = this.space();
    const taken = Math.ceil(totalBytes - this.left);
    return new KvOverloadedError(
      `The memory device is full: ${taken} of ${totalBytes} bytes are taken, and the rest is kept for compaction, which gives ` +
        'back the space of old entries. Deletes are taken as far as they have room, and so is clear(); writes are once there is ' +
        'room again. Raise memoryLimit, or give the store a path.',
    );
  }

  private get left(): number {
    return this.space().freeBytes - this.unwritten();
  }
}
