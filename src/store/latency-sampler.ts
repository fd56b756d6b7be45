/**
 * How long calls take, measured on one in 127 of each operation: a look at the clock before and after each call would cost
 * as much as a read from memory. Each operation has its own count, so that a caller who alternates between two of them
 * has both measured; the number is prime, so that a loop of a few keys has each of them measured in turn.
 */
import type { EnvClock } from '../device/env.js';

/** Calls that are measured. */
export type KvOperation = 'get' | 'set' | 'delete' | 'update' | 'batch';

/** How long a call took. */
export interface KvLatencySample {
  operation: KvOperation;
  /** Milliseconds from the call until its promise was settled. */
  ms: number;
}

export const SAMPLE_EVERY = 127;

export class LatencySampler {
  private readonly left: Record<KvOperation, number> = { get: 1, set: 1, delete: 1, update: 1, batch: 1 };

  constructor(
    private readonly clock: EnvClock,
    private readonly tell: (sample: KvLatencySample) => void,
  ) {}

  /** Whether this call is to be measured. Hot path. */
  isDue(operation: KvOperation): boolean {
    if (--this.left[operation] > 0) return false;
    this.left[operation] = SAMPLE_EVERY + 1;
    return true;
  }

  /** @param call the same call again: it counts as one more, and is not due */
  time<T>(operation: KvOperation, call: () => Promise<T>): Promise<T> {
    const startMs = this.clock.tick();
    const promise = call();
    const settled = () => this.tell({ operation, ms: this.clock.tick() - startMs });
    promise.then(settled, settled);
    return promise;
  }
}
