/** Options: everything that is wrong with them is told at once, by path, before anything is touched. */
import { existsSync } from 'node:fs';
import { KvOptionsError, KvStore, type KvStoreOptions } from 'nestjs-hotcold/store';
import { missingPath } from './support/temp-directory.js';

/** Paths of all problems, sorted. */
async function problemsOf(options: unknown): Promise<string[]> {
  const error = await KvStore.open(options as KvStoreOptions).then(
    (store) => store.close().then(() => undefined),
    (thrown: unknown) => thrown,
  );
  if (error === undefined) return [];
  expect(error).toBeInstanceOf(KvOptionsError);
  const { problems, message } = error as KvOptionsError;
  for (const { path, problem } of problems) expect(message).toContain(`${path}: ${problem}`);
  return problems.map(({ path }) => path).sort();
}

describe('options', () => {
  it('are told all at once, by path, and nothing is created', async () => {
    const path = missingPath();
    const options = {
      path,
      device: 'floppy',
      memoryLimit: -1,
      name: '',
      hot: {
        memory: '7mb',
        mutableFraction: 1.5,
        expectedKeys: -1,
        pageSize: 65537,
        segmentSize: '3mb',
        cold: 1,
      },
      durability: { level: 'sometimes', everyMs: 0 },
      maxBacklog: 0,
      unknown: true,
      env: 1,
    };
    expect(await problemsOf(options)).toEqual([
      'device',
      'durability.everyMs',
      'durability.level',
      'env',
      'hot.cold',
      'hot.expectedKeys',
      'hot.memory',
      'hot.mutableFraction',
      'hot.pageSize',
      'hot.segmentSize',
      'maxBacklog',
      'memoryLimit',
      'name',
      'unknown',
    ]);
    expect(existsSync(path)).toBe(false);
  });

  it.each<[string, unknown, string[]]>([
    ['no object', 'data', ['options']],
    ['null', null, ['options']],
    ['hot that is no object', { hot: '64mb' }, ['hot']],
    ['a path that is no text', { path: 5 }, ['path']],
    ['an empty path', { path: '' }, ['path']],
    ['a file device without a path', { device: 'file' }, ['path']],
    ['a memory device with a path', { device: 'memory', path: 'x' }, ['path']],
    ['a device that is none', { device: { list() {} } }, ['device']],
    ['a page above a sixteenth of the memory', { hot: { memory: '8mb', pageSize: '1mb' } }, ['hot.pageSize']],
    ['a page above the segment', { hot: { memory: '64mb', segmentSize: '1mb' } }, ['hot.segmentSize']],
    ['a size that is none', { hot: { memory: '64 mbit' } }, ['hot.memory']],
    ['a negative size as text', { hot: { memory: '-64mb' } }, ['hot.memory']],
    ['no number', { hot: { memory: NaN } }, ['hot.memory']],
    ['a duration that is none', { durability: { everyMs: 'soon' } }, ['durability.everyMs']],
    ['a field named constructor', { constructor: 1 }, ['constructor']],
    ['a field named toString', { hot: { toString: 1 } }, ['hot.toString']],
    ['a field named __proto__', JSON.parse('{"__proto__": {"path": "x"}}'), ['__proto__']],
  ])('refuse %s', async (_, options, paths) => {
    expect(await problemsOf(options)).toEqual(paths);
    expect(({} as Record<string, unknown>).path).toBeUndefined();
  });

  it.each<[string, KvStoreOptions]>([
    ['none', {}],
    ['undefined for a default', { hot: { memory: undefined as never }, name: undefined as never }],
    ['sizes and durations as text', { hot: { memory: '16 MB' }, durability: { everyMs: '1 second' } }],
    [
      'the least',
      { hot: { memory: 8 * 1024 * 1024, pageSize: 65536, segmentSize: '1mb', mutableFraction: 0 } },
    ],
    ['the whole memory mutable', { hot: { memory: '8mb', mutableFraction: 1 } }],
  ])('take %s', async (_, options) => {
    const store = await KvStore.open(options);
    for (let i = 0; i < 100; i++) await store.set(i, 'x'.repeat(10_000));
    for (let i = 0; i < 100; i++) expect(await store.get(i)).toBe('x'.repeat(10_000));
    await store.close();
  });

  it('do not leave what they were in the message', async () => {
    const error = await KvStore.open({ name: 5, hot: { memory: 'secret' } } as never).catch(
      (e: unknown) => e,
    );
    expect(String(error)).not.toContain('secret');
  });
});
