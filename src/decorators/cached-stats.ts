/**
 * What became of the calls of cached methods: counters, and the log of those that had to run uncached because
 * something failed. Counted for each store and in sum; logged once a minute at the most for each store (for each class
 * where there is no store), because a store that is down fails with every call.
 */
import { Logger } from '@nestjs/common';
import { nodeEnv } from '../device/node-env.js';

/** Counters of cached methods since the process started. */
export interface KvCachedStats {
  /** Calls answered from the store. */
  hits: number;
  /** Calls for which the method ran, and its result was offered to the store. */
  misses: number;
  /** Calls that got the result of a run that another call had started. */
  shared: number;
  /** Store calls and keys that failed; the method ran uncached, or its result was not kept. */
  failures: number;
}

const LOG_EVERY_MS = 60_000;

const none = (): KvCachedStats => ({ hits: 0, misses: 0, shared: 0, failures: 0 });

const total = none();
const ofStore = new WeakMap<object, KvCachedStats>();

function statsOf(store: object): KvCachedStats {
  let stats = ofStore.get(store);
  if (!stats) {
    stats = none();
    ofStore.set(store, stats);
  }
  return stats;
}

/** Counts one event of a cached method. */
export function count(store: object | undefined, event: keyof KvCachedStats): void {
  total[event]++;
  if (store) statsOf(store)[event]++;
}

/** Counts the events of one store's cached methods. Hot path (`npm run bench:cached`): the store is looked up once. */
export function counterOf(store: object): (event: keyof KvCachedStats) => void {
  const stats = statsOf(store);
  return (event) => {
    // By name, which V8 makes two memory accesses of.
    if (event === 'hits') {
      total.hits++;
      stats.hits++;
      return;
    }
    total[event]++;
    stats[event]++;
  };
}

/**
 * What became of the calls of `@Cached` methods since the process started.
 *
 * @param store the `KvStoreService` whose methods to count; without it, all stores and calls without a store together
 * @returns a copy
 * @example
 * const { hits, misses } = getCachedStats(kv);
 */
export function getCachedStats(store?: object): KvCachedStats {
  return { ...(store ? (ofStore.get(store) ?? none()) : total) };
}

/** A decorated method, as messages name it. */
export interface NamedMethod {
  /** With its `@`: whose name the log has the message under. */
  decorator: string;
  label: string;
}

function warn({ decorator }: NamedMethod, message: string): void {
  new Logger(decorator.slice(1)).warn(message);
}

const logs = new WeakMap<object, { lastMs: number; suppressed: number }>();

/**
 * Counts a failure and logs it, unless one was logged within the last minute.
 *
 * @param owner what the limit holds for: the store, or the class where there is none
 */
export function reportFailure(
  store: object | undefined,
  owner: object,
  method: NamedMethod,
  error: unknown,
): void {
  count(store, 'failures');
  const nowMs = nodeEnv.clock.now();
  const log = logs.get(owner);
  // A clock that was set back must not silence the log.
  if (log && nowMs >= log.lastMs && nowMs < log.lastMs + LOG_EVERY_MS) {
    log.suppressed++;
    return;
  }
  const more = log?.suppressed ? ` (${log.suppressed} more since the last message)` : '';
  logs.set(owner, { lastMs: nowMs, suppressed: 0 });
  const reason = error instanceof Error ? error.message : String(error);
  const { decorator, label } = method;
  const what = decorator === '@Cached' ? `${label} runs uncached` : `${decorator} on ${label} failed`;
  warn(method, `${what}: ${reason}${more}`);
}

const warned = new WeakSet<object>();

/** Logs something about a method that is worth one line in its life. */
export function warnOnce(method: NamedMethod, message: string): void {
  if (warned.has(method)) return;
  warned.add(method);
  warn(method, message);
}
