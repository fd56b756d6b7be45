/**
 * The parts of an open store, and the few things that every call needs of all of them: is it open, may it write, what
 * are the key's bytes, when is the write acknowledged. The calls themselves are in `key-space.ts`, opening and closing
 * in `kv-store.ts`.
 */
import { KeyCodec, type EncodedKey, type KvKey } from '../codec/key-codec.js';
import { KeyedHash } from '../codec/keyed-hash.js';
import { ValueCodec } from '../codec/value-codec.js';
import type { Device } from '../device/device.js';
import type { EnvClock } from '../device/env.js';
import { KvClosedError, KvDiskError } from '../errors.js';
import type { ColdTier } from '../cold/cold-tier.js';
import { DecodedCache, NEVER, type DecodedEntry } from '../hot/decoded-cache.js';
import type { HashIndex } from '../hot/hash-index.js';
import type { HybridLog } from '../log/hybrid-log.js';
import type { ReadPacer } from '../log/read-pacer.js';
import type { ReadCache } from '../hot/read-cache.js';
import { valueEnd, valueStart } from '../log/record-key.js';
import type { SegmentFiles } from '../log/segment-files.js';
import type { Activity } from './activity.js';
import { isCheckpointName, type Checkpoint } from './checkpoint-file.js';
import { Checkpointer, type CheckpointState } from './checkpointer.js';
import { CompactionScheduler } from './compaction-scheduler.js';
import { Compactor } from './compactor.js';
import type { Dictionary } from './dictionary.js';
import type { GroupCommit } from './group-commit.js';
import type { Health } from './health.js';
import type { Hints } from './hints.js';
import type { HotIndexLoader } from './hot-index-loader.js';
import type { ManifestFile } from './manifest.js';
import type { ResolvedOptions } from './options.js';
import { IndexMender } from './index-mender.js';
import type { LatencySampler } from './latency-sampler.js';
import { ReadPath, type RecordRef } from './read-path.js';
import type { KvOpenReport } from './recovery.js';
import type { Space, Spaces } from './spaces.js';
import { TagHash } from './tags.js';
import type { Versions } from './versions.js';
import { WritePath } from './write-path.js';

export interface StoreParts {
  options: ResolvedOptions;
  device: Device;
  clock: EnvClock;
  manifest: ManifestFile;
  dictionary: Dictionary;
  segments: SegmentFiles;
  index: HashIndex;
  /** Loads what of the index is not in memory yet; missing when it does not come from a checkpoint. */
  loader: HotIndexLoader | undefined;
  log: HybridLog;
  /** Missing on a device that cannot be read back. */
  cold: ColdTier | undefined;
  cache: ReadCache;
  hash: KeyedHash;
  versions: Versions;
  spaces: Spaces;
  health: Health;
  commits: GroupCommit;
  /** Missing where nothing outlives the process, or is written. */
  hints: Hints | undefined;
  opened: KvOpenReport;
  /** The checkpoint that the store was opened with. */
  checkpoint: Checkpoint<CheckpointState> | undefined;
  pacer: ReadPacer;
  activity: Activity;
  onError: (error: Error) => void;
}

/** Compaction that gave too little back is not asked again before so many marks of deletes. */
const USELESS_BYTES = 256 * 1024;

export class StoreCore {
  readonly reads: ReadPath;
  readonly writes: WritePath;
  readonly values: ValueCodec;
  readonly tagHash: TagHash;
  /** Values that are kept decoded; missing unless the option asks for it. */
  readonly decoded: DecodedCache | undefined;
  /** Missing on a device that cannot be read back, which forgets instead, and in a store that was opened to be read. */
  readonly compactor: Compactor | undefined;
  readonly schedule: CompactionScheduler | undefined;
  readonly checkpointer: Checkpointer | undefined;
  /** Missing on a device that cannot be read back. */
  readonly mender: IndexMender | undefined;
  /** Times calls while somebody listens for how long they take. */
  sampler: LatencySampler | undefined;
  /** Goes up with every key that is encoded and every clear: while it stands still, nobody else has written. */
  stamp = 0;
  /** Where the hot log ended when compaction could give too little back. */
  private uselessTail = -Infinity;
  private readonly keys = new KeyCodec();
  private readonly hash: KeyedHash;
  private open = true;

  constructor(readonly parts: StoreParts) {
    const { cache, cold, dictionary, hash, index, log, manifest, versions } = parts;
    const { decodedEntries } = parts.options.readCache;
    this.decoded = decodedEntries > 0 ? new DecodedCache(decodedEntries) : undefined;
    this.hash = hash;
    const { hashKey, tagKey = hashKey } = manifest.current;
    this.tagHash = new TagHash(new KeyedHash(Buffer.from(tagKey, 'hex')));
    this.reads = new ReadPath(index, log, cache, cold, versions);
    this.writes = new WritePath(index, log, this.reads, versions, parts.hints?.rows, parts.health);
    this.values = new ValueCodec(dictionary.structures, (added) => this.addStructures(added));
    if (!cold) return;
    this.mender = new IndexMender({
      cold,
      hash: hash.copy(),
      clock: parts.clock,
      sliceMs: parts.options.compaction.sliceMs,
      assertOpen: () => this.assertOpen(),
      // Where nothing is compacted nothing is appended.
      alone: (work) => (this.compactor ? this.compactor.alone(work) : work()),
      onError: parts.onError,
      onMended: ({ file }) => {
        if (isCheckpointName(file)) this.checkpointer?.damaged();
        else this.checkpointer?.outdated();
      },
    });
    this.reads.mend = () => this.mended();
    parts.pacer.backgroundMs = () => this.backgroundMs;
    if (parts.options.readOnly) return;
    this.checkpointer = new Checkpointer(
      { ...parts, cold, sliceMs: parts.options.compaction.sliceMs },
      parts.checkpoint,
    );
    this.checkpointer.onDone = (report) => parts.activity.checkpointed(report);
    this.compactor = new Compactor({
      ...parts,
      cold,
      checkpointer: this.checkpointer,
      decoded: this.decoded,
      mender: this.mender,
      assertOpen: () => this.assertOpen(),
      reads: this.reads,
      // Its own, because it hashes between two looks of a caller at his key's hash.
      hash: hash.copy(),
      writeAmplification: () => this.writeAmplification,
    });
    this.compactor.onDone = (report) => parts.activity.compacted(report);
    this.schedule = new CompactionScheduler(this.compactor, { ...parts, onFailure: parts.onError });
  }

  /** Milliseconds that background work has taken of the event loop so far. */
  get backgroundMs(): number {
    const { checkpointer, compactor, mender } = this;
    const workers = [checkpointer, compactor, mender, this.parts.cold?.index];
    return workers.reduce((sum, worker) => sum + (worker?.workedMs ?? 0), 0);
  }

  /** Bytes appended to the logs and the cold index since the store was opened. */
  get deviceBytes(): number {
    const { cold, log } = this.parts;
    const coldBytes = cold ? cold.log.log.appendedBytes + cold.index.stats.bytesWritten : 0;
    return log.appendedBytes + coldBytes;
  }

  /** The same for each byte that callers wrote. */
  get writeAmplification(): number {
    const { userBytes } = this.writes;
    return userBytes === 0 ? 0 : this.deviceBytes / userBytes;
  }

  get isOpen(): boolean {
    return this.open;
  }

  /** No call gets past `assertOpen` from now on. */
  shut(): void {
    this.open = false;
  }

  /** @throws KvClosedError */
  assertOpen(): void {
    if (!this.open) throw new KvClosedError(this.parts.options.name);
  }

  /** Resolves once the cold index is whole, as far as it is known not to be. @throws as `IndexMender.mended` */
  async mended(): Promise<void> {
    await this.mender?.mended();
  }

  /** @throws KvClosedError, KvReadOnlyError, KvDiskError, KvOverloadedError */
  assertWritable(): void {
    if (!this.open) throw new KvClosedError(this.parts.options.name);
    this.parts.health.assertWritable();
    if (this.parts.commits.waits) this.parts.commits.assertRoom();
  }

  /** For what leaves nothing but a mark, and room. @throws KvClosedError, KvReadOnlyError, KvDiskError, KvOverloadedError */
  assertRemovable(everything = false): void {
    const { commits, health } = this.parts;
    this.assertOpen();
    health.assertRemovable(everything);
    if (commits.waits) commits.assertRoom();
    if (health.isShort) this.schedule?.soon();
  }

  /** Behind something that may have ended many entries: where room is short, theirs is given back. */
  async giveBack(many = false): Promise<void> {
    const { health, log } = this.parts;
    if (!health.isShort || (!many && log.tail - this.uselessTail < USELESS_BYTES)) return;
    await this.compactor?.run('manual').catch(() => undefined);
    if (health.isShort) this.uselessTail = log.tail;
  }

  /** Encodes and hashes a key; what it returns is overwritten by the next call. Hot path (`npm run bench`). */
  key(space: number, key: KvKey): EncodedKey {
    this.stamp++;
    const encoded = this.keys.encode(space, key);
    this.hash.hash(encoded.words, encoded.length);
    encoded.hashLow = this.hash.low;
    encoded.hashHigh = this.hash.high;
    return encoded;
  }

  /** The value of a record. Hot path (`npm run bench`, reads). */
  decode({ words, bytes, at, value }: RecordRef): unknown {
    return value
      ? this.values.decode(value, 0, value.length)
      : this.values.decode(bytes, valueStart(words, at), valueEnd(words, at));
  }

  /** Whether a value that was kept decoded is still that of its key. Hot path (`npm run bench`, reads). */
  isKeptAlive(kept: DecodedEntry, space: Space): boolean {
    const { attributes, sureSeconds } = kept;
    if (sureSeconds !== NEVER) {
      const now = this.parts.versions.now();
      if (sureSeconds * 1000 <= now && kept.expiresAt <= now) return false;
    }
    return !attributes || !space.tags.areDead(attributes, 0, kept.version, space.id);
  }

  /** The key encoded last. */
  get lastKey(): EncodedKey {
    return this.keys.current;
  }

  /**
   * What a write has to wait for after it is in memory, by the durability level: a promise, or nothing. The write is
   * seen to be committed in time either way.
   */
  acknowledge(): Promise<void> | undefined {
    const { commits } = this.parts;
    if (!commits.waits) return this.slowedDown();
    const slower = this.slowedDown();
    const durable = commits.durable();
    // Together: if one of them fails while the other is waited for, somebody has to be there.
    return slower ? Promise.all([durable, slower]).then(() => undefined) : durable;
  }

  /**
   * After a write: sees to it that it is committed in time. Returns what writers wait for who are too fast for commits or
   * for compaction.
   */
  slowedDown(): Promise<void> | undefined {
    const { commits, log } = this.parts;
    const { schedule } = this;
    const overdue = commits.written();
    const pressed = schedule && log.tail > schedule.limit ? schedule.pressed() : undefined;
    return pressed && overdue ? Promise.all([pressed, overdue]).then(() => undefined) : (pressed ?? overdue);
  }

  /** Number of a namespace. @throws KvOptionsError */
  namespace(name: string): number {
    this.assertOpen();
    return this.enter(() => this.parts.dictionary.namespace(name));
  }

  private addStructures(added: string[][]): void {
    this.enter(() => this.parts.dictionary.addStructures(added));
  }

  /** Enters something into the dictionary; a disk that fails there has failed for all writes. */
  private enter<T>(entry: () => T): T {
    try {
      return entry();
    } catch (error) {
      if (error instanceof KvDiskError) this.parts.health.writeFailed(error);
      throw error;
    }
  }
}
