/** Does nothing: what the harness itself costs, making keys and objects included. */
import { valueOf } from '../workload.mjs';

/** Its answers are not the right ones. */
export const answers = false;

export function open() {
  const value = valueOf(0, 0);
  return {
    // Looking at a character makes the engine join the parts of the new string, as any use of it does.
    get: (key) => (key.charCodeAt(0) > 0 ? value : undefined),
    set: (key) => key.charCodeAt(0),
    update: (key, change) => change(key.charCodeAt(0) > 0 ? value : undefined),
  };
}
