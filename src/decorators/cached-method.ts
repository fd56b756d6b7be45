/**
 * What a cached method does when it is called: make the key, ask the store, run the method on a miss (once for all
 * calls that wait for the same key), and offer the result to the store. Whatever fails on the store's side ends with
 * the method running as if it were not decorated. `cached.ts` has the decorator around this.
 *
 * Three kinds of methods behave differently: those that return a promise, an Observable, or a plain value. The declared
 * return type tells the kind where TypeScript wrote it down, otherwise the first run does.
 */
import { defer, isObservable, mergeMap, Observable, of, ReplaySubject, share, tap, timer } from 'rxjs';
import { KeyCodec, type KvKey } from '../codec/key-codec.js';
import { KvEncodingError } from '../errors.js';
import type { KvSetOptions } from '../store/set-options.js';
import { canonicalKey } from './cache-key.js';
import { count, reportFailure, warnOnce } from './cached-stats.js';

export type AnyMethod = (this: unknown, ...args: unknown[]) => unknown;

/** The options of `@Cached`, checked. */
export interface CachedPlan {
  /** `Class.method`, as logs name it. */
  label: string;
  /** The class that declares the method, and the method's name. */
  declaringClass: string;
  method: string;
  /** Property that Nest injects the store into. */
  storeProperty: symbol;
  /** Name of that store. */
  store: string;
  namespace: string;
  key: KvKey | ((this: unknown, ...args: unknown[]) => KvKey) | undefined;
  condition: ((this: unknown, ...args: unknown[]) => boolean) | undefined;
  ttlMs: number | undefined;
  cacheUndefined: boolean;
}

/** What this needs of an injected store, so that a test can put something simple in its place. */
interface Store {
  namespace(name: string): Space;
}

interface Space {
  get(key: KvKey): Promise<unknown>;
  peek(key: KvKey): unknown;
  set(key: KvKey, value: unknown, options?: KvSetOptions): Promise<unknown>;
}

/** One decorated method on one store. */
interface Binding {
  store: object;
  space: Space;
  /** Runs of the method under way, by the bytes of their key. */
  runs: Map<string, Promise<unknown>>;
  streams: Map<string, Observable<unknown>>;
}

/** `many`: streams and Observables with several values; not cached. */
type Kind = 'promise' | 'observable' | 'plain' | 'many' | undefined;

/** Stands for a cached `undefined`, which the store does not carry. */
const UNDEFINED_FIELD = 'nestjs-hotcold:undefined';
const UNDEFINED = Object.freeze({ [UNDEFINED_FIELD]: true });

const keyBytes = new KeyCodec();

/** Which class has a default key first, on each store: another class of the same name must not share it. */
const owners = new WeakMap<object, Map<string, object>>();

export class CachedMethod {
  private kind: Kind;
  private readonly bindings = new WeakMap<object, Binding>();
  private readonly setOptions: KvSetOptions | undefined;

  constructor(
    private readonly original: AnyMethod,
    private readonly plan: CachedPlan,
    returnType: unknown,
  ) {
    this.kind = kindOfType(returnType, original);
    this.setOptions = plan.ttlMs === undefined ? undefined : { ttl: plan.ttlMs };
  }

  call(instance: unknown, args: unknown[]): unknown {
    const { original, plan } = this;
    if (this.kind === 'many') return original.apply(instance, args);
    const store = (instance as Record<symbol, Store | undefined> | undefined)?.[plan.storeProperty];
    if (!store) {
      const hint = `Import KvModule, and let Nest make the instance.`;
      const error = `no store "${plan.store}" is provided. ${hint}`;
      reportFailure(undefined, ownerOf(instance) ?? this, plan.label, error);
      return original.apply(instance, args);
    }
    let key: KvKey;
    let binding: Binding;
    try {
      if (plan.condition && !plan.condition.apply(instance, args)) return original.apply(instance, args);
      binding = this.bindingOf(store);
      key = this.keyOf(store, instance, args);
    } catch (error) {
      reportFailure(store, store, plan.label, error);
      return original.apply(instance, args);
    }
    if (this.kind === 'promise') return this.callAsync(binding, instance, args, key);
    if (this.kind === 'observable') return this.observe(binding, instance, args, key);
    return this.callPlain(binding, instance, args, key);
  }

  private bindingOf(store: Store): Binding {
    let binding = this.bindings.get(store);
    if (!binding) {
      binding = { store, space: store.namespace(this.plan.namespace), runs: new Map(), streams: new Map() };
      this.bindings.set(store, binding);
    }
    return binding;
  }

  private keyOf(store: Store, instance: unknown, args: unknown[]): KvKey {
    const { key, declaringClass, method } = this.plan;
    if (typeof key === 'function') {
      const made: unknown = (key as AnyMethod).apply(instance, args);
      if (made === undefined || made === null) throw new KvEncodingError(`its key function returned ${made}`);
      return made as KvKey;
    }
    if (key !== undefined) return key;
    const owner = ownerOf(instance);
    const runtimeClass = owner?.name ?? '';
    if (owner) this.claim(store, owner, `${runtimeClass}\n${declaringClass}\n${method}`);
    // The declaring class is part of it, or a method and the one it calls through `super` would be one.
    return [runtimeClass, declaringClass, method, ...canonicalKey(args)];
  }

  private claim(store: object, owner: object, name: string): void {
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

  /**
   * A plain method stays synchronous, so it is served from memory only; what it returns is stored in the background.
   * Also the first call of a method whose kind is not known yet, which cannot be answered from the store.
   */
  private callPlain(binding: Binding, instance: unknown, args: unknown[], key: KvKey): unknown {
    if (this.kind === 'plain') {
      const found = this.peek(binding, key);
      if (found !== undefined) return this.hit(binding, found);
    }
    const result = this.original.apply(instance, args);
    if (isThenable(result)) {
      this.kind = 'promise';
      count(binding.store, 'misses');
      const id = this.idOf(key);
      return id === undefined ? result : this.follow(binding, key, id, Promise.resolve(result));
    }
    if (isObservable(result)) {
      this.kind = 'observable';
      count(binding.store, 'misses');
      const id = this.idOf(key);
      return id === undefined ? result : this.shared(binding, key, id, result);
    }
    if (isStream(result)) return result;
    // `undefined` tells nothing: the next call may return a promise.
    if (result !== undefined) this.kind = 'plain';
    count(binding.store, 'misses');
    this.keep(binding, key, result);
    return result;
  }

  private async callAsync(
    binding: Binding,
    instance: unknown,
    args: unknown[],
    key: KvKey,
  ): Promise<unknown> {
    const found = await this.lookUp(binding, key);
    if (found !== undefined) return this.hit(binding, found);
    const id = this.idOf(key);
    if (id === undefined) return this.original.apply(instance, args);
    const run = binding.runs.get(id);
    if (run) {
      const result = await run;
      // Everybody needs a stream of his own.
      if (isStream(result)) return this.original.apply(instance, args);
      count(binding.store, 'shared');
      return result;
    }
    // A run may have ended while the disk was asked. What it stored is in memory now.
    const stored = this.peek(binding, key);
    if (stored !== undefined) return this.hit(binding, stored);
    count(binding.store, 'misses');
    return this.follow(binding, key, id, this.run(instance, args));
  }

  private async run(instance: unknown, args: unknown[]): Promise<unknown> {
    return this.original.apply(instance, args);
  }

  /** Lets others share a run, until its result is in the store or it has failed. */
  private follow(binding: Binding, key: KvKey, id: string, running: Promise<unknown>): Promise<unknown> {
    const forget = () => {
      if (binding.runs.get(id) === run) binding.runs.delete(id);
    };
    const run = running.then(
      (result) => {
        this.keep(binding, key, result);
        forget();
        return result;
      },
      (error: unknown) => {
        forget();
        throw error;
      },
    );
    binding.runs.set(id, run);
    return run;
  }

  /** Asks the store when it is subscribed to, as the method's own Observable would begin its work then. */
  private observe(binding: Binding, instance: unknown, args: unknown[], key: KvKey): Observable<unknown> {
    return defer(() => this.lookUp(binding, key)).pipe(
      mergeMap((found) => {
        if (found !== undefined) return of(this.hit(binding, found));
        const id = this.idOf(key);
        const source = defer(() => this.original.apply(instance, args) as Observable<unknown>);
        if (id === undefined) return source;
        const running = binding.streams.get(id);
        if (running) {
          count(binding.store, 'shared');
          return running;
        }
        const stored = this.peek(binding, key);
        if (stored !== undefined) return of(this.hit(binding, stored));
        count(binding.store, 'misses');
        return this.shared(binding, key, id, source);
      }),
    );
  }

  /**
   * One subscription for all who wait for the first value. The value is kept if it turns out to be the only one. A
   * second one shows that the method returns streams: it is left alone from then on.
   */
  private shared(binding: Binding, key: KvKey, id: string, source: Observable<unknown>): Observable<unknown> {
    let values = 0;
    let only: unknown;
    const forget = () => {
      if (binding.streams.get(id) === run) binding.streams.delete(id);
    };
    const run: Observable<unknown> = source.pipe(
      tap({
        subscribe: () => {
          values = 0;
        },
        next: (value) => {
          only = ++values === 1 ? value : undefined;
          if (values !== 2) return;
          this.kind = 'many';
          forget();
        },
        complete: () => {
          if (values === 1) this.keep(binding, key, only);
        },
        finalize: forget,
      }),
      share({
        connector: () => new ReplaySubject(1),
        // Whoever takes the first value and leaves (`firstValueFrom`) does so just before the source completes.
        resetOnRefCountZero: () => (values === 1 ? timer(0) : of(0)),
      }),
    );
    binding.streams.set(id, run);
    return run;
  }

  private async lookUp(binding: Binding, key: KvKey): Promise<unknown> {
    try {
      return await binding.space.get(key);
    } catch (error) {
      reportFailure(binding.store, binding.store, this.plan.label, error);
      return undefined;
    }
  }

  private peek(binding: Binding, key: KvKey): unknown {
    try {
      return binding.space.peek(key);
    } catch (error) {
      reportFailure(binding.store, binding.store, this.plan.label, error);
      return undefined;
    }
  }

  private hit(binding: Binding, found: unknown): unknown {
    count(binding.store, 'hits');
    const marked = typeof found === 'object' && found !== null && UNDEFINED_FIELD in found;
    return marked ? undefined : found;
  }

  /**
   * Offers a result to the store. Nobody waits for it: the store sees the value within this turn of the event loop,
   * and a cache need not be durable before the caller goes on.
   */
  private keep(binding: Binding, key: KvKey, result: unknown): void {
    if (result === undefined && !this.plan.cacheUndefined) return;
    if (isStream(result)) return;
    if (isInstance(result) && !this.warnOfInstance(binding, result)) return;
    const failed = (error: unknown) => {
      reportFailure(binding.store, binding.store, this.plan.label, error);
    };
    try {
      binding.space.set(key, result === undefined ? UNDEFINED : result, this.setOptions).catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  /** Whether an instance of a class can be kept at all: one that shows no fields would come back empty. */
  private warnOfInstance(binding: Binding, result: object): boolean {
    const name = result.constructor?.name || 'a class';
    if (Object.keys(result).length === 0 && typeof (result as { toJSON?: unknown }).toJSON !== 'function') {
      const error = `it returned an instance of ${name}, whose state cannot be seen from outside`;
      reportFailure(binding.store, binding.store, this.plan.label, error);
      return false;
    }
    warnOnce(
      this,
      `${this.plan.label} returned an instance of ${name}. What is answered from the store is a plain object with ` +
        `its fields: its methods, and decorators such as @Exclude(), are gone.`,
    );
    return true;
  }

  /** The bytes of a key as text, to find runs by; `undefined` if it cannot be encoded. */
  private idOf(key: KvKey): string | undefined {
    try {
      const { bytes, length } = keyBytes.encode(0, key);
      return Buffer.from(bytes.buffer, bytes.byteOffset, length).toString('latin1');
    } catch {
      // The store has refused it as well, and that was reported.
      return undefined;
    }
  }
}

function ownerOf(instance: unknown): (object & { name: string }) | undefined {
  return (instance as { constructor?: { name: string } } | null | undefined)?.constructor;
}

const plainTypes = new Set<unknown>([
  String,
  Number,
  Boolean,
  BigInt,
  Array,
  Date,
  Map,
  Set,
  Uint8Array,
  Buffer,
]);

/** What `design:returntype` or the function itself tells; `undefined` when only a run can. */
function kindOfType(type: unknown, original: AnyMethod): Kind {
  const name = original.constructor.name;
  if (name === 'GeneratorFunction' || name === 'AsyncGeneratorFunction') return 'many';
  if (name === 'AsyncFunction') return 'promise';
  if (typeof type !== 'function') return undefined;
  if (type === Promise || type.prototype instanceof Promise) return 'promise';
  if (type === Observable || type.prototype instanceof Observable) return 'observable';
  return plainTypes.has(type) ? 'plain' : undefined;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';
}

/** What can be read only once: Node and web streams, iterators, Nest's StreamableFile, and an inner Observable. */
function isStream(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { pipe, getReader, getStream, next } = value as Record<string, unknown>;
  if ([pipe, getReader, getStream, next].some((method) => typeof method === 'function')) return true;
  return Symbol.asyncIterator in value;
}

/** Whether a value is of a class that the store does not know by itself. */
function isInstance(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return false;
  const known = [Date, Map, Set, RegExp, Error, ArrayBuffer].some((type) => value instanceof type);
  return !known && !ArrayBuffer.isView(value);
}
