import { KvStore } from 'nestjs-hotcold/store';
import { SimulatedDisk } from './support/simulated-disk.js';
import { History, tieredOptions } from './support/tiered-store.js';

it('smoke', async () => {
  const disk = new SimulatedDisk();
  const store = await KvStore.open(tieredOptions(disk));
  console.log(JSON.stringify(await store.verify()));
  const history = new History(disk, 200);
  await history.fill(store);
  console.log(JSON.stringify(await store.verify()));
  await store.compact();
  console.log(JSON.stringify(await store.verify()));
  await history.rewrite(store);
  await store.compact({ full: true });
  await store.checkpoint();
  console.log(JSON.stringify(await store.verify()));
  await store.close();
});
