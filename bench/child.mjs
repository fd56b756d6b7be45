/**
 * One step of a workload with one peer, in a process of its own: sends what it measured to the process that started it
 * (`harness/conduct.mjs`), or prints it. By hand, with a profile of each phase:
 *
 *   node --expose-gc bench/child.mjs '{"workload":"W2","step":"mix","peer":"ours","quick":true,"profile":"/tmp/profiles"}'
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Context } from './harness/context.mjs';
import { WORKLOADS } from './workloads/index.mjs';

const job = JSON.parse(process.argv[2]);
const workload = WORKLOADS[job.workload];
const directory = job.directory ?? mkdtempSync(join(tmpdir(), 'hotcold-bench-'));
mkdirSync(directory, { recursive: true });
const adapter = await import(`./adapters/${job.peer}.mjs`);
const context = new Context({ ...job, directory }, workload, adapter);
try {
  await workload.steps[job.step].run(context);
} finally {
  if (!job.directory) rmSync(directory, { recursive: true, force: true });
}
if (process.send) process.send({ result: context.result }, () => process.exit(0));
else console.log(JSON.stringify(context.result, null, 2));
