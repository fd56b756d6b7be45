/**
 * Writes a checkpoint out for people: what its blocks hold (the words that are not 0), its table, its footer. Reads the
 * layout from `docs/format.md`, not from `src/`, so that a change of the code alone shows up.
 */
import { crc32 } from 'node:zlib';
import { line } from './dump-log.js';

const FOOTER_BYTES = 16;

type Place = [checkpoint: number, position: number, length: number, checksum: number];

interface Table {
  storeId: string;
  state: Record<string, unknown>;
  sections: Record<string, Place[]>;
}

/** @param number of the checkpoint */
export function dumpCheckpoint(file: Buffer, number: number): string {
  const footer = file.length - FOOTER_BYTES;
  const tableAt = footer - file.readUInt32LE(footer);
  const { storeId, state, sections } = JSON.parse(file.toString('utf8', tableAt, footer)) as Table;
  const lines: string[] = [];
  let end = 0;
  for (const [section, places] of Object.entries(sections)) {
    for (const [i, [owner, position, length, checksum]] of places.entries()) {
      const where = owner === number ? `at ${position}` : `in checkpoint ${owner} at ${position}`;
      lines.push(`${section} ${i}: ${length} bytes ${where}, CRC-32 ${checksum.toString(16)}`);
      if (owner !== number) continue;
      const block = file.subarray(position, position + length);
      if (crc32(block) !== checksum) lines.push('  another CRC-32');
      end += length;
      for (let at = 0; at < length; at += 4)
        if (block.readUInt32LE(at) !== 0) lines.push(line(block, at, 4, `word ${at / 4}`));
    }
  }
  if (end !== tableAt) lines.push(`blocks end at ${end}, the table begins at ${tableAt}`);
  lines.push('', `table: ${storeId}`);
  for (const [name, value] of Object.entries(state)) lines.push(`  ${name}: ${JSON.stringify(value)}`);
  lines.push('');
  lines.push(line(file, footer, 4, `length of the table ${file.readUInt32LE(footer)}`));
  const right = crc32(file.subarray(tableAt, footer)) === file.readUInt32LE(footer + 4);
  lines.push(line(file, footer + 4, 4, right ? 'its CRC-32' : 'another CRC-32'));
  lines.push(line(file, footer + 8, 4, 'HCCK'), line(file, footer + 12, 4, 'layout'), '');
  return lines.join('\n');
}
