// Opens a directory at a given moment and says how that went: "open", "locked <holder's pid>", "locked by readers", or
// "error <code>". A winner keeps the store open until its standard input ends; one that only reads says what it has found.
import { writeSync } from 'node:fs';
import { KvLockedError, KvStore } from '../src/store/index.js';

const { path, atMs, readOnly = false } = JSON.parse(process.argv[2]);
const say = (line) => writeSync(1, `${line}\n`);

say('ready');
// To the millisecond, which a timer alone would not be.
while (Date.now() < atMs) await new Promise((resolve) => setImmediate(resolve));
try {
  const store = await KvStore.open({ path, readOnly });
  say('open');
  if (readOnly) {
    say(`read ${await store.get('opened')}`);
  } else {
    await store.increment('opened');
    await store.flush();
  }
  process.stdin.resume();
  await new Promise((resolve) => process.stdin.on('end', resolve));
  await store.close();
  say('closed');
} catch (error) {
  if (!(error instanceof KvLockedError)) say(`error ${error.code} ${error.message}`);
  else say(error.byReaders ? 'locked by readers' : `locked ${error.holder?.pid}`);
}
