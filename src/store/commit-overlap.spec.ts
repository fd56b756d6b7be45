import { CommitOverlap } from './commit-overlap.js';

/** So many milliseconds of 64 writers whose commits take so long, one under way or two; resolves to the writes. */
function run(
  overlap: CommitOverlap,
  from: number,
  forMs: number,
  commitMs: readonly [number, number],
): number {
  let writes = 0;
  for (let now = from; now < from + forMs;) {
    const count = overlap.allowed ? 32 : 64;
    now += commitMs[Number(overlap.allowed)];
    overlap.ended(count, now);
    writes += count;
  }
  return writes;
}

it('settles for what gets more done, and looks at the other every now and then', () => {
  for (const [commitMs, best] of [
    [[0.7, 0.25], 128],
    [[1, 0.7], 64],
  ] as const) {
    const overlap = new CommitOverlap();
    const writes = run(overlap, 0, 10_000, commitMs);
    expect(writes).toBeGreaterThan(0.95 * 10_000 * best);
  }
});

it('follows a disk that gets another', () => {
  const overlap = new CommitOverlap();
  run(overlap, 0, 5000, [0.7, 0.25]);
  run(overlap, 5000, 3000, [0.7, 0.7]);
  expect(run(overlap, 8000, 5000, [0.7, 0.7])).toBeGreaterThan((0.93 * 5000 * 64) / 0.7);
  run(overlap, 13_000, 3000, [0.7, 0.25]);
  expect(run(overlap, 16_000, 5000, [0.7, 0.25])).toBeGreaterThan((0.95 * 5000 * 32) / 0.25);
});

it('allows it as long as no time passes', () => {
  const overlap = new CommitOverlap();
  for (let i = 0; i < 1000; i++) overlap.ended(32, 0);
  expect(overlap.allowed).toBe(true);
});
