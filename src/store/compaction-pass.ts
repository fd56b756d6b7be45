/**
 * One way through the oldest part of a log, the same for both kinds of compaction: records in groups, first which of
 * them live (reads from disk side by side), then what becomes of them, in their order. It ends behind a commit record,
 * because logs begin behind one; it lets the event loop turn, and waits for the disk, as often as it has to.
 */
import { type KeyedHash } from '../codec/keyed-hash.js';
import type { ColdTier } from '../cold/cold-tier.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { readCommit } from '../log/commit.js';
import type { LogCursor } from '../log/log-cursor.js';
import {
  KIND_CLEAR,
  KIND_COMMIT,
  KIND_FILLER,
  KIND_MASK,
  KIND_TOMBSTONE,
  KIND_VALUE,
  keyLengthOf,
} from '../log/record.js';
import type { Slices } from '../log/slices.js';
import type { HashedRecord } from './record-copier.js';
import { keyStart } from '../log/record-key.js';

/** Records whose liveness is found out together. */
const GROUP = 64;

/** A record with where it lies in the log that is compacted. */
export interface PassRecord extends HashedRecord {
  address: LogAddress;
  /** Head of its hash chain when it was found to be the newest. */
  head: LogAddress;
}

/** What one kind of compaction does with records. */
export interface PassPolicy {
  /**
   * Told between two groups, before the records from `from` to `to` and what lies behind are asked for: what can be found out
   * for many of them together may be now.
   */
  prepare?(from: LogAddress, to: LogAddress): Promise<void>;
  /** Whether a value or tombstone is the newest of its key in this log. */
  isNewest(record: PassRecord): boolean | Promise<boolean>;
  /** What becomes of the newest record of a key. `false` when it is not the newest any more: it is asked again. */
  move(record: PassRecord): boolean | Promise<boolean>;
  /** What becomes of a clear mark. */
  mark(record: PassRecord): void;
}

/** A place where a log may begin: behind a commit record. */
export interface Boundary {
  end: LogAddress;
  commit: number;
}

export class CompactionPass {
  /** Records seen. */
  records = 0;
  /** Bytes of records and their extents, commits and fillers left out. */
  bytes = 0;
  /** The last commit record that was passed: everything before it may be truncated once the cold log is durable. */
  passed: Boundary | undefined;
  /** The first `count` are in use: objects for each record would be most of the garbage of a compaction. */
  private readonly group = Array.from({ length: GROUP }, newRecord);
  private count = 0;

  constructor(
    private readonly cursor: LogCursor,
    private readonly cold: ColdTier,
    private readonly hash: KeyedHash,
    private readonly policy: PassPolicy,
    private readonly slices: Slices,
    /** Told how far the pass is each time before it waits. */
    private readonly onProgress: (address: LogAddress) => void,
  ) {}

  /**
   * @param goal end of a commit record, or before one, that the log may begin behind
   * @param mayGoOn asked at every commit record
   * @throws KvCorruptionError at damage; `passed` tells how far it came
   */
  async run(goal: LogAddress, mayGoOn: () => boolean): Promise<void> {
    const { cursor } = this;
    let reached = cursor.position;
    while (await cursor.load()) {
      this.slices.restart();
      await this.policy.prepare?.(cursor.position, cursor.loadedTo);
      while (cursor.next()) {
        const { words, at, address } = cursor;
        const kind = words[at + 1] & KIND_MASK;
        if (kind !== KIND_COMMIT && kind !== KIND_FILLER) this.bytes += cursor.bytes;
        if (kind === KIND_VALUE || kind === KIND_TOMBSTONE) {
          this.add(words, at, address);
          if (this.count === GROUP) await this.settle();
        } else if (kind === KIND_CLEAR) {
          await this.settle();
          this.add(words, at, address);
          this.count = 0;
          this.policy.mark(this.group[0]);
        } else if (kind === KIND_COMMIT) {
          await this.settle();
          const { number, previousEnd } = readCommit(words, at);
          // A file that was cut short behind a commit looks like a gap where a torn tail was cut off.
          if (previousEnd !== reached) throw cursor.damaged(reached);
          reached = cursor.position;
          this.passed = { end: reached, commit: number };
          if (reached >= goal || !mayGoOn()) return;
        }
      }
      await this.settle();
    }
    throw cursor.damaged(reached);
  }

  private add(words: Int32Array, at: number, address: LogAddress): void {
    this.hash.hash(words, keyLengthOf(words, at), keyStart(words, at));
    const record = this.group[this.count++];
    record.words = words;
    record.bytes = this.cursor.loadedBytes;
    record.at = at;
    record.address = address;
    record.low = this.hash.low;
    record.high = this.hash.high;
  }

  private async settle(): Promise<void> {
    const { count, group, policy } = this;
    if (count === 0) return;
    const verdicts = this.verdicts();
    const settled = Array.isArray(verdicts) ? verdicts : await verdicts;
    for (let i = 0; i < count; i++) {
      const record = group[i];
      this.records++;
      let isNewest = settled[i];
      while (isNewest) {
        const moved = policy.move(record);
        if (typeof moved === 'boolean' ? moved : await moved) break;
        isNewest = await policy.isNewest(record);
      }
    }
    this.count = 0;
    await this.rest();
  }

  /** Which records of the group are the newest of their keys: at once, if nothing has to be waited for. */
  private verdicts(): boolean[] | Promise<boolean[]> {
    const verdicts: boolean[] = [];
    const later: Promise<void>[] = [];
    try {
      for (let i = 0; i < this.count; i++) {
        const verdict = this.policy.isNewest(this.group[i]);
        if (typeof verdict === 'boolean') verdicts[i] = verdict;
        else later.push(verdict.then((isNewest) => void (verdicts[i] = isNewest)));
      }
    } catch (error) {
      // Those that are under way may fail, too, and nobody would hear of it.
      return Promise.allSettled(later).then(() => Promise.reject(error as Error));
    }
    return later.length === 0 ? verdicts : Promise.all(later).then(() => verdicts);
  }

  /** Whatever has to be waited for before more can be appended. */
  private async rest(): Promise<void> {
    const { cold, slices } = this;
    if (cold.index.full) await cold.index.flush(slices);
    if (cold.log.isFull) {
      this.onProgress(this.cursor.position);
      await cold.log.drain();
      slices.restart();
    }
    if (!slices.over) return;
    this.onProgress(this.cursor.position);
    await slices.next();
  }
}

const NO_WORDS = new Int32Array(0);
const NO_BYTES = new Uint8Array(0);

function newRecord(): PassRecord {
  return {
    words: NO_WORDS,
    bytes: NO_BYTES,
    at: 0,
    address: NO_ADDRESS,
    low: 0,
    high: 0,
    head: NO_ADDRESS,
  };
}
