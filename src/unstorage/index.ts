/** `nestjs-hotcold/unstorage`: unstorage on a store. */
export {
  kvDriver,
  type KvStoreForUnstorage,
  type KvUnstorageDriver,
  type KvUnstorageOptions,
} from './driver.js';
