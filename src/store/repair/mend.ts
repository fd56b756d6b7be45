/**
 * Small text files after damage, for `salvage`. A CRC-32 tells every single wrong bit of a short text from every other, so
 * one such bit can be turned back: the most frequent damage of all, and a small file is all there is of what it says.
 */
import { MAX_NAMESPACES } from '../../limits.js';
import { entryOf, Numbering, type DictionaryEntry } from '../dictionary.js';

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
  /** Entries that are there. */
  entries: number;
  /** Where the first damage lies; -1 for none. What lies behind the last intact line may be a torn one. */
  damagedAt: number;
  /** Where the last intact entry ends. */
  end: number;
}

/** Reads what is left of a dictionary. An entry with a number that another one has as well is as good as lost. */
export function readDictionary(bytes: Buffer): FoundDictionary {
  const entries = new Map<string, DictionaryEntry | undefined>();
  const numbering = new Numbering();
  let damagedAt = -1;
  let end = 0;
  for (let start = 0; start < bytes.length;) {
    const newline = bytes.indexOf(10, start);
    const intact = newline < 0 ? undefined : entryOf(bytes.subarray(start, newline));
    const found = intact ? { entry: intact, end: newline } : mendedEntry(bytes, start);
    if (damagedAt < 0 && !(intact && numbering.isNext(intact))) damagedAt = start;
    start = (found?.end ?? (newline < 0 ? bytes.length : newline)) + 1;
    if (!found) continue;
    end = start;
    const { entry } = found;
    const name = `${'namespace' in entry ? 'namespace' : 'structure'} ${entry.number}`;
    const isOther = entries.has(name) && JSON.stringify(entries.get(name)) !== JSON.stringify(entry);
    entries.set(name, isOther ? undefined : entry);
  }
  const left = [...entries.values()].filter((entry) => entry !== undefined);
  const namespaces: (string | undefined)[] = [];
  const structures: (string[] | undefined)[] = [];
  for (const entry of left) {
    if ('namespace' in entry) namespaces[entry.number - 1] = entry.namespace;
    else structures[entry.number - 1] = entry.structure;
  }
  // Without holes, which some functions pass over.
  return {
    namespaces: Array.from(namespaces),
    structures: Array.from(structures),
    entries: left.length,
    damagedAt,
    end,
  };
}

/** An entry that fits its checksum by chance is none. */
function plausibleEntryOf(line: Buffer): DictionaryEntry | undefined {
  try {
    const entry = entryOf(line);
    return entry && entry.number > 0 && entry.number <= MAX_NAMESPACES ? entry : undefined;
  } catch {
    return undefined;
  }
}

/** The line that begins here, with one bit turned back, also if that is in its end. */
function mendedEntry(bytes: Buffer, start: number): { entry: DictionaryEntry; end: number } | undefined {
  for (let end = bytes.indexOf(125, start) + 1; end > 0; end = bytes.indexOf(125, end) + 1) {
    if (end - start > MAX_MENDED_BYTES) break;
    const entry = plausibleEntryOf(bytes.subarray(start, end));
    if (entry) return { entry, end };
  }
  const newline = bytes.indexOf(10, start);
  // Two lines that look like one, because the end of the first is wrong, were tried above.
  const end = newline < 0 ? bytes.length : newline;
  const entry = mended(bytes.subarray(start, end), plausibleEntryOf);
  if (entry) return { entry, end };
  // A wrong bit that looks like the end of a line.
  const following = newline < 0 ? -1 : bytes.indexOf(10, newline + 1);
  const longer = following < 0 ? undefined : mended(bytes.subarray(start, following), plausibleEntryOf);
  if (longer) return { entry: longer, end: following };
  // One that is intact behind the rest of another.
  for (const { index } of bytes.toString('latin1', start, end).matchAll(/[0-9a-f]{8} \{/g)) {
    const last = plausibleEntryOf(bytes.subarray(start + index, end));
    if (last) return { entry: last, end };
  }
  return undefined;
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
