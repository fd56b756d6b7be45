/** Key spaces within one store: apart from each other, with a default ttl, cleared alone, under any name. */
import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { KvOptionsError, KvStore } from 'nestjs-hotcold/store';
import { inEveryPlace } from './support/places.js';
import { contentsOf, missingPath } from './support/temp-directory.js';

describe('namespaces', () => {
  inEveryPlace((placed) => {
    it('hold the same key apart from the store and from each other', async () => {
      const { store } = placed();
      await store.set('k', 'store');
      await store.namespace('a').set('k', 'a');
      await store.namespace('b').set('k', 'b');
      await placed().settle();
      const after = placed().store;
      expect(await after.get('k')).toBe('store');
      expect(await after.namespace('a').get('k')).toBe('a');
      expect(await after.namespace('b').get('k')).toBe('b');
      expect(await after.namespace('c').get('k')).toBeUndefined();
      await after.namespace('a').delete('k');
      await placed().settle();
      expect(await placed().store.get('k')).toBe('store');
      expect(await placed().store.namespace('a').get('k')).toBeUndefined();
      expect(await placed().store.namespace('b').get('k')).toBe('b');
    });

    it('are the same under the same name', async () => {
      const { store } = placed();
      expect(store.namespace('a').name).toBe('a');
      await store.namespace('a').set('k', 1);
      await store.namespace('a').increment('k');
      expect(await store.namespace('a').get('k')).toBe(2);
    });

    it('are cleared alone', async () => {
      const { store } = placed();
      await store.set('k', 'store');
      await store.namespace('a').set('k', 'a');
      await store.namespace('b').set('k', 'b');
      await placed().settle();
      await placed().store.namespace('a').clear();
      await placed().store.namespace('a').set('new', 'a');
      await placed().settle();
      const after = placed().store;
      expect(await after.namespace('a').getMany(['k', 'new'])).toEqual([undefined, 'a']);
      expect(await after.namespace('b').get('k')).toBe('b');
      expect(await after.get('k')).toBe('store');
    });

    it('are cleared with the store, also those not used since it was opened', async () => {
      await placed().store.set('k', 'store');
      await placed().store.namespace('a').set('k', 'a');
      await placed().settle();
      await placed().store.clear();
      await placed().store.namespace('b').set('k', 'b');
      await placed().settle();
      expect(await placed().store.get('k')).toBeUndefined();
      expect(await placed().store.namespace('a').get('k')).toBeUndefined();
      expect(await placed().store.namespace('b').get('k')).toBe('b');
    });

    it('are told apart when there are more than one byte can number', async () => {
      const count = 300;
      for (let i = 0; i < count; i++) await placed().store.namespace(`n${i}`).set('k', i);
      await placed().store.namespace('n200').clear();
      await placed().settle();
      for (let i = 0; i < count; i++) {
        expect(await placed().store.namespace(`n${i}`).get('k')).toBe(i === 200 ? undefined : i);
      }
    });

    it('give entries their default ttl, unless told otherwise', async () => {
      const { store, clock } = placed();
      const space = store.namespace<number>('short', { ttl: '1s' });
      await space.set('set', 1);
      await space.setMany([['many', 1]]);
      await space.setIfAbsent('absent', 1);
      await space.update('update', () => 1);
      await space.increment('increment');
      await space.set('longer', 1, { ttl: '2s' });
      await space.set('forever', 1, { ttl: Infinity });
      await store.set('store', 1);
      await placed().settle();
      const after = placed().store.namespace('short', { ttl: '1s' });
      const keys = ['set', 'many', 'absent', 'update', 'increment'];
      expect(await Promise.all(keys.map((key) => after.ttl(key)))).toEqual(keys.map(() => 1000));
      clock.advance(1000);
      expect(await after.getMany(keys)).toEqual(keys.map(() => undefined));
      expect(await after.getMany(['longer', 'forever'])).toEqual([1, 1]);
      expect(await placed().store.ttl('store')).toBe(Infinity);
    });
  });
});

const HOSTILE_NAMES = [
  '../../escape',
  '/etc/passwd',
  '..',
  '.',
  ' ',
  '\0',
  'a\0b',
  'line\nbreak\r\n',
  '"quoted" \\ and \'more\'',
  '{"namespace":"x"}',
  '__proto__',
  'constructor',
  'toString',
  'MANIFEST',
  'CON',
  '${x}`$(rm -rf /)`',
  '^(a+)+$',
  'ünïcödé 🦜',
  '\u202eevil',
  'x'.repeat(512),
];

describe('hostile names of namespaces', () => {
  it('work as any other, and touch nothing outside the directory', async () => {
    const path = missingPath();
    const store = await KvStore.open({ path });
    for (const [i, name] of HOSTILE_NAMES.entries()) await store.namespace(name).set('k', i);
    await store.close();
    expect(readdirSync(dirname(path))).toEqual(['store']);
    expect(Object.keys(contentsOf(path)).toSorted()).toEqual([
      'DICTIONARY',
      'LOCK',
      'MANIFEST',
      'hot-00000000.log',
    ]);
    const again = await KvStore.open({ path });
    for (const [i, name] of HOSTILE_NAMES.entries()) expect(await again.namespace(name).get('k')).toBe(i);
    expect(({} as Record<string, unknown>).namespace).toBeUndefined();
    await again.close();
  });

  it.each(['', 'x'.repeat(513), '\ud800', 'é'.repeat(257), 1, null, undefined, {}, ['a']])(
    'are refused where they cannot be kept: %p',
    async (name) => {
      const store = await KvStore.open();
      expect(() => store.namespace(name as string)).toThrow(KvOptionsError);
      await store.close();
    },
  );
});
