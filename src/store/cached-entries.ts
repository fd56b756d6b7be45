/**
 * `getOrSet`: a key space used as a cache. What is there is answered; what is not is made by a factory, once for all who
 * wait for the same key, and kept. An entry with a stale window outlives its expiry: within the window it may be answered
 * while it is made anew, or when that fails.
 *
 * A run of a factory may have read what was changed since. So its result is not kept if, after the run began, the key
 * was written or deleted, its space cleared, or one of its tags invalidated; and who calls after that does not join it.
 */
import type { EncodedKey, KvKey } from '../codec/key-codec.js';
import { KvOverloadedError } from '../errors.js';
import { attributesStart, makeAttributes, shapeOf, staleMsOf } from '../log/attributes.js';
import { ExtentList } from '../log/extents.js';
import { expiryOf, FLAG_ATTRIBUTES, FLAG_EXTENTS, KIND_MASK, KIND_VALUE } from '../log/record.js';
import { CachePlan, type KvCacheFailure, type KvGetOrSetOptions } from './cache-options.js';
import type { LookUp } from './look-up.js';
import { FROM_DECODED, IN_MEMORY, NOTHING, WAIT, type RecordRef } from './read-path.js';
import { isOvertaken, type Run } from './runs.js';
import { checkFunction } from './set-options.js';
import type { Space } from './spaces.js';
import type { StoreCore } from './store-core.js';

/** An entry that may be answered. */
export interface CachedEntry {
  value: unknown;
  /** Milliseconds since it expired, negative as long as it has not. */
  lateMs: number;
  /** Where it was found: an index of `ReadPath.hits`. */
  source: number;
}

/** What is written of a value. Throws where the value cannot be kept. */
export type Snapshot = () => { bytes: Uint8Array; ttlMs: number; tags: readonly string[] };

type Factory = () => unknown;

/** How late an entry is that may not be answered at all. */
const GONE = Infinity;

const NO_BYTES = new Uint8Array(0);

export class CachedEntries {
  constructor(
    private readonly core: StoreCore,
    private readonly space: Space,
    private readonly lookUp: LookUp,
    private readonly defaultTtlMs: number,
  ) {}

  /**
   * See `KeySpace.getOrSet`. Hot path (`npm run bench`, decorators): a hit in memory waits for nothing, and makes one
   * promise.
   */
  call(key: KvKey, factory: Factory, options: KvGetOrSetOptions | undefined): Promise<unknown> {
    try {
      checkFunction('factory', factory);
      let found: CachedEntry | typeof NOTHING | typeof WAIT;
      try {
        found = this.look(key, options?.version ?? 0, true);
        if (typeof found === 'object' && found.lateMs < 0) {
          (options as Partial<CachePlan> | undefined)?.hooks?.outcome('hits');
          return Promise.resolve(found.value);
        }
      } catch (error) {
        if (!options?.onError) throw error;
        // Throws again if it is the key.
        this.core.key(this.space.id, key);
        this.tell(error, 'read', options);
        found = NOTHING;
        this.core.key(this.space.id, key);
      }
      const plan = CachePlan.of(options);
      const encoded = this.core.lastKey.copy();
      if (found === WAIT) return this.later(key, encoded, factory, plan);
      return this.answer(found === NOTHING ? undefined : found, key, encoded, factory, plan);
    } catch (error) {
      if (!(options instanceof CachePlan && options.onError)) return Promise.reject(asError(error));
      // It is the key that cannot be used.
      this.tell(error, 'read', options);
      return (async () => factory())();
    }
  }

  /** A fresh entry, as far as memory tells; `undefined` when there is none. */
  peek(key: KvKey, version: number): CachedEntry | undefined {
    const found = this.look(key, version, false);
    return typeof found === 'object' && found.lateMs < 0 ? found : undefined;
  }

  /** An entry that is fresh or in its stale window, wherever it lies. */
  async get(key: KvKey, plan: CachePlan): Promise<CachedEntry | undefined> {
    const found = this.look(key, plan.version, true);
    const entry = found === WAIT ? await this.load(this.core.lastKey.copy(), plan) : found;
    return entry === NOTHING ? undefined : entry;
  }

  /** Something is about to be made that will be offered to `keep`. */
  begin(key: KvKey, plan: CachePlan): Run {
    return this.beginRun(this.core.key(this.space.id, key).copy(), plan);
  }

  /** A stale entry was answered: until then it is neither found nor missing. */
  answered({ lateMs, source }: CachedEntry): void {
    if (lateMs >= 0) this.core.reads.hits[source]++;
  }

  /** Nothing was found that could be answered, and nobody counts that otherwise. */
  missed(): void {
    this.core.reads.misses++;
  }

  end(run: Run): void {
    this.space.runs.end(run);
  }

  /** Keeps a value in the place of what is there, and of what the runs under way will bring. Otherwise as `keep`. */
  put(key: KvKey, value: unknown, plan: CachePlan, snapshot?: Snapshot): Promise<boolean | undefined> {
    const run = this.beginRun(this.core.key(this.space.id, key).copy(), plan, true);
    return this.keep(run, key, value, plan, snapshot);
  }

  /** Of a value that others get, who may change it, before it is known whether it is to be kept. Does not throw itself. */
  snapshot(value: unknown, plan: CachePlan): Snapshot {
    try {
      const ttlMs = this.ttlOf(value, plan);
      const tags = ttlMs > 0 ? [...plan.tagsOf(value)] : [];
      const bytes = ttlMs > 0 ? this.encoded(value, plan) : NO_BYTES;
      return () => ({ bytes, ttlMs, tags });
    } catch (error) {
      return () => {
        throw error;
      };
    }
  }

  /**
   * Keeps what a run has made, unless it may be older than what was said of the key since; ends the run.
   * @param snapshot of the value, where others had it before
   * @returns whether it did; `undefined` where it is not to be kept at all
   * @throws KvEncodingError, KvOptionsError, KvReadOnlyError, KvDiskError, KvClosedError
   */
  async keep(
    run: Run,
    key: KvKey,
    value: unknown,
    plan: CachePlan,
    snapshot?: Snapshot,
  ): Promise<boolean | undefined> {
    let isKept: boolean | undefined;
    try {
      isKept = await this.write(run, key, value, plan, snapshot);
    } finally {
      this.end(run);
    }
    if (!isKept) return isKept;
    const durable = this.core.acknowledge();
    if (plan.onError) durable?.catch((error: unknown) => this.tell(error, 'write', plan));
    else await durable;
    return true;
  }

  /** @param further whether to look beyond memory where nobody has to wait */
  private look(key: KvKey, shape: number, further: boolean): CachedEntry | typeof NOTHING | typeof WAIT {
    const { core, space } = this;
    core.assertOpen();
    const { decoded, reads } = core;
    if (decoded) {
      const kept = space.decoded.get(key);
      const keptShape = kept?.attributes ? shapeOf(kept.attributes) : 0;
      if (kept && keptShape === shape && core.isKeptAlive(kept, space)) {
        if (!kept.used) kept.used = true;
        reads.hits[FROM_DECODED]++;
        return { value: kept.value, lateMs: -1, source: FROM_DECODED };
      }
    }
    const encoded = core.key(space.id, key);
    if (reads.find(encoded) !== IN_MEMORY) {
      const where = further ? reads.tryFurther(encoded) : reads.findCached(encoded) ? IN_MEMORY : NOTHING;
      if (where === NOTHING || where === WAIT) return where;
    }
    const { words, at } = reads;
    const lateMs = this.lateness(words, at, shape);
    if (lateMs === GONE) return NOTHING;
    const record: RecordRef = { words, bytes: reads.bytes, at };
    if ((words[at + 1] & FLAG_EXTENTS) !== 0) {
      if (reads.where === IN_MEMORY) record.value = new ExtentList(words, at).gather(core.parts.log);
      if (!record.value) return further ? WAIT : NOTHING;
    }
    const value = core.decode(record);
    if (lateMs < 0) {
      reads.hits[reads.source]++;
      if (decoded) decoded.keep(space.decoded, key, value, record);
    } else decoded?.share(value);
    return { value, lateMs, source: reads.source };
  }

  private async later(key: KvKey, encoded: EncodedKey, factory: Factory, plan: CachePlan): Promise<unknown> {
    let found: CachedEntry | undefined;
    try {
      found = await this.load(encoded, plan);
    } catch (error) {
      if (!plan.onError) throw error;
      this.tell(error, 'read', plan);
    }
    return this.answer(found, key, encoded, factory, plan);
  }

  private async load(encoded: EncodedKey, plan: CachePlan): Promise<CachedEntry | undefined> {
    const { reads, decoded } = this.core;
    const loading = reads.load(encoded);
    const loaded = await (plan.timeoutMs === Infinity ? loading : this.inTime(loading, plan));
    if (!loaded?.record) return undefined;
    const { words, at } = loaded.record;
    const lateMs = this.lateness(words, at, plan.version);
    if (lateMs === GONE) return undefined;
    if (lateMs < 0) reads.hits[loaded.source]++;
    const value = this.core.decode(loaded.record);
    decoded?.share(value);
    return { value, lateMs, source: loaded.source };
  }

  /** Resolves to nothing when it takes too long. */
  private async inTime<T>(loading: Promise<T>, plan: CachePlan): Promise<T | undefined> {
    let stop: () => void = () => undefined;
    const tooLate = new Promise<undefined>((resolve) => {
      stop = this.core.parts.clock.after(plan.timeoutMs, () => {
        const error = new KvOverloadedError(`The store did not answer within ${plan.timeoutMs} ms.`);
        if (plan.onError) this.tell(error, 'read', plan);
        resolve(undefined);
      });
    });
    // If it fails later, nobody waits for it any more.
    loading.catch(() => undefined);
    try {
      return await Promise.race([loading, tooLate]);
    } finally {
      stop();
    }
  }

  private answer(
    found: CachedEntry | undefined,
    key: KvKey,
    encoded: EncodedKey,
    factory: Factory,
    plan: CachePlan,
  ): Promise<unknown> {
    const { hooks } = plan;
    if (found && found.lateMs < 0) {
      hooks?.outcome('hits');
      return Promise.resolve(found.value);
    }
    const running = this.joinable(encoded, plan);
    if (found && found.lateMs < plan.revalidateMs) {
      hooks?.outcome('hits');
      this.answered(found);
      // Who began a run hears of its failure, once.
      if (!running)
        this.start(key, encoded, factory, plan).catch((error: unknown) => this.tell(error, 'refresh', plan));
      return Promise.resolve(found.value);
    }
    if (!running) this.core.reads.misses++;
    hooks?.outcome(running ? 'shared' : 'misses');
    const result = running ? this.join(running, factory, plan) : this.start(key, encoded, factory, plan);
    if (!found || found.lateMs >= plan.ifErrorMs) return result;
    return result.catch((error: unknown) => {
      if (!running) this.tell(error, 'refresh', plan);
      return found.value;
    });
  }

  /** Whether the result of a run is as good as that of one that begins now. */
  isCurrent({ cancelled, since }: Run): boolean {
    const { clearedBelow, tags } = this.space;
    return !cancelled && since >= Math.max(clearedBelow, tags.lastVersion);
  }

  private joinable(encoded: EncodedKey, plan: CachePlan): Promise<unknown> | undefined {
    const run = this.space.runs.of(encoded, plan.hooks, plan.version);
    return run && this.isCurrent(run) ? run.result : undefined;
  }

  private join(result: Promise<unknown>, factory: Factory, { hooks }: CachePlan): Promise<unknown> {
    return hooks ? result.then((value) => (hooks.shares(value) ? value : factory())) : result;
  }

  private start(key: KvKey, encoded: EncodedKey, factory: Factory, plan: CachePlan): Promise<unknown> {
    const run = this.beginRun(encoded, plan);
    return (run.result = this.make(run, key, factory, plan));
  }

  private beginRun(encoded: EncodedKey, { hooks, version }: CachePlan, isPut = false): Run {
    return this.space.runs.begin(encoded, this.core.parts.versions.last, hooks, version, isPut);
  }

  private async make(run: Run, key: KvKey, factory: Factory, plan: CachePlan): Promise<unknown> {
    let value: unknown;
    try {
      value = await factory();
    } catch (error) {
      this.end(run);
      throw error;
    }
    const kept = this.keep(run, key, value, plan);
    if (plan.onError) kept.catch((error: unknown) => this.tell(error, 'write', plan));
    else await kept;
    return value;
  }

  /** Writes what a run has made. Resolves as `keep`. */
  private async write(
    run: Run,
    key: KvKey,
    value: unknown,
    plan: CachePlan,
    snapshot: Snapshot | undefined,
  ): Promise<boolean | undefined> {
    const { core, lookUp, space } = this;
    if (value === undefined ? !plan.cacheUndefined : plan.hooks?.keeps(value) === false) return undefined;
    const taken = snapshot?.();
    const ttlMs = taken ? taken.ttlMs : this.ttlOf(value, plan);
    if (ttlMs <= 0) return undefined;
    const expiresAt = this.core.parts.versions.expiryIn(ttlMs * (1 - plan.jitter * this.chance(run.key)));
    const attributes = this.attributes(taken ? taken.tags : plan.tagsOf(value), expiresAt, plan);
    let copy = taken?.bytes;
    for (;;) {
      core.assertWritable();
      if (this.isOutdated(run, attributes)) return false;
      const looked = lookUp.seenOrDamaged(run.key);
      if (looked instanceof Promise && !copy) {
        // Nobody waits for it where the value cannot be encoded.
        looked.catch(() => undefined);
        // Whose value it is may change it meanwhile.
        copy = this.encoded(value, plan);
      }
      const seen = looked instanceof Promise ? await looked : looked;
      core.assertWritable();
      if (isOvertaken(run, seen.version) || this.isOutdated(run, attributes)) return false;
      if (!copy) core.values.encode(value, plan.cacheUndefined);
      if (core.decoded) space.decoded.delete(key);
      if (!lookUp.isSame(run.key, seen)) continue;
      const { bytes, start, end } = copy ? { bytes: copy, start: 0, end: copy.length } : core.values;
      const version = core.writes.upsert(space, run.key, bytes, start, end, expiresAt, attributes);
      space.runs.kept(run, version, seen.version);
      core.stamp++;
      return true;
    }
  }

  private ttlOf(value: unknown, plan: CachePlan): number {
    return plan.ttlOf(value) ?? this.defaultTtlMs;
  }

  private encoded(value: unknown, plan: CachePlan): Uint8Array {
    const { values } = this.core;
    values.encode(value, plan.cacheUndefined);
    return values.copy();
  }

  private isOutdated({ cancelled, since }: Run, attributes: Int32Array | undefined): boolean {
    const { clearedBelow, id, tags } = this.space;
    if (cancelled || clearedBelow > since) return true;
    // Marks that were forgotten since could have been of any tag.
    return attributes !== undefined && (tags.forgotten > since || tags.areDead(attributes, 0, since, id));
  }

  private attributes(tags: readonly string[], expiresAt: number, plan: CachePlan): Int32Array | undefined {
    const staleMs = expiresAt === Infinity ? 0 : Math.max(plan.revalidateMs, plan.ifErrorMs);
    if (tags.length === 0 && staleMs === 0 && plan.version === 0) return undefined;
    return makeAttributes(this.core.tagHash.hashes(tags), Math.ceil(staleMs), plan.version);
  }

  /** From 0 to 1, another one for each key and time: the hash is keyed, so nobody can tell beforehand. */
  private chance({ hashLow }: EncodedKey): number {
    return (Math.imul(hashLow ^ this.core.parts.versions.last, 0x9e3779b1) >>> 0) / 2 ** 32;
  }

  /** How late a record is, in milliseconds; negative for one that is alive, `GONE` for one that is of no use. */
  private lateness(words: Int32Array, at: number, shape: number): number {
    const flags = words[at + 1];
    if ((flags & KIND_MASK) !== KIND_VALUE || !this.space.isValid(words, at)) return GONE;
    const expiresAt = expiryOf(words, at);
    const lateMs = expiresAt === Infinity ? -1 : this.core.parts.versions.now() - expiresAt;
    if ((flags & FLAG_ATTRIBUTES) === 0) return shape === 0 && lateMs < 0 ? lateMs : GONE;
    const attributes = attributesStart(words, at);
    const isOfUse = shapeOf(words, attributes) === shape && lateMs < staleMsOf(words, attributes);
    return isOfUse ? lateMs : GONE;
  }

  /** Mostly behind the back of the caller, where nobody would catch what `onError` throws. */
  private tell(error: unknown, during: KvCacheFailure, { onError }: KvGetOrSetOptions): void {
    let untold = error;
    try {
      if (onError) return onError(error, during);
    } catch (thrown) {
      untold = thrown;
    }
    this.core.parts.onError(asError(untold));
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
