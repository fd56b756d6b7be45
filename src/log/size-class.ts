/**
 * Size classes: four bits in an index entry that say how many bytes to read, so that a record comes from disk in one
 * read. Class c means `64 << c` bytes; the last class means "larger, read the header first".
 */

export const LARGEST_SIZE_CLASS = 15;
const SMALLEST_READ_BITS = 6;

/** The class whose read covers a record of `bytes`. */
export function sizeClassOf(bytes: number): number {
  const bits = 32 - Math.clz32(bytes - 1);
  return bits <= SMALLEST_READ_BITS + 1 ? 1 : Math.min(bits - SMALLEST_READ_BITS, LARGEST_SIZE_CLASS);
}

/** How many bytes to read for a record of this class. */
export function readBytesOf(sizeClass: number): number {
  return 1 << (sizeClass + SMALLEST_READ_BITS);
}
