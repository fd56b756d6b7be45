import { KeyedHash } from '../codec/keyed-hash.js';
import type { ColdTier } from '../cold/cold-tier.js';
import type { LogAddress } from '../log/address.js';
import type { LogCursor } from '../log/log-cursor.js';
import { KIND_COMMIT, KIND_VALUE } from '../log/record.js';
import { Slices } from '../log/slices.js';
import { nodeEnv } from '../device/node-env.js';
import { CompactionPass, type PassPolicy } from './compaction-pass.js';

/** A cursor over three values and a commit record. */
function fourRecords(): LogCursor {
  let loads = 0;
  let left = 4;
  const words = new Int32Array(64);
  return {
    position: 64 as LogAddress,
    address: 64 as LogAddress,
    words,
    at: 0,
    loadedBytes: new Uint8Array(words.buffer),
    load: () => Promise.resolve(loads++ === 0),
    next() {
      if (left-- === 0) return false;
      words[1] = left === 0 ? KIND_COMMIT : KIND_VALUE;
      return true;
    },
  } as unknown as LogCursor;
}

describe('a pass that fails at one record while others are being looked up', () => {
  it('waits for them, so that nothing is left to reject unheard', async () => {
    let asked = 0;
    let ended = 0;
    const policy: PassPolicy = {
      isNewest() {
        if (++asked === 3) throw new Error('at once');
        return new Promise((_, reject) =>
          setImmediate(() => {
            ended++;
            reject(new Error('later'));
          }),
        );
      },
      move: () => true,
      mark: () => undefined,
    };
    const pass = new CompactionPass(
      fourRecords(),
      {} as ColdTier,
      new KeyedHash(Buffer.alloc(8)),
      policy,
      new Slices(nodeEnv.clock, 2),
      () => undefined,
    );
    await expect(pass.run(1000 as LogAddress, () => true)).rejects.toThrow('at once');
    expect(ended).toBe(2);
    // Jest fails a test with an unhandled rejection.
    await new Promise((resolve) => setImmediate(resolve));
  });
});
