export type { Env, EnvClock, EnvFs, EnvProcess, EnvRandom } from './env.js';
export type { Device, DeviceFile } from './device.js';
export { nodeEnv } from './node-env.js';
export { FileDevice } from './file-device.js';
export { MemoryDevice } from './memory-device.js';
export { NullDevice } from './null-device.js';
export { OverlayDevice } from './overlay-device.js';
