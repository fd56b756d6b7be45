// Opens directories on request, one line of JSON each: `path`, `atMs`, the moment at which to try, and `readOnly`. It says how
// that went: "open", "read <how often it was opened>", "locked <holder's pid>", "locked by readers", or "error <code>". The
// line "close" closes the store that it has.
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { KvLockedError, KvStore } from '../src/store/index.js';

const say = (line) => writeSync(1, `${line}\n`);
let store;

async function open({ path, atMs, readOnly = false }) {
  // To the millisecond, which a timer alone would not be.
  while (Date.now() < atMs) await new Promise((resolve) => setImmediate(resolve));
  try {
    store = await KvStore.open({ path, readOnly });
    if (readOnly) {
      say(`read ${await store.get('opened')}`);
      return;
    }
    say('open');
    await store.increment('opened');
    await store.flush();
  } catch (error) {
    if (!(error instanceof KvLockedError)) say(`error ${error.code} ${error.message}`);
    else say(error.byReaders ? 'locked by readers' : `locked ${error.holder?.pid}`);
  }
}

say('ready');
for await (const line of createInterface(process.stdin)) {
  if (line !== 'close') await open(JSON.parse(line));
  else {
    await store?.close();
    store = undefined;
    say('closed');
  }
}
