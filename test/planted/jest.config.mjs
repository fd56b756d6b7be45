// The tests as they are, with a planted bug in the source.
import { fileURLToPath } from 'node:url';
import base from '../../jest.config.js';

const [[files, [, options]]] = Object.entries(base.transform);

export default {
  ...base,
  rootDir: fileURLToPath(new URL('../..', import.meta.url)),
  transform: { [files]: [fileURLToPath(new URL('transform.mjs', import.meta.url)), options] },
};
