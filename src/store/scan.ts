/**
 * Going through all keys of a space, over both tiers, in no order and in bounded memory: each key that is there all the
 * time exactly once, whatever compaction moves meanwhile.
 *
 * The hashes fall into partitions, of which a key belongs to one for ever. Of one partition after the other all keys are
 * gathered, first from the hot index, then from the cold one: a key goes from hot to cold only by compaction, which enters
 * it in the cold index before it leaves the hot one, so it cannot slip through. What a key's newest record is, is looked
 * up when all keys are known. So memory holds the keys of one partition, one in 8,192, and short values of theirs.
 */
import type { EncodedKey, KvKey } from '../codec/key-codec.js';
import { decodeKey } from '../codec/key-decoder.js';
import type { KeyedHash } from '../codec/keyed-hash.js';
import type { Candidates } from '../cold/hash-chunk.js';
import type { ColdTier } from '../cold/cold-tier.js';
import { KvCorruptionError, KvOptionsError } from '../errors.js';
import { PARTITIONS } from '../hot/hash-index.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import { inMemory, type HybridLog } from '../log/hybrid-log.js';
import { FLAG_EXTENTS, keyLengthOf, previousOf, totalBytes } from '../log/record.js';
import { sizeClassOf } from '../log/size-class.js';
import { Slices } from '../log/slices.js';
import { didYouMean, isObject, notAnObject } from './option-problems.js';
import { ABSENT, copyOf, type RecordRef } from './read-path.js';
import { encodedKeyOf, keyStart, spaceOf } from '../log/record-key.js';
import type { Space } from './spaces.js';
import type { StoreCore } from './store-core.js';

/** Options of `scan`, `keys` and `values`. */
export interface KvScanOptions {
  /** Most entries to return; all by default. */
  limit?: number;
}

/** Records that are read from disk at the same time. */
const READS = 64;

/** Milliseconds after which the event loop turns, however fast the caller is. */
const SLICE_MS = 2;

/** Cold records up to this length are kept until their key's turn comes; longer ones are read again. */
const KEPT_BYTES = 1024;

const GUESSED_CLASS = sizeClassOf(512);

/**
 * Every living entry of a space with its record, which is valid until the next `await`.
 * @throws KvOptionsError, KvClosedError, KvCorruptionError, KvDiskError
 */
export async function* livingRecords(
  core: StoreCore,
  space: Space,
  options: KvScanOptions,
): AsyncGenerator<[KvKey, RecordRef]> {
  const limit = limitOf(options);
  let count = 0;
  if (limit === 0) return;
  const scan = new Scan(core, space.id);
  for await (const keys of scan.partitions()) {
    for (const gathered of keys) {
      core.assertOpen();
      const { key } = gathered;
      const record = scan.newest(gathered) ?? (await core.reads.load(key)).record;
      if (!record || !core.reads.isAlive(record.words, record.at, space)) continue;
      yield [decodeKey(key.bytes, 0, key.length), record];
      if (++count === limit) return;
    }
  }
}

/** A key, and its newest record if that was cold and is short. */
interface GatheredKey {
  key: EncodedKey;
  record: RecordRef | undefined;
  address: LogAddress;
  /** How often the logs had been truncated by then. */
  truncations: number;
}

class Scan {
  private readonly slices: Slices;
  private readonly hash: KeyedHash;

  constructor(
    private readonly core: StoreCore,
    private readonly space: number,
  ) {
    this.slices = new Slices(core.parts.clock, SLICE_MS);
    this.hash = core.parts.hash.copy();
  }

  /** The keys of the space, one partition's at a time; some may be gone by then. */
  async *partitions(): AsyncGenerator<Iterable<GatheredKey>> {
    const { core } = this;
    for (let partition = 0; partition < PARTITIONS; partition++) {
      core.assertOpen();
      const keys = await this.gather(partition);
      if (keys.size > 0) yield keys.values();
      if (this.slices.over) await this.slices.next();
    }
  }

  /** The record of a gathered key, if it is still the newest. */
  newest({ key, record, truncations }: GatheredKey): RecordRef | undefined {
    const { reads } = this.core;
    return record && truncations === reads.truncations && reads.find(key) === ABSENT ? record : undefined;
  }

  private async gather(partition: number): Promise<Map<string, GatheredKey>> {
    const { reads } = this.core;
    const keys = new Map<string, GatheredKey>();
    let truncations: number;
    do {
      truncations = reads.truncations;
      await this.gatherHot(partition, keys);
      await this.gatherCold(partition, keys);
      // What was truncated meanwhile may have been looked for where it was not yet, or not any more.
    } while (truncations !== reads.truncations);
    return keys;
  }

  private async gatherHot(partition: number, keys: Map<string, GatheredKey>): Promise<void> {
    const { index, log } = this.core.parts;
    const onDisk: { address: LogAddress; sizeClass: number }[] = [];
    index.partition(partition, (head, sizeClass) => {
      let address = head;
      while (address >= log.head && address !== NO_ADDRESS) {
        const record = inMemory(log, address);
        this.add(record, NO_ADDRESS, keys);
        address = previousOf(record.words, record.at);
      }
      if (address !== NO_ADDRESS)
        onDisk.push({ address, sizeClass: address === head ? sizeClass : GUESSED_CLASS });
    });
    await inParallel(onDisk, ({ address, sizeClass }) => this.followHot(address, sizeClass, keys));
  }

  private async followHot(
    from: LogAddress,
    sizeClass: number,
    keys: Map<string, GatheredKey>,
  ): Promise<void> {
    const { log } = this.core.parts;
    let address = from;
    let read = sizeClass;
    while (address !== NO_ADDRESS) {
      // What is there at once must not wait for a promise: it is valid until somebody else reads.
      const found = this.read(log, address, read);
      const record = found instanceof Promise ? await found : found;
      if (!record) return;
      this.add(record, NO_ADDRESS, keys);
      address = previousOf(record.words, record.at);
      read = GUESSED_CLASS;
    }
  }

  private async gatherCold(partition: number, keys: Map<string, GatheredKey>): Promise<void> {
    const { cold } = this.core.parts;
    if (!cold || cold.log.bytes === 0) return;
    const { log } = cold.log;
    const { count, addresses, sizeClasses } = await this.coldEntries(cold, partition);
    // In the order of the log, as far as there is one.
    const entries = Array.from({ length: count }, (_, i) => count - 1 - i);
    await inParallel(entries, (i) => {
      const address = addresses[i] as LogAddress;
      const record = this.read(log, address, sizeClasses[i]);
      if (record instanceof Promise) return record.then((late) => this.add(late, address, keys));
      this.add(record, address, keys);
      return undefined;
    });
  }

  /** Where a chunk of the index is damaged, it waits until that was made anew. */
  private async coldEntries({ index }: ColdTier, partition: number): Promise<Candidates> {
    try {
      return await index.partition(partition);
    } catch (error) {
      if (!(error instanceof KvCorruptionError)) throw error;
      await this.core.mended();
      return index.partition(partition);
    }
  }

  /** A record, valid until the next `await`; `undefined` when the log was truncated behind it. */
  private read(
    log: HybridLog,
    address: LogAddress,
    sizeClass: number,
  ): RecordRef | undefined | Promise<RecordRef | undefined> {
    if (address < log.begin) return undefined;
    if (address >= log.head) return inMemory(log, address);
    return log.tryReadRecord(address, sizeClass) ?? readLater(log, address, sizeClass);
  }

  /** @param address in the cold log, or `NO_ADDRESS` for a record of the hot one */
  private add(record: RecordRef | undefined, address: LogAddress, keys: Map<string, GatheredKey>): void {
    if (!record) return;
    const { words, bytes, at } = record;
    const start = keyStart(words, at);
    if (spaceOf(words[start]) !== this.space) return;
    const length = keyLengthOf(words, at);
    const name = Buffer.from(bytes.buffer, bytes.byteOffset + start * 4, length).toString('latin1');
    const known = keys.get(name);
    if (known && known.address >= address) return;
    const isShort =
      address !== NO_ADDRESS &&
      totalBytes(words, at) <= KEPT_BYTES &&
      (words[at + 1] & FLAG_EXTENTS) === 0 &&
      (known === undefined || known.address !== NO_ADDRESS);
    keys.set(name, {
      key: known?.key ?? encodedKeyOf(words, at, this.hash),
      record: isShort ? copyOf(record) : undefined,
      address,
      truncations: this.core.reads.truncations,
    });
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

async function readLater(
  log: HybridLog,
  address: LogAddress,
  sizeClass: number,
): Promise<RecordRef | undefined> {
  try {
    return await log.readRecord(address, sizeClass);
  } catch (error) {
    if (address < log.begin) return undefined;
    throw error;
  }
}

/** Calls for each item, and waits for those that have to be waited for, some at a time. */
async function inParallel<T>(items: T[], call: (item: T) => Promise<void> | undefined): Promise<void> {
  let waiting: Promise<void>[] = [];
  for (const item of items) {
    const promise = call(item);
    if (promise) waiting.push(promise);
    if (waiting.length < READS) continue;
    await Promise.all(waiting);
    waiting = [];
  }
  await Promise.all(waiting);
}
