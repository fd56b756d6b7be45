// The tests that are to find mutants: the units' own, and those of whole stores that are quick.
import config from './jest.config.js';

export default {
  ...config,
  maxWorkers: 1,
  testMatch: [
    '<rootDir>/src/log/{record,commit,scan,hybrid-log}.spec.ts',
    '<rootDir>/src/hot/*.spec.ts',
    '<rootDir>/src/store/recovery.spec.ts',
  ],
};
