import { KvStore, type KvSalvageReport } from 'nestjs-hotcold/store';
import { isDeepStrictEqual } from 'node:util';
import {
  contentOf,
  ENDS,
  filesOf,
  nameOf,
  optionsOn,
  PATH,
  SALVAGED,
  smallStore,
  type SmallStore,
} from './support/damaged-store.js';
import type { SimulatedDisk } from './support/simulated-disk.js';

const HOT = { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' } as const;

async function salvaged(
  disk: SimulatedDisk,
): Promise<{ report: KvSalvageReport; content: Map<string, unknown> }> {
  const before = filesOf(disk);
  const report = await KvStore.salvage(PATH, SALVAGED, {
    env: disk.env(),
    hot: HOT,
    cold: { segmentSize: '1mb' },
  });
  if (!isDeepStrictEqual(filesOf(disk), before)) throw new Error('the damaged store was changed');
  const store = await KvStore.open({ ...optionsOn(disk), path: SALVAGED });
  const content = await contentOf(store);
  await store.close();
  return { report, content };
}

it.each(ENDS)('smoke %s', async (end) => {
  const { disk, history, newest } = await smallStore(end);
  const { report, content } = await salvaged(disk);
  console.log(end, JSON.stringify(report), [...newest.values()].length, filesOf(disk).keys());
  for (const [name, values] of history) expect([name, content.get(name)]).toEqual([name, values.at(-1)]);
});
