/**
 * Hostile names of stores, namespaces and keys: nothing outside the directory is touched, nothing in it gets a name of
 * theirs, and `Object.prototype` stays as it is. (Names of sessions and logs: there are none to choose.)
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { KvOptionsError, KvStore } from 'nestjs-hotcold/store';
import { SeededRandom } from './support/seeded-random.js';
import { RUNS, SEED, tally } from './support/tally.js';
import { contentsOf, tempDirectory } from './support/temp-directory.js';

const PIECES = [
  ...[
    '..',
    '.',
    '/',
    '\\',
    '\0',
    '\n',
    '\r',
    '%2e%2e',
    '%00',
    '~',
    '$HOME',
    '`id`',
    '$(id)',
    ';',
    '|',
    '&',
    '*',
  ],
  ...[
    '?',
    '[a-z]+',
    '(a+)+$',
    '^',
    '{{7*7}}',
    '${7*7}',
    '<script>',
    "'",
    '"',
    '--',
    '/etc/passwd',
    'C:\\',
    'CON',
  ],
  ...[
    'NUL',
    'aux.log',
    'MANIFEST',
    'DICTIONARY',
    'LOCK',
    'hot-00000000.log',
    'cold-00000000.log',
    'MANIFEST.tmp',
  ],
  ...[
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    'hasOwnProperty',
    'toJSON',
    'then',
    '\u202e',
    '\ufeff',
  ],
  ...[
    '\ud83d\ude00',
    'e\u0301',
    '\u00e9',
    ' ',
    '\t',
    '\x1b[31m',
    '\x07',
    '0',
    '-1',
    '1e309',
    'null',
    'undefined',
  ],
  ...['\ud800', 'x'.repeat(600), ''],
];

const OURS =
  /^(LOCK|MANIFEST|DICTIONARY|(hot|cold|index)-[0-9a-f]{8}\.log|(checkpoint|hint)-[0-9a-f]{8}\.dat)$/;

it('of 500 kinds touch nothing outside the directory', async () => {
  const random = new SeededRandom(SEED);
  const count = 500 * RUNS;
  const names = new Set<string>(PIECES);
  while (names.size < count) {
    const pieces = Array.from({ length: 1 + random.below(4) }, () => PIECES[random.below(PIECES.length)]);
    names.add(pieces.join(random.chance(0.5) ? '' : String.fromCharCode(random.below(0x300))));
  }
  const parent = tempDirectory();
  const path = join(parent, 'store');
  const before = contentsOf(parent);
  const prototype = JSON.stringify(Object.getOwnPropertyNames(Object.prototype));

  let store = await KvStore.open({ path, name: [...names][SEED % names.size] });
  let refused = 0;
  const expected = new Map<string, string>();
  for (const name of names) {
    try {
      await store.namespace(name).set(name, name);
      expected.set(name, name);
    } catch (error) {
      expect(error).toMatchObject({ name: expect.stringMatching(/^Kv(Options|Encoding)Error$/) as string });
      refused++;
    }
  }
  expect(refused).toBeLessThan(names.size / 2);
  await store.compact({ full: true });
  await store.close();
  expect(before).toEqual({});
  expect(readdirSync(parent)).toEqual(['store']);
  for (const name of readdirSync(path)) expect(name).toMatch(OURS);

  store = await KvStore.open({ path });
  for (const [name, value] of expected) expect(await store.namespace(name).get(name)).toBe(value);
  await store.close();
  expect(JSON.stringify(Object.getOwnPropertyNames(Object.prototype))).toBe(prototype);
  tally({ names: names.size });
});

it.each(['', '\ud800', 'x'.repeat(513), 7, null])('refuses %j for a namespace', async (name) => {
  const store = await KvStore.open();
  expect(() => store.namespace(name as string)).toThrow(KvOptionsError);
  await store.close();
});
