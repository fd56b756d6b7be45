/** Writes a result to `bench/results/`: `<name>.json`, `<name>.md`, and `<name>-<plot>.svg` for each plot. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { markdownReport } from './markdown.mjs';

const folder = new URL('../results/', import.meta.url);

/** @returns the report */
export async function record(name, result, plots) {
  mkdirSync(folder, { recursive: true });
  for (const { name: plot, svg } of plots) writeFileSync(new URL(`${name}-${plot}.svg`, folder), `${svg}\n`);
  const report = markdownReport(
    result,
    plots.map(({ name: plot, title }) => ({ title, file: `${name}-${plot}.svg` })),
  );
  await write(`${name}.json`, JSON.stringify(result));
  await write(`${name}.md`, report);
  return report;
}

/** Runs alone, while others are still to come. */
export async function recordRuns(name, result) {
  mkdirSync(folder, { recursive: true });
  await write(`${name}.json`, JSON.stringify(result));
}

/** What was recorded under these names, or in these files: their runs together. */
export function recorded(files) {
  const results = files.map((file) => {
    const url = new URL(`${basename(file, '.json')}.json`, folder);
    return JSON.parse(readFileSync(file.includes('/') ? file : url, 'utf8'));
  });
  const first = results[0];
  return {
    date: first.date,
    machine: first.machine,
    versions: Object.assign({}, ...results.map(({ versions }) => versions)),
    settings: {
      ...first.settings,
      workloads: [...new Set(results.flatMap(({ settings }) => settings.workloads))],
    },
    runs: results.flatMap(({ runs }) => runs),
    skipped: results.flatMap(({ skipped }) => skipped),
  };
}

/** Laid out as the check of the repository's format wants it. */
/** Writes a file of a result. */
export async function write(name, text) {
  const file = fileURLToPath(new URL(name, folder));
  writeFileSync(file, await format(text, { ...(await resolveConfig(file)), filepath: file }));
}
