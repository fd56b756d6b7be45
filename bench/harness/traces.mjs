/**
 * Which keys are asked for, made from a seed. Zipfian ranks follow Gray et al. (SIGMOD 1994), as YCSB does, with theta
 * 0.99; a shuffle spreads them over the keys, so that hot keys are not neighbours. "Latest" is YCSB's distribution of
 * workload D: the zipfian rank counts back from the newest key.
 */
const ZIPF_THETA = 0.99;
/** So many keys at the newest end are not read yet: their inserts may be under way. */
const UNDER_WAY = 64;

/** What an operation of a mix does. */
export const READ = 0;
export const UPDATE = 1;
export const READ_MODIFY_WRITE = 2;
export const INSERT = 3;

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Makes traces over `keys` keys: arrays of key indices. `number` tells traces apart; the same one is the same for every peer. */
export class Traces {
  constructor(keys, seed) {
    this.keys = keys;
    this.seed = seed;
    this.keyOfRank = shuffled(keys, randomFrom(seed));
    this.zeta = 0;
    for (let i = 1; i <= keys; i++) this.zeta += 1 / i ** ZIPF_THETA;
    const zeta2 = 1 + 0.5 ** ZIPF_THETA;
    this.eta = (1 - (2 / keys) ** (1 - ZIPF_THETA)) / (1 - zeta2 / this.zeta);
  }

  zipfian(operations, number) {
    const random = randomFrom(this.seed + number);
    const trace = new Uint32Array(operations);
    for (let i = 0; i < operations; i++) trace[i] = this.keyOfRank[this.rank(random())];
    return trace;
  }

  uniform(operations, number) {
    const random = randomFrom(this.seed + number);
    return new Uint32Array(operations).map(() => Math.floor(random() * this.keys));
  }

  /** Keys in random order, each once: at most as many as there are. */
  distinct(operations) {
    return this.keyOfRank.slice(0, operations);
  }

  /** For each operation `kind` with probability `share`, else `READ`. */
  mix(operations, kind, share, number) {
    const random = randomFrom(this.seed + number);
    return new Uint8Array(operations).map(() => (random() < share ? kind : READ));
  }

  /** YCSB-D: the trace that belongs to these kinds. An insert takes the next key. */
  latest(kinds, number) {
    const random = randomFrom(this.seed + number);
    let next = this.keys;
    return new Uint32Array(kinds.length).map((_, i) =>
      kinds[i] === INSERT ? next++ : Math.max(0, next - 1 - UNDER_WAY - this.rank(random())),
    );
  }

  rank(uniform) {
    const scaled = uniform * this.zeta;
    if (scaled < 1) return 0;
    if (scaled < 1 + 0.5 ** ZIPF_THETA) return 1;
    const rank = Math.floor(this.keys * (this.eta * uniform - this.eta + 1) ** (1 / (1 - ZIPF_THETA)));
    return Math.min(rank, this.keys - 1);
  }
}

function shuffled(count, random) {
  const order = new Uint32Array(count);
  for (let i = 0; i < count; i++) order[i] = i;
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
