/**
 * Who compacts when: one run at a time per store, and nothing else that needs the cold log to itself beside it. Whoever
 * asks for a run while there is one joins it, or follows it; checkpoints and mending come between two. What a run does is
 * in `CompactionRun`; when the schedule asks for one, in `CompactionScheduler`.
 */
import { ReadBuffer } from '../log/log-cursor.js';
import { Slices } from '../log/slices.js';
import type { KvCheckpointReport } from './checkpointer.js';
import type { KvCompactionReason, KvCompactionReport } from './compaction-report.js';
import {
  CompactionRun,
  hotShareOf,
  type CompactionRunParts,
  type CompactionTools,
} from './compaction-run.js';
import { DurableSteps, type DurableStepsParts } from './durable-steps.js';

export interface KvCompactOptions {
  /**
   * Everything: the hot log is moved whole, what is in memory included, and the cold log is rewritten whole if it has any
   * garbage. Without it, what is in memory stays hot, and the cold log is rewritten where `cold.garbageShare` asks.
   */
  full?: boolean;
  /** Ends the run at the next safe point; what was done until then stays done. */
  signal?: AbortSignal;
}

export interface CompactorParts extends CompactionRunParts, DurableStepsParts {
  /** @throws KvClosedError */
  assertOpen: () => void;
}

export class Compactor {
  /** Told of each run that has ended. */
  onDone: (report: KvCompactionReport) => void = () => undefined;
  /** Told when a run begins and ends, and between of the bytes it went through, each time before it waits. */
  onBegin: () => void = () => undefined;
  onProgress: (log: 'hot' | 'cold', bytes: number) => void = () => undefined;
  onEnd: () => void = () => undefined;
  running: Promise<KvCompactionReport> | undefined;
  private runningFull = false;
  /** A run that begins when the one under way has ended. */
  private following: Promise<KvCompactionReport> | undefined;
  private followingOptions: KvCompactOptions = {};
  /** What the last run did that had something to do. */
  last: KvCompactionReport | undefined;
  /** Why a log cannot be compacted. */
  readonly damage: CompactionTools['damage'] = {};
  /** The run under way, once nothing holds it up. */
  private current: CompactionRun | undefined;
  private readonly tools: CompactionTools;
  /** A checkpoint between two runs, and when it is really being taken. */
  private checkpointing: Promise<KvCheckpointReport> | undefined;
  private pause: Promise<unknown> | undefined;
  private abort = new AbortController();
  /** Whether writers wait for it. */
  holdsWriters = false;
  /** Whether a caller waits for the run under way. */
  private runningAwaited = false;
  /** End of the hot log when a slice began last. */
  private lastTail = 0;

  constructor(private readonly parts: CompactorParts) {
    const slices = new Slices(parts.clock, parts.options.compaction.sliceMs, () => this.isAwaited());
    this.tools = {
      slices,
      steps: new DurableSteps(parts, slices),
      buffer: new ReadBuffer(),
      aheadBuffer: new ReadBuffer(),
      damage: this.damage,
    };
  }

  /** How much of what it may have the hot log has: above 1 is too much. */
  get hotShare(): number {
    return hotShareOf(this.parts);
  }

  /** Whether somebody waits: who writes now would have to sooner. */
  private isAwaited(): boolean {
    const { tail } = this.parts.log;
    const isWritten = tail !== this.lastTail;
    this.lastTail = tail;
    // A full disk refuses writers until something is given back.
    const isFull = this.parts.health.full !== undefined;
    return isWritten || this.holdsWriters || this.runningAwaited || this.pause !== undefined || isFull;
  }

  /** Least milliseconds of one slice: more, when writers who do not wait are faster than compaction. */
  set leastMs(ms: number) {
    this.tools.slices.leastMs = ms;
  }

  /** Milliseconds of the event loop that runs have taken, in slices. */
  get workedMs(): number {
    return this.tools.slices.workedMs;
  }

  /** How far the run under way has come, 0 to 1. */
  get progress(): number | undefined {
    return this.running && (this.current?.progress ?? 0);
  }

  /**
   * Starts a run, or joins the one that is under way; a full one is not content with less, and follows it. So does one that is
   * called for where room is short: what it is to give back may have been deleted behind the back of the other.
   */
  run(reason: KvCompactionReason, options: KvCompactOptions = {}): Promise<KvCompactionReport> {
    this.runningAwaited ||= reason === 'manual';
    const isShort = reason === 'manual' && this.parts.health.isShort;
    if (this.running && (isShort || (options.full && !this.runningFull))) {
      if (!this.following || options.full) this.followingOptions = options;
      this.following ??= this.running
        .catch(() => undefined)
        .then(() => {
          this.following = undefined;
          return this.run(reason, this.followingOptions);
        });
      return this.following;
    }
    this.runningFull ||= options.full === true;
    this.running ??= this.begin(reason, options).finally(() => {
      this.running = undefined;
      this.current = undefined;
      this.runningFull = false;
      this.runningAwaited = false;
      this.parts.health.gaveBack();
      this.onEnd();
    });
    return this.running;
  }

  /**
   * Takes a checkpoint between two runs, or joins the one that is about to be taken.
   * @throws KvClosedError, KvReadOnlyError, KvDiskError
   */
  checkpoint(): Promise<KvCheckpointReport> {
    return (this.checkpointing ??= this.checkpointBetween().finally(() => (this.checkpointing = undefined)));
  }

  private async checkpointBetween(): Promise<KvCheckpointReport> {
    const { checkpointer, cold, mender } = this.parts;
    const { slices } = this.tools;
    return this.alone(async () => {
      slices.restart();
      await cold.index.directory.loadAll(slices);
      await mender.run();
      return checkpointer.take();
    });
  }

  /** Works between two runs: nothing is appended to the cold log meanwhile, and what is there is committed. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    for (let ends; (ends = this.following ?? this.running ?? this.pause);) {
      this.runningAwaited = this.running !== undefined;
      await ends.catch(() => undefined);
    }
    // Nothing is waited for from here on until `pause` is set: a run that began now would not know of it.
    this.parts.assertOpen();
    const done = this.settle().then(work);
    this.pause = done.catch(() => undefined).finally(() => (this.pause = undefined));
    return done;
  }

  /** Ends the run that is under way at its next safe point; resolves when it has ended. */
  async stop(): Promise<void> {
    this.abort.abort();
    await this.ended();
    this.abort = new AbortController();
  }

  private async ended(): Promise<void> {
    for (;;) {
      const ends = this.following ?? this.running ?? this.pause;
      if (!ends) return;
      this.runningAwaited = this.running !== undefined;
      await ends.catch(() => undefined);
    }
  }

  /** See `DurableSteps.settle`. */
  settle(): Promise<void> {
    return this.tools.steps.settle();
  }

  private async begin(
    reason: KvCompactionReason,
    { full = false, signal }: KvCompactOptions,
  ): Promise<KvCompactionReport> {
    while (this.pause) await this.pause;
    const mayGoOn = () => !this.abort.signal.aborted && !signal?.aborted;
    const run = new CompactionRun(this.parts, this.tools, reason, full, mayGoOn, (log, bytes) =>
      this.onProgress(log, bytes),
    );
    this.current = run;
    this.onBegin();
    const report = await run.run();
    if (report.hot.records + report.cold.records > 0) {
      this.last = report;
      this.onDone(report);
    }
    return report;
  }
}
