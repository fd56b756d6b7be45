/**
 * `npm run bench:growth`: the same work at 100 thousand, 1 and 10 million keys, and with `--large` at 50 million; plots
 * against the number of keys go to `bench/results/`.
 */
import { runCommand } from './harness/command.mjs';
import { settingsFrom } from './harness/options.mjs';
import { growthPlotsOf } from './report/plots.mjs';
import { GROWTH, GROWTH_LARGE } from './workloads/index.mjs';

await runCommand(settingsFrom('bench:growth', GROWTH, GROWTH_LARGE), {
  title: 'Growth',
  kind: 'growth',
  plotsOf: growthPlotsOf,
});
