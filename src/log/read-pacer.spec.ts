import type { EnvClock } from '../device/env.js';
import { SeededRandom } from '../../test/support/seeded-random.js';
import { ReadPacer } from './read-pacer.js';

const WINDOW_MS = 0.5;
const CACHED_MS = 0.0015;
const DISK_MS = 0.08;
/** How long a read through the thread pool keeps the event loop busy. */
const POOL_MS = 0.005;
/** What a synchronous read is taken to save, and what cheap ones can save up for costly ones. */
const SAVED_MS = 0.015;
const CREDIT_MS = 40;

/** Time passes and the event loop turns when a test says so. */
class HandClock implements EnvClock {
  private ms = 0;
  private waiting: (() => void)[] = [];

  now = () => 0;
  tick = () => this.ms;
  after = () => () => undefined;
  turn = () => new Promise<void>((resolve) => this.waiting.push(resolve));

  pass(ms: number): void {
    this.ms += ms;
  }

  async turnNow(): Promise<void> {
    for (const resolve of this.waiting.splice(0)) resolve();
    // Whoever waits for what happens at the turn goes on as well.
    for (let i = 0; i < 4; i++) await Promise.resolve();
  }
}

interface Readers {
  reads: number;
  inFlight: number;
  costMs: () => number;
  /** Work of others between two turns of the event loop. */
  othersMs?: number;
}

/** A store whose readers ask the pacer, and go through the thread pool where it says no. */
class Readings {
  readonly clock = new HandClock();
  readonly pacer = new ReadPacer(this.clock);
  readonly costs: number[] = [];
  /** Of each synchronous read, how many there were before it of both kinds. */
  readonly places: number[] = [];
  count = 0;
  longestTurnMs = 0;
  private turnMs = 0;

  readNow(costMs: number): boolean {
    this.count++;
    if (!this.pacer.maySync()) return false;
    this.pacer.began();
    this.clock.pass(costMs);
    this.pacer.ended();
    this.costs.push(costMs);
    this.places.push(this.count);
    this.turnMs += costMs;
    this.longestTurnMs = Math.max(this.longestTurnMs, this.turnMs);
    return true;
  }

  /** The event loop turns only when somebody has to wait. Returns the share of reads that were synchronous. */
  async run({ reads, inFlight, costMs, othersMs = 0 }: Readers): Promise<number> {
    const before = this.costs.length;
    for (let i = 0; i < reads; i += inFlight) {
      let refused = 0;
      for (let j = 0; j < inFlight; j++) {
        if (!this.readNow(costMs())) refused++;
      }
      if (refused > 0) await this.turn(refused * POOL_MS + othersMs);
    }
    return (this.costs.length - before) / reads;
  }

  async turn(ms = 0): Promise<void> {
    this.clock.pass(ms);
    await this.clock.turnNow();
    this.turnMs = 0;
  }
}

const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);

/** A cost of which `share` are from the page cache. */
function partlyCached(share: number, diskMs = DISK_MS): () => number {
  const random = new SeededRandom(1);
  return () => (random.next() < share ? CACHED_MS : diskMs);
}

describe('ReadPacer', () => {
  describe('within one turn of the event loop', () => {
    it('reads synchronously until the window is spent, and then only once the loop has turned', async () => {
      const readings = new Readings();
      // The first window is a small one.
      expect(readings.readNow(0.1)).toBe(true);
      await readings.turn();

      const answers = Array.from({ length: 10 }, () => readings.readNow(0.125));
      expect(answers).toEqual([true, true, true, true, false, false, false, false, false, false]);
    });

    it('goes on after the turn', async () => {
      const readings = new Readings();
      await readings.run({ reads: 100, inFlight: 1, costMs: () => 0.1 });
      await readings.turn();
      expect(readings.readNow(0.1)).toBe(true);
    });

    it('refuses nobody when the loop turns by itself after half of the window', async () => {
      const readings = new Readings();
      readings.readNow(0.1);
      await readings.turn();
      for (let i = 0; i < 40; i++) {
        for (let j = 0; j < 60; j++) expect(readings.readNow(CACHED_MS)).toBe(true);
        await readings.turn();
      }
    });

    it('counts the reads of several turns before the half', async () => {
      const readings = new Readings();
      readings.readNow(0.1);
      await readings.turn();
      expect(readings.readNow(0.2)).toBe(true);
      await readings.turn();
      expect(readings.readNow(0.2)).toBe(true);
      expect(readings.readNow(0.2)).toBe(true);
      expect(readings.readNow(0.2)).toBe(false);
    });

    it.each([
      ['one chain', 1, 0],
      ['many readers', 64, 0],
      ['one chain beside other work', 1, 0.3],
    ])('is blocked by no more than the window and one read: %s', async (_name, inFlight, othersMs) => {
      const random = new SeededRandom(7);
      const readings = new Readings();
      for (let phase = 0; phase < 40; phase++) {
        const share = random.next();
        await readings.run({
          reads: 1_600,
          inFlight,
          othersMs,
          costMs: () => (random.next() < share ? CACHED_MS : random.next() * 0.4),
        });
      }
      expect(readings.costs.length).toBeGreaterThan(20);
      expect(readings.longestTurnMs).toBeLessThan(WINDOW_MS + Math.max(...readings.costs) + 1e-9);
    });
  });

  describe('waiting for the turn', () => {
    it('is offered only when the turn is what is missing', async () => {
      const readings = new Readings();
      expect(readings.pacer.turned()).toBeUndefined();
      readings.readNow(DISK_MS);
      expect(readings.pacer.turned()).toBeDefined();
      readings.readNow(DISK_MS);
      readings.readNow(DISK_MS);
      await readings.turn();
      // Two were refused: now there is a pause.
      expect(readings.pacer.maySync()).toBe(false);
      expect(readings.pacer.turned()).toBeUndefined();
    });

    it('ends when the next window is open', async () => {
      const readings = new Readings();
      readings.readNow(DISK_MS);
      expect(readings.pacer.maySync()).toBe(false);
      const answer = readings.pacer.turned()?.then(() => readings.pacer.maySync());
      await readings.turn();
      await expect(answer).resolves.toBe(true);
    });
  });

  describe('by what reads cost', () => {
    it.each([1, 64])('reads cached data synchronously, %i in flight', async (inFlight) => {
      const share = await new Readings().run({ reads: 64_000, inFlight, costMs: () => CACHED_MS });
      expect(share).toBeGreaterThan(0.85);
    });

    it('keeps to the thread pool when many readers wait for the disk', async () => {
      const share = await new Readings().run({ reads: 64_000, inFlight: 64, costMs: () => DISK_MS });
      expect(share).toBeLessThan(0.005);
    });

    it('lets a reader who is alone wait for a quick disk in the event loop', async () => {
      const share = await new Readings().run({ reads: 6_400, inFlight: 1, costMs: () => DISK_MS });
      expect(share).toBeGreaterThan(0.8);
    });

    it('does so, too, when the reader has work of his own between two reads', async () => {
      const readings = new Readings();
      const share = await readings.run({
        reads: 6_400,
        inFlight: 1,
        costMs: () => {
          // Of hits in memory, say. It is done before the reader asks.
          readings.clock.pass(0.1);
          return DISK_MS;
        },
      });
      expect(share).toBeGreaterThan(0.8);
    });

    it('does so, too, when another process has the processor now and then', async () => {
      let count = 0;
      const costMs = () => (++count % 100 === 0 ? 2 : DISK_MS);
      const share = await new Readings().run({ reads: 12_800, inFlight: 1, costMs });
      expect(share).toBeGreaterThan(0.85);
    });

    it('does not when the event loop has other work', async () => {
      const share = await new Readings().run({
        reads: 6_400,
        inFlight: 1,
        costMs: () => DISK_MS,
        othersMs: 0.1,
      });
      expect(share).toBeLessThan(0.05);
    });

    it('does not when the disk is slow', async () => {
      const share = await new Readings().run({ reads: 6_400, inFlight: 1, costMs: () => 1 });
      expect(share).toBeLessThan(0.02);
    });

    it('does not when the disk is slow, even if most is cached', async () => {
      const costMs = partlyCached(0.99, 5);
      const readings = new Readings();
      await readings.run({ reads: 64_000, inFlight: 1, costMs });
      expect(sum(readings.costs)).toBeLessThan(0.1 * readings.clock.tick());
    });

    it.each([
      ['most is cached', 0.98, 0.8, 1],
      ['too little is cached', 0.8, 0, 0.05],
    ])('weighs hits against misses, many in flight: %s', async (_name, cached, least, most) => {
      const share = await new Readings().run({ reads: 64_000, inFlight: 64, costMs: partlyCached(cached) });
      expect(share).toBeGreaterThanOrEqual(least);
      expect(share).toBeLessThanOrEqual(most);
    });

    it('weighs hits against misses, one by one', async () => {
      const share = await new Readings().run({ reads: 6_400, inFlight: 1, costMs: partlyCached(0.5) });
      expect(share).toBeGreaterThan(0.9);
    });
  });

  describe('after reads that cost too much', () => {
    it('takes the first for chance', async () => {
      const readings = new Readings();
      const hiccups = [4];
      const costMs = () => hiccups.pop() ?? CACHED_MS;
      const share = await readings.run({ reads: 1_280, inFlight: 64, costMs });
      expect(hiccups).toEqual([]);
      expect(share).toBeGreaterThan(0.8);
    });

    it('lets cheap ones pay for a costly one now and then', async () => {
      const readings = new Readings();
      let count = 0;
      // Other processes want the processor, too, and take it in two windows in a row.
      const costMs = () => ([0, 400].includes(++count % 3_000) ? 4 : CACHED_MS);
      const share = await readings.run({ reads: 64_000, inFlight: 64, costMs });
      expect(readings.costs.filter((ms) => ms === 4).length).toBeGreaterThan(20);
      expect(share).toBeGreaterThan(0.85);
    });

    it('does not take one read that waited for long for a slow disk', async () => {
      const readings = new Readings();
      let count = 0;
      // The processor is taken away for 30 ms, in two windows in a row, more often than cheap reads can pay for.
      const costMs = () => ([0, 400].includes(++count % 6_000) ? 30 : CACHED_MS);
      const share = await readings.run({ reads: 64_000, inFlight: 64, costMs });
      expect(readings.costs.filter((ms) => ms === 30).length).toBeGreaterThan(5);
      expect(share).toBeGreaterThan(0.6);
    });

    it('lets the event loop turn for the background work of the store, which is no other work', async () => {
      const readings = new Readings();
      let backgroundMs = 0;
      readings.pacer.backgroundMs = () => backgroundMs;
      let count = 0;
      for (let i = 0; i < 6_400; i++) {
        if (readings.readNow(DISK_MS)) count++;
        else {
          backgroundMs += 0.25;
          await readings.turn(0.25);
        }
      }
      expect(count / 6_400).toBeGreaterThan(0.8);
    });

    it('loses no more than the credit when data leaves the page cache', async () => {
      const readings = new Readings();
      await readings.run({ reads: 64_000, inFlight: 64, costMs: () => CACHED_MS });
      const before = readings.costs.length;
      await readings.run({ reads: 64_000, inFlight: 64, costMs: () => DISK_MS });
      const lostMs = sum(readings.costs.slice(before));
      expect(lostMs).toBeGreaterThan(CREDIT_MS / 2);
      const netShare = (DISK_MS - SAVED_MS) / DISK_MS;
      expect(lostMs).toBeLessThan(CREDIT_MS / netShare + 2 * WINDOW_MS + 0.01 * 64_000 * POOL_MS);
    });

    it.each([
      [5, 1, 2],
      [5, 64, 2],
      [50, 64, 4],
      [500, 64, 6],
    ])(
      'spends at most 1 %% of the time on a disk that takes %d ms, %i in flight, after %i reads',
      async (slowMs, inFlight, chances) => {
        const readings = new Readings();
        await readings.run({ reads: 60_000 * slowMs, inFlight, costMs: () => slowMs });
        expect(readings.costs.length).toBeGreaterThan(4);
        expect(sum(readings.costs)).toBeLessThan(chances * slowMs + 0.0101 * readings.clock.tick());
      },
    );

    it('blocks one read in 64 at most, however long the pauses between reads', async () => {
      const readings = new Readings();
      for (let i = 0; i < 6_400; i++) {
        readings.readNow(5);
        await readings.turn(1_000);
      }
      const distances = readings.places.slice(2).map((place, i) => place - readings.places[i + 1]);
      expect(distances.length).toBeGreaterThan(50);
      expect(Math.min(...distances)).toBeGreaterThan(64);
    });

    it('does not take cheap probes for proof that windows pay', async () => {
      const readings = new Readings();
      let windows = 0;
      // Every probe finds what it asks for in the page cache, and every window after it does not.
      for (let i = 0; i < 2_000; i++) {
        let refused = 0;
        for (let j = 0; j < 64; j++) {
          const synchronous = readings.readNow(windows % 2 === 0 ? CACHED_MS * 4 : 1.5);
          if (!synchronous) refused++;
          else if (readings.pacer.turned()) windows++;
        }
        await readings.turn(refused * POOL_MS);
      }
      expect(windows).toBeGreaterThan(6);
      const lost = readings.costs.filter((ms) => ms > DISK_MS);
      expect(sum(lost)).toBeLessThan(2 * 1.5 + 0.011 * readings.clock.tick());
    });

    it.each([1, 64])('notices within a moment that all is cached again, %i in flight', async (inFlight) => {
      const readings = new Readings();
      await readings.run({ reads: 640, inFlight, costMs: () => 1 });
      const fromMs = readings.clock.tick();
      while (readings.clock.tick() < fromMs + 120) {
        await readings.run({ reads: 64, inFlight, costMs: () => CACHED_MS });
      }
      await expect(
        readings.run({ reads: 6_400, inFlight, costMs: () => CACHED_MS }),
      ).resolves.toBeGreaterThan(0.85);
    });
  });
});
