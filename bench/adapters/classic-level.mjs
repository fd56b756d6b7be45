/** LevelDB through classic-level: its defaults, and as much block cache as the workload allows. */
import { ClassicLevel } from 'classic-level';
import { adapterOf, encodingOf } from './level.mjs';

export async function open(path, settings) {
  const { data, cacheBytes, compression = true } = settings;
  const db = new ClassicLevel(path, {
    valueEncoding: encodingOf(data),
    compression,
    ...(cacheBytes && { cacheSize: cacheBytes }),
  });
  await db.open();
  return adapterOf(db, settings);
}
