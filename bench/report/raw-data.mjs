/** How much data a workload is about. */
import { Packr } from 'msgpackr';
import { keyOf, valueOf } from '../harness/data.mjs';

/**
 * Bytes of keys and values without whatever a store needs around them: with values as JSON, and as MessagePack with
 * shared structures, which leaves the names of fields out. Of many keys, a sample is measured.
 */
export function rawDataBytes(keys) {
  const step = Math.max(1, Math.floor(keys / 100_000));
  const packr = new Packr({ structures: [] });
  const bytes = { json: 0, packed: 0 };
  for (let i = 0; i < keys; i += step) {
    const key = keyOf(i).length;
    bytes.json += (key + JSON.stringify(valueOf(i, 0)).length) * step;
    bytes.packed += (key + packr.pack(valueOf(i, 0)).length) * step;
  }
  return bytes;
}
