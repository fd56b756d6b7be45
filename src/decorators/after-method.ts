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
}

export class AfterMethod {
  private readonly spaces = new WeakMap<object, KvNamespace>();

  /** @param act what is to be done; what it throws is told, and does not fail the method */
  constructor(
    private readonly method: DecoratedMethod,
    private readonly act: (returned: Returned) => Promise<unknown>,
    private readonly timeoutMs = TIMEOUT_MS,
  ) {}

  call(instance: unknown, args: unknown[]): unknown {
    const { method } = this;
    const store = method.storeOf(instance);
    const applies = store !== undefined && this.applies(store, instance, args);
    const returned = method.original.apply(instance, args);
    if (!applies) return returned;
    const after = (result: unknown) => this.after(store, instance, args, result);
    if (isThenable(returned)) return returned.then((result) => after(result).then(() => result));
    if (isObservable(returned)) return observed(returned, after);
    void after(returned);
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

  /** Never rejects. */
  private async after(
    store: InjectedStore,
    instance: unknown,
    args: unknown[],
    result: unknown,
  ): Promise<void> {
    try {
      let space = this.spaces.get(store);
      if (!space) this.spaces.set(store, (space = store.namespace(this.method.namespace)));
      await inTime(this.act({ instance, args, result, store, space }), this.timeoutMs);
    } catch (error) {
      this.method.failed(store, error);
    }
  }
}

function observed(source: Observable<unknown>, after: (last: unknown) => Promise<void>): Observable<unknown> {
  return defer(() => {
    let last: unknown;
    let isDue = false;
    const values = source.pipe(
      tap({
        next: (value) => {
          last = value;
          isDue = true;
        },
        error: () => (isDue = false),
      }),
    );
    const acting = defer(() => {
      isDue = false;
      return after(last);
    });
    return concat(values, acting.pipe(ignoreElements())).pipe(
      // Whoever takes the first value and leaves (`firstValueFrom`) does so before the source completes.
      finalize(() => {
        if (isDue) void after(last);
      }),
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
