/** Two who want one directory: exactly one gets it, the other is told who has it; a killed holder leaves no lock. */
import { writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { KvLockedError, KvStore } from 'nestjs-hotcold/store';
import { startChild } from './support/built-store.js';
import { RUNS, tally } from './support/tally.js';
import { missingPath } from './support/temp-directory.js';

const RACES = 100 * RUNS;
/** How long a line takes to reach a child, at most; they wait for the same moment. */
const HEAD_START_MS = 10;

/** A process that opens directories. */
class Opener {
  readonly child = startChild('opener', {});
  private answers = 1;

  get pid(): number | undefined {
    return this.child.process.pid;
  }

  /** The answer to a request. */
  ask(request: object | 'close'): Promise<string> {
    const number = this.answers++;
    this.child.process.stdin?.write(`${request === 'close' ? request : JSON.stringify(request)}\n`);
    return this.child.lineAt(number);
  }

  async end(): Promise<void> {
    this.child.process.stdin?.end();
    expect(await this.child.ended).toBe(0);
  }
}

describe('two processes', () => {
  it(
    `race for one directory ${RACES} times: one winner, and the other gets its pid`,
    async () => {
      const openers = [new Opener(), new Opener()];
      await Promise.all(openers.map(({ child }) => child.line((line) => line === 'ready')));
      const race = async (path: string) => {
        const atMs = Date.now() + HEAD_START_MS;
        const results = await Promise.all(openers.map((opener) => opener.ask({ path, atMs })));
        const winner = results.indexOf('open');
        expect(results.toSorted()).toEqual([`locked ${openers[winner]?.pid}`, 'open']);
        await Promise.all(openers.map((opener) => opener.ask('close')));
      };
      // Half of them for a directory that is new, half for the same one again.
      const path = missingPath();
      for (let i = 0; i < RACES / 2; i++) {
        await race(path);
        await race(missingPath());
      }
      await Promise.all(openers.map((opener) => opener.end()));
      const store = await KvStore.open({ path });
      expect(await store.get('opened')).toBe(RACES / 2);
      await store.close();
      tally({ races: RACES });
    },
    90_000 * RUNS,
  );

  it('follow each other at once, when the first is killed', async () => {
    const path = missingPath();
    for (let i = 1; i <= 5; i++) {
      const opener = new Opener();
      await opener.child.line((line) => line === 'ready');
      expect(await opener.ask({ path, atMs: 0 })).toBe('open');
      await expect(KvStore.open({ path })).rejects.toMatchObject({
        code: 'KV_LOCKED',
        path,
        holder: { pid: opener.pid },
      });
      opener.child.process.kill('SIGKILL');
      await opener.child.ended;
      const begun = Date.now();
      const store = await KvStore.open({ path });
      expect(Date.now() - begun).toBeLessThan(1000);
      expect(store.opened.clean).toBe(false);
      await store.close();
    }
  }, 60_000);
});

describe('a cluster', () => {
  it('lets one of its workers have the directory, and tells the others which', async () => {
    const path = missingPath();
    const child = startChild('cluster', { path });
    expect(await child.ended).toBe(0);
    const [pid] = child.lines.filter((line) => line.startsWith('open')).map((line) => line.split(' ')[1]);
    expect(child.lines.toSorted()).toEqual([`locked ${pid}`, `locked ${pid}`, `open ${pid}`]);
    await (await KvStore.open({ path })).close();
  });
});

describe('a lock file', () => {
  it('keeps nobody out by itself, although the pid in it is that of a process (it was given again)', async () => {
    const path = missingPath();
    await (await KvStore.open({ path })).close();
    const holder = { pid: process.ppid, hostname: hostname(), openedAt: new Date().toISOString() };
    writeFileSync(`${path}/LOCK`, JSON.stringify(holder));
    const store = await KvStore.open({ path });
    await store.set('k', 1);
    await store.close();
  });
});

describe('one process', () => {
  it('opens a directory once at a time', async () => {
    const path = missingPath();
    const store = await KvStore.open({ path });
    const second = await KvStore.open({ path }).catch((error: unknown) => error);
    expect(second).toBeInstanceOf(KvLockedError);
    expect(second).toMatchObject({ path, holder: { pid: process.pid } });
    expect((second as Error).message).toContain(String(process.pid));
    // The one that was refused has taken nothing from the first.
    await store.set('k', 1);
    await expect(KvStore.open({ path: `${path}/.` })).rejects.toThrow(KvLockedError);
    await store.close();
    const third = await KvStore.open({ path });
    expect(await third.get('k')).toBe(1);
    await third.close();
  });

  it('lets one of many opens at once win', async () => {
    const path = missingPath();
    const results = await Promise.allSettled(Array.from({ length: 5 }, () => KvStore.open({ path })));
    const stores = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    const errors = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason as unknown] : [],
    );
    expect(stores).toHaveLength(1);
    expect(errors.map((error) => error instanceof KvLockedError)).toEqual([true, true, true, true]);
    await stores[0]?.close();
  });

  it('opens stores in different directories side by side', async () => {
    const stores = await Promise.all([0, 1, 2].map(() => KvStore.open({ path: missingPath() })));
    await Promise.all(stores.map((store, i) => store.set('k', i)));
    expect(await Promise.all(stores.map((store) => store.get('k')))).toEqual([0, 1, 2]);
    await Promise.all(stores.map((store) => store.close()));
  });
});
