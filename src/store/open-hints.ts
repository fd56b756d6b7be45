/**
 * Taking up hints when a store is opened: those that connect with the checkpoint, one after the other, up to the first
 * that is damaged. What lies behind is read from the log.
 */
import type { Device } from '../device/device.js';
import type { HashIndex } from '../hot/hash-index.js';
import { LateEntries, LateRows } from '../hot/late-rows.js';
import type { LogAddress } from '../log/address.js';
import type { LogPoint } from './checkpointer.js';
import { HintFile, hintName, hintsOn } from './hint-file.js';
import type { SpacesState } from './spaces.js';

/** So many rows, of 8 bytes, are in memory at once. */
const MAX_ROWS = 8 * 1024 * 1024;

/** Hints that are read while one is looked at. */
const READ_AHEAD = 4;

/** What hints told of. */
export interface Hinted {
  /** Up to where they have the log, and the files that it had. */
  hot: LogPoint;
  spaces: SpacesState;
  records: number;
  /** Rows that are still to be put into the index. */
  rows: LateRows[];
  /** The hints themselves. */
  hints: HintFile[];
}

/**
 * The hints on a device that connect with each other, and with `from`; all others are removed.
 * @throws KvDiskError
 */
export async function connectedHints(device: Device, storeId: string, from: LogAddress): Promise<HintFile[]> {
  const connected: HintFile[] = [];
  let end = from;
  for (const commit of hintsOn(device)) {
    const hint = HintFile.read(device, commit, storeId);
    if (hint && hint.state.from <= end && hint.state.hot.end > end) {
      connected.push(hint);
      end = hint.state.hot.end;
    } else {
      await device.remove(hintName(commit));
    }
  }
  return connected;
}

/**
 * Reads hints, up to the first that is damaged; it and all behind it are removed. Rows are left to be put into the index
 * late, as many as memory is to be had for; those before are put there.
 * @param begin of the log: what lies below is left out
 * @returns `undefined` when not even the first is intact
 * @throws KvCorruptionError, KvDiskError when a part of the index that they need cannot be loaded
 */
export async function enterHints(
  device: Device,
  hints: HintFile[],
  index: HashIndex,
  begin: LogAddress,
): Promise<Hinted | undefined> {
  makeRoom(index, hints);
  let hinted: Hinted | undefined;
  let count = 0;
  const reading = hints.slice(0, READ_AHEAD).map((hint) => hint.rows());
  for (const [i, hint] of hints.entries()) {
    const { count: more, state } = hint;
    const ranges = await reading.shift();
    if (!ranges) {
      for (const useless of hints.slice(i)) await device.remove(hintName(useless.state.hot.commit));
      break;
    }
    if (i + READ_AHEAD < hints.length) reading.push(hints[i + READ_AHEAD].rows());
    hinted ??= { hot: { ...state.hot, segments: [] }, spaces: state.spaces, records: 0, rows: [], hints: [] };
    if (count + more > MAX_ROWS) {
      index.enterLater(new LateEntries(hinted.rows));
      while (index.enterNext());
      hinted.rows = [];
      count = 0;
    }
    count += more;
    hinted.hot = { ...state.hot, segments: [...hinted.hot.segments, ...state.hot.segments] };
    hinted.spaces = state.spaces;
    hinted.records += more;
    hinted.hints.push(hint);
    hinted.rows.push(new LateRows(state.from, ranges, begin));
  }
  return hinted;
}

/** An index grows only when all of it is loaded. Where little is new, that need not be now. */
function makeRoom(index: HashIndex, hints: HintFile[]): void {
  const last = hints.at(-1);
  if (!last) return;
  const records = hints.reduce((sum, { count }) => sum + count, 0);
  if (!index.isLoaded && records < index.entries / 2) return;
  while (index.loadNext());
  index.reserve(last.state.entries);
}
