/**
 * What recovery does with records: those of a range are staged in compact rows (a commit may close millions of them)
 * and go into the index once the range's commit record was seen.
 */
import { EncodedKey } from '../codec/key-codec.js';
import type { KeyedHash } from '../codec/keyed-hash.js';
import type { HashIndex } from '../hot/hash-index.js';
import { sizeClassOf } from '../log/size-class.js';
import { NO_ADDRESS, type LogAddress } from '../log/address.js';
import {
  keyLengthOf,
  KIND_CLEAR,
  KIND_FILLER,
  KIND_MASK,
  KIND_TOMBSTONE,
  sequenceOf,
  valueOffset,
} from '../log/record.js';
import type { RecoverySink } from './recovery.js';
import type { Spaces } from './spaces.js';

/** The space field of a clear mark for the whole store. */
const ALL_SPACES = 0xffff;

const FIRST_ROWS = 4096;
const MAX_KEY_FIELD = 2 ** 16;

export class IndexSink implements RecoverySink {
  private readonly key = new EncodedKey(new Uint8Array(MAX_KEY_FIELD));
  private rows = 0;
  private hashes: Int32Array = new Int32Array(FIRST_ROWS);
  private addresses: Float64Array = new Float64Array(FIRST_ROWS);
  /** Size class, kind and space of each row. */
  private infos: Int32Array = new Int32Array(FIRST_ROWS);
  /** Versions of the clear marks among the rows, in order. */
  private clears: number[] = [];

  constructor(
    private readonly index: HashIndex,
    private readonly spaces: Spaces,
    private readonly hash: KeyedHash,
  ) {}

  stage(words: Int32Array, at: number, address: LogAddress, bytes: number): void {
    const kind = words[at + 1] & KIND_MASK;
    if (kind === KIND_FILLER) return;
    const space = this.readKey(words, at);
    if (kind === KIND_CLEAR) this.clears.push(sequenceOf(words, at));
    if (this.rows === this.hashes.length) this.grow();
    this.hashes[this.rows] = this.hash.low;
    this.addresses[this.rows] = address;
    this.infos[this.rows] = sizeClassOf(bytes) | (kind << 4) | (space << 8);
    this.rows++;
  }

  apply(): void {
    let clear = 0;
    for (let row = 0; row < this.rows; row++) {
      const info = this.infos[row];
      const kind = (info >>> 4) & KIND_MASK;
      const space = info >>> 8;
      if (kind === KIND_CLEAR)
        this.spaces.clear(space === ALL_SPACES ? undefined : space, this.clears[clear++]);
      else this.enter(this.hashes[row], this.addresses[row] as LogAddress, info & 15, kind, space);
    }
    this.rows = 0;
    this.clears.length = 0;
  }

  private enter(
    hashLow: number,
    address: LogAddress,
    sizeClass: number,
    kind: number,
    spaceId: number,
  ): void {
    const isNew = this.index.find(hashLow) === NO_ADDRESS;
    this.index.put(hashLow, address, sizeClass);
    const space = this.spaces.get(spaceId);
    // A tombstone that stands alone was a value first, and was changed in place.
    if (kind !== KIND_TOMBSTONE) space.keys += isNew ? 1 : 0;
    else if (!isNew && space.keys > 0) space.keys--;
  }

  /** Hashes a record's key, and returns the number of its space. */
  private readKey(words: Int32Array, at: number): number {
    const length = keyLengthOf(words, at);
    if (length === 0) return ALL_SPACES;
    const start = at + (valueOffset(words[at + 1] & 0xff, 0) >> 2);
    const count = (length + 3) >> 2;
    for (let i = 0; i < count; i++) this.key.words[i] = words[start + i];
    this.hash.hash(this.key.words, length);
    const first = this.key.bytes[0];
    return first < 0x80 ? first : ((first & 0x7f) << 8) | this.key.bytes[1];
  }

  private grow(): void {
    const { hashes, addresses, infos } = this;
    this.hashes = new Int32Array(hashes.length * 2);
    this.hashes.set(hashes);
    this.addresses = new Float64Array(addresses.length * 2);
    this.addresses.set(addresses);
    this.infos = new Int32Array(infos.length * 2);
    this.infos.set(infos);
  }
}
