/**
 * What the checkpoint of a damaged store knows of the places that are damaged: hashes of the keys whose newest record lay
 * there. Without it every key might have had a newer version in a damaged place; with it only those with such a hash.
 *
 * A checkpoint has all of both indexes as of a commit of each log. What lies behind these is not covered. The cold index
 * is read from its chunks as they lie in their files: nothing is opened that might change them.
 */
import { ChunkLog } from '../../cold/chunk-log.js';
import type { ColdIndexImage } from '../../cold/cold-index.js';
import { addressOf, ChunkView, EntryList, tagOf } from '../../cold/hash-chunk.js';
import { addOwn } from '../../cold/index-merge.js';
import { PendingEntries } from '../../cold/pending-entries.js';
import type { Device } from '../../device/device.js';
import { CHAIN_MASK } from '../../hot/bucket-store.js';
import { PARTITIONS } from '../../hot/hash-index.js';
import { isIntact, KIND_CHUNK, KIND_MASK } from '../../log/record.js';
import { SegmentFiles } from '../../log/segment-files.js';
import type { Ranges } from './damage.js';
import type { Manifest } from '../manifest.js';
import { type CheckpointImage } from '../open-checkpoint.js';
import type { SpacesState } from '../spaces.js';
import type { LogDamage } from './tolerant-scan.js';

/** Longest chunk that is read: a slot has six entries on average, and a page is the most there can be. */
const CHUNK_BYTES = 256 * 1024;
const FIRST_READ_BYTES = 512;

/** A place in damage that an index leads to. */
export interface DamagedPlace {
  log: 'hot' | 'cold';
  address: number;
  /** Whether some intact record, or what can be read there, has told a key for it. */
  named: boolean;
}

export class Evidence {
  /** Damage below is covered. */
  hotEnd = 0;
  coldEnd = 0;
  spaces: SpacesState | undefined;
  private readonly chains = new Map<number, DamagedPlace>();
  private readonly hashes = new Map<number, DamagedPlace>();

  get places(): DamagedPlace[] {
    return [...this.chains.values(), ...this.hashes.values()];
  }

  /** A record of the hot log says that its chain goes on in a damaged place. */
  addChain(chain: number, address: number): void {
    const known = this.chains.get(chain);
    if (known && known.address >= address) return;
    this.chains.set(chain, { log: 'hot', address, named: false });
  }

  addHash(hash: number, address: number): void {
    const known = this.hashes.get(hash);
    if (known && known.address >= address) return;
    this.hashes.set(hash, { log: 'cold', address, named: false });
  }

  /** The damaged place where a newer record of this hash may have been than the one at `address`. */
  newerThan(log: 'hot' | 'cold', address: number, low: number, high: number): DamagedPlace | undefined {
    const hot = this.chains.get(low & CHAIN_MASK);
    if (hot && (log === 'cold' || hot.address > address)) return hot;
    const cold = log === 'cold' ? this.hashes.get(hashOf(low, high)) : undefined;
    return cold && cold.address > address ? cold : undefined;
  }

  /** The damaged place at an address, if a key of this hash may have been there. */
  placeAt(log: 'hot' | 'cold', address: number, low: number, high: number): DamagedPlace | undefined {
    const place = log === 'hot' ? this.chains.get(low & CHAIN_MASK) : this.hashes.get(hashOf(low, high));
    return place?.address === address ? place : undefined;
  }
}

function hashOf(low: number, high: number): number {
  return (low & (PARTITIONS - 1)) + (tagOf(low, high) >>> 0) * PARTITIONS;
}

/** What the checkpoint tells. */
export async function readEvidence(
  device: Device,
  manifest: Manifest,
  opened: CheckpointImage | undefined,
  hotDamage: Ranges,
  coldDamage: Ranges,
): Promise<Evidence> {
  const evidence = new Evidence();
  if (!opened) return evidence;
  const { state } = opened.checkpoint;
  evidence.hotEnd = state.hot.end;
  evidence.spaces = state.spaces;
  for (let partition = 0; partition < PARTITIONS; partition++) {
    opened.index.partition(partition, (address, _, chain) => {
      if (hotDamage.has(address)) evidence.addChain(chain, address);
    });
  }
  if (!coldDamage.isEmpty && (await readColdIndex(device, manifest, opened, coldDamage, evidence)))
    evidence.coldEnd = state.cold.end;
  return evidence;
}

/** Resolves to whether all of the index could be read. */
async function readColdIndex(
  device: Device,
  { cold }: Manifest,
  { coldIndex }: CheckpointImage,
  damage: Ranges,
  evidence: Evidence,
): Promise<boolean> {
  const segments = new SegmentFiles(device, ChunkLog.logName, cold.segmentSize, cold.salt);
  try {
    const pending = new PendingEntries(coldIndex.pending.length);
    pending.restore(coldIndex.pending);
    const { directory } = coldIndex;
    for (let slot = 0; slot < directory.slots; slot++) {
      const list = new EntryList();
      const width = directory.widthOf(slot);
      pending.gather(slot, width, cold.begin, list);
      const chunk = await readChunk(segments, coldIndex, slot);
      if (chunk) addOwn(list, chunk, slot, width, cold.begin);
      else if (directory.placeOf(slot) !== 0) return false;
      for (let i = 0; i < list.count; i++) {
        const address = addressOf(list.lows[i], list.highs[i]);
        // Only the newest of a hash counts, and it comes first.
        if (!damage.has(address) || list.tags.indexOf(list.tags[i]) < i) continue;
        evidence.addHash((slot & (PARTITIONS - 1)) + (list.tags[i] >>> 0) * PARTITIONS, address);
      }
    }
    return true;
  } finally {
    segments.close();
  }
}

async function readChunk(
  segments: SegmentFiles,
  { directory, shape }: ColdIndexImage,
  slot: number,
): Promise<ChunkView | undefined> {
  const place = directory.placeOf(slot);
  if (place === 0) return undefined;
  const address = ChunkLog.addressOf(place, shape.chunks.begin);
  for (const length of [FIRST_READ_BYTES, CHUNK_BYTES]) {
    const words = new Int32Array(length / 4);
    let available: number;
    try {
      available = await segments.read(address, new Uint8Array(words.buffer), length);
    } catch {
      return undefined;
    }
    if (!isIntact(words, 0, available, address, segments.salt)) continue;
    return (words[1] & KIND_MASK) === KIND_CHUNK ? new ChunkView().setRecord(words, 0) : undefined;
  }
  return undefined;
}

/**
 * Where damage ends that no checkpoint tells of: whatever is older may have had a newer version there. A checkpoint knows
 * nothing of records that are intact and yet not the right ones, nor how far a log went on whose end is missing.
 * @param end where the log ends, as far as anything tells
 */
export function uncoveredEnd(damages: readonly LogDamage[], covered: number, end: number): number {
  let uncovered = 0;
  for (const { what, from, to, padding } of damages) {
    if (padding) continue;
    const isOpen = what === 'order' || from === to || (what === 'missing' && to >= end);
    if (isOpen || to > covered) uncovered = Math.max(uncovered, to);
  }
  return uncovered;
}
