// Imports go down only: health, metrics → module → decorators → store → hot, cold → log → codec, device; keyv, session and
// unstorage stand on store. What stands on one floor does not import its neighbour. `src/errors.ts`, `limits.ts` and `assert.ts` are the
// ground all may stand on, `src/index.ts` is the roof. Type-only imports count as well. `npm run check:imports` runs this,
// and test/import-direction.spec.ts proves that it fails where it should.
//
// A new folder of src/ gets a line in `floors`: without one, every import it makes is reported.
const path = require('node:path');

const ground = ['errors.ts', 'limits.ts', 'assert.ts'];
const floors = {
  codec: [],
  device: [],
  log: ['codec', 'device'],
  hot: ['log', 'codec', 'device'],
  cold: ['log', 'codec', 'device'],
  store: ['hot', 'cold', 'log', 'codec', 'device'],
  keyv: ['store', 'codec', 'device'],
  session: ['store', 'codec', 'device'],
  unstorage: ['store', 'codec', 'device'],
  decorators: ['store', 'hot', 'cold', 'log', 'codec', 'device'],
  module: ['decorators', 'store', 'hot', 'cold', 'log', 'codec', 'device'],
  health: ['module', 'decorators', 'store'],
  metrics: ['module', 'decorators', 'store'],
};
/** Folders that may know Nest and rxjs; the engine never does. */
const nestFolders = ['health', 'metrics', 'module', 'decorators'];

/** Peers that are optional, by the only folder that may import each. */
const optionalPeers = { health: '@nestjs/terminus', metrics: 'prom-client', session: 'express-session' };

const folders = (names) => names.map((name) => `^src/${name}/`);
const groundFiles = ground.map((name) => `^src/${name.replace('.', '\\.')}$`);

const directionRules = Object.entries(floors).map(([floor, below]) => ({
  name: `only-down-from-${floor}`,
  comment: `src/${floor}/ may import ${[...below.map((name) => `${name}/`), ...ground].join(', ')} and itself.`,
  severity: 'error',
  from: { path: `^src/${floor}/` },
  to: { path: '^src/', pathNot: [...folders([floor, ...below]), ...groundFiles] },
}));

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...directionRules,
    {
      name: 'only-down-from-ground',
      comment: 'errors.ts, limits.ts and assert.ts import nothing but each other.',
      severity: 'error',
      from: { path: groundFiles },
      to: { pathNot: groundFiles },
    },
    {
      name: 'every-folder-has-a-floor',
      comment: 'A folder or file of src/ that is on no floor: give it a line in .dependency-cruiser.cjs.',
      severity: 'error',
      from: {
        path: '^src/',
        pathNot: [...folders(Object.keys(floors)), ...groundFiles, '^src/index\\.ts$'],
      },
      to: {},
    },
    {
      name: 'no-circular',
      comment: 'No file reaches itself through what it imports.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'engine-without-nest',
      comment: 'Only health/, metrics/, module/, decorators/ and index.ts may import Nest or rxjs.',
      severity: 'error',
      from: { path: '^src/', pathNot: [...folders(nestFolders), '^src/index\\.ts$'] },
      to: { path: '(?:^|node_modules/)(?:@nestjs/|rxjs(?:/|$)|reflect-metadata(?:/|$))' },
    },
    {
      name: 'only-declared-packages',
      comment:
        'src/ imports only what package.json has under dependencies, peer or optional dependencies, or the build contains.',
      severity: 'error',
      from: { path: '^src/' },
      to: {
        // scripts/build.mjs puts these into the build.
        pathNot: 'node_modules/(?:@types/)?(?:bytes|ms|msgpackr|valibot)/',
        dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown', 'unknown', 'undetermined'],
        dependencyTypesNot: ['npm', 'npm-peer', 'npm-optional'],
      },
    },
    {
      name: 'optional-peers-in-their-folder',
      comment: 'What an application need not install is imported only by the entry point that is for it.',
      severity: 'error',
      from: { path: '^src/', pathNot: folders(Object.keys(optionalPeers)) },
      to: { path: Object.values(optionalPeers).map((name) => `node_modules/(?:@types/)?${name}/`) },
    },
    {
      name: 'resolvable',
      comment: 'Every import leads somewhere.',
      severity: 'error',
      from: { path: '^src/' },
      to: { couldNotResolve: true },
    },
    {
      name: 'only-source',
      comment: 'src/ imports no tests, benchmarks, samples or builds.',
      severity: 'error',
      from: { path: '^src/' },
      to: {
        path: '^(?:\\.\\./|test/|bench/|sample-app/|scripts/|dist/|dist-sample/)',
        pathNot: '(?:^|/)node_modules/',
      },
    },
  ],
  options: {
    exclude: { path: '\\.spec\\.ts$' },
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: path.join(__dirname, 'tsconfig.json') },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
      extensions: ['.ts', '.js', '.mjs', '.cjs', '.d.ts', '.json'],
    },
  },
};
