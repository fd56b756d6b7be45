/**
 * The store that a salvage fills: records with their versions, below the calls on keys, because values are copied as the
 * bytes that they are.
 */
import type { EncodedKey } from '../../codec/key-codec.js';
import type { KeyedHash } from '../../codec/keyed-hash.js';
import { encodedKeyOf } from '../../log/record-key.js';
import { FLAG_EXPIRY, KIND_VALUE, recordBytes, sequenceOf } from '../../log/record.js';
import { namedKey, type KvNamedKey } from './damage.js';
import { namesUpTo, type FoundDictionary } from './mend.js';
import { ABSENT, IN_MEMORY, type RecordRef } from '../read-path.js';
import type { StoreCore } from '../store-core.js';
import { isOwnName } from '../own-files.js';

/** An open store, from within. */
export interface OpenedTarget {
  core: StoreCore;
  close: () => Promise<void>;
}

export class SalvageTarget {
  private readonly core: StoreCore;
  private readonly hash: KeyedHash;
  private names: (string | undefined)[] = [];
  private created = 0;
  /** How many keys there are. */
  keys = 0;
  /** Namespaces whose names are lost, by the names that they have here. */
  readonly renamed: string[] = [];

  /** @param opened a new store, whose manifest says that it is unfinished */
  constructor(private readonly opened: OpenedTarget) {
    this.core = opened.core;
    this.hash = this.core.parts.hash.copy();
  }

  /** Enters what is left of the dictionary, each entry with the number that it had. */
  enterDictionary({ namespaces, structures }: FoundDictionary): void {
    this.names = namespaces;
    // A lost one keeps its number; no value that needs it is copied.
    const all = structures.map((fields, i) => fields ?? [`lost structure ${i}`]);
    if (all.length > 0) this.core.parts.dictionary.addStructures(all);
    this.createNamespaces(namespaces.length);
  }

  keyOf(words: Int32Array, at: number): EncodedKey {
    return encodedKeyOf(words, at, this.hash);
  }

  /** A key with the hash that it has here. */
  rehashed(key: EncodedKey): EncodedKey {
    const copy = key.copy();
    this.hash.hash(copy.words, copy.length);
    copy.hashLow = this.hash.low;
    copy.hashHigh = this.hash.high;
    return copy;
  }

  put(
    space: number,
    key: EncodedKey,
    version: number,
    bytes: Uint8Array,
    from: number,
    to: number,
    expiresAt: number,
    attributes: Int32Array | undefined,
  ): void | Promise<void> {
    this.createNamespaces(space);
    const write = (isKept: boolean): void | Promise<void> => {
      const { reads, writes, parts } = this.core;
      reads.find(key);
      const flags = expiresAt === Infinity ? KIND_VALUE : KIND_VALUE | FLAG_EXPIRY;
      const length = to - from + (attributes?.byteLength ?? 0);
      const isLarge = recordBytes(flags, key.length, length) > parts.log.maxRecordBytes;
      // What is written next gets this version; the pieces of a large value take the one before.
      parts.versions.last = version - (isLarge ? 2 : 1);
      writes.upsert(parts.spaces.get(space), key, bytes, from, to, expiresAt, attributes);
      if (!isKept) this.keys++;
      return this.core.slowedDown();
    };
    return this.unlessNewer(key, version, write);
  }

  remove(space: number, key: EncodedKey, version: number): void | Promise<void> {
    const { reads } = this.core;
    if (reads.find(key) === ABSENT && !reads.mayBeCold(key)) return undefined;
    return this.unlessNewer(key, version, (isKept) => {
      const { writes, parts } = this.core;
      if (!isKept) return undefined;
      this.keys--;
      reads.find(key);
      parts.versions.last = version - 1;
      writes.remove(parts.spaces.get(space), key);
      return this.core.slowedDown();
    });
  }

  /** The version of a key that is there: alive, or in its stale window. */
  async versionOf(key: EncodedKey): Promise<number | undefined> {
    const { record } = await this.core.reads.load(key);
    return record && this.isKept(record.words, record.at) ? sequenceOf(record.words, record.at) : undefined;
  }

  named(key: EncodedKey): KvNamedKey {
    return namedKey(key, this.core.parts.dictionary.namespaceNames);
  }

  /** The same for bytes that need not be a key. */
  nameIfKey(key: EncodedKey): KvNamedKey | undefined {
    try {
      return this.named(key);
    } catch {
      return undefined;
    }
  }

  /**
   * Makes the store whole: from now on it opens.
   * @param lastVersion the highest version that the salvaged store had handed out
   */
  async finish(lastVersion: number): Promise<void> {
    const { commits, manifest, versions } = this.core.parts;
    versions.last = Math.max(versions.last, lastVersion);
    await this.core.compactor?.stop();
    await commits.flush();
    await manifest.replace(({ unfinished, ...whole }) => whole);
    await this.opened.close();
  }

  /** Removes what there is. */
  async abandon(): Promise<void> {
    const { device } = this.core.parts;
    // It may be the disk that has failed; what was the reason is told by whoever gave up.
    await this.opened.close().catch(() => undefined);
    try {
      for (const name of device.list()) if (isOwnName(name)) device.removeSync(name);
    } catch {
      // The manifest says that it is unfinished: it does not open.
    }
  }

  /**
   * Records come in the order of their age; only where the log itself is not in order may a newer one be there.
   * @param write is told whether the key is there now, and not deleted
   */
  private unlessNewer(
    key: EncodedKey,
    version: number,
    write: (isKept: boolean) => void | Promise<void>,
  ): void | Promise<void> {
    const { reads } = this.core;
    const where = reads.find(key);
    if (where === IN_MEMORY) return this.ifOlder(reads, version, write);
    if (where === ABSENT && !reads.mayBeCold(key)) return write(false);
    return reads
      .load(key)
      .then(({ record }) => (record ? this.ifOlder(record, version, write) : write(false)));
  }

  private ifOlder(
    { words, at }: Pick<RecordRef, 'words' | 'at'>,
    version: number,
    write: (isKept: boolean) => void | Promise<void>,
  ): void | Promise<void> {
    return sequenceOf(words, at) > version ? undefined : write(this.isKept(words, at));
  }

  private isKept(words: Int32Array, at: number): boolean {
    // Nothing is cleared here, so one space is like another.
    return this.core.reads.isKept(words, at, this.core.parts.spaces.get(0));
  }

  private createNamespaces(last: number): void {
    if (last <= this.created) return;
    const { dictionary } = this.core.parts;
    const names = namesUpTo(last, this.names);
    for (; this.created < last; this.created++) {
      const name = names[this.created];
      dictionary.namespace(name);
      if (this.names[this.created] === undefined) this.renamed.push(name);
    }
  }
}
