/** From single runs to what is recorded: medians by workload and peer, budgets, and the machine. */
import { max, median, min } from 'simple-statistics';
import { budgetsOf } from './budgets.mjs';
import { machine, versionsOf } from './machine.mjs';
import { rawDataBytes } from './raw-data.mjs';

/** @param about `settings`, and `date`, `machine`, `versions` of runs that were made earlier */
export async function summary({ settings, runs, skipped, ...about }) {
  const medians = {};
  for (const workload of settings.workloads) {
    const of = runs.filter((run) => run.workload === workload);
    const byPeer = (medians[workload] = {});
    for (const peer of new Set(of.map((run) => run.peer)))
      byPeer[peer] = mediansOf(of.filter((run) => run.peer === peer));
  }
  const loads = runs.map((run) => run.loadAverage);
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: machine(),
    versions: await versionsOf([...new Set(runs.map((run) => run.peer))]),
    ...about,
    settings,
    loadAverage: runs.length > 0 ? { from: min(loads), to: max(loads) } : undefined,
    rawDataBytes: rawDataBytes(1_000_000),
    medians,
    budgets: budgetsOf(medians),
    skipped,
    runs,
  };
}

function mediansOf(runs) {
  const medians = { rounds: runs.length, samples: runs.at(-1).samples };
  for (const kind of ['ops', 'cpuUs', 'figures', 'latencyUs']) {
    medians[kind] = {};
    for (const name of namesIn(runs, kind)) {
      const values = runs.map((run) => run[kind][name]).filter((value) => value !== undefined);
      medians[kind][name] = Array.isArray(values[0])
        ? values[0].map((_, i) => median(values.map((list) => list[i])))
        : median(values);
    }
  }
  return medians;
}

function namesIn(runs, kind) {
  return [...new Set(runs.flatMap((run) => Object.keys(run[kind])))];
}
