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
  /** The version of what a run of others under the same key brought: newer, and has not overtaken it. */
  beside: number;
  /** Whether its key was deleted meanwhile. */
  cancelled: boolean;
  /** What others may wait for; missing while they must not. */
  result: Promise<unknown> | undefined;
  /** For whom it runs: others do not join it. */
  owner: object | undefined;
  /** Version of the shape of what it brings; those who want another one do not join it either. */
  shape: number;
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
  begin(key: EncodedKey, since: number, owner: object | undefined, shape: number, isPut: boolean): Run {
    const id = idOf(key);
    const older = this.newest.get(id);
    const run: Run = {
      id,
      key,
      since,
      beside: since,
      cancelled: false,
      result: undefined,
      owner,
      shape,
      isPut,
      older,
    };
    this.newest.set(id, run);
    return run;
  }

  /** The run of a key that began last for an owner and a shape. */
  of(key: EncodedKey, owner: object | undefined, shape: number): Run | undefined {
    if (this.newest.size === 0) return undefined;
    let run = this.newest.get(idOf(key));
    while (run && !(run.owner === owner && run.shape === shape)) run = run.older;
    return run;
  }

  /**
   * A run was kept. Those of others under the same key, which may be waiting for it, are not overtaken by that, unless they
   * were already or it is what takes the place of others.
   * @param replaced the version of what was there
   */
  kept({ id, isPut, older, owner, shape }: Run, version: number, replaced: number): void {
    if (isPut) {
      for (let run = older; run; run = run.older) run.cancelled = true;
      return;
    }
    for (let run = this.newest.get(id); run; run = run.older) {
      const isOther = run.owner !== owner || run.shape !== shape;
      if (isOther && !isOvertaken(run, replaced)) run.beside = version;
    }
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

/** Whether something of this version under its key makes a run of no use. */
export function isOvertaken({ beside, isPut, since }: Run, version: number): boolean {
  return !isPut && version > since && version !== beside;
}

function idOf({ bytes, length }: EncodedKey): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, length).toString('latin1');
}
