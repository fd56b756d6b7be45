/**
 * Limits of memory, page cache included, by control groups of Linux (version 1 or 2). A disk store that reads from 20 GiB
 * of page cache is a memory store; under a limit it is not. Two kinds:
 *
 *   'memory'      what the step has in use when it asks for the limit, and so many bytes more: for the store's own memory
 *                 and the pages of its files together
 *   'page cache'  so many bytes for the pages of its files; whatever memory the process takes itself comes on top, looked
 *                 at every 50 ms
 *
 * Pages that another process brought into the cache do not count against this one, so files have to be put out of it
 * before (`dropFromPageCache`).
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';

const FOLLOW_MS = 50;
const ROOT = '/sys/fs/cgroup';

const V1 = {
  root: join(ROOT, 'memory'),
  usage: 'memory.usage_in_bytes',
  limit: 'memory.limit_in_bytes',
  cache: /^cache (\d+)$/m,
};
const V2 = { root: ROOT, usage: 'memory.current', limit: 'memory.max', cache: /^file (\d+)$/m };

/** Why there can be no limit here; `undefined` if there can. */
export function unavailable() {
  if (process.platform !== 'linux') return 'control groups are Linux only';
  if (process.getuid() !== 0) return 'a limit of memory takes root';
  try {
    new MemoryCap('probe').remove();
    execFileSync('dd', ['--version'], { stdio: 'ignore' });
    return undefined;
  } catch (error) {
    return `no control group with a limit of memory: ${error.message}`;
  }
}

export class MemoryCap {
  constructor(name) {
    this.version = fs.existsSync(join(V1.root, V1.limit)) ? V1 : V2;
    this.folder = join(this.version.root, `hotcold-bench-${process.pid}-${name}`);
    fs.mkdirSync(this.folder);
    if (!fs.existsSync(join(this.folder, this.version.limit))) {
      this.remove();
      throw new Error(`${this.folder} has no ${this.version.limit}`);
    }
  }

  /** From now on the memory of this process counts. */
  add(pid) {
    fs.writeFileSync(join(this.folder, 'cgroup.procs'), String(pid));
  }

  /** @param cap `kind` and `bytes` */
  limit({ kind, bytes }) {
    const set = () => this.setLimit(this.used() + bytes);
    set();
    if (kind === 'page cache') this.timer = setInterval(set, FOLLOW_MS);
  }

  /** After the last process has ended. */
  remove() {
    clearInterval(this.timer);
    fs.rmdirSync(this.folder);
  }

  /** Bytes in use that are no page cache. */
  used() {
    const cache = Number(this.version.cache.exec(this.read('memory.stat'))?.[1] ?? 0);
    return Number(this.read(this.version.usage)) - cache;
  }

  setLimit(bytes) {
    try {
      fs.writeFileSync(join(this.folder, this.version.limit), String(bytes));
    } catch (error) {
      // More is in use than can be given back at once: the next look will succeed.
      if (error.code !== 'EBUSY') throw error;
    }
  }

  read(name) {
    return fs.readFileSync(join(this.folder, name), 'utf8');
  }
}

/** Puts the pages of all files of a folder out of the page cache. */
export function dropFromPageCache(folder) {
  for (const name of fs.readdirSync(folder, { recursive: true })) {
    const file = join(folder, name);
    if (!fs.statSync(file).isFile()) continue;
    const fd = fs.openSync(file, 'r+');
    fs.fsyncSync(fd);
    fs.closeSync(fd);
    // With no bytes to copy, `nocache` means the whole file.
    execFileSync('dd', [`if=${file}`, 'iflag=nocache', 'count=0'], { stdio: 'ignore' });
  }
}
