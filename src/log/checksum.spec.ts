/** XXH32 against the reference implementation, whose answers (xxhash-wasm 1.1.0) are pasted here. */
import { xxh32 } from './checksum.js';

/** Seed, and the hashes of the first 0, 1, ... 64 words of `sample`. */
const vectors: [seed: number, hashes: string][] = [
  [
    0x00000000,
    `02cc5d05 2e096a2d 74eab33b 3d29810b d5b6b521 d5d08140 59dfa4da 60cb7741 c8ffce67 d9ab7953 80c30853
     c758e4d7 dc7d9adb d5b46e51 29b0169b 1724ab46 9474db93 80d04d71 5447c035 b0abb88c c7d7f2db f8ccd0d0
     32e87796 31ed5a11 0d4a1d4a 6d4507f9 7a0e1e39 5a8904bc 0fcea166 7b5d4a31 2d9b39ff 80866e72 368e4406
     7ecddf69 8faa3179 79615f67 46021de2 cd1417e0 195ba393 6f321f55 84d27a45 09de744a c3c39f62 6f5ba356
     3f0652eb bffa375c bbf9c42f b0c39974 7f7499f2 c9425471 ca5c94a1 cc1d7acc dea1065d 968fed52 d58f2ee6
     8321ace7 a5232da7 dcb97074 6537f464 a418e2ae 7abda546 68291a31 58167820 e28f24d6 6bd5e2aa`,
  ],
  [
    0x00000001,
    `0b2cb792 5ee2fcc1 3d1b19a9 ab7ce5cc 623400c1 a0585f69 f0f78a96 d23952d3 274cfcad 0bc33b9f 995d15da
     eaab66d7 c52eff54 c4a75714 97641aba 44e2540d de174c4c 3c8c6b79 52d83ca4 030adc07 7db28745 bb9c4959
     9cdc3053 0f5f93ed 8881e862 b9eb8ad4 89100841 d6888c06 51ce6e5d b2c61e5c c1fb5dd9 cdcbaac3 34b86c22
     c04725eb fb3ed65a 76c9623c 782e8952 80ae5b72 b2d86753 3e16ef15 f77e9ec0 10ef50c6 a4f5ce79 ba388848
     3063aa4d e06b76ee 55aabd20 1b88eaa8 38b90054 112fa1a6 108505f7 917edc59 30a999cb b3ffa71b fbd40f04
     be446f2d cb38d6fc f9c219a7 00f30e7a dfe541fb 20e39c04 b567a1d3 12e0273d 584d1a37 aaadf255`,
  ],
  [
    0x9e3779b1,
    `36b78ae7 68aadd54 fc676a26 a009d348 11957635 4483831e a2cb833c 5ec02f85 01cf1346 9b6ff060 be051932
     64b48fe7 1192902d 85a521bc 954c2edc 0e87f952 110334d1 9af2c292 cbc6d776 383246a2 697cc96e 81dc1668
     555095e2 d7f7cc22 c11a0ebc 80cffe84 df54b553 8d701129 2a0ad4ea 7eed2631 f8cadd87 955a62c7 93e38bdc
     226e8ec0 02189a03 4f5c9cfd 970fe964 7050b6ce a814e211 755ea8da 98cf3dc6 fc6e0945 072c1a3c 604e7092
     9f22af02 c073b4d9 0320af1f fffe61c1 379ae148 6f4791cd 87b4241b 6a0929dd cb7bb839 e36eaba5 7e8e3410
     a8d0bbc6 a7a685aa 454ee208 fc7909ee 5ebfe50e 8e2a53a9 7b83a5c1 0386aa7f 87ec8e36 56632e74`,
  ],
  [
    0x80000000,
    `33c11430 67845fb5 dbd273e3 44e1182e 380b4204 be397901 e4c74e6d 52b457fb 7259b0ff 67f34c09 3ce0d612
     c59bfb0c 43d87709 61f29999 3757a7d5 04316d64 d5abf274 89581ca9 88cfab41 8750b0b6 398f5df1 138dd313
     5afb45de 220b11e0 4d850449 eab670ff d431d6ab e41b9aba ea329e6a 03ded18a df8cd8b0 a9bdee5b 42fc1a39
     2ec4b0a7 7580e167 69e36f0d b8dceca7 d0b8b541 95d799fc edff471c 5bc781f2 81eea37c 33fca137 773c520f
     6e6954a8 1662a12d 914a6c88 48fd54a0 37503d33 d020f2ec c0c35ed3 786fd56f e15ae536 c1315f95 8a6f6e18
     7b0f5422 523eff12 75b1bee1 68936de2 f61a6318 fed25e27 47226add cb0f7bbd de63a578 109f3c66`,
  ],
  [
    0xffffffff,
    `9061da9d b699cbc5 2df3f94a 32b8cb81 3af2c9bf 5a84ba04 94d57177 17694754 eaa2bc89 33f5af72 50ea004d
     b5a72f1d bf77e96f 2cd86a48 c2189a0d 3a10b876 e2ab8ba1 1c3cb199 4d0fcb49 04b3035a 6b1f7994 550bd5ac
     d0583d02 84ac06f5 283fad86 4c3d34ac 87a4be59 dbd9497c 1d8aaf06 70dca368 920448b2 d50f5c75 bd8855cf
     49a37607 e692e071 3689acd7 777e1580 4b25855c 6af23287 efe5ec68 aed5994e 17a0adc4 4989dfdb 91466e69
     4826f52c a00d7754 07e739be 62d001db b1b061cd 2909eb15 bd6e93df d2433d12 d85beca9 b3e541a8 c720f6cc
     d6876043 bbe6309e 32341b70 ed0f9e05 63358dee 80de090c 56f11e8d 952b9df0 9c2bce78 7fe0fc0c`,
  ],
];

/** 64 words of a linear congruential generator, high bits and low, so that signs matter. */
function sample(): Int32Array {
  const words = new Int32Array(64);
  let word = 1;
  for (let i = 0; i < words.length; i++) {
    word = (Math.imul(word, 1664525) + 1013904223) | 0;
    words[i] = word;
  }
  return words;
}

describe('xxh32', () => {
  it.each(vectors)('agrees with the reference for 0 to 64 words with seed %i', (seed, hashes) => {
    const words = sample();
    const expected = hashes.split(/\s+/).map((hash) => Number.parseInt(hash, 16));
    expect(expected).toHaveLength(65);
    expect(expected.map((_, length) => xxh32(words, 0, length, seed))).toEqual(expected);
  });

  it('takes a seed as signed or unsigned 32 bits', () => {
    const words = sample();
    for (const [seed] of vectors) {
      for (const length of [0, 3, 4, 64]) {
        expect(xxh32(words, 0, length, seed | 0)).toBe(xxh32(words, 0, length, seed));
      }
    }
  });

  it('looks at no word outside of its range', () => {
    const words = sample();
    for (const length of [0, 1, 3, 4, 5, 9, 40]) {
      const shifted = new Int32Array(64).fill(-1);
      shifted.set(words.subarray(0, length), 7);
      expect(xxh32(shifted, 7, 7 + length, 99)).toBe(xxh32(words, 0, length, 99));
    }
  });
});
