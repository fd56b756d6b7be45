/**
 * Two who want one directory: exactly one gets it, the other is told who has it; a killed holder leaves no lock. Those who
 * only read share it, but with nobody who writes.
 */
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
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

describe('processes that read, and one that writes', () => {
  const READERS = 2;

  it(`race for one directory ${RACES / 2} times: the writer, or all of the readers`, async () => {
    const path = missingPath();
    await (await KvStore.open({ path })).close();
    const race = async (path: string) => {
      const atMs = Date.now() + HEAD_START_MS;
      // Now and then the one or the others come a little later.
      const late = Math.floor(Math.random() * 80) - 40;
      const writer = startChild('opener', { path, atMs: atMs + late });
      const readers = Array.from({ length: READERS }, () =>
        startChild('opener', { path, atMs, readOnly: true }),
      );
      const [result, ...results] = await Promise.all(
        [writer, ...readers].map((child) => child.line(outcome)),
      );
      const { pid } = writer.process;
      if (result === 'open') expect(results).toEqual(results.map(() => `locked ${pid}`));
      else expect([result, ...results]).toEqual(['locked by readers', ...results.map(() => 'open')]);
      for (const child of [writer, ...readers]) child.process.stdin?.end();
      await Promise.all([writer, ...readers].map((child) => child.ended));
    };
    for (let i = 0; i < RACES / 2; i++) await race(path);
    const store = await KvStore.open({ path, readOnly: true });
    expect((await store.get<number>('opened')) ?? 0).toBeLessThanOrEqual(RACES / 2);
    await store.close();
  }, 90_000);

  it('follow each other at once, whoever is killed; readers find what a killed writer had made durable', async () => {
    const path = missingPath();
    for (let round = 1; round <= 3; round++) {
      const writer = startChild('opener', { path, atMs: 0 });
      await writer.line((line) => line === 'open');
      const startReader = async () => {
        const reader = startChild('opener', { path, atMs: 0, readOnly: true });
        expect(await reader.line((line) => line.startsWith('read '))).toBe(`read ${round}`);
        return reader;
      };
      await expect(KvStore.open({ path, readOnly: true })).rejects.toMatchObject({
        code: 'KV_LOCKED',
        holder: { pid: writer.process.pid },
      });
      // What it had counted is durable by now.
      await new Promise((resolve) => setTimeout(resolve, 500));
      writer.process.kill('SIGKILL');
      await writer.ended;
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
  }, 90_000);
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
