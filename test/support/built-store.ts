/**
 * The store and its Nest module as plain JavaScript outside Jest, for tests with processes of their own: `src` is compiled
 * file by file into a directory that is gone after the tests, without types, in a moment, and bundled with each child, because a
 * hundred small files take longer to load than most children live.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { transformSync } from '@swc/core';
import { plant } from '../planted/plant.mjs';
import { tempDirectory } from './temp-directory.js';

const ROOT = join(__dirname, '..', '..');
const FLOORS = ['module', 'decorators', 'store', 'store/repair', 'hot', 'cold', 'log', 'codec', 'device', ''];

let built: string | undefined;

/** Compiles engine and module, and bundles what lies in `test/children`; returns the directory with `children/*.mjs`. */
function build(): string {
  if (built) return built;
  built = tempDirectory();
  for (const floor of FLOORS) {
    const source = join(ROOT, 'src', floor);
    for (const name of namesIn(source)) {
      if (!name.endsWith('.ts') || name.endsWith('.spec.ts') || (floor === '' && name === 'index.ts'))
        continue;
      const path = join(source, name);
      const { code } = transformSync(plant(path, readFileSync(path, 'utf8')), {
        filename: name,
        module: { type: 'es6' },
        jsc: {
          target: 'es2022',
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: true },
        },
      });
      const target = join(built, 'src', floor, name.replace(/ts$/, 'js'));
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, code);
    }
  }
  const sources = join(built, 'sources');
  cpSync(join(__dirname, '..', 'children'), sources, { recursive: true });
  writeFileSync(join(built, 'package.json'), '{ "type": "module" }');
  symlinkSync(join(ROOT, 'node_modules'), join(built, 'node_modules'));
  const children = readdirSync(sources).map((name) => join(sources, name));
  const shape = [
    '--bundle',
    '--packages=external',
    '--format=esm',
    '--platform=node',
    '--out-extension:.js=.mjs',
  ];
  // The command, for the library takes Jest's world for a broken one.
  execFileSync(join(ROOT, 'node_modules', '.bin', 'esbuild'), [
    ...children,
    ...shape,
    '--log-level=warning',
    `--outdir=${join(built, 'children')}`,
  ]);
  return built;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

export interface Child {
  process: ChildProcess;
  /** Lines that it has printed so far, without one that is not complete. */
  lines: string[];
  /** Resolves at its first line that passes. */
  line(passes: (line: string) => boolean): Promise<string>;
  /** Resolves to its n-th line, from 0. */
  lineAt(number: number): Promise<string>;
  /** Resolves when it has ended and everything it printed was read: to its exit code, or its signal. */
  ended: Promise<number | NodeJS.Signals | null>;
}

/** How `test/children/<name>.mjs` is started with options as JSON. */
export function builtChild(name: string, options: object): { command: string; args: string[] } {
  const script = join(build(), 'children', `${name}.mjs`);
  return { command: process.execPath, args: [script, JSON.stringify(options)] };
}

/** Starts `test/children/<name>.mjs` with options as JSON. */
export function startChild(name: string, options: object, nodeOptions: string[] = []): Child {
  const { command, args } = builtChild(name, options);
  const child = spawn(command, [...nodeOptions, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines: string[] = [];
  let waiting: { passes: (line: string) => boolean; resolve: (line: string) => void }[] = [];
  let rest = '';
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    for (const line of parts) {
      lines.push(line);
      for (const one of waiting.filter(({ passes }) => passes(line))) {
        waiting = waiting.filter((other) => other !== one);
        one.resolve(line);
      }
    }
  });
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.on('close', (code, signal) => resolve(code ?? signal));
  });
  const line = (passes: (line: string) => boolean) => {
    const there = lines.find(passes);
    if (there !== undefined) return Promise.resolve(there);
    return new Promise<string>((resolve, reject) => {
      waiting.push({ passes, resolve });
      void ended.then((how) =>
        reject(new Error(`${name} ended (${how}) without the line: ${lines.join(' | ')}`)),
      );
    });
  };
  const lineAt = async (number: number) => {
    await line(() => lines.length > number);
    return lines[number];
  };
  return { process: child, lines, line, lineAt, ended };
}
