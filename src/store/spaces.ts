/**
 * Key spaces inside one store: the store's own keys (number 0) and its namespaces. Each knows below which version its
 * entries are dead, because it was cleared, and about how many live keys it has. Tags that were invalidated are known to
 * all of them.
 */

import type { DecodedMap } from '../hot/decoded-cache.js';
import { NO_ADDRESS } from '../log/address.js';
import { attributesStart } from '../log/attributes.js';
import { FLAG_ATTRIBUTES, KIND_MASK, KIND_VALUE, sequenceOf } from '../log/record.js';
import { DeadHashes } from './dead-hashes.js';
import { Runs } from './runs.js';
import { TagMarks } from './tag-marks.js';

export class Space {
  /** Entries with a version below this are dead. */
  clearedBelow = 0;
  /** Live keys as far as memory knows: see `KvStats.keys`. */
  keys = 0;
  /** How often it was cleared in this process. */
  clears = 0;
  /** While the store is opened: bytes of its records in the cold log that were not cleared. */
  coldBytes = 0;
  /** The same: below this address of the hot log, and in the cold one, all of its records were cleared. */
  deadBelow = NO_ADDRESS;
  /** Decoded values, if they are kept. */
  readonly decoded: DecodedMap = new Map();
  /** Factories of `getOrSet` that are under way. */
  readonly runs = new Runs();

  constructor(
    readonly id: number,
    readonly tags: TagMarks,
    /** Of all spaces. */
    readonly dead: DeadHashes,
  ) {}

  /** Whether a record of this space is neither cleared nor dead by one of its tags. Hot path (`npm run bench`, reads). */
  isValid(words: Int32Array, at: number): boolean {
    if (this.clearedBelow > 0 && sequenceOf(words, at) < this.clearedBelow) return false;
    return (words[at + 1] & FLAG_ATTRIBUTES) === 0 || !this.isInvalidated(words, at);
  }

  /** Whether a record is one of `keys`: what has expired, or is dead by a tag, still counts. */
  counts(words: Int32Array, at: number): boolean {
    return (words[at + 1] & KIND_MASK) === KIND_VALUE && sequenceOf(words, at) >= this.clearedBelow;
  }

  /** The newest record of a key was dropped, or is a tombstone now. */
  dropped(low: number, words: Int32Array, at: number): void {
    // A pass that failed comes here again.
    if (!this.counts(words, at) || this.dead.has(low)) return;
    if (this.keys > 0) this.keys--;
    this.dead.note(low, false);
  }

  private isInvalidated(words: Int32Array, at: number): boolean {
    return this.tags.areDead(words, attributesStart(words, at), sequenceOf(words, at), this.id);
  }
}

/** What a checkpoint or a hint has of the spaces. */
export interface SpacesState {
  allClearedBelow: number;
  spaces: [id: number, clearedBelow: number, keys: number, coldBytes: number][];
  /** Marks of tags (`TagMarks.state`); missing in a checkpoint that is older than tags. In a hint, those since the one before. */
  tags?: string;
}

export class Spaces {
  /** Tags that were invalidated. */
  readonly tags = new TagMarks();
  /** What the number of keys has to know of those that are none any more. */
  readonly dead = new DeadHashes();
  private readonly spaces = new Map<number, Space>();
  private allClearedBelow = 0;
  private allDeadBelow = NO_ADDRESS;
  /** Of what was found in the cold log, bytes that a clear mark behind them has made garbage. */
  clearedColdBytes = 0;

  get(id: number): Space {
    let space = this.spaces.get(id);
    if (!space) {
      space = new Space(id, this.tags, this.dead);
      space.clearedBelow = this.allClearedBelow;
      space.deadBelow = this.allDeadBelow;
      this.spaces.set(id, space);
    }
    return space;
  }

  /**
   * Everything older than `version` is dead: in one space, or in all of them.
   * @param deadBelow while the store is opened, address of the hot log below which nothing is newer
   */
  clear(id: number | undefined, version: number, deadBelow = NO_ADDRESS): void {
    if (id === undefined && version > this.allClearedBelow) {
      this.allClearedBelow = version;
      this.allDeadBelow = deadBelow;
    }
    for (const space of id === undefined ? this.spaces.values() : [this.get(id)]) {
      // Recovery may meet a mark that the checkpoint knows.
      if (version <= space.clearedBelow) continue;
      space.clearedBelow = version;
      space.deadBelow = deadBelow;
      space.keys = 0;
      space.clears++;
      this.clearedColdBytes += space.coldBytes;
      space.coldBytes = 0;
      space.decoded.clear();
    }
  }

  /** The version below which the entries of one space, or of all, are dead. */
  clearedBelow(id: number | undefined): number {
    return id === undefined ? this.allClearedBelow : this.get(id).clearedBelow;
  }

  /**
   * @param meanBytes of a cold record: what a clear costs later is estimated as one of an open store is
   * @param tagsSince marks of tags up to this version are left out
   */
  stateFor(meanBytes: number, tagsSince = 0): SpacesState {
    const { allClearedBelow } = this;
    const spaces = [...this.spaces.values()];
    return {
      allClearedBelow,
      tags: this.tags.stateSince(tagsSince),
      spaces: spaces.map(({ id, clearedBelow, keys }) => [id, clearedBelow, keys, keys * meanBytes]),
    };
  }

  restore({ allClearedBelow, spaces, tags = '' }: SpacesState): void {
    this.allClearedBelow = allClearedBelow;
    this.tags.restore(tags);
    for (const [id, clearedBelow, keys, coldBytes] of spaces)
      Object.assign(this.get(id), { clearedBelow, keys, coldBytes });
  }

  /** Goes on to what a hint has of the spaces, when what the checkpoint and the cold log have is there. */
  advance({ allClearedBelow, spaces }: SpacesState): void {
    this.clear(undefined, allClearedBelow);
    for (const [id, clearedBelow, keys] of spaces) {
      this.clear(id, clearedBelow);
      this.get(id).keys = keys;
    }
  }

  keys(): number {
    let keys = 0;
    for (const space of this.spaces.values()) keys += space.keys;
    return keys;
  }
}
