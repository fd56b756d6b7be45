/** Repair: `verify()` and `salvage()`, loaded when one of them is called. */
export { salvage } from './salvage.js';
export { verify } from './verify.js';
