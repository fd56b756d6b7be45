/**
 * CPU profiles of single phases, with the functions that took the most time themselves: `<name>.cpuprofile` for the
 * developer tools of a browser, `<name>.txt` to read.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { basename, dirname } from 'node:path';

const SAMPLE_US = 200;
const TOP = 25;

/** Runs `work` under the profiler. */
export async function profiled(file, work) {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: SAMPLE_US });
  await session.post('Profiler.start');
  await work();
  const { profile } = await session.post('Profiler.stop');
  session.disconnect();
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.cpuprofile`, JSON.stringify(profile));
  writeFileSync(`${file}.txt`, topSelfTime(profile));
}

function topSelfTime({ nodes, samples, timeDeltas }) {
  const nameOf = new Map(nodes.map((node) => [node.id, label(node.callFrame)]));
  const self = new Map();
  let total = 0;
  samples.forEach((id, i) => {
    const name = nameOf.get(id);
    self.set(name, (self.get(name) ?? 0) + timeDeltas[i]);
    total += timeDeltas[i];
  });
  return [...self]
    .sort(([, a], [, b]) => b - a)
    .slice(0, TOP)
    .map(
      ([name, us]) =>
        `${((us / total) * 100).toFixed(1).padStart(5)} %  ${(us / 1000).toFixed(0).padStart(6)} ms  ${name}\n`,
    )
    .join('');
}

function label({ functionName, url, lineNumber }) {
  const place = url === '' ? '' : ` ${basename(url)}:${lineNumber + 1}`;
  return `${functionName || '(anonymous)'}${place}`;
}
