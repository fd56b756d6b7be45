/**
 * Sequential reading of a log: every record of a segment in order, verified, in large reads; and the search for commit
 * records behind a damaged place. Neither judges: what damage means is decided by recovery.
 */
import { MAX_PAGE_SIZE } from '../limits.js';
import { align8, type LogAddress } from './address.js';
import { COMMIT_BYTES, looksLikeCommit, readCommit, type Commit } from './commit.js';
import { isIntact, KIND_COMMIT, KIND_MASK, MIN_RECORD_BYTES, totalBytes } from './record.js';
import type { SegmentFiles } from './segment-files.js';

/** Bytes of each of two buffers. */
const READ_BYTES = 512 * 1024;

/** Longer records are read twice. */
const OVERLAP_BYTES = 16 * 1024;

/** Called for each record in order; `words` is only valid during the call, and what it returns is waited for. */
export type RecordVisitor = (
  words: Int32Array,
  at: number,
  address: LogAddress,
  bytes: number,
) => void | Promise<void>;

/** A part of a segment in memory: what `buffer` was filled with from `start` on. */
interface Part {
  buffer: Uint8Array<ArrayBuffer>;
  start: LogAddress;
  available: number;
}

/**
 * Visits the intact records of the segment of `from`, from there on.
 * @returns the address behind the last intact record: the end of the segment, the end of its file, or damage
 */
export async function scanSegment(
  segments: SegmentFiles,
  from: LogAddress,
  visit: RecordVisitor,
): Promise<LogAddress> {
  const segment = segments.segmentOf(from);
  const end = segments.startOf(segment) + Math.min(segments.sizeOf(segment), segments.segmentSize);
  const load = async (start: LogAddress, buffer: Uint8Array<ArrayBuffer>): Promise<Part> => ({
    buffer,
    start,
    available: await segments.read(start, buffer, buffer.length),
  });
  let address = from;
  let spare: Uint8Array<ArrayBuffer> | undefined;
  let part = address < end ? await load(address, bufferFor(end - address)) : undefined;
  while (part) {
    const { buffer, start, available } = part;
    // Read while this part is gone through. It overlaps, so that a record across the border is whole in one of them.
    const nextStart = (start + buffer.length - OVERLAP_BYTES) as LogAddress;
    const goesOn = available === buffer.length && start + available < end;
    const next = goesOn ? load(nextStart, (spare ??= new Uint8Array(READ_BYTES))) : undefined;
    next?.catch(() => undefined);
    const words = new Int32Array(buffer.buffer, 0, available >> 2);
    let at = (address - start) >> 2;
    const first = at;
    while (
      available - at * 4 >= MIN_RECORD_BYTES &&
      isIntact(words, at, available - at * 4, address, segments.salt)
    ) {
      const bytes = totalBytes(words, at);
      const waiting = visit(words, at, address, bytes);
      if (waiting) await waiting;
      address = (address + bytes) as LogAddress;
      at += bytes >> 2;
    }
    const loaded = await next;
    if (address >= end) break;
    if (loaded && address >= nextStart) {
      part = loaded;
      spare = buffer;
    } else if (at > first || start < address) {
      part = await load(address, buffer);
    } else if (goesOn && buffer.length < MAX_PAGE_SIZE) {
      // Nothing fitted: a record longer than the buffer, or damage.
      spare = new Uint8Array(buffer.length * 2);
      part = await load(address, new Uint8Array(buffer.length * 2));
    } else {
      part = undefined;
    }
  }
  return Math.min(address, end) as LogAddress;
}

/** What is read at opening is short as a rule, and a buffer costs time to clear. */
function bufferFor(bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(align8(Math.min(READ_BYTES, Math.max(0, bytes))));
}

/** The commit whose record ends at an address; `undefined` when no intact one does. */
export function commitBefore(segments: SegmentFiles, end: LogAddress): Commit | undefined {
  const address = (end - COMMIT_BYTES) as LogAddress;
  const segment = segments.segmentOf(address);
  if (segments.sizeOf(segment) < end - segments.startOf(segment)) return undefined;
  const bytes = new Uint8Array(COMMIT_BYTES);
  const words = new Int32Array(bytes.buffer);
  const available = segments.readSync(address, bytes, COMMIT_BYTES);
  if (!isIntact(words, 0, available, address, segments.salt)) return undefined;
  return (words[1] & KIND_MASK) === KIND_COMMIT ? readCommit(words, 0) : undefined;
}

/** Finds intact commit records anywhere from `from` to the end of its segment, whatever lies between them. */
export async function findCommits(
  segments: SegmentFiles,
  from: LogAddress,
  found: (commit: Commit, address: LogAddress) => void,
): Promise<void> {
  const segment = segments.segmentOf(from);
  const end = segments.startOf(segment) + segments.sizeOf(segment);
  const buffer = bufferFor(end - from);
  let address = from;
  while (address < end) {
    const available = await segments.read(address, buffer, buffer.length);
    if (available < MIN_RECORD_BYTES) return;
    const words = new Int32Array(buffer.buffer, 0, available >> 2);
    for (let at = 0; at + 2 < words.length; at += 2) {
      if (!looksLikeCommit(words, at)) continue;
      const here = (address + at * 4) as LogAddress;
      if (isIntact(words, at, available - at * 4, here, segments.salt)) found(readCommit(words, at), here);
    }
    if (available < buffer.length || address + available >= end) return;
    // Overlap, so that a commit record across the border of two reads is seen.
    address = (address + buffer.length - 256) as LogAddress;
  }
}
