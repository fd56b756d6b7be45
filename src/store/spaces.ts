/**
 * Key spaces inside one store: the store's own keys (number 0) and its namespaces. Each knows below which version its
 * entries are dead, because it was cleared, and about how many live keys it has.
 */

import type { DecodedMap } from '../hot/decoded-cache.js';

export class Space {
  /** Entries with a version below this are dead. */
  clearedBelow = 0;
  /** Live keys as far as memory knows: see `KvStats.keys`. */
  keys = 0;
  /** While the store is opened: bytes of its records in the cold log that were not cleared. */
  coldBytes = 0;
  /** Decoded values, if they are kept. */
  readonly decoded: DecodedMap = new Map();

  constructor(readonly id: number) {}
}

/** What a checkpoint has of the spaces. */
export interface SpacesState {
  allClearedBelow: number;
  spaces: [id: number, clearedBelow: number, keys: number, coldBytes: number][];
}

export class Spaces {
  private readonly spaces = new Map<number, Space>();
  private allClearedBelow = 0;
  /** Of what was found in the cold log, bytes that a clear mark behind them has made garbage. */
  clearedColdBytes = 0;

  get(id: number): Space {
    let space = this.spaces.get(id);
    if (!space) {
      space = new Space(id);
      space.clearedBelow = this.allClearedBelow;
      this.spaces.set(id, space);
    }
    return space;
  }

  /** Everything older than `version` is dead: in one space, or in all of them. */
  clear(id: number | undefined, version: number): void {
    if (id === undefined && version > this.allClearedBelow) this.allClearedBelow = version;
    for (const space of id === undefined ? this.spaces.values() : [this.get(id)]) {
      // Recovery may meet a mark that the checkpoint knows.
      if (version <= space.clearedBelow) continue;
      space.clearedBelow = version;
      space.keys = 0;
      this.clearedColdBytes += space.coldBytes;
      space.coldBytes = 0;
      space.decoded.clear();
    }
  }

  /** The version below which the entries of one space, or of all, are dead. */
  clearedBelow(id: number | undefined): number {
    return id === undefined ? this.allClearedBelow : this.get(id).clearedBelow;
  }

  /** @param meanBytes of a cold record: what a clear costs later is estimated as one of an open store is */
  stateFor(meanBytes: number): SpacesState {
    const { allClearedBelow } = this;
    const spaces = [...this.spaces.values()];
    return {
      allClearedBelow,
      spaces: spaces.map(({ id, clearedBelow, keys }) => [id, clearedBelow, keys, keys * meanBytes]),
    };
  }

  restore({ allClearedBelow, spaces }: SpacesState): void {
    this.allClearedBelow = allClearedBelow;
    for (const [id, clearedBelow, keys, coldBytes] of spaces)
      Object.assign(this.get(id), { clearedBelow, keys, coldBytes });
  }

  keys(): number {
    let keys = 0;
    for (const space of this.spaces.values()) keys += space.keys;
    return keys;
  }
}
