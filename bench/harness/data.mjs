/**
 * What every peer is asked to keep: keys and values, made from an index. Keys and values are made inside the measured
 * loops: a string that is used twice carries its hash, which flatters `Map`. What making them costs is what the empty
 * adapter measures.
 *
 * A data set has `keyOf`, `valueOf(index, version)`, `is(value, index)` (whether an answer is the right one),
 * `change(value)` (that of a read-modify-write), and what adapters have to know about it: `values`, `integerKeys`.
 */

/** 17 characters, new on every call. */
export function keyOf(index) {
  return `user:${String(index).padStart(12, '0')}`;
}

const TAGS = ['red', 'green', 'blue', 'cyan', 'olive', 'black', 'white', 'brown'];

/** An object of about 120 bytes as JSON, new on every call. */
export function valueOf(index, version) {
  return {
    id: index,
    name: `Person ${index}`,
    email: `p${index}@example.com`,
    tags: [TAGS[index & 7], TAGS[(index >>> 3) & 7], TAGS[(index >>> 6) & 7]],
    score: (index % 1000) + version + 0.5,
    active: (index & 1) === 0,
  };
}

/** Users: what most workloads are about. */
export const users = {
  keyOf,
  valueOf,
  is: (value, index) => value !== undefined && value.id === index,
  change: (value) => ({ ...value, score: value.score + 1 }),
  values: 'objects',
  integerKeys: false,
};

/** The record of Jering.KeyValueStore's benchmark: integer keys, and one object for all of them; here with its key in it. */
export const jering = {
  keyOf: (index) => index,
  valueOf: (index) => ({
    dummyString: 'dummyString',
    dummyStringArray: ['dummyString1', 'dummyString2', 'dummyString3', 'dummyString4', 'dummyString5'],
    dummyInt: index,
    dummyIntArray: [10, 100, 1000, 10000, 100000, 1000000, 10000000],
  }),
  is: (value, index) => value !== undefined && value.dummyInt === index,
  values: 'objects',
  integerKeys: true,
};

const BLOB_BYTES = 200;

/** 200 bytes that no compressor makes smaller; the first four are the index. */
export const blobs = {
  keyOf,
  valueOf: (index) => {
    const words = new Int32Array(BLOB_BYTES / 4);
    let state = Math.imul(index + 1, 0x9e3779b1);
    for (let i = 0; i < words.length; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      words[i] = state;
    }
    words[0] = index;
    return Buffer.from(words.buffer);
  },
  is: (value, index) => value?.length === BLOB_BYTES && value.readUInt32LE(0) === index,
  values: 'bytes',
  integerKeys: false,
};
