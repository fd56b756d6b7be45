import { crc32 } from 'node:zlib';
import { textChecksum } from './text-checksum.js';

describe('textChecksum', () => {
  it.each(['', 'a', '123456789', '{"name":"Ada"}', 'é€😀', 'x'.repeat(10_000), '\ud800'])(
    'is the CRC-32 of %j',
    (text) => {
      expect(textChecksum(text)).toBe(crc32(text).toString(16).padStart(8, '0'));
    },
  );

  it('has eight digits, also where the first are zero', () => {
    const texts = Array.from({ length: 5000 }, (_, i) => String(i));
    const sums = texts.map((text) => textChecksum(text));
    expect(sums.filter((sum) => sum.startsWith('000')).length).toBeGreaterThan(0);
    expect(sums.every((sum) => /^[0-9a-f]{8}$/.test(sum))).toBe(true);
    expect(sums).toEqual(texts.map((text) => crc32(text).toString(16).padStart(8, '0')));
  });
});
