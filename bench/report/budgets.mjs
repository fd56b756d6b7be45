/**
 * What this package has to reach, from the medians of one run: a row each of what was measured, what is wanted, and
 * whether it holds. A workload that was not measured has no rows; where only a peer is missing, the row says so.
 */
const RESIDENT = 'resident, MiB';
const [ONE_BY_ONE, BY_64] = ['one by one', 'by 64'];
const RIVALS = ['lmdb', 'rocksdb', 'classic-level', 'better-sqlite3'];

/** `ours`, or another peer's, operations a second in a phase over those of a peer, or of the fastest of some. */
const ratio =
  (workload, phase, against, ours = 'ours') =>
  (at) =>
    at(workload, ours, 'ops', phase) /
    Math.max(...[against].flat().map((peer) => at(workload, peer, 'ops', phase)));

const figure = (workload, name) => (at) => at(workload, 'ours', 'figures', name);
const figureRatio = (workload, name, peer) => (at) =>
  at(workload, 'ours', 'figures', name) / at(workload, peer, 'figures', name);
const aboveEmpty = (workload, name) => (at) =>
  at(workload, 'ours', 'figures', name) - at(workload, 'empty', 'figures', name);

/** A phase of growth, at ten times as many keys. */
const grown = (phase) => (at) => at('G10M', 'ours', 'ops', phase) / at('G1M', 'ours', 'ops', phase);
const GROWING = [
  'load',
  'zipfian reads one by one',
  'zipfian reads by 64',
  'uniform reads by 64',
  'absent keys by 64',
  'zipfian updates by 64',
];

/** Workload, what, how it comes from medians, relation, wanted, goal beyond it. */
const BUDGETS = [
  ['W1', 'load, × lmdb', ratio('W1', 'load', 'lmdb'), '≥', 1, 1.5],
  ['W1', 'resident memory, × lmdb', figureRatio('W1', RESIDENT, 'lmdb'), '≤', 1.1],
  [
    'W1',
    'resident memory, × lmdb with its default encoding',
    figureRatio('W1', RESIDENT, 'lmdb-default'),
    '≤',
    1.1,
  ],
  ['W1', 'index, bytes a hot key', figure('W1', 'index, bytes a hot key'), '≤', 16],
  ['W2', 'resident memory, each read once, × lmdb', figureRatio('W2', RESIDENT, 'lmdb'), '≤', 1.1],
  ...[ONE_BY_ONE, BY_64].flatMap((phase) => [
    ['W2', `reads ${phase}, copies, × lmdb`, ratio('W2', phase, 'lmdb'), '≥', 1.9],
    [
      'W2',
      `reads ${phase}, copies, × lmdb with its default encoding`,
      ratio('W2', phase, 'lmdb-default'),
      '≥',
      1.9,
    ],
    ['W2', `reads ${phase}, copies, × lru-cache`, ratio('W2', phase, 'lru-cache'), '≥', 1],
    [
      'W2',
      `reads ${phase}, decoded kept, × lru-cache`,
      ratio('W2', phase, 'lru-cache', 'ours-decoded'),
      '≥',
      1.2,
    ],
    ['W2', `reads ${phase}, decoded kept, × Map`, ratio('W2', phase, 'map', 'ours-decoded'), 'goal ≥', 1],
  ]),
  ['W3', 'YCSB-A one by one, × lru-cache', ratio('W3', ONE_BY_ONE, 'lru-cache'), '≥', 1.1, 1.4],
  ['W4', 'read-modify-write one by one, × lru-cache', ratio('W4', ONE_BY_ONE, 'lru-cache'), '≥', 1, 1.3],
  ['W5', 'insert by 64, × the best', ratio('W5', 'insert by 64', RIVALS), '≥', 3],
  ['W5', 'insert one by one, × the best', ratio('W5', 'insert one by one', RIVALS), '≥', 3],
  ['W5', 'read one by one, × lmdb', ratio('W5', 'read one by one', 'lmdb'), '≥', 1],
  ['W5', 'read by 64, × the best', ratio('W5', 'read by 64', RIVALS), '≥', 2],
  ...['read one by one', 'read by 64'].map((phase) => [
    'W5z',
    `${phase}, compressed, × the best`,
    ratio('W5z', phase, ['rocksdb', 'classic-level']),
    'goal ≥',
    1,
  ]),
  ['W6', 'zipfian one by one, × lmdb', ratio('W6', 'zipfian one by one', 'lmdb'), '≥', 2],
  ['W6', 'zipfian by 64, × rocksdb', ratio('W6', 'zipfian by 64', 'rocksdb'), '≥', 2.5],
  ['W6', 'uniform one by one, × lmdb', ratio('W6', 'uniform one by one', 'lmdb'), '≥', 1.2],
  ['W6', 'uniform by 64, × rocksdb', ratio('W6', 'uniform by 64', 'rocksdb'), '≥', 1.5],
  [
    'W7',
    'event-loop delay p99 above the empty harness, ms',
    aboveEmpty('W7', 'event-loop delay p99, ms'),
    '≤',
    1.5,
  ],
  [
    'W7',
    'event-loop delay max above the empty harness, ms',
    aboveEmpty('W7', 'event-loop delay max, ms'),
    '≤',
    4,
  ],
  [
    'W7',
    'collections while loading, × empty',
    figureRatio('W7', 'collections while loading, ms', 'empty'),
    '≤',
    2,
  ],
  ['W7', 'one full collection, × empty', figureRatio('W7', 'one full collection, ms', 'empty'), '≤', 2],
  [
    'W7',
    'JavaScript heap of 5 million users above the empty harness, MiB',
    aboveEmpty('W7', 'heap used, MiB'),
    '≤',
    8,
  ],
  ['W8', 'durable writes, × bare append and fdatasync', ratio('W8', 'durable writes', 'bare'), '≥', 0.9],
  ['W8', 'durable writes, × lmdb', ratio('W8', 'durable writes', 'lmdb'), '≥', 1.2],
  ['W9', 'first read of 1 million, × lmdb', figureRatio('W9', 'first read, ms', 'lmdb'), '≤', 1.1],
  ['W9many', 'first read of 5 million, × lmdb', figureRatio('W9many', 'first read, ms', 'lmdb'), '≤', 1.1],
  ['S', 'write amplification, own count', figure('S', 'own count: write amplification'), '≤', 3, 1.8],
  ['S', 'space amplification, own count', figure('S', 'own count: space amplification'), '≤', 1.6, 1.3],
  ['G10M', 'index, bytes a cold key', figure('G10M', 'index, bytes a cold key'), '≤', 2],
  ['G10M', 'record reads a cold get', figure('G10M', 'own count: record reads a cold get'), '≤', 1.01],
  ['G10M', 'index reads a cold get', figure('G10M', 'own count: index reads a cold get'), '≤', 1.01],
  ['G10M', 'device reads an absent key', figure('G10M', 'own count: reads an absent key'), '≤', 0.01],
  ...GROWING.map((phase) => ['G10M', `${phase}: 10 million, × 1 million`, grown(phase), '≥', 0.5]),
];

/** @param medians by workload and peer */
export function budgetsOf(medians) {
  return BUDGETS.filter(([workload]) => medians[workload] && Object.keys(medians[workload]).length > 0).map(
    ([workload, what, measure, relation, wanted, goal]) => {
      const row = { workload, what, relation, wanted, ...(goal && { goal }) };
      const missing = [];
      const value = measure((name, peer, kind, key) => {
        const found = medians[name]?.[peer]?.[kind]?.[key];
        if (found === undefined) missing.push(peer);
        return found;
      });
      if (missing.length > 0) return { ...row, missing };
      const held = relation.endsWith('≤') ? value <= wanted : value >= wanted;
      return { ...row, value, held };
    },
  );
}

/** Whether a run may be called good. Goals are beyond that. */
export const isHeld = ({ relation, held, missing }) =>
  missing !== undefined || held || relation.startsWith('goal');
