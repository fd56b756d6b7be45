/**
 * msgpackr without its native part, which is nothing faster for short values and takes as long to load as the rest (decision
 * 14). The declarations of that entry point lead nowhere, so the types are those of the main one.
 */
import type * as msgpackr from 'msgpackr';
import * as pack from 'msgpackr/pack';

export const { Packr, RESET_BUFFER_MODE, REUSE_BUFFER_MODE } = pack as unknown as typeof msgpackr;
export type Packr = msgpackr.Packr;
