// Enough of Jest for the tests of a unit, without its environment: runs the bundles of tests that it is sent, one after
// the other, each up to the first test that fails, and answers with the name of that one, or nothing.
import { createRequire } from 'node:module';
import { expect } from 'expect';
import { bind } from 'jest-each';

const require = createRequire(import.meta.url);

let tests = [];
let names = [];
/** Hooks of the groups around, in the order in which they run. */
let before = [];
let after = [];

function describe(name, define) {
  const outer = [names, before, after];
  names = [...names, name];
  before = [...before];
  after = [...after];
  define();
  [names, before, after] = outer;
}

function it(name, run) {
  tests.push({ name: [...names, name].join(' '), run, before, after });
}

describe.each = bind(describe);
it.each = bind(it);

Object.assign(globalThis, {
  describe,
  it,
  expect,
  beforeEach: (hook) => before.push(hook),
  afterEach: (hook) => after.unshift(hook),
});

async function failureOf(code) {
  tests = [];
  try {
    new Function('require', 'module', 'exports', code)(require, {}, {});
  } catch (error) {
    return `at its definition: ${error.message}`;
  }
  for (const test of tests) {
    try {
      for (const step of [...test.before, test.run, ...test.after]) await step();
    } catch (error) {
      return `${test.name}: ${error.message}`;
    }
  }
  return undefined;
}

// What is thrown where nobody waits, as a failure of whatever runs.
process.on('unhandledRejection', () => undefined);
process.on('message', async (code) => process.send({ failure: await failureOf(code) }));
