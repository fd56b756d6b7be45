/**
 * Decorators that act when a method has returned: `@CacheEvict` and `@CachePut`. A promise is passed on, and an Observable
 * completes, only when that is done, so that whoever waited finds the store as it should be; a plain method does not wait,
 * and neither does who leaves an Observable once it has emitted.
 */
import { concat, defer, finalize, ignoreElements, isObservable, tap, type Observable } from 'rxjs';
import { nodeEnv } from '../device/node-env.js';
import { KvOverloadedError } from '../errors.js';
import type { KvNamespace } from '../store/kv-store.js';
import { TIMEOUT_MS, type DecoratedMethod, type InjectedStore } from './decorated-method.js';
import { isThenable } from './result-kind.js';

/** A call of a method that has returned. */
export interface Returned {
  instance: unknown;
  args: unknown[];
  result: unknown;
  store: InjectedStore;
  space: KvNamespace;
  /** Whether others get the result, and may change it, before it is acted on. */
  isPassedOn: boolean;
}

/** What is to be done. Rejects, or throws, with what went wrong. */
export type Act = () => Promise<unknown>;

export class AfterMethod {
  private readonly spaces = new WeakMap<object, KvNamespace>();

  /** @param prepare says what is to be done; what it throws is told then, and does not fail the method */
  constructor(
    private readonly method: DecoratedMethod,
    private readonly prepare: (returned: Returned) => Act,
    private readonly timeoutMs = TIMEOUT_MS,
  ) {}

  call(instance: unknown, args: unknown[]): unknown {
    const { method } = this;
    const store = method.storeOf(instance);
    const applies = store !== undefined && this.applies(store, instance, args);
    const returned = method.original.apply(instance, args);
    if (!applies) return returned;
    const prepared = (result: unknown, isPassedOn: boolean) =>
      this.prepared(store, { instance, args, result, isPassedOn });
    if (isThenable(returned)) return returned.then((result) => prepared(result, false)().then(() => result));
    if (isObservable(returned)) return observed(returned, (last) => prepared(last, true));
    void prepared(returned, false)();
    return returned;
  }

  private applies(store: InjectedStore, instance: unknown, args: unknown[]): boolean {
    try {
      return this.method.applies(instance, args);
    } catch (error) {
      this.method.failed(store, error);
      return true;
    }
  }

  /** What never rejects. */
  private prepared(store: InjectedStore, returned: Omit<Returned, 'store' | 'space'>): () => Promise<void> {
    let act: Act;
    try {
      let space = this.spaces.get(store);
      if (!space) this.spaces.set(store, (space = store.namespace(this.method.namespace)));
      act = this.prepare({ ...returned, store, space });
    } catch (error) {
      act = () => {
        throw error;
      };
    }
    return async () => {
      try {
        await inTime(act(), this.timeoutMs);
      } catch (error) {
        this.method.failed(store, error);
      }
    };
  }
}

/** Prepares for each value as it comes, because whoever gets it may change it, and acts on the last. */
function observed(
  source: Observable<unknown>,
  prepared: (last: unknown) => () => Promise<void>,
): Observable<unknown> {
  return defer(() => {
    let due: (() => Promise<void>) | undefined;
    const values = source.pipe(
      tap({
        next: (value) => (due = prepared(value)),
        error: () => (due = undefined),
      }),
    );
    const acting = defer(() => {
      const act = due ?? prepared(undefined);
      due = undefined;
      return act();
    });
    return concat(values, acting.pipe(ignoreElements())).pipe(
      // Whoever takes the first value and leaves (`firstValueFrom`) does so before the source completes.
      finalize(() => void due?.()),
    );
  });
}

async function inTime(work: Promise<unknown>, timeoutMs: number): Promise<void> {
  let stop: () => void = () => undefined;
  const tooLate = new Promise<never>((_, reject) => {
    stop = nodeEnv.clock.after(timeoutMs, () => {
      reject(new KvOverloadedError(`The store did not answer within ${timeoutMs} ms.`));
    });
  });
  try {
    await Promise.race([work, tooLate]);
  } finally {
    stop();
  }
}
