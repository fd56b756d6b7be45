/**
 * Opening a store, step by step: options → device → lock → manifest → dictionary → log scan → index → ready. Whatever
 * fails gives back what was taken, and leaves a directory that is not ours as it was. A store that is opened to be read
 * goes the same way on an overlay, which keeps from the directory whatever recovery changes.
 */
import { KeyedHash } from '../codec/keyed-hash.js';
import type { ColdTier } from '../cold/cold-tier.js';
import type { Device } from '../device/device.js';
import type { Env } from '../device/env.js';
import { FileDevice } from '../device/file-device.js';
import { MemoryDevice } from '../device/memory-device.js';
import { nodeEnv } from '../device/node-env.js';
import { systemError } from '../device/system-error.js';
import { NullDevice } from '../device/null-device.js';
import { OverlayDevice } from '../device/overlay-device.js';
import { KvCorruptionError, KvDiskError, KvFormatError } from '../errors.js';
import { HashIndex } from '../hot/hash-index.js';
import { enterRest } from '../hot/late-rows.js';
import { ReadCache } from '../hot/read-cache.js';
import { NO_ADDRESS } from '../log/address.js';
import { HybridLog } from '../log/hybrid-log.js';
import { ReadPacer } from '../log/read-pacer.js';
import { SegmentFiles } from '../log/segment-files.js';
import { Slices } from '../log/slices.js';
import { Activity } from './activity.js';
import { closeAll } from './close-all.js';
import { checkpointName, isCheckpointName } from './checkpoint-file.js';
import { Dictionary } from './dictionary.js';
import { GroupCommit } from './group-commit.js';
import { Health } from './health.js';
import { forgetCheckpoint, openCheckpoint, type OpenedCheckpoint } from './open-checkpoint.js';
import { COLD_LOG_NAME, openCold } from './open-cold.js';
import { hintName } from './hint-file.js';
import { Hints } from './hints.js';
import { findHints, hintedPoint, takeUpHints } from './open-hints.js';
import { recoveryStart } from './log-point.js';
import {
  DELETED_NAME,
  isManifestName,
  ManifestFile,
  MANIFEST_NAME,
  newManifest,
  readManifest,
  withFeatures,
  writeManifest,
  type Manifest,
} from './manifest.js';
import { removeLeftovers, isOwnName } from './own-files.js';
import { resolveOptions, type KvStoreOptions, type ResolvedOptions } from './options.js';
import { Recovery, type RecoverySink } from './recovery.js';
import { replayHot } from './replay-hot.js';
import { Room } from './room.js';
import { Spaces } from './spaces.js';
import { StoreCore } from './store-core.js';
import { Versions } from './versions.js';

export const HOT_LOG_NAME = 'hot';

/** Bytes after which a commit is made even where nobody asks for one. */
const MAX_UNCOMMITTED = 32 * 1024 * 1024;

/** Memory that neither index nor pages may take: scratch buffers, records on their way from disk. */
const RESERVED_BYTES = 512 * 1024;

/** Milliseconds of a slice of loading behind the opening: reads that come right after it should not wait. */
const LOAD_SLICE_MS = 1;

/** The same before the store is open, when nobody else is waiting for it. */
const OPENING_SLICE_MS = 10;

/** Rows of hints that wait in memory take this share of it at 8 bytes each: a half. Fewer than so many are not worth a limit. */
const HINTED_SHARE = 1 / 16;
const LEAST_ROWS = 1024 * 1024;

/** And as long as the first reads may keep it from beginning. */
const FIRST_READS_MS = 100;

/** However much the cold tier takes, the hot log keeps this share of the memory. */
const LEAST_LOG_SHARE = 3 / 8;

/** Of a log that is only looked at. */
const NO_SINK: RecoverySink = { stage: () => undefined, apply: () => Promise.resolve() };

/** @param more what the manifest of a store says that is created here, beside the usual */
export async function openStore(options: KvStoreOptions, more: Partial<Manifest> = {}): Promise<StoreCore> {
  const resolved = resolveOptions(options);
  const env = options.env ?? nodeEnv;
  const device = deviceFor(resolved, env);
  requireOurs(device, resolved.readOnly);
  await device.lock();
  let dictionary: Dictionary | undefined;
  let segments: SegmentFiles | undefined;
  let lasting: Promise<void> | undefined;
  try {
    requireOurs(device, resolved.readOnly);
    await removeLeftovers(device);
    const existing = readManifest(device);
    const { hot, cold } = resolved;
    const current = existing
      ? withFeatures(existing)
      : { ...newManifest((count) => env.random.bytes(count), hot.segmentSize, cold.segmentSize), ...more };
    // A process that was killed may have put it there without making that durable: before files are removed that only
    // an older one needs, it has to be the one that stays.
    if (existing === current) lasting = device.syncDirectory();
    else await writeManifest(device, current);
    lasting?.catch(() => undefined);
    dictionary = new Dictionary(device, !current.hot.synced && !current.hot.closed);
    segments = new SegmentFiles(
      device,
      HOT_LOG_NAME,
      current.hot.segmentSize,
      current.hot.salt,
      resolved.durability.level === 'always' && !device.volatile,
    );
    const manifest = new ManifestFile(device, current);
    const activity = new Activity(env.clock);
    const opening = { options: resolved, env, device, manifest, dictionary, segments, activity };
    await lasting;
    const core = await recoverOrRebuild(opening);
    const { commits, opened } = core.parts;
    if (!existing) {
      opened.created = true;
      const { commit: synced } = await commits.open();
      // From here on a log that is missing altogether is noticed.
      await manifest.replace((latest) => ({ ...latest, hot: { ...latest.hot, synced } }));
    } else if (!opened.clean) {
      await commits.open();
    }
    tellOfCheckpoint(core, current);
    void loadBehind(core);
    return core;
  } catch (error) {
    await lasting?.catch(() => undefined);
    await closeAll(
      () => segments?.close(),
      () => dictionary?.close(),
      () => device.close(),
    ).catch(() => undefined);
    throw error;
  }
}

/** Resolves when no read from disk is under way, or after some time: under load there is always one. */
async function firstReads({ parts, reads }: StoreCore): Promise<void> {
  let cancel: (() => void) | undefined;
  const late = new Promise<void>((resolve) => {
    cancel = parts.clock.after(FIRST_READS_MS, resolve, true);
  });
  await Promise.race([reads.idle(), late]);
  cancel?.();
}

/** Loads what is not in memory yet of both indexes, behind the opening. Never rejects: of damage its menders tell. */
async function loadBehind(core: StoreCore): Promise<void> {
  const { clock, cold, commits, index, loader, options } = core.parts;
  // Whoever opened the store has his first read before.
  await clock.turn();
  await firstReads(core);
  if (!options.readOnly && core.isOpen) await commits.begin().catch(() => undefined);
  await loader?.loadBehind(index, clock);
  await enterRest(index, new Slices(clock, LOAD_SLICE_MS), () => core.isOpen);
  if (!cold || cold.index.directory.isLoaded) return;
  try {
    await cold.index.directory.loadAll(new Slices(clock, LOAD_SLICE_MS), () => core.isOpen);
    if (core.isOpen) await core.mended();
  } catch {
    // Told by the mender.
  }
}

/**
 * A checkpoint that could not be used may be the first that is seen of a disk that fails. Told when there are listeners, and
 * not by each opening from now on: there is another one at close.
 */
function tellOfCheckpoint({ checkpointer, parts }: StoreCore, { checkpoint }: Manifest): void {
  const { activity, clock, opened } = parts;
  if (checkpoint === undefined || opened.checkpoint !== undefined) return;
  checkpointer?.outdated();
  const error = new KvCorruptionError(
    'The checkpoint is damaged or of another version of this package, or a part of the cold index that it needs is damaged or missing; both indexes were built from the logs',
    checkpointName(checkpoint),
    0,
    {
      remedy: 'Nothing is lost. Unless this package was just replaced by another version, look at the disk.',
    },
  );
  void clock.turn().then(() => activity.failed(error));
}

/** What is kept for compaction, on a device that knows how much it has. */
function roomOn(
  device: Device,
  options: ResolvedOptions,
  hot: HybridLog,
  cold: ColdTier | undefined,
): Room | undefined {
  if (!cold || !device.ownSpace) return undefined;
  const { log } = cold.log;
  return new Room(
    () => device.ownSpace!(),
    () => hot.tail - hot.flushed + log.tail - log.flushed,
    Math.max(options.hot.segmentSize, options.cold.segmentSize),
  );
}

function deviceFor(options: ResolvedOptions, env: Env): Device {
  const device = ownDeviceFor(options, env);
  return options.readOnly ? new OverlayDevice(device) : device;
}

function ownDeviceFor(options: ResolvedOptions, env: Env): Device {
  if (typeof options.device === 'object') return options.device;
  if (options.device === 'memory') return new MemoryDevice(options.memoryLimitBytes, options.compactionBytes);
  if (options.device === 'null') return new NullDevice();
  return new FileDevice(env, options.path as string);
}

/**
 * A directory is ours when it is empty or has our manifest. Names that start with a dot and `lost+found` belong to the
 * file system and those who look after it.
 */
function requireOurs(device: Device, readOnly: boolean): void {
  const names = device.list().filter((name) => !name.startsWith('.') && name !== 'lost+found');
  if (names.includes(MANIFEST_NAME)) {
    // It may be another program's: nothing is created beside it, not even a lock, before it was read.
    readManifest(device);
    return;
  }
  // What an interrupted removal has left is no store any more.
  if (readManifest(device, DELETED_NAME)) {
    if (readOnly) throw nothingToRead(device);
    return;
  }
  // A temporary manifest alone is what an interrupted first opening leaves.
  const others = names.filter((name) => !isManifestName(name));
  if (others.length === 0) {
    if (readOnly) throw nothingToRead(device);
    return;
  }
  if (others.every(isOwnName)) {
    throw new KvCorruptionError('The manifest is missing', MANIFEST_NAME, 0);
  }
  throw new KvFormatError(
    `${device.location} is not a store of nestjs-hotcold and not empty (it holds "${others[0]}"). Choose an empty ` +
      `or missing directory.`,
  );
}

function nothingToRead({ location }: Device): KvDiskError {
  const hint = 'With readOnly a store has to be there: check the path, or open it without readOnly once';
  return new KvDiskError(
    'open',
    location,
    systemError('ENOENT', 'open', `${location}/${MANIFEST_NAME}`),
    hint,
  );
}

interface OpeningParts {
  options: ResolvedOptions;
  env: Env;
  device: Device;
  manifest: ManifestFile;
  dictionary: Dictionary;
  segments: SegmentFiles;
  activity: Activity;
}

/** From the checkpoint, unless a chunk of the cold index turns out to be damaged while the log is replayed behind it. */
async function recoverOrRebuild(parts: OpeningParts): Promise<StoreCore> {
  let damaged = false;
  try {
    return await recover(parts, () => (damaged = true));
  } catch (error) {
    if (!damaged) throw error;
    await giveUpCheckpoint(parts);
    return recover(parts, () => undefined);
  }
}

/**
 * Forgets a checkpoint that cannot be used, if there is one. Even so it tells a salvage what is lost, so it goes only if the
 * store opens without it: the logs are read once more then.
 * @throws KvCorruptionError
 */
async function giveUpCheckpoint({ device, dictionary, manifest, segments }: OpeningParts): Promise<void> {
  const { current } = manifest;
  if (current.checkpoint !== undefined && device.list().some(isCheckpointName)) {
    const { segmentSize, salt } = current.cold;
    const coldSegments = new SegmentFiles(device, COLD_LOG_NAME, segmentSize, salt);
    try {
      await new Recovery(coldSegments, current.cold, NO_SINK).check();
    } finally {
      coldSegments.close();
    }
    const synced = Math.max(current.hot.synced ?? 0, hintedPoint(device, current.storeId)?.commit ?? 0);
    const last = await new Recovery(segments, { ...current.hot, synced }, NO_SINK).check();
    dictionary.require(last?.dictionaryEntries ?? 0);
  }
  await forgetCheckpoint(device, current);
}

async function recover(parts: OpeningParts, onIndexDamage: () => void): Promise<StoreCore> {
  const { options, env, device, manifest, dictionary, segments, activity } = parts;
  const onError = (error: Error) => activity.failed(error);
  const health = new Health(onError, options.readOnly);
  const { current } = manifest;
  const { memory } = env;
  const spaces = new Spaces();
  const { dead } = spaces;
  const hash = new KeyedHash(Buffer.from(current.hashKey, 'hex'));
  const pacer = new ReadPacer(env.clock);
  const coldSegments = new SegmentFiles(device, COLD_LOG_NAME, current.cold.segmentSize, current.cold.salt);
  let cold: ColdTier | undefined;
  let from: OpenedCheckpoint | undefined;
  try {
    from = await openCheckpoint(device, current, segments, coldSegments, onIndexDamage);
    if (!from) await giveUpCheckpoint(parts);
    const { begin } = current.hot;
    const index = from?.hot?.index ?? new HashIndex(options.hot.expectedKeys);
    const found = findHints(device, current.storeId, from?.hot?.start.end ?? begin);
    const maxRows = Math.max(LEAST_ROWS, options.hot.memoryBytes * HINTED_SHARE);
    const slices = new Slices(env.clock, OPENING_SLICE_MS);
    const hinted = await takeUpHints(found, index, begin, maxRows, slices);
    if (from) spaces.restore(from.checkpoint.state.spaces);
    cold = device.retains
      ? await openCold({
          options,
          env,
          device,
          state: current.cold,
          health,
          spaces,
          dead,
          hash,
          pacer,
          segments: coldSegments,
          from: from && { index: from.coldIndex, tier: from.checkpoint.state.tier, start: from.coldStart },
          onIndexDamage,
        })
      : undefined;
    for (const tags of hinted?.tags ?? []) spaces.tags.restore(tags);
    if (hinted) spaces.advance(hinted.spaces);
    const start = hinted ? recoveryStart(segments, current.hot, hinted.hot) : from?.hot?.start;
    const hints =
      cold && !device.volatile && !options.readOnly
        ? new Hints(
            { device, storeId: current.storeId, segments, index, spaces, cold, onError },
            start?.end ?? begin,
            hinted?.commits ?? [],
          )
        : undefined;
    const recovered = await replayHot({
      segments,
      manifest: { ...current.hot, synced: Math.max(current.hot.synced ?? 0, found.synced) },
      hash,
      index,
      spaces,
      cold,
      dead,
      hints,
      hinted,
      start,
    });
    for (const commit of found.useless) await device.remove(hintName(commit));
    // All that is cold is older than any mark in the hot log.
    cold?.died(spaces.clearedColdBytes);
    const { last } = recovered;
    dictionary.require(last?.dictionaryEntries ?? 0);
    const versions = new Versions(env.clock, last?.nextSequence ?? 1, last?.maxTime ?? 0);
    const log = new HybridLog(segments, {
      // A page lies within one segment, and segments keep the size they were created with.
      pageSize: Math.min(options.hot.pageSize, manifest.current.hot.segmentSize),
      memoryBudget: () => {
        const { memoryBytes } = options.hot;
        const pages = memoryBytes - RESERVED_BYTES - index.memoryBytes - spaces.tags.memoryBytes;
        return Math.max(pages - (cold?.uncachedBytes ?? 0), Math.min(pages, memoryBytes * LEAST_LOG_SHARE));
      },
      maxMemory: options.hot.memoryBytes,
      mutableFraction: options.hot.mutableFraction,
      retains: device.retains,
      zero: memory && ((page) => memory.zero(page)),
      giveAway: (page) => index.adopt(page),
      pacer,
      onWriteError: (error) => health.writeFailed(error),
      onPage: () => health.look(),
      begin: manifest.current.hot.begin,
      tail: recovered.tail,
    });
    spaces.tags.opened(log.tail);
    health.room = roomOn(device, options, log, cold);
    const commits = new GroupCommit(
      {
        log,
        segments,
        dictionary,
        versions,
        health,
        hints,
        clock: env.clock,
        coldBegin: () => cold?.log.log.begin ?? NO_ADDRESS,
        maxUncommitted: Math.min(MAX_UNCOMMITTED, options.hot.diskBudget / 8),
      },
      durabilityOn(device, options.durability),
      options.maxBacklog,
      last?.number ?? manifest.current.hot.beginCommit,
      recovered.lastEnd,
    );
    const core = new StoreCore({
      options,
      device,
      clock: env.clock,
      manifest,
      dictionary,
      segments,
      index,
      loader: from?.hot?.loader,
      log,
      cold,
      cache: new ReadCache(options.readCache.memoryBytes),
      hash,
      versions,
      spaces,
      health,
      commits,
      hints,
      checkpoint: from?.checkpoint,
      pacer,
      activity,
      onError,
      opened: {
        ...recovered.report,
        records: (hinted?.records ?? 0) + recovered.report.records + (cold?.recovered ?? 0),
        hinted: hinted?.records ?? 0,
        checkpoint: from?.checkpoint.number,
      },
    });
    from?.directory.serve(options.name);
    from?.hot?.loader.serve({
      name: options.name,
      clock: env.clock,
      segments,
      manifest,
      hash,
      end: recovered.lastEnd,
      onMended: () => core.checkpointer?.damaged(),
      onError,
    });
    return core;
  } catch (error) {
    await closeAll(
      () => from?.hot?.loader.close(),
      () => from?.directory.close(),
      () => cold?.index.close(),
      () => coldSegments.close(),
    ).catch(() => undefined);
    throw error;
  }
}

/** A commit makes everything before it immutable; where it makes nothing durable, that would only make the log grow. */
function durabilityOn(
  device: Device,
  durability: ResolvedOptions['durability'],
): ResolvedOptions['durability'] {
  return device.volatile && durability.level === 'interval'
    ? { ...durability, level: 'checkpoint' }
    : durability;
}
