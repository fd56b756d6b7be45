/**
 * The files and directories of the simulated disk: what is seen now, what is durable, and the changes between the
 * two. What may become of those changes at a crash is decided here; the fault model is written down in
 * `simulated-disk.ts`.
 */
import type { SeededRandom } from './seeded-random.js';

const SECTOR_BYTES = 512;
const PAGE_BYTES = 4096;

/** `none` of what is not synced survives, `all` of it, or some of it. */
export type CrashMode = 'none' | 'all' | 'random';

/** How a crash treats what is not synced. */
export interface CrashDecisions {
  mode: CrashMode;
  random: SeededRandom;
  /** How likely a change is to survive. One value for a whole crash, so that near-total loss and near-none both occur. */
  surviving: number;
  report: CrashReport;
}

/** What became of the changes that were not synced. */
export interface CrashReport {
  writes: { kept: number; torn: number; lost: number };
  truncates: { kept: number; lost: number };
  names: { kept: number; lost: number };
}

/** Sparse bytes, page by page. A fork shares the pages, and the list of them, until one of the two writes to them. */
class ByteImage {
  size = 0;
  private pages = new Map<number, { bytes: Uint8Array; owner: object | undefined }>();
  private owner = {};
  private listIsShared = false;

  fork(): ByteImage {
    const copy = new ByteImage();
    copy.size = this.size;
    copy.pages = this.pages;
    copy.listIsShared = this.listIsShared = true;
    // The pages belong to neither from here on.
    this.owner = {};
    return copy;
  }

  read(target: Uint8Array, offset: number, length: number, position: number): number {
    const count = Math.max(0, Math.min(length, this.size - position));
    for (const piece of pieces(position, count, PAGE_BYTES)) {
      const from = offset + piece.done;
      const page = this.pages.get(piece.index);
      if (page) target.set(page.bytes.subarray(piece.start, piece.start + piece.length), from);
      else target.fill(0, from, from + piece.length);
    }
    return count;
  }

  /** @param source belongs to the image from here on; others may read it */
  write(source: Uint8Array, position: number): void {
    this.ownList();
    for (const piece of pieces(position, source.length, PAGE_BYTES)) {
      const bytes = source.subarray(piece.done, piece.done + piece.length);
      if (piece.length === PAGE_BYTES) this.pages.set(piece.index, { bytes, owner: undefined });
      else this.ownPage(piece.index).set(bytes, piece.start);
    }
    if (source.length > 0) this.size = Math.max(this.size, position + source.length);
  }

  truncate(length: number): void {
    if (length < this.size) {
      this.ownList();
      const kept = Math.ceil(length / PAGE_BYTES);
      for (const index of this.pages.keys()) if (index >= kept) this.pages.delete(index);
      const rest = length % PAGE_BYTES;
      if (rest > 0 && this.pages.has(kept - 1)) this.ownPage(kept - 1).fill(0, rest);
    }
    this.size = length;
  }

  contents(): Buffer {
    const bytes = Buffer.alloc(this.size);
    this.read(bytes, 0, this.size, 0);
    return bytes;
  }

  private ownList(): void {
    if (this.listIsShared) this.pages = new Map(this.pages);
    this.listIsShared = false;
  }

  private ownPage(index: number): Uint8Array {
    this.ownList();
    let page = this.pages.get(index);
    if (page?.owner !== this.owner) {
      const bytes = new Uint8Array(PAGE_BYTES);
      if (page) bytes.set(page.bytes);
      page = { bytes, owner: this.owner };
      this.pages.set(index, page);
    }
    return page.bytes;
  }
}

interface WriteChange {
  kind: 'write';
  id: number;
  position: number;
  data: Buffer;
}

type Change = WriteChange | { kind: 'truncate'; id: number; length: number };

export class SimulatedFile {
  private cache = new ByteImage();
  private durable = new ByteImage();
  private unsynced: Change[] = [];
  private changes = 0;

  get size(): number {
    return this.cache.size;
  }

  /** Number of the last change, for a `sync` that covers what was there when it was called. */
  get lastChange(): number {
    return this.changes;
  }

  get unsyncedChanges(): number {
    return this.unsynced.length;
  }

  read(target: Uint8Array, offset: number, length: number, position: number): number {
    return this.cache.read(target, offset, length, position);
  }

  write(bytes: Uint8Array, position: number): void {
    const data = Buffer.from(bytes);
    this.cache.write(data, position);
    this.unsynced.push({ kind: 'write', id: ++this.changes, position, data });
  }

  truncate(length: number): void {
    this.cache.truncate(length);
    this.unsynced.push({ kind: 'truncate', id: ++this.changes, length });
  }

  sync(upTo = this.changes): void {
    for (const change of this.unsynced) {
      if (change.id > upTo) break;
      if (change.kind === 'write') this.durable.write(change.data, change.position);
      else this.durable.truncate(change.length);
    }
    this.forget(upTo);
  }

  /**
   * Makes the sectors of a range durable as they are seen now, and the truncations before, which are older in the journal of
   * the file system.
   * @param fails whether it forgets them instead
   */
  syncRange(from: number, to: number, fails: boolean): void {
    if (this.unsynced.some(({ kind }) => kind === 'truncate')) {
      if (fails) this.forget();
      else this.sync();
      return;
    }
    const start = Math.floor(from / SECTOR_BYTES) * SECTOR_BYTES;
    const end = Math.min(Math.ceil(to / SECTOR_BYTES) * SECTOR_BYTES, this.size);
    if (!fails) {
      const data = Buffer.alloc(end - start);
      this.cache.read(data, 0, data.length, start);
      this.durable.write(data, start);
    }
    this.unsynced = this.unsynced.flatMap((change) =>
      change.kind === 'write' ? outside(change, start, end) : [],
    );
  }

  /** A failed sync: the bytes can still be read, but no later sync writes them. */
  forget(upTo = this.changes): void {
    this.unsynced = this.unsynced.filter((change) => change.id > upTo);
  }

  crash(decisions: CrashDecisions): void {
    if (decisions.mode === 'all') {
      for (const { kind } of this.unsynced)
        decisions.report[kind === 'write' ? 'writes' : 'truncates'].kept++;
      this.sync();
    } else {
      this.surviveInPart(decisions);
    }
    this.unsynced = [];
    this.cache = this.durable.fork();
  }

  contents(which: 'seen' | 'durable'): Buffer {
    return (which === 'seen' ? this.cache : this.durable).contents();
  }

  flip(bit: number): void {
    const position = Math.floor(bit / 8);
    for (const image of [this.cache, this.durable]) {
      const byte = Buffer.alloc(1);
      if (image.read(byte, 0, 1, position) === 0) continue;
      byte[0] = (byte[0] ?? 0) ^ (1 << (bit % 8));
      image.write(byte, position);
    }
    for (const [i, change] of this.unsynced.entries()) {
      if (change.kind !== 'write') continue;
      const index = position - change.position;
      if (index < 0 || index >= change.data.length) continue;
      // Another change, for forks share the old one.
      const data = Buffer.from(change.data);
      data[index] = (data[index] ?? 0) ^ (1 << (bit % 8));
      this.unsynced[i] = { ...change, data };
    }
  }

  fork(): SimulatedFile {
    const copy = new SimulatedFile();
    copy.cache = this.cache.fork();
    copy.durable = this.durable.fork();
    copy.unsynced = [...this.unsynced];
    copy.changes = this.changes;
    return copy;
  }

  private surviveInPart(decisions: CrashDecisions): void {
    // A sector holds what it held at one moment: where a write survives, so do the earlier ones to the same sector.
    const survivorOfSector = new Map<number, number>();
    const truncates = new Set<number>();
    const grownTo = new Map<number, number>();
    for (const change of this.unsynced) {
      if (change.kind === 'truncate') {
        const kept = decisions.mode === 'random' && decisions.random.chance(decisions.surviving);
        if (kept) truncates.add(change.id);
        decisions.report.truncates[kept ? 'kept' : 'lost']++;
        continue;
      }
      const sectors = pieces(change.position, change.data.length, SECTOR_BYTES).map(({ index }) => index);
      const kept = survivingSectors(sectors, decisions);
      for (const sector of kept) survivorOfSector.set(sector, change.id);
      const fate = kept.length === sectors.length ? 'kept' : kept.length > 0 ? 'torn' : 'lost';
      decisions.report.writes[fate]++;
      // The new size may be on disk although the bytes are not: they read as zeros then.
      const sizeAlone = fate !== 'kept' && decisions.mode === 'random' && decisions.random.chance(0.1);
      if (sizeAlone) grownTo.set(change.id, change.position + change.data.length);
    }

    for (const change of this.unsynced) {
      if (change.kind === 'truncate') {
        if (truncates.has(change.id)) this.durable.truncate(change.length);
        continue;
      }
      for (const { index, done, length } of pieces(change.position, change.data.length, SECTOR_BYTES)) {
        if ((survivorOfSector.get(index) ?? 0) < change.id) continue;
        this.durable.write(change.data.subarray(done, done + length), change.position + done);
      }
      const grown = grownTo.get(change.id) ?? 0;
      if (grown > this.durable.size) this.durable.truncate(grown);
    }
  }
}

function survivingSectors(sectors: number[], { mode, random, surviving }: CrashDecisions): number[] {
  if (mode === 'none') return [];
  if (sectors.length === 1 || random.chance(0.7)) return random.chance(surviving) ? sectors : [];
  const cut = 1 + random.below(sectors.length - 1);
  switch (random.below(3)) {
    case 0:
      return sectors.slice(0, cut);
    case 1:
      return sectors.slice(cut);
    default:
      return sectors.filter(() => random.chance(0.5));
  }
}

/** A name set to a node, or taken away. A rename is two of them that survive together or not at all. */
type NameChange = Map<string, SimulatedNode | undefined>;

export type SimulatedNode = SimulatedFile | SimulatedDirectory;

export class SimulatedDirectory {
  private entries = new Map<string, SimulatedNode>();
  private durable = new Map<string, SimulatedNode>();
  private unsynced: NameChange[] = [];
  private changes = 0;

  names(): string[] {
    return [...this.entries.keys()];
  }

  get(name: string): SimulatedNode | undefined {
    return this.entries.get(name);
  }

  change(names: readonly (readonly [string, SimulatedNode | undefined])[]): void {
    const change = new Map(names);
    this.unsynced.push(change);
    this.changes++;
    applyNames(this.entries, change);
  }

  /** Number of the last change, for a `sync` that covers what was there when it was called. */
  get lastChange(): number {
    return this.changes;
  }

  get unsyncedChanges(): number {
    return this.unsynced.length;
  }

  sync(upTo = this.changes): void {
    const count = Math.max(0, this.unsynced.length - (this.changes - upTo));
    for (const change of this.unsynced.splice(0, count)) applyNames(this.durable, change);
  }

  crash(decisions: CrashDecisions): void {
    for (const change of this.unsynced) {
      const kept =
        decisions.mode === 'all' ||
        (decisions.mode === 'random' && decisions.random.chance(decisions.surviving));
      if (kept) applyNames(this.durable, change);
      decisions.report.names[kept ? 'kept' : 'lost']++;
    }
    this.unsynced = [];
    this.entries = new Map(this.durable);
    // A reordered change may leave two names for one file, whose bytes are decided once.
    for (const node of new Set(this.entries.values())) node.crash(decisions);
  }

  /** All nodes below, also those that only a lost change would bring back. */
  fork(copies = new Map<SimulatedNode, SimulatedNode>()): SimulatedDirectory {
    const copyOf = (node: SimulatedNode): SimulatedNode => {
      let copy = copies.get(node);
      if (!copy) {
        copy = node instanceof SimulatedFile ? node.fork() : node.fork(copies);
        copies.set(node, copy);
      }
      return copy;
    };
    const copyNames = <T extends SimulatedNode | undefined>(names: Map<string, T>): Map<string, T> =>
      new Map([...names].map(([name, node]) => [name, (node && copyOf(node)) as T]));

    const copy = new SimulatedDirectory();
    copy.entries = copyNames(this.entries);
    copy.durable = copyNames(this.durable);
    copy.unsynced = this.unsynced.map((change) => copyNames(change));
    copy.changes = this.changes;
    return copy;
  }
}

/** What a write has changed before `start`, and from `end` on. */
function outside(change: WriteChange, start: number, end: number): WriteChange[] {
  const { position, data } = change;
  const before = data.subarray(0, Math.max(0, start - position));
  const behind = data.subarray(Math.max(0, end - position));
  return [
    { ...change, data: before },
    { ...change, position: Math.max(position, end), data: behind },
  ].filter((part) => part.data.length > 0);
}

function applyNames(names: Map<string, SimulatedNode>, change: NameChange): void {
  for (const [name, node] of change) {
    if (node) names.set(name, node);
    else names.delete(name);
  }
}

interface Piece {
  /** Which unit. */
  index: number;
  /** Where in the unit. */
  start: number;
  length: number;
  /** Where in the range. */
  done: number;
}

/** Cuts a range at the borders of units of `unitBytes`. */
function pieces(position: number, length: number, unitBytes: number): Piece[] {
  const result: Piece[] = [];
  for (let done = 0; done < length;) {
    const index = Math.floor((position + done) / unitBytes);
    const start = (position + done) % unitBytes;
    const piece = Math.min(length - done, unitBytes - start);
    result.push({ index, start, length: piece, done });
    done += piece;
  }
  return result;
}
