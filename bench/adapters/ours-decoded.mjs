/**
 * This package with the values of a fifth of the keys, those that are read most, kept as objects, shared and frozen: what `Map`
 * and lru-cache hand out as well.
 */
import { open as openOurs } from './ours.mjs';

export function open(path, settings) {
  return openOurs(path, { ...settings, decodedEntries: Math.ceil(settings.keys / 5) });
}
