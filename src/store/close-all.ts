/**
 * Closing what consists of several parts: an error of one must not leave the others open, above all not the directory
 * locked for as long as the process lives.
 */

/**
 * Makes all these calls, one after the other.
 * @throws what failed first, once all were made
 */
export async function closeAll(...calls: (() => unknown)[]): Promise<void> {
  let failure: { error: unknown } | undefined;
  for (const call of calls) {
    try {
      await call();
    } catch (error) {
      failure ??= { error };
    }
  }
  if (failure) throw failure.error;
}
