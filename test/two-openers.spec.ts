/** Two who want one directory: exactly one gets it, the other is told who has it; a killed holder leaves no lock. */
import { KvLockedError, KvStore } from 'nestjs-hotcold/store';
import { startChild } from './support/built-store.js';
import { missingPath } from './support/temp-directory.js';

const RACES = 20;
/** How long a child takes to start, at most; they wait for the same moment. */
const HEAD_START_MS = 700;

const outcome = (line: string) => !line.startsWith('ready');

describe('two processes', () => {
  it(`race for one directory ${RACES} times: one winner, and the other gets its pid`, async () => {
    const race = async (path: string) => {
      const atMs = Date.now() + HEAD_START_MS;
      const children = [0, 1].map(() => startChild('opener', { path, atMs }));
      const results = await Promise.all(children.map((child) => child.line(outcome)));
      const winner = results.indexOf('open');
      const pid = children[winner]?.process.pid;
      expect(results.toSorted()).toEqual([`locked ${pid}`, 'open']);
      for (const child of children) child.process.stdin?.end();
      expect(await Promise.all(children.map((child) => child.ended))).toEqual([0, 0]);
    };
    // Half of them for a directory that is new, half for the same one again.
    const path = missingPath();
    for (let i = 0; i < RACES / 2; i++) await Promise.all([race(path), race(missingPath())]);
    const store = await KvStore.open({ path });
    expect(await store.get('opened')).toBe(RACES / 2);
    await store.close();
  }, 90_000);

  it('follow each other at once, when the first is killed', async () => {
    const path = missingPath();
    for (let i = 1; i <= 5; i++) {
      const child = startChild('opener', { path, atMs: 0 });
      await child.line((line) => line === 'open');
      await expect(KvStore.open({ path })).rejects.toMatchObject({
        code: 'KV_LOCKED',
        path,
        holder: { pid: child.process.pid },
      });
      child.process.kill('SIGKILL');
      await child.ended;
      const begun = Date.now();
      const store = await KvStore.open({ path });
      expect(Date.now() - begun).toBeLessThan(1000);
      expect(store.opened.clean).toBe(false);
      await store.close();
    }
  }, 60_000);
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
