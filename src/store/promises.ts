/**
 * Whether an answer has to be waited for at all: an `await` even of what is there lets others run, who may write the key
 * or reuse the page that a record lies in. What a caller's function returns may be a promise of any make.
 */
export function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof (value as PromiseLike<T> | undefined)?.then === 'function';
}
