/**
 * Arguments to a canonical key: two calls get the same key only if the method cannot tell their arguments apart. What
 * is no engine key by itself (`undefined`, `null`, dates, maps, instances of classes) becomes an object with the single
 * field `''` and a list that starts with the kind, which nothing else turns into.
 *
 * Where equality cannot be seen from outside (functions, symbols, streams, private fields), there is no key, and the
 * call runs uncached: a wrong answer would be worse than a slow one.
 */
import type { KvKey } from '../codec/key-codec.js';
import { KvEncodingError } from '../errors.js';

/** As deep as the engine takes keys; also the end of an argument that contains itself. */
const MAX_DEPTH = 32;
/** A request or a database connection among the arguments is a graph of many thousand objects: stop early. */
const MAX_PARTS = 4096;

/**
 * The canonical key of a list of arguments.
 *
 * @throws KvEncodingError when an argument has no canonical form; the message says which and why
 */
export function canonicalKey(args: readonly unknown[]): KvKey[] {
  const writer = new CanonicalWriter();
  return args.map((arg, index) => {
    try {
      return writer.write(arg, 0);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new KvEncodingError(`argument ${index + 1} has no canonical key: ${reason}`, { cause: error });
    }
  });
}

class CanonicalWriter {
  private parts = 0;

  write(value: unknown, depth: number): KvKey {
    switch (typeof value) {
      case 'string':
      case 'number':
      case 'bigint':
      case 'boolean':
        return value;
      case 'undefined':
        return special('undefined');
      case 'object':
        return value === null ? special('null') : this.object(value, depth);
      default:
        throw new KvEncodingError(`it is or holds a ${typeof value}`);
    }
  }

  private object(value: object, depth: number): KvKey {
    if (depth >= MAX_DEPTH) throw new KvEncodingError(`it is nested deeper than ${MAX_DEPTH} levels`);
    if (++this.parts > MAX_PARTS) throw new KvEncodingError(`it holds more than ${MAX_PARTS} objects`);
    if (Array.isArray(value)) return Array.from(value, (element) => this.write(element, depth + 1));
    if (value instanceof Uint8Array) return value;
    if (value instanceof Date) return special('Date', value.getTime());
    if (value instanceof Map) {
      const entries = Array.from(value, (entry) => this.write(entry, depth + 1));
      return special('Map', entries);
    }
    if (value instanceof Set) {
      const elements = Array.from(value, (element) => this.write(element, depth + 1));
      return special('Set', elements);
    }
    if (value instanceof RegExp) return special('RegExp', value.source, value.flags, value.lastIndex);
    if (ArrayBuffer.isView(value)) {
      const { buffer, byteOffset, byteLength } = value;
      return special(kindOf(value), new Uint8Array(buffer, byteOffset, byteLength));
    }
    if (value instanceof ArrayBuffer) return special('ArrayBuffer', new Uint8Array(value));
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || prototype === null) return this.plain(value, depth);
    return this.instance(value, depth);
  }

  private plain(value: object, depth: number): KvKey {
    const fields = this.fields(value, depth);
    // The one field name that marks our own objects.
    return '' in fields ? special('object', fields) : fields;
  }

  /** An instance counts as its class and fields, or as what its `toJSON` makes of it if that is a single value. */
  private instance(value: object, depth: number): KvKey {
    const kind = kindOf(value);
    if (Object.keys(value).length > 0 && !hasPrivateFields(value)) {
      try {
        return special('instance', kind, this.fields(value, depth));
      } catch (error) {
        if (!hasToJson(value)) throw error;
      }
    }
    const json = hasToJson(value) ? value.toJSON() : undefined;
    if (typeof json === 'string' || typeof json === 'number' || typeof json === 'bigint') {
      return special('json', kind, json);
    }
    throw new KvEncodingError(`${kind} has state that cannot be seen from outside`);
  }

  private fields(value: object, depth: number): Record<string, KvKey> {
    if (Object.getOwnPropertySymbols(value).length > 0) throw new KvEncodingError('it has symbol fields');
    const fields = Object.create(null) as Record<string, KvKey>;
    for (const field of Object.keys(value)) {
      fields[field] = this.write((value as Record<string, unknown>)[field], depth + 1);
    }
    return fields;
  }
}

function special(kind: string, ...content: KvKey[]): KvKey {
  return { '': [kind, ...content] };
}

function kindOf(value: object): string {
  return value.constructor?.name || 'an object without a class';
}

function hasToJson(value: object): value is { toJSON(): unknown } {
  return typeof (value as { toJSON?: unknown }).toJSON === 'function';
}

/** `#fields`, and what TypeScript, swc and Babel, and esbuild make of them for old targets. */
const PRIVATE_FIELD = /#[\w$]|class_?private_?field|__private(?:Add|Get|Set)\b/i;

const privateFields = new WeakMap<object, boolean>();

/** Whether the class of an instance, or one above it, declares `#fields`, as far as its source tells. */
function hasPrivateFields(value: object): boolean {
  for (
    let prototype = Object.getPrototypeOf(value) as object | null;
    prototype && prototype !== Object.prototype;
    prototype = Object.getPrototypeOf(prototype) as object | null
  ) {
    let found = privateFields.get(prototype);
    if (found === undefined) {
      found = PRIVATE_FIELD.test(Function.prototype.toString.call(prototype.constructor));
      privateFields.set(prototype, found);
    }
    if (found) return true;
  }
  return false;
}
