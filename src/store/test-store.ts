/**
 * Stores for the tests of an application: in memory, gone with the process, on a clock that the test moves. Nothing of one
 * keeps a process alive, closed or not: its timers are the clock's.
 */
import type { EnvClock } from '../device/env.js';
import { nodeEnv } from '../device/node-env.js';
import { KvOptionsError } from '../errors.js';
import { isObject, notAnObject, unknownOption } from './option-problems.js';
import { OPTION_NAMES, parseDuration, type KvDuration, type KvStoreOptions } from './options.js';

/** 2026-01-01T00:00:00Z */
const START_MS = 1_767_225_600_000;

interface Timer {
  dueMs: number;
  callback: () => void;
}

/**
 * A clock that stands still until it is advanced. TTLs follow it, and so do the store's timers.
 *
 * @example
 * const clock = new KvTestClock();
 * const store = await KvStore.open(kvTestingOptions({ clock }));
 * await store.set('session', 'ada', { ttl: '30m' });
 * clock.advance('31m');
 * await store.get('session'); // undefined
 */
export class KvTestClock implements EnvClock {
  private passedMs = 0;
  private readonly timers = new Set<Timer>();
  private readonly startMs: number;

  /** @param start what it shows at first: a date, or milliseconds since 1970; default 2026-01-01T00:00:00Z */
  constructor(start: Date | number = START_MS) {
    this.startMs = Number(start);
    if (!Number.isFinite(this.startMs))
      throw new KvOptionsError([{ path: 'start', problem: 'must be a date, or milliseconds since 1970' }]);
  }

  /** What it shows, in milliseconds since 1970. */
  now(): number {
    return this.startMs + this.passedMs;
  }

  tick(): number {
    return this.passedMs;
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { dueMs: this.passedMs + Math.max(ms, 0), callback };
    this.timers.add(timer);
    return () => {
      this.timers.delete(timer);
    };
  }

  turn(): Promise<void> {
    return nodeEnv.clock.turn();
  }

  /**
   * Lets time pass, and fires the timers that are due on the way, each at its time.
   *
   * @param duration milliseconds, or text like `'10m'`
   * @throws KvOptionsError when it is no duration
   */
  advance(duration: KvDuration): void {
    const ms = parseDuration(duration);
    if (ms === undefined)
      throw new KvOptionsError([
        { path: 'duration', problem: "must be milliseconds from 0, or text like '10m'" },
      ]);
    const endMs = this.passedMs + ms;
    for (let next; (next = this.nextTimer(endMs));) {
      this.timers.delete(next);
      this.passedMs = next.dueMs;
      next.callback();
    }
    this.passedMs = endMs;
  }

  /** The earliest one; of two that are due at once, the one that was set first. */
  private nextTimer(untilMs: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.timers)
      if (timer.dueMs <= untilMs && (!next || timer.dueMs < next.dueMs)) next = timer;
    return next;
  }
}

/** The options of a store in a test: those of any store, without what decides where it lies. */
export interface KvTestingOptions extends Omit<
  KvStoreOptions,
  'path' | 'device' | 'readOnly' | 'deleteOnClose' | 'env'
> {
  /** The clock that its TTLs follow. Default: one of its own, which stands still. */
  clock?: KvTestClock;
}

const NOT_FOR_TESTS = ['path', 'device', 'readOnly', 'deleteOnClose', 'env', 'store'];

/**
 * Options of a store in memory that follows `clock`, without compaction in the background unless that is asked for. For
 * `KvStore.open`, or in the place of an application's own options: `overrideProvider(KV_MODULE_OPTIONS)`.
 *
 * @throws KvOptionsError for options that there are not, or that would put the store elsewhere
 */
export function kvTestingOptions(options: KvTestingOptions = {}): KvStoreOptions {
  if (!isObject(options))
    throw new KvOptionsError([{ path: 'options', problem: notAnObject(options, '{ clock }') }]);
  const { clock = new KvTestClock(), ...rest } = options;
  const problems = NOT_FOR_TESTS.filter((name) => name in rest).map((path) => ({
    path,
    problem: 'is not for a store in a test, which is in memory; use KvModule.forRoot() or KvStore.open()',
  }));
  const known = ['clock', ...OPTION_NAMES];
  for (const path of Object.keys(rest))
    if (!known.includes(path) && !NOT_FOR_TESTS.includes(path))
      problems.push({ path, problem: unknownOption(path, known) });
  if (!(clock instanceof KvTestClock)) problems.push({ path: 'clock', problem: 'must be a KvTestClock' });
  if (problems.length > 0) throw new KvOptionsError(problems);
  return { compaction: false, ...rest, device: 'memory', env: { ...nodeEnv, clock } };
}
