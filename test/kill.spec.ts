/**
 * A process that writes without end is killed with SIGKILL at any moment, and the directory is opened again. 50 times
 * at each durability level, each directory several times in a row, so that recovered stores are written and killed too.
 * Half of the directories have tiny budgets, so that they are compacted, and checkpoints are taken, all the time.
 * At `interval` the writes of the last interval may be missing, and those of the time by which a busy machine may delay
 * a timer and a sync. Every fifth process lives until something is promised that the one before did not have, however slow
 * the machine is. `SEED=…` and `RUNS=…` in the environment kill at the same moments (as far as the machine is as fast), or
 * many more.
 */
import { type KvDurabilityLevel } from 'nestjs-hotcold/store';
import { checkPrefix, promised, writeAndKill } from './support/killed-writer.js';
import { SeededRandom } from './support/seeded-random.js';
import { RUNS, SEED, tally } from './support/tally.js';
import { missingPath } from './support/temp-directory.js';

const KILLS = 50 * RUNS;
const KILLS_IN_ONE_DIRECTORY = 5;
const SIDE_BY_SIDE = 3;
/** Keys that are read behind each kill but the last one of a directory. */
const NEWEST = 1000;

describe.each<KvDurabilityLevel>(['always', 'interval', 'checkpoint'])('SIGKILL at %s', (level) => {
  it(
    `${KILLS} times: a prefix is there, and never less than was promised`,
    async () => {
      const random = new SeededRandom(SEED);
      let progress = 0;
      let promises = 0;
      let compactions = 0;
      let checkpoints = 0;
      const directory = async (kills: number, tiny: boolean) => {
        const path = missingPath();
        let before = 0;
        for (let kill = 0; kill < kills; kill++) {
          // Long enough for compactions, where there are any.
          const longest = (kill % 2 ? 30 : 150) + (tiny ? 100 : 0);
          // One that certainly has promised something.
          const said =
            kill === 2
              ? await writeAndKill(path, level, tiny, random.below(30), true)
              : await writeAndKill(path, level, tiny, random.below(longest));
          if (promised(level, said) > before) promises++;
          if (said.compacting) compactions++;
          if (said.checkpointing) checkpoints++;
          // What is lost stays lost: all is read behind the last one.
          const next = await checkPrefix(path, kill < kills - 1 ? NEWEST : Infinity);
          const least = Math.max(promised(level, said), before - 1);
          if (next <= least)
            throw new Error(`seed ${SEED}: ${next} keys are there, ${least + 1} were promised`);
          if (next > before) progress++;
          before = next;
        }
      };
      const directories = Array.from(
        { length: KILLS / KILLS_IN_ONE_DIRECTORY },
        () => KILLS_IN_ONE_DIRECTORY,
      );
      await Promise.all(
        Array.from({ length: SIDE_BY_SIDE }, async () => {
          for (let kills = directories.pop(); kills; kills = directories.pop())
            await directory(kills, directories.length % 2 === 0);
        }),
      );
      tally({
        [`kills at ${level}`]: KILLS,
        'in a compaction': compactions,
        'in a checkpoint': checkpoints,
      });
      // Kills before the first write prove little; on a busy machine many are that early.
      expect(progress).toBeGreaterThan(KILLS / 4);
      // And where nothing was promised yet, a loss would not be noticed.
      expect(promises).toBeGreaterThanOrEqual(KILLS / KILLS_IN_ONE_DIRECTORY);
      expect(compactions).toBeGreaterThan(0);
      expect(checkpoints).toBeGreaterThan(0);
    },
    120_000 * RUNS,
  );
});
