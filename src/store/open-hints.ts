/**
 * Taking up hints when a store is opened: those that connect with the checkpoint, one after the other, up to the first
 * that is damaged. What lies behind is read from the log.
 */
import type { Device } from '../device/device.js';
import type { HashIndex } from '../hot/hash-index.js';
import { enterRest, LateEntries, LateRows } from '../hot/late-rows.js';
import type { LogAddress } from '../log/address.js';
import type { Slices } from '../log/slices.js';
import { HintFile, hintsOn } from './hint-file.js';
import type { LogPoint } from './log-point.js';
import type { SpacesState } from './spaces.js';

/** Hints that are read while one is looked at. */
const READ_AHEAD = 4;

/** What there is of hints. */
export interface FoundHints {
  connected: HintFile[];
  /** The last commit that is known from one of them, connected or not, to have been on stable storage. */
  synced: number;
  /**
   * Commits that the others end with. They go when the log has turned out to have what they say: if it has not, they are
   * what refuses the next opening as well.
   */
  useless: number[];
}

/** What hints told of. */
export interface Hinted {
  /** Up to where they have the log, and the files that it had. */
  hot: LogPoint;
  spaces: SpacesState;
  /** Of each the marks of tags. */
  tags: string[];
  records: number;
  /** Rows that are still to be put into the index. */
  rows: LateRows[];
  /** The commits that they end with. */
  commits: number[];
}

/**
 * The hints on a device that connect with each other, and with `from`.
 * @throws KvDiskError
 */
export function findHints(device: Device, storeId: string, from: LogAddress): FoundHints {
  const found: FoundHints = { connected: [], synced: 0, useless: [] };
  let end = from;
  for (const commit of hintsOn(device)) {
    const hint = HintFile.read(device, commit, storeId);
    if (hint) found.synced = hint.state.hot.commit;
    if (hint && hint.state.from <= end && hint.state.hot.end > end) {
      found.connected.push(hint);
      end = hint.state.hot.end;
    } else {
      found.useless.push(commit);
    }
  }
  return found;
}

/** Up to where any hint, whether it connects or not, knows the hot log to have been on stable storage. */
export function hintedPoint(device: Device, storeId: string): LogPoint | undefined {
  const hints = hintsOn(device).map((commit) => HintFile.read(device, commit, storeId));
  return hints.findLast((hint) => hint)?.state.hot;
}

/**
 * Reads hints, up to the first that is damaged; it and all behind it are `useless`. Rows are left to be put into the index
 * late, as many as may be in memory; those before are put there.
 * @param begin of the log: what lies below is left out
 * @param maxRows so many rows, of 8 bytes, may be in memory
 * @returns `undefined` when not even the first is intact
 * @throws KvCorruptionError, KvDiskError when the index of the checkpoint is damaged
 */
export async function takeUpHints(
  { connected: hints, useless }: FoundHints,
  index: HashIndex,
  begin: LogAddress,
  maxRows: number,
  slices: Slices,
): Promise<Hinted | undefined> {
  const last = hints.at(-1);
  if (!last) return undefined;
  // Nearly every part of it is needed for a few thousand rows, and it grows only as a whole.
  while (index.loadNext()) if (slices.over) await slices.next();
  index.reserve(last.state.entries);
  let hinted: Hinted | undefined;
  let inMemory = 0;
  const reading = hints.slice(0, READ_AHEAD).map((hint) => hint.rows());
  for (const [i, { count, state }] of hints.entries()) {
    const ranges = await reading.shift();
    if (!ranges) {
      for (const { state: behind } of hints.slice(i)) useless.push(behind.hot.commit);
      break;
    }
    if (i + READ_AHEAD < hints.length) reading.push(hints[i + READ_AHEAD].rows());
    const { hot, spaces } = state;
    hinted ??= { hot: { ...hot, segments: [] }, spaces, tags: [], records: 0, rows: [], commits: [] };
    if (inMemory > 0 && inMemory + count > maxRows) {
      index.enterLater(new LateEntries(hinted.rows));
      await enterRest(index, slices);
      hinted.rows = [];
      inMemory = 0;
    }
    inMemory += count;
    hinted.hot = { ...hot, segments: [...hinted.hot.segments, ...hot.segments] };
    hinted.spaces = spaces;
    if (spaces.tags) hinted.tags.push(spaces.tags);
    hinted.records += count;
    hinted.commits.push(hot.commit);
    hinted.rows.push(new LateRows(state.from, ranges, count, begin));
  }
  return hinted;
}
