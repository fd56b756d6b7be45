// Nest 12 is published as ES modules only. Jest's own ESM mode needs a flag of Node's, so everything is
// compiled to CommonJS here instead: our TypeScript, and the packages below, which have no CommonJS build.
const esmOnly = [
  '@nestjs',
  'keyv',
  'keyv6',
  '@keyv',
  'unstorage',
  'cacheable',
  '@cacheable',
  'cache-manager',
  'hookified',
];

/**
 * Jest looks globals up through a proxy, at a hundred times the cost. These become parameters of each module instead;
 * none of them is one that a test replaces, or a package declares for itself (as `Buffer`).
 */
const sandboxInjectedGlobals = [
  ...'Infinity Math Number BigInt String Symbol Object Array Map Set WeakMap JSON Promise Error'.split(' '),
  ...'DataView Int32Array Uint32Array Uint16Array Uint8Array Float64Array'.split(' '),
];

/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  // Machines that are busy with other things are slow, not wrong.
  testTimeout: 120_000,
  // Jest would leave one processor to the watcher: on two that is half of them.
  maxWorkers: '100%',
  // What earlier files leave behind makes a worker slow (to a ninth, after a quarter of an hour): a new one takes a second.
  workerIdleMemoryLimit: '100MB',
  roots: ['<rootDir>/src', '<rootDir>/test', '<rootDir>/sample-app'],
  testMatch: ['**/*.spec.ts'],
  sandboxInjectedGlobals,
  moduleFileExtensions: ['ts', 'js', 'mjs', 'cjs', 'json', 'node'],
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/dist-sample/', '/\\.tmp-'],
  moduleNameMapper: {
    '^(\\.{1,2}/.*)\\.js$': '$1',
    '^nestjs-hotcold$': '<rootDir>/src/index.ts',
    '^nestjs-hotcold/([a-z-]+)$': '<rootDir>/src/$1/index.ts',
  },
  transform: {
    '\\.[mc]?[tj]s$': [
      '@swc/jest',
      {
        module: { type: 'commonjs' },
        sourceMaps: 'inline',
        jsc: {
          target: 'es2022',
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: true },
        },
      },
    ],
  },
  transformIgnorePatterns: [`/node_modules/(?!(?:${esmOnly.join('|')})/)`],
  collectCoverageFrom: ['src/**/*.ts', '!src/**/*.spec.ts'],
};
