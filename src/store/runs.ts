/**
 * Runs of factories that are under way in one key space (`getOrSet`), by the bytes of their key: so that others join them,
 * and so that a delete reaches them also where there is no entry yet that it could leave a tombstone of.
 */
import type { EncodedKey } from '../codec/key-codec.js';

export interface Run {
  id: string;
  /** A copy. */
  key: EncodedKey;
  /** The version that was handed out last when it began: what is newer may not be known to it. */
  since: number;
  /** Whether its key was deleted meanwhile. */
  cancelled: boolean;
  /** What others may wait for; missing while they must not. */
  result: Promise<unknown> | undefined;
  /** For whom it runs: others do not join it. */
  owner: object | undefined;
  /** Whether what it brings takes the place of whatever is there, as a `set` does. */
  isPut: boolean;
  /** One of the same key that began before, and that nobody joins any more. */
  older: Run | undefined;
}

export class Runs {
  private readonly newest = new Map<string, Run>();

  get size(): number {
    return this.newest.size;
  }

  /** @param key a copy of its own */
  begin(key: EncodedKey, since: number, owner: object | undefined, isPut = false): Run {
    const id = idOf(key);
    const older = this.newest.get(id);
    const run: Run = { id, key, since, cancelled: false, result: undefined, owner, isPut, older };
    this.newest.set(id, run);
    return run;
  }

  /** The run of a key that began last for an owner. */
  of(key: EncodedKey, owner: object | undefined): Run | undefined {
    if (this.newest.size === 0) return undefined;
    let run = this.newest.get(idOf(key));
    while (run && run.owner !== owner) run = run.older;
    return run;
  }

  /**
   * A run was kept. Those of others under the same key, which may be waiting for it, are not overtaken by that; unless it is
   * what takes the place of others.
   */
  kept({ id, isPut, older, owner }: Run, version: number): void {
    if (isPut) for (let run = older; run; run = run.older) run.cancelled = true;
    else
      for (let run = this.newest.get(id); run; run = run.older) if (run.owner !== owner) run.since = version;
  }

  end(run: Run): void {
    let newer = this.newest.get(run.id);
    if (newer === run) {
      if (run.older) this.newest.set(run.id, run.older);
      else this.newest.delete(run.id);
      return;
    }
    while (newer && newer.older !== run) newer = newer.older;
    if (newer) newer.older = run.older;
  }

  /** A key is deleted: what its runs bring is older than that. */
  cancel(key: EncodedKey): void {
    const id = idOf(key);
    for (let run = this.newest.get(id); run; run = run.older) run.cancelled = true;
    this.newest.delete(id);
  }
}

function idOf({ bytes, length }: EncodedKey): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, length).toString('latin1');
}
