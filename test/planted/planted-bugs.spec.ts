/**
 * The planted bugs themselves: that each edit still finds its text, changes it, and names tests that there are. Whether
 * they are caught is found out by `npm run test:planted`, which takes too long for every commit.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PLANTED_BUGS } from './planted-bugs.mjs';

const ROOT = join(__dirname, '..', '..');
const textOf = (file: string) => readFileSync(join(ROOT, file), 'utf8');

it('there are enough of them, each with a name of its own', () => {
  expect(PLANTED_BUGS.length).toBeGreaterThanOrEqual(30);
  expect(new Set(PLANTED_BUGS.map(({ name }) => name)).size).toBe(PLANTED_BUGS.length);
});

it.each(PLANTED_BUGS.map((bug) => [bug.name, bug] as const))('%s can be planted', (_, bug) => {
  expect(textOf(bug.file).split(bug.find)).toHaveLength(2);
  expect(bug.replace).not.toBe(bug.find);
  expect(bug.caughtBy.length).toBeGreaterThan(0);
  for (const { spec } of bug.caughtBy) expect([spec, existsSync(join(ROOT, spec))]).toEqual([spec, true]);
});

it('are the table in docs/torture.md', () => {
  const rows = PLANTED_BUGS.map(({ name, file, why, caughtBy }) => {
    const catchers = caughtBy.map(({ spec, test }) => (test ? `\`${spec}\` (${test})` : `\`${spec}\``));
    return [`\`${name}\``, `\`${file}\``, why, catchers.join(', ')];
  });
  const cells = [['planted', 'in', 'what goes wrong', 'caught by'], ['-', '-', '-', '-'], ...rows];
  const table = cells
    .map((row) => `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n');
  const begin = '<!-- planted bugs -->';
  const end = '<!-- end of planted bugs -->';
  const docs = textOf('docs/torture.md');
  const [before, after] = [docs.split(begin)[0], docs.split(end)[1]];
  if (process.env.UPDATE_GOLDEN)
    writeFileSync(join(ROOT, 'docs/torture.md'), `${before}${begin}\n\n${table}\n\n${end}${after}`);
  // Prettier pads the columns.
  const plain = (text: string) => text.replace(/-+/g, '-').replace(/ +/g, ' ').trim();
  const written = textOf('docs/torture.md').split(begin)[1].split(end)[0];
  expect(plain(written)).toBe(plain(table));
});
