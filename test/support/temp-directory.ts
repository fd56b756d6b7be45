/** Directories for one test file, under the system's temporary directory; all of them are gone when it has run. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const made: string[] = [];

afterAll(() => {
  for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true });
});

/** An empty directory of its own. */
export function tempDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'hotcold-test-'));
  made.push(path);
  return path;
}

/** A path within a directory of its own, at which there is nothing yet. */
export function missingPath(): string {
  return join(tempDirectory(), 'store');
}

/** A copy of a directory as it is now, also while a store has it open: what a killed process would leave. */
export function copyOf(directory: string): string {
  const copy = missingPath();
  cpSync(directory, copy, { recursive: true });
  return copy;
}

/** Names, modes and bytes of everything in a directory, to be compared later. */
export function contentsOf(directory: string): Record<string, { mode: string; bytes: string }> {
  const contents: Record<string, { mode: string; bytes: string }> = {};
  for (const entry of readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()) {
    const path = join(directory, entry);
    const { mode } = statSync(path);
    const bytes = statSync(path).isDirectory() ? '' : readFileSync(path).toString('base64');
    contents[entry] = { mode: mode.toString(8), bytes };
  }
  return contents;
}
