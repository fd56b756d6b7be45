/** From single rounds to what is recorded: medians by peer, ratios to lmdb and lru-cache, floors, and the machine. */
import { existsSync, readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { max, median, min } from 'simple-statistics';
import { floorsOf } from './floors.mjs';
import { MIB } from './units.mjs';
import { rawDataBytes } from './workload.mjs';

const RATIOS_TO = ['lmdb', 'lru-cache'];

export async function summary(settings, runs) {
  const medians = {};
  for (const peer of settings.peers) medians[peer] = mediansOf(runs.filter((run) => run.peer === peer));
  const ratios = {};
  for (const base of RATIOS_TO.filter((name) => medians[name])) ratios[base] = ratiosTo(medians, base);
  const loads = runs.map((run) => run.loadAverage);
  const data = rawDataBytes(settings.keys);
  return {
    date: new Date().toISOString().slice(0, 10),
    ...settings,
    machine: {
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      cores: cpus().length,
      memoryMib: Math.round(totalmem() / MIB),
      platform: `${process.platform} ${process.arch}`,
      node: process.version,
    },
    loadAverage: { from: min(loads), to: max(loads) },
    versions: await versionsOf(settings.peers),
    rawDataBytes: data,
    medians,
    ratios,
    floors: floorsOf(medians, data),
    runs,
  };
}

function mediansOf(runs) {
  const of = (figure) => median(runs.map(figure));
  const ops = {};
  const cpuUs = {};
  for (const phase of Object.keys(runs[0].opsPerSecond)) {
    ops[phase] = of((run) => run.opsPerSecond[phase]);
    cpuUs[phase] = of((run) => run.cpuUs[phase]);
  }
  return {
    ops,
    cpuUs,
    loopDelayP99Ms: of((run) => run.loopDelayMs.p99),
    loopDelayMaxMs: of((run) => run.loopDelayMs.max),
    rssAfterLoad: of((run) => run.memory.rssAfterLoad),
    rssSettled: of((run) => run.memory.rssSettled),
    rssPeak: of((run) => run.memory.rssPeak),
    flushAfterLoadMs: of((run) => run.flushAfterLoadMs),
    closeMs: of((run) => run.closeMs),
  };
}

function ratiosTo(medians, base) {
  const ratios = {};
  for (const [peer, { ops }] of Object.entries(medians)) {
    ratios[peer] = {};
    for (const phase of Object.keys(ops)) ratios[peer][phase] = ops[phase] / medians[base].ops[phase];
  }
  return ratios;
}

async function versionsOf(peers) {
  const versions = {};
  for (const peer of peers) {
    if (peer === 'ours') versions[peer] = versionIn(new URL('../package.json', import.meta.url));
    const { packageName = peer } = await adapterOf(peer);
    const manifest = new URL(`../node_modules/${packageName}/package.json`, import.meta.url);
    if (existsSync(manifest)) versions[peer] = versionIn(manifest);
  }
  return versions;
}

/** `map` and `empty` come with Node and with the harness: there is no package of that name among the dependencies. */
function adapterOf(peer) {
  return import(`./adapters/${peer}.mjs`);
}

function versionIn(manifest) {
  return JSON.parse(readFileSync(manifest, 'utf8')).version;
}
