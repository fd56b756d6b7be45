/** Tags as callers name them: their check, and their hashes, by which the store knows them. */
import type { KeyedHash } from '../codec/keyed-hash.js';
import { KvOptionsError, type KvOptionProblem } from '../errors.js';
import { WORDS_PER_TAG } from '../log/attributes.js';
import { MAX_TAG_BYTES, MAX_TAGS } from '../limits.js';
import { highWithin, lowWithin } from './tag-marks.js';

/** @throws KvOptionsError with every problem */
export function checkTags(tags: unknown, most = MAX_TAGS): asserts tags is readonly string[] {
  if (!Array.isArray(tags)) {
    throw new KvOptionsError([{ path: 'tags', problem: "must be a list of texts, such as ['team:7']" }]);
  }
  const problems: KvOptionProblem[] = [];
  if (tags.length > most) problems.push({ path: 'tags', problem: `must be ${most} at the most` });
  tags.forEach((tag: unknown, i) => {
    const fits = typeof tag === 'string' && tag !== '' && Buffer.byteLength(tag) <= MAX_TAG_BYTES;
    if (!fits || !tag.isWellFormed())
      problems.push({ path: `tags[${i}]`, problem: `must be text of 1 to ${MAX_TAG_BYTES} bytes` });
  });
  if (problems.length > 0) throw new KvOptionsError(problems);
}

export class TagHash {
  private readonly words = new Int32Array(MAX_TAG_BYTES / 4 + 1);
  private readonly bytes = Buffer.from(this.words.buffer);

  /** @param keyed is used by nobody else */
  constructor(private readonly keyed: KeyedHash) {}

  /**
   * Hashes of tags, low and high halves in turn.
   * @param space number of the key space within which they are meant; the whole store without one
   */
  hashes(tags: readonly string[], space?: number): Int32Array {
    const { bytes, keyed, words } = this;
    const hashes = new Int32Array(tags.length * WORDS_PER_TAG);
    tags.forEach((tag, i) => {
      const length = bytes.write(tag, 'utf8');
      bytes.fill(0, length, length + 4);
      keyed.hash(words, length);
      hashes[i * WORDS_PER_TAG] = space === undefined ? keyed.low : lowWithin(keyed.low, space);
      hashes[i * WORDS_PER_TAG + 1] = space === undefined ? keyed.high : highWithin(keyed.high, space);
    });
    return hashes;
  }
}
