// Imports and requires every entry point of the installed package. Both have to give the same classes: with two copies,
// what Nest injects for one of them is not found for the other. Prints the entry points that there are.
const { exports: declared } = require('nestjs-hotcold/package.json');

async function main() {
  const loaded = {};
  for (const entry of Object.keys(declared).filter((name) => name !== './package.json')) {
    const name = `nestjs-hotcold${entry.slice(1)}`;
    if (process.env.WITHOUT.split(' ').includes(name)) continue;
    const imported = await import(name);
    const required = require(name);
    const names = Object.keys(imported).filter((key) => key !== 'default' && key !== 'module.exports');
    if (names.length === 0) throw new Error(`${name} exports nothing`);
    for (const key of names)
      if (imported[key] !== required[key])
        throw new Error(`${key} of ${name} differs between import and require`);
    loaded[name] = imported;
  }
  const { 'nestjs-hotcold': all, 'nestjs-hotcold/store': engine } = loaded;
  if (!all.KvStoreService) throw new Error('there is no KvStoreService');
  for (const key of Object.keys(engine))
    if (all[key] !== engine[key]) throw new Error(`${key} of nestjs-hotcold and nestjs-hotcold/store differ`);
  console.log(Object.keys(loaded).join(' '));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
