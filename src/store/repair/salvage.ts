/**
 * `KvStore.salvage(from, to)`: copies everything that is intact in a damaged store into a new one, and says what is lost
 * and what may be older than it was.
 *
 * Three ways through both logs. The survey finds the damage. Then all records are copied in the order of their age (the
 * cold log, then the hot one, each by address), with their versions: what comes later takes the place of what came before,
 * so the new store holds the newest intact version of each key, in memory as bounded as that of any store. The third way,
 * only after damage, finds the keys that may have had a newer version in a damaged place.
 *
 * While it is being filled, the manifest of the new store says that it is unfinished, and it does not open; if the salvage
 * fails, its files are removed.
 */
import path from 'node:path';
import { StructureCheck } from '../../codec/structure-check.js';
import type { EncodedKey } from '../../codec/key-codec.js';
import { KeyedHash } from '../../codec/keyed-hash.js';
import type { Env } from '../../device/env.js';
import type { Device } from '../../device/device.js';
import { FileDevice } from '../../device/file-device.js';
import { nodeEnv } from '../../device/node-env.js';
import { OverlayDevice } from '../../device/overlay-device.js';
import { KvFormatError, KvOptionsError } from '../../errors.js';
import { CHAIN_MASK } from '../../hot/bucket-store.js';
import type { LogAddress } from '../../log/address.js';
import { attributesOf, keptUntil } from '../../log/attributes.js';
import { ExtentList } from '../../log/extents.js';
import { encodedKeyOf, keyStart, spaceOf, valueEnd, valueStart } from '../../log/record-key.js';
import {
  expiryOf,
  FLAG_EXTENTS,
  HEADER_BYTES,
  isIntact,
  KIND_EXTENT,
  KIND_MASK,
  KIND_TOMBSTONE,
  KIND_VALUE,
  previousOf,
  recordBytes,
  sequenceOf,
} from '../../log/record.js';
import { SegmentFiles } from '../../log/segment-files.js';
import { Slices } from '../../log/slices.js';
import {
  MANIFEST_NAME,
  parseManifest,
  requireFinished,
  type LogManifest,
  type Manifest,
} from '../manifest.js';
import { COLD_LOG_NAME } from '../open-cold.js';
import { HOT_LOG_NAME } from '../open-store.js';
import { DamageList, type KvDamage, type KvNamedKey } from './damage.js';
import { DICTIONARY_NAME, NEW_DICTIONARY_NAME } from '../dictionary.js';
import type { KvStoreOptions } from '../options.js';
import { readCheckpoint } from '../open-checkpoint.js';
import { hintedPoint } from '../open-hints.js';
import { readEvidence, type Evidence } from './salvage-evidence.js';
import { SalvageLosses } from './salvage-losses.js';
import { findDictionary, findManifest, LogSurvey } from './salvage-source.js';
import { SalvageTarget, type OpenedTarget } from './salvage-target.js';
import { checkNames } from '../set-options.js';
import { Spaces } from '../spaces.js';
import { readWholeFile } from '../whole-file.js';

export interface KvSalvageOptions extends Pick<KvStoreOptions, 'hot' | 'cold' | 'env'> {
  /** Ends the run: it rejects with the signal's reason, and leaves nothing. */
  signal?: AbortSignal;
}

/** What `salvage()` read, copied and could not copy. Plain data. */
export interface KvSalvageReport {
  /** Whether nothing is damaged and nothing was dropped: the new store has all that was written to the old one. */
  complete: boolean;
  /** How many keys the new store has. */
  keys: number;
  /** Intact records of the damaged store (versions of entries, deletes included), and bytes that were read. */
  records: number;
  bytes: number;
  /** What is damaged, the first 1,000 of it. `keys` are those that can still be read in the damaged place. */
  damages: KvDamage[];
  damageCount: number;
  /** Keys whose value in the new store may be older than the last one they had, or deleted since; the first 10,000. */
  doubtful: { keys: KvNamedKey[]; count: number };
  /**
   * Keys that are not in the new store although they should be; the first 10,000. Some can only be counted; `atLeast`:
   * others may be lost of which nothing is left.
   */
  lost: { keys: KvNamedKey[]; count: number; atLeast: boolean };
  /**
   * Bytes behind the last commit, by file and address. Mostly the torn tail of an unclean stop, which no opening would keep; but
   * damage in the very last commit looks the same, and that may have been acknowledged.
   */
  dropped: { file: string; address: number; bytes: number }[];
  /** Namespaces whose names are lost, under the names that they have now. */
  renamed: string[];
  tookMs: number;
}

/** Opens the new store, whose manifest says `more` than usual. */
type OpenTarget = (options: KvStoreOptions, more: Partial<Manifest>) => Promise<OpenedTarget>;

/** Milliseconds of work until the event loop turns. */
const SLICE_MS = 10;

/**
 * @param open opens the new store
 * @throws KvOptionsError, KvFormatError, KvLockedError, KvCorruptionError, KvDiskError
 */
export async function salvage(
  from: string,
  to: string,
  options: KvSalvageOptions,
  open: OpenTarget,
): Promise<KvSalvageReport> {
  checkNames(options, ['hot', 'cold', 'env', 'signal'], '{ signal }');
  const env = options.env ?? nodeEnv;
  checkPaths(from, to);
  // Nothing is to be changed there, and there may be no right to.
  const device = new OverlayDevice(new FileDevice(env, from));
  const damages = new DamageList();
  // Before it is locked: it may be no store.
  findManifest(device, new DamageList());
  requireEmpty(env, to);
  await device.lock();
  try {
    const startMs = env.clock.tick();
    const run = new Salvage(device, damages, env, options);
    const report = await run.run(to, open);
    return { ...report, tookMs: env.clock.tick() - startMs };
  } finally {
    device.close();
  }
}

function checkPaths(from: unknown, to: unknown): void {
  const problems = Object.entries({ from, to })
    .filter(([, value]) => typeof value !== 'string' || value === '')
    .map(([name]) => ({ path: name, problem: 'must be the path of a directory' }));
  if (problems.length > 0) throw new KvOptionsError(problems);
  const inside = path.relative(path.resolve(from as string), path.resolve(to as string));
  if (inside === '' || !(inside.startsWith('..') || path.isAbsolute(inside)))
    throw new KvOptionsError([{ path: 'to', problem: 'must not be in the directory that is salvaged' }]);
}

/** @throws KvFormatError */
function requireEmpty(env: Env, to: string): void {
  const device = new FileDevice(env, to);
  const names = device.list().filter((name) => !name.startsWith('.') && name !== 'lost+found');
  if (names.length === 0) return;
  const manifest = names.includes(MANIFEST_NAME) && parseManifest(readWholeFile(device, MANIFEST_NAME));
  if (manifest) requireFinished(manifest, device.location);
  throw new KvFormatError(
    `${device.location} is not empty (it holds "${names[0]}"). Salvage into an empty or missing directory.`,
  );
}

class Salvage {
  private readonly slices: Slices;
  private readonly spaces = new Spaces();
  private readonly manifest;
  private readonly dictionary;
  private readonly checkpoint;
  private readonly hash: KeyedHash;
  private readonly segments: SegmentFiles[] = [];
  private readonly logs: LogSurvey[];
  /** Set when structures may be lost, so that values may need one. */
  private structures: StructureCheck | undefined;
  /** Whether the report says so. */
  private lacksEntries = false;
  private now = 0;

  constructor(
    private readonly device: Device,
    private readonly damages: DamageList,
    private readonly env: Env,
    private readonly options: KvSalvageOptions,
  ) {
    this.slices = new Slices(env.clock, SLICE_MS);
    this.manifest = findManifest(device, damages);
    this.dictionary = findDictionary(device);
    const { cold, hashKey, hot } = this.manifest;
    this.hash = new KeyedHash(Buffer.from(hashKey, 'hex'));
    this.checkpoint = readCheckpoint(device, this.manifest);
    const state = this.checkpoint?.checkpoint.state;
    // In the order of age: whatever is hot is newer than all that is cold.
    this.logs = [
      new LogSurvey('cold', this.segmentsOf(COLD_LOG_NAME, cold), cold, [state?.cold]),
      new LogSurvey('hot', this.segmentsOf(HOT_LOG_NAME, hot), hot, [
        state?.hot,
        hintedPoint(device, this.manifest.storeId),
      ]),
    ];
  }

  private segmentsOf(name: string, { segmentSize, salt }: LogManifest): SegmentFiles {
    const segments = new SegmentFiles(this.device, name, segmentSize, salt);
    this.segments.push(segments);
    return segments;
  }

  async run(to: string, open: OpenTarget): Promise<Omit<KvSalvageReport, 'tookMs'>> {
    const { dictionary, env, logs, options } = this;
    try {
      for (const log of logs) {
        await log.run(this.slices, () => this.mayGoOn());
        log.applyMarks(this.spaces);
      }
      this.now = Math.max(env.clock.now(), ...logs.map(({ maxTime }) => maxTime));
      this.checkDictionary();
      const evidence = await this.evidence();
      const { hashKey, tagKey = hashKey } = this.manifest;
      const { hot = {}, cold = {} } = options;
      const target = new SalvageTarget(
        // The hashes of tags are copied as they are.
        await open(
          { path: to, env, hot, cold, durability: { level: 'checkpoint' } },
          { tagKey, unfinished: true },
        ),
      );
      try {
        target.enterDictionary(dictionary);
        const losses = new SalvageLosses(logs, this.hash, this.damages, target);
        for (const log of logs) await this.copy(log, target, evidence, losses);
        await losses.find(evidence, this.slices, () => this.mayGoOn());
        await target.finish(Math.max(...logs.map(({ lastVersion }) => lastVersion)));
        return this.result(target, losses);
      } catch (error) {
        await target.abandon();
        throw error;
      }
    } finally {
      for (const segments of this.segments) segments.close();
    }
  }

  private mayGoOn(): boolean {
    this.options.signal?.throwIfAborted();
    return true;
  }

  // ── Before copying ──

  private async evidence(): Promise<Evidence> {
    const [cold, hot] = this.logs;
    for (const { damages, segments } of this.logs) {
      for (const { what, from, to } of damages) {
        const message = {
          record: 'Bytes of the log are damaged',
          missing: 'A part of the log is missing',
          order: 'The records of the log are not those that were committed here',
        }[what];
        const file = segments.nameOf(segments.segmentOf(from));
        this.damages.add({ what, file, address: from, bytes: to - from, message });
      }
    }
    const evidence = await readEvidence(this.device, this.manifest, this.checkpoint, hot.ranges, cold.ranges);
    // Marks may have been lost as well; the checkpoint knows of those before it.
    const known = evidence.spaces;
    if (known) {
      if (known.allClearedBelow > 0) this.spaces.clear(undefined, known.allClearedBelow);
      for (const [space, clearedBelow] of known.spaces) this.spaces.clear(space, clearedBelow);
      if (known.tags !== undefined) this.spaces.tags.restore(known.tags);
    }
    return evidence;
  }

  private checkDictionary(): void {
    const { dictionary } = this;
    const needed = Math.max(...this.logs.map(({ dictionaryEntries }) => dictionaryEntries));
    const isLost =
      dictionary.entries < needed ||
      dictionary.namespaces.includes(undefined) ||
      dictionary.structures.includes(undefined);
    // Behind what the logs need, a damaged line is one that was torn off.
    const isDamaged = dictionary.damagedAt >= 0 && dictionary.damagedAt < dictionary.end;
    // A commit that is damaged may have been the one that says how many entries there were.
    if (isLost || this.logs.some(({ damages }) => damages.length > 0))
      this.structures = new StructureCheck(dictionary.structures);
    if (isLost) this.dictionaryIsLost();
    else if (dictionary.isTemporary)
      this.dictionaryIsDamaged(`The dictionary is damaged; ${NEW_DICTIONARY_NAME} takes its place`);
    else if (isDamaged) this.dictionaryIsDamaged('The dictionary had wrong bits; its checksums tell which');
  }

  private dictionaryIsLost(): void {
    if (this.lacksEntries) return;
    this.lacksEntries = true;
    this.dictionaryIsDamaged(
      'The dictionary is damaged: names of namespaces, or values of which it had the field names, are lost',
    );
  }

  private dictionaryIsDamaged(message: string): void {
    const { damagedAt, end } = this.dictionary;
    const address = damagedAt < 0 ? end : damagedAt;
    this.damages.add({ what: 'dictionary', file: DICTIONARY_NAME, address, bytes: 0, message });
  }

  // ── Copying ──

  private async copy(
    log: LogSurvey,
    target: SalvageTarget,
    evidence: Evidence,
    losses: SalvageLosses,
  ): Promise<void> {
    const scan = log.scan(this.slices, {
      mayGoOn: () => this.mayGoOn(),
      damaged: () => undefined,
      record: (words, at, address) => {
        if (address >= log.committedEnd || !isVersion(words, at)) return undefined;
        const previous = previousOf(words, at);
        if (log.log === 'hot' && log.ranges.has(previous))
          evidence.addChain(encodedKeyOf(words, at, this.hash).hashLow & CHAIN_MASK, previous);
        return this.copyRecord(log, target, losses, words, at);
      },
    });
    await scan.run();
  }

  private copyRecord(
    log: LogSurvey,
    target: SalvageTarget,
    losses: SalvageLosses,
    words: Int32Array,
    at: number,
  ): void | Promise<void> {
    const space = spaceOf(words[keyStart(words, at)]);
    const version = sequenceOf(words, at);
    // Everything older is dead as well.
    if (version < this.spaces.get(space).clearedBelow) return undefined;
    const key = target.keyOf(words, at);
    const isValue = (words[at + 1] & KIND_MASK) === KIND_VALUE;
    const isDead = !isValue || keptUntil(words, at) <= this.now || !this.spaces.get(space).isValid(words, at);
    if (isDead) {
      losses.wasDeleted(key, version);
      return target.remove(space, key, version);
    }
    if ((words[at + 1] & FLAG_EXTENTS) !== 0) return this.copyLarge(log, target, losses, words, at, key);
    const bytes = new Uint8Array(words.buffer);
    const start = valueStart(words, at);
    const end = valueEnd(words, at);
    if (!this.mayDecode(bytes, start, end)) return losses.valueIsLost(key, version);
    return target.put(space, key, version, bytes, start, end, expiryOf(words, at), attributesOf(words, at));
  }

  private async copyLarge(
    { segments, ranges }: LogSurvey,
    target: SalvageTarget,
    losses: SalvageLosses,
    words: Int32Array,
    at: number,
    key: EncodedKey,
  ): Promise<void> {
    const space = spaceOf(words[keyStart(words, at)]);
    const version = sequenceOf(words, at);
    const expiresAt = expiryOf(words, at);
    const attributes = attributesOf(words, at);
    const list = new ExtentList(words, at);
    const value = new Uint8Array((list.total + 3) & ~3);
    let end = 0;
    for (let piece = 0; piece < list.count; piece++) {
      const address = list.addressOf(piece);
      const found = await readPiece(segments, address, list.bytesOf(piece));
      if (!found) {
        const file = segments.nameOf(segments.segmentOf(address));
        const message = 'A piece of a large value is not where its record says';
        if (!ranges.has(address)) this.damages.add({ what: 'extent', file, address, bytes: 0, message });
        return losses.valueIsLost(key, version);
      }
      value.set(found, end);
      end += found.length;
    }
    if (!this.mayDecode(value, 0, end)) return losses.valueIsLost(key, version);
    await target.put(space, key, version, value, 0, end, expiresAt, attributes);
  }

  private mayDecode(value: Uint8Array, from: number, to: number): boolean {
    if (!this.structures || this.structures.canDecode(value, from, to)) return true;
    this.dictionaryIsLost();
    return false;
  }

  private result(target: SalvageTarget, losses: SalvageLosses): Omit<KvSalvageReport, 'tookMs'> {
    const { damages, logs } = this;
    const { doubtful, lost, mayMissMore } = losses;
    if (target.renamed.length > 0) this.dictionaryIsLost();
    const dropped = logs
      .filter(({ droppedBytes }) => droppedBytes > 0)
      .map(({ segments, committedEnd, droppedBytes }) => ({
        file: segments.nameOf(segments.segmentOf(committedEnd)),
        address: committedEnd,
        bytes: droppedBytes,
      }));
    return {
      complete: damages.count === 0 && dropped.length === 0,
      keys: target.keys,
      records: logs.reduce((sum, { records }) => sum + records, 0),
      bytes: logs.reduce((sum, { bytes }) => sum + bytes, 0),
      damages: damages.listed,
      damageCount: damages.count,
      doubtful: { keys: doubtful.keys, count: doubtful.count },
      lost: { keys: lost.keys, count: lost.count, atLeast: mayMissMore },
      dropped,
      renamed: target.renamed,
    };
  }
}

function isVersion(words: Int32Array, at: number): boolean {
  const kind = words[at + 1] & KIND_MASK;
  return kind === KIND_VALUE || kind === KIND_TOMBSTONE;
}

/** The bytes of a piece of a large value; `undefined` when it is not there. */
async function readPiece(
  segments: SegmentFiles,
  address: LogAddress,
  bytes: number,
): Promise<Uint8Array | undefined> {
  const buffer = new Uint8Array(recordBytes(KIND_EXTENT, 0, bytes));
  const words = new Int32Array(buffer.buffer);
  try {
    const available = await segments.read(address, buffer, buffer.length);
    if (!isIntact(words, 0, available, address, segments.salt)) return undefined;
  } catch {
    // Missing, or the disk refuses to read it.
    return undefined;
  }
  const isPiece = (words[1] & KIND_MASK) === KIND_EXTENT && words[2] === bytes;
  return isPiece ? buffer.subarray(HEADER_BYTES, HEADER_BYTES + bytes) : undefined;
}
