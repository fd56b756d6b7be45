/**
 * Which keys a damage affects: those whose look-up fails because of it. Who leads into a damaged place is told by the
 * indexes and by the links between records of the hot log, as parts of hashes; the keys themselves come from older
 * records with such a hash, or from what can be read in the damaged place, if its hash is the one that leads there. Each
 * is then looked up, as a read would; an entry of an index without any key is only counted.
 */
import { type EncodedKey } from '../../codec/key-codec.js';
import type { KeyedHash } from '../../codec/keyed-hash.js';
import type { PartitionEntries } from '../../cold/slot-reader.js';
import { hashLowOf, tagOf } from '../../cold/hash-chunk.js';
import { KvCorruptionError, KvDiskError } from '../../errors.js';
import { CHAIN_MASK } from '../../hot/bucket-store.js';
import { PARTITIONS } from '../../hot/hash-index.js';
import { MAX_KEY_BYTES } from '../../limits.js';
import type { LogAddress } from '../../log/address.js';
import { encodedKeyOf } from '../../log/record-key.js';
import { HEADER_BYTES, keyLengthOf, KIND_MASK, KIND_TOMBSTONE, KIND_VALUE } from '../../log/record.js';
import type { SegmentFiles } from '../../log/segment-files.js';
import type { Slices } from '../../log/slices.js';
import { MAX_LISTED_KEYS, namedKey, type DamageList, type Ranges } from './damage.js';
import type { StoreCore } from '../store-core.js';

/** Hashes and places that are remembered; with more of them, every key is looked up, and places are only counted. */
const MAX_REMEMBERED = 100_000;

/** What of a damaged record may be header, expiry and key. */
const READ_BYTES = HEADER_BYTES + 8 + MAX_KEY_BYTES;

/** Where an index leads into damage, and whether a key with this hash may have led it there. */
interface Place {
  segments: SegmentFiles;
  address: LogAddress;
  fits: (low: number, high: number) => boolean;
}

export class AffectedKeys {
  /** What leads into damage: chains of the hot log, hashes in the cold index, slots whose chunk is damaged. */
  private readonly chains = new Set<number>();
  private readonly hashes = new Set<number>();
  private readonly slots = new Set<number>();
  private all = false;
  private readonly places = new Map<string, Place>();
  private readonly probed = new Set<string>();
  /** Places that a failed look-up has named. */
  private readonly explained = new Set<string>();
  private readonly hash: KeyedHash;

  constructor(
    private readonly core: StoreCore,
    private readonly damages: DamageList,
    private readonly slices: Slices,
  ) {
    this.hash = core.parts.hash.copy();
  }

  /** Whether the logs have to be read again, for the keys. */
  get isWanted(): boolean {
    return this.all || this.chains.size + this.hashes.size + this.slots.size > 0;
  }

  /** The chain of a record of the hot log goes on in a damaged place. */
  chainLeadsTo(words: Int32Array, at: number, address: LogAddress): void {
    const key = encodedKeyOf(words, at, this.hash);
    this.addChain(key.hashLow & CHAIN_MASK, address);
  }

  /** A chunk of the cold index cannot be read. */
  slotIsDamaged(slot: number): void {
    this.slots.add(slot);
  }

  /** Takes the entries of a slot of the cold index that lead into damage. */
  takeSlot(slot: number, { addresses, tags, count }: PartitionEntries, damaged: Ranges): void {
    const { cold } = this.core.parts;
    for (let i = 0; i < count; i++) {
      const address = addresses[i] as LogAddress;
      const tag = tags[i];
      // One that a newer record took the place of is not looked for.
      if (!damaged.has(address) || tags.indexOf(tag) < i) continue;
      this.remember(this.hashes, (slot % PARTITIONS) + (tag >>> 0) * PARTITIONS);
      this.addPlace({
        segments: cold?.log.segments as SegmentFiles,
        address,
        fits: (low, high) => tagOf(low, high) === tag && low === hashLowOf(slot, tag),
      });
    }
  }

  /** Goes through the hot index for chains that begin in a damaged place. */
  async takeHotIndex(damaged: Ranges): Promise<void> {
    if (damaged.isEmpty) return;
    const { index, log } = this.core.parts;
    for (let partition = 0; partition < PARTITIONS; partition++) {
      index.partition(partition, (address, _, chain) => {
        if (address >= log.begin && damaged.has(address)) this.addChain(chain, address);
      });
      if (this.slices.over) await this.slices.next();
    }
  }

  /** Looks a record's key up, if what is damaged may be in the way. */
  take(words: Int32Array, at: number): void | Promise<void> {
    const key = encodedKeyOf(words, at, this.hash);
    const { hashLow, hashHigh } = key;
    const { cold } = this.core.parts;
    const isSuspect =
      this.all ||
      this.chains.has(hashLow & CHAIN_MASK) ||
      this.hashes.has((hashLow & (PARTITIONS - 1)) + (tagOf(hashLow, hashHigh) >>> 0) * PARTITIONS) ||
      (cold !== undefined && this.slots.has(cold.index.directory.slotOf(hashLow)));
    return isSuspect ? this.probe(key) : undefined;
  }

  /** Looks a record's key up. */
  takeSurely(words: Int32Array): Promise<void> {
    return this.probe(encodedKeyOf(words, 0, this.hash));
  }

  /** Names what can be named of the places that no look-up has met, and counts the others. */
  async finish(): Promise<void> {
    for (const [name, place] of this.places) {
      if (this.explained.has(name)) continue;
      const key = await this.keyAt(place);
      if (key) await this.probe(key);
      else this.countPlace(place);
      if (this.slices.over) await this.slices.next();
    }
  }

  private addChain(chain: number, address: LogAddress): void {
    const { segments } = this.core.parts;
    this.remember(this.chains, chain);
    this.addPlace({ segments, address, fits: (low) => (low & CHAIN_MASK) === chain });
  }

  private remember(set: Set<number>, hash: number): void {
    if (set.size < MAX_REMEMBERED) set.add(hash);
    else this.all = true;
  }

  private addPlace(place: Place): void {
    const { segments, address } = place;
    const name = `${segments.nameOf(segments.segmentOf(address))} ${address}`;
    if (this.places.size < MAX_REMEMBERED) this.places.set(name, place);
    else this.countPlace(place);
  }

  private countPlace({ segments, address }: Place): void {
    const damage = this.damages.find(segments.nameOf(segments.segmentOf(address)), address);
    if (damage) damage.keysAffected++;
  }

  /** What can still be read of the key of a damaged record, if the index has an entry of its hash for that place. */
  private async keyAt({ segments, address, fits }: Place): Promise<EncodedKey | undefined> {
    const bytes = new Uint8Array(READ_BYTES);
    const words = new Int32Array(bytes.buffer);
    try {
      await segments.read(address, bytes, READ_BYTES);
    } catch {
      return undefined;
    }
    const kind = words[1] & KIND_MASK;
    if ((kind !== KIND_VALUE && kind !== KIND_TOMBSTONE) || keyLengthOf(words, 0) > MAX_KEY_BYTES)
      return undefined;
    const key = encodedKeyOf(words, 0, this.hash);
    return key.length > 1 && fits(key.hashLow, key.hashHigh) ? key : undefined;
  }

  private async probe(key: EncodedKey): Promise<void> {
    const name = Buffer.from(key.bytes.buffer, 0, key.length).toString('latin1');
    if (this.probed.has(name)) return;
    if (this.probed.size < MAX_REMEMBERED) this.probed.add(name);
    try {
      await this.core.reads.load(key);
    } catch (error) {
      if (!(error instanceof KvCorruptionError)) {
        if (error instanceof KvDiskError && this.core.isOpen) return;
        throw error;
      }
      this.explained.add(`${error.file} ${error.address}`);
      const damage = this.damages.find(error.file, error.address);
      if (!damage) return;
      damage.keysAffected++;
      if (damage.keys.length >= MAX_LISTED_KEYS) return;
      damage.keys.push(namedKey(key, this.core.parts.dictionary.namespaceNames));
    }
  }
}
