// Builds the library and the sample application, and runs it in this very process: signals reach it directly,
// where a chain of shell commands would keep them to itself.
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const nest = createRequire(import.meta.url).resolve('@nestjs/cli/bin/nest.js');
for (const command of [['scripts/build.mjs'], [nest, 'build', 'sample-app']]) {
  execFileSync(process.execPath, command, { cwd: root, stdio: 'inherit' });
}
await import(new URL('../dist-sample/main.js', import.meta.url).href);
