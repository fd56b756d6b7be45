/**
 * A script on the simulated disk that is cut off at every call that changes something there: none, all, or some of what
 * was not synced survives, or the process alone is killed. What was durable is there afterwards, and the state is one
 * that the store had.
 */
import { KvStore, type Env, type KvStoreOptions } from 'nestjs-hotcold/store';
import type { CrashMode, DiskOperation, SimulatedDisk } from './simulated-disk.js';
import { History, tieredOptions } from './tiered-store.js';
import { CHANGES, watched } from './watched-fs.js';

/** The disk right before a call, and which states of the history it may be in. */
export interface Moment {
  disk: SimulatedDisk;
  operation: DiskOperation;
  file: string;
  least: number;
  most: number;
}

export type Cut = CrashMode | 'kill';

/** Takes a copy of the disk before each call that changes something, while it is switched on. */
export class Moments {
  readonly all: Moment[] = [];
  on = false;

  constructor(
    private readonly disk: SimulatedDisk,
    private readonly history: History,
  ) {}

  env(): Env {
    return watched(this.disk.env(), (operation, file) => {
      if (this.on && CHANGES.includes(operation)) this.look(operation, file);
    });
  }

  look(operation: DiskOperation, file: string): void {
    const { durable, states } = this.history;
    this.all.push({ disk: this.disk.fork(), operation, file, least: durable, most: states.length - 1 });
  }
}

/**
 * Opens a disk after a crash and looks whether it holds what it has to.
 * @param goesOn whether the store that came out is compacted, changed, opened and compared again
 */
export async function checkMoment(
  history: History,
  { disk, least, most }: Moment,
  cut: Cut,
  seed: number,
  goesOn: boolean,
  optionsOn: (disk: SimulatedDisk) => KvStoreOptions = tieredOptions,
): Promise<void> {
  const copy = disk.fork();
  if (cut === 'kill') copy.kill();
  else copy.crash({ mode: cut, seed });
  const options = optionsOn(copy);
  const store = await KvStore.open(options);
  const state = await history.stateOf(store, least, most, copy.clock.now());
  const after = new History(copy, history.keys);
  after.goOnFrom(state);
  if (cut === 'kill') {
    // What was found is safe from then on, although nothing of it was synced by the one that was killed.
    copy.crash('none');
    await after.stateOf(await KvStore.open(optionsOn(copy)));
    return;
  }
  if (!goesOn) {
    copy.kill();
    return;
  }
  await store.compact({ full: true });
  await after.stateOf(store);
  await after.set(store, 0, 0, 100);
  await after.flush(store);
  copy.crash('none');
  const again = await KvStore.open(optionsOn(copy));
  await after.stateOf(again);
  await again.close();
}
