/**
 * Small text files after damage, for `salvage`. A CRC-32 tells every single wrong bit of a short text from every other, so
 * one such bit can be turned back: the most frequent damage of all, and a small file is all there is of what it says.
 */
import { MAX_NAMESPACES } from '../../limits.js';
import type { DictionaryEntry } from '../dictionary.js';
import { textChecksum } from '../text-checksum.js';

/** Longer texts are not mended: the more bits there are, the likelier is it that a wrong one fits by chance. */
const MAX_MENDED_BYTES = 16 * 1024;

/** What `read` makes of the bytes, or of the bytes with one bit turned; `undefined` when nothing is intact. */
export function mended<T>(bytes: Buffer, read: (bytes: Buffer) => T | undefined): T | undefined {
  const intact = read(bytes);
  if (intact !== undefined || bytes.length > MAX_MENDED_BYTES) return intact;
  const copy = Buffer.from(bytes);
  for (let bit = 0; bit < copy.length * 8; bit++) {
    copy[bit >> 3] ^= 1 << (bit & 7);
    const found = read(copy);
    if (found !== undefined) return found;
    copy[bit >> 3] ^= 1 << (bit & 7);
  }
  return undefined;
}

/** What is left of a dictionary: by number, and `undefined` for what is lost. */
export interface FoundDictionary {
  namespaces: (string | undefined)[];
  structures: (string[] | undefined)[];
  /** Entries, the lost ones included. */
  entries: number;
  /** Where the first damage lies; -1 for none. What lies behind the last intact line may be a torn one. */
  damagedAt: number;
  /** Where the last entry ends whose number is certain. */
  end: number;
}

const CRC_CHARACTERS = 8;

/**
 * Reads a dictionary as far as its numbers are certain. The place of an entry is its number, so behind a line of which not
 * even the kind can be told, or that may have been several, nothing is. No entry is there twice: where one is, it has come
 * from another place, and which of them is right cannot be told.
 */
export function readDictionary(bytes: Buffer): FoundDictionary {
  const found = readLines(bytes);
  const seen = new Set<string>();
  const twice = new Set<string>();
  for (const line of bytes.toString('latin1').split('\n')) {
    const entry = entryOf(Buffer.from(line, 'latin1'));
    const text = JSON.stringify(entry ? Object.values(entry)[0] : undefined);
    if (entry && seen.has(text)) twice.add(text);
    seen.add(text);
  }
  if (twice.size === 0) return found;
  const unlessTwice = <T>(entry: T): T | undefined => (twice.has(JSON.stringify(entry)) ? undefined : entry);
  const damagedAt = Math.max(found.damagedAt, 0);
  const { namespaces, structures } = found;
  return {
    ...found,
    damagedAt,
    namespaces: namespaces.map(unlessTwice),
    structures: structures.map(unlessTwice),
  };
}

function readLines(bytes: Buffer): FoundDictionary {
  const found: FoundDictionary = { namespaces: [], structures: [], entries: 0, damagedAt: -1, end: 0 };
  for (let start = 0; start < bytes.length;) {
    const newline = bytes.indexOf(10, start);
    const end = newline < 0 ? bytes.length : newline;
    const line = bytes.subarray(start, end);
    const intact = newline < 0 ? undefined : entryOf(line);
    if (!intact && found.damagedAt < 0) found.damagedAt = start;
    let entry = intact;
    let next = end + 1;
    if (!entry) {
      const mendedLine = mendedEntry(bytes, start);
      entry = mendedLine?.entry;
      if (mendedLine) next = mendedLine.end + 1;
    }
    if (entry) enter(found, entry, false);
    else {
      const damaged = newline < 0 ? undefined : shapeOf(line.toString('utf8', CRC_CHARACTERS + 1));
      if (!damaged) return found;
      enter(found, damaged, true);
    }
    start = found.end = next;
  }
  return found;
}

function enter(found: FoundDictionary, entry: DictionaryEntry, lost: boolean): void {
  found.entries++;
  if ('namespace' in entry) found.namespaces.push(lost ? undefined : entry.namespace);
  else found.structures.push(lost ? undefined : entry.structure);
}

/** The entry of a line without its end, if it is intact. */
function entryOf(line: Buffer): DictionaryEntry | undefined {
  const json = line.toString('utf8', CRC_CHARACTERS + 1);
  return line.toString('latin1', 0, CRC_CHARACTERS) === textChecksum(json) ? shapeOf(json) : undefined;
}

/** The line that begins here, with one bit turned back, also if that is in its end. */
function mendedEntry(bytes: Buffer, start: number): { entry: DictionaryEntry; end: number } | undefined {
  for (let end = bytes.indexOf(125, start) + 1; end > 0; end = bytes.indexOf(125, end) + 1) {
    if (end - start > MAX_MENDED_BYTES) break;
    const entry = entryOf(bytes.subarray(start, end));
    if (entry) return { entry, end };
  }
  const newline = bytes.indexOf(10, start);
  // Two lines that look like one, because the end of the first is wrong, were tried above.
  const end = newline < 0 ? bytes.length : newline;
  const entry = mended(bytes.subarray(start, end), entryOf);
  if (entry) return { entry, end };
  // A wrong bit that looks like the end of a line.
  const following = newline < 0 ? -1 : bytes.indexOf(10, newline + 1);
  const longer = following < 0 ? undefined : mended(bytes.subarray(start, following), entryOf);
  return longer && { entry: longer, end: following };
}

/** What a line says, whether or not its checksum holds; `undefined` when it does not look like an entry. */
function shapeOf(json: string): DictionaryEntry | undefined {
  let entry: Partial<{ namespace: unknown; structure: unknown }> | null;
  try {
    entry = JSON.parse(json) as typeof entry;
  } catch {
    return undefined;
  }
  if (typeof entry !== 'object' || entry === null || Object.keys(entry).length !== 1) return undefined;
  const { namespace, structure } = entry;
  if (typeof namespace === 'string') return { namespace };
  const isRow = Array.isArray(structure) && structure.every((field) => typeof field === 'string');
  return isRow ? { structure: structure } : undefined;
}

/** Names for the namespaces up to a number; those whose name is lost get one that nobody else has. */
export function namesUpTo(number: number, names: readonly (string | undefined)[]): string[] {
  const taken = new Set(names);
  return Array.from({ length: Math.min(number, MAX_NAMESPACES) }, (_, i) => {
    let name = names[i] ?? `salvaged-${i + 1}`;
    while (names[i] === undefined && taken.has(name)) name = `${name}_`;
    taken.add(name);
    return name;
  });
}
