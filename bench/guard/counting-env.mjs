/**
 * The operating system with counters in front of it, and with time and chance taken out: calls are counted at the door
 * (`Env`), so no tracer is needed; the same keys are hashed the same in every run; and a clock that stands still, or
 * leaps, decides whether cold reads are synchronous or go through the thread pool.
 */
import { nodeEnv } from '../../dist/modules/device/node-env.js';
import { randomFrom } from '../harness/traces.mjs';

/** @param tickMs how far the clock moves with every look at it */
export function countingEnv(tickMs = 0) {
  const counts = { reads: 0, readBytes: 0, writes: 0, writtenBytes: 0, syncs: 0 };
  const random = randomFrom(1);
  let ms = 0;
  const counted = (name, calls, bytes) =>
    function (...args) {
      counts[calls]++;
      // (fd, buffer, offset, length, position)
      if (bytes) counts[bytes] += args[3];
      return nodeEnv.fs[name](...args);
    };
  return {
    ...nodeEnv,
    fs: {
      ...nodeEnv.fs,
      read: counted('read', 'reads', 'readBytes'),
      readSync: counted('readSync', 'reads', 'readBytes'),
      write: counted('write', 'writes', 'writtenBytes'),
      writeSync: counted('writeSync', 'writes', 'writtenBytes'),
      sync: counted('sync', 'syncs'),
      syncSync: counted('syncSync', 'syncs'),
    },
    clock: { ...nodeEnv.clock, tick: () => (ms += tickMs) },
    random: { bytes: (length) => Uint8Array.from({ length }, () => Math.floor(random() * 256)) },
    counts,
  };
}
