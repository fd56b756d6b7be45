/** The bytes that say what an encoded key, or a part of one, is. Their order is that of the kinds of keys: `docs/format.md`. */

/** Ends an array, an object, and a string or byte array inside of one. */
export const TAG_END = 0x00;
export const TAG_FALSE = 0x05;
export const TAG_TRUE = 0x06;
export const TAG_NUMBER = 0x08;
export const TAG_BIGINT = 0x0a;
export const TAG_STRING = 0x10;
export const TAG_BYTES = 0x11;
export const TAG_ARRAY = 0x20;
export const TAG_OBJECT = 0x21;

/** Follows a zero byte inside a nested string or byte array, where a bare zero would be the end. */
export const ESCAPE = 0xff;

/** Longest magnitude of a bigint: its length, with a sign, is one byte. */
export const MAX_BIGINT_BYTES = 0x7e;
