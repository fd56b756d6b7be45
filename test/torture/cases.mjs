// What the torture consists of: tests of `npm test` with many times as many runs, and tests of its own. Each run of a
// case gets a fresh seed (SEED) and takes about a minute at the most; RUNS is how many times as much it does as on a commit.

/**
 * @type {{ name: string, spec: string, test?: string, runs?: number, minutes?: number }[]}
 *   `minutes`: given to the test as MINUTES, unless it is the only case
 */
export const CASES = [
  { name: 'kill', spec: 'test/kill.spec.ts' },
  { name: 'strace', spec: 'test/torture/strace.torture.ts' },
  { name: 'every-call', spec: 'test/every-call.spec.ts', test: 'cut off', runs: 2 },
  { name: 'crash', spec: 'test/crash.spec.ts' },
  { name: 'crash-compaction', spec: 'test/crash-compaction.spec.ts' },
  { name: 'compaction-boundaries', spec: 'test/compaction-boundaries.spec.ts', runs: 2 },
  { name: 'checkpoint-boundaries', spec: 'test/checkpoint-boundaries.spec.ts' },
  { name: 'commits-in-flight', spec: 'test/commits-in-flight.spec.ts', runs: 10 },
  { name: 'hints', spec: 'test/hints.spec.ts', test: 'cut off at every call', runs: 3 },
  { name: 'growth-boundaries', spec: 'test/growth-boundaries.spec.ts', runs: 3 },
  { name: 'ext4', spec: 'test/torture/ext4.torture.ts' },
  { name: 'bit-flips', spec: 'test/torture/bit-flips.torture.ts' },
  { name: 'damage', spec: 'test/damage.spec.ts' },
  { name: 'cold-damage', spec: 'test/cold-damage.spec.ts' },
  { name: 'disk-full', spec: 'test/torture/disk-full.torture.ts' },
  { name: 'eio', spec: 'test/every-call.spec.ts', test: 'fails', runs: 3 },
  { name: 'eio-compaction', spec: 'test/tier-failures.spec.ts' },
  { name: 'openers', spec: 'test/two-openers.spec.ts', test: 'race', runs: 3 },
  { name: 'msgpack', spec: 'src/codec/value-codec.spec.ts', test: 'hostile bytes', runs: 20 },
  { name: 'names', spec: 'test/names.spec.ts', runs: 5 },
  { name: 'clock', spec: 'test/clock-jumps.spec.ts', runs: 10 },
  { name: 'model', spec: 'test/model.spec.ts' },
  { name: 'interleavings', spec: 'test/interleavings.spec.ts' },
  { name: 'unawaited', spec: 'test/torture/unawaited.torture.ts' },
  { name: 'soak', spec: 'test/torture/soak.torture.ts', minutes: 2 },
];
