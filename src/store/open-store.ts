/**
 * Opening a store, step by step: options → device → lock → manifest → dictionary → log scan → index → ready. Whatever
 * fails gives back what was taken, and leaves a directory that is not ours as it was.
 */
import { KeyedHash } from '../codec/keyed-hash.js';
import { EncodedKey } from '../codec/key-codec.js';
import type { Device } from '../device/device.js';
import type { Env } from '../device/env.js';
import { FileDevice } from '../device/file-device.js';
import { MemoryDevice } from '../device/memory-device.js';
import { nodeEnv } from '../device/node-env.js';
import { NullDevice } from '../device/null-device.js';
import { KvCorruptionError, KvFormatError } from '../errors.js';
import { HashIndex, sizeClassOf } from '../hot/hash-index.js';
import { HybridLog } from '../hot/hybrid-log.js';
import { NO_ADDRESS } from '../log/address.js';
import {
  keyLengthOf,
  KIND_CLEAR,
  KIND_FILLER,
  KIND_MASK,
  KIND_TOMBSTONE,
  sequenceOf,
  valueOffset,
} from '../log/record.js';
import { SegmentFiles } from '../log/segment-files.js';
import { Dictionary, DICTIONARY_NAME } from './dictionary.js';
import { GroupCommit } from './group-commit.js';
import { Health } from './health.js';
import { isManifestName, newManifest, readManifest, writeManifest, type Manifest } from './manifest.js';
import { resolveOptions, type KvStoreOptions, type ResolvedOptions } from './options.js';
import { Recovery, type RecoverySink } from './recovery.js';
import { Spaces } from './spaces.js';
import { StoreCore } from './store-core.js';
import { Versions } from './versions.js';

const LOG_NAME = 'hot';

/** Memory that neither index nor pages may take: scratch buffers, records on their way from disk. */
const RESERVED_BYTES = 512 * 1024;

export interface StoreListeners {
  error: Set<(error: Error) => void>;
}

export async function openStore(options: KvStoreOptions, listeners: StoreListeners): Promise<StoreCore> {
  const resolved = resolveOptions(options);
  const env = options.env ?? nodeEnv;
  const device = deviceFor(resolved, env);
  requireOurs(device);
  await device.lock();
  let dictionary: Dictionary | undefined;
  let segments: SegmentFiles | undefined;
  try {
    requireOurs(device);
    const existing = readManifest(device);
    const manifest = existing ?? newManifest((count) => env.random.bytes(count), resolved.hot.segmentSize);
    if (!existing) writeManifest(device, manifest);
    dictionary = new Dictionary(device);
    segments = new SegmentFiles(device, LOG_NAME, manifest.hotSegmentSize);
    const core = await recover(resolved, env, device, manifest, dictionary, segments, listeners);
    core.parts.opened.created = !existing;
    return core;
  } catch (error) {
    segments?.close();
    dictionary?.close();
    device.close();
    throw error;
  }
}

function deviceFor(options: ResolvedOptions, env: Env): Device {
  if (typeof options.device === 'object') return options.device;
  if (options.device === 'memory') return new MemoryDevice(options.memoryLimitBytes);
  if (options.device === 'null') return new NullDevice();
  return new FileDevice(env, options.path as string);
}

/**
 * A directory is ours when it is empty or has our manifest. Names that start with a dot and `lost+found` belong to the
 * file system and those who look after it.
 */
function requireOurs(device: Device): void {
  const names = device.list().filter((name) => !name.startsWith('.') && name !== 'lost+found');
  if (names.some(isManifestName)) return;
  if (names.length === 0) return;
  if (names.every((name) => name === DICTIONARY_NAME || SegmentFiles.isSegmentName(name))) {
    throw new KvCorruptionError('The manifest is missing', 'MANIFEST', 0);
  }
  throw new KvFormatError(
    `${device.location} is not a store of nestjs-hotcold and not empty (it holds "${names[0]}"). Choose an empty ` +
      `or missing directory.`,
  );
}

async function recover(
  options: ResolvedOptions,
  env: Env,
  device: Device,
  manifest: Manifest,
  dictionary: Dictionary,
  segments: SegmentFiles,
  listeners: StoreListeners,
): Promise<StoreCore> {
  const index = new HashIndex(options.hot.expectedKeys);
  const spaces = new Spaces();
  const sink = new IndexSink(index, spaces, new KeyedHash(Buffer.from(manifest.hashKey, 'hex')));
  const recovered = await new Recovery(segments, manifest, sink).run();
  const { last } = recovered;
  dictionary.require(last?.dictionaryEntries ?? 0);
  const health = new Health((error) => {
    for (const listener of listeners.error) listener(error);
  });
  const versions = new Versions(env.clock, last?.nextSequence ?? 1, last?.maxTime ?? 0);
  const log = new HybridLog(segments, {
    // A page lies within one segment, and segments keep the size they were created with.
    pageSize: Math.min(options.hot.pageSize, manifest.hotSegmentSize),
    memoryBudget: () => options.hot.memoryBytes - RESERVED_BYTES - index.memoryBytes,
    maxMemory: options.hot.memoryBytes,
    mutableFraction: options.hot.mutableFraction,
    retains: device.retains,
    onWriteError: (error) => health.writeFailed(error),
    begin: manifest.hotBegin,
    tail: recovered.tail,
  });
  const commits = new GroupCommit(
    { log, segments, dictionary, versions, health, clock: env.clock },
    options.durability,
    options.maxBacklog,
    last?.number ?? 0,
    recovered.lastEnd,
  );
  const core = new StoreCore({
    options,
    device,
    clock: env.clock,
    manifest,
    dictionary,
    segments,
    index,
    log,
    versions,
    spaces,
    health,
    commits,
    opened: recovered.report,
  });
  await commits.open();
  return core;
}

/** Applies the records of complete commits to the index. */
class IndexSink implements RecoverySink {
  // A row for each staged record: hash, address, length, version, and kind and space in one number.
  private readonly staged: number[] = [];
  private readonly key = new EncodedKey(new Uint8Array(2 ** 16));

  constructor(
    private readonly index: HashIndex,
    private readonly spaces: Spaces,
    private readonly hash: KeyedHash,
  ) {}

  stage(words: Int32Array, at: number, address: number, bytes: number): void {
    const kind = words[at + 1] & KIND_MASK;
    if (kind === KIND_FILLER) return;
    const length = keyLengthOf(words, at);
    const start = at + (valueOffset(words[at + 1] & 0xff, 0) >> 2);
    const count = (length + 3) >> 2;
    for (let i = 0; i < count; i++) this.key.words[i] = words[start + i];
    this.hash.hash(this.key.words, length);
    const first = this.key.bytes[0];
    const space = length === 0 ? -1 : first < 0x80 ? first : ((first & 0x7f) << 8) | this.key.bytes[1];
    this.staged.push(this.hash.low, address, bytes, sequenceOf(words, at), kind, space);
  }

  apply(): void {
    const { staged, index, spaces } = this;
    for (let i = 0; i < staged.length; i += 6) {
      const [hash, address, bytes, version, kind, space] = staged.slice(i, i + 6);
      if (kind === KIND_CLEAR) {
        spaces.clear(space < 0 ? undefined : space, version);
        continue;
      }
      const isNew = index.find(hash) === NO_ADDRESS;
      index.put(hash, address as never, sizeClassOf(bytes));
      const keys = spaces.get(space);
      if (kind === KIND_TOMBSTONE) keys.keys = Math.max(0, keys.keys - 1);
      else if (isNew) keys.keys++;
    }
    staged.length = 0;
  }
}
