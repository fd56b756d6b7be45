/**
 * Logical addresses. A log is one growing sequence of bytes; an address is a position in it and is never reused.
 * Plain numbers at run time (doubles carry 53 bits, an address has 48), a type of their own for the compiler.
 */

declare const logAddress: unique symbol;

/** Byte position in a log: a multiple of 8 below 2^48. 0 means "no record". */
export type LogAddress = number & { readonly [logAddress]: true };

/** No record: the end of a hash chain. Logs begin at `FIRST_ADDRESS`, so no record lies here. */
export const NO_ADDRESS = 0 as LogAddress;

/** Where the first record of a log lies. */
export const FIRST_ADDRESS = 64 as LogAddress;

/** Rounds up to the next multiple of 8 (below 2^31). */
export function align8(bytes: number): number {
  return (bytes + 7) & ~7;
}
