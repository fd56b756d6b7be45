/**
 * Keys that a scan has met, of chains (hashes that agree in their low 28 bits) of which there is more to come: a record of the
 * same key that comes later is an older one. A chain with one entry has no place here, and that is nearly all of them.
 */
import { keyLengthOf } from '../log/record.js';
import { keyStart } from '../log/record-key.js';
import type { RecordRef } from './read-path.js';

/** What a key takes beside its characters, about. */
const KEY_BYTES = 120;

interface Chain {
  keys: string[];
  /** Something of it was truncated before it was visited. */
  isMoved: boolean;
}

export class MetKeys {
  private readonly chains = new Map<number, Chain>();
  private bytes = 0;
  private mostBytes = 0;

  has(chain: number): boolean {
    return this.chains.has(chain);
  }

  /**
   * Whether the key of a record was not met before.
   * @param more whether anything of the chain is still to come, for which the key is kept
   */
  isFirst(chain: number, record: RecordRef, more: boolean): boolean {
    const known = this.chains.get(chain);
    if (!known && !more) return true;
    const name = nameOf(record);
    if (known?.keys.includes(name)) return false;
    if (!more) return true;
    (known ?? this.add(chain)).keys.push(name);
    this.bytes += name.length + KEY_BYTES;
    if (this.bytes > this.mostBytes) this.mostBytes = this.bytes;
    return true;
  }

  /** Nothing of a chain is to come. If it has moved, there is: it is gathered anew. */
  end(chain: number): void {
    const known = this.chains.get(chain);
    if (!known || known.isMoved) return;
    for (const { length } of known.keys) this.bytes -= length + KEY_BYTES;
    this.chains.delete(chain);
  }

  /** What is left of a chain is not where it was. @returns whether that was known */
  move(chain: number): boolean {
    const known = this.chains.get(chain) ?? this.add(chain);
    const { isMoved } = known;
    known.isMoved = true;
    return isMoved;
  }

  hasMoved(chain: number): boolean {
    return this.chains.get(chain)?.isMoved ?? false;
  }

  /** Those that moved are about to be gathered anew; of the others nothing is to come. */
  beginAnew(): void {
    for (const [chain, known] of this.chains) {
      if (known.isMoved) known.isMoved = false;
      else this.end(chain);
    }
  }

  /** Most bytes that it had since the last call. */
  takeMost(): number {
    const { mostBytes } = this;
    this.mostBytes = this.bytes;
    return mostBytes;
  }

  private add(chain: number): Chain {
    const known = { keys: [], isMoved: false };
    this.chains.set(chain, known);
    return known;
  }
}

function nameOf({ bytes, words, at }: RecordRef): string {
  const start = keyStart(words, at) * 4;
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, keyLengthOf(words, at)).toString('latin1');
}
