/**
 * A process that writes numbered keys without end (`test/children/writer.mjs`), what it has said by the time that it is
 * gone, and whether the store that it leaves is a prefix of what it wrote.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { KvStore, type KvDurabilityLevel } from 'nestjs-hotcold/store';
import { startChild, type Child } from './built-store.js';

/** Milliseconds between two commits at `interval`. */
export const EVERY_MS = 20;
/** By which a busy machine may delay a timer and a sync. */
const SLACK_MS = 250;
const VALUE_BYTES = 2000;

/** What a process has said before its end. */
export interface Said {
  /** Highest number whose write was acknowledged, and the time of each acknowledgement. */
  acks: { last: number; atMs: number }[];
  /** Highest number covered by a completed flush. */
  flushed: number;
  /** When it was killed, or the power was cut. */
  endedAtMs: number;
  /** Whether a compaction or a checkpoint was under way at the last acknowledgement. */
  compacting: boolean;
  checkpointing: boolean;
}

/** @param tiny whether its budgets are so small that it compacts and takes checkpoints all the time */
export function startWriter(path: string, level: KvDurabilityLevel, tiny: boolean): Child {
  return startChild('writer', {
    path,
    level,
    everyMs: EVERY_MS,
    valueBytes: VALUE_BYTES,
    rewrite: true,
    tiny,
  });
}

/** @param untilMs what was said later is not counted: on a machine without power nobody hears it */
export function saidBy(child: Child, endedAtMs: number, untilMs = Infinity): Said {
  const said: Said = { acks: [], flushed: -1, endedAtMs, compacting: false, checkpointing: false };
  for (const line of child.lines) {
    const [what, last, atMs, compacting, checkpointing] = line.split(' ');
    if (Number(atMs) >= untilMs) continue;
    if (what === 'ack') {
      said.acks.push({ last: Number(last), atMs: Number(atMs) });
      said.compacting = compacting === 'true';
      said.checkpointing = checkpointing === 'true';
    }
    if (what === 'flush') said.flushed = Number(last);
  }
  return said;
}

/**
 * Starts a writer, and kills it after a while.
 * @param delayMs counted from when the store is open, or, with `promising`, from when writes of this process are promised
 */
export async function writeAndKill(
  path: string,
  level: KvDurabilityLevel,
  tiny: boolean,
  delayMs: number,
  promising = false,
): Promise<Said> {
  const child = startWriter(path, level, tiny);
  const first = !promising ? 'open' : level === 'checkpoint' ? 'flush' : 'ack';
  await child.line((line) => line.startsWith(first));
  // An acknowledgement is a promise only when it is old enough.
  if (promising && level === 'interval') await sleep(2 * SLACK_MS);
  await sleep(delayMs);
  const killedAtMs = Date.now();
  child.process.kill('SIGKILL');
  expect(await child.ended).toBe('SIGKILL');
  return saidBy(child, killedAtMs);
}

/** The highest number that must be there after a kill, by what the level promises. */
export function promised(level: KvDurabilityLevel, said: Said): number {
  if (level === 'always') return said.acks.at(-1)?.last ?? -1;
  if (level === 'checkpoint') return said.flushed;
  const old = said.acks.filter(({ atMs }) => atMs < said.endedAtMs - EVERY_MS - SLACK_MS);
  return Math.max(said.flushed, old.at(-1)?.last ?? -1);
}

interface Value {
  n: number;
  filling: string;
}

const isWhole = (value: Value | undefined, n: number | undefined) =>
  n !== undefined && value?.n === n && value.filling === 'x'.repeat((n * 7919) % VALUE_BYTES);

/**
 * Opens, checks that the state is a prefix of what was written, whole values only; returns how long it is.
 * @param newest only so many keys at its end are read
 */
export async function checkPrefix(path: string, newest = Infinity): Promise<number> {
  const store = await KvStore.open({ path });
  const next = (await store.get<number>('next')) ?? 0;
  const wrong: unknown[] = [];
  // A record is written before `next`, so the one behind it may be there, too. Compared by hand: `expect` is slow.
  for (let from = Math.max(0, next - newest); from < next + 100; from += 1000) {
    const part = Array.from({ length: Math.min(1000, next + 100 - from) }, (_, i) => from + i);
    for (const [i, value] of (await store.getMany<Value>(part)).entries()) {
      const n = from + i;
      const right = n < next ? isWhole(value, n) : value === undefined || (n === next && isWhole(value, n));
      if (!right) wrong.push([n, value]);
    }
  }
  for (let i = 0; i < 5; i++) {
    // Overwritten in place again and again: the newest of the prefix, or the one behind its end.
    const hot = await store.get<Value>(`hot${i}`);
    if (
      hot === undefined
        ? next > i
        : !isWhole(hot, hot.n) || hot.n % 5 !== i || hot.n < next - 5 || hot.n > next
    ) {
      wrong.push([`hot${i}`, next, hot]);
    }
  }
  await store.close();
  expect(wrong).toEqual([]);
  return next;
}
