/** `nestjs-hotcold/session`: express-session on a store. */
export { KvSessionStore, type KvSessionOptions, type KvStoreForSessions } from './session-store.js';
