/** The checksum of a line of text in a small file: CRC-32, in eight hexadecimal digits. */
import { crc32 } from 'node:zlib';

export function textChecksum(text: string): string {
  return crc32(text).toString(16).padStart(8, '0');
}
