/**
 * Fills the cache of chunks beside look-ups, as long as it has room: one that has to read a chunk begins a pass over the
 * log of chunks, in the order in which they lie, which takes a disk a small part of the time of a read for each. Later
 * passes go on behind it, once enough was written.
 *
 * Garbage is passed over, and damage is left for whoever needs what is there.
 */
import type { EnvClock } from '../device/env.js';
import { FIRST_ADDRESS, type LogAddress } from '../log/address.js';
import { LogCursor, ReadBuffer } from '../log/log-cursor.js';
import { KIND_CHUNK, KIND_MASK } from '../log/record.js';
import { Slices } from '../log/slices.js';
import type { ChunkDirectory } from './chunk-directory.js';
import { ChunkLog } from './chunk-log.js';
import { ChunkView, slotOfChunk, widthOfChunk } from './hash-chunk.js';

/** Milliseconds of one slice: look-ups should not wait. */
const SLICE_MS = 1;

/** Less than one read of a cursor is not worth it. */
const LEAST_BYTES = 512 * 1024;
/** Chunks between two looks at the clock. */
const LOOK_EVERY = 16;

export interface CacheFillerParts {
  directory: ChunkDirectory;
  chunks: ChunkLog;
  clock: EnvClock;
}

export class CacheFiller {
  /** As long as a pass is under way. */
  private running: Promise<void> | undefined;
  /** As long as it reads. */
  private buffer: ReadBuffer | undefined;
  /** Up to where the log was gone through, as far as the cache had room. */
  private filledTo: LogAddress = FIRST_ADDRESS;
  private readonly slices: Slices;
  private readonly view = new ChunkView();
  private closed = false;

  constructor(private readonly parts: CacheFillerParts) {
    this.slices = new Slices(parts.clock, SLICE_MS);
  }

  /** Milliseconds of the event loop that it has taken. */
  get workedMs(): number {
    return this.slices.workedMs;
  }

  get bufferBytes(): number {
    return this.buffer?.bytes.length ?? 0;
  }

  /** Begins a pass, if it is worth it, and all that says where chunks lie has been loaded. Called by look-ups. */
  begin(): void {
    const { slices } = this;
    if (this.running || !this.parts.directory.isLoaded || !this.isWorthIt) return;
    slices.restart();
    this.running = slices
      .next()
      .then(() => this.fill())
      // Whoever needs what cannot be read is told.
      .catch(() => undefined)
      .finally(() => (this.running = undefined));
  }

  /** Ends the pass that is under way. */
  async close(): Promise<void> {
    this.closed = true;
    await this.running;
  }

  /** Whether there is room in the cache, and much of the log that was not gone through. */
  private get isWorthIt(): boolean {
    const { cache, log } = this.parts.chunks;
    return cache.hasRoom && log.flushed - Math.max(log.begin, this.filledTo) >= LEAST_BYTES;
  }

  private async fill(): Promise<void> {
    const { slices } = this;
    const { log, segments } = this.parts.chunks;
    const buffer = (this.buffer = new ReadBuffer());
    const end = log.flushed;
    const begin = Math.max(log.begin, this.filledTo);
    // Also where it fails: nothing is put twice.
    this.filledTo = end;
    try {
      for (const segment of segments.numbers()) {
        const start = segments.startOf(segment);
        const from = Math.max(start, begin) as LogAddress;
        const until = Math.min(start + segments.sizeOf(segment), end) as LogAddress;
        const cursor = new LogCursor(segments, from, until, buffer);
        while (this.goesOn && (await cursor.load().catch(() => false))) {
          for (let chunks = 1; this.goesOn && cursor.next(); chunks++) {
            this.take(cursor);
            if (chunks % LOOK_EVERY === 0 && slices.over) await slices.next();
          }
        }
      }
    } finally {
      this.buffer = undefined;
    }
  }

  private get goesOn(): boolean {
    return this.parts.chunks.cache.hasRoom && !this.closed;
  }

  /** Puts what the cursor has come to into the cache, if it is a chunk and no garbage. */
  private take({ words, at, address }: LogCursor): void {
    const { chunks, directory } = this.parts;
    if ((words[at + 1] & KIND_MASK) !== KIND_CHUNK) return;
    if (directory.isAt(slotOfChunk(words, at), widthOfChunk(words, at), ChunkLog.placeOf(address)))
      chunks.cache.putIfRoom(address, this.view.setRecord(words, at));
  }
}
