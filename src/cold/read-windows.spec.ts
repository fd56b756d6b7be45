import { MemoryDevice } from '../device/memory-device.js';
import type { LogAddress } from '../log/address.js';
import { checksumOf, KIND_CHUNK, writeHeader } from '../log/record.js';
import { SegmentFiles } from '../log/segment-files.js';
import { ReadWindows } from './read-windows.js';

const SEGMENT = 64 * 1024;
const RECORD = 104;
const SALT = 9;
const WINDOW = 16 * 1024;

/** A log of records of 104 bytes, back to back. */
function logOf(records: number): { segments: SegmentFiles; at: (index: number) => LogAddress } {
  const segments = new SegmentFiles(new MemoryDevice(2 ** 24), 'index', SEGMENT, SALT);
  const at = (index: number): LogAddress => (index * RECORD) as LogAddress;
  for (let i = 0; i < records; i++) {
    const words = new Int32Array(RECORD >> 2);
    writeHeader(words, 0, KIND_CHUNK, 0, 0, RECORD - 24, i, 0 as LogAddress);
    words[0] = checksumOf(words, 0, at(i), SALT);
    segments.writeSync(at(i), new Uint8Array(words.buffer), 0, RECORD);
  }
  return { segments, at };
}

describe('ReadWindows', () => {
  it('has what lies behind a record that was read, as far as it is whole', () => {
    const { segments, at } = logOf(400);
    const windows = new ReadWindows(segments);
    expect(windows.find(at(3))).toBe(false);
    expect(windows.read(at(3))).toBe(WINDOW);
    expect(windows.words[windows.at + 3]).toBe(3);
    const whole = Math.floor(WINDOW / RECORD);
    for (let i = 3; i < 3 + whole; i++) {
      expect(windows.find(at(i))).toBe(true);
      expect(windows.words[windows.at + 3]).toBe(i);
    }
    expect([windows.find(at(2)), windows.find(at(3 + whole))]).toEqual([false, false]);
    // No more than asked for, or than there is.
    expect(windows.read(at(260), 512)).toBe(512);
    expect([windows.find(at(263)), windows.find(at(264))]).toEqual([true, false]);
    expect(windows.read(at(398))).toBe(2 * RECORD);
    expect([windows.find(at(399)), windows.find(at(400))]).toEqual([true, false]);
  });

  it('does not take damaged bytes for a record', () => {
    const { segments, at } = logOf(10);
    segments.writeSync((at(5) + 40) as LogAddress, new Uint8Array([1]), 0, 1);
    const windows = new ReadWindows(segments);
    windows.read(at(0));
    expect([4, 5, 6].map((i) => windows.find(at(i)))).toEqual([true, false, true]);
  });

  it('follows 16 rows at once, and gives up the one that was not used for longest', () => {
    const { segments, at } = logOf(600);
    const windows = new ReadWindows(segments);
    for (let row = 0; row < 16; row++) windows.read(at(row * 35), 512);
    expect(windows.memoryBytes).toBe(16 * WINDOW);
    for (let row = 0; row < 16; row++) expect(windows.find(at(row * 35 + 1))).toBe(true);
    windows.find(at(0));
    windows.read(at(590), 512);
    // The second had not been used for longest.
    expect([0, 35, 70].map((index) => windows.find(at(index)))).toEqual([true, false, true]);
    expect(windows.memoryBytes).toBe(16 * WINDOW);
  });

  it('is none the worse for a read that failed', () => {
    const { segments, at } = logOf(10);
    const windows = new ReadWindows(segments);
    windows.read(at(0));
    expect(() => windows.read(SEGMENT as LogAddress)).toThrow();
    expect(windows.find(at(1))).toBe(true);
    expect(windows.find(SEGMENT as LogAddress)).toBe(false);
  });
});
