// Opens one directory from several workers at once, of a cluster or in threads, and says how many could: "open <number>,
// locked <number>". Then their winner is ended without closing its store, and "then open" or what went wrong comes.
import cluster from 'node:cluster';
import { writeSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { KvStore } from '../src/store/index.js';

const WORKERS = 3;
const { path, kind } = isMainThread ? JSON.parse(process.argv[2]) : workerData;
const say = (line) => writeSync(1, `${line}\n`);

/** What a worker does: opens, says how that went, and stays. */
async function open(send) {
  const result = await KvStore.open({ path }).then(
    () => 'open',
    (error) => error.code,
  );
  send(result);
  setInterval(() => {}, 1000);
}

function startWorker() {
  if (kind === 'cluster') {
    const worker = cluster.fork();
    const end = () =>
      new Promise((resolve) => worker.once('exit', resolve) && worker.process.kill('SIGKILL'));
    return { worker, end };
  }
  const worker = new Worker(new URL(import.meta.url), { workerData: { path, kind } });
  return { worker, end: () => worker.terminate() };
}

if (cluster.isWorker) {
  await open((result) => process.send(result));
} else if (!isMainThread) {
  await open((result) => parentPort.postMessage(result));
} else {
  if (kind === 'cluster') cluster.setupPrimary({ args: process.argv.slice(2) });
  const workers = Array.from({ length: WORKERS }, startWorker);
  const results = await Promise.all(
    workers.map(({ worker }) => new Promise((resolve) => worker.once('message', resolve))),
  );
  const count = (result) => results.filter((one) => one === result).length;
  say(`open ${count('open')}, locked ${count('KV_LOCKED')}`);
  await workers[results.indexOf('open')]?.end();
  const store = await KvStore.open({ path }).catch((error) => error);
  say(store instanceof KvStore ? 'then open' : `then ${store.code}`);
  process.exit();
}
