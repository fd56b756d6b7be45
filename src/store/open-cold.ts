/**
 * Opening the cold tier: its log as of the last complete commit, and an index that is fed with all of it. Leftovers of
 * the index of an earlier life are removed by the index itself.
 */
import type { KeyedHash } from '../codec/keyed-hash.js';
import { ColdIndex, type ColdIndexImage } from '../cold/cold-index.js';
import { ColdLog } from '../cold/cold-log.js';
import { ColdTier, type ColdTierState } from '../cold/cold-tier.js';
import type { Device } from '../device/device.js';
import type { Env } from '../device/env.js';
import { KvDiskError } from '../errors.js';
import type { LogAddress } from '../log/address.js';
import { ReadPacer } from '../log/read-pacer.js';
import { KIND_MASK, KIND_TOMBSTONE } from '../log/record.js';
import { type SegmentFiles } from '../log/segment-files.js';
import { Slices } from '../log/slices.js';
import type { DeadHashes } from './dead-hashes.js';
import type { Health } from './health.js';
import type { LogManifest } from './manifest.js';
import type { ResolvedOptions } from './options.js';
import { Recovery, type RecoveryStart } from './recovery.js';
import type { Spaces } from './spaces.js';
import { StagedRecords, type StagedRecord } from './staged-records.js';

export const COLD_LOG_NAME = 'cold';

/** While a store is opened nobody else is waiting for it: longer slices than in operation. */
const SLICE_MS = 10;

export interface ColdParts {
  options: ResolvedOptions;
  env: Env;
  device: Device;
  state: LogManifest;
  health: Health;
  spaces: Spaces;
  /** Told of the records. */
  dead: DeadHashes;
  hash: KeyedHash;
  pacer: ReadPacer;
  segments: SegmentFiles;
  /** What a checkpoint has of the tier. */
  from?: { index: ColdIndexImage; tier: ColdTierState; start: RecoveryStart | undefined } | undefined;
  /** Told when a chunk of the index is damaged. */
  onIndexDamage: () => void;
}

/** @throws KvCorruptionError, KvDiskError */
export async function openCold(parts: ColdParts): Promise<ColdTier> {
  const { options, env, device, state, health, spaces, dead, hash, pacer, segments, from, onIndexDamage } =
    parts;
  let tier: ColdTier | undefined;
  try {
    const pageSize = Math.min(options.cold.pageSize, state.segmentSize);
    // A full disk ends a compaction, and no more than that.
    const onWriteError = (error: unknown) => {
      if (!(error instanceof KvDiskError && error.full)) health.writeFailed(error);
    };
    const newIndex = (coldBegin: () => LogAddress): ColdIndex => {
      const cacheBytes = options.cold.indexCacheBytes;
      const { segmentSize, salt } = state;
      return new ColdIndex({
        device,
        pageSize,
        segmentSize,
        salt,
        cacheBytes,
        pacer,
        flushPacer: new ReadPacer(env.clock),
        coldBegin,
        clock: env.clock,
        onWriteError,
        onDamage: onIndexDamage,
        image: from?.index,
      });
    };
    tier = new ColdTier(state.begin, newIndex, () => env.clock.now());
    if (from) tier.restore(from.tier);
    const enter = entering(tier, spaces, dead, new Slices(env.clock, SLICE_MS));
    const sink = new StagedRecords(hash, spaces, enter);
    const recovered = await new Recovery(segments, state, sink, from?.start).run();
    tier.log = new ColdLog(segments, {
      pageSize,
      pacer,
      onWriteError,
      begin: state.begin,
      tail: recovered.tail,
      commit: recovered.last?.number ?? state.beginCommit,
      lastEnd: recovered.lastEnd,
    });
    tier.recovered = recovered.report.records;
    return tier;
  } catch (error) {
    await tier?.index.close().catch(() => undefined);
    throw error;
  }
}

function entering(
  tier: ColdTier,
  spaces: Spaces,
  dead: DeadHashes,
  slices: Slices,
): (record: StagedRecord) => Promise<void> | undefined {
  return ({ low, high, address, bytes, flags, space, expiresAt, isCleared }) => {
    const wasKey = !dead.has(low) && tier.index.mayHold(low, high);
    tier.enter(low, high, address, bytes, flags, expiresAt);
    const entered = spaces.get(space);
    const isKey = (flags & KIND_MASK) !== KIND_TOMBSTONE && !isCleared;
    dead.note(low, isKey);
    if (isCleared) spaces.clearedColdBytes += bytes;
    else entered.coldBytes += bytes;
    if (isKey) entered.keys += wasKey ? 0 : 1;
    else if (wasKey && !isCleared && entered.keys > 0) entered.keys--;
    return tier.index.full ? tier.index.flush(slices) : undefined;
  };
}
