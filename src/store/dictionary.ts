/**
 * DICTIONARY: what records need in order to be read, apart from themselves: the numbers of namespaces and the record
 * structures of values. An append-only file of lines, each a CRC-32 and a JSON object; a new entry is synced before
 * anything that uses it is written, so there are few and they are written synchronously. Commit records name the
 * number of entries they rely on: an entry that is missing is found out, one that nothing needs was torn off. Each says its
 * own number, so what is left of a damaged dictionary is certain, whatever stood between.
 */
import type { ValueStructure } from '../codec/value-codec.js';
import type { Device, DeviceFile } from '../device/device.js';
import { KvCorruptionError, KvDiskError, KvOptionsError } from '../errors.js';
import { MAX_NAMESPACE_NAME_BYTES, MAX_NAMESPACES } from '../limits.js';
import { textChecksum } from './text-checksum.js';
import { readWholeFile } from './whole-file.js';

export const DICTIONARY_NAME = 'DICTIONARY';
/** Its name until one that is written anew is whole. */
export const NEW_DICTIONARY_NAME = 'DICTIONARY.tmp';

/** Both kinds are numbered from 1, each for itself. */
export type DictionaryEntry =
  { namespace: string; number: number } | { structure: ValueStructure; number: number };

export class Dictionary {
  /** Record structures, in the order of their ids. */
  readonly structures: ValueStructure[] = [];
  /** Number of entries. */
  entries = 0;
  private readonly namespaces = new Map<string, number>();
  /** Their lines, in their order. */
  private lines: string[] = [];
  private readonly file: DeviceFile;
  private end = 0;

  /**
   * @param mayBeMissing whether the store is so new that its dictionary need not exist yet
   * @throws KvCorruptionError when it is missing
   */
  constructor(
    private readonly device: Device,
    mayBeMissing: boolean,
  ) {
    const isNew = !device.list().includes(DICTIONARY_NAME);
    if (isNew && !mayBeMissing) throw new KvCorruptionError('The dictionary is missing', DICTIONARY_NAME, 0);
    this.file = device.open(DICTIONARY_NAME, { create: true });
    if (isNew) device.syncDirectorySync();
    else this.load();
  }

  /**
   * Number of a namespace; a new one is entered durably. The store's own keys are in namespace 0.
   * @throws KvOptionsError for a name that cannot be one
   */
  namespace(name: string): number {
    const known = this.namespaces.get(name);
    if (known !== undefined) return known;
    const problem = this.problemOf(name);
    if (problem) throw new KvOptionsError([{ path: 'namespace', problem }]);
    this.append([{ namespace: name, number: this.namespaces.size + 1 }]);
    return this.namespaces.get(name) as number;
  }

  /** Names of the namespaces, in the order of their numbers, from 1. */
  get namespaceNames(): string[] {
    return [...this.namespaces.keys()];
  }

  /**
   * Whether the file still says what it said when it was read and written.
   * @returns where it does not; -1 if all is well
   * @throws KvDiskError
   */
  damagedAt(): number {
    const bytes = readWholeFile(this.device, DICTIONARY_NAME);
    const { entries, ends } = parseLines(bytes);
    const end = ends.at(-1) ?? 0;
    if (end !== this.end) return end;
    return entries.length === this.entries ? -1 : 0;
  }

  /** Enters record structures durably: all of them, or none when it fails, because their order is their number. */
  addStructures(structures: ValueStructure[]): void {
    const { length } = this.structures;
    this.append(structures.map((structure, i) => ({ structure, number: length + i + 1 })));
  }

  /**
   * Checks that everything the log relies on is there, and drops what lies behind it: torn off, or whole but perhaps not
   * durable, because the process was killed before the sync. Nothing that is committed needs it.
   * @throws KvCorruptionError
   */
  require(entries: number): void {
    if (this.entries < entries) {
      throw new KvCorruptionError(
        `The log relies on ${entries} entries of the dictionary, ${this.entries} are intact`,
        DICTIONARY_NAME,
        this.end,
      );
    }
    if (this.entries > entries) this.load(entries);
    if (this.device.retains && this.file.size() > this.end) {
      this.file.truncate(this.end);
      this.file.syncSync();
    }
  }

  /**
   * Writes the file anew, durably, if it is gone or does not say any more what it said: as long as the store is open, memory
   * has all of it. Nothing may be entered afterwards.
   * @throws KvDiskError
   */
  async mend(): Promise<void> {
    if (!this.device.retains || this.isWhole()) return;
    const bytes = Buffer.from(this.lines.join(''));
    const file = this.device.open(NEW_DICTIONARY_NAME, { create: true });
    try {
      file.truncate(0);
      await file.write(bytes, 0, bytes.length, 0);
      await file.sync();
    } finally {
      file.close();
    }
    // Windows replaces no file that is open.
    this.file.close();
    this.device.rename(NEW_DICTIONARY_NAME, DICTIONARY_NAME);
    await this.device.syncDirectory();
  }

  private isWhole(): boolean {
    try {
      return this.damagedAt() < 0;
    } catch (error) {
      // What is gone, or cannot be read, is not whole.
      if (error instanceof KvDiskError) return false;
      throw error;
    }
  }

  close(): void {
    this.file.close();
  }

  private problemOf(name: unknown): string | undefined {
    if (typeof name !== 'string' || name === '') return 'must be a string that is not empty';
    if (Buffer.byteLength(name) > MAX_NAMESPACE_NAME_BYTES || !name.isWellFormed()) {
      return `must be at most ${MAX_NAMESPACE_NAME_BYTES} bytes of valid Unicode`;
    }
    if (this.namespaces.size >= MAX_NAMESPACES) return `the store has ${MAX_NAMESPACES} namespaces already`;
    return undefined;
  }

  private load(most = Infinity): void {
    const { entries, ends } = parseLines(readWholeFile(this.device, DICTIONARY_NAME));
    this.entries = this.structures.length = 0;
    this.namespaces.clear();
    this.lines = entries.slice(0, most).map(lineOf);
    for (const entry of entries.slice(0, most)) this.enter(entry);
    this.end = ends[this.entries - 1] ?? 0;
  }

  private append(entries: DictionaryEntry[]): void {
    const lines = entries.map(lineOf);
    const bytes = Buffer.from(lines.join(''));
    this.file.writeSync(bytes, 0, bytes.length, this.end);
    this.file.syncSync();
    this.end += bytes.length;
    this.lines.push(...lines);
    for (const entry of entries) this.enter(entry);
  }

  private enter(entry: DictionaryEntry): void {
    this.entries++;
    if ('namespace' in entry) this.namespaces.set(entry.namespace, entry.number);
    else this.structures.push(entry.structure);
  }
}

/**
 * Ends the replacement of a damaged dictionary that was interrupted: the new one takes its place if it says more.
 * @throws KvDiskError
 */
export async function finishMending(device: Device): Promise<void> {
  const newLines = linesIn(bytesOf(device, NEW_DICTIONARY_NAME));
  const old = bytesOf(device, DICTIONARY_NAME);
  const lines = linesIn(old);
  // As many as the old one has, intact or not: a new one that is torn says less than what a salvage finds in the old one.
  const isWhole = newLines.length >= old.filter((byte) => byte === 0x0a).length;
  const saysMore =
    isWhole && newLines.length > lines.length && lines.every((line, i) => line === newLines[i]);
  if (!saysMore) return device.remove(NEW_DICTIONARY_NAME);
  const file = device.open(NEW_DICTIONARY_NAME, { create: false });
  try {
    await file.sync();
  } finally {
    file.close();
  }
  device.rename(NEW_DICTIONARY_NAME, DICTIONARY_NAME);
  await device.syncDirectory();
}

/** The intact lines of a dictionary, up to the first that is not. */
function linesIn(bytes: Buffer): string[] {
  return parseLines(bytes).entries.map(lineOf);
}

/** Of a file that may not be there. */
function bytesOf(device: Device, name: string): Buffer {
  try {
    return readWholeFile(device, name);
  } catch (error) {
    if (error instanceof KvDiskError) return Buffer.alloc(0);
    throw error;
  }
}

function lineOf(entry: DictionaryEntry): string {
  const json = JSON.stringify(entry);
  return `${textChecksum(json)} ${json}\n`;
}

/** The entries up to the first line that is not intact or not in its place, and where they end. */
function parseLines(bytes: Buffer): { entries: DictionaryEntry[]; ends: number[] } {
  const entries: DictionaryEntry[] = [];
  const ends: number[] = [];
  const numbering = new Numbering();
  let start = 0;
  for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
    const entry = entryOf(bytes.subarray(start, end));
    if (!entry || !numbering.isNext(entry)) break;
    entries.push(entry);
    start = end + 1;
    ends.push(start);
  }
  return { entries, ends };
}

/** Counts both kinds of entries. */
export class Numbering {
  private namespaces = 0;
  private structures = 0;

  /** Whether the entry has the number of its place. */
  isNext(entry: DictionaryEntry): boolean {
    return entry.number === ('namespace' in entry ? ++this.namespaces : ++this.structures);
  }
}

const CRC_CHARACTERS = 8;

/** The entry of a line without its end; `undefined` if it is not intact. */
export function entryOf(line: Buffer): DictionaryEntry | undefined {
  const json = line.toString('utf8', CRC_CHARACTERS + 1);
  if (line.toString('latin1', 0, CRC_CHARACTERS) !== textChecksum(json)) return undefined;
  return JSON.parse(json) as DictionaryEntry;
}
