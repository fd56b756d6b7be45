import { KvStore } from './kv-store.js';

describe('rewriting a record', () => {
  it.each([
    ['adds an expiry', undefined, 1000],
    ['removes an expiry', 1000, Infinity],
  ])('%s without changing a byte of the value, whatever its length', async (_name, before, after) => {
    await using store = await KvStore.open();
    for (const [index, length] of [...Array(24).keys(), ...Array(24).keys()].entries()) {
      // First as long as it will be, then with room to be changed in place.
      const value = Buffer.alloc(500 * (index % 2) + length, 0xa5);
      const options = before === undefined ? {} : { ttl: before };
      if (index >= 24) await store.set('key', Buffer.alloc(value.length + 40), options);
      await store.set('key', value, options);
      await store.touch('key', after);
      expect(Buffer.from((await store.get<Uint8Array>('key')) ?? []).equals(value)).toBe(true);
      await store.delete('key');
    }
  });
});
