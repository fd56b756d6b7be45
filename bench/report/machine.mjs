/** Where and with what a run was made. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { MIB } from '../harness/units.mjs';

const at = (path) => new URL(`../../${path}`, import.meta.url);

export function machine() {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryMib: Math.round(totalmem() / MIB),
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
  };
}

/** Versions of the packages of these peers; `map` and `empty` come with Node and with the harness. */
export async function versionsOf(peers) {
  const versions = { 'nestjs-hotcold': versionIn(at('package.json')) };
  for (const peer of peers) {
    const { packageName = peer } = await import(`../adapters/${peer}.mjs`);
    const manifest = at(`bench/node_modules/${packageName}/package.json`);
    if (existsSync(manifest)) versions[packageName] = versionIn(manifest);
  }
  if (peers.includes('redis')) versions['redis-server'] = redisVersion();
  return versions;
}

function versionIn(manifest) {
  return JSON.parse(readFileSync(manifest, 'utf8')).version;
}

function redisVersion() {
  const text = execFileSync('redis-server', ['--version'], { encoding: 'utf8' });
  return /v=(\S+)/.exec(text)?.[1] ?? 'unknown';
}
