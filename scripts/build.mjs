// Builds the library twice: dist/esm, which `import` and (through the `module-sync` condition) a modern
// `require` both load, so that there is one copy of each class for dependency injection; and dist/cjs, for
// tools that know neither. Each has declarations of its own, for a declaration file is ESM or CJS by the
// package.json nearest to it. The ESM build is bundled, its entry points sharing what they have in common: Node resolves
// and reads some 90 small files one after the other, which takes longer than opening a store of a million keys.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
process.chdir(root);

rmSync('dist', { recursive: true, force: true });
for (const [project, folder, type] of [
  ['tsconfig.build.json', 'dist/esm', 'module'],
  ['tsconfig.build.cjs.json', 'dist/cjs', 'commonjs'],
]) {
  try {
    execFileSync(process.execPath, [tsc, '-p', project], { stdio: 'inherit' });
  } catch {
    console.error(`build: tsc -p ${project} failed`);
    process.exit(1);
  }
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/package.json`, `${JSON.stringify({ type, sideEffects: false }, null, 2)}\n`);
}

await bundle('dist/esm', ['index', 'store/index']);

/** Puts what the entry points need in their place; declarations stay as they are. */
async function bundle(folder, entries) {
  const { outputFiles } = await build({
    entryPoints: Object.fromEntries(entries.map((entry) => [entry, `${folder}/${entry}.js`])),
    outdir: folder,
    bundle: true,
    splitting: true,
    chunkNames: 'shared-[hash]',
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    sourcemap: true,
    write: false,
    logLevel: 'warning',
  });
  for (const name of readdirSync(folder, { recursive: true }))
    if (/\.js(\.map)?$/.test(name)) rmSync(join(folder, name));
  for (const { path, contents } of outputFiles) writeFileSync(path, contents);
}
