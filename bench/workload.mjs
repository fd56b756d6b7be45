/**
 * What every peer is asked to do, made from a seed: keys, values and traces. Zipfian ranks follow Gray et al. (SIGMOD
 * 1994), as YCSB does; a shuffle spreads them over the keys, so that hot keys are not neighbours.
 *
 * Keys and objects are made inside the measured loops: a string that is used twice carries its hash, which flatters
 * `Map`. What making them costs is what the empty adapter measures.
 */
import { Packr } from 'msgpackr';

const ZIPF_THETA = 0.99;

/** 17 characters, new on every call. */
export function keyOf(index) {
  return `user:${String(index).padStart(12, '0')}`;
}

const TAGS = ['red', 'green', 'blue', 'cyan', 'olive', 'black', 'white', 'brown'];

/** An object of about 120 bytes as JSON, new on every call. */
export function valueOf(index, version) {
  return {
    id: index,
    name: `Person ${index}`,
    email: `p${index}@example.com`,
    tags: [TAGS[index & 7], TAGS[(index >>> 3) & 7], TAGS[(index >>> 6) & 7]],
    score: (index % 1000) + version + 0.5,
    active: (index & 1) === 0,
  };
}

/** The change of a read-modify-write. */
export function withHigherScore(value) {
  return { ...value, score: value.score + 1 };
}

/**
 * Bytes of keys and values without whatever a store needs around them: with values as JSON, and as MessagePack with
 * shared structures, which leaves the names of fields out.
 */
export function rawDataBytes(keys) {
  const packr = new Packr({ structures: [] });
  const bytes = { json: 0, packed: 0 };
  for (let i = 0; i < keys; i++) {
    const key = keyOf(i).length;
    bytes.json += key + JSON.stringify(valueOf(i, 0)).length;
    bytes.packed += key + packr.pack(valueOf(i, 0)).length;
  }
  return bytes;
}

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

/** Makes traces over `keys` keys: arrays of key indices, zipfian with theta 0.99. */
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

  /** @param number tells traces apart; the same one is the same for every peer */
  zipfian(operations, number) {
    const random = randomFrom(this.seed + number);
    const trace = new Uint32Array(operations);
    for (let i = 0; i < operations; i++) trace[i] = this.keyOfRank[this.rank(random())];
    return trace;
  }

  /** For each operation 1 with probability `share`, else 0. */
  choices(operations, share, number) {
    const random = randomFrom(this.seed + number);
    return Uint8Array.from({ length: operations }, () => (random() < share ? 1 : 0));
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
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
