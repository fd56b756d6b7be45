/**
 * A process that writes without end is killed with SIGKILL at any moment, and the directory is opened again. 50 times
 * at each durability level, each directory several times in a row, so that recovered stores are written and killed too.
 * Half of the directories have tiny budgets, so that they are compacted all the time.
 * At `interval` the writes of the last interval may be missing, and those of the time by which a busy machine may delay
 * a timer and a sync; every fifth process lives long enough for older writes to be missed.
 */
import { KvStore, type KvDurabilityLevel } from 'nestjs-hotcold/store';
import { startChild } from './support/built-store.js';
import { SeededRandom } from './support/seeded-random.js';
import { missingPath } from './support/temp-directory.js';

const KILLS = 50;
const KILLS_IN_ONE_DIRECTORY = 5;
const SIDE_BY_SIDE = 3;
const EVERY_MS = 20;
const SLACK_MS = 250;
const VALUE_BYTES = 2000;

/** What a killed process has said. */
interface Said {
  /** Highest number whose write was acknowledged, and the time of each acknowledgement. */
  acks: { last: number; atMs: number }[];
  /** Highest number covered by a completed flush. */
  flushed: number;
  killedAtMs: number;
  /** Whether a compaction was under way at the last acknowledgement. */
  compacting: boolean;
}

async function writeAndKill(
  path: string,
  level: KvDurabilityLevel,
  tiny: boolean,
  delayMs: number,
): Promise<Said> {
  const child = startChild('writer', {
    path,
    level,
    everyMs: EVERY_MS,
    valueBytes: VALUE_BYTES,
    rewrite: true,
    tiny,
  });
  await child.line((line) => line.startsWith('open'));
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  const killedAtMs = Date.now();
  child.process.kill('SIGKILL');
  expect(await child.ended).toBe('SIGKILL');
  const acks: Said['acks'] = [];
  let flushed = -1;
  let compacting = false;
  for (const line of child.lines) {
    const [what, last, atMs, running] = line.split(' ');
    if (what === 'ack') {
      acks.push({ last: Number(last), atMs: Number(atMs) });
      compacting = running === 'true';
    }
    if (what === 'flush') flushed = Number(last);
  }
  return { acks, flushed, killedAtMs, compacting };
}

/** The highest number that must be there, by what the level promises. */
function promised(level: KvDurabilityLevel, said: Said): number {
  if (level === 'always') return said.acks.at(-1)?.last ?? -1;
  if (level === 'checkpoint') return said.flushed;
  const old = said.acks.filter(({ atMs }) => atMs < said.killedAtMs - EVERY_MS - SLACK_MS);
  return Math.max(said.flushed, old.at(-1)?.last ?? -1);
}

interface Value {
  n: number;
  filling: string;
}

const isWhole = (value: Value | undefined, n: number | undefined) =>
  n !== undefined && value?.n === n && value.filling === 'x'.repeat((n * 7919) % VALUE_BYTES);

/** Opens, checks that the state is a prefix of what was written, whole values only; returns how long it is. */
async function checkPrefix(path: string): Promise<number> {
  const store = await KvStore.open({ path });
  const next = (await store.get<number>('next')) ?? 0;
  const wrong: unknown[] = [];
  // A record is written before `next`, so the one behind it may be there, too. Compared by hand: `expect` is slow.
  const numbers = Array.from({ length: next + 100 }, (_, n) => n);
  for (let from = 0; from < numbers.length; from += 1000) {
    const part = numbers.slice(from, from + 1000);
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

describe.each<KvDurabilityLevel>(['always', 'interval', 'checkpoint'])('SIGKILL at %s', (level) => {
  it(`${KILLS} times: a prefix is there, and never less than was promised`, async () => {
    const seed = Date.now() % 1_000_000;
    const random = new SeededRandom(seed);
    let progress = 0;
    let promises = 0;
    let compactions = 0;
    const directory = async (kills: number, tiny: boolean) => {
      const path = missingPath();
      let before = 0;
      for (let kill = 0; kill < kills; kill++) {
        // Long enough for compactions, where there are any.
        const longest = (kill % 2 ? 30 : 150) + (tiny ? 100 : 0);
        const delayMs = kill === 2 ? 500 + random.below(300) : random.below(longest);
        const said = await writeAndKill(path, level, tiny, delayMs);
        if (promised(level, said) > before) promises++;
        if (said.compacting) compactions++;
        const next = await checkPrefix(path);
        const least = Math.max(promised(level, said), before - 1);
        if (next <= least)
          throw new Error(`seed ${seed}: ${next} keys are there, ${least + 1} were promised`);
        if (next > before) progress++;
        before = next;
      }
    };
    const directories = Array.from({ length: KILLS / KILLS_IN_ONE_DIRECTORY }, () => KILLS_IN_ONE_DIRECTORY);
    await Promise.all(
      Array.from({ length: SIDE_BY_SIDE }, async () => {
        for (let kills = directories.pop(); kills; kills = directories.pop())
          await directory(kills, directories.length % 2 === 0);
      }),
    );
    // Kills before the first write prove little; most of them have to hit a process that writes.
    expect(progress).toBeGreaterThan(KILLS / 2);
    // And where nothing was promised yet, a loss would not be noticed.
    expect(promises).toBeGreaterThanOrEqual(KILLS / KILLS_IN_ONE_DIRECTORY / 2);
    expect(compactions).toBeGreaterThan(0);
    if (process.env.TALLY) console.log(level, progress, promises, compactions);
  }, 120_000);
});
