/**
 * The public class of the engine: opening and closing, namespaces, and what concerns the whole store. The calls on keys
 * come from `KeySpace`.
 */
import { KeySpace } from './key-space.js';
import type { KvDiskSpace } from '../device/device.js';
import { KvOptionsError, KvReadOnlyError } from '../errors.js';
import { clearSpace, invalidateTags } from './clear-marks.js';
import { closeAll } from './close-all.js';
import { checkFunction, checkNames, type KvTtlOptions } from './set-options.js';
import type { KvFlushReport } from './group-commit.js';
import { INSPECT, type Inspect } from './inspect.js';
import { parseTtl, type KvStoreOptions } from './options.js';
import { openStore } from './open-store.js';
import { LatencySampler, type KvLatencySample } from './latency-sampler.js';
import { removeStore } from './own-files.js';
import type { KvOpenReport } from './recovery.js';
import { statsOf, type KvStats } from './stats.js';
import type { StoreCore } from './store-core.js';
import type { KvCheckpointReport } from './checkpointer.js';
import type { KvCompactionReport } from './compaction-report.js';
import type { KvCompactOptions } from './compactor.js';
import type { KvSalvageOptions, KvSalvageReport } from './repair/salvage.js';
import type { KvVerifyOptions, KvVerifyReport } from './repair/verify.js';

/** A key space of its own within a store; made by `KvStore.namespace`. */
export class KvNamespace<V = unknown> extends KeySpace<V> {
  /** @internal */
  constructor(
    core: StoreCore,
    /** Name of the namespace. */
    readonly name: string,
    defaultTtlMs: number,
  ) {
    super(core, core.namespace(name), defaultTtlMs);
  }

  /** @internal */
  [INSPECT](_depth: number, options: object, inspect: Inspect): string {
    return `KvNamespace ${inspect({ name: this.name, store: this.core.parts.options.name }, options)}`;
  }
}

/** Loaded when it is called for: few are, and an opening of a million keys takes longer by 2 ms with it (decision 14). */
const repair = () => import('./repair/index.js');

const NAMESPACE_OPTIONS = ['ttl'];
const COMPACT_OPTIONS = ['full', 'signal'];
const VERIFY_OPTIONS = ['signal'];

/** Events of a store and what their listeners get. */
export interface KvStoreEvents {
  /** Something failed in the background: a commit could not be written. Also told by `stats().failure`. */
  error: Error;
  /** A compaction has ended that had something to do. */
  compaction: KvCompactionReport;
  /** A checkpoint was taken. */
  checkpoint: KvCheckpointReport;
  /** How long a call took: one in 127 of each operation. Calls are timed only while somebody listens. */
  latency: KvLatencySample;
}

/**
 * An embedded key-value store in a directory.
 *
 * @example
 * const store = await KvStore.open({ path: './data' });
 * await store.set('greeting', 'hello');
 * await store.close();
 */
export class KvStore extends KeySpace {
  private closing: Promise<void> | undefined;

  private constructor(core: StoreCore) {
    super(core, 0, Infinity);
  }

  /**
   * Opens a store; a missing directory is created, unless it is opened with `readOnly`.
   *
   * @throws KvOptionsError when the options are not usable, with every problem
   * @throws KvLockedError when the directory is open already (several may have it open with `readOnly`)
   * @throws KvFormatError when it holds another program's files or a later format
   * @throws KvCorruptionError when bytes that were safely stored are damaged
   * @throws KvDiskError when the directory cannot be created, read or written, or there is none to be read
   */
  static async open(options: KvStoreOptions = {}): Promise<KvStore> {
    const store = await KvStore.openIdle(options);
    store.startCompaction();
    return store;
  }

  /** Like `open`, with the schedule of compaction still standing. @internal */
  static async openIdle(options: KvStoreOptions = {}): Promise<KvStore> {
    return new KvStore(await openStore(options));
  }

  /**
   * Copies everything that is intact in a damaged store into a new one, and says what is lost and what may be older than
   * it was: after a `KvCorruptionError`, where there is no backup. Nothing in `from` is changed. What is copied keeps its
   * version and its expiry. If it fails, or is ended by `signal`, nothing is left in `to`.
   *
   * @param from directory of the damaged store, which nobody has open to write; the right to read it is enough
   * @param to directory of the new store, empty or missing
   * @param options `hot` and `cold` for the new store (segment sizes are fixed from then on), `signal`
   * @throws KvOptionsError when the paths or options are not usable
   * @throws KvFormatError when `from` is no store, or one of another format, or `to` is not empty
   * @throws KvLockedError when `from` is open to write
   * @throws KvCorruptionError when the manifest is lost: nothing can be read without it
   * @throws KvDiskError when `from` may not be read, its manifest cannot, or the new store cannot be written
   * @throws KvReadOnlyError when the new store cannot be written
   * @example
   * const { keys, doubtful, lost } = await KvStore.salvage('./data', './salvaged');
   */
  static async salvage(from: string, to: string, options: KvSalvageOptions = {}): Promise<KvSalvageReport> {
    const { salvage } = await repair();
    return salvage(from, to, options, async (storeOptions, more) => {
      const store = new KvStore(await openStore(storeOptions, more));
      store.startCompaction();
      return { core: store.core, close: () => store.close() };
    });
  }

  /** Starts the schedule of compaction, unless the option `compaction` is `false`. `open` does so by itself. */
  startCompaction(): void {
    this.core.assertOpen();
    this.core.schedule?.start();
  }

  /** Stops the schedule; a run that is under way ends at its next safe point. Resolves when it has. */
  async stopCompaction(): Promise<void> {
    await this.core.schedule?.stop();
  }

  /** Name of the store, as given in the options. */
  get name(): string {
    return this.core.parts.options.name;
  }

  /** What opening found on disk: whether the last stop was clean, and what was dropped if not. */
  get opened(): KvOpenReport {
    return this.core.parts.opened;
  }

  /** Whether the store takes calls: `false` from the moment `close()` is called. */
  get isOpen(): boolean {
    return this.core.isOpen;
  }

  /** Whether nothing of the store outlives the process: it is in memory, or on a device that forgets. */
  get isVolatile(): boolean {
    return this.core.parts.device.volatile;
  }

  /**
   * A key space of its own, with the same calls. Cheap; the same name is the same space, also after a restart.
   *
   * @param name any text of 1 to 512 bytes
   * @param options `ttl`: for entries that are set without one
   * @throws KvOptionsError when the name or an option is none
   * @example
   * const users = store.namespace<User>('users', { ttl: '10m' });
   */
  namespace<V = unknown>(name: string, options: KvTtlOptions = {}): KvNamespace<V> {
    checkNames(options, NAMESPACE_OPTIONS, "{ ttl: '10m' }");
    const ttlMs = options.ttl === undefined ? Infinity : parseTtl(options.ttl);
    return new KvNamespace<V>(this.core, name, ttlMs);
  }

  /** Deletes every key of the store, those of all namespaces included, in one step. */
  override async clear(): Promise<void> {
    await clearSpace(this.core, undefined);
  }

  /** Invalidates tags in the whole store, the entries of all namespaces included. See `KeySpace.invalidateTags`. */
  override async invalidateTags(...tags: string[]): Promise<void> {
    await invalidateTags(this.core, tags, undefined);
  }

  /**
   * Resolves once everything written before the call is on stable storage, at every durability level.
   *
   * @throws KvReadOnlyError, KvDiskError when it could not be written
   */
  async flush(): Promise<KvFlushReport> {
    this.core.assertOpen();
    return this.core.parts.commits.flush();
  }

  /**
   * Moves what is not in memory any more from the hot to the cold tier, and rewrites the cold log where too much of it is
   * garbage. Works beside reads and writes, in slices. If a compaction is under way already, the call joins it; a `full`
   * one follows it, if it is not full itself. A `signal` ends the run that its caller began.
   *
   * @returns what the compaction did; `aborted` if a signal or the end of the store cut it short
   * @throws KvOptionsError when there is no such option
   * @throws KvCorruptionError when it met damage: nothing behind it was given up
   * @throws KvReadOnlyError, KvDiskError when the disk refused; nothing is lost
   * @example
   * const { bytesBefore, bytesAfter } = await store.compact({ full: true });
   */
  async compact(options: KvCompactOptions = {}): Promise<KvCompactionReport> {
    this.core.assertOpen();
    this.core.parts.health.assertSound();
    checkNames(options, COMPACT_OPTIONS, '{ full: true }');
    const { compactor } = this.core;
    if (!compactor)
      throw new KvReadOnlyError("There is nothing to compact on the 'null' device: it forgets.");
    return compactor.run('manual', options);
  }

  /**
   * Writes both indexes beside the logs, so that the next opening reads them instead of the logs; and makes everything
   * durable that was written before. Works beside reads and writes, in slices, and waits for a compaction that is under
   * way; if a checkpoint is waited for or under way already, the call joins it. Checkpoints are taken at close and by
   * amount of log, too: a call is for whoever wants a fast restart after a crash at a certain moment.
   *
   * @throws KvReadOnlyError, KvDiskError when the disk refused: the checkpoint before stays in force
   * @throws KvCorruptionError when an index is damaged and cannot be made anew from the logs
   * @example
   * const { bytes, tookMs } = await store.checkpoint();
   */
  async checkpoint(): Promise<KvCheckpointReport> {
    this.core.assertWritable();
    const { compactor, parts } = this.core;
    if (!compactor)
      throw new KvReadOnlyError(
        "There is nothing to write a checkpoint on with the 'null' device: it forgets.",
      );
    // One that is under way need not have everything that was written before the call.
    const [report] = await Promise.all([compactor.checkpoint(), parts.commits.commit()]);
    return report;
  }

  /**
   * Reads everything that is on the device and reports every damage: logs with their checksums and commits, large values,
   * manifest, dictionary, checkpoint, hints, and whether the indexes lead to every record. Works beside reads, writes and
   * compaction, in slices and bounded memory; what was written before the call is committed first. Damage does not make
   * it fail. Chunks of the cold index that cannot be read are made anew at once; where an index is wrong in another way, the
   * next opening builds both anew.
   *
   * @param options `signal` ends the run; the report says `aborted` then
   * @throws KvOptionsError when there is no such option
   * @throws KvClosedError when the store is closed, also meanwhile
   * @example
   * const { ok, damages } = await store.verify();
   * for (const { file, address, keysAffected } of damages) console.error(file, address, keysAffected);
   */
  async verify(options: KvVerifyOptions = {}): Promise<KvVerifyReport> {
    this.core.assertOpen();
    checkNames(options, VERIFY_OPTIONS, '{ signal }');
    const { verify } = await repair();
    this.core.assertOpen();
    return verify(this.core, options);
  }

  /** Counters since the store was opened, and sizes as of now. */
  stats(): KvStats {
    return statsOf(this.core);
  }

  /**
   * How much room the disk has, of the file system that the directory lies on; of a memory device, what `memoryLimit` leaves.
   *
   * @returns `undefined` where nobody can tell: on the null device, or an own one without `space`
   * @throws KvClosedError, KvDiskError
   * @example
   * const space = await store.diskSpace();
   * if (space && space.freeBytes < 1e9) console.warn('less than a gigabyte left');
   */
  async diskSpace(): Promise<KvDiskSpace | undefined> {
    this.core.assertOpen();
    return this.core.parts.device.space?.();
  }

  /**
   * Listens to what happens in the background, or to how long calls take. Returns a function that ends it; a listener that
   * was given twice is called twice, and each of the functions ends one.
   */
  on<E extends keyof KvStoreEvents>(event: E, listener: (payload: KvStoreEvents[E]) => void): () => void {
    const { activity, clock } = this.core.parts;
    if (!Object.hasOwn(activity.listeners, event))
      throw new KvOptionsError([{ path: event, problem: 'is not an event of a store' }]);
    checkFunction('listener', listener);
    const listeners = activity.listeners[event] as Set<(payload: KvStoreEvents[E]) => void>;
    const own = (payload: KvStoreEvents[E]): void => listener(payload);
    listeners.add(own);
    if (event === 'latency')
      this.core.sampler ??= new LatencySampler(clock, (sample) => activity.tell('latency', sample));
    return () => {
      listeners.delete(own);
      if (activity.listeners.latency.size === 0) this.core.sampler = undefined;
    };
  }

  /**
   * Commits what was written, and gives the directory back; with the option `deleteOnClose`, empty. Reads under way finish;
   * later calls, and changes that still wait for a read from disk, reject with `KvClosedError`.
   * Closing again is harmless.
   *
   * @throws KvReadOnlyError, KvDiskError when the last writes could not be made durable, or files not be removed; the store
   *   is closed all the same
   */
  close(): Promise<void> {
    return (this.closing ??= this.shutDown());
  }

  /** `await using store = await KvStore.open(...)` closes it at the end of the block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @internal */
  [INSPECT](_depth: number, options: object, inspect: Inspect): string {
    return `KvStore ${inspect(this.summary(), options)}`;
  }

  /** What a person wants to know at first. @internal */
  summary() {
    const { name, isOpen } = this;
    return { name, location: this.core.parts.device.location, isOpen, keys: this.stats().keys };
  }

  /** So that the next opening is fast. Nothing is lost without it. */
  private async lastCheckpoint(): Promise<void> {
    const { checkpointer, parts } = this.core;
    if (!checkpointer?.isWorthIt) return;
    try {
      await checkpointer.take();
    } catch (error) {
      // A failure that lasts was told by whoever noticed it.
      if (!parts.health.failure) parts.onError(error as Error);
    }
  }

  private async shutDown(): Promise<void> {
    const { cold, commits, device, dictionary, hints, loader, options, segments } = this.core.parts;
    const { deleteOnClose, readOnly } = options;
    this.core.shut();
    loader?.stop();
    try {
      await this.core.schedule?.stop();
      await this.core.mender?.idle();
      await this.core.reads.idle();
      // Whoever waits for a commit gets an answer; that it failed is nobody's concern where nothing is kept.
      if (deleteOnClose) await commits.close().catch(() => undefined);
      else if (!readOnly) await this.keep();
    } finally {
      await closeAll(
        () => hints?.close(),
        () => loader?.close(),
        () => segments.close(),
        () => cold?.close(),
        () => dictionary.close(),
        () => (deleteOnClose ? removeStore(device) : undefined),
        () => device.close({ remove: deleteOnClose }),
      );
    }
  }

  /** Makes the last writes durable, and says in the manifest that they are. */
  private async keep(): Promise<void> {
    const { cold, commits, dictionary, manifest, segments } = this.core.parts;
    const closed = await commits.close();
    segments.trim(closed.tail);
    await dictionary.mend();
    await this.core.compactor?.settle();
    await this.lastCheckpoint();
    await manifest.replace((current) => ({
      ...current,
      hot: { ...current.hot, closed },
      cold: cold ? { ...current.cold, closed: cold.log.synced } : current.cold,
    }));
  }
}
