/**
 * What a cached method does when it is called: make the key, ask the store, run the method on a miss (once for all
 * calls that wait for the same key), and offer the result to the store. Whatever fails on the store's side ends with
 * the method running as if it were not decorated. `cached.ts` has the decorator around this.
 *
 * Three kinds of methods behave differently: those that return a promise, an Observable, or a plain value. The declared
 * return type tells the kind where TypeScript wrote it down, otherwise the first run does.
 */
import {
  catchError,
  defer,
  isObservable,
  mergeMap,
  of,
  ReplaySubject,
  share,
  tap,
  timer,
  type Observable,
} from 'rxjs';
import type { KvKey } from '../codec/key-codec.js';
import { KvEncodingError } from '../errors.js';
import type { CacheHooks, CachePlan } from '../store/cache-options.js';
import type { CachedEntry, Snapshot } from '../store/cached-entries.js';
import type { KvNamespace } from '../store/kv-store.js';
import type { Run } from '../store/runs.js';
import { canonicalKey } from './cache-key.js';
import { ResultPlan, type KvResultOptions } from './cache-results.js';
import { counterOf } from './cached-stats.js';
import {
  madeKey,
  ownerOf,
  type DecoratedMethod,
  type InjectedStore,
  type KvMethodOptions,
  type OfArguments,
} from './decorated-method.js';
import { isStream, isThenable, kindOfType, type AnyMethod, type Kind } from './result-kind.js';

/** How a method is cached. Anything else in here is refused when the class is defined. */
export interface CachedOptions extends KvMethodOptions, KvResultOptions {
  /**
   * Key of a result: a constant, or a function of the arguments, called with the instance as `this`. It should name
   * everything the result depends on, such as the user or the language. Default: class, method and arguments; not for
   * bundles whose minifier renames classes.
   */
  key?: KvKey | OfArguments<KvKey>;
}

/** One decorated method on one store. */
interface Binding {
  store: InjectedStore;
  space: KvNamespace;
  results: ResultPlan;
  count: ReturnType<typeof counterOf>;
  /** Observables that somebody waits for, by the bytes of their key. */
  streams: Map<string, SharedStream>;
  /** The class that had its default key accepted last. */
  owner: object | undefined;
}

interface SharedStream {
  run: Run;
  values: Observable<unknown>;
}

/** One call: what it needs to run the method and to keep the result. */
interface Call {
  instance: unknown;
  args: unknown[];
  key: KvKey;
  binding: Binding;
  plan: CachePlan;
}

/** Which class has a default key first, on each store: another class of the same name must not share it. */
const owners = new WeakMap<object, Map<string, object>>();

export class CachedMethod {
  private kind: Kind;
  private readonly original: AnyMethod;
  private readonly key: CachedOptions['key'];
  private readonly bindings = new WeakMap<object, Binding>();
  private last: Binding | undefined;

  constructor(
    private readonly method: DecoratedMethod,
    private readonly options: CachedOptions,
  ) {
    this.original = method.original;
    this.key = options.key;
    this.kind = kindOfType(method.returnType, method.original);
  }

  /** Hot path (`npm run bench:cached`): a hit makes a key, a look-up, and the promise of the answer. */
  call(instance: unknown, args: unknown[]): unknown {
    const { method, original } = this;
    if (this.kind === 'many') return original.apply(instance, args);
    const store = method.storeOf(instance);
    if (!store) return original.apply(instance, args);
    let call: Call;
    try {
      if (!method.applies(instance, args)) return original.apply(instance, args);
      const binding = this.bindingOf(store);
      const key = this.keyOf(binding, instance, args);
      const hit = this.kind === 'promise' ? this.hit(binding, key) : undefined;
      if (hit) return hit;
      call = { instance, args, key, binding, plan: binding.results.of(instance, args) };
    } catch (error) {
      method.failed(store, error);
      return original.apply(instance, args);
    }
    if (this.kind === 'promise') return this.answer(call, () => original.apply(instance, args));
    if (this.kind === 'observable') return this.observe(call);
    return this.callPlain(call);
  }

  private bindingOf(store: InjectedStore): Binding {
    if (this.last?.store === store) return this.last;
    let binding = this.bindings.get(store);
    if (!binding) {
      const { method, options } = this;
      const failed = (error: unknown) => method.failed(store, error);
      const count = counterOf(store);
      const hooks: CacheHooks = {
        outcome: count,
        shares: (value) => !isStream(value),
        keeps: (value) => results.keeps(value, method, failed),
      };
      const results = new ResultPlan(options, failed, hooks);
      const space = store.namespace(method.namespace);
      binding = { store, space, results, count, streams: new Map(), owner: undefined };
      this.bindings.set(store, binding);
    }
    return (this.last = binding);
  }

  private keyOf(binding: Binding, instance: unknown, args: unknown[]): KvKey {
    const { key, method } = this;
    if (typeof key === 'function') return madeKey((key as AnyMethod).apply(instance, args));
    if (key !== undefined) return key;
    const { declaringClass, name } = method;
    const owner = ownerOf(instance);
    const runtimeClass = owner?.name ?? '';
    if (owner && owner !== binding.owner) {
      claim(binding.store, owner, `${runtimeClass}\n${declaringClass}\n${name}`);
      binding.owner = owner;
    }
    // The declaring class is part of it, or a method and the one it calls through `super` would be one.
    return [runtimeClass, declaringClass, name, ...canonicalKey(args)];
  }

  /** What `answer` would come to for a fresh entry in memory, with less on the way. */
  private hit({ count, results, space }: Binding, key: KvKey): Promise<unknown> | undefined {
    let found: CachedEntry | undefined;
    try {
      found = space.cached.peek(key, results.version);
    } catch {
      // `answer` meets it again, and may mend it.
      return undefined;
    }
    if (!found) return undefined;
    count('hits');
    return Promise.resolve(results.revived(found.value));
  }

  /** From the store, or from the factory, once for all. */
  private answer({ binding, key, plan }: Call, factory: () => unknown): unknown {
    let answer: Promise<unknown>;
    try {
      answer = binding.space.getOrSet(key, factory, plan);
    } catch (error) {
      this.method.failed(binding.store, error);
      return factory();
    }
    const { results } = binding;
    return results.type ? answer.then((value) => results.revived(value)) : answer;
  }

  /**
   * A plain method stays synchronous, so it is served from memory only; what it returns is stored in the background.
   * Also the first call of a method whose kind is not known yet, which cannot be answered from the store.
   */
  private callPlain(call: Call): unknown {
    const { original } = this;
    const { args, binding, instance, key, plan } = call;
    const { cached } = binding.space;
    let run: Run | undefined;
    try {
      const found = this.kind === 'plain' ? cached.peek(key, plan.version) : undefined;
      if (found) {
        binding.count('hits');
        return binding.results.revived(found.value);
      }
      run = cached.begin(key, plan);
    } catch (error) {
      this.method.failed(binding.store, error);
    }
    let result: unknown;
    try {
      result = original.apply(instance, args);
    } catch (error) {
      if (run) cached.end(run);
      throw error;
    }
    if (run && (isThenable(result) || isObservable(result) || isStream(result))) cached.end(run);
    if (isThenable(result)) {
      this.kind = 'promise';
      if (!run) return result;
      // Nobody may ever look at it: the store may have the answer.
      if (result instanceof Promise) result.catch(() => undefined);
      return this.answer(call, () => result);
    }
    if (isObservable(result)) {
      this.kind = 'observable';
      missed(binding);
      return run ? this.shared(call, result) : result;
    }
    if (isStream(result)) return result;
    // `undefined` tells nothing: the next call may return a promise.
    if (result !== undefined) this.kind = 'plain';
    missed(binding);
    if (run) this.keep(call, run, result);
    return result;
  }

  /** Asks the store when it is subscribed to, as the method's own Observable would begin its work then. */
  private observe(call: Call): Observable<unknown> {
    const { binding, instance, args, plan } = call;
    const found$ = defer(() => this.lookUp(call));
    return found$.pipe(
      mergeMap((looked) => {
        // What others subscribed to meanwhile may have emitted at once, and be kept.
        const found = looked && looked.lateMs < 0 ? looked : (this.peek(call) ?? looked);
        const source = defer(() => this.original.apply(instance, args) as Observable<unknown>);
        if (found && found.lateMs < Math.max(plan.revalidateMs, 0)) {
          binding.count('hits');
          binding.space.cached.answered(found);
          if (found.lateMs >= 0) this.refresh(call, source);
          return of(binding.results.revived(found.value));
        }
        const running = this.running(call);
        if (running) binding.count('shared');
        else missed(binding);
        const values = running ?? this.shared(call, source);
        if (!found || found.lateMs >= plan.ifErrorMs) return values;
        let isEmpty = true;
        return values.pipe(
          tap(() => (isEmpty = false)),
          catchError((error: unknown) => {
            // Whoever has something newer already does not get the old value behind it.
            if (!isEmpty) throw error;
            this.method.failed(binding.store, error);
            return of(binding.results.revived(found.value));
          }),
        );
      }),
    );
  }

  private peek({ binding, key, plan }: Call): CachedEntry | undefined {
    try {
      return binding.space.cached.peek(key, plan.version);
    } catch {
      // The look-up has met it before, and told.
      return undefined;
    }
  }

  private refresh(call: Call, source: Observable<unknown>): void {
    if (this.running(call)) return;
    this.shared(call, source).subscribe({
      error: (error: unknown) => this.method.failed(call.binding.store, error),
    });
  }

  private running({ binding, key, plan }: Call): Observable<unknown> | undefined {
    if (binding.streams.size === 0) return undefined;
    const { cached } = binding.space;
    const probe = cached.begin(key, plan);
    cached.end(probe);
    const running = binding.streams.get(probe.id);
    return running && cached.isCurrent(running.run) ? running.values : undefined;
  }

  /**
   * One subscription for all who wait for the first value. The value is kept if it turns out to be the only one. A
   * second one shows that the method returns streams: it is left alone from then on.
   */
  private shared(call: Call, source: Observable<unknown>): Observable<unknown> {
    const { binding, key, plan } = call;
    const { cached } = binding.space;
    let run: Run;
    try {
      run = cached.begin(key, plan);
    } catch (error) {
      this.method.failed(binding.store, error);
      return source;
    }
    let values = 0;
    let only: unknown;
    let snapshot: Snapshot | undefined;
    let isHandedOver = false;
    const forget = () => {
      // A write that waits for the disk still has to hear of what happens to the key.
      if (!isHandedOver) cached.end(run);
      if (binding.streams.get(run.id) === stream) binding.streams.delete(run.id);
    };
    const shared = source.pipe(
      tap({
        subscribe: () => {
          values = 0;
        },
        next: (value) => {
          values++;
          only = values === 1 ? value : undefined;
          // Now, because those who get it may change it.
          snapshot = values === 1 && !isStream(value) ? cached.snapshot(value, plan) : undefined;
          if (values !== 2) return;
          this.kind = 'many';
          forget();
        },
        complete: () => {
          isHandedOver = values === 1;
          if (isHandedOver) this.keep(call, run, only, snapshot);
        },
        finalize: forget,
      }),
      share({
        connector: () => new ReplaySubject(1),
        // Whoever takes the first value and leaves (`firstValueFrom`) does so just before the source completes.
        resetOnRefCountZero: () => (values === 1 ? timer(0) : of(0)),
      }),
    );
    const stream: SharedStream = { run, values: shared };
    binding.streams.set(run.id, stream);
    return shared;
  }

  private async lookUp({ binding, key, plan }: Call): Promise<CachedEntry | undefined> {
    try {
      return await binding.space.cached.get(key, plan);
    } catch (error) {
      this.method.failed(binding.store, error);
      return undefined;
    }
  }

  /**
   * Offers a result to the store. Nobody waits for it: the store sees the value within this turn of the event loop,
   * and a cache need not be durable before the caller goes on.
   */
  private keep({ binding, key, plan }: Call, run: Run, result: unknown, snapshot?: Snapshot): void {
    binding.space.cached.keep(run, key, result, plan, snapshot).catch((error: unknown) => {
      this.method.failed(binding.store, error);
    });
  }
}

/** Plain methods and Observables look for themselves, so their misses are counted here for the store as well. */
function missed({ count, space }: Binding): void {
  count('misses');
  space.cached.missed();
}

/** @throws KvEncodingError when another class has the name */
function claim(store: object, owner: object, name: string): void {
  let claims = owners.get(store);
  if (!claims) owners.set(store, (claims = new Map<string, object>()));
  const known = claims.get(name);
  if (known === owner) return;
  if (known) {
    throw new KvEncodingError(
      'another class of the same name has this method too, and both would share their keys. Give one of them a ' +
        '`key` or a `namespace`',
    );
  }
  claims.set(name, owner);
}
