/**
 * The hot log as of its last complete commit, as opening a store needs it: in the index, and in the rows of the next hint.
 */
import type { KeyedHash } from '../codec/keyed-hash.js';
import type { ColdTier } from '../cold/cold-tier.js';
import type { HashIndex } from '../hot/hash-index.js';
import { LateEntries } from '../hot/late-rows.js';
import type { SegmentFiles } from '../log/segment-files.js';
import type { DeadHashes } from './dead-hashes.js';
import type { Hints } from './hints.js';
import { LateRecords } from './late-records.js';
import type { LogManifest } from './manifest.js';
import type { Hinted } from './open-hints.js';
import { Recovery, type Recovered, type RecoveryStart } from './recovery.js';
import type { Spaces } from './spaces.js';
import { enterHot, StagedRecords, type StagedRecord } from './staged-records.js';

export interface HotReplay {
  segments: SegmentFiles;
  manifest: LogManifest;
  hash: KeyedHash;
  index: HashIndex;
  spaces: Spaces;
  cold: ColdTier | undefined;
  /** What the cold log told of its records. */
  dead: DeadHashes;
  /** Told of what was read. */
  hints: Hints | undefined;
  /** What hints have of the log. */
  hinted: Hinted | undefined;
  /** Where it has to be read from. */
  start: RecoveryStart | undefined;
}

/** @throws KvCorruptionError, KvDiskError */
export async function replayHot(parts: HotReplay): Promise<Recovered> {
  const { segments, manifest, hash, index, spaces, cold, dead, hints, hinted, start } = parts;
  // What would be looked up would have its range entered, and soon all of them.
  const tail = hinted && new LateRecords(spaces, cold, dead);
  if (hinted && tail) index.enterLater(new LateEntries([...hinted.rows, tail]));
  const enter = (record: StagedRecord): undefined => {
    hints?.recovered(record);
    if (tail && !tail.isFull) tail.add(record);
    else enterHot(record, index, spaces.get(record.space), cold, dead);
  };
  const touch = tail ? undefined : (low: number) => index.touch(low);
  const sink = new StagedRecords(hash, spaces, enter, touch, true);
  return new Recovery(segments, manifest, sink, start).run();
}
