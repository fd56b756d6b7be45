/**
 * Reads of random records from disk: synchronous, through the thread pool, and by policies in between, with none, some
 * or all of the data in the page cache. The figures behind docs/decisions/0007. Linux with GNU `dd`, which empties the
 * cache of one file without special rights. Needs a build (`npm run build`).
 *
 *   node bench/micro/cold-reads.mjs --policies=sync,pool,pacer --cached=1,0.9,0,zipf --drivers=alone,by64,beside
 *
 * Other options: --mib (size of the file that is not cached), --ms (a run), --rounds, --dir (where the files are made).
 * One run reads little of the file, so the share that is cached stays what it was; `zipf` starts with nothing.
 *
 * By policy, medians of the rounds: reads a second, how many of them synchronous, delay of the event loop (99 % and
 * longest; one timer a millisecond), share of time in which it was busy, turns of whoever else worked in it.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { median } from 'simple-statistics';
import { ReadPacer } from '../../dist/modules/log/read-pacer.js';
import { randomFrom, Traces } from '../harness/traces.mjs';

const RECORD_BYTES = 208;
const SLOT_BYTES = 256;
const PAGE_BYTES = 4096;
const CACHED_MIB = 256;
const IN_FLIGHT = 64;
/** The work of somebody else in each turn of the event loop. */
const OTHER_WORK_MS = 0.05;
/** The resolution of the timer that measures delays. */
const TIMER_MS = 1;

const { values: options } = parseArgs({
  options: {
    policies: {
      type: 'string',
      default: 'sync,pool,budget,slow-pause,pacer,no-wait,pacer-0.25,pacer-1,pacer-2',
    },
    cached: { type: 'string', default: '1,0.99,0.9,0.5,0.1,0,zipf' },
    drivers: { type: 'string', default: 'alone,by64,beside' },
    mib: { type: 'string', default: '1024' },
    ms: { type: 'string', default: '120' },
    rounds: { type: 'string', default: '5' },
    dir: { type: 'string', default: tmpdir() },
  },
});
const runMs = Number(options.ms);

const clock = {
  tick: () => performance.now(),
  turn: () => new Promise((resolve) => setImmediate(resolve)),
};

/** Within a budget a turn, whatever reads cost. */
class BudgetOnly {
  spentMs = 0;
  maySync() {
    return this.spentMs < 1;
  }
  began() {
    this.startMs = clock.tick();
  }
  ended() {
    const before = this.spentMs;
    this.spentMs += clock.tick() - this.startMs;
    if (before < 1 && this.spentMs >= 1) void clock.turn().then(() => (this.spentMs = 0));
  }
  turned() {}
}

/** The same, with a pause after each slow read: 16 reads, doubled when the next one is slow as well. */
class PauseAfterSlow extends BudgetOnly {
  pause = 0;
  next = 16;
  maySync() {
    if (this.pause === 0) return super.maySync();
    this.pause--;
    return false;
  }
  ended() {
    const before = this.spentMs;
    super.ended();
    if (this.spentMs - before > 0.06) {
      this.pause = this.next;
      this.next = Math.min(this.next * 2, 4096);
    } else {
      this.next = 16;
    }
  }
}

const always = (answer) => ({ maySync: () => answer, began() {}, ended() {}, turned() {} });
const pace = { windowMs: 0.5, probeMs: 0.06, poolMs: 0.008, detourMs: 0.03, aloneMs: 0.2, busyMs: 0.05 };
const POLICIES = {
  sync: () => always(true),
  pool: () => always(false),
  budget: () => new BudgetOnly(),
  'slow-pause': () => new PauseAfterSlow(),
  pacer: () => new ReadPacer(clock),
  'pacer-0.25': () => new ReadPacer(clock, { ...pace, windowMs: 0.25 }),
  'pacer-1': () => new ReadPacer(clock, { ...pace, windowMs: 1 }),
  'pacer-2': () => new ReadPacer(clock, { ...pace, windowMs: 2 }),
  'pool-0.006': () => new ReadPacer(clock, { ...pace, poolMs: 0.006 }),
  'pool-0.012': () => new ReadPacer(clock, { ...pace, poolMs: 0.012 }),
  'detour-0.008': () => new ReadPacer(clock, { ...pace, detourMs: 0.008 }),
  'busy-0.1': () => new ReadPacer(clock, { ...pace, busyMs: 0.1 }),
  'never-alone': () => new ReadPacer(clock, { ...pace, aloneMs: 0 }),
  'never-busy': () => new ReadPacer(clock, { ...pace, busyMs: Infinity }),
  'no-wait': () => without(new ReadPacer(clock)),
  'no-wait-1': () => without(new ReadPacer(clock, { ...pace, windowMs: 1 })),
};

function without(pacer) {
  pacer.turned = () => undefined;
  return pacer;
}

/** `get` as the store has it: no promise of its own where the answer is there at once. */
class Reader {
  reads = 0;
  synchronous = 0;
  scratch = Buffer.allocUnsafeSlow(PAGE_BYTES);

  constructor(pacer, nextPlace) {
    this.pacer = pacer;
    this.nextPlace = nextPlace;
  }

  get() {
    const { fd, position } = this.nextPlace();
    this.reads++;
    return this.pacer.maySync() ? Promise.resolve(this.readNow(fd, position)) : this.readLater(fd, position);
  }

  readNow(fd, position) {
    this.pacer.began();
    fs.readSync(fd, this.scratch, 0, RECORD_BYTES, position);
    this.pacer.ended();
    this.synchronous++;
    return this.scratch[0];
  }

  async readLater(fd, position) {
    const turned = this.pacer.turned();
    if (turned) {
      await turned;
      if (this.pacer.maySync()) return this.readNow(fd, position);
    }
    const record = Buffer.allocUnsafe(RECORD_BYTES);
    await new Promise((resolve, reject) => {
      fs.read(fd, record, 0, RECORD_BYTES, position, (error, count) =>
        error ? reject(error) : resolve(count),
      );
    });
    return record[0];
  }
}

const DRIVERS = {
  async alone(reader, endMs) {
    while (performance.now() < endMs) await reader.get();
    return 0;
  },

  async by64(reader, endMs) {
    while (performance.now() < endMs) {
      await Promise.all(Array.from({ length: IN_FLIGHT }, () => reader.get()));
    }
    return 0;
  },

  /** One by one, beside somebody who has work for the event loop in each of its turns. */
  async beside(reader, endMs) {
    let turns = 0;
    const work = () => {
      const workEndMs = performance.now() + OTHER_WORK_MS;
      while (performance.now() < workEndMs);
      turns++;
      if (workEndMs < endMs) setImmediate(work);
    };
    work();
    await DRIVERS.alone(reader, endMs);
    return turns;
  },
};

async function measure(policy, driver, nextPlace) {
  const reader = new Reader(POLICIES[policy](), nextPlace);
  const delays = monitorEventLoopDelay({ resolution: TIMER_MS });
  delays.enable();
  // Its first interval has no start.
  await sleep(4 * TIMER_MS);
  const before = performance.eventLoopUtilization();
  const startMs = performance.now();
  const otherTurns = await DRIVERS[driver](reader, startMs + runMs);
  const seconds = (performance.now() - startMs) / 1000;
  const busy = performance.eventLoopUtilization(before).utilization;
  await sleep(2 * TIMER_MS);
  delays.disable();
  return {
    perSecond: reader.reads / seconds,
    synchronous: reader.synchronous / reader.reads,
    p99Ms: Math.max(delays.percentile(99) / 1e6 - TIMER_MS, 0),
    maxMs: Math.max(delays.max / 1e6 - TIMER_MS, 0),
    busy,
    others: otherTurns / seconds,
  };
}

const dd = (...args) => execFileSync('dd', [...args, 'status=none']);
const intoCache = (path) => dd(`if=${path}`, 'of=/dev/null', 'bs=1M');
const outOfCache = (path) => dd(`if=${path}`, 'iflag=nocache', 'count=0');

function createFile(path, mib) {
  const block = Buffer.alloc(1 << 20, 'a record ');
  const fd = fs.openSync(path, 'w');
  for (let i = 0; i < mib; i++) fs.writeSync(fd, block);
  // Only clean pages leave the cache.
  fs.fsyncSync(fd);
  fs.closeSync(fd);
  return { fd: fs.openSync(path, 'r'), bytes: mib * 2 ** 20 };
}

/** A function that picks the next record: the same object each time, as this is within what is measured. */
function placesOf(cached, cachedFile, coldFile, round) {
  const random = randomFrom(round + 1);
  const place = { fd: coldFile.fd, position: 0 };
  if (cached === 'zipf') {
    let next = 0;
    const trace = zipfian().zipfian(1 << 20, round);
    return () => {
      place.position = trace[next++ & ((1 << 20) - 1)] * PAGE_BYTES;
      return place;
    };
  }
  const share = Number(cached);
  return () => {
    const file = random() < share ? cachedFile : coldFile;
    place.fd = file.fd;
    place.position = Math.floor((random() * file.bytes) / SLOT_BYTES) * SLOT_BYTES;
    return place;
  };
}

let traces;
const zipfian = () => (traces ??= new Traces((Number(options.mib) * 2 ** 20) / PAGE_BYTES, 1));

const directory = fs.mkdtempSync(join(options.dir, 'cold-reads-'));
try {
  const cachedPath = join(directory, 'cached');
  const coldPath = join(directory, 'cold');
  const cachedFile = createFile(cachedPath, CACHED_MIB);
  const coldFile = createFile(coldPath, Number(options.mib));
  intoCache(cachedPath);
  for (const driver of options.drivers.split(',')) {
    for (const cached of options.cached.split(',')) {
      const rows = Object.fromEntries(options.policies.split(',').map((policy) => [policy, []]));
      for (let round = 0; round < Number(options.rounds); round++) {
        for (const [policy, runs] of Object.entries(rows)) {
          outOfCache(coldPath);
          runs.push(await measure(policy, driver, placesOf(cached, cachedFile, coldFile, round)));
        }
      }
      console.log(`${driver}, cached: ${cached}`);
      print(rows);
    }
  }
} finally {
  fs.rmSync(directory, { recursive: true });
}

function print(rows) {
  for (const [policy, runs] of Object.entries(rows)) {
    const of = (name) => median(runs.map((run) => run[name]));
    console.log(
      [
        `  ${policy.padEnd(12)}${(of('perSecond') / 1000).toFixed(1).padStart(7)}k/s`,
        `sync ${(of('synchronous') * 100).toFixed(1).padStart(5)} %`,
        `delay ${of('p99Ms').toFixed(2).padStart(6)} / ${of('maxMs').toFixed(2).padStart(6)} ms`,
        `busy ${(of('busy') * 100).toFixed(0).padStart(3)} %`,
        `others ${of('others').toFixed(0)}/s`,
      ].join('  '),
    );
  }
}
