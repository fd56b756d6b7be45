/**
 * How many bytes a store writes and keeps for those it is given. Written is what the operating system counted for this
 * process (`write_bytes` of /proc/self/io, which also sees what is written by way of a memory map); given are keys and
 * values as JSON. So the same is counted for every peer, and formats that are shorter than JSON can be below 1. What
 * this package counts itself, records with their headers, is beside it: that is what its budgets are about.
 */
import { readFileSync } from 'node:fs';
import { keyOf, valueOf } from '../harness/data.mjs';

/** Key and value of a user as JSON, about: one from the middle. */
export const bytesOfUser = (keys) => keyOf(keys >> 1).length + JSON.stringify(valueOf(keys >> 1, 1)).length;

/** Bytes that this process has caused to be written to storage; `undefined` where the system does not say. */
export function writtenBytes() {
  try {
    return Number(/^write_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);
  } catch {
    return undefined;
  }
}

/** Differences of this package's own counters since it was made. */
export class OwnCounts {
  constructor(store) {
    this.store = store;
    this.before = store.stats?.();
  }

  /** Adds what happened meanwhile to the context's figures, and amplification as it is now. */
  note(context) {
    if (!this.before) return;
    const now = this.store.stats();
    const { reads, writes } = this.before;
    const userBytes = now.writes.userBytes - writes.userBytes;
    if (userBytes > 0)
      context.figure(
        'own count: write amplification',
        (now.writes.deviceBytes - writes.deviceBytes) / userBytes,
      );
    const cold = now.reads.coldHits + now.reads.diskHits - reads.coldHits - reads.diskHits;
    if (cold > 0) {
      context.figure('own count: record reads a cold get', (now.reads.diskReads - reads.diskReads) / cold);
      context.figure('own count: index reads a cold get', (now.reads.indexReads - reads.indexReads) / cold);
    }
  }
}
