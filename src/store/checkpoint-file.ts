/**
 * A checkpoint on disk: blocks of memory one behind the other, then a table that says what they are (`table.ts`). A block
 * that has not changed since the checkpoint before is not written again: the table names the file that has it.
 *
 * Every block and the table have a CRC-32. What cannot be read, or is not what it should be, is no checkpoint: the log
 * has it all.
 */
import { crc32 } from '../codec/crc32.js';
import type { Device, DeviceFile } from '../device/device.js';
import { KvDiskError } from '../errors.js';
import { bytesAt, readTable, tableBytes, type TableKind } from './table.js';

const PREFIX = 'checkpoint-';
const NAME = /^checkpoint-[0-9a-f]{8,}\.dat$/;
const KIND: TableKind = { magic: 0x4b_43_43_48, format: 3 };

/** Blocks are gathered, and written so many bytes at a time. */
const WRITE_BYTES = 512 * 1024;

/** Blocks that lie one behind the other are read so many bytes, and so many of them, at a time. */
const READ_BYTES = 4 * 1024 * 1024;
const MAX_RUN = 1024;

/** Blocks may lie in so many files; then all are written again. */
const MAX_FILES = 4;

/** Where a block lies: checkpoint number, position, length, CRC-32. */
type Place = [checkpoint: number, position: number, length: number, checksum: number];

interface Table {
  storeId: string;
  state: unknown;
  sections: Record<string, Place[]>;
}

export function checkpointName(number: number): string {
  return `${PREFIX}${number.toString(16).padStart(8, '0')}.dat`;
}

export function isCheckpointName(name: string): boolean {
  return NAME.test(name);
}

/** Removes the files of all checkpoints but those that `needed` names. */
export async function removeCheckpoints(device: Device, needed: ReadonlySet<string>): Promise<void> {
  for (const name of device.list())
    if (isCheckpointName(name) && !needed.has(name)) await device.remove(name);
}

/** A checkpoint that was written, or found at opening. */
export class Checkpoint<S = unknown> {
  constructor(
    private readonly device: Device,
    readonly number: number,
    private readonly table: Table,
    /** Bytes that were written for it. */
    readonly bytes: number,
  ) {}

  /**
   * Reads the table of a checkpoint.
   * @returns `undefined` when there is none that is intact, and of this store
   * @throws KvDiskError
   */
  static read<S>(device: Device, number: number, storeId: string): Checkpoint<S> | undefined {
    if (!device.list().includes(checkpointName(number))) return undefined;
    const file = device.open(checkpointName(number), { create: false });
    try {
      const table = readTable<Table>(file, KIND);
      if (table?.storeId !== storeId) return undefined;
      return new Checkpoint(device, number, table, file.size());
    } finally {
      file.close();
    }
  }

  get state(): S {
    return this.table.state as S;
  }

  /** Names of all files that have a block of it. */
  get files(): Set<string> {
    return new Set([this.number, ...this.numbers()].map(checkpointName));
  }

  placeOf(section: string, block: number): Place | undefined {
    return this.table.sections[section]?.[block];
  }

  /** Numbers of the checkpoints whose files have its blocks. */
  numbers(): Set<number> {
    return new Set(Object.values(this.table.sections).flatMap((places) => places.map(([number]) => number)));
  }

  /** Reads block after block: where each lies, and whether it is intact. For whoever checks a checkpoint. */
  *blocks(): Generator<{ file: string; position: number; bytes: number; intact: boolean }> {
    for (const [number, position, bytes, checksum] of Object.values(this.table.sections).flat()) {
      const name = checkpointName(number);
      const block = this.device.list().includes(name)
        ? blockOf(this.device, name, position, bytes)
        : undefined;
      yield { file: name, position, bytes, intact: block !== undefined && crc32(block) === checksum };
    }
  }

  /**
   * Opens sections whose blocks are read later.
   * @throws KvDiskError when a file is missing or cannot be opened
   */
  reader(...names: string[]): BlockReader {
    const sections = names.map((name) => [name, this.table.sections[name] ?? []]);
    return new BlockReader(this.device, Object.fromEntries(sections) as Record<string, Place[]>);
  }

  /**
   * Reads the blocks of a section. Their lengths are multiples of 4.
   * @returns `undefined` when one of them is missing or damaged
   * @throws KvDiskError
   */
  section(name: string): Uint8Array[] | undefined {
    const places = this.table.sections[name] ?? [];
    const names = new Set(this.device.list());
    const files = new Map<number, DeviceFile>();
    const blocks: Uint8Array[] = [];
    try {
      while (blocks.length < places.length) {
        // Those that lie one behind the other are read together.
        const run = runFrom(places, blocks.length);
        const [number, position] = run[0];
        let file = files.get(number);
        if (!file) {
          if (!names.has(checkpointName(number))) return undefined;
          file = this.device.open(checkpointName(number), { create: false });
          files.set(number, file);
        }
        const bytes = bytesAt(file, position, lengthOf(run));
        if (!bytes) return undefined;
        for (const [, start, length, checksum] of run) {
          const block = bytes.subarray(start - position, start - position + length);
          if (crc32(block) !== checksum) return undefined;
          blocks.push(block);
        }
      }
      return blocks;
    } finally {
      for (const file of files.values()) file.close();
    }
  }
}

/** Blocks of some sections, to be read when they are needed. Their files stay open, whatever becomes of their names. */
export class BlockReader {
  /** Where the last block lies that could not be read, or was not intact. */
  damage: { file: string; position: number } | undefined;
  private readonly files = new Map<number, DeviceFile>();

  /** @throws KvDiskError when a file is missing or cannot be opened */
  constructor(
    device: Device,
    private readonly sections: Readonly<Record<string, readonly Place[]>>,
  ) {
    try {
      for (const [number] of Object.values(sections).flat())
        if (!this.files.has(number))
          this.files.set(number, device.open(checkpointName(number), { create: false }));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  count(section: string): number {
    return this.sections[section].length;
  }

  /** A block, in memory of its own; `undefined` when it is damaged or cannot be read. */
  read(section: string, block: number): Buffer | undefined {
    const [number, position, length, checksum] = this.sections[section][block];
    let bytes: Buffer | undefined;
    try {
      bytes = bytesAt(this.files.get(number) as DeviceFile, position, length);
    } catch (error) {
      if (!(error instanceof KvDiskError)) throw error;
    }
    if (bytes && crc32(bytes) === checksum) return bytes;
    this.damage = { file: checkpointName(number), position };
    return undefined;
  }

  /** Never throws: what was only read is whole, whatever the system says. */
  close(): void {
    for (const file of this.files.values()) {
      try {
        file.close();
      } catch (error) {
        if (!(error instanceof KvDiskError)) throw error;
      }
    }
    this.files.clear();
  }
}

/** The places from `first` on that lie one behind the other in the same file, up to `READ_BYTES`. */
function runFrom(places: readonly Place[], first: number): Place[] {
  const [number, start] = places[first];
  let end = start;
  let count = 0;
  for (const [checkpoint, position, length] of places.slice(first, first + MAX_RUN)) {
    if (checkpoint !== number || position !== end || (count > 0 && end - start + length > READ_BYTES)) break;
    end += length;
    count++;
  }
  return places.slice(first, first + count);
}

function lengthOf(run: readonly Place[]): number {
  return run.reduce((sum, [, , length]) => sum + length, 0);
}

/** Writes a checkpoint. It is none before `finish` has resolved. */
export class CheckpointWriter<S> {
  private readonly sections: Record<string, Place[]> = {};
  private readonly buffer = new Uint8Array(WRITE_BYTES);
  private buffered = 0;
  private position = 0;

  private constructor(
    private readonly device: Device,
    private readonly file: DeviceFile,
    readonly number: number,
    private readonly storeId: string,
    /** The checkpoint before, if its files may be needed on. */
    private readonly previous: Checkpoint | undefined,
  ) {}

  /**
   * Begins a checkpoint.
   * @param previous blocks that have not changed since that one need not be written
   * @throws KvDiskError
   */
  static begin<S>(
    device: Device,
    number: number,
    storeId: string,
    previous: Checkpoint | undefined,
  ): CheckpointWriter<S> {
    const kept = previous && previous.numbers().size < MAX_FILES ? previous : undefined;
    const file = device.open(checkpointName(number), { create: true });
    const writer = new CheckpointWriter<S>(device, file, number, storeId, kept);
    try {
      // One of an attempt that failed may have left the name.
      file.truncate(0);
    } catch (error) {
      writer.abandon();
      throw error;
    }
    return writer;
  }

  /**
   * Adds a block to a section, as it is now.
   * @param changed since the checkpoint before
   * @throws KvDiskError
   */
  async add(section: string, block: Uint8Array, changed: boolean): Promise<void> {
    const places = (this.sections[section] ??= []);
    const kept = changed ? undefined : this.previous?.placeOf(section, places.length);
    if (kept) {
      places.push(kept);
      return;
    }
    // A block in memory may change at each wait, so it is copied at once; a longer one is nobody else's.
    if (block.length > this.buffer.length - this.buffered) await this.write();
    places.push([this.number, this.position + this.buffered, block.length, crc32(block)]);
    if (block.length <= this.buffer.length) {
      this.buffer.set(block, this.buffered);
      this.buffered += block.length;
    } else {
      await this.file.write(block, 0, block.length, this.position);
      this.position += block.length;
    }
  }

  /**
   * Closes the checkpoint with its table, and makes it durable.
   * @throws KvDiskError
   */
  async finish(state: S): Promise<Checkpoint<S>> {
    const table: Table = { storeId: this.storeId, state, sections: this.sections };
    const bytes = tableBytes(table, KIND);
    await this.write();
    await this.file.write(bytes, 0, bytes.length, this.position);
    await this.file.sync();
    this.file.close();
    await this.device.syncDirectory();
    return new Checkpoint<S>(this.device, this.number, table, this.position + bytes.length);
  }

  /** Gives up. What was written is removed here, or by the next opening. */
  abandon(): void {
    this.file.close();
    try {
      this.device.removeSync(checkpointName(this.number));
    } catch {
      // The disk has failed already.
    }
  }

  private async write(): Promise<void> {
    if (this.buffered === 0) return;
    await this.file.write(this.buffer, 0, this.buffered, this.position);
    this.position += this.buffered;
    this.buffered = 0;
  }
}

function blockOf(device: Device, name: string, position: number, bytes: number): Buffer | undefined {
  const file = device.open(name, { create: false });
  try {
    return bytesAt(file, position, bytes);
  } finally {
    file.close();
  }
}
