/**
 * Makes chunks of the cold index anew that cannot be read. The index is derived from the cold log, so nothing is lost as
 * long as that is intact: all chunks are looked at, and those that are damaged are gathered again from the records of the
 * log, by one way through it. Look-ups that need one of them wait (`ReadPath.load`), all others go on.
 *
 * Nothing may be appended to the cold log meanwhile: it runs between two compactions, or within one between two portions.
 * Where the cold log is damaged as well it ends with that error, and so do the look-ups: an index without what lay in the
 * damaged place would lead to older values.
 */
import type { ColdTier } from '../cold/cold-tier.js';
import type { KeyedHash } from '../codec/keyed-hash.js';
import type { EnvClock } from '../device/env.js';
import { KvClosedError, KvCorruptionError } from '../errors.js';
import { LogCursor } from '../log/log-cursor.js';
import { keyStart } from '../log/record-key.js';
import { FLAG_EXTENTS, keyLengthOf, KIND_MASK, KIND_TOMBSTONE, KIND_VALUE } from '../log/record.js';
import { LARGEST_SIZE_CLASS, sizeClassOf } from '../log/size-class.js';
import { Slices } from '../log/slices.js';

/** After an attempt that met damage, whoever asks within this time gets its error: each reads the log as far as it can. */
const RETRY_MS = 10_000;

export interface IndexMenderParts {
  cold: ColdTier;
  /** Its own. */
  hash: KeyedHash;
  clock: EnvClock;
  sliceMs: number;
  /** @throws KvClosedError */
  assertOpen: () => void;
  /** Calls back when nothing can be appended to the cold log, and all of it is committed. */
  alone: (work: () => Promise<void>) => Promise<void>;
  /** Told of what was damaged, also if it could be mended: it is the disk that has failed. */
  onError: (error: Error) => void;
  onMended: (damage: KvCorruptionError) => void;
}

export class IndexMender {
  /** Slots of the index whose chunk was made anew. */
  mendedSlots = 0;
  private waiting: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  private asked: Promise<void> | undefined;
  private failure: { error: unknown; untilMs: number } | undefined;
  private readonly slices: Slices;

  constructor(private readonly parts: IndexMenderParts) {
    this.slices = new Slices(parts.clock, parts.sliceMs);
  }

  /** Milliseconds of the event loop that mending has taken, in slices. */
  get workedMs(): number {
    return this.slices.workedMs;
  }

  /**
   * Resolves once the damage is mended that was met until now.
   * @throws KvCorruptionError when the cold log is damaged as well
   * @throws KvClosedError, KvDiskError, KvReadOnlyError
   */
  mended(): Promise<void> {
    if (!this.parts.cold.index.damage) return Promise.resolve();
    const answer = new Promise<void>((resolve, reject) => this.waiting.push({ resolve, reject }));
    this.asked ??= this.parts
      .alone(() => this.run())
      // Where it did not come to `run`; who waits is told.
      .catch((error: unknown) => this.answer((one) => one.reject(error)))
      .finally(() => (this.asked = undefined));
    return answer;
  }

  /**
   * The same at once, for whoever has the cold log alone.
   * @throws as `mended`
   */
  async run(): Promise<void> {
    const { clock, cold, onError } = this.parts;
    const { failure } = this;
    try {
      if (cold.index.damage && failure && clock.tick() < failure.untilMs) throw failure.error;
      if (cold.index.damage) await this.mend();
      this.failure = undefined;
      this.answer((one) => one.resolve());
    } catch (error) {
      this.answer((one) => one.reject(error));
      if (error !== failure?.error) {
        // A disk that could not be read may answer now; damage stays.
        this.failure = { error, untilMs: error instanceof KvCorruptionError ? clock.tick() + RETRY_MS : 0 };
        if (!(error instanceof KvClosedError)) onError(error as Error);
      }
      throw error;
    }
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.asked;
  }

  private answer(how: (one: { resolve: () => void; reject: (error: unknown) => void }) => void): void {
    for (const one of this.waiting.splice(0)) how(one);
  }

  private async mend(): Promise<void> {
    const { slices } = this;
    const { assertOpen, cold, onError, onMended } = this.parts;
    const { damage, lost } = cold.index;
    assertOpen();
    slices.restart();
    await lost.beginMending(slices, assertOpen);
    const { count } = lost;
    if (count > 0) await this.gather();
    lost.endMending();
    this.mendedSlots += count;
    if (!damage || count === 0) return;
    onMended(damage);
    const remedy = 'It was made anew from the cold log, and nothing is lost. Look at the disk.';
    onError(
      new KvCorruptionError('A part of the cold index was damaged', damage.file, damage.address, { remedy }),
    );
  }

  /** Enters the records again whose slots are lost. */
  private async gather(): Promise<void> {
    const { slices } = this;
    const { assertOpen, cold, hash } = this.parts;
    const { index } = cold;
    const { lost } = index;
    const { log, segments, synced } = cold.log;
    const cursor = new LogCursor(segments, log.begin, synced.tail);
    while (await cursor.load()) {
      slices.restart();
      while (cursor.next()) {
        const { address, at, bytes, words } = cursor;
        const kind = words[at + 1] & KIND_MASK;
        if (kind !== KIND_VALUE && kind !== KIND_TOMBSTONE) continue;
        hash.hash(words, keyLengthOf(words, at), keyStart(words, at));
        const { low, high } = hash;
        if (lost.wants(low)) {
          const isLarge = (words[at + 1] & FLAG_EXTENTS) !== 0;
          lost.putAgain(low, high, address, isLarge ? LARGEST_SIZE_CLASS : sizeClassOf(bytes));
          if (index.full) await index.flush(slices);
        }
        if (!slices.over) continue;
        await slices.next();
        assertOpen();
      }
      assertOpen();
    }
  }
}
