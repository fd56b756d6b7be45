// Builds the library and the sample application where their sources are newer than what was built, and runs it in this very
// process: signals reach it directly, where a chain of shell commands would keep them to itself.
import { execFileSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);

const configuration = ['package-lock.json', 'package.json', 'tsconfig.json'];
const nest = createRequire(import.meta.url).resolve('@nestjs/cli/bin/nest.js');

// What is written last stands for all of a build.
const library = 'dist/THIRD-PARTY-LICENSES.txt';
build('library', library, ['src', 'scripts', 'tsconfig.build.json'], ['scripts/build.mjs']);
build(
  'sample application',
  'dist-sample/main.js',
  [library, 'sample-app/src', 'sample-app/tsconfig.app.json', 'nest-cli.json'],
  [nest, 'build', 'sample-app'],
);
await import(new URL('../dist-sample/main.js', import.meta.url).href);

function build(what, built, sources, command) {
  if (changedAt(built) > Math.max(...[...sources, ...configuration].map(changedAt))) return;
  console.log(`Building the ${what}, which takes a while`);
  execFileSync(process.execPath, command, { stdio: 'inherit' });
}

/** When a file, or anything in a folder, has changed last; a folder also changes when a file in it is removed. 0: not there. */
function changedAt(path) {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats?.isDirectory()) return stats?.mtimeMs ?? 0;
  return Math.max(stats.mtimeMs, ...readdirSync(path).map((name) => changedAt(join(path, name))));
}
