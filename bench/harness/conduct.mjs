/**
 * Has workloads measured: workload after workload, round after round, and in each round the peers in turn
 * (A B C A B C …), each step in a fresh process. Peers and steps that cannot run here are left out with a reason, and one
 * that fails does not end the others. A signal ends the run, with what there is until then.
 */
import { fork, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SingleBar } from 'cli-progress';
import { dropFromPageCache, MemoryCap, unavailable as capUnavailable } from './memory-cap.mjs';
import { WORKLOADS } from '../workloads/index.mjs';

const CHILD = fileURLToPath(new URL('../child.mjs', import.meta.url));
const FIRST_READ = fileURLToPath(new URL('../first-read.mjs', import.meta.url));
/** Objects of ten million users on the heap take some 5 GiB. */
const NODE_FLAGS = ['--expose-gc', '--max-old-space-size=12288'];
const LONGEST_STEP_MS = 60 * 60_000;
const SIGNALS = ['SIGINT', 'SIGTERM'];

/** The process that measures now. */
let running;

/**
 * @param settings `workloads` (names), `rounds`, `peers` (names, or undefined for all), `quick`, `capMs`, `seed`,
 *   `directory` (where stores are made)
 * @param afterWorkload is given what there is so far whenever a workload is done
 * @returns `runs`, one for each workload, round and peer, and `skipped`: who did not run, and why
 */
export async function conduct(settings, afterWorkload) {
  const skipped = [];
  const jobs = await jobsOf(settings, skipped);
  for (const { what, why } of skipped) process.stderr.write(`Skipped: ${what}: ${why}\n`);
  const bar = new SingleBar({
    format: '{bar} {value}/{total}  {workload}, round {round}  {peer}: {step}  {duration_formatted}',
    noTTYOutput: true,
    notTTYSchedule: 30_000,
  });
  bar.start(jobs.length, 0, { workload: '', round: 1, peer: '', step: '' });
  const base = mkdtempSync(join(settings.directory ?? tmpdir(), 'hotcold-bench-'));
  const runs = new Map();
  const lost = new Set();
  let ended = false;
  const end = () => {
    ended = true;
    running?.kill('SIGKILL');
  };
  for (const signal of SIGNALS) process.on(signal, end);
  try {
    for (const [i, job] of jobs.entries()) {
      if (ended) break;
      const { workload, round, peer, step } = job;
      bar.update({ workload, round, peer, step });
      const id = `${workload}-${peer}`;
      const directory = join(base, job.shared ? id : `${id}-${round}`);
      // What failed once has nothing to go on with.
      if (!lost.has(directory)) {
        try {
          const measured = await measure({ ...job, directory });
          const runId = `${workload}-${round}-${peer}`;
          merge(runs, runId, { workload, round, peer, loadAverage: loadavg()[0] }, measured);
        } catch (error) {
          lost.add(directory);
          skipped.push({ what: `${workload}, ${peer}, round ${round}`, why: error.message, failed: true });
        }
      }
      if (job.last) rmSync(directory, { recursive: true, force: true });
      bar.increment();
      if (workload !== jobs[i + 1]?.workload) await afterWorkload?.({ runs: [...runs.values()], skipped });
    }
  } finally {
    for (const signal of SIGNALS) process.removeListener(signal, end);
    bar.stop();
    rmSync(base, { recursive: true, force: true });
  }
  return { runs: [...runs.values()], skipped };
}

async function jobsOf({ workloads, rounds, peers, quick, capMs, seed }, skipped) {
  const capReason = workloads.some((name) => stepsOf(name).some(([, { cap }]) => cap))
    ? capUnavailable()
    : undefined;
  const reasons = new Map();
  const jobs = [];
  for (const workload of workloads) {
    const { peers: all, rounds: most = rounds } = WORKLOADS[workload];
    const usable = [];
    for (const peer of all.filter((name) => peers === undefined || peers.includes(name))) {
      if (!reasons.has(peer)) reasons.set(peer, await reasonAgainst(peer));
      if (reasons.get(peer) === undefined) usable.push(peer);
    }
    const steps = [];
    for (const step of stepsOf(workload)) {
      if (step[1].cap && capReason) skipped.push({ what: `${workload}: ${step[0]}`, why: capReason });
      else steps.push(step);
    }
    // What was prepared once is used by all rounds.
    const shared = steps.some(([, { once }]) => once);
    const lastRound = Math.min(rounds, most);
    for (let round = 1; round <= lastRound; round++)
      for (const peer of usable)
        for (const [step, { once }] of steps) {
          if (once && round > 1) continue;
          const last = step === steps.at(-1)[0] && (!shared || round === lastRound);
          jobs.push({ workload, round, peer, step, quick, capMs, seed, shared, last });
        }
  }
  for (const [peer, why] of reasons) if (why) skipped.push({ what: peer, why });
  return jobs;
}

const stepsOf = (workload) => Object.entries(WORKLOADS[workload].steps);

/** Why a peer cannot be measured here, if it cannot. */
async function reasonAgainst(peer) {
  try {
    const adapter = await import(`../adapters/${peer}.mjs`);
    return adapter.unavailable?.();
  } catch (error) {
    return `cannot be loaded (npm run bench:install): ${error.message.split('\n')[0]}`;
  }
}

function measure(job) {
  const { firstRead } = WORKLOADS[job.workload].steps[job.step];
  mkdirSync(job.directory, { recursive: true });
  return firstRead ? firstReads(job, firstRead) : step(job);
}

/** Resolves to what the process sent. */
async function step(job) {
  const { cap, env } = WORKLOADS[job.workload].steps[job.step];
  if (cap) dropFromPageCache(job.directory);
  const group = cap && new MemoryCap(job.peer);
  const child = fork(CHILD, [JSON.stringify(job)], {
    execArgv: NODE_FLAGS,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  running = child;
  try {
    group?.add(child.pid);
    return await new Promise((resolve, reject) => {
      let result;
      let said = '';
      const tooLong = setTimeout(() => child.kill('SIGKILL'), LONGEST_STEP_MS);
      child.stderr.on('data', (text) => (said = (said + text).slice(-2000)));
      child.on('message', (message) => {
        if (message.result) result = message.result;
        if (message.capMemory) {
          group?.limit(cap);
          child.send('limited');
        }
      });
      child.on('close', (code, signal) => {
        clearTimeout(tooLong);
        if (result) resolve(result);
        else reject(new Error(`${job.step} ended with ${signal ?? code}: ${errorIn(said)}`));
      });
    });
  } finally {
    group?.remove();
  }
}

/** The line of the error in what Node prints when one is not caught. */
function errorIn(text) {
  return /^\w*Error.*$/m.exec(text)?.[0] ?? text.trim().split('\n').at(-1);
}

/** From the start of a process to the first byte that it prints. */
async function firstReads(job, count) {
  const { size, quick } = WORKLOADS[job.workload];
  const { keys } = job.quick ? quick : size;
  const argument = JSON.stringify({ peer: job.peer, directory: join(job.directory, 'store'), keys });
  const times = [];
  for (let i = 0; i < count; i++) times.push(await firstReadOf(argument));
  return { figures: { 'first read, ms': times.sort((a, b) => a - b)[count >> 1] } };
}

function firstReadOf(argument) {
  const from = performance.now();
  const child = spawn(process.execPath, [FIRST_READ, argument], { stdio: ['ignore', 'pipe', 'pipe'] });
  running = child;
  return new Promise((resolve, reject) => {
    let ms = 0;
    let answer = '';
    let said = '';
    child.stderr.on('data', (text) => (said += text));
    child.stdout.on('data', (text) => {
      ms ||= performance.now() - from;
      answer += text;
    });
    child.on('close', () => {
      if (answer === 'right') resolve(ms);
      else reject(new Error(`first read: ${answer || errorIn(said)}`));
    });
  });
}

function merge(runs, id, about, measured) {
  const run = runs.get(id) ?? {
    ...about,
    ops: {},
    operations: {},
    cpuUs: {},
    latencyUs: {},
    figures: {},
    samples: [],
  };
  for (const [kind, values] of Object.entries(measured)) {
    if (Array.isArray(values)) run[kind].push(...values);
    else Object.assign(run[kind], values);
  }
  runs.set(id, run);
}
