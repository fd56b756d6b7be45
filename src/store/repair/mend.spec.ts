import { textChecksum } from '../text-checksum.js';
import { mended, readDictionary } from './mend.js';

const lineOf = (entry: object): string => `${textChecksum(JSON.stringify(entry))} ${JSON.stringify(entry)}\n`;

const LINES = [
  { structure: ['field', 'list'], number: 1 },
  { namespace: 'n', number: 1 },
  { structure: ['other'], number: 2 },
  { namespace: 'cleared', number: 2 },
  { structure: ['now'], number: 3 },
].map(lineOf);

const read = (...lines: string[]) => readDictionary(Buffer.from(lines.join('')));

describe('readDictionary', () => {
  it('reads one that is intact', () => {
    expect(read(...LINES)).toEqual({
      namespaces: ['n', 'cleared'],
      structures: [['field', 'list'], ['other'], ['now']],
      entries: 5,
      damagedAt: -1,
      end: LINES.join('').length,
    });
    expect(read()).toEqual({ namespaces: [], structures: [], entries: 0, damagedAt: -1, end: 0 });
  });

  it('leaves all others their numbers when lines are lost, whatever is in their place', () => {
    const [first, second, third, fourth, last] = LINES;
    for (const rubbish of ['', 'rubbish', 'rubbish\n', '\n\n\n', `${first.slice(0, 30)}`, first, last]) {
      const found = read(first, rubbish, fourth, last);
      expect(found.namespaces).toEqual([undefined, 'cleared']);
      expect(found.structures).toEqual([['field', 'list'], undefined, ['now']]);
      expect(found.entries).toBe(3);
      expect(found.damagedAt).toBe(first.length);
    }
    // They may even lie in another order.
    const found = read(last, fourth, third, second, first);
    expect(found).toMatchObject({ namespaces: ['n', 'cleared'], entries: 5, damagedAt: 0 });
  });

  it('believes neither of two entries with one number', () => {
    const found = read(...LINES, lineOf({ namespace: 'of another store', number: 2 }));
    expect(found).toMatchObject({ namespaces: ['n'], entries: 4 });
  });

  it('tells a torn end from damage', () => {
    const whole = LINES.join('').length;
    const found = read(...LINES, LINES[0].slice(0, 20));
    expect(found).toMatchObject({ entries: 5, damagedAt: whole, end: whole });
  });

  it('turns back any one wrong bit', () => {
    const bytes = Buffer.from(LINES.join(''));
    const intact = readDictionary(bytes);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      bytes[bit >> 3] ^= 1 << (bit & 7);
      const { damagedAt, ...found } = readDictionary(bytes);
      expect({ ...found, damagedAt: -1 }).toEqual(intact);
      // The space behind the checksum says nothing.
      if (LINES.join('')[bit >> 3] !== ' ') expect(damagedAt).toBeGreaterThanOrEqual(0);
      bytes[bit >> 3] ^= 1 << (bit & 7);
    }
  });
});

describe('mended', () => {
  it('finds nothing in bytes that are long, or have two wrong bits', () => {
    const line = Buffer.from(LINES[0]);
    const isIt = (bytes: Buffer) => (bytes.equals(line) ? true : undefined);
    const damaged = Buffer.from(line);
    damaged[3] ^= 1;
    expect(mended(damaged, isIt)).toBe(true);
    damaged[4] ^= 1;
    expect(mended(damaged, isIt)).toBeUndefined();
    expect(mended(Buffer.alloc(17 * 1024), (bytes) => (bytes[0] ? true : undefined))).toBeUndefined();
  });
});
