/**
 * Whether values can be decoded although structures are lost. msgpackr takes the id of a structure that it does not have
 * for a small number, and would make something else of the value; here it is an error.
 */
import { Packr } from './msgpackr.js';
import type { ValueStructure } from './value-codec.js';

export class StructureCheck {
  private readonly packr: Packr;

  /** @param structures in the order of their ids, `undefined` for those that are lost */
  constructor(structures: readonly (ValueStructure | undefined)[]) {
    this.packr = new Packr({
      structures: structures.map((fields) => (fields ? [...fields] : undefined)) as object[],
      getStructures: () => {
        throw new Error('The structure is lost');
      },
      moreTypes: true,
    });
  }

  /** Whether all structures that `bytes[start, end)` needs are there. */
  canDecode(bytes: Uint8Array, start: number, end: number): boolean {
    try {
      this.packr.unpack(bytes, { start, end });
      return true;
    } catch {
      return false;
    }
  }
}
