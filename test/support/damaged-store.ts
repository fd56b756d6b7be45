/**
 * A small store with something of everything in both tiers, what each of its keys has held over time, and where each
 * record lies: so that a test can say of any damage which keys it hits.
 */
import { KvStore, type KvNamedKey, type KvStoreOptions } from 'nestjs-hotcold/store';
import { KeyCodec } from '../../src/codec/key-codec.js';
import { FileDevice } from '../../src/device/file-device.js';
import { keyStart } from '../../src/log/record-key.js';
import { KIND_MASK, KIND_TOMBSTONE, KIND_VALUE, keyLengthOf } from '../../src/log/record.js';
import { scanSegment } from '../../src/log/scan.js';
import { SegmentFiles } from '../../src/log/segment-files.js';
import type { LogAddress } from '../../src/log/address.js';
import { SimulatedDisk } from './simulated-disk.js';

export const PATH = '/store';
export const SALVAGED = '/salvaged';

export const optionsOn = (disk: SimulatedDisk): KvStoreOptions => ({
  path: PATH,
  env: disk.env(),
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' },
  // Small caches: they are allocated anew for each place that is damaged.
  cold: { segmentSize: '1mb', garbageShare: 0.9, indexCache: '64kb' },
  readCache: { memory: '64kb' },
  compaction: false,
  durability: { level: 'checkpoint' },
});

/** How the store ended: closed; closed with a checkpoint of all of it; killed behind its last commit. */
export type End = 'closed' | 'with a checkpoint' | 'killed';
export const ENDS: End[] = ['closed', 'with a checkpoint', 'killed'];

/** Where a record lies. */
export interface Place {
  file: string;
  from: number;
  to: number;
}

export interface SmallStore {
  disk: SimulatedDisk;
  /** By `namespace/key`: what it has held, the newest last; `undefined` while it was absent. */
  history: Map<string, unknown[]>;
  /** By `namespace/key`: its newest record. */
  newest: Map<string, Place>;
  /** Where each log begins, in its first file. */
  begins: Map<string, number>;
}

const SPACES = ['', 'n', 'cleared'];

/** By which names keys are known here; of a namespace whose name was lost, by the one that it had. */
export function nameOf({ namespace = '', key }: KvNamedKey): string {
  const number = /^(?:salvaged-|number )(\d+)$/.exec(namespace)?.[1];
  return `${number === undefined ? namespace : SPACES[Number(number)]}/${JSON.stringify(key)}`;
}

export async function smallStore(end: End): Promise<SmallStore> {
  const disk = new SimulatedDisk();
  const history = new Map<string, unknown[]>();
  let store = await KvStore.open(optionsOn(disk));
  const space = (namespace: string) => (namespace === '' ? store : store.namespace(namespace));
  const set = async (namespace: string, key: string | number, value: unknown, ttl?: number) => {
    const name = nameOf({ namespace, key });
    history.set(name, [...(history.get(name) ?? [undefined]), value]);
    if (value === undefined) await space(namespace).delete(key);
    else await space(namespace).set(key, value, ttl === undefined ? {} : { ttl });
  };
  await set('', 'cold', 'from the first life');
  await set('', 'rewritten', 'oldest');
  await set('', 'deleted', 'was here');
  await set('', 'object', { field: 1, list: [1, 2, 3] });
  await set('n', 'object', { other: 'fields', field: 7 });
  await set('n', 5, 'in the namespace');
  await set('cleared', 'gone', 'was here');
  await set('', 'expired', 'was here', 1000);
  await store.compact({ full: true });
  await set('', 'rewritten', 'newer, cold');
  await set('', 'deleted', undefined);
  await set('', 'hot again', 'cold');
  await set('', 'kept', ['until later'], 3_600_000_000);
  history.get('cleared/"gone"')?.push(undefined);
  await store.namespace('cleared').clear();
  await set('cleared', 'new', 'after the clearing');
  disk.clock.advance(2000);
  history.get('/"expired"')?.push(undefined);
  await store.flush();
  await store.compact({ full: true });
  await set('', 'hot again', 'hot');
  await set('', 'rewritten', { now: 'hot' });
  await set('n', 'hot', [1n, new Date(0)]);
  if (end === 'with a checkpoint') await store.checkpoint();
  await store.close();
  store = await KvStore.open(optionsOn(disk));
  await set('', 'late', 'in the second life');
  await set('n', 5, undefined);
  await store.flush();
  await set('', 'last', 'from the last commit');
  await store.flush();
  if (end === 'with a checkpoint') await store.checkpoint();
  if (end === 'killed') disk.kill();
  else await store.close();
  return { disk, history, ...(await placesOf(disk)) };
}

async function placesOf(disk: SimulatedDisk): Promise<Pick<SmallStore, 'newest' | 'begins'>> {
  const device = new FileDevice(disk.env(), PATH);
  const manifest = JSON.parse(disk.contents(`${PATH}/MANIFEST`).toString().split('\n')[0]) as Record<
    'hot' | 'cold',
    { segmentSize: number; salt: number; begin: number }
  >;
  const names = new Map<string, string>();
  const codec = new KeyCodec();
  for (const [number, namespace] of SPACES.entries()) {
    for (const key of [
      'cold',
      'rewritten',
      'deleted',
      'object',
      'gone',
      'new',
      'expired',
      'hot again',
      'kept',
    ]) {
      names.set(bytesOf(codec.encode(number, key)), nameOf({ namespace, key }));
    }
    for (const key of ['hot', 'late', 'last', 5])
      names.set(bytesOf(codec.encode(number, key)), nameOf({ namespace, key }));
  }
  const newest = new Map<string, Place>();
  const begins = new Map<string, number>();
  for (const log of ['cold', 'hot'] as const) {
    const { segmentSize, salt, begin } = manifest[log];
    const segments = new SegmentFiles(device, log, segmentSize, salt);
    begins.set(`${PATH}/${segments.nameOf(segments.segmentOf(begin))}`, begin % segmentSize);
    for (const segment of segments.numbers()) {
      const start = Math.max(segments.startOf(segment), begin) as LogAddress;
      await scanSegment(segments, start, (words, at, address, bytes) => {
        const kind = words[at + 1] & KIND_MASK;
        if (kind !== KIND_VALUE && kind !== KIND_TOMBSTONE) return;
        const key = Buffer.from(words.buffer, keyStart(words, at) * 4, keyLengthOf(words, at));
        const name = names.get(key.toString('hex'));
        if (name === undefined) throw new Error(`a key that the test does not know: ${key.toString()}`);
        const from = address - segments.startOf(segment);
        newest.set(name, { file: `${PATH}/${segments.nameOf(segment)}`, from, to: from + bytes });
      });
    }
    segments.close();
  }
  return { newest, begins };
}

function bytesOf({ bytes, length }: { bytes: Uint8Array; length: number }): string {
  return Buffer.from(bytes.subarray(0, length)).toString('hex');
}

/** What a store has of the keys of a small store, by `namespace/key`. */
export async function contentOf(
  store: KvStore,
  { history }: SmallStore,
  renamed: readonly string[] = [],
): Promise<Map<string, unknown>> {
  const content = new Map<string, unknown>();
  for (const name of history.keys()) {
    const at = name.indexOf('/');
    const namespace = name.slice(0, at);
    const salvaged = `salvaged-${SPACES.indexOf(namespace)}`;
    const space = at === 0 ? store : store.namespace(renamed.includes(salvaged) ? salvaged : namespace);
    const value = await space.get(JSON.parse(name.slice(at + 1)) as string | number);
    if (value !== undefined) content.set(name, value);
  }
  return content;
}

/** All files of the directory with their bytes, to be compared later; not the lock, which is for people. */
export function filesOf(disk: SimulatedDisk): Map<string, string> {
  const paths = disk.paths().filter((path) => path.startsWith(`${PATH}/`) && !path.endsWith('/LOCK'));
  return new Map(paths.map((path) => [path, disk.contents(path).toString('base64')]));
}
