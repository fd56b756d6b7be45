/**
 * What ends entries in one step, however many there are: a mark in the hot log, with a version, by which everything older
 * is dead: all of a key space, or of the store, or what carries a tag. Whether a record is covered by a mark tells
 * `Space.isValid`; when a mark may go is the business of compaction.
 */
import { WORDS_PER_TAG } from '../log/attributes.js';
import { KIND_CLEAR, recordBytes } from '../log/record.js';
import type { StoreCore } from './store-core.js';
import { checkTags } from './tags.js';

/**
 * Ends every entry of a key space.
 * @param id its number; `undefined` for all of them
 * @throws KvClosedError, KvReadOnlyError, KvDiskError, KvOverloadedError
 */
export async function clearSpace(core: StoreCore, id: number | undefined): Promise<void> {
  core.assertRemovable(true);
  core.stamp++;
  const { cold, spaces } = core.parts;
  const version = core.writes.clear(markOf(id));
  if (cold) cold.died(id === undefined ? cold.log.bytes : spaces.get(id).keys * cold.meanBytes);
  spaces.clear(id, version);
  await core.acknowledge();
  await core.giveBack(true);
}

/**
 * Ends every entry with one of the tags; their marks are written together.
 * @param space number of the key space that it holds for; `undefined` for all of them
 * @throws KvOptionsError, KvClosedError, KvReadOnlyError, KvDiskError, KvOverloadedError
 */
export async function invalidateTags(
  core: StoreCore,
  tags: readonly string[],
  space: number | undefined,
): Promise<void> {
  core.assertRemovable(true);
  checkTags(tags, Infinity);
  if (tags.length === 0) return;
  core.stamp++;
  const hashes = core.tagHash.hashes(tags, space);
  const sizes = tags.map(() => recordBytes(KIND_CLEAR, WORDS_PER_TAG * 4, 0));
  const { log, spaces } = core.parts;
  log.appendTogether(sizes, () => {
    for (let i = 0; i < hashes.length; i += WORDS_PER_TAG) {
      const hash = hashes.subarray(i, i + WORDS_PER_TAG);
      spaces.tags.mark(hash[0], hash[1], core.writes.invalidate(hash), log.tail);
    }
  });
  await core.acknowledge();
  await core.giveBack(true);
}

/** The key of a clear mark: a namespace's number as keys begin with it, nothing for the whole store. */
function markOf(id: number | undefined): Uint8Array {
  if (id === undefined) return new Uint8Array(0);
  return id < 0x80 ? Uint8Array.of(id) : Uint8Array.of(0x80 | (id >>> 8), id & 0xff);
}
