/**
 * What a store that waits for this disk cannot be faster than, but for what it keeps in memory itself: values of one
 * length in a file, each where its number says. A read is a `readSync`, or an `fs.read` each where several were asked for
 * in one turn. No index, no checks.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { blobs } from '../harness/data.mjs';

const VALUE_BYTES = blobs.valueOf(0).length;
const WRITE_BYTES = VALUE_BYTES * 5000;

const positionOf = (key) => Number(key.slice(key.indexOf(':') + 1)) * VALUE_BYTES;

export function open(path) {
  fs.mkdirSync(path, { recursive: true });
  const file = join(path, 'values');
  const fd = fs.openSync(file, fs.existsSync(file) ? 'r+' : 'w+');
  let waiting = [];
  let written = [];

  const write = () => {
    const bytes = Buffer.concat(written);
    fs.writeSync(fd, bytes);
    written = [];
  };
  const read = () => {
    const batch = waiting;
    waiting = [];
    for (const { key, resolve, reject } of batch) {
      const value = Buffer.allocUnsafe(VALUE_BYTES);
      if (batch.length === 1) {
        fs.readSync(fd, value, 0, VALUE_BYTES, positionOf(key));
        resolve(value);
      } else {
        fs.read(fd, value, 0, VALUE_BYTES, positionOf(key), (error) =>
          error ? reject(error) : resolve(value),
        );
      }
    }
  };
  return {
    /** In the order of keys. */
    set: (key, value) => {
      written.push(value);
      if (written.length * VALUE_BYTES >= WRITE_BYTES) write();
      return Promise.resolve();
    },
    get: (key) =>
      new Promise((resolve, reject) => {
        waiting.push({ key, resolve, reject });
        if (waiting.length === 1) void Promise.resolve().then(read);
      }),
    flush: write,
    close: () => fs.closeSync(fd),
  };
}
