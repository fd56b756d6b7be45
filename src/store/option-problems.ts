/**
 * What the checks of options have in common: to say what kind of thing was given and what would be right, and which name
 * was probably meant. The thing itself is never told: it may be a secret, and errors end up in logs.
 */

/** Longer names are none that somebody has misspelt. */
const MAX_NAME_LENGTH = 40;

/** What shows only that a name goes on differently counts for less than a slip of the pen. */
const SAME_BEGINNING = 3;

export function isObject(input: unknown): input is object {
  return typeof input === 'object' && input !== null && !Array.isArray(input);
}

/** The problem of something that should be an object of options. */
export function notAnObject(input: unknown, example: string): string {
  return `must be an object, such as ${example}, not ${kindOf(input)}`;
}

/** The problem of an option that there is not. */
export function unknownOption(name: string, known: readonly string[]): string {
  return `is not an option${didYouMean(name, known)}`;
}

/**
 * A question to go behind a problem, if one of the known names is nearly what was given; else nothing.
 *
 * @param known names, or paths such as `hot.memory`, whose last name counts; the first of several that are as near
 */
export function didYouMean(given: unknown, known: readonly string[]): string {
  if (typeof given !== 'string' || given.length > MAX_NAME_LENGTH) return '';
  let nearest: string | undefined;
  let least = Infinity;
  for (const path of known) {
    const difference = differenceOf(given.toLowerCase(), path.slice(path.lastIndexOf('.') + 1).toLowerCase());
    if (difference < least) [nearest, least] = [path, difference];
  }
  return nearest === undefined ? '' : `; did you mean '${nearest}'?`;
}

function kindOf(input: unknown): string {
  if (input === null || input === undefined) return String(input);
  if (Array.isArray(input)) return 'an array';
  return typeof input === 'object' ? 'an object' : `a ${typeof input}`;
}

/** `Infinity` where nobody would take the one for the other. */
function differenceOf(given: string, name: string): number {
  const edits = editsBetween(given, name);
  if (edits <= Math.ceil(given.length / 4)) return edits;
  const isBeginning = name.startsWith(given) || given.startsWith(name);
  return isBeginning && Math.min(given.length, name.length) >= 3 ? SAME_BEGINNING : Infinity;
}

/** How many letters have to be changed, added, left out, or swapped with the next one. */
function editsBetween(a: string, b: string): number {
  let twoBefore: number[] = [];
  let before = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(before[j] + 1, row[j - 1] + 1, before[j - 1] + Number(a[i - 1] !== b[j - 1]));
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isSwapped) row[j] = Math.min(row[j], twoBefore[j - 2] + 1);
    }
    [twoBefore, before] = [before, row];
  }
  return before[b.length];
}
