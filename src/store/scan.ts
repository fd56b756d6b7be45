/**
 * Going through all keys of a space, over both tiers, in no order and in bounded memory: each key that is there all the
 * time exactly once, whatever compaction moves meanwhile and others write.
 *
 * The hashes fall into partitions, of which a key belongs to one for ever. Of some partitions at a time all entries of both
 * indexes are gathered (`scan-gatherer.ts`) and then visited in the order of the logs, from their ends: so one read brings many
 * records (`scan-reader.ts`), and the newest of a key comes first. A key is looked up like any other only if it was written
 * since; where entries may be of one key, those that were met are known (`met-keys.ts`).
 *
 *   do {
 *     while (scan.next()) use(scan.key(), scan);
 *   } while (await scan.wait());
 */
import type { EncodedKey, KvKey } from '../codec/key-codec.js';
import { decodeKey } from '../codec/key-decoder.js';
import type { KeyedHash } from '../codec/keyed-hash.js';
import { KvOptionsError } from '../errors.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { FLAG_EXTENTS, keyLengthOf, previousOf } from '../log/record.js';
import { encodedKeyOf, keyStart, spaceOf } from '../log/record-key.js';
import { sizeClassOf } from '../log/size-class.js';
import { Slices } from '../log/slices.js';
import { didYouMean, isObject, notAnObject } from './option-problems.js';
import { IN_MEMORY, type Loaded, type RecordRef } from './read-path.js';
import { ScanGatherer } from './scan-gatherer.js';
import { ScanReader } from './scan-reader.js';
import type { Space } from './spaces.js';
import type { StoreCore } from './store-core.js';

/** Options of `scan`, `keys` and `values`. */
export interface KvScanOptions {
  /** Most entries to return; all by default. */
  limit?: number;
}

/** Milliseconds after which the event loop turns, however fast the caller is. */
const SLICE_MS = 2;
/** Entries between two looks at the clock. */
const LOOK_EVERY = 32;

const GUESSED_CLASS = sizeClassOf(512);

export class Scan implements RecordRef {
  // The record that `next` has moved to; valid until the next `await`.
  words: Int32Array = new Int32Array(0);
  bytes: Uint8Array = new Uint8Array(0);
  at = 0;
  value: Uint8Array | undefined;

  private readonly limit: number;
  private given = 0;
  private readonly slices: Slices;
  private readonly hash: KeyedHash;
  private readonly gatherer: ScanGatherer;
  private readonly reader: ScanReader;
  /** Entries of the part that are still to be visited. Before them come those of `follows`. */
  private left = 0;
  private readonly follows: number[] = [];
  /** What is to be waited for: the record of this entry, or the newest of this key. */
  private wantedEntry = -1;
  private wantedKey: EncodedKey | undefined;
  private loaded: Loaded | undefined;
  private looks = 0;

  /**
   * @param withValues whether `value` is needed of records that have it in extents
   * @throws KvOptionsError
   */
  constructor(
    private readonly core: StoreCore,
    private readonly space: Space,
    options: KvScanOptions,
    private readonly withValues: boolean,
  ) {
    this.limit = limitOf(options);
    this.slices = new Slices(core.parts.clock, SLICE_MS);
    this.hash = core.parts.hash.copy();
    this.gatherer = new ScanGatherer(core, space, this.slices);
    this.reader = new ScanReader(core, this.gatherer.entries);
  }

  /** The key of the record. */
  key(): KvKey {
    const start = keyStart(this.words, this.at) * 4;
    return decodeKey(this.bytes, start, start + keyLengthOf(this.words, this.at));
  }

  /**
   * Moves to the next living entry of the space. `false` when something has to be waited for, or at the end. Hot path
   * (`bench/micro/scan.mjs`).
   * @throws KvClosedError, KvCorruptionError, KvDiskError
   */
  next(): boolean {
    if (this.given === this.limit) return false;
    this.core.assertOpen();
    if (this.wantedKey) {
      if (!this.loaded) return false;
      if (this.takeLoaded(this.loaded)) {
        this.given++;
        return true;
      }
    }
    for (;;) {
      if (this.looks++ % LOOK_EVERY === 0 && this.slices.over) return false;
      let entry = this.wantedEntry;
      this.wantedEntry = -1;
      if (entry < 0) entry = this.follows.pop() ?? -1;
      if (entry < 0) {
        if (this.left === 0) return false;
        entry = this.gatherer.entries.entryAt(--this.left);
      }
      if (this.visit(entry)) {
        this.given++;
        return true;
      }
      if (this.wantedEntry >= 0 || this.wantedKey) return false;
    }
  }

  /**
   * Waits for what `next` needs.
   * @returns `false` at the end
   * @throws KvClosedError, KvCorruptionError, KvDiskError
   */
  async wait(): Promise<boolean> {
    const { core, gatherer, reader, slices } = this;
    if (this.given === this.limit) return false;
    core.assertOpen();
    if (slices.over) await slices.next();
    if (this.wantedKey) this.loaded = await core.reads.load(this.wantedKey);
    else if (this.wantedEntry >= 0) await reader.fetch(this.wantedEntry, this.left);
    else if (this.left === 0 && this.follows.length === 0) {
      while ((this.left = gatherer.entries.takePart()) === 0) if (!(await gatherer.next())) return false;
      await reader.load(this.left);
    }
    return true;
  }

  /** Whether the record of an entry is a living one of the space, and the first that is met of its key. */
  private visit(entry: number): boolean {
    const { gatherer, reader } = this;
    const { entries, met } = gatherer;
    const address = entries.addresses[entry] as LogAddress;
    if (address < reader.log.begin) {
      gatherer.moves(entry);
      return false;
    }
    if (!reader.seek(address, entries.sizeClasses[entry])) {
      this.wantedEntry = entry;
      return false;
    }
    const { words, at } = this.take(reader);
    const { isHot } = reader;
    const previous = isHot ? previousOf(words, at) : NO_ADDRESS;
    // What lay below then was in the cold index already.
    if (previous !== NO_ADDRESS && previous >= gatherer.hotBegin) this.follow(entry, previous);
    const first = entries.firsts[entry];
    const chain = entries.chains[entry];
    const more = --entries.left[first] > 0;
    const isOurs = spaceOf(words[keyStart(words, at)]) === this.space.id;
    if (entries.isOneOfMany[first] === 1) {
      // What is newer may be where it is not visited: all that is left of the chain is gathered anew.
      const isFirst = isOurs && !met.hasMoved(chain) && met.isFirst(chain, this, more);
      if (!more) met.end(chain);
      if (!isFirst) return false;
    }
    if (!isOurs) return false;
    const isNewest = isHot ? this.isNewestHot(entry, first, chain) : this.isNewestCold(first, chain);
    return isNewest ? this.isWhole() : this.lookUp();
  }

  private take(record: RecordRef): this {
    this.words = record.words;
    this.bytes = record.bytes;
    this.at = record.at;
    this.value = record.value;
    return this;
  }

  /** Goes on with the record that the one of an entry leads to: at once where that costs nothing, else when its part has its turn. */
  private follow(entry: number, address: LogAddress): void {
    const isAtHand = this.reader.isAtHand(address);
    const older = this.gatherer.entries.follow(entry, address, GUESSED_CLASS, isAtHand);
    if (isAtHand) this.follows.push(older);
  }

  private isNewestHot(entry: number, first: number, chain: number): boolean {
    const { addresses } = this.gatherer.entries;
    const head = this.core.parts.index.find(chain);
    // A chain that has not grown was gone through from its head to here, and the key was not met.
    return head === addresses[entry] || head === addresses[first];
  }

  private isNewestCold(first: number, chain: number): boolean {
    const { entries, hotTail } = this.gatherer;
    const { index, log } = this.core.parts;
    const head = index.find(chain);
    // Nothing that was written since can have been truncated, unless all that was there then is.
    if (head < log.begin) return log.begin <= hotTail;
    // The chain in the hot log was gone through, and the key was not met.
    return entries.isHot[first] === 1 && head === entries.addresses[first];
  }

  /** The key may have been written since its entry was gathered. */
  private lookUp(): boolean {
    const { reads } = this.core;
    const key = encodedKeyOf(this.words, this.at, this.hash);
    if (reads.find(key) === IN_MEMORY) {
      this.words = reads.words;
      this.bytes = reads.bytes;
      this.at = reads.at;
      return this.isWhole();
    }
    this.wantedKey = key;
    return false;
  }

  /** Whether the record, which is the newest of its key, is alive, and its value at hand if it is needed. */
  private isWhole(): boolean {
    const { core, words, at } = this;
    if (!core.reads.isAlive(words, at, this.space)) return false;
    if ((words[at + 1] & FLAG_EXTENTS) === 0) return true;
    // On a device that retains nothing, pieces may be forgotten, and with them the entry.
    if (!this.withValues && core.parts.cold) return true;
    this.wantedKey = encodedKeyOf(words, at, this.hash);
    return false;
  }

  /** Takes what was loaded of the key that was wanted: whether it is alive. */
  private takeLoaded({ record }: Loaded): boolean {
    const { core, space } = this;
    this.loaded = this.wantedKey = undefined;
    if (!record || !core.reads.isAlive(record.words, record.at, space)) return false;
    this.take(record);
    return true;
  }
}

/** @throws KvOptionsError */
function limitOf(options: KvScanOptions): number {
  if (!isObject(options))
    throw new KvOptionsError([{ path: 'options', problem: notAnObject(options, '{ limit: 100 }') }]);
  const { limit = Infinity } = options;
  const problems = Object.keys(options)
    .filter((name) => name !== 'limit')
    .map((name) => ({ path: name, problem: `is not an option of scan()${didYouMean(name, ['limit'])}` }));
  if (!(Number.isInteger(limit) || limit === Infinity) || limit < 0)
    problems.push({ path: 'limit', problem: 'must be a whole number from 0 up' });
  if (problems.length > 0) throw new KvOptionsError(problems);
  return limit;
}
