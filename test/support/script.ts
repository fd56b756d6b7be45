/**
 * A script of operations on a store with two tiers: changes by chance, flushes, compactions, checkpoints, and a close in
 * the middle, the same again from the same seed. For tests that do something at every call that it makes on the disk.
 */
import { KvStore, type KvDurabilityLevel, type KvStoreOptions } from 'nestjs-hotcold/store';
import type { Env } from '../../src/device/env.js';
import type { SimulatedDisk } from './simulated-disk.js';
import { History, tieredOptions } from './tiered-store.js';

const KEYS = 8;
const LEVELS: KvDurabilityLevel[] = ['always', 'interval', 'checkpoint'];

export type ScriptPhase = 'opening' | 'writing' | 'compaction' | 'checkpoint' | 'closing';

export const SCRIPT_PHASES: readonly ScriptPhase[] = [
  'opening',
  'writing',
  'compaction',
  'checkpoint',
  'closing',
];

export class Script {
  readonly history: History;
  readonly level: KvDurabilityLevel;
  /** What it is doing now. */
  phase: ScriptPhase = 'opening';
  store: KvStore | undefined;

  constructor(
    private readonly disk: SimulatedDisk,
    seed: number,
    private readonly operations: number,
  ) {
    this.history = new History(disk, KEYS, seed);
    this.level = LEVELS[seed % 3];
  }

  optionsOn(env: Env): KvStoreOptions {
    return { ...tieredOptions(this.disk), env, durability: { level: this.level } };
  }

  /**
   * Runs it.
   * @param env on the disk
   * @param attempt makes each step; it may go on where one fails
   */
  async run(env: Env, attempt: (step: () => Promise<unknown>) => Promise<unknown> = (step) => step()) {
    const { history, operations } = this;
    this.store = await KvStore.open(this.optionsOn(env));
    const part = Math.floor(operations / 10);
    for (let i = 1; i <= operations; i++) {
      const { store } = this;
      await this.in('writing', async () => {
        await history.any(store);
        if (this.level === 'always') history.durable = history.states.length - 1;
      });
      if (i % 8 === 0) await attempt(() => this.in('writing', () => history.flush(store)));
      if (i % part !== 0) continue;
      if ((i / part) % 3 === 0)
        await attempt(() => this.in('compaction', () => store.compact({ full: true })));
      if ((i / part) % 4 === 0) await attempt(() => this.in('checkpoint', () => store.checkpoint()));
      if (i / part === 7) await this.reopen(env);
    }
    await this.close();
  }

  private async reopen(env: Env): Promise<void> {
    await this.close();
    await this.in('opening', async () => {
      this.store = await KvStore.open(this.optionsOn(env));
    });
  }

  private async close(): Promise<void> {
    const { history, store } = this;
    await this.in('closing', async () => {
      await store?.close();
      this.store = undefined;
      history.durable = history.states.length - 1;
    });
  }

  private async in<T>(phase: ScriptPhase, work: () => Promise<T>): Promise<T> {
    this.phase = phase;
    try {
      return await work();
    } finally {
      this.phase = 'writing';
    }
  }
}
