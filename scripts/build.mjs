// Builds the library: dist/esm, which `import` and (through the `module-sync` condition) a modern `require` both load,
// so that there is one copy of each class for dependency injection; and dist/cjs, for tools that know neither, as Jest.
// Both are bundles, the entry points sharing what they have in common: Node resolves and reads some 90 small files one
// after the other, which takes longer than opening a store of a million keys. The libraries that the store stands on are
// within (docs/decisions/0014-bundled-esm.md, docs/decisions/0018-nothing-to-install.md).
//
// Each has declarations of its own, for a declaration file is ESM or CJS by the package.json nearest to it, and only those
// that an entry point leads to. dist/modules is what tsc makes, file by file: the bundles are made of it, benchmarks of
// single parts import it, and it is not published.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { minify } from '@swc/core';
import { parse } from 'acorn';
import { build, transform } from 'esbuild';
import { declarationsFor } from './declarations.mjs';

const LINE_BYTES = 100;
const root = fileURLToPath(new URL('..', import.meta.url));
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
process.chdir(root);

const { peerDependencies, exports } = JSON.parse(readFileSync('package.json', 'utf8'));
const modules = 'dist/modules';
/** `index`, `store/index`, …: what package.json exports, without the folder and the extension. */
const entries = Object.values(exports).flatMap(
  ({ default: file }) => file?.slice('./dist/esm/'.length, -3) ?? [],
);

rmSync('dist', { recursive: true, force: true });
try {
  execFileSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { stdio: 'inherit' });
} catch {
  console.error('build: tsc failed');
  process.exit(1);
}
writePackageJson(modules, 'module');

/**
 * Comments and indentation are a third of what Node would have to read, and names of variables a fifth of the rest. Names of
 * functions and classes stay, so that stack traces can be read. There are no source maps: they would be as large as the
 * code, and lead to sources that are not there.
 */
const shape = {
  platform: 'node',
  target: 'node20',
  minifyWhitespace: true,
  lineLimit: 120,
  logLevel: 'warning',
};
const bundle = {
  ...shape,
  bundle: true,
  external: Object.keys(peerDependencies),
  format: 'esm',
  write: false,
};
const { outputFiles, metafile } = await build({
  ...bundle,
  entryPoints: Object.fromEntries(entries.map((entry) => [entry, `${modules}/${entry}.js`])),
  outdir: 'dist/esm',
  splitting: true,
  chunkNames: 'shared-[hash]',
  metafile: true,
});
const files = await withOneCore(outputFiles, metafile.outputs);
for (const { path, text } of files) {
  const { code } = await minify(withClassNames(text), {
    module: true,
    compress: { inline: 0, reduce_funcs: false, keep_classnames: true, keep_fnames: true },
    mangle: { toplevel: true, keep_classnames: true, keep_fnames: true, reserved: functionVariables(text) },
  });
  write(path, inLines(code));
}

// The same files with `require` for `import`: esbuild shares between entry points only where it writes ES modules.
for (const { path, text } of files) {
  // Jest, which reads these, has no `import()`.
  const supported = { 'dynamic-import': false };
  const { code } = await transform(text, { ...shape, format: 'cjs', supported });
  write(join('dist/cjs', relative('dist/esm', path)), withClassNames(code));
}

const declarations = declarationsFor(entries.map((entry) => `${modules}/${entry}.d.ts`));
for (const [folder, type] of [
  ['dist/esm', 'module'],
  ['dist/cjs', 'commonjs'],
]) {
  for (const [file, text] of declarations) write(join(folder, relative(modules, file)), text);
  writePackageJson(folder, type);
}

write('dist/THIRD-PARTY-LICENSES.txt', licenses(Object.keys(metafile.inputs)));

/**
 * What the store consists of, in one file: esbuild makes one for each set of entry points that have something in common, and
 * each takes Node a millisecond (docs/decisions/0014-bundled-esm.md).
 */
async function withOneCore(files, outputs) {
  const nameOf = (path) => path.slice('dist/esm/'.length);
  const keyOf = (path) => relative(root, path).replaceAll('\\', '/');
  const chunks = [];
  const visit = ({ imports }) => {
    for (const { external, kind, path } of imports) {
      if (external || kind === 'dynamic-import' || chunks.includes(path)) continue;
      chunks.push(path);
      visit(outputs[path]);
    }
  };
  visit(outputs['dist/esm/store/index.js']);
  const names = chunks.flatMap((chunk) => outputs[chunk].exports);
  if (new Set(names).size < names.length) throw new Error('two chunks export the same name');
  const textOf = new Map(files.map(({ path, text }) => [keyOf(path), text]));
  const inMemory = {
    name: 'in-memory',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^\.\/shared-/ }, ({ path }) => {
        const chunk = `dist/esm/${path.slice(2)}`;
        return chunks.includes(chunk) ? { path: chunk, namespace: 'chunk' } : { path, external: true };
      });
      onLoad({ filter: /./, namespace: 'chunk' }, ({ path }) => ({ contents: textOf.get(path) }));
    },
  };
  const contents = chunks.map((chunk) => `export * from './${nameOf(chunk)}';`).join('\n');
  const {
    outputFiles: [core],
  } = await build({ ...bundle, stdin: { contents }, plugins: [inMemory] });
  const isChunk = new RegExp(`(${chunks.map(nameOf).join('|')})`, 'g');
  return [
    { path: join(root, 'dist/esm/shared.js'), text: core.text },
    ...files
      .filter(({ path }) => !chunks.includes(keyOf(path)))
      .map(({ path, text }) => ({ path, text: text.replace(isChunk, 'shared.js') })),
  ];
}

/**
 * Gives each class its own name again. esbuild makes `var Slices = class {` of `class Slices {`, which would have the name that
 * the minifier has for the variable, and `var KvStore = class _KvStore {` or `let KvModule = class KvModule2 {` where a class
 * uses its name or is decorated: stack traces show these names, and `error.name` and Nest print them.
 */
function withClassNames(text) {
  const inner = new Map();
  const named = text.replace(
    /\b(\w+)=\s*((?:\w+=\s*)?)class(?: (?!extends\b)(\w+))?(?=[ {])/g,
    (_, name, assigns, given = name) => {
      if (given === `_${name}` || /^\d+$/.test(given.replace(name, ''))) inner.set(given, name);
      return `${name}=${assigns}class ${inner.get(given) ?? given}`;
    },
  );
  return named.replace(/(?<![.\w$])\w+(?![\w$])/g, (word) => inner.get(word) ?? word);
}

/** Variables that hold a function without a name of its own: it has theirs. */
function functionVariables(text) {
  const names = text.matchAll(/\b(\w+)=(?:async )?(?:function\b|(?:\w+|\([^()]*\))=>)/g);
  return [...new Set([...names].map(([, name]) => name))];
}

/** Lines that can be shown: of an error nobody catches Node prints the line, which would be the whole file. */
function inLines(code) {
  const breaks = [];
  parse(code, {
    ecmaVersion: 'latest',
    sourceType: 'module',
    onToken({ type: { label }, end }) {
      if ([';', ',', '{'].includes(label) && end - (breaks.at(-1) ?? 0) > LINE_BYTES) breaks.push(end);
    },
  });
  return [0, ...breaks].map((from, i) => code.slice(from, breaks[i])).join('\n');
}

/** What the licenses of the packages within the bundles want to be passed on, with the versions that are in them. */
function licenses(inputs) {
  const folders = new Set(inputs.flatMap((path) => path.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/) ?? []));
  return [...folders]
    .sort()
    .map((folder) => {
      const { name, version } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'));
      const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
      if (!file) throw new Error(`${name} is put into the build, and has no license to pass on`);
      return `${name} ${version}\n\n${readFileSync(`${folder}/${file}`, 'utf8').trim()}\n`;
    })
    .join(`\n${'-'.repeat(80)}\n\n`);
}

function write(path, contents) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, contents);
}

function writePackageJson(folder, type) {
  write(`${folder}/package.json`, `${JSON.stringify({ type, sideEffects: false }, null, 2)}\n`);
}
