/**
 * From a key and the bytes of a value to a record: in place, where the newest record is in the mutable region and the
 * new one fits, else appended. Runs within one turn of the event loop. Hot path (`npm run bench`, load and update).
 *
 * A new record's previous address is the head of its chain, or, when the head is an older record of the same key in
 * memory, what that one pointed to: so chains hold one record a key, not one an update.
 */
import type { EncodedKey } from '../codec/key-codec.js';
import { KvTooLargeError } from '../errors.js';
import type { HashIndex } from '../hot/hash-index.js';
import type { IndexRows } from '../hot/index-rows.js';
import { ExtentWriter } from '../log/extents.js';
import { sizeClassOf } from '../log/size-class.js';
import { MAX_VALUE_BYTES } from '../limits.js';
import type { HybridLog } from '../log/hybrid-log.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { ATTRIBUTE_WORDS, tagCountOf, WORDS_PER_TAG } from '../log/attributes.js';
import {
  FLAG_ATTRIBUTES,
  FLAG_EXPIRY,
  FLAG_EXTENTS,
  KIND_CLEAR,
  KIND_TOMBSTONE,
  KIND_VALUE,
  MAX_SLACK_BYTES,
  previousOf,
  recordBytes,
  totalBytes,
  valueOffset,
  writeExpiry,
  writeHeader,
} from '../log/record.js';
import { ABSENT, IN_MEMORY, type ReadPath } from './read-path.js';
import type { Health } from './health.js';
import type { Space } from './spaces.js';
import type { Versions } from './versions.js';

const NOTHING = new Uint8Array(0);
const NO_WORDS = new Int32Array(0);

/** Shorter values are copied word by word in a loop; a call into the runtime costs more than that. */
const COPY_LOOP_BYTES = 512;

export class WritePath {
  /** Updates made in place, and records appended. */
  inPlace = 0;
  appends = 0;
  /** Bytes of the records that callers wrote, in place or not. */
  userBytes = 0;
  private sourceBuffer: ArrayBufferLike = NOTHING.buffer;
  private sourceWords: Int32Array = new Int32Array(0);

  constructor(
    private readonly index: HashIndex,
    private readonly log: HybridLog,
    private readonly reads: ReadPath,
    private readonly versions: Versions,
    /** What the next hint says; missing where there are none. */
    private readonly rows: IndexRows | undefined,
    private readonly health: Health,
  ) {}

  /**
   * Makes `source[from, to)` the value of the key, right behind a `find` of it.
   *
   * @param expiresAt milliseconds since 1970, `Infinity` for never
   * @param attributes what the entry has in front of its value (`src/log/attributes.ts`)
   * @returns the new version
   * @throws KvTooLargeError when the value is longer than `MAX_VALUE_BYTES`
   * @throws KvDiskError when memory is full and the disk takes no more
   */
  upsert(
    space: Space,
    key: EncodedKey,
    source: Uint8Array,
    from: number,
    to: number,
    expiresAt: number,
    attributes?: Int32Array,
  ): number {
    // Before it goes into a sum, which has 32 bits.
    if (to - from > MAX_VALUE_BYTES) throw tooLarge(to - from);
    const flags = expiresAt === Infinity ? KIND_VALUE : KIND_VALUE | FLAG_EXPIRY;
    const { reads } = this;
    // A key whose newest record is on disk is taken to be alive: finding out would cost a read.
    const { dead } = space;
    const { hashLow } = key;
    const isNew =
      reads.where === IN_MEMORY
        ? !space.counts(reads.words, reads.at) || (mayDie(reads.words, reads.at) && dead.has(hashLow))
        : dead.has(hashLow) || (reads.where === ABSENT && !reads.mayBeCold(key));
    const version = attributes
      ? this.writeWith(attributes, key, flags, source, from, to, expiresAt)
      : this.write(key, flags, source, from, to, expiresAt);
    if (isNew) {
      space.keys++;
      dead.note(hashLow, true);
    }
    return version;
  }

  /** Leaves a tombstone for a key that is alive, right behind a `find` of it. */
  remove(space: Space, key: EncodedKey): number {
    const version = this.write(key, KIND_TOMBSTONE, NOTHING, 0, 0, Infinity);
    if (space.keys > 0) space.keys--;
    space.dead.note(key.hashLow, false);
    return version;
  }

  /**
   * Logs the mark by which everything older is dead.
   * @param key the bytes of a namespace's number; none for the whole store
   */
  clear(key: Uint8Array): number {
    return this.mark(KIND_CLEAR, key);
  }

  /**
   * Logs the mark by which every older entry with this tag is dead.
   * @param hash of the tag, low and high half
   */
  invalidate(hash: Int32Array): number {
    return this.mark(
      KIND_CLEAR | FLAG_ATTRIBUTES,
      new Uint8Array(hash.buffer, hash.byteOffset, hash.byteLength),
    );
  }

  private mark(flags: number, key: Uint8Array): number {
    // Before there is room for it: where none is left, there would be a hole in the log.
    const version = this.versions.next();
    const address = this.log.reserve(recordBytes(flags, key.length, 0));
    const words = this.log.ring.wordsAt(address);
    const at = this.log.ring.wordOffset(address);
    writeHeader(words, at, flags, 0, key.length, 0, version, NO_ADDRESS);
    this.log.ring.bytesAt(address).set(key, at * 4 + valueOffset(flags, 0));
    this.log.appended();
    return version;
  }

  /** Writes a value with its attributes in front, which are part of it from here on. */
  private writeWith(
    attributes: Int32Array,
    key: EncodedKey,
    flags: number,
    source: Uint8Array,
    from: number,
    to: number,
    expiresAt: number,
  ): number {
    const length = attributes.byteLength + to - from;
    // Whole words, because words are copied.
    const value = new Uint8Array((length + 3) & ~3);
    value.set(new Uint8Array(attributes.buffer, attributes.byteOffset, attributes.byteLength));
    value.set(source.subarray(from, to), attributes.byteLength);
    return this.write(key, flags | FLAG_ATTRIBUTES, value, 0, length, expiresAt);
  }

  private write(
    key: EncodedKey,
    flags: number,
    source: Uint8Array,
    from: number,
    to: number,
    expiresAt: number,
  ): number {
    const log = this.log;
    const reads = this.reads;
    const bytes = recordBytes(flags, key.length, to - from);
    if (bytes > log.maxRecordBytes) return this.writeExtents(key, flags, source, from, to, expiresAt);
    this.userBytes += bytes;
    let previous = reads.chainHead;
    if (reads.where === IN_MEMORY) {
      const slack = totalBytes(reads.words, reads.at) - bytes;
      if (reads.address >= log.readOnly && slack >= 0 && slack <= MAX_SLACK_BYTES) {
        const version = this.versions.next();
        log.beforeChange(reads.address);
        const kept = previousOf(reads.words, reads.at);
        this.fill(
          reads.words,
          reads.bytes,
          reads.at,
          key,
          flags,
          slack,
          version,
          kept,
          source,
          from,
          to,
          expiresAt,
        );
        log.afterChange(reads.address);
        this.inPlace++;
        return version;
      }
      if (reads.address === previous) previous = previousOf(reads.words, reads.at);
    } else {
      reads.forget(key);
    }
    const version = this.versions.next();
    const address = log.reserve(bytes);
    const words = log.ring.wordsAt(address);
    const at = log.ring.wordOffset(address);
    this.fill(
      words,
      log.ring.bytesAt(address),
      at,
      key,
      flags,
      0,
      version,
      previous,
      source,
      from,
      to,
      expiresAt,
    );
    const sizeClass = sizeClassOf(bytes);
    this.index.put(key.hashLow, address, sizeClass);
    this.rows?.add(key.hashLow, address, sizeClass);
    log.appended();
    this.appends++;
    return version;
  }

  /** A value too long for one record: its pieces first, then the record that lists them. */
  private writeExtents(
    key: EncodedKey,
    flags: number,
    source: Uint8Array,
    from: number,
    to: number,
    expiresAt: number,
  ): number {
    if (!this.log.hasMadeRoom) this.health.assertRoomFor(to - from);
    const writer = new ExtentWriter(this.log, this.versions.next());
    // Attributes stay with the record: whether it is alive must not cost a read of its pieces.
    const attributes = (flags & FLAG_ATTRIBUTES) === 0 ? NO_WORDS : wordsOf(source, from);
    writer.add(source, from + attributes.byteLength, to);
    this.userBytes += to - from;
    const list = new Uint8Array(Int32Array.of(...attributes, ...writer.list()).buffer);
    // The pieces may have pushed the older record out of memory.
    this.reads.find(key);
    return this.write(key, flags | FLAG_EXTENTS, list, 0, list.length, expiresAt);
  }

  private fill(
    words: Int32Array,
    bytes: Uint8Array,
    at: number,
    key: EncodedKey,
    flags: number,
    slack: number,
    version: number,
    previous: LogAddress,
    source: Uint8Array,
    from: number,
    to: number,
    expiresAt: number,
  ): void {
    writeHeader(words, at, flags, slack, key.length, to - from, version, previous);
    if ((flags & FLAG_EXPIRY) !== 0) writeExpiry(words, at, expiresAt);
    const keyAt = at + (valueOffset(flags, 0) >> 2);
    const keyWords = key.words;
    const count = (key.length + 3) >> 2;
    for (let i = 0; i < count; i++) words[keyAt + i] = keyWords[i];
    const valueAt = keyAt + count;
    const length = to - from;
    if (length <= COPY_LOOP_BYTES && (from & 3) === 0 && (source.byteOffset & 3) === 0) {
      if (source.buffer !== this.sourceBuffer) {
        this.sourceBuffer = source.buffer;
        this.sourceWords = new Int32Array(source.buffer, 0, source.buffer.byteLength >> 2);
      }
      const sourceWords = this.sourceWords;
      const first = (source.byteOffset + from) >> 2;
      const valueWords = (length + 3) >> 2;
      for (let i = 0; i < valueWords; i++) words[valueAt + i] = sourceWords[first + i];
    } else {
      bytes.set(source.subarray(from, to), valueAt * 4);
    }
  }
}

/** Whether a record may be dead without a newer one, and so dropped by a compaction while it is still in memory. */
function mayDie(words: Int32Array, at: number): boolean {
  return (words[at + 1] & (FLAG_EXPIRY | FLAG_ATTRIBUTES)) !== 0;
}

/** The attributes that begin here. */
function wordsOf(source: Uint8Array, from: number): Int32Array {
  const start = source.byteOffset + from;
  const count = tagCountOf(new Int32Array(source.buffer, start, 1));
  return new Int32Array(source.buffer, start, ATTRIBUTE_WORDS + count * WORDS_PER_TAG);
}

function tooLarge(bytes: number): KvTooLargeError {
  return new KvTooLargeError(
    `A value takes ${bytes} bytes encoded; ${MAX_VALUE_BYTES} is the most that the store carries. Split it into several ` +
      `entries.`,
  );
}
