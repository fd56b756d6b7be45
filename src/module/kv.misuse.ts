/**
 * What is probably wrong with the decorated methods of an application, as warnings. Two things cannot be seen from one
 * class: whether its store is there, and whether another method has the same keys. Keys that functions make are not known
 * before they are called, so their text is looked at: what it begins with, or that it is the same text.
 */
import { KeyCodec, type KvKey } from '../codec/key-codec.js';
import type { DecoratedMethodInfo } from '../decorators/decorated-methods.js';
import { forRootCall } from '../decorators/inject-kv.js';

/** A decorated method as an application has it. */
export interface FoundMethod {
  info: DecoratedMethodInfo;
  /** The class of the instance, which may inherit the method. */
  type: object & { name: string };
  method: string;
  /** Name of the Nest module. */
  module: string;
  /** Whether it will find its store; `undefined` where that shows only when an instance is made. */
  hasStore: boolean | undefined;
  /** Whether Nest has made the instance, and so injects into it. */
  injected: boolean;
}

/** @param stores names of the stores that some module provides */
export function misuseOf(methods: readonly FoundMethod[], stores: ReadonlySet<string>): string[] {
  return [...withoutStore(methods, stores), ...withSharedKeys(methods)];
}

function withoutStore(methods: readonly FoundMethod[], stores: ReadonlySet<string>): string[] {
  const warnings: string[] = [];
  for (const found of methods) {
    const { decorator, store } = found.info;
    if (found.hasStore ?? stores.has(store)) continue;
    const known = [...stores].map((name) => JSON.stringify(name)).join(', ');
    let remedy = `No module provides it (there is ${known || 'none'}): import ${forRootCall(store)}`;
    if (!found.injected)
      remedy = 'Nest did not make the instance (useFactory, useValue): let it, with useClass';
    else if (stores.has(store)) remedy = `It is not global, and ${found.module} does not import it`;
    warnings.push(
      `${decorator} on ${labelOf(found)} (${found.module}) is without the store ${JSON.stringify(store)}, so the method runs ` +
        `as if it were not decorated. ${remedy}.`,
    );
  }
  return warnings;
}

/** Only what answers calls: that others write or drop the same keys is what they are for. */
function withSharedKeys(methods: readonly FoundMethod[]): string[] {
  const byKeys = new Map<string, { what: string; methods: FoundMethod[] }>();
  for (const found of methods) {
    if (found.info.decorator !== '@Cached') continue;
    const keys = keysOf(found);
    if (!keys) continue;
    const { namespace, store } = found.info;
    const id = JSON.stringify([store, namespace, keys.id]);
    const group = byKeys.get(id) ?? { what: keys.what, methods: [] };
    byKeys.set(id, group);
    const isKnown = group.methods.some(({ info, type }) => info === found.info && type === found.type);
    if (!isKnown) group.methods.push(found);
  }
  const warnings: string[] = [];
  for (const { what, methods: sharing } of byKeys.values()) {
    if (sharing.length < 2) continue;
    const [{ info }] = sharing;
    const consequence =
      info.key === undefined
        ? 'so only the first that is called is cached'
        : 'so one may answer for the other';
    const names = sharing.map((found) => `${labelOf(found)} (${found.module})`);
    warnings.push(
      `@Cached on ${names.slice(0, -1).join(', ')} and ${names.at(-1)}: ${what}, in namespace ` +
        `${JSON.stringify(info.namespace)} of store ${JSON.stringify(info.store)}, ${consequence}. Give each a ` +
        `key prefix or a \`namespace\` of its own.`,
    );
  }
  return warnings;
}

function labelOf({ type, method }: FoundMethod): string {
  return `${type.name}.${method}`;
}

/** What tells the keys of a method from those of others; `undefined` where nothing can be said. */
function keysOf({ info, type }: FoundMethod): { id: string; what: string } | undefined {
  const { declaringClass, key, method } = info;
  if (key === undefined) {
    return {
      id: `default ${type.name} ${declaringClass} ${method}`,
      what: 'classes of one name have the same keys',
    };
  }
  if (typeof key !== 'function') return constantKey(key);
  const source = Function.prototype.toString.call(key).replace(/\s+/g, ' ');
  // It may name the class, or whatever else of the instance.
  if (/\bthis\b/.test(source)) return undefined;
  const prefix = literalPrefix(source);
  if (prefix !== undefined) {
    return { id: `prefix ${prefix}`, what: `keys begin with ${JSON.stringify(prefix.slice(1))}` };
  }
  const only = /^(?:async )?\(?\s*(\w+)[^)=]*\)?\s*=>\s*\1$/.exec(source);
  if (only) return { id: 'argument', what: 'the key is the first argument' };
  return { id: `source ${source}`, what: 'the key functions are the same' };
}

function constantKey(key: KvKey): { id: string; what: string } | undefined {
  try {
    const { bytes, length } = new KeyCodec().encode(0, key);
    return {
      id: `constant ${Buffer.from(bytes.subarray(0, length)).toString('hex')}`,
      what: 'the key is the same',
    };
  } catch {
    // A key that cannot be carried is told at the first call.
    return undefined;
  }
}

/** The text that a key begins with, behind the bracket of a list or a blank: `` `user:${id}` ``, `['user', id]`, `'user:' + id`. */
function literalPrefix(source: string): string | undefined {
  const body = /(?:=>\s*\(?|\breturn\s+)\s*(\[?)\s*(['"`])((?:(?!\2|\$\{|\\).)+)/.exec(source);
  return body ? `${body[1] || ' '}${body[3]}` : undefined;
}
