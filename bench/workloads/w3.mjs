/** W3: YCSB-A, half reads and half updates. */
import { UPDATE } from '../harness/traces.mjs';
import { mixWorkload } from './mixes.mjs';
import { ALL } from './peers.mjs';

export const workload = mixWorkload({
  title: 'YCSB-A: half reads, half updates',
  peers: ALL,
  kind: UPDATE,
  share: 0.5,
  number: 200,
});
