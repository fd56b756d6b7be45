/**
 * The part of the cold index that is always in memory: for each slot where its chunk lies, and a Bloom filter of 96 bits
 * over the entries of the chunk, so that absent keys cost no read.
 *
 * A slot is a row of low bits of the hash, by linear hashing (Litwin 1980): slots are split one after the other while
 * entries grow. A split does no input or output: the new slot gets the place and the filter of the old one, and when
 * either chunk is written again, it is with its own half of the entries.
 *
 * A directory that comes from a checkpoint has its blocks read when a look-up needs them, all others behind the opening: memory
 * that is used for the first time costs more than reading it. A block that is damaged is empty, and whoever has the
 * directory is told which slots that concerns.
 *
 * Slots lie in blocks, so that growth asks for memory in small steps and copies nothing; place and filter lie side by
 * side in 16 bytes, because each look-up at a random slot costs a cache miss. Hot path (`bench/micro/cold-directory.mjs`).
 */
import { assert } from '../assert.js';
import type { KvCorruptionError } from '../errors.js';
import type { Slices } from '../log/slices.js';
import { PARTITION_BITS } from './hash-chunk.js';

/**
 * Entries a slot beyond which the next slot is split. Bytes written to update one entry among many grow by 10 with each entry
 * more; memory is 3.2 bytes an entry, and the filter lets 0.3 to 0.9 % of absent keys through.
 */
export const WANTED_LOAD = 5;

const BLOCK_BITS = 12;
const BLOCK_SLOTS = 1 << BLOCK_BITS;
const BLOCK_MASK = BLOCK_SLOTS - 1;
const WORDS_PER_SLOT = 4;
const BYTES_PER_PLACE = 4;
const BYTES_PER_FILTER = 12;

/** 2^30 slots, some 5 billion entries: more than fits the chunk log. */
const MAX_LEVEL = 30;

/**
 * Filter bits, two of 32 in each word, come from the upper 20 bits of the tag as they are (the hash is a keyed one), those of
 * the third word from these mixed. Of the tag's lower 12 bits ever more are the same for a whole slot.
 */
const FILTER_SHIFT = 12;
/** 2^32 over the golden ratio (Knuth, The Art of Computer Programming 3, 6.4): the upper bits of a product depend on all bits. */
const FILTER_MIX = 0x9e37_79b1;
const MIXED_SHIFT = 22;

/** A Bloom filter over the tags of a chunk's entries. */
export class SlotFilter {
  first = 0;
  second = 0;
  third = 0;

  clear(): void {
    this.first = this.second = this.third = 0;
  }

  add(tag: number): void {
    const bits = tag >>> FILTER_SHIFT;
    this.first |= twoBits(bits);
    this.second |= twoBits(bits >>> 10);
    this.third |= twoBits(mixed(bits));
  }
}

/** What has to be known beside its blocks to have a directory again. */
export interface DirectoryShape {
  slots: number;
  level: number;
  split: number;
}

/** The blocks of a checkpoint. */
export interface BlockSource {
  readonly count: number;
  /** A block, to be kept; `undefined` when it cannot be read, or is not what was written. */
  read(block: number): Uint32Array | undefined;
  /** What is to be told of the block that was damaged last. */
  damaged(): KvCorruptionError;
  /** Nothing is read any more. */
  close(): void;
}

/** In the place of a block that is not in memory yet. */
const UNLOADED = new Uint32Array(0);

export class ChunkDirectory {
  slots = 0;
  /** Told of a block that is damaged: the slots in `[from, to)` are empty now. */
  onDamage: (from: number, to: number, error: KvCorruptionError) => void = () => undefined;
  /** Slots below `split` (and from `1 << level` on) use one bit more than `level`. */
  private level = PARTITION_BITS;
  private split = 0;
  private blocks: Uint32Array[] = [];
  /** Which blocks have changed since a checkpoint wrote them. */
  private changed: boolean[] = [];
  /** Where blocks come from that are not in memory yet, how many those are, and the first that may be one. */
  private readonly source: BlockSource | undefined;
  private left = 0;
  private next = 0;

  /** @param image that it is to be; without one it is empty */
  constructor(image?: DirectoryShape & { source: BlockSource }) {
    if (image) {
      this.slots = image.slots;
      this.level = image.level;
      this.split = image.split;
      this.source = image.source;
      this.left = image.source.count;
      this.blocks = Array.from({ length: this.left }, () => UNLOADED);
      this.changed = this.blocks.map(() => false);
    }
    while (this.slots < 1 << PARTITION_BITS) this.add();
  }

  static readonly blockBytes = BLOCK_SLOTS * WORDS_PER_SLOT * 4;

  /**
   * A directory as a checkpoint has it.
   * @param source of blocks of `blockBytes` each; it is closed when all are in memory
   * @returns `undefined` when shape and blocks do not fit together
   */
  static from({ slots, level, split }: DirectoryShape, source: BlockSource): ChunkDirectory | undefined {
    if (slots !== 2 ** level + split || source.count !== Math.ceil(slots / BLOCK_SLOTS)) return undefined;
    if (level < PARTITION_BITS) return undefined;
    return new ChunkDirectory({ slots, level, split, source });
  }

  /** Whether all of it is in memory. */
  get isLoaded(): boolean {
    return this.left === 0;
  }

  /** Sees to it that a slot is in memory: what `onDamage` says of it is said by then. */
  load(slot: number): void {
    if (this.blocks[slot >>> BLOCK_BITS] === UNLOADED) this.loadBlock(slot >>> BLOCK_BITS);
  }

  /** Loads a block that is not in memory yet, if there is one. */
  loadNext(): void {
    while (this.next < this.blocks.length && this.blocks[this.next] !== UNLOADED) this.next++;
    if (this.next < this.blocks.length) this.loadBlock(this.next);
  }

  /**
   * Loads all that is not in memory yet, in slices.
   * @param mayGoOn ends it
   */
  async loadAll(slices: Slices, mayGoOn: () => boolean = () => true): Promise<void> {
    while (!this.isLoaded && mayGoOn()) {
      this.loadNext();
      if (slices.over) await slices.next();
    }
  }

  /** No more blocks are read. */
  close(): void {
    this.source?.close();
  }

  get shape(): DirectoryShape {
    return { slots: this.slots, level: this.level, split: this.split };
  }

  /** The memory of the directory, for a checkpoint; all of it has to be loaded. */
  blockAt(number: number): Uint32Array | undefined {
    assert(this.isLoaded, 'INV-C8');
    return this.blocks[number];
  }

  /** Whether a block has changed since it was last asked. */
  takeChanged(number: number): boolean {
    const changed = this.changed[number];
    this.changed[number] = false;
    return changed;
  }

  /** Bytes that say where chunks lie. */
  get placeBytes(): number {
    return this.blocks.length * BLOCK_SLOTS * BYTES_PER_PLACE;
  }

  get filterBytes(): number {
    return this.blocks.length * BLOCK_SLOTS * BYTES_PER_FILTER;
  }

  slotOf(hashLow: number): number {
    const slot = hashLow & ((1 << this.level) - 1);
    return slot < this.split ? hashLow & ((2 << this.level) - 1) : slot;
  }

  /** How many low bits of the hash say that an entry belongs to this slot. */
  widthOf(slot: number): number {
    return slot < this.split || slot >= 1 << this.level ? this.level + 1 : this.level;
  }

  /** Where the slot's chunk lies, in the units of the chunk log; 0 when there is none. */
  placeOf(slot: number): number {
    return this.blockOf(slot)[(slot & BLOCK_MASK) * WORDS_PER_SLOT];
  }

  /**
   * Whether the slot's chunk lies there, or that of one that was split from it since it had so many bits; `false` also where
   * that is not in memory yet.
   */
  isAt(slot: number, width: number, place: number): boolean {
    for (const step = 2 ** width; slot < this.slots; slot += step)
      if (this.blocks[slot >>> BLOCK_BITS]?.[(slot & BLOCK_MASK) * WORDS_PER_SLOT] === place) return true;
    return false;
  }

  /** Whether the slot's chunk may hold an entry of this tag. */
  mayHold(slot: number, tag: number): boolean {
    const block = this.blockOf(slot);
    const at = (slot & BLOCK_MASK) * WORDS_PER_SLOT;
    const bits = tag >>> FILTER_SHIFT;
    return (
      holds(block[at + 1], twoBits(bits)) &&
      holds(block[at + 2], twoBits(bits >>> 10)) &&
      holds(block[at + 3], twoBits(mixed(bits)))
    );
  }

  /** Puts a chunk in the place of the slot's former one. */
  set(slot: number, place: number, filter: SlotFilter): void {
    const block = this.blockOf(slot);
    const at = (slot & BLOCK_MASK) * WORDS_PER_SLOT;
    this.changed[slot >>> BLOCK_BITS] = true;
    block[at] = place;
    block[at + 1] = filter.first;
    block[at + 2] = filter.second;
    block[at + 3] = filter.third;
  }

  /** Splits one slot, if there are more than `WANTED_LOAD` entries a slot; returns whether it did. */
  growFor(entries: number): boolean {
    if (entries <= this.slots * WANTED_LOAD || this.level >= MAX_LEVEL) return false;
    const from = this.blockOf(this.split);
    const at = (this.split & BLOCK_MASK) * WORDS_PER_SLOT;
    const slot = this.add();
    const to = this.blockOf(slot);
    const toAt = (slot & BLOCK_MASK) * WORDS_PER_SLOT;
    for (let word = 0; word < WORDS_PER_SLOT; word++) to[toAt + word] = from[at + word];
    this.changed[slot >>> BLOCK_BITS] = true;
    this.split++;
    if (this.split === 1 << this.level) {
      this.level++;
      this.split = 0;
    }
    return true;
  }

  private blockOf(slot: number): Uint32Array {
    const block = this.blocks[slot >>> BLOCK_BITS];
    return block === UNLOADED ? this.loadBlock(slot >>> BLOCK_BITS) : block;
  }

  private loadBlock(number: number): Uint32Array {
    const { source } = this;
    assert(source !== undefined, 'INV-C7');
    const block = source.read(number);
    this.blocks[number] = block ?? new Uint32Array(BLOCK_SLOTS * WORDS_PER_SLOT);
    if (--this.left === 0) this.close();
    if (!block) {
      const from = number << BLOCK_BITS;
      this.onDamage(from, Math.min(from + BLOCK_SLOTS, this.slots), source.damaged());
    }
    return this.blocks[number];
  }

  private add(): number {
    if ((this.slots & BLOCK_MASK) === 0) {
      this.blocks.push(new Uint32Array(BLOCK_SLOTS * WORDS_PER_SLOT));
      this.changed.push(true);
    }
    return this.slots++;
  }
}

/** One bit for each five. */
function twoBits(bits: number): number {
  return (1 << (bits & 31)) | (1 << ((bits >>> 5) & 31));
}

function mixed(bits: number): number {
  return Math.imul(bits, FILTER_MIX) >>> MIXED_SHIFT;
}

function holds(word: number, bits: number): boolean {
  return (word & bits) === bits;
}
