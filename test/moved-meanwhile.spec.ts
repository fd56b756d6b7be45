/**
 * Records that move, or are overwritten, at the very moment at which somebody who waited goes on: a read that had to let
 * the event loop turn before it reached the disk, and a compaction in the middle of a large value. Each case was found by
 * a planted bug that nothing else caught.
 */
import type { KvStore } from 'nestjs-hotcold/store';
import type { Env } from '../src/device/env.js';
import { HeldReads, openOn, segmentsOf, turns, valueOf } from './support/compacting.js';
import { SimulatedDisk } from './support/simulated-disk.js';

const VALUE_BYTES = 10_000;
const KEYS = 300;
/** Longer than the time that reads may block in one turn. */
const LONG_MS = 1000;

/** An environment whose next wait for a turn of the event loop can be held. */
class HeldTurn {
  readonly env: Env;
  held = false;
  release: () => void = () => undefined;
  private armed = false;

  constructor(disk: SimulatedDisk) {
    const env = disk.env();
    const turn = () => {
      if (!this.armed) return env.clock.turn();
      this.armed = false;
      this.held = true;
      return new Promise<void>((resolve) => (this.release = resolve));
    };
    const { clock } = env;
    const held = {
      now: () => clock.now(),
      tick: () => clock.tick(),
      after: clock.after.bind(clock),
      turn,
    };
    this.env = { ...env, clock: held };
  }

  hold(): void {
    this.armed = true;
  }
}

async function spill(store: KvStore): Promise<void> {
  const filler = store.namespace('filler');
  for (let i = 0; i < 12; i++) await filler.set(i, Buffer.alloc(32 * 1024, i));
  await store.flush();
}

/** Keys that stay, and among them what will be garbage of the cold log, so that it is rewritten; all of it on disk. */
async function fill(store: KvStore): Promise<void> {
  for (let i = 0; i < KEYS; i++) {
    await store.set(`k${i}`, valueOf(i, 0, VALUE_BYTES));
    await store.set(`short ${i}`, valueOf(i, 1, VALUE_BYTES), { ttl: 1000 });
  }
  await spill(store);
}

describe('a read that lets the event loop turn before it reaches the disk', () => {
  it.each(['hot', 'cold'] as const)(
    'finds its record, although its file in the %s log is gone by then',
    async (log) => {
      const disk = new SimulatedDisk();
      const turn = new HeldTurn(disk);
      const store = await openOn(disk, { env: turn.env });
      await fill(store);
      if (log === 'cold') {
        await store.compact({ full: true });
        disk.clock.advance(2000);
      }
      const [first] = segmentsOf(disk, log);

      // A read that seems to take long: the next ones have to wait for the turn.
      turn.hold();
      disk.clock.tickMs = LONG_MS;
      // In the cold log it is that of the chunk, so the read of the record waits already.
      for (let i = 0; !turn.held; i++) await Promise.race([store.get(`k${10 + (i % 200)}`), turns(5)]);
      disk.clock.tickMs = 0.001;
      const waiting = store.get('k1');
      // Not a full one for the cold log: the hot one would be truncated as well, and that is noticed by itself.
      await store.compact({ full: log === 'hot' });
      expect(segmentsOf(disk, log)).not.toContain(first);
      turn.release();
      expect(await waiting).toBe(valueOf(1, 0, VALUE_BYTES));
      await store.close();
    },
  );
});

describe('a read by the thread pool', () => {
  it('finds its record, although it has moved within the cold log by the time its chunk comes', async () => {
    const disk = new SimulatedDisk();
    const reads = new HeldReads(disk);
    const store = await openOn(disk, { env: reads.env });
    await fill(store);
    await store.compact({ full: true });
    disk.clock.advance(2000);
    const [first] = segmentsOf(disk, 'cold');
    await reads.slowDown(
      store,
      Array.from({ length: 100 }, (_, i) => `k${10 + i}`),
    );
    reads.hold('after');
    const waiting = store.get('k1');
    while (reads.held === 0) await turns(1);
    // Not a full one: the hot log would be truncated as well, and that is noticed by itself.
    const { cold, hot } = await store.compact();
    expect([hot.truncatedBytes, segmentsOf(disk, 'cold').includes(first)]).toEqual([0, false]);
    expect(cold.records).toBeGreaterThan(0);
    reads.release();
    expect(await waiting).toBe(valueOf(1, 0, VALUE_BYTES));
    await store.close();
  });
});

describe('a large value', () => {
  it('that is overwritten while its pieces are copied is not entered into the cold index', async () => {
    const disk = new SimulatedDisk();
    const reads = new HeldReads(disk);
    const store = await openOn(disk, { env: reads.env });
    await store.set('large', valueOf('large', 0, 200_000));
    for (let i = 0; i < 100; i++) await store.set(`k${i}`, valueOf(i, 0, 100));
    await spill(store);
    await reads.slowDown(
      store,
      Array.from({ length: 100 }, (_, i) => `k${i}`),
    );
    // The first read is that of the cursor, the second that of the first piece.
    reads.hold('after', 1);
    const compaction = store.compact({ full: true });
    while (reads.held === 0) await turns(1);
    await store.set('large', 'new');
    reads.release();
    const { copiedRecords, hot } = await compaction;
    expect({ copiedRecords, records: hot.records }).toEqual({ copiedRecords: 112, records: 113 });
    expect(await store.get('large')).toBe('new');
    await store.close();
  });
});
