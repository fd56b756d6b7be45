/**
 * Pages of a log in memory: fixed-size buffers outside the JavaScript heap, found by address in two shifts. The ring
 * has a power of two of slots, of which as many hold a page as the budget allows; it knows nothing of records and
 * nothing of disks. Hot path (`npm run bench`): `wordsAt`, `bytesAt`, `wordOffset`, `byteOffset`.
 */
import type { LogAddress } from './address.js';
import { Arena } from './arena.js';

export class PageRing {
  readonly pageSize: number;
  /** Pages in use. */
  count = 0;
  private readonly words: Int32Array[] = [];
  private readonly bytes: Buffer[] = [];
  private readonly spare: Buffer[] = [];
  private readonly arena: Arena;
  private readonly unitBits: number;
  private readonly slotMask: number;
  private readonly unitMask: number;
  private readonly empty = new Int32Array(0);
  private readonly emptyBytes = Buffer.alloc(0);

  /**
   * @param pageSize bytes of a page, a power of two
   * @param maxPages most pages that will ever be in use at once
   */
  constructor(pageSize: number, maxPages: number) {
    this.pageSize = pageSize;
    this.arena = new Arena(pageSize, maxPages);
    // Addresses are taken in units of 8 bytes, whose low 32 bits are enough for slot and offset.
    this.unitBits = Math.log2(pageSize / 8);
    this.unitMask = pageSize / 8 - 1;
    const slots = 2 ** Math.ceil(Math.log2(maxPages + 1));
    this.slotMask = slots - 1;
    for (let i = 0; i < slots; i++) {
      this.words.push(this.empty);
      this.bytes.push(this.emptyBytes);
    }
  }

  /** Bytes held, pages to be used again included. */
  get memoryBytes(): number {
    return (this.count + this.spare.length) * this.pageSize;
  }

  wordsAt(address: LogAddress): Int32Array {
    return this.words[(((address / 8) >>> 0) >>> this.unitBits) & this.slotMask];
  }

  bytesAt(address: LogAddress): Buffer {
    return this.bytes[(((address / 8) >>> 0) >>> this.unitBits) & this.slotMask];
  }

  /** Index of the first word of `address` in `wordsAt(address)`. */
  wordOffset(address: LogAddress): number {
    return (((address / 8) >>> 0) & this.unitMask) << 1;
  }

  /** Index of the byte of `address` in `bytesAt(address)`. */
  byteOffset(address: LogAddress): number {
    return (((address / 8) >>> 0) & this.unitMask) << 3;
  }

  /** First address of the page that `address` lies in. */
  startOf(address: LogAddress): LogAddress {
    return (Math.floor(address / this.pageSize) * this.pageSize) as LogAddress;
  }

  /** Puts a page at the slot of `address`, with a buffer used before if there is one. */
  add(address: LogAddress): void {
    const slot = (((address / 8) >>> 0) >>> this.unitBits) & this.slotMask;
    // Zeroed when new, so that no bytes of the process get to disk in padding; one used before holds our own.
    const buffer = this.spare.pop() ?? this.arena.take();
    this.bytes[slot] = buffer;
    this.words[slot] = new Int32Array(buffer.buffer, buffer.byteOffset, this.pageSize >> 2);
    this.count++;
  }

  /**
   * Takes the page of `address` out and returns its buffer, which is not used again until `giveBack`: a write to disk
   * may still be reading it.
   */
  take(address: LogAddress): Buffer {
    const slot = (((address / 8) >>> 0) >>> this.unitBits) & this.slotMask;
    const buffer = this.bytes[slot];
    this.bytes[slot] = this.emptyBytes;
    this.words[slot] = this.empty;
    this.count--;
    return buffer;
  }

  /** A buffer that was not used before, for `giveBack`. */
  newBuffer(): Buffer {
    return this.arena.take();
  }

  /** Keeps a buffer for the next page. */
  giveBack(buffer: Buffer): void {
    this.spare.push(buffer);
  }

  /** Buffers that wait for use. */
  get spareCount(): number {
    return this.spare.length;
  }

  /** Takes out a buffer that waits for use, for good; there has to be one. */
  takeSpare(): Buffer {
    return this.spare.pop() as Buffer;
  }
}
