/** Invariants of the engine, numbered in `docs/architecture.md`, checked also in production: each is one comparison. */

export class InvariantError extends Error {
  constructor(invariant: string) {
    super(`Internal error: ${invariant} does not hold (see docs/architecture.md). Please report it.`);
    this.name = 'InvariantError';
  }
}

/** Throws when an invariant does not hold. */
export function assert(condition: boolean, invariant: string): asserts condition {
  if (!condition) throw new InvariantError(invariant);
}
