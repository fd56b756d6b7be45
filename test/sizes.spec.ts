/** How large a value may be: a record fits into a page exactly, or it is refused and nothing is written. */
import { KvStore, KvTooLargeError } from 'nestjs-hotcold/store';
import { missingPath } from './support/temp-directory.js';

const PAGE_BYTES = 64 * 1024;
/** Header, the key 'k' (namespace, tag and letter: padded to 4), and msgpack's 3 bytes in front of some bytes. */
const LARGEST = PAGE_BYTES - 24 - 4 - 3;

const options = { hot: { memory: '8mb', pageSize: PAGE_BYTES, segmentSize: '1mb' } } as const;

/** Compares long bytes at once, which `toEqual` would do one by one. */
async function expectBytes(store: KvStore, expected: Buffer): Promise<void> {
  expect((await store.get<Buffer>('k'))?.equals(expected)).toBe(true);
}

describe('the largest value', () => {
  it('fits a page to the byte, comes back from memory, disk and a restart, and one byte more is refused', async () => {
    const path = missingPath();
    const largest = Buffer.alloc(LARGEST, 'x');
    let store = await KvStore.open({ path, ...options });
    for (const bytes of [LARGEST - 8, LARGEST - 1, LARGEST]) {
      await store.set('k', largest.subarray(0, bytes));
      await expectBytes(store, largest.subarray(0, bytes));
    }
    const before = store.stats();
    await expect(store.set('k', Buffer.alloc(LARGEST + 1))).rejects.toThrow(KvTooLargeError);
    await expect(store.setIfAbsent('new', Buffer.alloc(LARGEST + 1))).rejects.toThrow(KvTooLargeError);
    await expect(store.update('k', () => Buffer.alloc(5_000_000))).rejects.toThrow(KvTooLargeError);
    // An expiry takes 8 bytes.
    await expect(store.set('k', largest, { ttl: '1h' })).rejects.toThrow(KvTooLargeError);
    await expect(store.touch('k', '1h')).rejects.toThrow(KvTooLargeError);
    expect(store.stats()).toMatchObject({ keys: before.keys, writes: before.writes });
    await expectBytes(store, largest);

    await store.close();
    store = await KvStore.open({ path, ...options });
    await expectBytes(store, largest);
    // Page after page is full to the byte, over the ends of segments.
    for (let i = 0; i < 200; i++) await store.set('k', Buffer.alloc(LARGEST, i));
    await expectBytes(store, Buffer.alloc(LARGEST, 199));
    await store.close();
    store = await KvStore.open({ path, ...options });
    await expectBytes(store, Buffer.alloc(LARGEST, 199));
    await store.close();
  });

  it('may be as large as the largest page', async () => {
    const path = missingPath();
    const large = { path, hot: { memory: '64mb', pageSize: '4mb', segmentSize: '4mb' } } as const;
    // In front of this many bytes msgpack needs 5.
    const bytes = 4 * 1024 * 1024 - 24 - 4 - 5;
    let store = await KvStore.open(large);
    for (let i = 0; i < 5; i++) await store.set(`${i}`, Buffer.alloc(i === 2 ? bytes : 1_500_000, i));
    await store.close();
    store = await KvStore.open(large);
    for (let i = 0; i < 5; i++) {
      const found = await store.get<Buffer>(`${i}`);
      expect(found?.equals(Buffer.alloc(i === 2 ? bytes : 1_500_000, i))).toBe(true);
    }
    await store.close();
  });
});

/** `hot.segmentSize` is fixed when a store is created; all else may be chosen anew at each opening. */
describe('a store opened with other sizes than before', () => {
  const small = { hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' } } as const;
  const large = { hot: { memory: '256mb', pageSize: '4mb', segmentSize: '64mb' } } as const;
  const plain = {};

  it.each([
    ['small pages, then the defaults', [small, plain, small]],
    ['small pages, then large ones', [small, large, small]],
    ['large pages, then small ones', [large, small, large]],
    ['the defaults, then small pages', [plain, small, plain]],
  ])('keeps everything: %s', async (_, lives) => {
    const path = missingPath();
    const value = (life: number, i: number) => `${life}-${i}-`.padEnd(10_000, 'x');
    for (const [life, options_] of lives.entries()) {
      const store = await KvStore.open({ path, ...options_ });
      // More than three of the smallest segments.
      for (let i = 0; i < 350; i++) await store.set([life, i], value(life, i));
      await store.flush();
      for (let earlier = 0; earlier <= life; earlier++) {
        for (let i = 0; i < 350; i++) expect(await store.get([earlier, i])).toBe(value(earlier, i));
      }
      await store.close();
    }
    const store = await KvStore.open({ path });
    for (const life of lives.keys()) {
      for (let i = 0; i < 350; i++) expect(await store.get([life, i])).toBe(value(life, i));
    }
    await store.close();
  });
});
