/**
 * `npm run bench`: the workloads against the peers (`--help` tells what can be chosen). What counts are ratios of medians
 * within one run: absolute figures depend on the machine and on who else uses it. Results go to `bench/results/`.
 */
import { runCommand } from './harness/command.mjs';
import { settingsFrom } from './harness/options.mjs';
import { plotsOf } from './report/plots.mjs';
import { USUAL, USUAL_LARGE } from './workloads/index.mjs';

await runCommand(settingsFrom('bench', USUAL, USUAL_LARGE), { title: 'Benchmark', plotsOf });
