/**
 * Two who want one directory: exactly one gets it, the other is told who has it; a killed holder leaves no lock. Those who
 * only read share it, but with nobody who writes.
 */
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KvLockedError, KvStore } from 'nestjs-hotcold/store';
import { nodeEnv } from '../src/device/node-env.js';
import { startChild } from './support/built-store.js';
import { SeededRandom } from './support/seeded-random.js';
import { RUNS, SEED, tally } from './support/tally.js';
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

it('opens also where nobody can tell who we are, and gives the lock back', async () => {
  const path = missingPath();
  const identity = () => {
    throw new Error('no host name');
  };
  for (let openings = 0; openings < 2; openings++) {
    const store = await KvStore.open({
      path,
      env: { ...nodeEnv, process: { ...nodeEnv.process, identity } },
    });
    await store.close();
  }
});

/** A process that has opened a directory with this outcome. */
async function opener(request: object, outcome: string): Promise<Opener['child']> {
  const started = new Opener();
  await started.child.line((line) => line === 'ready');
  expect(await started.ask(request)).toBe(outcome);
  return started.child;
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
  });
});

describe('processes that read, and one that writes', () => {
  const READERS = 2;

  it(
    `race for one directory ${RACES / 2} times: the writer, or all of the readers`,
    async () => {
      const path = missingPath();
      await (await KvStore.open({ path })).close();
      const writer = new Opener();
      const readers = Array.from({ length: READERS }, () => new Opener());
      await Promise.all([writer, ...readers].map(({ child }) => child.line((line) => line === 'ready')));
      const random = new SeededRandom(SEED);
      for (let i = 0; i < RACES / 2; i++) {
        const atMs = Date.now() + 2 * HEAD_START_MS;
        // Now and then the one or the others come a little later.
        const late = random.below(2 * HEAD_START_MS) - HEAD_START_MS;
        const [result, ...results] = await Promise.all([
          writer.ask({ path, atMs: atMs + late }),
          ...readers.map((reader) => reader.ask({ path, atMs, readOnly: true })),
        ]);
        if (result === 'open') expect(results).toEqual(results.map(() => `locked ${writer.pid}`));
        else {
          expect(result).toBe('locked by readers');
          for (const read of results) expect(read).toMatch(/^read /);
        }
        await Promise.all([writer, ...readers].map((opener) => opener.ask('close')));
      }
      await Promise.all([writer, ...readers].map((opener) => opener.end()));
      const store = await KvStore.open({ path, readOnly: true });
      expect((await store.get<number>('opened')) ?? 0).toBeLessThanOrEqual(RACES / 2);
      await store.close();
    },
    90_000 * RUNS,
  );

  it('follow each other at once, whoever is killed; readers find what a killed writer had made durable', async () => {
    const path = missingPath();
    for (let round = 1; round <= 3; round++) {
      const { process: writer, ended } = await opener({ path, atMs: 0 }, 'open');
      const startReader = () => opener({ path, atMs: 0, readOnly: true }, `read ${round}`);
      await expect(KvStore.open({ path, readOnly: true })).rejects.toMatchObject({
        code: 'KV_LOCKED',
        holder: { pid: writer.pid },
      });
      // What it had counted is durable by now.
      await new Promise((resolve) => setTimeout(resolve, 500));
      writer.kill('SIGKILL');
      await ended;
      // A tail that was torn in the middle.
      const last =
        readdirSync(path)
          .filter((name) => name.startsWith('hot-'))
          .sort()
          .at(-1) ?? '';
      appendFileSync(join(path, last), Buffer.alloc(1000, 0xa5));
      const readers = await Promise.all([startReader(), startReader()]);
      await expect(KvStore.open({ path })).rejects.toMatchObject({ byReaders: true, holder: undefined });
      for (const reader of readers) {
        reader.process.kill('SIGKILL');
        await reader.ended;
      }
      const begun = Date.now();
      const store = await KvStore.open({ path, readOnly: true });
      expect(Date.now() - begun).toBeLessThan(1000);
      expect(await store.get('opened')).toBe(round);
      await store.close();
    }
  });
});

describe('workers', () => {
  it.each(['cluster', 'threads'])('of one process (%s) are kept apart like processes', async (kind) => {
    const path = missingPath();
    const child = startChild('workers', { path, kind });
    await child.line((line) => line.startsWith('then'));
    expect(child.lines).toEqual(['open 1, locked 2', 'then open']);
    await child.ended;
  });
});

describe('the number of a process', () => {
  it.each([true, false])(
    'is no lock, also when it means another process by now (readOnly: %s)',
    async (readOnly) => {
      const path = missingPath();
      await (await KvStore.open({ path })).close();
      const holder = JSON.stringify({ pid: process.ppid, hostname: 'here', openedAt: 'once' });
      writeFileSync(join(path, 'LOCK'), holder);
      const store = await KvStore.open({ path, readOnly });
      const refused = await KvStore.open({ path }).catch((error: unknown) => error);
      expect(refused).toMatchObject(
        readOnly
          ? { byReaders: true, holder: undefined }
          : { byReaders: false, holder: { pid: process.pid } },
      );
      if (readOnly) expect(readFileSync(join(path, 'LOCK'), 'utf8')).toBe(holder);
      await store.close();
    },
  );
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
