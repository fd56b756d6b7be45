/**
 * What `console.log` shows of a store and a namespace: what they are, and not all that is within, the key of the hash among
 * it.
 */

/** Node calls a method of this name. */
export const INSPECT: unique symbol = Symbol.for('nodejs.util.inspect.custom');

/** `util.inspect`, as Node hands it to the method. */
export type Inspect = (value: unknown, options: object) => string;
