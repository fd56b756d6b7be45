/**
 * The table at the end of a file of derived data, which says what the rest of the file is, and a footer that says where the
 * table begins: so the file can be written in one go, and read by its end.
 *
 *   … · table (JSON) · length of the table · its CRC-32 · magic · format
 *
 * What cannot be read, or is not what it should be, is no table.
 */
import { crc32 } from '../codec/crc32.js';
import type { DeviceFile } from '../device/device.js';

export const FOOTER_BYTES = 16;

/** What kind of file it is. */
export interface TableKind {
  magic: number;
  format: number;
}

/** A table and its footer as bytes. */
export function tableBytes(table: unknown, { magic, format }: TableKind): Buffer {
  const json = Buffer.from(JSON.stringify(table));
  const footer = Buffer.alloc(FOOTER_BYTES);
  footer.writeUInt32LE(json.length, 0);
  footer.writeUInt32LE(crc32(json), 4);
  footer.writeUInt32LE(magic, 8);
  footer.writeUInt32LE(format, 12);
  return Buffer.concat([json, footer]);
}

/**
 * The table of a file.
 * @returns `undefined` when there is none that is intact
 * @throws KvDiskError
 */
export function readTable<T>(file: DeviceFile, { magic, format }: TableKind): T | undefined {
  const size = file.size();
  const footer = bytesAt(file, size - FOOTER_BYTES, FOOTER_BYTES);
  if (footer?.readUInt32LE(8) !== magic || footer.readUInt32LE(12) !== format) return undefined;
  const length = footer.readUInt32LE(0);
  // Of a footer that is torn the end may be there alone: no bytes have a checksum of 0.
  if (length === 0) return undefined;
  const json = bytesAt(file, size - FOOTER_BYTES - length, length);
  return json && crc32(json) === footer.readUInt32LE(4) ? (JSON.parse(json.toString()) as T) : undefined;
}

/** Bytes of a file, in memory of their own; `undefined` when it has not so many. */
export function bytesAt(file: DeviceFile, position: number, length: number): Buffer | undefined {
  if (position < 0) return undefined;
  const bytes = Buffer.allocUnsafeSlow(length);
  return file.readSync(bytes, 0, length, position) === length ? bytes : undefined;
}
