/**
 * What a test has done, for whoever runs it for long (`npm run test:torture`): counts by name, and the seed that it ran
 * with. Without TALLY_FILE in the environment nobody listens.
 */
import { appendFileSync } from 'node:fs';

/** Many times as many runs, for a night: `RUNS` in the environment. */
export const RUNS = Number(process.env.RUNS ?? 1);

/** `SEED` in the environment, or a new one. */
export const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));

function say(what: object): void {
  const file = process.env.TALLY_FILE;
  if (file) appendFileSync(file, `${JSON.stringify(what)}\n`);
}

/** Adds to what was counted so far. */
export function tally(counts: Record<string, number>): void {
  say({ counts });
}

/** The most that was seen of something. */
export function peak(peaks: Record<string, number>): void {
  say({ peaks });
}

/** Says why a test cannot run here. */
export function skipped(reason: string): void {
  say({ skipped: reason });
  console.warn(`skipped: ${reason}`);
}
