import { MemoryDevice } from '../device/index.js';
import { KvOptionsError, type KvOptionProblem } from '../errors.js';
import {
  parseDuration,
  parseSize,
  parseTtl,
  resolveOptions,
  sizeText,
  type KvStoreOptions,
  type ResolvedOptions,
} from './options.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

function problemsOf(options: unknown): readonly KvOptionProblem[] {
  try {
    resolveOptions(options as KvStoreOptions);
  } catch (error) {
    expect(error).toBeInstanceOf(KvOptionsError);
    return (error as KvOptionsError).problems;
  }
  return [];
}

/** The examples of messages. */
const OBJECTS = [
  { path: './data' },
  { hot: { memory: '64mb' } },
  { readCache: { memory: '16mb' } },
  { cold: { indexCache: '8mb' } },
  { compaction: { every: '60s' } },
  { durability: { level: 'always' } },
];

const pathsOf = (options: unknown): string[] => problemsOf(options).map(({ path }) => path);

describe('defaults', () => {
  it('are what the documentation says', () => {
    expect(resolveOptions({})).toEqual({
      path: undefined,
      device: 'memory',
      memoryLimitBytes: 256 * MIB,
      compactionBytes: 128 * MIB,
      name: 'default',
      readOnly: false,
      deleteOnClose: false,
      hot: {
        memoryBytes: 64 * MIB,
        mutableFraction: 0.9,
        expectedKeys: 0,
        pageSize: 2 * MIB,
        segmentSize: 8 * MIB,
        diskBudget: Math.floor((256 * MIB) / 3),
        maxIndexEntries: Math.floor((0.4 * 64 * MIB) / 16),
      },
      readCache: { memoryBytes: 16 * MIB, decodedEntries: 0 },
      cold: {
        segmentSize: 8 * MIB,
        indexCacheBytes: 8 * MIB,
        garbageShare: 0.15,
        pageSize: 256 * 1024,
      },
      compaction: { scheduled: true, everyMs: 60_000, sliceMs: 2 },
      durability: { level: 'interval', everyMs: 100 },
      maxBacklog: 65_536,
    });
    expect(resolveOptions({ path: './data' })).toMatchObject({
      path: './data',
      device: 'file',
      hot: { diskBudget: 256 * MIB, segmentSize: 32 * MIB },
      cold: { segmentSize: 32 * MIB },
    });
  });

  it('stand in for what is undefined', () => {
    const undefineds = {
      device: undefined,
      name: undefined,
      hot: undefined,
      readCache: undefined,
      cold: undefined,
      compaction: undefined,
      durability: undefined,
    };
    expect(resolveOptions(undefineds as never)).toEqual(resolveOptions({}));
    const nested = { hot: { memory: undefined, pageSize: undefined }, durability: { level: undefined } };
    expect(resolveOptions(nested as never)).toEqual(resolveOptions({}));
  });

  it.each([
    ['8mb', 256 * KIB],
    ['15mb', 256 * KIB],
    ['16mb', 512 * KIB],
    ['100mb', 2 * MIB],
    ['128mb', 4 * MIB],
    ['16gb', 4 * MIB],
  ])('make pages of a 32nd of %s, as a power of two', (memory, pageSize) => {
    expect(resolveOptions({ hot: { memory } }).hot.pageSize).toBe(pageSize);
  });
});

/** For each size: how to set it, how to read it, the least and the most, and whether powers of two only. */
const sizes: [
  string,
  (size: unknown) => unknown,
  (resolved: ResolvedOptions) => number,
  number,
  number,
  boolean,
][] = [
  ['memoryLimit', (memoryLimit) => ({ memoryLimit }), (r) => r.memoryLimitBytes, MIB, 1024 * GIB, false],
  ['hot.memory', (memory) => ({ hot: { memory } }), (r) => r.hot.memoryBytes, 8 * MIB, 16 * GIB, false],
  ['hot.pageSize', (pageSize) => ({ hot: { pageSize } }), (r) => r.hot.pageSize, 64 * KIB, 4 * MIB, true],
  [
    'hot.segmentSize',
    (segmentSize) => ({ hot: { segmentSize, pageSize: MIB } }),
    (r) => r.hot.segmentSize,
    MIB,
    GIB,
    true,
  ],
];

describe.each(sizes)('%s', (path, options, read, least, most, powersOfTwo) => {
  const set = (size: unknown): number => read(resolveOptions(options(size) as KvStoreOptions));

  it('takes numbers and text from the least to the most', () => {
    for (const bytes of [least, least * 2, most]) {
      expect([set(bytes), set(`${bytes}`), set(`${bytes}b`), set(` ${bytes / KIB} KB `)]).toEqual(
        Array(4).fill(bytes),
      );
    }
  });

  it('refuses what is beyond, by its path', () => {
    for (const size of [least - 1, least / 2, most + 1, most * 2, `${most * 2}b`])
      expect(pathsOf(options(size))).toEqual([path]);
  });

  it.each([
    '10x',
    '',
    ' ',
    '-8mb',
    '+8mb',
    '1e8',
    '0x10',
    'mb',
    '8 m b',
    'eight',
    '8mb8',
    '８mb',
    NaN,
    Infinity,
    -1,
    8.5 * MIB + 0.5,
    null,
    true,
    {},
    [],
    8n,
  ])('refuses %p', (junk) => {
    const problems = problemsOf(options(junk));
    expect(problems.map((one) => one.path)).toEqual([path]);
    expect(problems[0].problem).toMatch(
      /^must be (a power of two )?from .* to .*, in bytes or as text like '64mb'$/,
    );
  });

  it(powersOfTwo ? 'refuses what is no power of two' : 'need not be a power of two', () => {
    expect(pathsOf(options(least * 3))).toEqual(powersOfTwo ? [path] : []);
  });
});

describe('numbers', () => {
  it.each<[string, (value: unknown) => unknown, number[], unknown[]]>([
    [
      'hot.mutableFraction',
      (mutableFraction) => ({ hot: { mutableFraction } }),
      [0, 0.25, 1],
      [-0.1, 1.1, NaN, Infinity, '0.5', null],
    ],
    [
      'hot.expectedKeys',
      (expectedKeys) => ({ hot: { expectedKeys } }),
      // As many as the index fits into 64 MiB of hot.memory.
      [0, 1, 2 ** 22],
      [-1, 1.5, 2 ** 22 + 1, 2 ** 30 + 1, NaN, '10', null],
    ],
    [
      'maxBacklog',
      (maxBacklog) => ({ maxBacklog }),
      [1, 10_000_000],
      [0, -1, -1.5, 1.5, 10_000_001, NaN, Infinity, '5'],
    ],
  ])('%s', (path, options, good, bad) => {
    for (const value of good) expect(pathsOf(options(value))).toEqual([]);
    for (const value of bad) expect(pathsOf(options(value))).toEqual([path]);
  });
});

describe('sizes', () => {
  it.each<[unknown, number | undefined]>([
    [1024, 1024],
    ['512', 512],
    ['8b', 8],
    ['1.5kb', 1536],
    ['64mb', 64 * MIB],
    [' 64 MiB ', 64 * MIB],
    ['2Gib', 2 * GIB],
    ['64mi', undefined],
    ['64ib', undefined],
    ['64 mbps', undefined],
    ['-1mb', undefined],
    [-1, undefined],
    [1.5, undefined],
    ['', undefined],
    [null, undefined],
  ])('%j', (input, bytes) => {
    expect(parseSize(input)).toBe(bytes);
  });
});

describe('durations', () => {
  it.each<[unknown, number | undefined]>([
    [0, 0],
    [1.5, 1.5],
    ['250', 250],
    ['500ms', 500],
    ['5m', 300_000],
    [' 2 days ', 172_800_000],
    ['0.5s', 500],
    [-1, undefined],
    [NaN, undefined],
    [Infinity, undefined],
    ['-5m', undefined],
    ['10x', undefined],
    ['', undefined],
    [' ', undefined],
    ['5m5', undefined],
    ['Infinity', undefined],
    ['1e400', undefined],
    ['9'.repeat(101), undefined],
    [null, undefined],
    [undefined, undefined],
    [5n, undefined],
    [{}, undefined],
  ])('%p are %p ms', (input, expected) => {
    expect(parseDuration(input)).toBe(expected);
  });

  it('between commits are from 1 ms to an hour', () => {
    const everyMs = (value: unknown): unknown => ({ durability: { everyMs: value } });
    for (const value of [1, 3_600_000, '1ms', '1h', '60m']) expect(pathsOf(everyMs(value))).toEqual([]);
    expect(resolveOptions({ durability: { everyMs: '2s' } }).durability.everyMs).toBe(2000);
    for (const value of [0, 0.5, 3_600_001, '2h', '', '10x', NaN, null])
      expect(pathsOf(everyMs(value))).toEqual(['durability.everyMs']);
  });

  it('to live are above 0, may be infinite, and stay within what dates can express', () => {
    expect([parseTtl(1), parseTtl('1s'), parseTtl(Infinity), parseTtl(10 ** 15)]).toEqual([
      1,
      1000,
      Infinity,
      10 ** 15,
    ]);
    for (const ttl of [0, -1, '0s', '-1s', NaN, -Infinity, 10 ** 15 + 1, '', 'soon', null, undefined]) {
      expect(() => parseTtl(ttl)).toThrow(KvOptionsError);
    }
    expect(() => parseTtl(0, 'cache.ttl')).toThrow(/cache\.ttl: must be a duration above 0/);
  });
});

describe('device and path', () => {
  it('takes the names of devices, and whatever has the calls of one', () => {
    const device = new MemoryDevice(MIB);
    expect(resolveOptions({ device }).device).toBe(device);
    expect(resolveOptions({ device: 'null' }).device).toBe('null');
    expect(resolveOptions({ device: 'file', path: 'x' })).toMatchObject({ device: 'file', path: 'x' });
  });

  it.each<[string, unknown]>([
    ['an unknown name', { device: 'tape' }],
    ['an object that lacks a call', { device: { list: () => [], open: () => undefined } }],
    ['null', { device: null }],
  ])('refuses %s', (_name, options) => {
    expect(pathsOf(options)).toEqual(['device']);
  });

  it.each<[string, unknown]>([
    ['no path for files', { device: 'file' }],
    ['a path for memory', { device: 'memory', path: 'x' }],
    ['a path for a device of its own', { device: new MemoryDevice(MIB), path: 'x' }],
    ['an empty path', { path: '' }],
    ['a path that is no text', { path: 7 }],
    ['a path that is undefined', { path: undefined }],
    ['a path that is undefined, for files', { path: undefined, device: 'file' }],
  ])('refuses %s', (_name, options) => {
    expect(pathsOf(options)).toEqual(['path']);
  });
});

describe('a path that is undefined', () => {
  it('is told what it may come from, and what to do', () => {
    expect(problemsOf({ path: undefined })).toEqual([
      {
        path: 'path',
        problem:
          'is undefined (an environment variable that is not set?): give a directory, or leave the option out for a store in memory',
      },
    ]);
  });

  it('is none where a device says that the store is elsewhere', () => {
    for (const device of ['memory', 'null', new MemoryDevice(MIB)])
      expect(pathsOf({ path: undefined, device })).toEqual([]);
  });
});

it('tells of a path that is a URL how to make it a path', () => {
  expect(problemsOf({ path: new URL('file:///data') })).toEqual([
    {
      path: 'path',
      problem: 'must be the path of a directory: make one of the URL by fileURLToPath(url)',
    },
  ]);
  expect(problemsOf({ path: 7 })).toEqual([{ path: 'path', problem: 'must be the path of a directory' }]);
});

it('says sizes in units of 1024, as options have them', () => {
  const problem = "must be from 8 MiB to 16 GiB, in bytes or as text like '64mb'";
  expect(problemsOf({ hot: { memory: '1mb' } })).toEqual([{ path: 'hot.memory', problem }]);
  expect([100, 1536, 6.25 * MIB].map((size) => sizeText(size))).toEqual(['100 B', '1.5 KiB', '6.25 MiB']);
});

describe('what goes together', () => {
  it('needs sixteen pages in memory, and a page in a segment', () => {
    expect(pathsOf({ hot: { memory: '16mb', pageSize: '1mb' } })).toEqual([]);
    expect(problemsOf({ hot: { memory: '16mb', pageSize: '2mb' } })).toEqual([
      { path: 'hot.pageSize', problem: 'must be at most 1/16 of hot.memory (1 MiB)' },
    ]);
    expect(problemsOf({ hot: { memory: '128mb', segmentSize: '2mb' } })).toEqual([
      { path: 'hot.segmentSize', problem: 'must be at least a page (4 MiB)' },
    ]);
  });
});

describe('problems', () => {
  it('are told all at once, each by its path', () => {
    const options = {
      path: 5,
      name: '',
      memoryLimit: 'lots',
      hot: { memory: '1kb', mutableFraction: 2, expectedKeys: -1, pageSize: 3, segmentSize: 'x' },
      durability: { level: 'never', everyMs: 0 },
      maxBacklog: 0,
      env: 'test',
    };
    expect(pathsOf(options).sort()).toEqual([
      'durability.everyMs',
      'durability.level',
      'env',
      'hot.expectedKeys',
      'hot.memory',
      'hot.mutableFraction',
      'hot.pageSize',
      'hot.segmentSize',
      'maxBacklog',
      'memoryLimit',
      'name',
      'path',
    ]);
  });

  it('are told for several unknown names at both levels', () => {
    const options = {
      pth: 'x',
      hots: {},
      hot: { memroy: 1, pagesize: 2 },
      durability: { every: 1, lvl: 2 },
      maxBacklog: 0,
    };
    const unknown = ['durability.every', 'durability.lvl', 'hot.memroy', 'hot.pagesize', 'hots', 'pth'];
    expect(pathsOf(options).sort()).toEqual([...unknown, 'maxBacklog'].sort());
    for (const { path, problem } of problemsOf(options)) {
      if (path !== 'maxBacklog') expect(problem).toMatch(/^is not an option(; did you mean '[.\w]+'\?)?$/);
    }
  });

  it.each([
    [{ pth: 'x' }, 'path'],
    [{ Path: 'x' }, 'path'],
    [{ hot: { memroy: 1 } }, 'hot.memory'],
    [{ hot: { memoryBytes: 1 } }, 'hot.memory'],
    [{ durability: { every: 1 } }, 'durability.everyMs'],
    // In the wrong place.
    [{ memory: '64mb' }, 'hot.memory'],
    [{ hot: { indexCache: '2mb' } }, 'cold.indexCache'],
    [{ level: 'always' }, 'durability.level'],
  ])('of an unknown name tell what was probably meant: %j', (options, meant) => {
    expect(problemsOf(options)[0].problem).toBe(`is not an option; did you mean '${meant}'?`);
  });

  it('of an unknown name tell nothing more where nothing is near', () => {
    for (const name of ['nonsense', 'xy', 'toString', 'hot'.repeat(100)])
      expect(problemsOf({ [name]: 1 })).toEqual([{ path: name, problem: 'is not an option' }]);
  });

  it('of an unknown word tell what was probably meant', () => {
    const level = (given: unknown) => problemsOf({ durability: { level: given } })[0].problem;
    const words = "must be 'always', 'interval' or 'checkpoint'";
    expect(level('allways')).toBe(`${words}; did you mean 'always'?`);
    expect(level('Checkpoint')).toBe(`${words}; did you mean 'checkpoint'?`);
    expect([level('secret'), level(5)]).toEqual([words, words]);
    expect(problemsOf({ device: 'files' })).toEqual([
      { path: 'device', problem: "must be 'file', 'memory', 'null' or a device; did you mean 'file'?" },
    ]);
  });

  it.each([
    ['a string', 'x'],
    ['null', null],
    ['a number', 1],
    ['a boolean', true],
    ['an array', []],
  ])('include options that are %s, with an example of what is right', (kind, options) => {
    const problem = (example: string) => `must be an object, such as ${example}, not ${kind}`;
    expect(problemsOf(options)).toEqual([
      { path: 'options', problem: problem("KvStore.open({ path: './data' })") },
    ]);
    const groups = {
      hot: "{ memory: '64mb' }",
      readCache: "{ memory: '16mb' }",
      cold: "{ indexCache: '8mb' }",
      compaction: "{ every: '60s' } (or false)",
      durability: "{ level: 'always' }",
    };
    for (const [path, example] of Object.entries(groups))
      expect(problemsOf({ [path]: options })).toEqual([{ path, problem: problem(example) }]);
  });

  it.each(OBJECTS)('have examples that are right: %j', (options) => {
    expect(problemsOf(options)).toEqual([]);
  });

  it('leave what was given out', () => {
    const given = { path: 5, name: 7, device: 'secret', hot: 'secret', compaction: 'secret', env: 'secret' };
    expect(JSON.stringify(problemsOf(given))).not.toContain('secret');
  });

  it('are in the message, a line each', () => {
    expect(() => resolveOptions({ name: '', maxBacklog: 0 })).toThrow(
      'Invalid options:\n  name: must not be empty\n  maxBacklog: must be a whole number from 1 to 10000000',
    );
  });
});

describe('readOnly and deleteOnClose', () => {
  it.each<[KvStoreOptions, string[]]>([
    [{ path: 'data', readOnly: true }, []],
    [{ device: new MemoryDevice(MIB), readOnly: true }, []],
    [{ path: 'data', readOnly: false, deleteOnClose: true }, []],
    [{ deleteOnClose: true }, []],
    [{ readOnly: true }, ['readOnly']],
    [{ device: 'memory', readOnly: true }, ['readOnly']],
    [{ device: 'null', readOnly: true }, ['readOnly']],
    [{ path: 'data', readOnly: true, deleteOnClose: true }, ['deleteOnClose']],
    [{ device: 'memory', readOnly: true, deleteOnClose: true }, ['readOnly', 'deleteOnClose']],
    [{ readOnly: 'yes', deleteOnClose: 1 } as never, ['readOnly', 'deleteOnClose']],
  ])('%j', (options, paths) => {
    expect(pathsOf(options)).toEqual(paths);
  });
});
