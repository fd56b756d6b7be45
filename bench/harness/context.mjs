/**
 * What a step of a workload is given: the data set, sizes and traces; a store of the peer; and ways to measure. What was
 * measured gathers in `result`:
 *   ops        operations a second, by phase          cpuUs      processor time of an operation, all threads
 *   latencyUs  by phase: quantiles of single operations   figures    any other number, by name
 *   samples    figures over time
 */
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks';
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { users } from './data.mjs';
import { profiled } from './profile.mjs';
import { Traces } from './traces.mjs';
import { MIB } from './units.mjs';

const SETTLE_MS = 100;
/** Of which latencies are kept: enough of them for a curve with a logarithmic axis. */
export const QUANTILES = [0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1];

export class Context {
  /** @param job `workload`, `step`, `peer`, `directory`, `quick`, `capMs`, `seed`, `profile` */
  constructor(job, workload, adapter) {
    this.job = job;
    this.adapter = adapter;
    this.data = workload.data ?? users;
    this.size = job.quick ? workload.quick : workload.size;
    this.capMs = job.capMs ?? 4000;
    this.result = { ops: {}, operations: {}, cpuUs: {}, latencyUs: {}, figures: {}, samples: [] };
  }

  /** Opens the peer's store in the step's directory. Settings it does not know it ignores. */
  async open(settings) {
    const { keys } = this.size;
    // A path that is not there yet: each of them makes it in its own way.
    const path = join(this.job.directory, 'store');
    this.store = await this.adapter.open(path, { keys, room: keys, data: this.data, ...settings });
    return this.store;
  }

  async close() {
    const from = performance.now();
    await this.store.close?.();
    this.figure('close, ms', performance.now() - from);
  }

  /** Removes the closed store. */
  clear() {
    rmSync(join(this.job.directory, 'store'), { recursive: true, force: true });
  }

  traces(keys) {
    return new Traces(keys, this.job.seed ?? 1);
  }

  /**
   * Measures a phase: `run` is given `capMs` and `latency`.
   * @param options `loopDelay`: whether the delay of the event loop is taken meanwhile
   * @returns how many operations it was
   */
  async phase(name, run, { loopDelay = false } = {}) {
    await this.settle();
    const latency = [];
    const delay = loopDelay ? monitorEventLoopDelay({ resolution: 1 }) : undefined;
    let count = 0;
    const measured = async () => {
      delay?.enable();
      const cpuFrom = process.cpuUsage();
      const from = performance.now();
      const { operations, wrong } = await run({ capMs: this.capMs, latency });
      const seconds = (performance.now() - from) / 1000;
      const { user, system } = process.cpuUsage(cpuFrom);
      delay?.disable();
      if (wrong > 0) this.wrong(name, wrong);
      count = operations;
      this.result.operations[name] = operations;
      this.result.ops[name] = operations / seconds;
      this.result.cpuUs[name] = (user + system) / operations;
    };
    const { profile, peer } = this.job;
    await (profile ? profiled(join(profile, `${peer}-${name}`), measured) : measured());
    if (latency.length > 0) this.result.latencyUs[name] = quantiles(latency);
    if (delay) {
      this.figure('event-loop delay p50, ms', delay.percentile(50) / 1e6);
      this.figure('event-loop delay p99, ms', delay.percentile(99) / 1e6);
      this.figure('event-loop delay max, ms', delay.max / 1e6);
    }
    return count;
  }

  /** A benchmark of wrong answers measures nothing. */
  wrong(name, count = 1) {
    if (this.adapter.answers !== false) throw new Error(`${name}: ${count} wrong answers`);
  }

  figure(name, value) {
    this.result.figures[name] = value;
  }

  sample(values) {
    this.result.samples.push(values);
  }

  /** No phase pays for the garbage of the one before it. */
  async settle() {
    globalThis.gc?.();
    await pause(SETTLE_MS);
    globalThis.gc?.();
  }

  /** Resident memory of this process and of those that the store runs in. */
  residentMib() {
    const others = (this.store?.processes ?? []).map(residentOf);
    return (process.memoryUsage.rss() + others.reduce((sum, bytes) => sum + bytes, 0)) / MIB;
  }

  /** JavaScript heap after a full collection. */
  heapMib() {
    globalThis.gc?.();
    return process.memoryUsage().heapUsed / MIB;
  }

  /** Bytes of disk that the store's files take. */
  diskBytes() {
    return allocatedBytes(join(this.job.directory, 'store'));
  }

  /** Counts the time of garbage collections from now on. */
  collections() {
    let ms = 0;
    const count = (list) => {
      for (const { duration } of list.getEntries()) ms += duration;
    };
    const observer = new PerformanceObserver(count);
    observer.observe({ entryTypes: ['gc'] });
    return {
      stop: async () => {
        // Entries come in the next turns of the event loop.
        await pause(SETTLE_MS);
        count({ getEntries: () => observer.takeRecords() });
        observer.disconnect();
        return ms;
      },
    };
  }

  /** From here on the memory of this process is limited as the step says; resolves once that is in force. */
  async capMemory() {
    if (!process.send) return;
    growYoungGeneration();
    await this.settle();
    const limited = new Promise((resolve) => process.once('message', resolve));
    process.send({ capMemory: true });
    await limited;
  }
}

/**
 * To the size that it has after some seconds of anybody's load, 32 MiB: garbage of callers is no cache of the store's, and
 * must not take the room of one.
 */
function growYoungGeneration() {
  const GARBAGE = 400;
  let kept;
  for (let i = 0; i < GARBAGE; i++) kept = Array.from({ length: 10_000 }, (_, j) => ({ j, k: [j] }));
  return kept.length;
}

function quantiles(latency) {
  const sorted = Float64Array.from(latency).sort();
  return QUANTILES.map((q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]);
}

function residentOf(pid) {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
}

/** Blocks, not lengths: a file may be sparse, or longer than what was written. */
function allocatedBytes(path) {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  if (!stat.isDirectory()) return stat.blocks * 512;
  return readdirSync(path).reduce((sum, name) => sum + allocatedBytes(join(path, name)), 0);
}
