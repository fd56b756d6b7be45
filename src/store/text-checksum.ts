/**
 * The checksum of a line of text in a small file: CRC-32, in eight hexadecimal digits. Not zlib's, which Node takes 1.6 ms
 * to load: the manifest is read before anything else, and is a few hundred bytes.
 */

/** What a byte does to the remainder: polynomial 0x04c11db7, bits reversed (ISO 3309, RFC 1952). */
const TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? 0xedb88320 : 0);
  return remainder;
});

export function textChecksum(text: string): string {
  let remainder = -1;
  for (const byte of Buffer.from(text)) remainder = TABLE[(remainder ^ byte) & 0xff] ^ (remainder >>> 8);
  return (~remainder >>> 0).toString(16).padStart(8, '0');
}
