// The switch of planted bugs: the environment variable PLANTED_BUG has the name of the one that is on. Only what compiles
// sources for tests asks here; nothing in src/ knows of it.
import { sep } from 'node:path';
import { PLANTED_BUGS } from './planted-bugs.mjs';

/** The source of a file, with the planted bug in it if it belongs there. */
export function plant(path, source) {
  const name = process.env.PLANTED_BUG;
  if (!name) return source;
  const bug = PLANTED_BUGS.find((one) => one.name === name);
  if (!bug) throw new Error(`There is no planted bug ${name}`);
  if (!path.split(sep).join('/').endsWith(`/${bug.file}`)) return source;
  const parts = source.split(bug.find);
  if (parts.length !== 2) throw new Error(`${bug.file} has the text of ${name} ${parts.length - 1} times`);
  return parts.join(bug.replace);
}
