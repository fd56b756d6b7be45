/**
 * What `verify` does with the files beside the logs: manifest, dictionary, and the checkpoint and hints that the next opening
 * would use. The files are read again, and compared with what is in memory.
 */
import path from 'node:path';
import { KvCorruptionError, KvDiskError, KvFormatError } from '../../errors.js';
import type { Slices } from '../../log/slices.js';
import { Checkpoint, checkpointName } from '../checkpoint-file.js';
import type { KvDamageKind } from './damage.js';
import { DICTIONARY_NAME } from '../dictionary.js';
import { HintFile, hintName } from '../hint-file.js';
import { MANIFEST_NAME, readManifest, type Manifest } from '../manifest.js';
import type { StoreCore } from '../store-core.js';

export type AddDamage = (
  what: KvDamageKind,
  file: string,
  position: number,
  bytes: number,
  message: string,
) => void;

/** Resolves to the number of files that were looked at. */
export async function checkSmallFiles(
  core: StoreCore,
  slices: Slices,
  add: AddDamage,
  mayGoOn: () => boolean,
): Promise<number> {
  checkManifest(core, add);
  checkDictionary(core, add);
  const checkpoints = await checkCheckpoint(core, slices, add, mayGoOn);
  return 2 + checkpoints + (await checkHints(core, slices, add, mayGoOn));
}

function checkManifest({ parts: { device, manifest } }: StoreCore, add: AddDamage): void {
  let problem: string | undefined;
  try {
    const found = readManifest(device);
    if (!found) problem = 'The manifest is missing';
    else if (!isSame(found, manifest.current)) problem = 'The manifest is that of another store';
  } catch (error) {
    const isKnown =
      error instanceof KvCorruptionError || error instanceof KvDiskError || error instanceof KvFormatError;
    if (!isKnown) throw error;
    problem = 'The manifest is damaged';
  }
  if (problem) add('manifest', MANIFEST_NAME, 0, 0, `${problem}; closing the store writes a new one`);
}

/** Whether logs can be read with one manifest as with the other. Where they begin may have changed since. */
function isSame(a: Manifest, b: Manifest): boolean {
  return (
    a.storeId === b.storeId &&
    a.hashKey === b.hashKey &&
    a.hot.salt === b.hot.salt &&
    a.cold.salt === b.cold.salt
  );
}

function checkDictionary({ parts: { device, dictionary } }: StoreCore, add: AddDamage): void {
  const message = 'What it says is still in memory, and closing the store writes it anew';
  try {
    if (!device.list().includes(DICTIONARY_NAME)) {
      add('dictionary', DICTIONARY_NAME, 0, 0, `The dictionary is missing. ${message}`);
      return;
    }
    const position = dictionary.damagedAt();
    if (position >= 0)
      add('dictionary', DICTIONARY_NAME, position, 0, `The dictionary is damaged. ${message}`);
  } catch (error) {
    if (!(error instanceof KvDiskError)) throw error;
    add('dictionary', DICTIONARY_NAME, 0, 0, `The dictionary cannot be read. ${message}`);
  }
}

async function checkCheckpoint(
  { checkpointer, parts: { device, manifest } }: StoreCore,
  slices: Slices,
  add: AddDamage,
  mayGoOn: () => boolean,
): Promise<number> {
  const latest = checkpointer?.latest;
  if (!latest) return 0;
  const stillCounts = () => checkpointer?.latest === latest;
  const damaged = (file: string, position: number, bytes: number) => {
    const message = 'The checkpoint is damaged; opening the store will read the logs instead';
    if (stillCounts()) add('checkpoint', file, position, bytes, message);
  };
  const files = latest.files.size;
  try {
    if (!Checkpoint.read(device, latest.number, manifest.current.storeId)) {
      damaged(checkpointName(latest.number), 0, 0);
      return files;
    }
    for (const { file, position, bytes, intact } of latest.blocks()) {
      if (!stillCounts() || !mayGoOn()) break;
      if (!intact) damaged(file, position, bytes);
      if (slices.over) await slices.next();
    }
  } catch (error) {
    // Removed meanwhile, or the disk refuses to read it.
    if (!(error instanceof KvDiskError)) throw error;
    damaged(path.basename(error.path), 0, 0);
  }
  return files;
}

async function checkHints(
  { parts: { device, hints, manifest } }: StoreCore,
  slices: Slices,
  add: AddDamage,
  mayGoOn: () => boolean,
): Promise<number> {
  if (!hints) return 0;
  let files = 0;
  for (const commit of hints.commits) {
    if (!mayGoOn()) break;
    files++;
    const rows = await HintFile.read(device, commit, manifest.current.storeId)?.rows();
    const message = 'The hint is damaged; opening the store will read the log instead';
    // A checkpoint may have been taken meanwhile.
    if (!rows && hints.commits.includes(commit)) add('hint', hintName(commit), 0, 0, message);
    if (slices.over) await slices.next();
  }
  return files;
}
