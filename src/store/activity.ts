/**
 * What happens in the background of a store: told to those who listen, and remembered for `stats()`, so that a health
 * check or a metric that looks later learns of it as well.
 */
import type { EnvClock } from '../device/env.js';
import type { KvCheckpointReport } from './checkpointer.js';
import type { KvCompactionReport } from './compaction-report.js';
import type { KvLatencySample } from './latency-sampler.js';

/** Something that failed in the background. */
export interface KvFailure {
  message: string;
  /** Milliseconds since 1970. */
  at: number;
}

interface Payloads {
  error: Error;
  compaction: KvCompactionReport;
  checkpoint: KvCheckpointReport;
  latency: KvLatencySample;
}

type Listeners = { [E in keyof Payloads]: Set<(payload: Payloads[E]) => void> };

export class Activity {
  readonly listeners: Listeners = {
    error: new Set(),
    compaction: new Set(),
    checkpoint: new Set(),
    latency: new Set(),
  };

  // As `stats()` shows them.
  readonly errors = { count: 0, last: undefined as KvFailure | undefined };
  readonly checkpoints = {
    taken: 0,
    last: undefined as KvCheckpointReport | undefined,
    lastAt: undefined as number | undefined,
  };
  readonly compactions = {
    runs: 0,
    lastAt: undefined as number | undefined,
    readBytes: 0,
    copiedRecords: 0,
    copiedBytes: 0,
    droppedRecords: 0,
  };

  constructor(private readonly clock: EnvClock) {}

  failed(error: Error): void {
    this.errors.count++;
    this.errors.last = { message: error.message, at: this.clock.now() };
    this.tell('error', error);
  }

  compacted(report: KvCompactionReport): void {
    const { hot, cold, copiedBytes, copiedRecords } = report;
    const { compactions } = this;
    compactions.runs++;
    compactions.lastAt = this.clock.now();
    compactions.readBytes += hot.truncatedBytes + cold.truncatedBytes;
    compactions.copiedRecords += copiedRecords;
    compactions.copiedBytes += copiedBytes;
    compactions.droppedRecords += hot.droppedRecords + cold.droppedRecords;
    this.tell('compaction', report);
  }

  checkpointed(report: KvCheckpointReport): void {
    this.checkpoints.taken++;
    this.checkpoints.last = report;
    this.checkpoints.lastAt = this.clock.now();
    this.tell('checkpoint', report);
  }

  /**
   * Listeners' own failures are their own affair: what happened is handled the same with and without them. Whoever begins to
   * listen meanwhile is told from the next time on: one that does so whenever it is told would be told without end.
   */
  tell<E extends keyof Payloads>(event: E, payload: Payloads[E]): void {
    const listeners = this.listeners[event];
    for (const listener of [...listeners]) {
      if (!listeners.has(listener)) continue;
      try {
        listener(payload);
      } catch {
        // See above.
      }
    }
  }
}
