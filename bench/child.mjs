/**
 * One peer, one round, in a process of its own: prints what it measured as one line of JSON. Started by `run.mjs`;
 * by hand, with a profile of each phase:
 *
 *   node --expose-gc bench/child.mjs --peer ours --keys 200000 --profile /tmp/profiles
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import * as phases from './phases.mjs';
import { profiled } from './profile.mjs';
import { Traces } from './workload.mjs';

const SETTLE_MS = 200;

const { values: options } = parseArgs({
  options: {
    peer: { type: 'string' },
    keys: { type: 'string', default: '1000000' },
    'cap-ms': { type: 'string', default: '4000' },
    seed: { type: 'string', default: '1' },
    profile: { type: 'string' },
  },
});
const keys = Number(options.keys);
const capMs = Number(options['cap-ms']);
const adapter = await import(`./adapters/${options.peer}.mjs`);
const directory = mkdtempSync(join(tmpdir(), 'hotcold-bench-'));

try {
  process.stdout.write(`${JSON.stringify(await measure())}\n`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}

async function measure() {
  const result = {
    peer: options.peer,
    loadAverage: loadavg()[0],
    opsPerSecond: {},
    cpuUs: {},
    operations: {},
  };
  const store = await adapter.open(directory, { keys });

  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await phase('load', phases.load, { keys });
  delay.disable();
  result.loopDelayMs = {
    p50: delay.percentile(50) / 1e6,
    p99: delay.percentile(99) / 1e6,
    max: delay.max / 1e6,
  };
  const rssAfterLoad = process.memoryUsage.rss();
  const flushFrom = performance.now();
  await store.flush?.();
  result.flushAfterLoadMs = performance.now() - flushFrom;
  await settle();
  result.memory = { rssAfterLoad, rssSettled: process.memoryUsage.rss(), ...heap() };

  const traces = new Traces(keys, Number(options.seed));
  await phase('readOneByOne', phases.readOneByOne, { trace: traces.zipfian(keys, 1), capMs });
  await phase('readBy64', phases.readBy64, { trace: traces.zipfian(keys, 2), capMs });
  await phase('updateOneByOne', phases.updateOneByOne, { trace: traces.zipfian(keys, 3), capMs });
  const writes = traces.choices(keys, 0.5, 5);
  await phase('readAndUpdate', phases.readAndUpdate, { trace: traces.zipfian(keys, 4), writes, capMs });
  await phase('readModifyWrite', phases.readModifyWrite, { trace: traces.zipfian(keys, 6), capMs });

  result.memory.rssPeak = process.resourceUsage().maxRSS * 1024;
  result.stats = store.stats?.();
  const closeFrom = performance.now();
  await store.close?.();
  result.closeMs = performance.now() - closeFrom;
  return result;

  async function phase(name, run, input) {
    await settle();
    const measured = async () => {
      const cpuFrom = process.cpuUsage();
      const from = performance.now();
      const { operations, wrong } = await run(store, input);
      const seconds = (performance.now() - from) / 1000;
      const { user, system } = process.cpuUsage(cpuFrom);
      if (wrong > 0 && adapter.answers !== false) throw new Error(`${name}: ${wrong} wrong answers`);
      result.operations[name] = operations;
      result.opsPerSecond[name] = operations / seconds;
      result.cpuUs[name] = (user + system) / operations;
    };
    await (options.profile
      ? profiled(join(options.profile, `${options.peer}-${name}`), measured)
      : measured());
  }
}

/** Every phase starts without garbage of the one before it. */
async function settle() {
  globalThis.gc?.();
  await pause(SETTLE_MS);
  globalThis.gc?.();
}

function heap() {
  const { heapUsed, arrayBuffers, external } = process.memoryUsage();
  return { heapUsed, arrayBuffers, external };
}
