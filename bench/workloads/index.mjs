/**
 * The workloads by name. Each has
 *
 * - `title` for the tables, `peers` in their order
 * - `size` and, unless it only differs in size from another, `quick`: numbers that its steps use; `size.keys` is how many
 *   keys there are
 * - `steps`, each in a process of its own, one after the other on the same directory:
 *     `run(context)` (`child.mjs` says what a context has)
 *     `once`: prepares a directory that all rounds use
 *     `cap`: the memory that the step may use (`memory-cap.mjs`); `env`: further environment
 *     `firstRead`: instead of `run`, so many processes of `first-read.mjs`
 * - `rounds`: at most so many; `large`: only measured when asked for
 */
import * as steady from './steady.mjs';
import * as vestpocket from './vestpocket.mjs';
import * as w1 from './w1.mjs';
import * as w2 from './w2.mjs';
import * as w3 from './w3.mjs';
import * as w4 from './w4.mjs';
import * as w5 from './w5.mjs';
import * as w6 from './w6.mjs';
import * as w7 from './w7.mjs';
import * as w8 from './w8.mjs';
import * as w9 from './w9.mjs';
import * as growth from './growth.mjs';
import * as ycsb from './ycsb.mjs';

export const WORKLOADS = {
  W1: w1.workload,
  W2: w2.workload,
  W3: w3.workload,
  W4: w4.workload,
  W5: w5.uncompressed,
  W5z: w5.compressed,
  W6: w6.workload,
  W7: w7.workload,
  W8: w8.workload,
  W9: w9.few,
  W9many: w9.many,
  Y1M: ycsb.million,
  Y10M: ycsb.tenMillion,
  Y50M: ycsb.fiftyMillion,
  V: vestpocket.workload,
  S: steady.workload,
  G100k: growth.hundredThousand,
  G1M: growth.million,
  G10M: growth.tenMillion,
  G50M: growth.fiftyMillion,
};

const named = (is) => Object.keys(WORKLOADS).filter((name) => is(name, WORKLOADS[name].large === true));

/** What `npm run bench` measures unless told otherwise, and what `--large` adds; the same for `npm run bench:growth`. */
export const USUAL = named((name, large) => !name.startsWith('G') && !large);
export const USUAL_LARGE = named((name, large) => !name.startsWith('G') && large);
export const GROWTH = named((name, large) => name.startsWith('G') && !large);
export const GROWTH_LARGE = named((name, large) => name.startsWith('G') && large);
