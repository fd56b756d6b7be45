/**
 * A cold index beside a list of everything that was put into it, which says what it should answer.
 */
import { ChunkDirectory, type BlockSource } from '../../src/cold/chunk-directory.js';
import {
  ColdIndex,
  type ColdIndexImage,
  type ColdIndexOptions,
  type ColdIndexShape,
} from '../../src/cold/cold-index.js';
import type { Candidates } from '../../src/cold/hash-chunk.js';
import type { Device, DeviceFile } from '../../src/device/device.js';
import { MemoryDevice } from '../../src/device/memory-device.js';
import { diskError } from '../../src/device/system-error.js';
import { KvCorruptionError } from '../../src/errors.js';
import { FIRST_ADDRESS, type LogAddress } from '../../src/log/address.js';
import { ReadPacer } from '../../src/log/read-pacer.js';
import { LARGEST_SIZE_CLASS } from '../../src/log/size-class.js';
import { Slices } from '../../src/log/slices.js';
import { SeededRandom } from './seeded-random.js';
import { SimulatedClock } from './simulated-clock.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Looks at the clock after which a slice of the flush ends. */
export const SLICE_LOOKS = 40;

/** What the index can tell apart: keys whose hashes agree in these 45 bits are one to it. */
export interface Key {
  low: number;
  high: number;
  /** Of its records, oldest first. */
  addresses: number[];
}

export interface CheckedOptions extends Partial<ColdIndexOptions> {
  /** Which reads may be synchronous: none, some (as `ReadPacer` says), or all. */
  sync?: 'none' | 'paced' | 'all';
  /** Whether its cache is filled beside look-ups. */
  fills?: boolean;
  seed?: number;
}

/** What the size class of an address was when it was put, and what comes back. */
export function sizeClassAt(address: number): number {
  return 1 + ((address / 8) % LARGEST_SIZE_CLASS);
}

function foundClassAt(address: number): number {
  const sizeClass = sizeClassAt(address);
  return sizeClass > 7 ? LARGEST_SIZE_CLASS : sizeClass;
}

/** An index as it lies on disk. */
export interface WrittenImage {
  shape: ColdIndexShape;
  blocks: Uint32Array[];
  pending: Int32Array;
}

/** Copies of blocks, of which it says which were read. Those that are `damaged` cannot be. */
export class BlockCopies implements BlockSource {
  readonly reads: number[] = [];
  readonly damagedBlocks = new Set<number>();
  isClosed = false;

  constructor(private readonly blocks: Uint32Array[]) {}

  get count(): number {
    return this.blocks.length;
  }

  read(block: number): Uint32Array | undefined {
    this.reads.push(block);
    return this.damagedBlocks.has(block) ? undefined : this.blocks[block].slice();
  }

  damaged(): KvCorruptionError {
    return new KvCorruptionError('A block is damaged', 'the checkpoint', this.reads.at(-1) as number);
  }

  close(): void {
    this.isClosed = true;
  }
}

export class CheckedColdIndex {
  readonly keys: Key[] = [];
  private readonly known = new Map<number, Key>();
  readonly clock = new SimulatedClock();
  readonly random: SeededRandom;
  index: ColdIndex;
  /** Of the directory of a reopened index. */
  source = new BlockCopies([]);
  private readonly device: Device;
  readonly writeErrors: unknown[] = [];
  readonly segmentSize: number;
  begin: number = FIRST_ADDRESS;
  tail: number = FIRST_ADDRESS;

  constructor(readonly options: CheckedOptions = {}) {
    this.random = new SeededRandom(options.seed ?? 1);
    this.segmentSize = options.segmentSize ?? 256 * KIB;
    this.device = options.device ?? new MemoryDevice(512 * MIB);
    this.index = this.open();
  }

  private open(image?: ColdIndexImage): ColdIndex {
    const { options } = this;
    return new ColdIndex({
      device: this.device,
      pageSize: 64 * KIB,
      segmentSize: this.segmentSize,
      salt: 77,
      cacheBytes: 256 * KIB,
      pendingEntries: 2048,
      pacer: this.pacer(options.sync ?? 'none'),
      coldBegin: () => this.begin as LogAddress,
      ...(options.fills && { clock: this.clock }),
      onWriteError: (error) => this.writeErrors.push(error),
      image,
      ...options,
    });
  }

  /** What a checkpoint would write. */
  async image(): Promise<WrittenImage> {
    await this.load();
    const { shape, pending } = await this.index.persist();
    const blocks: Uint32Array[] = [];
    for (let i = 0, block; (block = this.index.directory.blockAt(i)); i++) blocks.push(block.slice());
    await this.index.persisted(shape);
    return { shape: JSON.parse(JSON.stringify(shape)) as ColdIndexShape, blocks, pending };
  }

  /** Another process opens the index as a checkpoint has it, and is fed with what was put since. */
  reopen(image: WrittenImage): void {
    const { shape } = image;
    const pending = image.pending.slice();
    this.source = new BlockCopies(image.blocks);
    const directory = ChunkDirectory.from(shape.directory, this.source) as ChunkDirectory;
    this.index = this.open({ shape, directory, pending });
    const since = this.keys.flatMap((key) =>
      key.addresses
        .filter((address) => address > image.shape.lastAddress)
        .map((address) => ({ key, address })),
    );
    since.sort((a, b) => a.address - b.address);
    for (const { key, address } of since)
      this.index.put(key.low, key.high, address as LogAddress, sizeClassAt(address));
  }

  private pacer(sync: 'none' | 'paced' | 'all'): ReadPacer | undefined {
    const pacer = new ReadPacer(this.clock);
    if (sync === 'all') pacer.maySync = () => true;
    return sync === 'none' ? undefined : pacer;
  }

  newKey(low = this.bits(), high = this.bits()): Key {
    const identity = (low >>> 0) * 8192 + (high & 8191);
    let key = this.known.get(identity);
    if (!key) {
      key = { low, high, addresses: [] };
      this.keys.push(key);
      this.known.set(identity, key);
    }
    return key;
  }

  /** A key that was put before. */
  anyKey(): Key {
    return this.keys[this.random.below(this.keys.length)];
  }

  /** Some of the keys: those that came last, and others. */
  some(count: number): Key[] {
    const { keys } = this;
    return [
      ...keys.slice(-count),
      ...Array.from({ length: keys.length > 0 ? count : 0 }, () => this.anyKey()),
    ];
  }

  bits(): number {
    return this.random.below(2 ** 32) | 0;
  }

  put(key: Key): void {
    this.tail += 8 * (1 + this.random.below(20));
    key.addresses.push(this.tail);
    this.index.put(key.low, key.high, this.tail as LogAddress, sizeClassAt(this.tail));
  }

  /** Puts new keys, flushing when it is time. */
  async fill(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.put(this.newKey());
      if (this.index.full) await this.flush();
    }
  }

  slices(looks = SLICE_LOOKS): Slices {
    return new Slices(this.clock, looks * this.clock.tickMs);
  }

  /** Loads all of the directory. */
  load(): Promise<void> {
    return this.index.directory.loadAll(this.slices());
  }

  /** What is lost is entered again, as from the cold log. */
  async mend(): Promise<void> {
    const { index } = this;
    const { lost } = index;
    await lost.beginMending(this.slices(), () => undefined);
    const records = this.keys.flatMap((key) => key.addresses.map((address) => ({ key, address })));
    records.sort((a, b) => a.address - b.address);
    for (const { key, address } of records) {
      if (address < this.begin || !lost.wants(key.low)) continue;
      lost.putAgain(key.low, key.high, address as LogAddress, sizeClassAt(address));
      if (index.full) await this.flush();
    }
    lost.endMending();
  }

  flush(looks = SLICE_LOOKS): Promise<void> {
    return this.index.flush(this.slices(looks));
  }

  /** Whether the index answers rightly, by all ways to ask it. */
  async isRight(key: Key): Promise<boolean> {
    const now = this.index.tryFind(key.low, key.high);
    if (now && !this.matches(now, key)) return false;
    const later = await this.index.find(key.low, key.high);
    return this.matches(later, key) && (later.count === 0 || this.index.mayHold(key.low, key.high));
  }

  private matches({ count, addresses, sizeClasses }: Candidates, key: Key): boolean {
    const expected = key.addresses;
    let at = expected.length - 1;
    for (let i = 0; i < count; i++, at--) {
      if (addresses[i] !== expected[at] || sizeClasses[i] !== foundClassAt(addresses[i])) return false;
      if (addresses[i] < this.begin) return false;
    }
    return at < 0 || expected[at] < this.begin;
  }

  /** Keys (all, or some) that the index answers wrongly, the first few. */
  async wrong(keys: Key[] = this.keys): Promise<Key[]> {
    const wrong: Key[] = [];
    for (const key of keys) {
      if (!(await this.isRight(key))) wrong.push(key);
      if (wrong.length === 3) break;
    }
    return wrong;
  }

  /** The same for many keys, each asked in one way only. */
  async wrongOfAll(): Promise<Key[]> {
    const wrong: Key[] = [];
    for (const key of this.keys) {
      const found = this.index.tryFind(key.low, key.high) ?? (await this.index.find(key.low, key.high));
      if (!this.matches(found, key)) wrong.push(key);
    }
    return wrong.slice(0, 3);
  }

  /** Whether a partition has exactly what it should. */
  async partitionIsRight(partition: number): Promise<boolean> {
    const found = await this.index.partition(partition);
    const addresses = this.keys
      .filter(({ low }) => (low & 8191) === partition)
      .flatMap((key) => key.addresses)
      .filter((address) => address >= this.begin)
      .sort((a, b) => b - a);
    return (
      found.count === addresses.length &&
      addresses.every((address, i) => {
        return found.addresses[i] === address && found.sizeClasses[i] === foundClassAt(address);
      })
    );
  }
}

/**
 * Memory whose asynchronous reads come some turns late, in any order; a file that is closed meanwhile fails them. Writes
 * fail on request.
 */
export class LateDevice implements Device {
  readonly location = 'late';
  readonly retains = true;
  readonly volatile = true;
  /** Reads that are under way, and the most there ever were. */
  reading = 0;
  mostReading = 0;
  failedReads = 0;
  /** By asynchronous reads. */
  bytesRead = 0;
  syncWrites = 0;
  longestSyncRead = 0;
  /** Writes wait for this. */
  gate: Promise<void> = Promise.resolve();
  /** Error of all writes from now on. */
  writeError: Error | undefined;
  private readonly memory = new MemoryDevice(512 * MIB);

  constructor(private readonly random: SeededRandom) {}

  list = () => this.memory.list();
  remove = async (name: string) => {
    await this.turns(4);
    this.memory.removeSync(name);
  };
  removeSync = (name: string) => this.memory.removeSync(name);
  rename = (from: string, to: string) => this.memory.rename(from, to);
  syncDirectory = async () => {};
  syncDirectorySync = () => {};
  lock = async () => {};
  close = () => {};

  open(name: string, options: { create: boolean }): DeviceFile {
    const file = this.memory.open(name, options);
    const checkWrite = (): void => {
      if (this.writeError) throw diskError('write', name, this.writeError);
    };
    return {
      name,
      size: () => file.size(),
      read: async (buffer, offset, length, position) => {
        this.mostReading = Math.max(this.mostReading, ++this.reading);
        try {
          // Now and then very late.
          await this.turns(this.random.chance(0.1) ? 40 : 4);
          const count = file.readSync(buffer, offset, length, position);
          this.bytesRead += count;
          return count;
        } catch (error) {
          this.failedReads++;
          throw error;
        } finally {
          this.reading--;
        }
      },
      readSync: (buffer, offset, length, position) => {
        this.longestSyncRead = Math.max(this.longestSyncRead, length);
        return file.readSync(buffer, offset, length, position);
      },
      write: async (buffer, offset, length, position) => {
        await this.turns(4);
        await this.gate;
        checkWrite();
        file.writeSync(buffer, offset, length, position);
      },
      writeSync: (...write) => {
        this.syncWrites++;
        checkWrite();
        file.writeSync(...write);
      },
      sync: async () => {},
      syncSync: () => {},
      truncate: (length) => file.truncate(length),
      close: () => file.close(),
    };
  }

  private async turns(most: number): Promise<void> {
    for (let i = this.random.below(most); i >= 0; i--) await new Promise((resolve) => setImmediate(resolve));
  }
}

/**
 * An index whose chunks are on disk, apart from its last pages, in a file in which bits can be flipped.
 * @returns also how many bytes of the file hold chunks that are needed
 */
export async function indexToDamage(
  sync: 'none' | 'all',
): Promise<{ checked: CheckedColdIndex; flip: (at: number) => void; bytes: number }> {
  const device = new MemoryDevice(256 * MIB);
  const checked = new CheckedColdIndex({
    device,
    cacheBytes: 0,
    sync,
    segmentSize: 16 * MIB,
    pendingEntries: 32_768,
  });
  await checked.fill(30_000);
  await checked.flush();
  const flip = (at: number): void => {
    const file = device.open('index-00000000.log', { create: false });
    const byte = new Uint8Array(1);
    file.readSync(byte, 0, 1, at);
    byte[0] ^= 1 << (at % 8);
    file.writeSync(byte, 0, 1, at);
    file.close();
  };
  const { chunkLogBytes } = checked.index.stats;
  return { checked, flip, bytes: chunkLogBytes - 4 * 64 * KIB };
}
