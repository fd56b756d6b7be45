/**
 * msgpackr without its native part, which is nothing faster for short values and takes as long to load as the rest (decision
 * 14). The declarations of that entry point lead nowhere, so the types are those of the main one.
 *
 * Errors are read in a way of our own: msgpackr's have the stack of the decoder, and a `cause` where there was none.
 */
import type * as msgpackr from 'msgpackr';
import * as pack from 'msgpackr/pack';

export const { Packr, RESET_BUFFER_MODE, REUSE_BUFFER_MODE } = pack as unknown as typeof msgpackr;
export type Packr = msgpackr.Packr;

const { addExtension } = pack as unknown as typeof msgpackr;

/** msgpackr's type of an error, and what it writes of one. */
const ERROR_TYPE = 0x65;
type ErrorFields = [name: string, message: string, cause: unknown];

const ERROR_CLASSES = new Map(
  [EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError].map((Class) => [
    Class.name,
    Class,
  ]),
);

addExtension({
  type: ERROR_TYPE,
  read([name, message, cause]: ErrorFields): Error {
    const Class = ERROR_CLASSES.get(name) ?? Error;
    const error = new Class(message, cause === undefined ? undefined : { cause });
    if (error.name !== name) error.name = name;
    error.stack = String(error);
    return error;
  },
});
