/**
 * Runs the import rules (.dependency-cruiser.cjs) on src, and then on a small tree that breaks each of them,
 * so that a rule which no longer fires is noticed. The cruiser is started as a command: it is an ES module,
 * and the command is what `npm run check:imports` and CI use.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const root = join(__dirname, '..');
const command = join(root, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs');

interface Report {
  summary: {
    totalCruised: number;
    violations: { rule: { name: string }; from: string; to: string }[];
  };
}

/** Cruises `src` of `cwd`; the rules speak of paths relative to it. */
function cruise(cwd: string): Report['summary'] {
  const args = [command, 'src', '--config', join(root, '.dependency-cruiser.cjs'), '--output-type', 'json'];
  const json = execFileSync(process.execPath, args, { cwd, encoding: 'utf8', maxBuffer: 256 * 1024 * 1024 });
  return (JSON.parse(json) as Report).summary;
}

function lines(summary: Report['summary']): string[] {
  return summary.violations.map((v) => `${v.rule.name}: ${v.from} -> ${v.to}`).sort();
}

describe('import direction', () => {
  it('holds in src', () => {
    const summary = cruise(root);
    expect(lines(summary)).toEqual([]);
    expect(summary.totalCruised).toBeGreaterThan(0);
  });

  describe('of a tree that breaks the rules', () => {
    let tree: string;
    let found: string[];

    beforeAll(() => {
      tree = mkdtempSync(join(__dirname, '.tmp-import-direction-'));
      const files: Record<string, string> = {
        'package.json': JSON.stringify({
          name: 'fixture',
          dependencies: { msgpackr: '*' },
          devDependencies: { jest: '*' },
          peerDependencies: { 'express-session': '*' },
          peerDependenciesMeta: { 'express-session': { optional: true } },
        }),
        'src/errors.ts': `import '@nestjs/common';\nexport class E {}\n`,
        'src/limits.ts': `export const LIMIT = 1;\n`,
        'src/index.ts': `export * from './store/good.js';\n`,
        // allowed
        'src/store/good.ts': `import '../hot/good.js';\nimport '../errors.js';\nexport const a = 1;\n`,
        'src/hot/good.ts': `import 'msgpackr';\nimport '../log/good.js';\nexport {};\n`,
        'src/log/good.ts': `import '../limits.js';\nimport '../device/good.js';\nexport {};\n`,
        'src/device/good.ts': `export interface Device { read(): void }\n`,
        // forbidden
        'src/log/upward.ts': `import '../store/good.js';\n`,
        'src/log/upward-type.ts': `import type { a } from '../store/good.js';\nexport type A = typeof a;\n`,
        'src/hot/sideways.ts': `import '../cold/neighbour.js';\n`,
        'src/cold/neighbour.ts': `export {};\n`,
        'src/codec/sideways.ts': `import type { Device } from '../device/good.js';\nexport type D = Device;\n`,
        'src/cold/roof.ts': `import '../index.js';\n`,
        'src/cold/round-a.ts': `import './round-b.js';\nexport {};\n`,
        'src/cold/round-b.ts': `import './round-a.js';\nexport {};\n`,
        'src/hot/round-type-a.ts': `import type { B } from './round-type-b.js';\nexport type A = B | 1;\n`,
        'src/hot/round-type-b.ts': `import type { A } from './round-type-a.js';\nexport type B = A | 2;\n`,
        'src/store/nest.ts': `import '@nestjs/common';\n`,
        'src/store/undeclared.ts': `import 'fast-check';\n`,
        'src/store/development.ts': `import 'jest';\n`,
        'src/keyv/undeclared-type.ts': `import type { Keyv } from 'keyv';\nexport type K = Keyv;\n`,
        'src/session/good.ts': `import 'express-session';\n`,
        'src/store/optional.ts': `import 'express-session';\n`,
        'src/unknown/file.ts': `import '../limits.js';\n`,
      };
      for (const [name, text] of Object.entries(files)) {
        mkdirSync(dirname(join(tree, name)), { recursive: true });
        writeFileSync(join(tree, name), text);
      }
      found = lines(cruise(tree));
    });

    afterAll(() => {
      rmSync(tree, { recursive: true, force: true });
    });

    it.each([
      ['an upward import', 'only-down-from-log: src/log/upward.ts -> src/store/good.ts'],
      ['an upward import of a type', 'only-down-from-log: src/log/upward-type.ts -> src/store/good.ts'],
      ['an import of a neighbour', 'only-down-from-hot: src/hot/sideways.ts -> src/cold/neighbour.ts'],
      ['codec importing device', 'only-down-from-codec: src/codec/sideways.ts -> src/device/good.ts'],
      ['an import of the roof', 'only-down-from-cold: src/cold/roof.ts -> src/index.ts'],
      ['a circular import', 'no-circular: src/cold/round-a.ts -> src/cold/round-b.ts'],
      ['a circular import of types', 'no-circular: src/hot/round-type-a.ts -> src/hot/round-type-b.ts'],
      ['a folder on no floor', 'every-folder-has-a-floor: src/unknown/file.ts -> src/limits.ts'],
    ])('reports %s', (_, violation) => {
      expect(found).toContain(violation);
    });

    it.each([
      ['Nest in the engine', /^engine-without-nest: src\/store\/nest\.ts -> .*@nestjs\/common/],
      ['a package on the ground', /^only-down-from-ground: src\/errors\.ts -> .*@nestjs\/common/],
      ['an undeclared package', /^only-declared-packages: src\/store\/undeclared\.ts -> .*fast-check/],
      ['a type of one', /^only-declared-packages: src\/keyv\/undeclared-type\.ts -> .*keyv/],
      ['a package for development', /^only-declared-packages: src\/store\/development\.ts -> .*jest/],
      [
        'an optional peer in the engine',
        /^optional-peers-in-their-folder: src\/store\/optional\.ts -> .*express-session/,
      ],
    ])('reports %s', (_, violation) => {
      expect(found).toContainEqual(expect.stringMatching(violation));
    });

    it('reports nothing of the files that keep to the rules', () => {
      expect(found.filter((line) => line.includes('good.ts ->'))).toEqual([]);
    });
  });
});

it('has a folder for each optional peer', () => {
  const { peerDependenciesMeta } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    peerDependenciesMeta: Record<string, unknown>;
  };
  const rules = readFileSync(join(root, '.dependency-cruiser.cjs'), 'utf8');
  const listed = /const optionalPeers = \{(.*?)\}/s.exec(rules)?.[1] ?? '';
  for (const name of Object.keys(peerDependenciesMeta)) expect(listed).toContain(`'${name}'`);
});
