/** A run from its options to its record: what `run.mjs` and `growth.mjs` do, each with its workloads and plots. */
import { isHeld } from '../report/budgets.mjs';
import { record, recorded, recordRuns } from '../report/record.mjs';
import { summary } from '../report/summary.mjs';
import { conduct } from './conduct.mjs';

/**
 * @param title of the report
 * @param kind part of the names of the result files
 * @param plotsOf from a summary to plots
 */
export async function runCommand({ settings, from, suffix }, { title, kind, plotsOf }) {
  const date = new Date().toISOString().slice(0, 10);
  const name =
    suffix === 'quick' ? `quick${kind ? `-${kind}` : ''}` : [date, kind, suffix].filter(Boolean).join('-');
  const measured = from
    ? recorded(from)
    : // Hours of work are not lost with the last hour.
      await conduct(settings, async (sofar) => recordRuns(name, await summary({ settings, ...sofar })));
  const result = { title, ...(await summary({ settings, ...measured })) };
  const report = await record(name, result, await drawn(plotsOf, result));
  console.log(`\n${report}\nRecorded: bench/results/${name}.md`);
  const good =
    result.skipped.every(({ failed }) => !failed) && (settings.quick || result.budgets.every(isHeld));
  process.exitCode = good ? 0 : 1;
}

/** Without what `npm run bench:install` brings there are figures all the same. */
async function drawn(plotsOf, result) {
  try {
    return await plotsOf(result);
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    process.stderr.write('No plots: npm run bench:install\n');
    return [];
  }
}
