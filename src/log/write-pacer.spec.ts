import type { EnvClock } from '../device/env.js';
import { WritePacer } from './write-pacer.js';

/** A clock that goes on by what a write takes. */
function pacerAndClock(): { pacer: WritePacer; pass: (ms: number) => void } {
  let ms = 1000;
  const clock = { tick: () => ms } as EnvClock;
  return { pacer: new WritePacer(clock), pass: (passed) => void (ms += passed) };
}

describe('writes that may be synchronous', () => {
  it('are those of up to 64 KiB', () => {
    const { pacer } = pacerAndClock();
    const write = jest.fn();
    expect(pacer.trySync(64 * 1024, write)).toBe(true);
    expect(pacer.trySync(64 * 1024 + 1, write)).toBe(false);
    expect(write).toHaveBeenCalledTimes(1);
  });

  it('are none for a hundred times as long as one took that blocked', () => {
    const { pacer, pass } = pacerAndClock();
    expect(pacer.trySync(8, () => pass(1))).toBe(true);
    expect(pacer.trySync(8, () => pass(5))).toBe(true);
    const write = jest.fn();
    pass(499);
    expect(pacer.trySync(8, write)).toBe(false);
    expect(write).not.toHaveBeenCalled();
    pass(1);
    expect(pacer.trySync(8, write)).toBe(true);
  });

  it('pass on what fails', () => {
    const { pacer } = pacerAndClock();
    const failing = () => {
      throw new Error('EIO');
    };
    expect(() => pacer.trySync(8, failing)).toThrow('EIO');
  });
});
