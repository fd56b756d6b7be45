/**
 * What compaction makes durable, in the order in which nothing can be lost at any point (docs/architecture.md has what
 * each step would break elsewhere):
 *
 *   cold log synced → cold index knows the new addresses (from the append on) → hot log committed, so that what covers
 *   the records that were left behind is durable as well → manifest with the new begin → hot index entries below it
 *   dropped → segments unlinked
 */
import type { ColdTier } from '../cold/cold-tier.js';
import type { EnvClock } from '../device/env.js';
import type { DecodedCache } from '../hot/decoded-cache.js';
import type { HashIndex } from '../hot/hash-index.js';
import type { ReadCache } from '../hot/read-cache.js';
import type { LogAddress } from '../log/address.js';
import type { HybridLog } from '../log/hybrid-log.js';
import { keyStart, spaceOf } from '../log/record-key.js';
import type { SegmentFiles } from '../log/segment-files.js';
import type { Slices } from '../log/slices.js';
import type { Boundary } from './compaction-pass.js';
import type { Dictionary } from './dictionary.js';
import type { GroupCommit } from './group-commit.js';
import { isFull, type Health } from './health.js';
import type { ManifestFile } from './manifest.js';
import type { ReadPath } from './read-path.js';
import type { Spaces } from './spaces.js';
import type { Versions } from './versions.js';

export interface DurableStepsParts {
  clock: EnvClock;
  manifest: ManifestFile;
  dictionary: Dictionary;
  segments: SegmentFiles;
  index: HashIndex;
  log: HybridLog;
  cold: ColdTier;
  cache: ReadCache;
  decoded: DecodedCache | undefined;
  reads: ReadPath;
  versions: Versions;
  spaces: Spaces;
  commits: GroupCommit;
  health: Health;
}

/** Buckets of the hot index that are looked through between two looks at the clock. */
const SWEEP_BUCKETS = 512;

/** The same for slots of the read cache. */
const SWEEP_SLOTS = 4096;

export class DurableSteps {
  constructor(
    private readonly parts: DurableStepsParts,
    private readonly slices: Slices,
  ) {}

  /** The hot log begins where a run has come to, which copied what it needs to the cold one. */
  async truncateHot(passed: Boundary): Promise<void> {
    const { commits, index, log, reads, segments } = this.parts;
    const { end } = passed;
    await this.commitCold(false);
    await commits.commit();
    await this.replaceManifest('hot', passed);
    log.truncate(end);
    reads.truncations++;
    for (let bucket: number | undefined = 0; bucket !== undefined;) {
      bucket = index.removeBelow(end, bucket, SWEEP_BUCKETS);
      if (this.slices.over) await this.slices.next();
    }
    await this.removeSegments(segments, end);
    await this.forgetTags();
  }

  /**
   * The cold log begins where a run has come to, which copied what it needs to its tail.
   * @param bytes that were known to be garbage, or are since they were copied
   */
  async truncateCold(passed: Boundary, bytes: number): Promise<void> {
    const { cold, commits, reads, versions } = this.parts;
    const { end } = passed;
    await this.commitCold(true);
    // Records that newer ones in the hot log cover were left behind.
    await commits.commit();
    // So that the records that were copied are known to be superseded, by their copies.
    await cold.index.flush(this.slices);
    await this.replaceManifest('cold', passed);
    cold.log.log.truncate(end);
    reads.truncations++;
    cold.dropped(bytes, versions.now());
    await this.removeSegments(cold.log.segments, end);
    await this.forgetTags();
  }

  /**
   * Commits what a run that failed left behind, so that it need not be told from a torn tail, and the index has nothing
   * that is not durable. A store that is read-only can do no more for it, and its reads may need an index to be mended.
   */
  async settle(): Promise<void> {
    const { cold, health } = this.parts;
    if (!cold.log.isDurable && !health.failure) await this.commitCold(false);
  }

  /** @param always also if nothing was appended since the last commit */
  async commitCold(always: boolean): Promise<void> {
    const { cold, dictionary, health, log, versions } = this.parts;
    try {
      await cold.log.commit(
        {
          nextSequence: versions.last + 1,
          hotBegin: log.begin,
          maxTime: versions.now(),
          dictionaryEntries: dictionary.entries,
        },
        always,
      );
    } catch (error) {
      if (!isFull(error)) health.fail(error);
      throw error;
    }
    this.slices.restart();
  }

  private async replaceManifest(log: 'hot' | 'cold', { end, commit }: Boundary): Promise<void> {
    const { cold, health, manifest } = this.parts;
    try {
      await manifest.replace((current) => {
        const logs = { ...current, [log]: { ...current[log], begin: end, beginCommit: commit } };
        return { ...logs, cold: { ...logs.cold, closed: cold.log.synced } };
      });
    } catch (error) {
      if (!isFull(error)) health.fail(error);
      throw error;
    }
    this.slices.restart();
  }

  private async removeSegments(segments: SegmentFiles, begin: LogAddress): Promise<void> {
    for (const segment of segments.numbers()) {
      if (segments.startOf(segment + 1) > begin) return;
      await segments.remove(segment);
      if (this.slices.over) await this.slices.next();
    }
  }

  /**
   * Behind a truncation: forgets the marks of tags that have nothing to cover any more. What they covered may still be in
   * the caches, and would be alive again: it goes first. Nothing more comes, because no index leads there now.
   */
  private async forgetTags(): Promise<void> {
    const { cache, clock, cold, decoded, log, spaces } = this.parts;
    const { begin, tail } = cold.log.log;
    const { tags } = spaces;
    if (!tags.passed({ hotBegin: log.begin, coldBegin: begin, coldTail: tail })) return;
    const isDead = (words: Int32Array, at: number) =>
      !spaces.get(spaceOf(words[keyStart(words, at)])).isValid(words, at);
    for (let slot: number | undefined = 0; slot !== undefined;) {
      slot = cache.dropWhere(isDead, slot, SWEEP_SLOTS);
      if (this.slices.over) await this.slices.next();
    }
    decoded?.dropTagged();
    // Whoever has just been given a record from disk looks whether it is alive before the event loop turns.
    await clock.turn();
    tags.forget(begin);
  }
}
