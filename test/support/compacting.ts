/**
 * Stores in which compaction has something to do: the least memory, small segments, nothing cached, no schedule, and
 * commits only where a test makes them. And reads that a test holds, so that something can happen while they are under
 * way.
 */
import { KvStore, type Env, type KvStoreOptions } from 'nestjs-hotcold/store';
import type { SimulatedDisk } from './simulated-disk.js';

export const PATH = '/store';
export const MIB = 1024 * 1024;

/** Four pages of memory for the hot log, because the index takes the rest. */
export const COMPACTING = {
  path: PATH,
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb', diskBudget: '1mb', expectedKeys: 500_000 },
  cold: { segmentSize: '1mb', indexCache: 0 },
  readCache: { memory: 0 },
  compaction: false,
  durability: { level: 'checkpoint' },
} as const satisfies KvStoreOptions;

export function openOn(disk: SimulatedDisk, options: KvStoreOptions = {}): Promise<KvStore> {
  return KvStore.open({ ...COMPACTING, env: disk.env(), ...options });
}

/** Lets the event loop turn. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** A value of some bytes that no other key or round has. */
export function valueOf(key: string | number, round: number, bytes: number): string {
  return `${key}/${round}/`.padEnd(bytes, 'v');
}

/** Keys with wrong values, of those that the store should hold (`undefined`: should not hold); empty if all is well. */
export async function differences(store: KvStore, expected: ReadonlyMap<string, unknown>): Promise<string[]> {
  const wrong: string[] = [];
  for (const [key, value] of expected) {
    const found = await store.get(key).catch((error: unknown) => error);
    if (JSON.stringify(found) !== JSON.stringify(value))
      wrong.push(`${key}: ${String(found).slice(0, 60)} instead of ${String(value).slice(0, 60)}`);
  }
  return wrong;
}

/** The manifest on disk, as far as tests look at it. */
export function manifestOf(
  disk: SimulatedDisk,
): Record<'hot' | 'cold', { begin: number; beginCommit: number }> & { hashKey: string } {
  return JSON.parse(disk.contents(`${PATH}/MANIFEST`).toString().split('\n')[0]) as never;
}

/** Names of the segment files of a log. */
export function segmentsOf(disk: SimulatedDisk, log: 'hot' | 'cold' | 'index'): string[] {
  return disk.paths().filter((path) => path.startsWith(`${PATH}/${log}-`));
}

/** So many asynchronous reads in a row, and the pacer has given synchronous ones up: its first pause is shorter. */
const GIVEN_UP = 20;

/**
 * An environment whose reads can be held: one of those that come next, either before it reaches the disk or with the
 * bytes that it found there.
 */
export class HeldReads {
  readonly env: Env;
  /** Reads that are held now. */
  held = 0;
  private toSkip = 0;
  private toHold = 0;
  private moment: 'before' | 'after' = 'before';
  private opened = Promise.resolve();
  private open = () => {};
  private asyncInARow = 0;

  constructor(private readonly disk: SimulatedDisk) {
    const env = disk.env();
    const read: Env['fs']['read'] = async (...args) => {
      this.asyncInARow++;
      if (this.toHold === 0 || this.toSkip-- > 0) return env.fs.read(...args);
      this.toHold--;
      this.held++;
      const { moment, opened } = this;
      const early = moment === 'after' ? await env.fs.read(...args) : undefined;
      await opened;
      this.held--;
      return early ?? env.fs.read(...args);
    };
    const readSync: Env['fs']['readSync'] = (...args) => {
      this.asyncInARow = 0;
      return env.fs.readSync(...args);
    };
    this.env = { ...env, fs: { ...env.fs, read, readSync } };
  }

  /**
   * Sees to it that the store reads nothing synchronously for a long time.
   * @param decoys keys that lie on disk
   */
  async slowDown(store: KvStore, decoys: Iterable<string>): Promise<void> {
    const { clock } = this.disk;
    this.asyncInARow = 0;
    // Synchronous reads that seem to take days.
    clock.tickMs = 1e9;
    for (const key of decoys) {
      if (this.asyncInARow >= GIVEN_UP) break;
      await store.get(key);
    }
    clock.tickMs = 0.001;
    if (this.asyncInARow < GIVEN_UP) throw new Error('Reads may still be synchronous.');
  }

  /** Holds the next read, or a later one. */
  hold(moment: 'before' | 'after', skip = 0): void {
    this.toSkip = skip;
    this.toHold = 1;
    this.moment = moment;
    this.opened = new Promise((resolve) => (this.open = resolve));
  }

  release(): void {
    this.toHold = 0;
    this.open();
  }
}
