/** W4: the read-modify-writes of YCSB-F, without its reads: that is how the budget for it was measured. */
import { READ_MODIFY_WRITE } from '../harness/traces.mjs';
import { mixWorkload } from './mixes.mjs';
import { ALL } from './peers.mjs';

export const workload = mixWorkload({
  title: 'read-modify-writes (those of YCSB-F)',
  peers: ALL,
  kind: READ_MODIFY_WRITE,
  share: 1,
  number: 300,
});
