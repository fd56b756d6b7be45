/**
 * MANIFEST: what has to be known before a log can be read. One line of JSON and a line with its CRC-32, replaced as a
 * whole by write-temporary → sync → rename → sync directory. A format version from the future is refused by name.
 */
import type { Device } from '../device/device.js';
import { KvCorruptionError, KvFormatError } from '../errors.js';
import { FIRST_ADDRESS, type LogAddress } from '../log/address.js';
import { textChecksum } from './text-checksum.js';
import { readWholeFile } from './whole-file.js';

export const MANIFEST_NAME = 'MANIFEST';
const TEMPORARY_NAME = 'MANIFEST.tmp';

/** Version of everything on disk; `docs/format.md` has the history. */
export const FORMAT_VERSION = 1;

export interface Manifest {
  format: number;
  /** Random name of this store, for messages and backups. */
  storeId: string;
  /** Key of the hash, 8 bytes in hexadecimal. */
  hashKey: string;
  /** 32 random bits that go into the checksums of records. */
  salt: number;
  /** Bytes of a segment file of the hot log. */
  hotSegmentSize: number;
  hotBegin: LogAddress;
  /** Where a clean close left the hot log, and the number of its last commit; replaced at the next clean close. */
  closed?: { tail: LogAddress; commit: number };
}

/** A manifest for a new store. */
export function newManifest(random: (bytes: number) => Uint8Array, hotSegmentSize: number): Manifest {
  return {
    format: FORMAT_VERSION,
    storeId: Buffer.from(random(16)).toString('hex'),
    hashKey: Buffer.from(random(8)).toString('hex'),
    salt: Buffer.from(random(4)).readInt32LE(),
    hotSegmentSize,
    hotBegin: FIRST_ADDRESS,
  };
}

/**
 * Reads the manifest; `undefined` when there is none.
 * @throws KvCorruptionError when it is damaged
 * @throws KvFormatError when a later version of the package wrote it
 */
export function readManifest(device: Device): Manifest | undefined {
  if (!device.list().includes(MANIFEST_NAME)) return undefined;
  const text = readWholeFile(device, MANIFEST_NAME).toString('utf8');
  const [json, checksum] = text.split('\n');
  const damaged = (cause?: unknown) =>
    new KvCorruptionError('The manifest is damaged', MANIFEST_NAME, 0, { cause });
  if (checksum !== textChecksum(json)) throw damaged();
  let manifest: Manifest;
  try {
    manifest = JSON.parse(json) as Manifest;
  } catch (error) {
    throw damaged(error);
  }
  if (manifest.format !== FORMAT_VERSION) {
    throw new KvFormatError(
      `${device.location} has format version ${manifest.format}; this version of nestjs-hotcold reads version ` +
        `${FORMAT_VERSION}. Open it with the version of the package that wrote it, or a later one.`,
    );
  }
  return manifest;
}

/** Replaces the manifest durably. */
export function writeManifest(device: Device, manifest: Manifest): void {
  const json = JSON.stringify(manifest);
  const bytes = Buffer.from(`${json}\n${textChecksum(json)}\n`);
  const file = device.open(TEMPORARY_NAME, { create: true });
  try {
    file.truncate(0);
    file.writeSync(bytes, 0, bytes.length, 0);
    file.syncSync();
  } finally {
    file.close();
  }
  device.rename(TEMPORARY_NAME, MANIFEST_NAME);
  device.syncDirectory();
}

/** Whether a name on the device is the manifest or what an interrupted replacement left. */
export function isManifestName(name: string): boolean {
  return name === MANIFEST_NAME || name === TEMPORARY_NAME;
}
