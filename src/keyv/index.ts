/** `nestjs-hotcold/keyv`: Keyv, and with it cache-manager, on a store. */
export { KvKeyvStore, type KvKeyvEntry, type KvKeyvOptions, type KvStoreForKeyv } from './keyv-store.js';
