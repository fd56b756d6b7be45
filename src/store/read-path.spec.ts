/** What a look-up does that cannot be brought about from outside; the rest is tested through the store. */
import { MemoryDevice } from '../device/memory-device.js';
import { openStore } from './open-store.js';
import { KvStore } from './kv-store.js';

describe('a look-up beyond memory', () => {
  it('starts over when nothing is found where the cold log was truncated meanwhile', async () => {
    const device = new MemoryDevice(2 ** 26);
    const store = await KvStore.open({ device });
    await store.set('k', 'cold');
    await store.compact({ full: true });
    await store.close();

    const core = await openStore({ device });
    const { reads, parts } = core;
    const { cold } = parts;
    if (!cold) throw new Error('There is no cold tier.');
    const { find } = cold.index;
    let finds = 0;
    cold.index.find = async (low, high) => {
      const found = await find.call(cold.index, low, high);
      if (finds++ > 0) return found;
      // As if the record had been copied, and its old place given up, right behind the answer of the index.
      reads.truncations++;
      return { ...found, addresses: found.addresses.map(() => 0) };
    };
    const { record } = await reads.load(core.key(0, 'k').copy());
    expect(record).toBeDefined();
    expect(finds).toBe(2);
    await parts.commits.close();
    device.close();
  });
});
