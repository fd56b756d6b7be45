// Jest's transformer with the planted bug in front. The key of its cache comes from the source, and so from the bug.
import swcJest from '@swc/jest';
import { plant } from './plant.mjs';

export default {
  createTransformer(options) {
    const swc = swcJest.createTransformer(options);
    return {
      ...swc,
      process: (source, path, ...rest) => swc.process(plant(path, source), path, ...rest),
      processAsync: (source, path, ...rest) => swc.processAsync(plant(path, source), path, ...rest),
      getCacheKey: (source, path, ...rest) => swc.getCacheKey(plant(path, source), path, ...rest),
    };
  },
};
