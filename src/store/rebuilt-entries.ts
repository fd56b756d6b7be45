/**
 * What the hot index has to have, from the log, at once and without letting anybody else run: for whoever looks
 * something up and finds that a part of the index is damaged in the checkpoint. That blocks for as long as reading the
 * log takes, but there is nothing else that could be answered.
 *
 * Commits are judged as recovery does. So nothing is taken for all there was that is not.
 */
import type { KeyedHash } from '../codec/keyed-hash.js';
import { KvCorruptionError } from '../errors.js';
import type { EntryVisitor } from '../hot/chunk-loader.js';
import { HashIndex, PARTITIONS } from '../hot/hash-index.js';
import { MAX_PAGE_SIZE } from '../limits.js';
import { FIRST_ADDRESS, type LogAddress } from '../log/address.js';
import { readCommit } from '../log/commit.js';
import {
  isIntact,
  keyLengthOf,
  KIND_COMMIT,
  KIND_MASK,
  KIND_TOMBSTONE,
  KIND_VALUE,
  totalBytes,
} from '../log/record.js';
import { keyStart } from '../log/record-key.js';
import type { SegmentFiles } from '../log/segment-files.js';
import { sizeClassOf } from '../log/size-class.js';
import type { LogManifest } from './manifest.js';

const READ_BYTES = 1024 * 1024;

/**
 * Reads the hot log from its begin on.
 * @param end of a commit, up to which the log is on the device
 * @returns what visits the newest entry of each hash chain
 * @throws KvCorruptionError, KvDiskError when not all of it can be read
 */
export function entriesOfLog(
  segments: SegmentFiles,
  manifest: LogManifest,
  end: LogAddress,
  hash: KeyedHash,
): (visit: EntryVisitor) => void {
  const index = new HashIndex();
  if (manifest.begin < end) new Replay(segments, manifest, end, hash, index).run();
  return (visit) => {
    for (let partition = 0; partition < PARTITIONS; partition++) index.partition(partition, visit);
  };
}

class Replay {
  private position: LogAddress;
  private lastEnd: LogAddress;
  private rangeFrom: LogAddress;
  private rangeSum = 0;
  private commit: number;
  private bytes: Uint8Array<ArrayBuffer> = new Uint8Array(READ_BYTES);

  constructor(
    private readonly segments: SegmentFiles,
    { begin, beginCommit }: LogManifest,
    private readonly end: LogAddress,
    private readonly hash: KeyedHash,
    private readonly index: HashIndex,
  ) {
    this.position = this.lastEnd = this.rangeFrom = begin;
    this.commit = beginCommit;
  }

  run(): void {
    const { segments } = this;
    const first = segments.segmentOf(this.position);
    for (const segment of segments.numbers()) {
      const start = Math.max(segments.startOf(segment), FIRST_ADDRESS) as LogAddress;
      if (segment < first || start >= this.end) continue;
      if (start > this.position) {
        // The file before ends early: right only where a cut left it, behind a commit.
        if (this.position !== this.lastEnd) throw this.damaged();
        this.position = this.rangeFrom = start;
      }
      this.readSegment(segment);
    }
    if (this.lastEnd !== this.end) throw this.damaged();
  }

  private readSegment(segment: number): void {
    const { segments } = this;
    const stop = Math.min(segments.startOf(segment) + segments.sizeOf(segment), this.end);
    while (this.position < stop) {
      const from = this.position;
      const available = segments.readSync(from, this.bytes, this.bytes.length);
      const words = new Int32Array(this.bytes.buffer, 0, available >> 2);
      this.takeAll(words, available, stop);
      if (this.position > from) continue;
      // A record longer than the buffer, or damage.
      if (available < this.bytes.length || this.bytes.length >= MAX_PAGE_SIZE) throw this.damaged();
      this.bytes = new Uint8Array(this.bytes.length * 2);
    }
  }

  private takeAll(words: Int32Array, available: number, stop: number): void {
    const { salt } = this.segments;
    for (let at = 0; this.position < stop;) {
      if (!isIntact(words, at, available - at * 4, this.position, salt)) return;
      const bytes = totalBytes(words, at);
      this.take(words, at, bytes);
      this.position = (this.position + bytes) as LogAddress;
      at += bytes >> 2;
    }
  }

  private take(words: Int32Array, at: number, bytes: number): void {
    const { hash, index, position } = this;
    const kind = words[at + 1] & KIND_MASK;
    if (kind === KIND_COMMIT) {
      const { number, from, previousEnd, rangeSum } = readCommit(words, at);
      const continues =
        number === this.commit + 1 &&
        from === this.rangeFrom &&
        previousEnd === this.lastEnd &&
        rangeSum === this.rangeSum;
      if (!continues) throw this.damaged();
      this.commit = number;
      this.lastEnd = this.rangeFrom = (position + bytes) as LogAddress;
      this.rangeSum = 0;
      return;
    }
    this.rangeSum = (this.rangeSum + words[at]) | 0;
    if (kind !== KIND_VALUE && kind !== KIND_TOMBSTONE) return;
    hash.hash(words, keyLengthOf(words, at), keyStart(words, at));
    index.find(hash.low);
    index.put(hash.low, position, sizeClassOf(bytes));
  }

  private damaged(): KvCorruptionError {
    const { position, segments } = this;
    return new KvCorruptionError(
      'The hot index is damaged in the checkpoint, and the log that it would be built from as well',
      segments.nameOf(segments.segmentOf(position)),
      position,
    );
  }
}
