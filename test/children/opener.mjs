// Opens a directory at a given moment and says how that went: "open", "locked <holder's pid>", or "error <code>". A
// winner keeps the store open until its standard input ends.
import { writeSync } from 'node:fs';
import { KvLockedError, KvStore } from '../src/store/index.js';

const { path, atMs } = JSON.parse(process.argv[2]);
const say = (line) => writeSync(1, `${line}\n`);

say('ready');
// To the millisecond, which a timer alone would not be.
while (Date.now() < atMs) await new Promise((resolve) => setImmediate(resolve));
try {
  const store = await KvStore.open({ path });
  say('open');
  await store.increment('opened');
  await store.flush();
  process.stdin.resume();
  await new Promise((resolve) => process.stdin.on('end', resolve));
  await store.close();
  say('closed');
} catch (error) {
  say(
    error instanceof KvLockedError ? `locked ${error.holder?.pid}` : `error ${error.code} ${error.message}`,
  );
}
