/** Keys for fast-check: small, so that two of them often are alike, with all that has a meaning in the encoding. */
import fc from 'fast-check';
import { type KvKey } from '../../src/codec/key-codec.js';

export const textKey = fc.string({
  unit: fc.constantFrom('a', 'b', '\0', 'ÿ', 'é', '€', '\ud83d', '\ude00', '😀'),
  maxLength: 4,
});

export const bytesKey = fc
  .array(fc.constantFrom(0, 1, 0x10, 0xfe, 0xff), { maxLength: 4 })
  .map((array) => Uint8Array.from(array));

const scalarKey: fc.Arbitrary<KvKey> = fc.oneof(
  textKey,
  bytesKey,
  fc.boolean(),
  fc.constantFrom(0, -0, 1, -1, 0.5, NaN, Infinity, -Infinity, 5e-324, 2 ** 53),
  fc.constantFrom(0n, 1n, -1n, 255n, 256n, -255n, -256n, -257n, 2n ** 64n),
);

/** Names that sort differently by code unit and by code point, by number and by text, and one that sets a prototype. */
const fieldName = fc.constantFrom('a', 'b', 'ab', '\0', '', '9', '10', '\uffff', '😀', '\ud83d', '__proto__');

export const anyKey = fc.letrec<{ key: KvKey }>((tie) => ({
  key: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    scalarKey,
    fc.array(tie('key'), { maxLength: 3 }),
    fc.dictionary(fieldName, tie('key'), { maxKeys: 3 }),
  ),
})).key;
