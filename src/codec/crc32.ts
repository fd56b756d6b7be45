/** CRC-32 of bytes, by zlib, which is loaded when it is first needed (`file-lock.ts` sees to it that nobody waits for that). */
let zlib: typeof import('node:zlib') | undefined;

export function crc32(bytes: Uint8Array): number {
  return (zlib ??= process.getBuiltinModule('node:zlib')).crc32(bytes);
}
