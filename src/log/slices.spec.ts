import { SimulatedClock } from '../../test/support/simulated-clock.js';
import { Slices } from './slices.js';

describe('Slices', () => {
  it('counts a slice once that several callers end', async () => {
    const clock = new SimulatedClock();
    clock.tickMs = 0;
    const slices = new Slices(clock, 2);
    clock.advance(2);
    expect(slices.over).toBe(true);
    await Promise.all([slices.next(), slices.next(), slices.next()]);
    expect(slices.workedMs).toBe(2);
    slices.restart();
    slices.restart();
    expect(slices.workedMs).toBe(2);
  });

  it('counts the time that they took of the event loop, and not what was awaited', async () => {
    const clock = new SimulatedClock();
    clock.tickMs = 0;
    const slices = new Slices(clock, 2);
    clock.advance(1);
    expect(slices.over).toBe(false);
    clock.advance(1);
    expect(slices.over).toBe(true);
    await slices.next();
    expect(slices.workedMs).toBe(2);
    clock.advance(0.125);
    expect(slices.over).toBe(false);
    // A read from disk that was waited for.
    clock.advance(100);
    slices.restart();
    expect(slices.workedMs).toBe(2.125);
    clock.advance(100);
    expect(slices.over).toBe(true);
    await slices.next();
    expect(slices.workedMs).toBe(2.375);
  });

  it('leave turns to others where nobody waits for them', async () => {
    const clock = new SimulatedClock();
    clock.tickMs = 0;
    let turns = 0;
    let othersMs = 1;
    let awaited = false;
    clock.turn = async () => {
      turns++;
      clock.advance(othersMs);
    };
    const slices = new Slices(clock, 2, () => awaited);
    const turnsOfNext = async (): Promise<number> => {
      turns = 0;
      await slices.next();
      return turns;
    };
    expect(await turnsOfNext()).toBe(4);
    // As long as the last of these turns.
    clock.advance(0.9);
    expect(slices.over).toBe(false);
    clock.advance(0.1);
    expect(slices.over).toBe(true);
    // Somebody comes who waits.
    awaited = true;
    expect(await turnsOfNext()).toBe(1);
    // Nobody has anything to do.
    awaited = false;
    othersMs = 0.03;
    expect(await turnsOfNext()).toBe(1);
  });
});
