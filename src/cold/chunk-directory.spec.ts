import { SeededRandom } from '../../test/support/seeded-random.js';
import { ChunkDirectory, SlotFilter, WANTED_LOAD } from './chunk-directory.js';
import { PARTITIONS, tagOf } from './hash-chunk.js';

const { clz32 } = Math;

type Hash = [low: number, high: number];

/** A directory, and the hashes whose entries would be in its chunks. */
class Simulated {
  readonly directory = new ChunkDirectory();
  readonly hashes: Hash[] = [];
  /** Of each slot. */
  slots: Hash[][] = [];

  constructor(private readonly random: SeededRandom) {}

  bits(): number {
    return this.random.below(2 ** 32) | 0;
  }

  /** Adds a batch, splits, and sets place and filter of each slot that got something, as a flush does. */
  add(count: number): void {
    const { directory, hashes } = this;
    const from = hashes.length;
    for (let i = 0; i < count; i++) hashes.push([this.bits(), this.bits()]);
    while (directory.growFor(hashes.length));
    this.slots = Array.from({ length: directory.slots }, () => []);
    for (const hash of hashes) this.slots[directory.slotOf(hash[0])].push(hash);
    for (const slot of new Set(hashes.slice(from).map(([low]) => directory.slotOf(low)))) {
      const filter = new SlotFilter();
      for (const hash of this.slots[slot]) filter.add(tagOf(hash[0], hash[1]));
      // The place tells the slot that it was set for.
      directory.set(slot, slot + 1, filter);
    }
  }

  falsePositives(tries: number): number {
    let passed = 0;
    for (let i = 0; i < tries; i++) {
      const low = this.bits();
      if (this.directory.mayHold(this.directory.slotOf(low), tagOf(low, this.bits()))) passed++;
    }
    return passed / tries;
  }
}

/** Tags differ in the bits that filters are made of. */
const TAG_SHIFT = 12;

function filterOf(slot: number): SlotFilter {
  const filter = new SlotFilter();
  filter.add(slot << TAG_SHIFT);
  return filter;
}

// The machine may be busy with other specs.

describe('ChunkDirectory', () => {
  it('splits slots one by one as entries grow, and gives the new one place and filter of the old', () => {
    const directory = new ChunkDirectory();
    expect(directory.slots).toBe(PARTITIONS);
    expect(directory.growFor(PARTITIONS * WANTED_LOAD)).toBe(false);
    for (let slot = 0; slot < PARTITIONS; slot++) directory.set(slot, slot + 1, filterOf(slot));
    const wrong: number[] = [];
    for (let slots = PARTITIONS; slots < PARTITIONS * 5; slots++) {
      const grew = [directory.growFor(slots * WANTED_LOAD), directory.growFor(slots * WANTED_LOAD + 1)];
      if (grew[0] || !grew[1] || directory.slots !== slots + 1) wrong.push(slots);
      if (directory.placeOf(slots) !== (slots % PARTITIONS) + 1) wrong.push(slots);
      if (!directory.mayHold(slots, (slots % PARTITIONS) << TAG_SHIFT)) wrong.push(slots);
    }
    for (let slot = 0; slot < directory.slots; slot++) {
      const width = directory.widthOf(slot);
      if (slot >= 2 ** width) wrong.push(slot);
      // Every hash with the slot's low bits leads to it, whatever its other bits.
      for (const other of [0, -1, 0x5555_5555, 0x3333_3333]) {
        if (directory.slotOf((other << width) | slot) !== slot) wrong.push(slot);
      }
    }
    expect(wrong).toEqual([]);
    // All hashes lead somewhere, once: the widths add up.
    let share = 0;
    for (let slot = 0; slot < directory.slots; slot++) share += 2 ** -directory.widthOf(slot);
    expect(share).toBe(1);
  });

  it('never denies an entry, lets one absent key in a hundred through at worst, and takes 3 bytes an entry, at any load', () => {
    const simulated = new Simulated(new SeededRandom(11));
    const { directory, hashes } = simulated;
    let worst = 0;
    while (hashes.length < 260_000) {
      simulated.add(10_000);
      let denied = 0;
      for (const [low, high] of hashes) {
        if (!directory.mayHold(directory.slotOf(low), tagOf(low, high))) denied++;
      }
      expect(denied).toBe(0);
      worst = Math.max(worst, simulated.falsePositives(20_000));
    }
    expect(worst).toBeLessThan(0.01);
    expect(worst).toBeGreaterThan(0.0005);
    expect(directory.placeBytes / hashes.length).toBeLessThan(0.9);
    expect(directory.filterBytes / hashes.length).toBeLessThan(2.7);
    // Linear hashing: slots that were split have half of what the others have, none much more.
    expect(Math.max(...simulated.slots.map(({ length }) => length))).toBeLessThan(40);
  });

  it('leads to a chunk of the slot itself or of one that it was split from', () => {
    const simulated = new Simulated(new SeededRandom(12));
    const { directory } = simulated;
    while (simulated.hashes.length < 200_000) simulated.add(5000);
    let shared = 0;
    const wrong: number[] = [];
    for (let slot = 0; slot < directory.slots; slot++) {
      const place = directory.placeOf(slot);
      if (place === 0 || place === slot + 1) continue;
      shared++;
      // The one it was split from has a high bit less, and so on.
      let from = slot;
      while (from >= PARTITIONS && from !== place - 1) from %= 2 ** (31 - clz32(from));
      if (from !== place - 1) wrong.push(slot);
    }
    expect(wrong).toEqual([]);
    expect(shared).toBeGreaterThan(100);
  });
});
