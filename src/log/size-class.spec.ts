import { LARGEST_SIZE_CLASS, readBytesOf, sizeClassOf } from './size-class.js';

describe('size classes', () => {
  it('cover a record with one read, not much larger than needed', () => {
    const wrong: number[] = [];
    for (let bytes = 8; bytes <= 2 ** 20; bytes += bytes < 70_000 ? 8 : 1016) {
      const read = readBytesOf(sizeClassOf(bytes));
      if (read < bytes || read >= 2 * bytes + 128) wrong.push(bytes);
    }
    expect(wrong).toEqual([]);
  });

  it.each([
    [8, 1],
    [128, 1],
    [136, 2],
    [256, 2],
    [264, 3],
    [2 ** 20 - 8, 14],
    [2 ** 20, 14],
  ])('reads a record of %i bytes in class %i', (bytes, sizeClass) => {
    expect(sizeClassOf(bytes)).toBe(sizeClass);
    expect(readBytesOf(sizeClass)).toBeGreaterThanOrEqual(bytes);
  });

  it.each([2 ** 20 + 8, 4 * 2 ** 20, 2 ** 30, 2 ** 31 - 8])(
    'leaves a record of %i bytes to its header',
    (bytes) => {
      expect(sizeClassOf(bytes)).toBe(LARGEST_SIZE_CLASS);
    },
  );
});
