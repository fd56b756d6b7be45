import { Arena } from './arena.js';

const PIECE = 1024;

function taken(arena: Arena, count: number): Buffer[] {
  return Array.from({ length: count }, () => arena.take());
}

it('hands out pieces of zeros that share no byte', () => {
  const pieces = taken(new Arena(PIECE), 100);
  for (const [i, piece] of pieces.entries()) {
    expect(piece).toHaveLength(PIECE);
    expect(piece.every((byte) => byte === 0)).toBe(true);
    piece.fill(i + 1);
  }
  for (const [i, piece] of pieces.entries()) expect(piece.every((byte) => byte === i + 1)).toBe(true);
});

it('asks for memory some few times, and for no more than twice what it hands out', () => {
  const blocks = new Set(taken(new Arena(PIECE), 1000).map(({ buffer }) => buffer));
  expect(blocks.size).toBeLessThanOrEqual(11);
  expect([...blocks].reduce((sum, { byteLength }) => sum + byteLength, 0)).toBeLessThan(2 * 1024 * PIECE);
});

it('has a bound to what it takes ahead: all that will be asked for, and a share of what there is', () => {
  const bytesOf = (pieces: Buffer[]): number =>
    [...new Set(pieces.map(({ buffer }) => buffer))].reduce((sum, { byteLength }) => sum + byteLength, 0);
  expect(bytesOf(taken(new Arena(PIECE, 10), 9))).toBe(10 * PIECE);
  expect(bytesOf(taken(new Arena(PIECE, 10), 12))).toBe(12 * PIECE);
  expect(bytesOf(taken(new Arena(PIECE, Infinity, 1 / 8), 100))).toBeLessThan(113 * PIECE);
});
