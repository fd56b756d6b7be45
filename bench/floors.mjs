/**
 * What this package has to reach, from figures of one run: each floor a sentence, the figure and whether it holds.
 * A floor whose peers did not run is left out.
 */
import { MIB } from './units.mjs';

const FLOORS = [
  ['reads one by one, × lmdb', (m) => m.ours.ops.readOneByOne / m.lmdb.ops.readOneByOne, 'at least', 1.5],
  ['load, × lmdb', (m) => m.ours.ops.load / m.lmdb.ops.load, 'at least', 0.6],
  ['awaited updates, × lmdb', (m) => m.ours.ops.updateOneByOne / m.lmdb.ops.updateOneByOne, 'at least', 30],
  ['event-loop delay while loading, p99 in ms', (m) => m.ours.loopDelayP99Ms, 'below', 10],
  [
    'resident memory above the empty harness, less the data packed, MiB',
    (m, data) => (m.ours.rssSettled - m.empty.rssSettled - data.packed) / MIB,
    'at most',
    64,
  ],
];

const HOLDS = {
  'at least': (value, bound) => value >= bound,
  'at most': (value, bound) => value <= bound,
  below: (value, bound) => value < bound,
};

/**
 * @param medians by peer
 * @param rawDataBytes what the function of that name returns
 */
export function floorsOf(medians, rawDataBytes) {
  const { ours, lmdb, empty } = medians;
  if (!ours || !lmdb || !empty) return [];
  return FLOORS.map(([what, figure, relation, bound]) => {
    const value = figure(medians, rawDataBytes);
    return { what, relation, bound, value, pass: HOLDS[relation](value, bound) };
  });
}
