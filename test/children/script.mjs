// Makes 300 changes one after the other, each awaited at `always`, with compactions and checkpoints among them, and says
// "ack <n>" when the n-th is acknowledged. The n-th sets key n % 40 to n, or deletes it where n is a multiple of 7.
import { writeSync } from 'node:fs';
import { KvStore } from '../src/store/index.js';

const { path } = JSON.parse(process.argv[2]);
const store = await KvStore.open({
  path,
  hot: { memory: '8mb', pageSize: '64kb', segmentSize: '1mb' },
  cold: { segmentSize: '1mb' },
  compaction: false,
  durability: { level: 'always' },
});
for (let n = 1; n <= 300; n++) {
  if (n % 7 === 0) await store.delete(n % 40);
  else await store.set(n % 40, n);
  writeSync(1, `ack ${n}\n`);
  if (n % 100 === 50) await store.compact({ full: true });
  if (n % 100 === 75) await store.checkpoint();
}
await store.close();
writeSync(1, 'closed\n');
