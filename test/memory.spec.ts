/**
 * Bounded memory, also for callers who do not await: a process that sets 300 MB of values without waiting takes no more
 * resident memory than the same process with a store that does nothing, the 8 MiB it was given, and a tolerance.
 *
 * The tolerance covers what a run allocates outside its data: compiled code, the promises and strings of one turn (which
 * the empty store has, too, but which live longer when the turn does), and the garbage collector's freedom to be late: the same
 * run takes 10 MiB more or less from one time to the next.
 */
import { existsSync } from 'node:fs';
import { KvOverloadedError, KvStore } from 'nestjs-hotcold/store';
import { startChild } from './support/built-store.js';
import { SimulatedDisk } from './support/simulated-disk.js';
import { missingPath } from './support/temp-directory.js';

const MIB = 1024 * 1024;
const HOT_BYTES = 8 * MIB;
const TOLERANCE_BYTES = 32 * MIB;

/** Peak of the resident memory of a run, in bytes. A small heap, so that garbage is not taken for a leak. */
async function peakOf(
  store: 'real' | 'none',
  perTurn: number,
  level: string,
  diskBudget: string,
): Promise<number> {
  const options = {
    path: missingPath(),
    store,
    count: 300_000,
    perTurn,
    level,
    valueBytes: 1000,
    diskBudget,
  };
  const child = startChild('memory', options, ['--max-semi-space-size=1']);
  expect(await child.ended).toBe(0);
  expect(await child.line((line) => line.startsWith('failures'))).toBe('failures 0');
  return Number((await child.line((line) => line.startsWith('rss'))).split(' ')[1]);
}

// The peak is read from /proc, which other systems than Linux do not have.
const onLinux = existsSync('/proc/self/status') ? describe : describe.skip;

onLinux('writes without awaiting, at hot.memory 8mb (skipped where there is no /proc)', () => {
  it.each([
    ['1,000 in a turn', 1000, 'interval', '256mb'],
    ['1,000 in a turn', 1000, 'checkpoint', '256mb'],
    ['all in one turn', 300_000, 'interval', '256mb'],
    // Compaction cannot keep up, and those who do not await do not wait for it.
    ['1,000 in a turn', 1000, 'interval', '8mb'],
  ])(
    '%s (of %d) at %s, with a disk budget of %s',
    async (_, perTurn, level, diskBudget) => {
      const [empty, real] = await Promise.all([
        peakOf('none', perTurn, level, diskBudget),
        peakOf('real', perTurn, level, diskBudget),
      ]);
      const above = real - empty;
      console.log(
        `${perTurn} in a turn at ${level}, ${diskBudget}: ${Math.round(above / MIB)} MiB above the empty store`,
      );
      expect(above).toBeLessThan(HOT_BYTES + TOLERANCE_BYTES);
    },
    60_000,
  );
});

describe('writes without awaiting, at always', () => {
  it('are refused at once beyond maxBacklog, and taken again when there is room', async () => {
    const disk = new SimulatedDisk();
    const store = await KvStore.open({
      path: '/store',
      env: disk.env(),
      durability: { level: 'always' },
      maxBacklog: 100,
    });
    const writes = Array.from({ length: 150 }, (_, i) => store.set(i, i));
    expect(store.stats().writes.backlog).toBe(100);
    const results = await Promise.allSettled(writes);
    expect(results.map(({ status }) => status === 'fulfilled')).toEqual(results.map((_, i) => i < 100));
    for (const result of results.slice(100)) {
      expect(result).toMatchObject({ reason: expect.any(KvOverloadedError) as Error });
    }
    expect(store.stats().writes.backlog).toBe(0);
    expect(await store.getMany([99, 100])).toEqual([99, undefined]);
    await store.set(100, 'now');
    expect(await store.get(100)).toBe('now');
    await store.close();
  });

  it('are not refused to one call that deletes or sets more keys than that', async () => {
    const store = await KvStore.open({ durability: { level: 'always' }, maxBacklog: 100 });
    const keys = Array.from({ length: 300 }, (_, i) => i);
    await store.setMany(keys.map((key) => [key, 1] as const));
    expect(await store.deleteMany(keys)).toBe(300);
    await store.close();
  });
});

describe('a store on a memory device', () => {
  it('refuses writes beyond memoryLimit, and answers reads', async () => {
    const store = await KvStore.open({ memoryLimit: '16mb', hot: { memory: '8mb' } });
    let refused: unknown;
    let written = 0;
    while (!refused && written < 10_000) {
      refused = await store.set(written, Buffer.alloc(10_000, written)).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (!refused) written++;
    }
    expect(refused).toBeInstanceOf(KvOverloadedError);
    expect(written).toBeGreaterThan(1000);
    for (let i = 0; i < written; i += 100) expect((await store.get<Buffer>(i))?.[0]).toBe(i % 256);
    expect(store.stats().hot.memoryBytes).toBeLessThanOrEqual(8 * MIB);
    await store.close().catch(() => undefined);
  });
});

describe('a long import at interval', () => {
  it('is committed while it runs, not only at its end', async () => {
    const store = await KvStore.open({ path: missingPath(), durability: { level: 'interval', everyMs: 1 } });
    const seen = new Set<number>();
    const entries = function* () {
      for (let i = 0; i < 50_000; i++) {
        seen.add(store.stats().writes.commits);
        yield [i, i] as const;
      }
    };
    await store.setMany(entries());
    expect(seen.size).toBeGreaterThan(5);
    await store.close();
  });
});
