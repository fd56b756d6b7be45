// Loads every entry point of both builds, and fails where a class or function has another name than it is exported under, or
// a class has none: applications see these names in `error.name`, in stack traces and in Nest's log. Needs the build
// (`npm run build`).
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const require = createRequire(import.meta.url);
const { exports } = require('../package.json');
const problems = [];
let count = 0;

for (const conditions of Object.values(exports).filter((target) => typeof target === 'object')) {
  const { import: esm, require: cjs } = conditions;
  check(esm.default, await import(new URL(join('..', esm.default), import.meta.url).href));
  check(cjs.default, require(join(root, cjs.default)));
}
for (const folder of ['dist/esm', 'dist/cjs']) {
  const files = readdirSync(join(root, folder), { recursive: true }).filter((file) => file.endsWith('.js'));
  for (const file of files) {
    const text = readFileSync(join(root, folder, file), 'utf8');
    for (const [found] of text.matchAll(/.{0,40}\bclass\s*(?:extends\b|\{).{0,40}/g))
      problems.push(`${folder}/${file} has a class without a name: ${found}`);
  }
}
if (problems.length > 0) {
  console.error(`check-names:\n${problems.join('\n')}`);
  process.exitCode = 1;
} else console.log(`check-names: ${count} exported classes and functions have their names`);

function check(file, module) {
  for (const [name, value] of Object.entries(module)) {
    if (typeof value !== 'function' || name === 'default' || name === 'module.exports') continue;
    count++;
    if (value.name !== name) problems.push(`${file} exports ${name}, which has the name "${value.name}"`);
  }
}
