/**
 * Whether what callers were told of a key can have come about: whether there is an order of their calls, each at some
 * moment between its begin and its end, in which every answer is right (Herlihy and Wing 1990; the search is Wing and
 * Gong's, with Lowe's memory of what was tried). Keys are independent of each other, so each is looked at by itself.
 */

/** A call on one key. A state is what the key holds, `undefined` for nothing. */
export interface KeyCall {
  /** For the message. */
  name: string;
  begin: number;
  end: number;
  /** What the key holds after the call, if its answer is right for what the key held before; `WRONG` otherwise. */
  apply: (state: State) => State | typeof WRONG;
}

export type State = string | number | undefined;

export const WRONG = Symbol('wrong');

/** The calls in the order of their begins, if there is no order in which all their answers are right. */
export function contradiction(calls: readonly KeyCall[], before: State = undefined): string | undefined {
  const sorted = calls.toSorted((a, b) => a.begin - b.begin);
  const done = new Set<number>();
  const tried = new Set<string>();
  // The first call that is not done yet: everything before it is.
  const search = (first: number, state: State): boolean => {
    while (done.has(first)) first++;
    if (first === sorted.length) return true;
    const after = [...done].filter((i) => i > first);
    const position = `${first}|${after.sort().join()}|${typeof state}${String(state)}`;
    if (tried.has(position)) return false;
    tried.add(position);
    // Whatever began after another one had ended comes after it.
    let earliestEnd = Infinity;
    for (let i = first; i < sorted.length && sorted[i].begin < earliestEnd; i++)
      if (!done.has(i)) earliestEnd = Math.min(earliestEnd, sorted[i].end);
    for (let i = first; i < sorted.length && sorted[i].begin <= earliestEnd; i++) {
      if (done.has(i)) continue;
      const next = sorted[i].apply(state);
      if (next === WRONG) continue;
      done.add(i);
      if (search(first, next)) return true;
      done.delete(i);
    }
    return false;
  };
  if (search(0, before)) return undefined;
  return sorted.map(({ name, begin, end }) => `${begin}–${end} ${name}`).join('\n');
}
