// Builds the library twice: dist/esm, which `import` and (through the `module-sync` condition) a modern
// `require` both load, so that there is one copy of each class for dependency injection; and dist/cjs, for
// tools that know neither. Each has declarations of its own, for a declaration file is ESM or CJS by the
// package.json nearest to it. The ESM build is bundled, its entry points sharing what they have in common: Node resolves
// and reads some 90 small files one after the other, which takes longer than opening a store of a million keys. Small
// libraries are put into both builds (docs/decisions/0014-bundled-esm.md).
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

const { dependencies, peerDependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
/** Small libraries that are put into the build: development dependencies that src/ imports. */
const bundled = ['bytes', 'ms', 'valibot'];
const common = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  external: Object.keys({ ...dependencies, ...peerDependencies }),
  // Names stay, so that stack traces can be read; comments and indentation are a third of what Node would have to read.
  minifyWhitespace: true,
  lineLimit: 120,
  sourcemap: true,
  logLevel: 'warning',
};
await bundle('dist/esm', ['index', 'store/index', 'keyv/index', 'session/index', 'unstorage/index']);
await bundlePackages('dist/cjs');

/** Puts what the entry points need in their place; declarations stay as they are. */
async function bundle(folder, entries) {
  const { outputFiles } = await build({
    entryPoints: Object.fromEntries(entries.map((entry) => [entry, `${folder}/${entry}.js`])),
    ...common,
    outdir: folder,
    splitting: true,
    chunkNames: 'shared-[hash]',
    format: 'esm',
    write: false,
  });
  for (const name of readdirSync(folder, { recursive: true }))
    if (/\.js(\.map)?$/.test(name)) rmSync(join(folder, name));
  for (const { path, contents } of outputFiles) writeFileSync(path, contents);
}

/** Puts the small libraries into each file that needs one, and leaves the files what they are. */
async function bundlePackages(folder) {
  const needy = readdirSync(folder, { recursive: true })
    .map((name) => join(folder, name))
    .filter((path) => path.endsWith('.js') && requiresBundled(readFileSync(path, 'utf8')));
  await build({
    ...common,
    entryPoints: needy,
    outdir: folder,
    outbase: folder,
    allowOverwrite: true,
    format: 'cjs',
    plugins: [
      {
        name: 'own-files-stay',
        setup({ onResolve }) {
          onResolve({ filter: /^\.{1,2}\// }, ({ kind, path, importer }) =>
            kind === 'entry-point' || importer.includes('node_modules')
              ? undefined
              : { path, external: true },
          );
        },
      },
    ],
  });
}

function requiresBundled(code) {
  return bundled.some((name) => code.includes(`require("${name}")`));
}
