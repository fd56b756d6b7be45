/**
 * What is known of a decorated method without calling it: left on the method as metadata, like everything that Nest
 * knows of one, for those who look an application through at its start.
 */
import type { KvKey } from '../codec/key-codec.js';

/** One decorator of one method. The same object for all classes that inherit it. */
export interface DecoratedMethodInfo {
  /** `@Cached`, `@CacheEvict` or `@CachePut`. */
  decorator: string;
  /** The class that declares it, and the method's name. */
  declaringClass: string;
  method: string;
  /** Name of its store, and the property that Nest injects it into. */
  store: string;
  storeProperty: symbol;
  namespace: string;
  key: KvKey | ((...args: never[]) => KvKey) | undefined;
}

const DECORATED = Symbol.for('nestjs-hotcold:decorated');

/** Adds what a decorator is to what others have left on the method. */
export function rememberMethod(wrapper: object, info: DecoratedMethodInfo): void {
  Reflect.defineMetadata(DECORATED, [...infosOf(wrapper), info], wrapper);
}

/** The decorated methods that instances of a class have, inherited ones included: each with its name. */
export function decoratedMethodsOf(type: { prototype: unknown }): [method: string, DecoratedMethodInfo[]][] {
  const found = new Map<string, DecoratedMethodInfo[]>();
  let prototype = type.prototype as object | null;
  for (
    ;
    prototype && prototype !== Object.prototype;
    prototype = Object.getPrototypeOf(prototype) as object
  ) {
    for (const name of Reflect.ownKeys(prototype)) {
      // Not a getter's value: that is for the application to ask.
      const value: unknown = Object.getOwnPropertyDescriptor(prototype, name)?.value;
      if (typeof value === 'function' && !found.has(String(name))) found.set(String(name), infosOf(value));
    }
  }
  return [...found].filter(([, infos]) => infos.length > 0);
}

function infosOf(method: object): DecoratedMethodInfo[] {
  return (Reflect.getMetadata(DECORATED, method) as DecoratedMethodInfo[] | undefined) ?? [];
}
