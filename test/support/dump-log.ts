/**
 * Writes the bytes of a segment file out for people: every record with its address, its words in hexadecimal and what
 * they mean. Reads the layout from `docs/format.md`, not from `src/`, so that a change of the code alone shows up.
 */

import { crc32 } from 'node:zlib';

const KINDS = ['none', 'value', 'tombstone', 'filler', 'commit', 'clear', 'extent', 'chunk'];
const EXPIRY = 8;
const ATTRIBUTES = 32;
const EXTENTS = 16;
const COMMIT_FIELDS = [
  'number',
  'from',
  'previous end',
  'known synced',
  'range sum, sessions',
  'next sequence',
];
COMMIT_FIELDS.push('hot begin', 'cold begin', 'highest time', 'dictionary entries');

/** More are not written out. */
const MANY_BYTES = 64;

/** @param start logical address of the first byte of `file` */
export function dumpLog(file: Buffer, start: number, from: number): string {
  const lines: string[] = [];
  let at = from - start;
  while (at + 8 <= file.length) {
    const flags = file[at + 4];
    const kind = KINDS[flags & 7];
    if (kind === 'none') break;
    const address = start + at;
    if (kind === 'filler') {
      const length = (file.readUInt32LE(at + 4) >>> 8) * 8;
      lines.push(
        `@${address} filler, ${length} bytes`,
        line(file, at, 4, 'checksum'),
        line(file, at + 4, 4, 'flags, length / 8'),
      );
      at += length;
      continue;
    }
    const slack = file[at + 5] * 8;
    const keyLength = file.readUInt16LE(at + 6);
    const valueLength = file.readUInt32LE(at + 8);
    const expiryLength = flags & EXPIRY ? 8 : 0;
    const valueAt = 24 + expiryLength + Math.ceil(keyLength / 4) * 4;
    const length = Math.ceil((valueAt + valueLength) / 8) * 8 + slack;
    lines.push(`@${address} ${kind}, ${length} bytes`);
    lines.push(line(file, at, 4, 'checksum'));
    lines.push(line(file, at + 4, 4, `flags ${flags}, slack ${slack}, key length ${keyLength}`));
    lines.push(line(file, at + 8, 4, `value length ${valueLength}`));
    if (kind === 'chunk') {
      lines.push(line(file, at + 12, 4, `slot ${file.readUInt32LE(at + 12)}`));
      lines.push(line(file, at + 16, 2, `width ${file.readUInt16LE(at + 16)}`));
    } else lines.push(line(file, at + 12, 6, `sequence ${file.readUIntLE(at + 12, 6)}`));
    const previous = (file.readUInt16LE(at + 18) * 2 ** 32 + file.readUInt32LE(at + 20)) * 8;
    lines.push(line(file, at + 18, 6, `previous ${previous}`));
    if (expiryLength) lines.push(line(file, at + 24, 8, `expires ${Number(file.readBigUInt64LE(at + 24))}`));
    if (keyLength) lines.push(line(file, at + 24 + expiryLength, keyLength, 'key'));
    const attributes = kind === 'value' && flags & ATTRIBUTES ? dumpAttributes(file, at + valueAt) : [];
    lines.push(...attributes);
    const valueStart = at + valueAt + (attributes.length === 0 ? 0 : 12 + (attributes.length - 3) * 8);
    const valueEnd = at + valueAt + valueLength;
    if (kind === 'commit') {
      for (const [i, name] of COMMIT_FIELDS.entries()) {
        const field = at + valueAt + i * 8;
        const value = name.startsWith('range') ? '' : ` ${Number(file.readBigUInt64LE(field))}`;
        lines.push(line(file, field, 8, name + value));
      }
    } else if (kind === 'chunk') lines.push(...entriesOf(file, at + valueAt, valueLength / 10));
    else if (flags & EXTENTS) lines.push(...piecesOf(file, valueStart));
    else if (valueLength) lines.push(line(file, valueStart, valueEnd - valueStart, 'value'));
    lines.push('');
    at += length;
  }
  return lines.join('\n');
}

function dumpAttributes(file: Buffer, at: number): string[] {
  const tags = file.readUInt32LE(at);
  return [
    line(file, at, 4, `tags ${tags}`),
    line(file, at + 4, 4, `stale window ${file.readUInt32LE(at + 4)}`),
    line(file, at + 8, 4, `shape version ${file.readUInt32LE(at + 8)}`),
    ...Array.from({ length: tags }, (_, i) => line(file, at + 12 + i * 8, 8, 'hash of a tag')),
  ];
}

/** The entries of a chunk: first all tags, then all low halves of the addresses, then all high ones. */
function* entriesOf(file: Buffer, at: number, count: number): Generator<string> {
  for (let i = 0; i < count; i++) yield line(file, at + i * 4, 4, `tag ${i + 1}`);
  for (let i = 0; i < count; i++)
    yield line(
      file,
      at + (count + i) * 4,
      4,
      `address ${i + 1}: ${file.readUInt32LE(at + (count + i) * 4) * 8}`,
    );
  for (let i = 0; i < count; i++) {
    const high = file.readUInt16LE(at + count * 8 + i * 2);
    yield line(file, at + count * 8 + i * 2, 2, `high bits ${high & 0x1fff}, size class code ${high >>> 13}`);
  }
}

function* piecesOf(file: Buffer, at: number): Generator<string> {
  yield line(file, at, 4, `bytes ${file.readUInt32LE(at)}`);
  yield line(file, at + 4, 4, `pieces ${file.readUInt32LE(at + 4)}`);
  for (let piece = at + 8; piece < at + 8 + file.readUInt32LE(at + 4) * 12; piece += 12) {
    const [low, high, bytes] = [0, 4, 8].map((field) => file.readUInt32LE(piece + field));
    yield line(file, piece, 8, `address ${(high * 2 ** 32 + low) * 8}`);
    yield line(file, piece + 8, 4, `bytes ${bytes}`);
  }
}

/** Some bytes and what they mean; of many, the first ones, and a CRC-32 of all. */
export function line(file: Buffer, at: number, length: number, meaning: string): string {
  if (length > MANY_BYTES) {
    const rest = crc32(file.subarray(at, at + length)).toString(16);
    return line(file, at, 8, `… ${meaning}, ${length} bytes, CRC-32 ${rest}`);
  }
  const hex = [...file.subarray(at, at + length)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return `  ${hex.padEnd(24)}  ${meaning}`;
}
