// The tests as they are, and those that only the torture runs (`*.torture.ts`).
import { fileURLToPath } from 'node:url';
import base from '../../jest.config.js';

export default {
  ...base,
  rootDir: fileURLToPath(new URL('../..', import.meta.url)),
  testMatch: ['**/*.spec.ts', '**/*.torture.ts'],
  testTimeout: 3_600_000,
};
