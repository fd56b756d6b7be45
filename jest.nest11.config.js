// The specs that stand on Nest, on Nest 11: `test/nest11` is a workspace that has it. Whatever asks for Nest, the package
// itself and Nest's own packages included, gets that one.
import config from './jest.config.js';

/** @type {import('jest').Config} */
export default {
  ...config,
  globals: { NEST: 11 },
  testMatch: [
    '<rootDir>/src/decorators/**/*.spec.ts',
    '<rootDir>/src/module/**/*.spec.ts',
    '<rootDir>/test/nest/**/*.spec.ts',
  ],
  moduleNameMapper: {
    '^@nestjs/(.*)$': '<rootDir>/test/nest11/node_modules/@nestjs/$1',
    ...config.moduleNameMapper,
  },
};
