// Opens directories on request, one line of JSON each: `path`, and `atMs`, the moment at which to try. It says how that
// went: "open", "locked <holder's pid>", or "error <code>". The line "close" closes the store that it has.
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { KvLockedError, KvStore } from '../src/store/index.js';

const say = (line) => writeSync(1, `${line}\n`);
let store;

async function open({ path, atMs }) {
  // To the millisecond, which a timer alone would not be.
  while (Date.now() < atMs) await new Promise((resolve) => setImmediate(resolve));
  try {
    store = await KvStore.open({ path });
    say('open');
    await store.increment('opened');
    await store.flush();
  } catch (error) {
    say(
      error instanceof KvLockedError ? `locked ${error.holder?.pid}` : `error ${error.code} ${error.message}`,
    );
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
