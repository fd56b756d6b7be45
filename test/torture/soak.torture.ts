/**
 * A mixed load with compactions, checkpoints and restarts: behind the first quarter, resident memory, heap and descriptors
 * do not grow. Compared are the medians of the second and the last quarter; a tenth and 8 MiB (4 descriptors) more are
 * taken for chance.
 */
import { startChild } from '../support/built-store.js';
import { peak, SEED, skipped, tally } from '../support/tally.js';
import { missingPath } from '../support/temp-directory.js';

const MINUTES = Number(process.env.MINUTES ?? 2);
const REOPEN_MS = Math.min(60_000, (MINUTES * 60_000) / 12);
const MIB = 1024 * 1024;

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

it(`${MINUTES} minutes of mixed load leave memory and descriptors as they were`, async () => {
  if (process.platform !== 'linux') {
    skipped('descriptors are counted in /proc');
    return;
  }
  const options = { path: missingPath(), minutes: MINUTES, reopenMs: REOPEN_MS, seed: SEED };
  const child = startChild('soak', options, ['--expose-gc']);
  expect(await child.ended).toBe(0);
  const samples = child.lines
    .filter((line) => line.startsWith('sample'))
    .map((line) => line.split(' ').slice(1).map(Number));
  const quarter = (n: number) => samples.slice((samples.length * n) >> 2, (samples.length * (n + 1)) >> 2);
  const counts: Record<string, number> = {};
  for (const [at, what, slack, unit] of [
    [1, 'MiB resident', 8 * MIB, MIB],
    [2, 'MiB heap', 8 * MIB, MIB],
    [4, 'descriptors', 4, 1],
  ] as const) {
    const [before, after] = [1, 3].map((n) => median(quarter(n).map((sample) => sample[at])));
    counts[`${what} in quarter 2`] = Math.round(before / unit);
    counts[`${what} in quarter 4`] = Math.round(after / unit);
    expect([what, before, after, after < before * 1.1 + slack]).toEqual([what, before, after, true]);
  }
  const [, operations] = (await child.line((line) => line.startsWith('done'))).split(' ').map(Number);
  tally({ minutes: MINUTES, operations });
  peak(counts);
});
