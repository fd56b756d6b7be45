/**
 * A hint on disk: what a stretch of the hot log has put into the hot index, so that whoever opens the store after a kill
 * need not read that stretch (the hint files of Bitcask, Basho 2010, beside a log that is not cut at their borders).
 *
 *   rows by range (`src/hot/index-rows.ts`) · table with its footer (`table.ts`)
 *
 * A hint is made of what is on stable storage, and is itself not synced: a row that is not what was written is found by the
 * checksum, and then the log has it all.
 */
import { crc32 } from '../codec/crc32.js';
import type { Device } from '../device/device.js';
import { KvDiskError } from '../errors.js';
import { WORDS_PER_ROW } from '../hot/index-rows.js';
import type { LogAddress } from '../log/address.js';
import type { LogPoint } from './log-point.js';
import type { SpacesState } from './spaces.js';
import { readTable, tableBytes, type TableKind } from './table.js';

const PREFIX = 'hint-';
const NAME = /^hint-([0-9a-f]{8,})\.dat$/;
const KIND: TableKind = { magic: 0x4b_43_49_48, format: 1 };

/** What a hint has beside its rows. */
export interface HintState {
  /** Where the stretch of log begins. */
  from: LogAddress;
  /** The commit that it ends with. */
  hot: LogPoint;
  spaces: SpacesState;
  /** Entries that the index had then. */
  entries: number;
}

interface Table {
  storeId: string;
  state: HintState;
  /** Rows of each range. */
  counts: number[];
  /** CRC-32 of all rows. */
  checksum: number;
}

/** @param commit with which its stretch of log ends */
export function hintName(commit: number): string {
  return `${PREFIX}${commit.toString(16).padStart(8, '0')}.dat`;
}

export function isHintName(name: string): boolean {
  return NAME.test(name);
}

/** Numbers of the commits that the hints on a device end with, in order. */
export function hintsOn(device: Device): number[] {
  const numbers = device.list().map((name) => NAME.exec(name)?.[1]);
  return numbers
    .filter((digits) => digits !== undefined)
    .map((digits) => parseInt(digits, 16))
    .sort((a, b) => a - b);
}

/**
 * Writes a hint. Resolves to the bytes of all but its rows.
 * @param words rows by range, which may not change until it resolves
 * @throws KvDiskError
 */
export async function writeHint(
  device: Device,
  storeId: string,
  state: HintState,
  { words, counts }: { words: Uint32Array; counts: number[] },
): Promise<number> {
  const file = device.open(hintName(state.hot.commit), { create: true });
  try {
    // A stretch of log that was cut off may have had a commit of this number.
    file.truncate(0);
    const rows = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
    const table: Table = { storeId, state, counts, checksum: crc32(rows) };
    const rest = tableBytes(table, KIND);
    await file.write(rows, 0, rows.length, 0);
    await file.write(rest, 0, rest.length, rows.length);
    return rest.length;
  } finally {
    file.close();
  }
}

/** A hint that was found at opening. */
export class HintFile {
  private constructor(
    private readonly device: Device,
    private readonly table: Table,
  ) {}

  /**
   * Reads the table of a hint.
   * @returns `undefined` when there is none that is intact, and of this store
   */
  static read(device: Device, commit: number, storeId: string): HintFile | undefined {
    try {
      const file = device.open(hintName(commit), { create: false });
      try {
        const table = readTable<Table>(file, KIND);
        return table?.storeId === storeId ? new HintFile(device, table) : undefined;
      } finally {
        file.close();
      }
    } catch (error) {
      if (error instanceof KvDiskError) return undefined;
      throw error;
    }
  }

  get state(): HintState {
    return this.table.state;
  }

  get count(): number {
    return this.table.counts.reduce((sum, count) => sum + count, 0);
  }

  /** Resolves to the rows of each range; to `undefined` when they are damaged or cannot be read. */
  async rows(): Promise<Uint32Array[] | undefined> {
    const { counts, checksum, state } = this.table;
    const bytes = new Uint8Array(this.count * WORDS_PER_ROW * 4);
    try {
      const file = this.device.open(hintName(state.hot.commit), { create: false });
      try {
        await file.read(bytes, 0, bytes.length, 0);
      } finally {
        file.close();
      }
    } catch (error) {
      if (error instanceof KvDiskError) return undefined;
      throw error;
    }
    if (crc32(bytes) !== checksum) return undefined;
    let position = 0;
    return counts.map((count) => {
      const words = new Uint32Array(bytes.buffer, position, count * WORDS_PER_ROW);
      position += words.byteLength;
      return words;
    });
  }
}
