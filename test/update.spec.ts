/** Read-modify-write: `update` with plain and asynchronous functions, and what it does when others get in between. */
import { KvEncodingError, KvVersionConflictError } from 'nestjs-hotcold/store';
import { MAX_UPDATE_ATTEMPTS } from '../src/limits.js';
import { inEveryPlace } from './support/places.js';

/** A promise that the test resolves. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

describe('update', () => {
  inEveryPlace((placed) => {
    beforeEach(async () => {
      await placed().store.set('list', ['a']);
      await placed().settle();
    });

    it('replaces a value by what the function makes of it', async () => {
      const { store } = placed();
      const result = await store.update<string[]>('list', (list = []) => [...list, 'b']);
      expect(result).toEqual(['a', 'b']);
      await placed().settle();
      expect(await placed().store.get('list')).toEqual(['a', 'b']);
    });

    it('gives undefined for an absent key, and sets it', async () => {
      const seen: unknown[] = [];
      await placed().store.update('new', (current) => {
        seen.push(current);
        return 1;
      });
      expect(seen).toEqual([undefined]);
      await placed().settle();
      expect(await placed().store.get('new')).toBe(1);
    });

    it('deletes when the function returns undefined', async () => {
      const { store } = placed();
      expect(await store.update('list', () => undefined)).toBeUndefined();
      expect(await store.update('missing', () => undefined)).toBeUndefined();
      await placed().settle();
      expect(await placed().store.has('list')).toBe(false);
    });

    it('changes nothing when the function throws or rejects', async () => {
      const { store } = placed();
      const thrown = new Error('mine');
      const throwing = () => {
        throw thrown;
      };
      await expect(store.update('list', throwing)).rejects.toBe(thrown);
      await expect(store.update('list', () => Promise.reject(thrown))).rejects.toBe(thrown);
      await expect(store.update('list', () => (() => 1) as never)).rejects.toThrow(KvEncodingError);
      expect(await store.get('list')).toEqual(['a']);
    });

    it('hands out a copy: changing it without returning it changes nothing', async () => {
      const { store } = placed();
      await expect(
        store.update<string[]>('list', (list) => {
          list?.push('lost');
          throw new Error('mine');
        }),
      ).rejects.toThrow('mine');
      expect(await store.get('list')).toEqual(['a']);
    });

    it('runs an asynchronous function again when the key changes meanwhile', async () => {
      const { store } = placed();
      const { opened, open } = gate();
      const seen: unknown[] = [];
      const updated = store.update<string[]>('list', async (list = []) => {
        seen.push(list);
        await opened;
        return [...list, 'updated'];
      });
      await store.set('list', ['other']);
      open();
      expect(await updated).toEqual(['other', 'updated']);
      expect(seen.at(-1)).toEqual(['other']);
      expect(await store.get('list')).toEqual(['other', 'updated']);
    });

    it.each(['deleted', 'cleared', 'deleted and set again'])(
      'runs again when the key is %s meanwhile',
      async (what) => {
        const { store } = placed();
        const { opened, open } = gate();
        const updated = store.update<string[]>('list', async (list = []) => {
          await opened;
          return [...list, 'updated'];
        });
        // So that the function has seen the old value, also where that comes from disk.
        await store.get('list');
        if (what === 'cleared') await store.clear();
        else await store.delete('list');
        if (what === 'deleted and set again') await store.set('list', ['again']);
        open();
        const expected = what === 'deleted and set again' ? ['again', 'updated'] : ['updated'];
        expect(await updated).toEqual(expected);
        expect(await store.get('list')).toEqual(expected);
      },
    );

    it('runs again when an absent key appears meanwhile', async () => {
      const { store } = placed();
      const { opened, open } = gate();
      const updated = store.update<number>('new', async (n = 0) => {
        await opened;
        return n + 1;
      });
      await store.set('new', 10);
      open();
      expect(await updated).toBe(11);
    });

    it('loses none of many concurrent ones', async () => {
      const { store } = placed();
      const names = Array.from({ length: 40 }, (_, i) => `n${i}`);
      await Promise.all(
        names.map((name, i) =>
          store.update<string[]>('list', (list = []) =>
            i % 2 ? [...list, name] : Promise.resolve([...list, name]),
          ),
        ),
      );
      const list = (await store.get<string[]>('list')) ?? [];
      expect(list.toSorted()).toEqual(['a', ...names].toSorted());
    });

    it.each(['a plain', 'an asynchronous'])(
      'gives up where %s function writes the key itself',
      async (kind) => {
        const { store } = placed();
        let runs = 0;
        const change = () => {
          if (++runs > MAX_UPDATE_ATTEMPTS) throw new Error('Without end');
          const written = store.set('list', runs);
          return kind === 'a plain' ? -1 : written.then(() => -1);
        };
        const error = await store.update<unknown>('list', change).catch((thrown: unknown) => thrown);
        expect(error).toBeInstanceOf(KvVersionConflictError);
        const version = (await store.getEntry('list'))?.version;
        expect(error).toMatchObject({
          actual: version,
          message: expect.stringContaining('not write the key'),
        });
        expect(runs).toBe(MAX_UPDATE_ATTEMPTS);
        await placed().settle();
        expect(await placed().store.get('list')).toBe(MAX_UPDATE_ATTEMPTS);
      },
    );

    it('may use the store within its function', async () => {
      const { store } = placed();
      await store.update('list', async (list) => {
        await store.set('other', 1);
        return [list, await store.get('other')];
      });
      await placed().settle();
      expect(await placed().store.getMany(['list', 'other'])).toEqual([[['a'], 1], 1]);
    });
  });
});
