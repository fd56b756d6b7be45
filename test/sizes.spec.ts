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

describe('a value', () => {
  it('fits a page to the byte, goes into extents with one byte more, and comes back from everywhere', async () => {
    const path = missingPath();
    const bytes = Buffer.from(Array.from({ length: 3 * PAGE_BYTES }, (_, i) => i * 7 + (i >> 8)));
    let store = await KvStore.open({ path, ...options });
    const lengths = [LARGEST - 8, LARGEST, LARGEST + 1, LARGEST + 8, 2 * PAGE_BYTES, 3 * PAGE_BYTES];
    const check = async () => {
      for (const length of lengths) {
        const found = await store.get<Buffer>(length);
        expect(found?.equals(bytes.subarray(0, length))).toBe(true);
      }
    };
    for (const length of lengths) {
      await store.set('k', bytes.subarray(0, length));
      await expectBytes(store, bytes.subarray(0, length));
      await store.set(length, bytes.subarray(0, length));
    }
    await check();
    // An expiry takes 8 bytes: the record does not fit into a page any more.
    await store.set('k', bytes.subarray(0, LARGEST));
    await store.touch('k', '1h');
    await expectBytes(store, bytes.subarray(0, LARGEST));
    for (const step of [() => store.compact({ full: true }), () => store.compact({ full: true })]) {
      await store.close();
      store = await KvStore.open({ path, ...options });
      await expectBytes(store, bytes.subarray(0, LARGEST));
      expect(await store.ttl('k')).toBeGreaterThan(3_000_000);
      await check();
      await step();
      await check();
    }
    // Page after page is full to the byte, over the ends of segments.
    for (let i = 0; i < 200; i++) await store.set('k', Buffer.alloc(LARGEST, i));
    await expectBytes(store, Buffer.alloc(LARGEST, 199));
    await store.close();
    store = await KvStore.open({ path, ...options });
    await expectBytes(store, Buffer.alloc(LARGEST, 199));
    await check();
    await store.close();
  });

  it('may take 64 MiB encoded, and not a byte more; what is refused leaves the old one', async () => {
    const path = missingPath();
    // In front of this many bytes msgpack needs 5.
    const most = 64 * 1024 * 1024 - 5;
    const large = Buffer.alloc(most, 'abc');
    let store = await KvStore.open({ path, ...options });
    await store.set('k', large);
    await expectBytes(store, large);
    const before = store.stats();
    await expect(store.set('k', Buffer.alloc(most + 1))).rejects.toThrow(KvTooLargeError);
    await expect(store.setIfAbsent('new', Buffer.alloc(most + 1))).rejects.toThrow(KvTooLargeError);
    expect(store.stats()).toMatchObject({ keys: before.keys, writes: before.writes });
    await store.compact({ full: true });
    await expectBytes(store, large);
    await store.close();
    store = await KvStore.open({ path, ...options });
    await expectBytes(store, large);
    await store.set('k', 'short');
    await store.compact({ full: true });
    expect(store.stats().cold.diskBytes).toBeLessThan(2 * 1024 * 1024);
    expect(await store.get('k')).toBe('short');
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
