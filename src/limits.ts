/** The limits of the store in one place, each with its reason. */

const KIB = 1024;
const MIB = 1024 * KIB;

/** A key this long is a mistake, and keys are compared byte by byte. The record header has 16 bits for it. */
export const MAX_KEY_BYTES = 16 * KIB;

/** A value is encoded, copied and decoded in one turn of the event loop: some 30 ms for as much as this. */
export const MAX_VALUE_BYTES = 64 * MIB;

/** Deeper keys and values overflow the stack of the encoders long before they are useful. */
export const MAX_KEY_DEPTH = 32;
export const MAX_VALUE_DEPTH = 200;

/** Smallest `hot.memory`: 16 pages, index and buffers still fit in it. */
export const MIN_HOT_MEMORY = 8 * MIB;

/** A page bounds the largest record, and a write to disk is one page at the most. */
export const MIN_PAGE_SIZE = 64 * KIB;
export const MAX_PAGE_SIZE = 4 * MIB;

/** Pages the ring never goes below, however large the index grows: one filling, one being written, two to read. */
export const MIN_RING_PAGES = 4;

/** Below this, segments cost more in file handling than they give back on truncation. */
export const MIN_SEGMENT_SIZE = MIB;
export const MAX_SEGMENT_SIZE = 1024 * MIB;

/**
 * How often `update` begins again because the key has changed: of so many asynchronous updates of one key at once, one gets
 * through in each round. One whose function writes the key itself never does, and holds everybody up until it is told.
 */
export const MAX_UPDATE_ATTEMPTS = 10_000;

/** Records read from disk at the same time: each holds a buffer, and the thread pool has 4 threads by default. */
export const MAX_DISK_READS = 256;

/** Namespace numbers take one or two bytes in front of each key; two carry fifteen bits. */
export const MAX_NAMESPACES = 32_767;
export const MAX_NAMESPACE_NAME_BYTES = 512;

/** Each tag of an entry is looked up when the entry is read. */
export const MAX_TAGS = 64;
/** A tag is a name, not content: it is hashed at each write that carries it. */
export const MAX_TAG_BYTES = 512;

/** 48-bit sequence numbers, as the record header has them. */
export const MAX_SEQUENCE = 2 ** 48;

/**
 * Sequence numbers that a commit reserves ahead: numbers handed out after the last commit before a crash are never
 * handed out again.
 */
export const SEQUENCE_RESERVE = 2 ** 28;

/** A TTL beyond this (some 31,000 years) would leave the range that dates can express. */
export const MAX_TTL_MS = 10 ** 15;
