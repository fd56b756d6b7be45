/**
 * A damaged store, opened to be read: no byte of it is changed, and nothing but a lost manifest keeps it from being read.
 * Its first reading, the survey, finds what is damaged, up to where each log was committed, and which spaces were
 * cleared; all of that has to be known before any record can be judged.
 */
import type { EncodedKey } from '../../codec/key-codec.js';
import type { KeyedHash } from '../../codec/keyed-hash.js';
import type { Device } from '../../device/device.js';
import { KvCorruptionError, KvDiskError, KvFormatError } from '../../errors.js';
import { FIRST_ADDRESS, type LogAddress } from '../../log/address.js';
import { readCommit } from '../../log/commit.js';
import { encodedKeyOf, keyStart, spaceOf } from '../../log/record-key.js';
import {
  FLAG_ATTRIBUTES,
  HEADER_BYTES,
  KIND_CLEAR,
  KIND_COMMIT,
  KIND_FILLER,
  KIND_MASK,
  KIND_NONE,
  KIND_TOMBSTONE,
  KIND_VALUE,
  keyLengthOf,
  MIN_RECORD_BYTES,
  sequenceOf,
  totalBytes,
} from '../../log/record.js';
import { SegmentFiles } from '../../log/segment-files.js';
import type { Slices } from '../../log/slices.js';
import type { LogPoint } from '../log-point.js';
import { Ranges, type DamageList } from './damage.js';
import { DICTIONARY_NAME, NEW_DICTIONARY_NAME } from '../dictionary.js';
import {
  isManifestName,
  MANIFEST_NAME,
  parseManifest,
  requireFinished,
  requireReadable,
  TEMPORARY_NAME,
  type LogManifest,
  type Manifest,
} from '../manifest.js';
import { mended, readDictionary, type FoundDictionary } from './mend.js';
import { type Spaces } from '../spaces.js';
import { TolerantScan, type LogDamage, type LogVisitor } from './tolerant-scan.js';
import { readWholeFile } from '../whole-file.js';

/**
 * Reads the manifest of a damaged store.
 * @throws KvFormatError when there is no store, one of another format, or what a salvage left that did not end
 * @throws KvCorruptionError when it is lost: the salts that go into all checksums are in it
 * @throws KvDiskError when it cannot be read
 */
export function findManifest(device: Device, damages: DamageList): Manifest {
  const names = device.list();
  const isOurs = names.some(
    (name) => isManifestName(name) || name === DICTIONARY_NAME || SegmentFiles.isSegmentName(name),
  );
  if (!isOurs) throw new KvFormatError(`${device.location} is not a store of nestjs-hotcold.`);
  const add = (message: string) =>
    damages.add({ what: 'manifest', file: MANIFEST_NAME, address: 0, bytes: 0, message });
  const bytes = contentsOf(device, MANIFEST_NAME);
  let manifest = bytes && parseManifest(bytes);
  if (!manifest) {
    manifest = bytes && mended(bytes, parseManifest);
    if (manifest) add('The manifest had one wrong bit; its checksum tells which');
  }
  if (!manifest) {
    const temporary = contentsOf(device, TEMPORARY_NAME);
    manifest = temporary && parseManifest(temporary);
    if (manifest) add(`The manifest is lost; ${TEMPORARY_NAME} takes its place`);
  }
  if (!manifest) {
    const how = bytes ? 'damaged' : 'missing';
    throw new KvCorruptionError(
      `The manifest is ${how}, and nothing can be read without the salts of the checksums that are in it`,
      MANIFEST_NAME,
      0,
      { remedy: 'Put a copy of this file back, an older one will do, or restore a backup of the directory.' },
    );
  }
  requireReadable(manifest, device.location);
  requireFinished(manifest, device.location);
  return manifest;
}

/** Reads the dictionary of a damaged store, as far as it is there. @throws KvDiskError */
export function findDictionary(device: Device): FoundDictionary & { isTemporary: boolean } {
  const found = dictionaryIn(device, DICTIONARY_NAME);
  const temporary = dictionaryIn(device, NEW_DICTIONARY_NAME);
  const isTemporary = temporary.entries > found.entries;
  return { ...(isTemporary ? temporary : found), isTemporary };
}

function dictionaryIn(device: Device, name: string): FoundDictionary {
  try {
    return readDictionary(contentsOf(device, name) ?? Buffer.alloc(0));
  } catch (error) {
    // What the disk does not give back is lost. What this process may not read is not.
    if (!(error instanceof KvDiskError && error.errno === 'EIO')) throw error;
    return readDictionary(Buffer.alloc(0));
  }
}

/** @throws KvDiskError: a file that may not be read, or not now, is not lost */
function contentsOf(device: Device, name: string): Buffer | undefined {
  return device.list().includes(name) ? readWholeFile(device, name) : undefined;
}

/** What the first reading of a log has found. */
export class LogSurvey {
  readonly damages: LogDamage[] = [];
  /** The damages where no record is intact. */
  readonly ranges = new Ranges();
  /** Where the last commit ended that is known of: what lies behind was never promised, and is left out. */
  committedEnd: LogAddress;
  /** Bytes behind it. */
  droppedBytes = 0;
  /** The last commit that is known to have been on stable storage, and where it ended. */
  private known: Pick<LogPoint, 'commit' | 'end'> = { commit: 0, end: FIRST_ADDRESS };
  records = 0;
  bytes = 0;
  /** The highest version, time, and number of dictionary entries that the log tells of. */
  lastVersion = 0;
  maxTime = 0;
  dictionaryEntries = 0;
  private clears: { space: number | undefined; version: number; address: LogAddress }[] = [];
  private tags: { low: number; high: number; version: number; address: LogAddress }[] = [];

  constructor(
    readonly log: 'hot' | 'cold',
    readonly segments: SegmentFiles,
    private readonly manifest: LogManifest,
    /** Commits of it that were on stable storage, according to checkpoint and hints. */
    points: readonly (Pick<LogPoint, 'commit' | 'end'> | undefined)[],
  ) {
    this.committedEnd = manifest.begin;
    const { closed } = manifest;
    for (const point of [closed && { commit: closed.commit, end: closed.tail }, ...points])
      if (point && point.end > this.known.end) this.known = point;
  }

  /** Where the files end, or have to end according to manifest and checkpoint. */
  get end(): LogAddress {
    const { segments } = this;
    const last = segments.numbers().at(-1);
    const end = last === undefined ? 0 : segments.startOf(last) + segments.sizeOf(last);
    return Math.max(end - (end % 8), this.known.end) as LogAddress;
  }

  /** The last commit that was on stable storage, whether it is there or not, as far as only numbers tell. */
  private get syncedCommit(): number {
    const { begin, beginCommit, synced = 0 } = this.manifest;
    // A log is never truncated behind its last commit.
    return Math.max(synced, begin > FIRST_ADDRESS ? beginCommit + 1 : 0);
  }

  async run(slices: Slices, mayGoOn: () => boolean): Promise<void> {
    const scan = this.scan(slices, {
      mayGoOn,
      damaged: (damage) => this.damages.push(damage),
      record: (words, at, address, bytes) => this.take(words, at, address, bytes),
    });
    await scan.run();
    const { number = this.manifest.beginCommit } = scan.last ?? {};
    const last = scan.lastEnd >= this.known.end ? { commit: number, end: scan.lastEnd } : this.known;
    this.committedEnd = last.end;
    // How long what is missing was nobody knows.
    if (last.commit < this.syncedCommit) this.damages.push({ what: 'missing', from: last.end, to: last.end });
    this.keepCommitted();
  }

  /** Another way through the log. */
  scan(slices: Slices, visitor: LogVisitor): TolerantScan {
    const { manifest, segments } = this;
    const until = this.end;
    const { begin, beginCommit } = manifest;
    return new TolerantScan(
      { segments, begin: () => begin, beginCommit, until: () => until },
      visitor,
      slices,
    );
  }

  /** Takes the marks of spaces that were cleared and of tags into `spaces`. */
  applyMarks(spaces: Spaces): void {
    for (const { space, version } of this.clears) spaces.clear(space, version);
    for (const { low, high, version } of this.tags) spaces.tags.mark(low, high, version);
  }

  private take(words: Int32Array, at: number, address: LogAddress, bytes: number): void {
    const kind = words[at + 1] & KIND_MASK;
    this.bytes += bytes;
    if (kind === KIND_COMMIT) {
      const { nextSequence, maxTime, dictionaryEntries } = readCommit(words, at);
      this.lastVersion = Math.max(this.lastVersion, nextSequence - 1);
      this.maxTime = Math.max(this.maxTime, maxTime);
      this.dictionaryEntries = Math.max(this.dictionaryEntries, dictionaryEntries);
    } else if (kind === KIND_CLEAR && (words[at + 1] & FLAG_ATTRIBUTES) !== 0) {
      const key = keyStart(words, at);
      this.tags.push({ low: words[key], high: words[key + 1], version: sequenceOf(words, at), address });
    } else if (kind === KIND_CLEAR) {
      const space = keyLengthOf(words, at) === 0 ? undefined : spaceOf(words[keyStart(words, at)]);
      this.clears.push({ space, version: sequenceOf(words, at), address });
    } else if (kind === KIND_VALUE || kind === KIND_TOMBSTONE) {
      this.records++;
      this.lastVersion = Math.max(this.lastVersion, sequenceOf(words, at));
    }
  }

  /** Behind the last commit is the torn tail of an unclean stop, whatever it looks like. */
  private keepCommitted(): void {
    const { committedEnd, segments } = this;
    this.clears = this.clears.filter(({ address }) => address < committedEnd);
    this.tags = this.tags.filter(({ address }) => address < committedEnd);
    const damages = this.damages.filter(({ from, to }) => from < committedEnd || from === to);
    this.damages.splice(0, this.damages.length, ...damages);
    for (const { what, from, to, padding } of damages)
      if (what !== 'order' && to > from && !padding) this.ranges.add(from, to);
    for (const segment of segments.numbers()) {
      this.droppedBytes += segments.writtenBehind(
        segment,
        Math.max(0, committedEnd - segments.startOf(segment)),
      );
    }
  }
}

/** A key as it can be read in a damaged place. */
export interface DamagedKey {
  key: EncodedKey;
  address: number;
  isValue: boolean;
}

/** Of a damaged part, so much is searched for keys. */
const SEARCHED_BYTES = 1024 * 1024;

/** The keys of damaged records that lie one behind the other, as far as their headers look right. */
export async function keysIn(
  segments: SegmentFiles,
  from: LogAddress,
  to: LogAddress,
  hash: KeyedHash,
): Promise<DamagedKey[]> {
  const found: DamagedKey[] = [];
  const bytes = new Uint8Array(Math.min(to - from, SEARCHED_BYTES));
  const words = new Int32Array(bytes.buffer, 0, bytes.length >> 2);
  let available: number;
  try {
    available = await segments.read(from, bytes, bytes.length);
  } catch {
    return found;
  }
  for (let at = 0; at * 4 + HEADER_BYTES <= available;) {
    const kind = words[at + 1] & KIND_MASK;
    const valueLength = words[at + 2];
    const length = totalBytes(words, at);
    const fits = kind !== KIND_NONE && length >= MIN_RECORD_BYTES && at * 4 + length <= available;
    const isVersion = kind === KIND_VALUE || kind === KIND_TOMBSTONE;
    const keyEnd = keyStart(words, at) * 4 + keyLengthOf(words, at);
    if (isVersion && keyLengthOf(words, at) > 1 && keyEnd <= available)
      found.push({
        key: encodedKeyOf(words, at, hash),
        address: from + at * 4,
        isValue: kind === KIND_VALUE,
      });
    if (!fits || (kind !== KIND_FILLER && valueLength < 0)) break;
    at += length >> 2;
  }
  return found;
}
