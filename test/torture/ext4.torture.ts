/**
 * Power cuts on a real file system: ext4 on a loop device, a process that writes, and in the middle of it the ioctl
 * FS_IOC_SHUTDOWN without a flush of the journal, which drops whatever the kernel had not written. Then the file system is
 * mounted again, and the store is a prefix of what was written, with everything in it that was acknowledged as durable.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KvDurabilityLevel } from 'nestjs-hotcold/store';
import { checkPrefix, promised, saidBy, startWriter } from '../support/killed-writer.js';
import { Mounts, problemOf, sh } from '../support/machine.js';
import { SeededRandom } from '../support/seeded-random.js';
import { RUNS, SEED, skipped, tally } from '../support/tally.js';

const CUTS = 6 * RUNS;
const LEVELS: KvDurabilityLevel[] = ['always', 'interval', 'checkpoint'];
const IMAGE_BYTES = 256 * 1024 * 1024;

/** FS_IOC_SHUTDOWN with FS_SHUTDOWN_FLAGS_NOLOGFLUSH, on a directory. */
const SHUTDOWN = `
open(my $directory, '<', $ARGV[0]) or die "open: $!";
my $flags = pack('L', 2);
ioctl($directory, 0x8004587d, $flags) or die "shutdown: $!";
`;

describe('a power cut on ext4', () => {
  const mounts = new Mounts();
  const place = join(mounts.directory, 'disk');
  const image = join(mounts.directory, 'image');
  const mount = () => mounts.mount(place, '-o', 'loop', image);
  const shutdown = () => sh('perl', '-e', SHUTDOWN, place);
  let problem: string | undefined;

  beforeAll(() => {
    mkdirSync(place);
    writeFileSync(image, '');
    problem = problemOf(() => {
      sh('truncate', '-s', String(IMAGE_BYTES), image);
      sh('mkfs.ext4', '-q', '-F', image);
      mount();
      shutdown();
      mounts.unmount(place);
    });
  });

  afterAll(() => mounts.end());

  it('leaves a prefix, and never less than was promised', async () => {
    if (problem !== undefined) {
      skipped(`ext4 cannot be mounted and shut down here: ${problem}`);
      return;
    }
    const random = new SeededRandom(SEED);
    for (const level of LEVELS) {
      let path = '';
      let before = 0;
      let losses = 0;
      for (let cut = 0; cut < CUTS; cut++) {
        // Half of them in a directory that was cut off before.
        if (cut % 2 === 0) {
          path = join(place, `${level}-${cut}`);
          before = 0;
        }
        mount();
        const child = startWriter(path, level, cut % 4 < 2);
        await child.line((line) => line.startsWith('open'));
        await new Promise((resolve) => setTimeout(resolve, 100 + random.below(700)));
        const cutAtMs = Date.now();
        shutdown();
        child.process.kill('SIGKILL');
        await child.ended;
        mounts.unmount(place);
        const said = saidBy(child, cutAtMs);
        // What was said while the file system was being shut down is no promise.
        const heard = saidBy(child, cutAtMs, cutAtMs);
        mount();
        const next = await checkPrefix(path);
        mounts.unmount(place);
        const least = Math.max(promised(level, heard), before - 1);
        if (next <= least)
          throw new Error(
            `seed ${SEED}, cut ${cut} at ${level}: ${next} keys are there, ${least + 1} were promised`,
          );
        if (next <= (said.acks.at(-1)?.last ?? -1)) losses++;
        before = next;
      }
      tally({ [`cuts at ${level}`]: CUTS, 'with losses': losses });
    }
  });
});
