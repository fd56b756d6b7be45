/** This package with hot values kept as objects, shared and frozen: what `Map` and lru-cache hand out as well. */
import { open as openOurs } from './ours.mjs';

export function open(path, settings) {
  return openOurs(path, { ...settings, decodedEntries: settings.keys });
}
