// A cluster whose workers all open one directory: says how that went for each, "open <pid>" or "locked <holder's pid>",
// and ends when it has heard of all.
import cluster from 'node:cluster';
import { writeSync } from 'node:fs';
import { KvLockedError, KvStore } from '../src/store/index.js';

const WORKERS = 3;
const { path } = JSON.parse(process.argv[2]);

if (cluster.isPrimary) {
  let heard = 0;
  for (let i = 0; i < WORKERS; i++) cluster.fork();
  cluster.on('message', (worker, line) => {
    writeSync(1, `${line}\n`);
    if (++heard === WORKERS) for (const one of Object.values(cluster.workers)) one.send('end');
  });
} else {
  const store = await KvStore.open({ path }).catch((error) => {
    if (!(error instanceof KvLockedError)) throw error;
    process.send(`locked ${error.holder?.pid}`);
  });
  if (store) process.send(`open ${process.pid}`);
  process.once('message', async () => {
    await store?.close();
    process.disconnect();
  });
}
