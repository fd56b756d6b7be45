/**
 * MANIFEST: what has to be known before a log can be read. One line of JSON and a line with its CRC-32, replaced as a
 * whole by write-temporary → sync → rename → sync directory. A format version from the future is refused by name, and so is
 * a feature that this version does not know.
 */
import type { Device } from '../device/device.js';
import { KvCorruptionError, KvFormatError } from '../errors.js';
import { FIRST_ADDRESS, type LogAddress } from '../log/address.js';
import { textChecksum } from './text-checksum.js';
import { readWholeFile } from './whole-file.js';

export const MANIFEST_NAME = 'MANIFEST';
/** Its name until a replacement is whole. */
export const TEMPORARY_NAME = 'MANIFEST.tmp';

/** Its name while the files of its store are being removed. */
export const DELETED_NAME = 'MANIFEST.deleted';

/** Version of everything on disk; `docs/format.md` has the history. */
export const FORMAT_VERSION = 3;

/**
 * Names of what a store may use beyond the format's version, and whoever reads it has to know: a change that older
 * versions would misread adds its name here. A store is given all of them when it is created or opened to be written,
 * because a write cannot wait for the manifest.
 */
const FEATURES: readonly string[] = ['attributes'];

/** What has to be known of a log before it can be read. */
export interface LogManifest {
  /** Bytes of a segment file. */
  segmentSize: number;
  /** 32 random bits that go into the checksums of its records. */
  salt: number;
  /** Where the log begins, and the number of the commit that ended there: 0 as long as nothing was truncated. */
  begin: LogAddress;
  beginCommit: number;
  /**
   * A commit known to be on stable storage, and where it ended. Of the hot log, the last one of the last clean close;
   * of the cold log, the last one there was when the manifest was written.
   */
  closed?: { tail: LogAddress; commit: number };
  /** Of the hot log, number of a later commit on stable storage: the last one when a checkpoint was taken. */
  synced?: number;
}

export interface Manifest {
  format: number;
  /** What the store uses of `FEATURES`. */
  features?: string[];
  /** Random name of this store, for messages and backups. */
  storeId: string;
  /** Key of the hash, 8 bytes in hexadecimal. */
  hashKey: string;
  /** Key of the hash of tags, where a salvage has copied records from a store with another one; else `hashKey`. */
  tagKey?: string;
  hot: LogManifest;
  cold: LogManifest;
  /** Set as long as the store is being filled by a salvage: part of the data is not the data. */
  unfinished?: true;
  /** Number of the last checkpoint. It need not be usable: it is derived data. */
  checkpoint?: number;
}

/** A manifest for a new store. */
export function newManifest(
  random: (bytes: number) => Uint8Array,
  hotSegmentSize: number,
  coldSegmentSize: number,
): Manifest {
  const newLog = (segmentSize: number): LogManifest => ({
    segmentSize,
    salt: Buffer.from(random(4)).readInt32LE(),
    begin: FIRST_ADDRESS,
    beginCommit: 0,
  });
  return {
    format: FORMAT_VERSION,
    features: [...FEATURES],
    storeId: Buffer.from(random(16)).toString('hex'),
    hashKey: Buffer.from(random(8)).toString('hex'),
    hot: newLog(hotSegmentSize),
    cold: newLog(coldSegmentSize),
  };
}

/**
 * Reads the manifest; `undefined` when there is none.
 * @throws KvCorruptionError when it is damaged
 * @throws KvFormatError when another version of the package wrote it, or one with features that this one does not know
 */
export function readManifest(device: Device, name = MANIFEST_NAME): Manifest | undefined {
  if (!device.list().includes(name)) return undefined;
  const manifest = parseManifest(readWholeFile(device, name));
  if (!manifest) throw new KvCorruptionError('The manifest is damaged', name, 0);
  requireReadable(manifest, device.location);
  requireFinished(manifest, device.location);
  return manifest;
}

/** @throws KvFormatError */
export function requireFinished({ unfinished }: Manifest, location: string): void {
  if (!unfinished) return;
  throw new KvFormatError(
    `${location} is what a salvage left that did not end. Remove the directory, and salvage again.`,
  );
}

/** The manifest that a file holds; `undefined` when it is damaged. */
export function parseManifest(bytes: Buffer): Manifest | undefined {
  const [json, checksum] = bytes.toString('utf8').split('\n');
  if (checksum !== textChecksum(json)) return undefined;
  try {
    const manifest = JSON.parse(json) as Manifest | null;
    return typeof manifest === 'object' && manifest !== null ? manifest : undefined;
  } catch {
    return undefined;
  }
}

/** @throws KvFormatError when another version of the package wrote it, or one with features that this one does not know */
export function requireReadable({ format, features = [] }: Manifest, location: string): void {
  const advice = 'Open it with the version of the package that wrote it, or a later one.';
  if (format !== FORMAT_VERSION) {
    throw new KvFormatError(
      `${location} has format version ${JSON.stringify(format)}; this version of nestjs-hotcold reads version ` +
        `${FORMAT_VERSION}. ${advice}`,
    );
  }
  const unknown = [features].flat().filter((feature) => !FEATURES.includes(feature));
  if (unknown.length > 0) {
    throw new KvFormatError(
      `${location} uses ${unknown.map((feature) => JSON.stringify(feature)).join(', ')}, which this version of ` +
        `nestjs-hotcold does not know. ${advice}`,
    );
  }
}

/** A manifest that names what this version of the package may write. */
export function withFeatures(manifest: Manifest): Manifest {
  const features = [...new Set([...(manifest.features ?? []), ...FEATURES])];
  return features.length === manifest.features?.length ? manifest : { ...manifest, features };
}

/** Replaces the manifest durably. */
export async function writeManifest(device: Device, manifest: Manifest): Promise<void> {
  const json = JSON.stringify(manifest);
  const bytes = Buffer.from(`${json}\n${textChecksum(json)}\n`);
  const file = device.open(TEMPORARY_NAME, { create: true });
  try {
    file.truncate(0);
    await file.write(bytes, 0, bytes.length, 0);
    await file.sync();
  } finally {
    file.close();
  }
  device.rename(TEMPORARY_NAME, MANIFEST_NAME);
  await device.syncDirectory();
}

/** The manifest of an open store. */
export class ManifestFile {
  /** Ends with the last replacement that was asked for. */
  private replaced: Promise<void> = Promise.resolve();

  constructor(
    private readonly device: Device,
    public current: Manifest,
  ) {}

  /**
   * Replaces the manifest durably, one replacement after the other; when that fails, the old one stays in force.
   * @param change makes the new one of the one in force when its turn has come
   */
  replace(change: (current: Manifest) => Manifest): Promise<void> {
    const replacing = this.replaced.then(async () => {
      const manifest = change(this.current);
      await writeManifest(this.device, manifest);
      this.current = manifest;
    });
    this.replaced = replacing.catch(() => undefined);
    return replacing;
  }
}

/** Whether a name on the device is the manifest, or what an interrupted replacement or removal left. */
export function isManifestName(name: string): boolean {
  return name === MANIFEST_NAME || name === TEMPORARY_NAME || name === DELETED_NAME;
}
