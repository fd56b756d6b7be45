/** Writers that await only answers from memory: the event loop would never turn by itself, and nothing be committed. */
import { KvStore } from 'nestjs-hotcold/store';
import { nodeEnv } from '../src/device/node-env.js';
import { missingPath } from './support/temp-directory.js';

it('commits in time although its writer never lets the event loop turn', async () => {
  const path = missingPath();
  const store = await KvStore.open({
    path,
    durability: { level: 'interval', everyMs: 20 },
    compaction: false,
  });
  const { commit: before } = await store.flush();
  const until = nodeEnv.clock.tick() + 1000;
  while (nodeEnv.clock.tick() < until) await store.increment('n');
  const { commit } = await store.flush();
  // 50 intervals; a busy machine may make some of them long.
  expect(commit - before).toBeGreaterThan(10);
  await store.close();
});
