/**
 * Which files of a directory are a store's own, and their removal. That may be interrupted at any moment, and has to work
 * on a full disk: a renamed manifest says that there is no store any more, and goes last.
 */
import type { Device } from '../device/device.js';
import { SegmentFiles } from '../log/segment-files.js';
import { isCheckpointName } from './checkpoint-file.js';
import { DICTIONARY_NAME, finishMending, NEW_DICTIONARY_NAME } from './dictionary.js';
import { isHintName } from './hint-file.js';
import { DELETED_NAME, isManifestName, MANIFEST_NAME, TEMPORARY_NAME } from './manifest.js';

/** Names of the three logs, with which those of their segments begin. */
const LOGS: readonly string[] = ['hot', 'cold', 'index'];

/** Whether a name on the device is that of a file which stores make. */
export function isOwnName(name: string): boolean {
  if (
    name === DICTIONARY_NAME ||
    name === NEW_DICTIONARY_NAME ||
    isManifestName(name) ||
    isCheckpointName(name) ||
    isHintName(name)
  )
    return true;
  return SegmentFiles.isSegmentName(name) && LOGS.includes(name.slice(0, name.indexOf('-')));
}

/**
 * Removes all files of a store, which are not open any more.
 * @throws KvDiskError; the next opening goes on with it, once it has begun
 */
export async function removeStore(device: Device): Promise<void> {
  device.rename(MANIFEST_NAME, DELETED_NAME);
  await device.syncDirectory();
  await removeLeftovers(device);
}

/**
 * Removes what an interrupted replacement of the manifest left, ends one of the dictionary, and goes on with a removal that
 * was interrupted.
 */
export async function removeLeftovers(device: Device): Promise<void> {
  const names = device.list();
  const temporary = [TEMPORARY_NAME, NEW_DICTIONARY_NAME];
  if (names.includes(TEMPORARY_NAME)) await device.remove(TEMPORARY_NAME);
  if (names.includes(NEW_DICTIONARY_NAME)) {
    if (names.includes(MANIFEST_NAME)) await finishMending(device);
    else await device.remove(NEW_DICTIONARY_NAME);
  }
  if (!names.includes(DELETED_NAME)) return;
  // With a manifest there is a new store already, and this name only has come back by a power cut.
  if (!names.includes(MANIFEST_NAME)) {
    const others = names.filter((name) => isOwnName(name) && ![DELETED_NAME, ...temporary].includes(name));
    for (const name of others) await device.remove(name);
    await device.syncDirectory();
  }
  await device.remove(DELETED_NAME);
}
