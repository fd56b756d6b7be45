/**
 * `verify()`: reads everything that a store has on its device, beside reads, writes and compaction, and reports every
 * damage. Nothing is changed, and nothing is read from memory that is on the device as well.
 *
 * The hot log is read before the cold one, and the cold one up to where it is synced by then: what compaction moves
 * meanwhile was read before it was moved, or is read where it has gone to. Truncation needs no hold on the files: where a
 * log begins further on than we have come, the scan goes on from there, and what was found odd below counts for nothing.
 */
import path from 'node:path';
import { KvError, KvDiskError, KvReadOnlyError, KvCorruptionError, KvOverloadedError } from '../../errors.js';
import type { LogAddress } from '../../log/address.js';
import type { PartitionEntries } from '../../cold/slot-reader.js';
import type { ColdTier } from '../../cold/cold-tier.js';
import type { HybridLog } from '../../log/hybrid-log.js';
import { KIND_MASK, KIND_TOMBSTONE, KIND_VALUE, previousOf } from '../../log/record.js';
import type { SegmentFiles } from '../../log/segment-files.js';
import { Slices } from '../../log/slices.js';
import { AffectedKeys } from './affected-keys.js';
import { DamageList, Ranges, type KvDamage, type KvDamageKind } from './damage.js';
import { RangeExtents } from './range-extents.js';
import type { StoreCore } from '../store-core.js';
import { TolerantScan, type LogDamage, type LogVisitor, type ScannedLog } from './tolerant-scan.js';
import { checkSmallFiles, type AddDamage } from './verify-files.js';
import { IndexCheck, type Leads } from './verify-index.js';

export interface KvVerifyOptions {
  /** Ends the run; what was found until then is reported. */
  signal?: AbortSignal;
}

/** What `verify()` read and found. Plain data. */
export interface KvVerifyReport {
  /** Whether everything was read, and nothing is damaged. */
  ok: boolean;
  /** The damages that were found, the first 1,000 of them. */
  damages: KvDamage[];
  /** How many there are. */
  damageCount: number;
  /** Files and bytes of logs that were read, and intact records in them: versions of entries, deletes included. */
  files: number;
  bytes: number;
  records: number;
  /** Milliseconds from start to end, waiting included. */
  tookMs: number;
  /** Whether a signal ended it early. */
  aborted: boolean;
}

/** Questions to the indexes that are under way at the same time. */
const PARALLEL = 64;

/** Milliseconds of work until the event loop turns. */
const SLICE_MS = 2;

/** @throws KvClosedError when the store is closed meanwhile */
export async function verify(core: StoreCore, { signal }: KvVerifyOptions): Promise<KvVerifyReport> {
  const { commits, clock, health } = core.parts;
  const startMs = clock.tick();
  if (!health.failure && !health.full) await commits.flush().catch(ignoreRefusal);
  const run = new Verification(core, signal);
  await run.run();
  const { aborted, bytes, damages, files, records } = run;
  return {
    ok: damages.count === 0 && !aborted,
    damages: damages.listed,
    damageCount: damages.count,
    files,
    bytes,
    records,
    tookMs: clock.tick() - startMs,
    aborted,
  };
}

class Verification {
  readonly damages = new DamageList();
  files = 0;
  bytes = 0;
  records = 0;
  private readonly slices: Slices;
  private readonly check: IndexCheck;
  private readonly affected: AffectedKeys;
  private readonly hotDamage = new Ranges();
  private readonly coldDamage = new Ranges();
  /** Slots of the cold index whose chunk cannot be read. */
  private readonly damagedSlots: number[] = [];
  /** Whether an index leads elsewhere, though all of it can be read. */
  private indexIsWrong = false;
  /** Questions whose answers are not there yet, and the first failure among them. */
  private asked: Promise<void>[] = [];
  private failure: { error: unknown } | undefined;

  constructor(
    private readonly core: StoreCore,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.slices = new Slices(core.parts.clock, SLICE_MS);
    this.check = new IndexCheck(core);
    this.affected = new AffectedKeys(core, this.damages, this.slices);
  }

  get aborted(): boolean {
    return this.signal?.aborted === true;
  }

  async run(): Promise<void> {
    const { cold, device } = this.core.parts;
    if (!device.retains || !cold) return;
    const add: AddDamage = (what, file, position, bytes, message) =>
      this.add(what, file, position, bytes, message);
    this.files += await checkSmallFiles(this.core, this.slices, add, () => this.mayGoOn());
    await this.scan(this.hotLog(), this.hotVisitor());
    await this.scan(this.coldLog(), this.coldVisitor());
    if (this.mayGoOn()) await this.checkColdIndex();
    if (this.mayGoOn()) await this.findKeys();
    // A chunk that cannot be read was made anew above, or will be. An index that is wrong must not come again from a checkpoint. Where a log is damaged as well it would not be built from
    // that, and a salvage learns from the checkpoint what is lost.
    const { listed } = this.damages;
    if (this.indexIsWrong && listed.every(({ what }) => what === 'index' || what === 'hint'))
      this.core.checkpointer?.forget();
  }

  private mayGoOn(): boolean {
    this.core.assertOpen();
    return !this.aborted;
  }

  // ── Logs ──

  private hotLog(): ScannedLog {
    const { commits, log, manifest, segments } = this.core.parts;
    const until = commits.syncedEnd;
    const { begin, beginCommit } = manifest.current.hot;
    return {
      segments,
      begin: () => log.begin,
      beginCommit: begin === log.begin ? beginCommit : undefined,
      until: () => until,
    };
  }

  private coldLog(): ScannedLog {
    const { cold, manifest } = this.core.parts;
    if (!cold) throw new KvReadOnlyError('There is no cold tier.');
    const { log, segments } = cold.log;
    const { begin, beginCommit } = manifest.current.cold;
    let lastBegin = log.begin;
    let until = cold.log.synced.tail;
    return {
      segments,
      begin: () => log.begin,
      beginCommit: begin === log.begin ? beginCommit : undefined,
      until: () => {
        // What was truncated has been copied to the tail before.
        if (log.begin > lastBegin) until = cold.log.synced.tail;
        lastBegin = log.begin;
        return until;
      },
    };
  }

  private async scan(log: ScannedLog, visitor: LogVisitor): Promise<void> {
    this.files += log.segments.numbers().length;
    await new TolerantScan(log, visitor, this.slices).run();
    await this.answered();
  }

  private hotVisitor(): LogVisitor {
    const { log, segments } = this.core.parts;
    const extents = this.extentsOf(segments, this.hotDamage);
    return {
      mayGoOn: () => this.mayGoOn(),
      damaged: (damage) => this.logDamaged(segments, damage, this.hotDamage),
      restarted: () => extents.reset(),
      record: (words, at, address, bytes) => {
        if (!this.take(log, extents, words, at, address, bytes)) return undefined;
        const previous = previousOf(words, at);
        if (previous >= log.begin && this.hotDamage.has(previous))
          this.affected.chainLeadsTo(words, at, previous);
        this.ask(this.check.leadsHot(words, at, address), segments, address);
        return this.asked.length >= PARALLEL ? this.answered() : undefined;
      },
    };
  }

  private coldVisitor(): LogVisitor {
    const { cold } = this.core.parts;
    if (!cold) throw new KvReadOnlyError('There is no cold tier.');
    const { log, segments } = cold.log;
    const extents = this.extentsOf(segments, this.coldDamage);
    return {
      mayGoOn: () => this.mayGoOn(),
      damaged: (damage) => this.logDamaged(segments, damage, this.coldDamage),
      restarted: () => extents.reset(),
      record: (words, at, address, bytes) => {
        if (!this.take(log, extents, words, at, address, bytes)) return undefined;
        this.ask(this.check.leadsCold(cold, words, at, address), segments, address);
        return this.asked.length >= PARALLEL ? this.answered() : undefined;
      },
    };
  }

  /** Counts a record; returns whether an index has to lead to it. */
  private take(
    log: HybridLog,
    extents: RangeExtents,
    words: Int32Array,
    at: number,
    address: LogAddress,
    bytes: number,
  ): boolean {
    if (address < log.begin) {
      extents.reset();
      return false;
    }
    this.bytes += bytes;
    extents.take(words, at, address, bytes);
    if (!isVersion(words, at)) return false;
    this.records++;
    return true;
  }

  private extentsOf(segments: SegmentFiles, damaged: Ranges): RangeExtents {
    return new RangeExtents((words, piece) => {
      if (!damaged.has(piece))
        this.found('extent', segments, piece, 0, 'A piece of a large value is not where its record says');
      this.wait(this.affected.takeSurely(words));
    });
  }

  private logDamaged(segments: SegmentFiles, { what, from, to, padding }: LogDamage, damaged: Ranges): void {
    const message = {
      record: 'Bytes of the log are damaged',
      missing: 'A part of the log is missing',
      order: 'The records of the log are not those that were committed here',
    }[what];
    this.found(what, segments, from, to - from, message);
    if (what !== 'order' && !padding) damaged.add(from, to);
  }

  /** Takes an answer of an index, or waits for it together with others. */
  private ask(answer: Leads | Promise<Leads>, segments: SegmentFiles, address: LogAddress): void {
    if (answer instanceof Promise) this.wait(answer.then((leads) => this.answer(leads, segments, address)));
    else this.answer(answer, segments, address);
  }

  private answer(leads: Leads, segments: SegmentFiles, address: LogAddress): void {
    if (leads !== false) return;
    this.indexIsWrong = true;
    this.found('index', segments, address, 0, 'The index does not lead to a record');
  }

  /** Nobody awaits it now: if it fails, that is told when the answers are. */
  private wait(answer: Promise<void>): void {
    this.asked.push(answer.catch((error: unknown) => void (this.failure ??= { error })));
  }

  private async answered(): Promise<void> {
    await Promise.all(this.asked.splice(0));
    this.slices.restart();
    if (this.failure) throw this.failure.error;
  }

  // ── The cold index ──

  private async checkColdIndex(): Promise<void> {
    const { cold } = this.core.parts;
    if (!cold || cold.log.bytes === 0) return;
    const { directory } = cold.index;
    for (let slot = 0; slot < directory.slots && this.mayGoOn(); slot++) {
      try {
        const entries = cold.index.storedSlot(slot);
        if (entries instanceof Promise) this.wait(this.checkSlotLater(cold, slot, entries));
        else if (entries) this.checkSlot(cold, slot, entries);
      } catch (error) {
        this.slotFailed(slot, error);
      }
      if (this.asked.length >= PARALLEL) await this.answered();
      if (this.slices.over) await this.slices.next();
    }
    await this.answered();
    if (this.damagedSlots.length === 0) return;
    // Only where that fails can keys not be looked up.
    try {
      await this.core.mended();
    } catch (error) {
      this.core.assertOpen();
      if (!(error instanceof KvError)) throw error;
      for (const slot of this.damagedSlots) this.affected.slotIsDamaged(slot);
    }
  }

  private async checkSlotLater(
    cold: ColdTier,
    slot: number,
    later: Promise<PartitionEntries | undefined>,
  ): Promise<void> {
    try {
      const entries = await later;
      if (entries) this.checkSlot(cold, slot, entries);
    } catch (error) {
      this.slotFailed(slot, error);
    }
  }

  private checkSlot(cold: ColdTier, slot: number, entries: PartitionEntries): void {
    const { log, segments } = cold.log;
    this.affected.takeSlot(slot, entries, this.coldDamage);
    for (let i = 0; i < entries.count; i++) {
      const address = entries.addresses[i] as LogAddress;
      if (this.coldDamage.has(address) || address < log.begin) continue;
      this.ask(this.check.leadsToRecord(cold, slot, entries, i), segments, address);
    }
  }

  private slotFailed(slot: number, error: unknown): void {
    const isDamage = error instanceof KvCorruptionError;
    if (!isDamage && !(error instanceof KvDiskError)) throw error;
    const file = isDamage ? error.file : path.basename(error.path);
    const address = isDamage ? error.address : 0;
    // Slots that were split since share their chunk.
    if (!this.damages.find(file, address))
      this.add(
        'index',
        file,
        address,
        0,
        'A chunk of the cold index is damaged; it is made anew from the log',
      );
    this.damagedSlots.push(slot);
  }

  /** Which keys the damages affect: a second time through the logs, and only if there is damage. */
  private async findKeys(): Promise<void> {
    const { affected } = this;
    await affected.takeHotIndex(this.hotDamage);
    if (affected.isWanted) {
      for (const log of [this.hotLog(), this.coldLog()]) {
        const visitor: LogVisitor = {
          mayGoOn: () => this.mayGoOn(),
          damaged: () => undefined,
          record: (words, at) => (isVersion(words, at) ? affected.take(words, at) : undefined),
        };
        await new TolerantScan(log, visitor, this.slices).run();
      }
    }
    await affected.finish();
  }

  private found(
    what: KvDamageKind,
    segments: SegmentFiles,
    address: LogAddress,
    bytes: number,
    message: string,
  ): void {
    this.add(what, segments.nameOf(segments.segmentOf(address)), address, bytes, message);
  }

  private add(what: KvDamageKind, file: string, address: number, bytes: number, message: string): void {
    this.damages.add({ what, file, address, bytes, message });
  }
}

function isVersion(words: Int32Array, at: number): boolean {
  const kind = words[at + 1] & KIND_MASK;
  return kind === KIND_VALUE || kind === KIND_TOMBSTONE;
}

/** What could not be committed is not looked at; that it could not is told elsewhere. */
function ignoreRefusal(error: unknown): void {
  const isRefusal =
    error instanceof KvDiskError || error instanceof KvReadOnlyError || error instanceof KvOverloadedError;
  if (!isRefusal) throw error;
}
