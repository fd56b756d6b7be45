/** W2: zipfian reads. */
import { READ } from '../harness/traces.mjs';
import { mixWorkload } from './mixes.mjs';
import { ALL_AND_DECODED } from './peers.mjs';

export const workload = mixWorkload({
  title: 'zipfian reads of a million users',
  peers: ALL_AND_DECODED,
  kind: READ,
  share: 0,
  number: 100,
});
