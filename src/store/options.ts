/**
 * The options: what a user may write, checked as a whole (every problem at once, each by its path), and what the
 * engine works with, in bytes and milliseconds.
 */
import bytes from 'bytes';
import ms from 'ms';
import * as v from 'valibot';
import type { Device } from '../device/device.js';
import type { Env } from '../device/env.js';
import { KvOptionsError, type KvOptionProblem } from '../errors.js';
import {
  MAX_PAGE_SIZE,
  MAX_SEGMENT_SIZE,
  MAX_TTL_MS,
  MIN_HOT_MEMORY,
  MIN_PAGE_SIZE,
  MIN_SEGMENT_SIZE,
} from '../limits.js';
import { didYouMean, isObject, notAnObject, unknownOption } from './option-problems.js';

/** Bytes as a number, or as text with a unit of 1024: `'64mb'`, `'1.5gb'`. */
export type KvSize = number | string;
/** Milliseconds as a number, or as text with a unit: `'500ms'`, `'5m'`, `'2 days'`. */
export type KvDuration = number | string;

/**
 * When a write counts as done:
 *
 * - `always`: its promise resolves once it is on stable storage; writers that wait at the same time share one sync.
 * - `interval`: its promise resolves once it is in memory and visible; a commit every `everyMs` makes it durable.
 * - `checkpoint`: like `interval`, but commits happen only at `flush()`, `close()`, before a compaction, and after
 *   every 32 MiB (or an eighth of `hot.diskBudget`, if that is less), because a log can only be truncated behind one.
 *
 * At every level the first writes behind an opening wait for its first commit.
 */
export type KvDurabilityLevel = 'always' | 'interval' | 'checkpoint';

export interface KvStoreOptions {
  /**
   * Directory of the store, created when missing. Without it the store lives on a memory device and is lost at close; that
   * is asked for by leaving it out: `undefined` is refused, because it may be a variable that nobody has set.
   */
  path?: string;
  /**
   * `'file'` (default with a `path`), `'memory'` (default without), `'null'` (keeps only what fits in `hot.memory`,
   * and forgets the oldest), or an own implementation of the device interface.
   */
  device?: 'file' | 'memory' | 'null' | Device | undefined;
  /**
   * Most bytes on a memory device. An eighth is kept for compaction: beyond that, writes are refused with `KvOverloadedError`, and
   * deletes are not, as far as they have room. For a moment compaction may take half as much more. Default 256 MiB.
   */
  memoryLimit?: KvSize;
  /** Name of the store in messages, and its injection token where several stand side by side. Default `'default'`. */
  name?: string;
  /**
   * Opens a store that exists without changing one byte of its directory: beside others that do so, never beside one that
   * writes. Calls that would change something reject with `KvReadOnlyError`. Needs a `path` or an own device. After an
   * unclean stop, or without a usable checkpoint, memory holds what recovery would write: the index of the cold tier, 15 to
   * 30 bytes for each of its records. Default `false`.
   */
  readOnly?: boolean;
  /**
   * Whether `close()` removes all of the store's files, and the directory if opening had created it and nothing else is in
   * it: for tests and scratch data. A process that is killed leaves them, and the next opening finds its data. Default
   * `false`; without a `path` nothing is left anyway.
   */
  deleteOnClose?: boolean;
  /** The hot tier: hash index and hybrid log. */
  hot?: {
    /**
     * Bytes that the index, log pages and buffers may take together, with those of the cold tier (its caches apart), as
     * long as the hot log keeps 3/8 of them. From 8 MiB up; default 64 MiB.
     */
    memory?: KvSize;
    /** Largest share of the log's memory in which records are updated in place, 0 to 1. Default 0.9. */
    mutableFraction?: number;
    /** Number of keys to size the index for at once, instead of growing into it. Default 0. */
    expectedKeys?: number;
    /**
     * Bytes of a page of the log, a power of two from 64 KiB to 4 MiB. A record (header, key and value) that
     * is longer is stored in pieces. Default: 1/32 of `memory`, on a memory device at most 1/64 of `memoryLimit`.
     */
    pageSize?: KvSize;
    /**
     * Bytes of a segment file, a power of two from 1 MiB to 1 GiB; fixed when a store is created. Default 32 MiB, on a
     * memory device 1/32 of `memoryLimit` if that is less.
     */
    segmentSize?: KvSize;
    /**
     * Bytes of log that the hot tier may have on disk: beyond them its oldest part is moved to the cold tier. From 1 MiB
     * up; default 256 MiB, on a memory device a third of `memoryLimit` if that is less.
     */
    diskBudget?: KvSize;
  };
  /** Copies in memory of records that were read from disk. */
  readCache?: {
    /** Bytes that they may take; 0 switches the cache off. Default 16 MiB. */
    memory?: KvSize;
    /**
     * Most values to keep decoded, in the JavaScript heap, of the keys that are read most: `get` of a string or number key then costs a
     * `Map` look-up, and returns a value that is frozen and shared. Plain data only. Default 0.
     */
    decodedEntries?: number;
  };
  /** The cold tier: a log on disk, and an index of which some three bytes a key are in memory. */
  cold?: {
    /**
     * Bytes of a segment file, a power of two from 1 MiB to 1 GiB; fixed when a store is created. Default like that of
     * the hot tier.
     */
    segmentSize?: KvSize;
    /**
     * Bytes that the cache of the index may take, 12 for each record of the cold log for all of it. It is filled beside the
     * reads that need it. Default 8 MiB.
     */
    indexCache?: KvSize;
    /**
     * Share of the cold log that may be garbage before it is rewritten, 0.05 to 0.9: less takes less disk, and writes
     * more. Default 0.15.
     */
    garbageShare?: number;
  };
  /**
   * When the tiers are compacted, apart from `compact()`; `false` switches the schedule off, and then the hot log only
   * grows between calls of `compact()`.
   */
  compaction?:
    | false
    | {
        /** Time between looks at the garbage; doubled after every five that found none. Default `'60s'`. */
        every?: KvDuration;
        /** Most milliseconds that compaction works before the event loop turns. Default 2. */
        sliceMs?: number;
      };
  /** What a resolved write promises, and how often the store commits. */
  durability?: {
    /** Default `'interval'`. */
    level?: KvDurabilityLevel;
    /** Milliseconds between commits at `'interval'`. Default 100. */
    everyMs?: KvDuration;
  };
  /** Most writes that may wait for stable storage at `'always'`, then `KvOverloadedError`. Default 65,536. */
  maxBacklog?: number;
  /** Files, clock and random bytes; the operating system's by default. For tests. */
  env?: Env;
}

/** The options as the engine uses them. */
export interface ResolvedOptions {
  path: string | undefined;
  device: 'file' | 'memory' | 'null' | Device;
  memoryLimitBytes: number;
  /** What compaction may take beyond it for a moment. */
  compactionBytes: number;
  name: string;
  readOnly: boolean;
  deleteOnClose: boolean;
  hot: {
    memoryBytes: number;
    mutableFraction: number;
    expectedKeys: number;
    pageSize: number;
    segmentSize: number;
    diskBudget: number;
    /** Entries of the index beyond which the hot tier is too large, however little its log takes. */
    maxIndexEntries: number;
  };
  readCache: { memoryBytes: number; decodedEntries: number };
  cold: { segmentSize: number; indexCacheBytes: number; garbageShare: number; pageSize: number };
  compaction: { scheduled: boolean; everyMs: number; sliceMs: number };
  durability: { level: KvDurabilityLevel; everyMs: number };
  maxBacklog: number;
}

const MIB = 1024 * 1024;

/** Share of `hot.memory` that the index may take before the hot tier is too large; measured bytes of an entry. */
const INDEX_SHARE = 0.4;
const INDEX_BYTES_PER_ENTRY = 16;

/** What compaction may take beyond `memoryLimit` is half of it, and at least some pages and chunks of each log. */
const LEAST_COMPACTION_BYTES = 2 * MIB;

/** The cold log's pages only gather what is appended to it. */
const COLD_PAGE_BYTES = 256 * 1024;

const DEFAULT_SEGMENT_BYTES = 32 * MIB;

/** `mb` and `MiB` are the same, as everywhere here: 1024 × 1024. */
const SIZE_TEXT = /^(\d+(?:\.\d+)?)\s*(?:(b|[kmgt]b)|([kmgt])ib)?$/i;

/** Bytes of a size, or `undefined` when it is none. */
export function parseSize(input: unknown): number | undefined {
  if (typeof input === 'number') return Number.isSafeInteger(input) && input >= 0 ? input : undefined;
  const parts = typeof input === 'string' ? SIZE_TEXT.exec(input.trim()) : null;
  if (!parts) return undefined;
  const [, number, unit = '', binary] = parts as (string | undefined)[];
  return bytes.parse(binary ? `${number}${binary}b` : `${number}${unit}`) ?? undefined;
}

/**
 * Milliseconds of a duration, or `undefined` when it is none.
 *
 * @param input milliseconds, or text such as `'5m'`
 */
export function parseDuration(input: unknown): number | undefined {
  if (typeof input === 'number') return Number.isFinite(input) && input >= 0 ? input : undefined;
  if (typeof input !== 'string' || input.trim() === '' || input.length > 100) return undefined;
  const parsed = ms(input.trim() as ms.StringValue) as number | undefined;
  return parsed !== undefined && Number.isFinite(parsed) && parsed >= 0 ? parsed : undefined;
}

/** Reads a TTL: a duration above 0. @throws KvOptionsError */
export function parseTtl(input: unknown, path = 'ttl'): number {
  if (input === Infinity) return Infinity;
  const ttlMs = parseDuration(input);
  if (ttlMs === undefined || ttlMs <= 0 || ttlMs > MAX_TTL_MS) {
    throw new KvOptionsError([
      { path, problem: "must be a duration above 0, in milliseconds or as text like '5m'" },
    ]);
  }
  return ttlMs;
}

/** A size for people: `8 MiB`, `1.5 GiB`. */
export function sizeText(size: number, decimalPlaces = 2): string {
  const text = bytes.format(size, { decimalPlaces, unitSeparator: ' ' }) ?? String(size);
  return text.replace(/(?<=[KMGTP])B$/, 'iB');
}

function size(min: number, max: number, powerOfTwo = false) {
  const what = `must be ${powerOfTwo ? 'a power of two ' : ''}from ${sizeText(min)} to ${sizeText(max)}, in bytes or as text like '64mb'`;
  return v.pipe(
    v.union([v.number(), v.string()], what),
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      const parsed = parseSize(dataset.value);
      const right = parsed !== undefined && parsed >= min && parsed <= max;
      if (right && (!powerOfTwo || Number.isInteger(Math.log2(parsed)))) return parsed;
      addIssue({ message: what });
      return NEVER;
    }),
  );
}

function number(min: number, max: number, integer: boolean) {
  const what = `must be ${integer ? 'a whole number' : 'a number'} from ${min} to ${max}`;
  const right = (value: number) => value >= min && value <= max && (!integer || Number.isInteger(value));
  return v.pipe(v.number(what), v.check(right, what));
}

function duration(min: number, max: number) {
  const what = `must be from ${min} to ${max} milliseconds, as a number or as text like '100ms'`;
  return v.pipe(
    v.union([v.number(), v.string()], what),
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      const parsed = parseDuration(dataset.value);
      if (parsed !== undefined && parsed >= min && parsed <= max) return parsed;
      addIssue({ message: what });
      return NEVER;
    }),
  );
}

const flag = v.optional(v.boolean('must be true or false'), false);

const deviceMethods = [
  'list',
  'open',
  'remove',
  'removeSync',
  'rename',
  'syncDirectory',
  'syncDirectorySync',
  'lock',
  'close',
];

function isDevice(input: unknown): boolean {
  if (typeof input !== 'object' || input === null) return false;
  return deviceMethods.every((name) => typeof (input as Record<string, unknown>)[name] === 'function');
}

/** Unknown names are found by `unknownNames`, because valibot's strict objects tell only the first one. */
function object<T extends v.ObjectEntries>(entries: T, example: string) {
  return v.pipe(
    v.custom<object>(isObject, ({ input }) => notAnObject(input, example)),
    v.object(entries),
  );
}

/** What is wrong with a word that is none of those that there are. */
function notOneOf(words: readonly string[], problem: string) {
  return ({ input }: { input: unknown }) => problem + didYouMean(input, words);
}

function notAPath({ input }: { input: unknown }): string {
  return `must be the path of a directory${input instanceof URL ? ': make one of the URL by fileURLToPath(url)' : ''}`;
}

const DEVICES = ['file', 'memory', 'null'] as const;
const LEVELS = ['always', 'interval', 'checkpoint'] as const;

const hotOptions = {
  memory: v.optional(size(MIN_HOT_MEMORY, 2 ** 34), 64 * MIB),
  mutableFraction: v.optional(number(0, 1, false), 0.9),
  expectedKeys: v.optional(number(0, 2 ** 30, true), 0),
  pageSize: v.optional(size(MIN_PAGE_SIZE, MAX_PAGE_SIZE, true)),
  segmentSize: v.optional(size(MIN_SEGMENT_SIZE, MAX_SEGMENT_SIZE, true)),
  diskBudget: v.optional(size(MIB, 2 ** 44), 256 * MIB),
};

const readCacheOptions = {
  memory: v.optional(size(0, 2 ** 34), 16 * MIB),
  decodedEntries: v.optional(number(0, 10_000_000, true), 0),
};

const coldOptions = {
  segmentSize: v.optional(size(MIN_SEGMENT_SIZE, MAX_SEGMENT_SIZE, true)),
  indexCache: v.optional(size(0, 2 ** 32), 8 * MIB),
  garbageShare: v.optional(number(0.05, 0.9, false), 0.15),
};

const compactionOptions = {
  every: v.optional(duration(1, 86_400_000), 60_000),
  sliceMs: v.optional(number(0.1, 100, false), 2),
};

const durabilityOptions = {
  level: v.optional(
    v.picklist(LEVELS, notOneOf(LEVELS, "must be 'always', 'interval' or 'checkpoint'")),
    'interval',
  ),
  everyMs: v.optional(duration(1, 3_600_000), 100),
};

const storeOptions = {
  path: v.optional(v.pipe(v.string(notAPath), v.nonEmpty('must not be empty'))),
  device: v.optional(
    v.union(
      [v.picklist(DEVICES), v.custom<Device>(isDevice)],
      notOneOf(DEVICES, "must be 'file', 'memory', 'null' or a device"),
    ),
  ),
  memoryLimit: v.optional(size(MIB, 2 ** 40), 256 * MIB),
  name: v.optional(v.pipe(v.string('must be text'), v.nonEmpty('must not be empty')), 'default'),
  readOnly: flag,
  deleteOnClose: flag,
  hot: v.optional(object(hotOptions, "{ memory: '64mb' }"), {}),
  readCache: v.optional(object(readCacheOptions, "{ memory: '16mb' }"), {}),
  cold: v.optional(object(coldOptions, "{ indexCache: '8mb' }"), {}),
  compaction: v.optional(object(compactionOptions, "{ every: '60s' } (or false)"), {}),
  durability: v.optional(object(durabilityOptions, "{ level: 'always' }"), {}),
  maxBacklog: v.optional(number(1, 10_000_000, true), 65_536),
  env: v.optional(v.custom<Env>(isObject, 'must be an Env, such as kvTestingOptions() has')),
};

const schema = object(storeOptions, "KvStore.open({ path: './data' })");

const groups = {
  hot: hotOptions,
  readCache: readCacheOptions,
  cold: coldOptions,
  compaction: compactionOptions,
  durability: durabilityOptions,
};

export const OPTION_NAMES: readonly string[] = Object.keys(storeOptions);

/** Every option there is, so that one in the wrong place is recognized as well. */
const paths = [
  ...Object.keys(storeOptions),
  ...Object.entries(groups).flatMap(([group, options]) => pathsIn(`${group}.`, options)),
];

function pathsIn(prefix: string, options: object): string[] {
  return Object.keys(options).map((name) => prefix + name);
}

function unknownNames(
  input: unknown,
  known: object,
  prefix = '',
  others: readonly string[] = [],
): KvOptionProblem[] {
  if (!isObject(input)) return [];
  const beside = prefix === '' ? others : pathsIn(prefix, known);
  return Object.keys(input)
    .filter((name) => !Object.hasOwn(known, name))
    .map((name) => {
      const candidates = didYouMean(name, beside) === '' ? paths : beside;
      return { path: prefix + name, problem: unknownOption(name, candidates) };
    });
}

/**
 * Checks options and fills in the defaults.
 * @param others names of options that callers have beside these, and may have misspelt
 * @throws KvOptionsError with every problem, by path
 */
export function resolveOptions(options: KvStoreOptions, others: readonly string[] = []): ResolvedOptions {
  const scheduled = options?.compaction !== false;
  const result = v.safeParse(schema, scheduled ? options : { ...options, compaction: {} });
  const problems: KvOptionProblem[] = (result.issues ?? []).map((issue) => ({
    path: v.getDotPath(issue) ?? 'options',
    problem: issue.message,
  }));
  problems.push(...unknownNames(options, storeOptions, '', others));
  for (const [group, known] of Object.entries(groups))
    problems.push(...unknownNames(options?.[group as keyof typeof groups], known, `${group}.`));
  if (isObject(options)) problems.push(...placeProblems(options), ...accessProblems(options));
  if (!result.success) throw new KvOptionsError(problems);
  const { path, device, memoryLimit, name, readOnly, deleteOnClose } = result.output;
  const { hot, readCache, cold, compaction, durability, maxBacklog } = result.output;
  const onMemory = device === 'memory' || (device === undefined && path === undefined);
  // A segment holds at least a page, and there have to be some.
  const pageSize =
    hot.pageSize ?? defaultPageSize(onMemory ? Math.min(hot.memory, memoryLimit / 2) : hot.memory);
  if (pageSize > hot.memory / 16) {
    problems.push({
      path: 'hot.pageSize',
      problem: `must be at most 1/16 of hot.memory (${sizeText(hot.memory / 16)})`,
    });
  }
  if (hot.expectedKeys * INDEX_BYTES_PER_ENTRY > hot.memory) {
    const most = Math.floor(hot.memory / INDEX_BYTES_PER_ENTRY);
    problems.push({
      path: 'hot.expectedKeys',
      problem: `must be at most ${most}: their index takes all of hot.memory (${sizeText(hot.memory)})`,
    });
  }
  const defaultSegment = onMemory ? defaultSegmentSize(memoryLimit, pageSize) : DEFAULT_SEGMENT_BYTES;
  const segmentSize = hot.segmentSize ?? defaultSegment;
  if (pageSize > segmentSize) {
    problems.push({ path: 'hot.segmentSize', problem: `must be at least a page (${sizeText(pageSize)})` });
  }
  if (problems.length > 0) throw new KvOptionsError(problems);
  return {
    path,
    device: device ?? (path === undefined ? 'memory' : 'file'),
    memoryLimitBytes: memoryLimit,
    compactionBytes: Math.max(memoryLimit / 2, LEAST_COMPACTION_BYTES),
    name,
    readOnly,
    deleteOnClose,
    hot: {
      memoryBytes: hot.memory,
      mutableFraction: hot.mutableFraction,
      expectedKeys: hot.expectedKeys,
      pageSize,
      segmentSize,
      diskBudget: onMemory ? Math.min(hot.diskBudget, Math.floor(memoryLimit / 3)) : hot.diskBudget,
      maxIndexEntries: Math.floor((hot.memory * INDEX_SHARE) / INDEX_BYTES_PER_ENTRY),
    },
    readCache: { memoryBytes: readCache.memory, decodedEntries: readCache.decodedEntries },
    cold: {
      segmentSize: cold.segmentSize ?? defaultSegment,
      indexCacheBytes: cold.indexCache,
      garbageShare: cold.garbageShare,
      pageSize: Math.min(pageSize, COLD_PAGE_BYTES),
    },
    compaction: { scheduled, everyMs: compaction.every, sliceMs: compaction.sliceMs },
    durability,
    maxBacklog,
  };
}

/** Whether path and device go together. */
function placeProblems(options: KvStoreOptions): KvOptionProblem[] {
  const { path, device } = options;
  const isOther = device === 'memory' || device === 'null' || isDevice(device);
  if (isOther) return path === undefined ? [] : [{ path: 'path', problem: "is only for device 'file'" }];
  if (path !== undefined) return [];
  // Nobody would notice that the store is in memory until the data is missed.
  const unset =
    'is undefined (an environment variable that is not set?): give a directory, or leave the option out for a store in memory';
  if ('path' in options) return [{ path: 'path', problem: unset }];
  return device === 'file' ? [{ path: 'path', problem: "is needed by device 'file'" }] : [];
}

/** Whether there is something that can be opened to be read, and left as it is. */
function accessProblems({ path, device, readOnly, deleteOnClose }: KvStoreOptions): KvOptionProblem[] {
  if (readOnly !== true) return [];
  const problems: KvOptionProblem[] = [];
  if (device === 'memory' || device === 'null' || (device === undefined && path === undefined)) {
    problems.push({ path: 'readOnly', problem: 'needs a path: a new store has nothing to read' });
  }
  if (deleteOnClose === true) problems.push({ path: 'deleteOnClose', problem: 'does not go with readOnly' });
  return problems;
}

/** Space on a memory device comes back in whole segments, so there have to be some. */
function defaultSegmentSize(memoryLimit: number, pageSize: number): number {
  const share = 2 ** Math.floor(Math.log2(memoryLimit / 32));
  return Math.min(Math.max(share, pageSize), DEFAULT_SEGMENT_BYTES);
}

function defaultPageSize(memoryBytes: number): number {
  const share = 2 ** Math.floor(Math.log2(memoryBytes / 32));
  return Math.min(Math.max(share, MIN_PAGE_SIZE), MAX_PAGE_SIZE);
}
