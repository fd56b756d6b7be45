/** Peers by what they keep, in the order of the tables. */

/** Objects on the heap, in one process, nothing on disk. */
export const HEAP = ['map', 'lru-cache'];
/** In one process, on disk; those that hold more than memory at the speed of a store. */
export const STORES = ['lmdb', 'rocksdb', 'classic-level', 'better-sqlite3'];
/** Everybody who keeps what fits into memory. */
export const ALL = [
  'empty',
  'ours',
  ...HEAP,
  'lmdb',
  'lmdb-nosync',
  'lmdb-default',
  ...STORES.slice(1),
  'redis',
  'bentocache',
];
/** The two that are kept decoded, where that makes a difference. */
export const ALL_AND_DECODED = ['empty', 'ours', 'ours-decoded', ...ALL.slice(2)];
