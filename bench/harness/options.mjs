/** What the commands `run.mjs` and `growth.mjs` have in common: their options, and what comes of them. */
import { parseArgs } from 'node:util';
import { WORKLOADS } from '../workloads/index.mjs';

const COMMON = `  --peers <list>   only these of ${[...new Set(Object.values(WORKLOADS).flatMap(({ peers }) => peers))].join(',')}
  --rounds <n>     (default 3)
  --seed <n>       (default 1)
  --cap-ms <n>     most milliseconds of a phase after loading (default 4000)
  --dir <folder>   where stores are made (default: the system's folder for temporary files)
  --name <text>    part of the names of the result files, behind the date
  --from <list>    measure nothing: one report of results that were recorded before, by name
  --large          also 50 million keys
  --quick          small sizes, 1 round, at most 0.2 s a phase; recorded under the name "quick", which git ignores
`;

/**
 * @param command its name, for the usage
 * @param usual the workloads that are measured without `--only`
 * @param large those that `--large` adds
 */
export function settingsFrom(command, usual, large) {
  const usage = `npm run ${command} -- [options]\n  --only <list>    only these of ${[...usual, ...large].join(',')}; W9 also means W9many, Y all of Y,\n                   but the large ones only by their whole names\n${COMMON}`;
  const { values: options } = parseArgs({
    options: {
      only: { type: 'string' },
      peers: { type: 'string' },
      rounds: { type: 'string' },
      seed: { type: 'string', default: '1' },
      'cap-ms': { type: 'string' },
      dir: { type: 'string' },
      name: { type: 'string' },
      from: { type: 'string' },
      large: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const { quick } = options;
  const asked = options.only?.split(',');
  const offered = options.large ? [...usual, ...large] : usual;
  const settings = {
    // The name of a large workload is enough to ask for it.
    workloads: asked
      ? [...usual, ...large].filter((name) => asked.some((word) => isMeant(name, word, offered)))
      : offered,
    peers: options.peers?.split(','),
    rounds: Number(options.rounds ?? (quick ? 1 : 3)),
    capMs: Number(options['cap-ms'] ?? (quick ? 200 : 4_000)),
    seed: Number(options.seed),
    quick,
    directory: options.dir,
  };
  // Those that only differ in size from another have no small one.
  if (quick) settings.workloads = settings.workloads.filter((name) => WORKLOADS[name].quick);
  const peers = new Set(Object.values(WORKLOADS).flatMap((workload) => workload.peers));
  const unusable =
    settings.workloads.length === 0 ||
    asked?.some((word) => ![...usual, ...large].some((name) => isMeant(name, word, [...usual, ...large]))) ||
    settings.peers?.some((peer) => !peers.has(peer)) ||
    [settings.rounds, settings.capMs, settings.seed].some((n) => !Number.isInteger(n) || n < 1);
  if (options.help || unusable) {
    process.stderr.write(usage);
    process.exit(unusable ? 1 : 0);
  }
  return { settings, from: options.from?.split(','), suffix: quick ? 'quick' : options.name };
}

/** A word means the workload of that name and, of those that are offered, its variants: `W9` also W9many, `Y` all of Y. */
function isMeant(name, word, offered) {
  return name === word || (offered.includes(name) && name.startsWith(word));
}
