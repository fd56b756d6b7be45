// Proves the package as its users get it: packs it, installs the tarball into applications made from scratch, a Nest 11 one
// of CommonJS and a Nest 12 one of ES modules, and lets each answer the same request twice, and twice again after a
// restart, on Node 20 (or what runs this), 22 and 24. Besides: what npm says at the installation, size, number of
// dependencies, declarations, entry points, links in the documents. Needs the build (`npm run build`) and the registry.
//
// The applications are those of test/package. `KEEP=1` leaves the directory for a look.
import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const MAX_UNPACKED_BYTES = 1.5 * 1024 * 1024;
const MAX_DEPENDENCIES = 5;
const root = fileURLToPath(new URL('..', import.meta.url));
const fixtures = join(root, 'test/package');
const work = mkdtempSync(join(tmpdir(), 'hotcold-package-'));
const exec = promisify(execFile);

/** Only what a user installs; the applications' own versions are those that their `nest new` gives. */
const commonPackages = {
  'express-session': '^1.19.0',
  'prom-client': '^15.1.3',
  'reflect-metadata': '^0.2.2',
  rxjs: '^7.8.2',
  '@types/express-session': '^1.19.0',
};
const compilerOptions = {
  target: 'ES2023',
  outDir: 'dist',
  strict: true,
  experimentalDecorators: true,
  emitDecoratorMetadata: true,
  // The package's own declarations are what is to be checked; complaints about others' are left out below.
  skipLibCheck: false,
};
const applications = [
  {
    name: 'Nest 11, CommonJS',
    folder: join(work, 'nest11'),
    packages: {
      ...nest('^11'),
      '@nestjs/terminus': '^11',
      ...commonPackages,
      '@types/jest': '^30.0.0',
      '@types/node': '^20.0.0',
      jest: '^30.0.0',
      'ts-jest': '^29.4.0',
      typescript: '~5.9.0',
    },
    manifest: {
      jest: {
        preset: 'ts-jest',
        testMatch: ['<rootDir>/*.test.ts'],
        moduleNameMapper: { '^(\\./.*)\\.js$': '$1' },
      },
    },
    // The resolution that many an application of that age has, which does not know of `exports`.
    options: {
      module: 'commonjs',
      moduleResolution: 'node10',
      isolatedModules: true,
      types: ['node', 'jest'],
    },
    files: ['app.ts', 'main.ts', 'entry-points.ts', 'app.test.ts'],
    jest: true,
  },
  {
    name: 'Nest 12, ES modules',
    folder: join(work, 'nest12'),
    packages: {
      ...nest('^12'),
      '@nestjs/terminus': '^12',
      ...commonPackages,
      '@types/node': '^20.0.0',
      typescript: '~6.0.3',
    },
    manifest: { type: 'module' },
    options: { module: 'nodenext', moduleResolution: 'nodenext', isolatedModules: true, types: ['node'] },
    files: ['app.ts', 'main.ts', 'entry-points.ts'],
  },
];

try {
  const tarball = await pack();
  const bare = join(work, 'bare');
  const nodes = prepareBare(bare, tarball);
  const prepared = await Promise.allSettled([nodes, ...applications.map((each) => prepare(each, tarball))]);
  for (const { reason } of prepared) if (reason) throw reason;
  checkLinks(join(bare, 'node_modules/nestjs-hotcold'));
  for (const node of await nodes) {
    const { stdout: version } = await exec(node, ['--version']);
    // Without the optional peers, what needs them is not there, and everything else is.
    await entryPoints(node, bare, ['health', 'metrics', 'session']);
    for (const application of applications) await run(application, node, version.trim());
  }
  say('done');
} catch (error) {
  console.error(`check:install: ${error.message}\n${error.stdout ?? ''}${error.stderr ?? ''}`);
  process.exitCode = 1;
} finally {
  if (process.env.KEEP) console.log(`left in ${work}`);
  else rmSync(work, { recursive: true, force: true });
}

function nest(range) {
  const names = ['common', 'core', 'platform-express', 'testing'];
  return Object.fromEntries(names.map((name) => [`@nestjs/${name}`, range]));
}

/** The tarball that would be published, and what its size and dependencies may be. */
async function pack() {
  const { stdout } = await exec('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', work], {
    cwd: root,
  });
  const [{ filename, unpackedSize, files }] = [Object.values(JSON.parse(stdout))].flat();
  const { dependencies = {} } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const count = Object.keys(dependencies).length;
  say(`${filename}: ${unpackedSize} bytes unpacked in ${files.length} files, ${count} dependencies`);
  if (!files.some(({ path }) => path === 'dist/esm/index.js')) fail('there is no build: npm run build');
  if (unpackedSize > MAX_UNPACKED_BYTES)
    fail(`${unpackedSize} bytes unpacked, more than ${MAX_UNPACKED_BYTES}`);
  if (count > MAX_DEPENDENCIES) fail(`${count} runtime dependencies, more than ${MAX_DEPENDENCIES}`);
  return join(work, filename);
}

/** Nest, the package and what npm completes it by, and the other versions of Node beside it. */
async function prepareBare(folder, tarball) {
  const binary = `node-${process.platform}-${process.arch}`;
  const versions = ['22', '24'].filter((version) => !process.version.startsWith(`v${version}.`));
  write(join(folder, 'package.json'), {
    private: true,
    dependencies: {
      ...nest('^11'),
      ...Object.fromEntries(versions.map((version) => [`node${version}`, `npm:${binary}@${version}`])),
    },
  });
  await install(folder);
  await installPackage(folder, tarball);
  cpSync(join(fixtures, 'entry-points.cjs'), join(folder, 'entry-points.cjs'));
  return [
    process.execPath,
    ...versions.map((version) => join(folder, `node_modules/node${version}/bin/node`)),
  ];
}

async function prepare({ name, folder, packages, manifest, options, files }, tarball) {
  write(join(folder, 'package.json'), { private: true, dependencies: packages, ...manifest });
  write(join(folder, 'tsconfig.json'), {
    compilerOptions: { ...compilerOptions, ...options },
    include: ['*.ts'],
  });
  await install(folder);
  await installPackage(folder, tarball);
  for (const file of [...files, 'entry-points.cjs']) cpSync(join(fixtures, file), join(folder, file));
  await compile(folder);
  say(`${name}: installed and compiled`);
}

/** Installs what the manifest says, or one package more; the warnings of npm, by line. */
async function install(folder, ...packages) {
  const args = ['install', '--no-audit', '--no-fund', '--prefer-offline', ...packages];
  const { stderr } = await exec('npm', args, { cwd: folder });
  return stderr.split('\n').filter((line) => line.startsWith('npm'));
}

/** In a step of its own: what it adds is ours, and npm warns of none of that, nor of peers that do not fit. */
async function installPackage(folder, tarball) {
  const others = installedIn(folder);
  const warnings = await install(folder, tarball);
  const added = installedIn(folder).filter((name) => !others.includes(name));
  if (!added.includes('nestjs-hotcold')) fail(`not installed in ${folder}`);
  const ours = warnings.filter((line) => ['ERESOLVE', ...added].some((word) => line.includes(word)));
  if (ours.length > 0) fail(`npm install warns:\n${warnings.join('\n')}`);
  await exec('npm', ['ls', '--all'], { cwd: folder, maxBuffer: 2 ** 26 });
}

/** Names of all packages of an application. */
function installedIn(folder) {
  const { packages } = JSON.parse(readFileSync(join(folder, 'node_modules/.package-lock.json'), 'utf8'));
  return Object.keys(packages).map((path) =>
    path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length),
  );
}

async function compile(folder) {
  const tsc = join(folder, 'node_modules/typescript/bin/tsc');
  try {
    await exec(process.execPath, [tsc], { cwd: folder });
  } catch ({ stdout, stderr }) {
    const foreign = /^node_modules\/(?!nestjs-hotcold\/)/;
    const lines = `${stdout}${stderr}`
      .split('\n')
      .filter((line) => /error TS/.test(line) && !foreign.test(line));
    if (lines.length > 0) fail(`tsc in ${folder}:\n${lines.join('\n')}`);
  }
}

async function run({ name, folder, jest }, node, version) {
  const data = join(folder, `data-${version}`);
  const env = { ...process.env, DATA_DIR: data };
  const answers = [];
  for (const start of ['first', 'second']) {
    const { stdout, stderr } = await exec(node, ['dist/main.js'], { cwd: folder, env });
    if (stderr) fail(`${name} on ${version} writes to stderr at its ${start} start:\n${stderr}`);
    answers.push(...JSON.parse(stdout));
  }
  const [first, ...others] = answers;
  if (first.made !== 1 || others.length !== 3 || others.some(({ id }) => id !== first.id))
    fail(`${name} on ${version} made an answer anew: ${JSON.stringify(answers)}`);
  await entryPoints(node, folder);
  if (jest) await exec(node, ['node_modules/jest/bin/jest.js', '--ci'], { cwd: folder });
  say(`${name} on ${version}: the second request and both after a restart were answered from the store`);
}

async function entryPoints(node, folder, without = []) {
  const { stdout } = await exec(node, ['entry-points.cjs'], {
    cwd: folder,
    env: { ...process.env, WITHOUT: without.map((name) => `nestjs-hotcold/${name}`).join(' ') },
  });
  const { exports: declared } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const expected = Object.keys(declared).length - without.length - 1;
  if (stdout.trim().split(' ').length !== expected) fail(`not every entry point was loaded: ${stdout}`);
}

/** Every relative link of the documents that are installed leads to a file that is installed, or to the repository. */
function checkLinks(folder) {
  const repositoryOnly = /^(?:bench|sample-app|src|test)(?:\/|$)|^CONTRIBUTING\.md$|^docs\/torture\.md$/;
  const documents = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('.md'));
  for (const document of documents) {
    for (const [, to] of readFileSync(join(folder, document), 'utf8').matchAll(
      /\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g,
    )) {
      const target = relative(folder, join(folder, dirname(document), to));
      if (!repositoryOnly.test(target) && !existsSync(join(folder, target)))
        fail(`${document} links to ${to}: not installed`);
    }
  }
}

function write(path, content) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, JSON.stringify(content, null, 2));
}

function fail(message) {
  throw new Error(message);
}

function say(line) {
  console.log(`${performance.now().toFixed(0).padStart(7)} ms  ${line}`);
}
