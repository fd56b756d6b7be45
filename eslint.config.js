import js from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

// The engine asks `Env` (src/device) for files, time and chance, so that a test can replay a run exactly.
const useEnv = 'use Env: only src/device talks to the operating system, the clock and chance.';
const osModules = [
  'fs',
  'fs/promises',
  'os',
  'child_process',
  'net',
  'timers',
  'timers/promises',
  'perf_hooks',
];
const osModuleNames = osModules.flatMap((name) => [name, `node:${name}`]);

export default defineConfig([
  globalIgnores(['dist/', 'dist-sample/', 'coverage/', 'data/', '**/.tmp-*/']),
  {
    files: ['**/*.{js,mjs,cjs}'],
    extends: [js.configs.recommended],
    languageOptions: {
      globals: {
        console: 'readonly',
        process: 'readonly',
        URL: 'readonly',
        Buffer: 'readonly',
        performance: 'readonly',
        setTimeout: 'readonly',
        setInterval: 'readonly',
        setImmediate: 'readonly',
        clearTimeout: 'readonly',
        clearInterval: 'readonly',
      },
    },
  },
  {
    files: ['**/*.cjs'],
    languageOptions: {
      sourceType: 'commonjs',
      globals: { require: 'readonly', module: 'writable', __dirname: 'readonly' },
    },
  },
  {
    files: ['**/*.ts'],
    extends: [js.configs.recommended, tseslint.configs.recommendedTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/consistent-type-imports': [
        'error',
        { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false },
      ],
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrors: 'none', ignoreRestSiblings: true },
      ],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true, allowNullish: true },
      ],
      '@typescript-eslint/no-empty-object-type': ['error', { allowInterfaces: 'with-single-extends' }],
      // A method is async because its interface promises a promise, also where one implementation need not wait.
      '@typescript-eslint/require-await': 'off',
      // Empty callbacks and no-op implementations say what they mean.
      '@typescript-eslint/no-empty-function': 'off',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['src/device/**', '**/*.spec.ts'],
    rules: {
      'no-restricted-imports': ['error', { paths: osModuleNames.map((name) => ({ name, message: useEnv })) }],
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: useEnv },
        { object: 'performance', property: 'now', message: useEnv },
        { object: 'process', property: 'hrtime', message: useEnv },
        { object: 'Math', property: 'random', message: useEnv },
        { object: 'globalThis', property: 'setTimeout', message: useEnv },
        { object: 'globalThis', property: 'setInterval', message: useEnv },
      ],
      'no-restricted-globals': [
        'error',
        { name: 'setTimeout', message: useEnv },
        { name: 'setInterval', message: useEnv },
      ],
      'no-restricted-syntax': [
        'error',
        { selector: 'NewExpression[callee.name="Date"][arguments.length=0]', message: useEnv },
        { selector: 'CallExpression[callee.name="Date"]', message: useEnv },
        {
          selector: `ImportExpression[source.value=/^(node:)?(${osModules.join('|').replaceAll('/', '\\/')})$/]`,
          message: useEnv,
        },
        {
          selector: `CallExpression[callee.name="require"][arguments.0.value=/^(node:)?(${osModules.join('|').replaceAll('/', '\\/')})$/]`,
          message: useEnv,
        },
      ],
    },
  },
  {
    files: ['**/*.spec.ts', 'test/**/*.ts', 'bench/**/*.ts'],
    rules: {
      // Tests look at JSON, mocks and responses of unknown shape.
      '@typescript-eslint/no-explicit-any': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
]);
