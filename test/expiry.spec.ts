/** Time to live: when entries end, what keeps or changes their expiry, and a clock that jumps. */
import { KvOptionsError } from 'nestjs-hotcold/store';
import { inEveryPlace } from './support/places.js';

const YEAR_MS = 365 * 86_400_000;

describe('expiry', () => {
  inEveryPlace((placed) => {
    it('ends an entry at its time, for every call', async () => {
      await placed().store.set('k', 1, { ttl: '1s' });
      await placed().store.set('stays', 1);
      await placed().settle();
      const { store, clock } = placed();
      clock.advance(999);
      expect(await store.get('k')).toBe(1);
      expect(await store.ttl('k')).toBe(1);
      expect(await store.getEntry('k')).toMatchObject({ expiresAt: clock.now() + 1 });
      clock.advance(1);
      expect(await store.get('k')).toBeUndefined();
      expect(store.peek('k')).toBeUndefined();
      expect(await store.getEntry('k')).toBeUndefined();
      expect(await store.has('k')).toBe(false);
      expect(await store.ttl('k')).toBeUndefined();
      expect(await store.touch('k', 1000)).toBe(false);
      expect(await store.delete('k')).toBe(false);
      expect(await store.getMany(['k', 'stays'])).toEqual([undefined, 1]);
    });

    it('is over for setIfAbsent, increment and update', async () => {
      for (const key of ['a', 'b', 'c']) await placed().store.set(key, 10, { ttl: 100 });
      await placed().settle();
      const { store, clock } = placed();
      clock.advance(100);
      expect(await store.setIfAbsent('a', 1)).toBe(true);
      expect(await store.increment('b')).toBe(1);
      expect(await store.update('c', (current) => [current])).toEqual([undefined]);
      // And the new ones do not end.
      clock.advance(YEAR_MS);
      expect(await store.getMany(['a', 'b', 'c'])).toEqual([1, 1, [undefined]]);
    });

    it('is kept by update and increment', async () => {
      await placed().store.set('k', 1, { ttl: 1000 });
      await placed().settle();
      placed().clock.advance(300);
      await placed().store.increment('k');
      await placed().store.update<number>('k', (n = 0) => n * 10);
      await placed().settle();
      expect(await placed().store.get('k')).toBe(20);
      expect(await placed().store.ttl('k')).toBe(700);
    });

    it('is given to what update and increment make, and not to what is there', async () => {
      await placed().store.set('there', 1);
      await placed().settle();
      const { store, clock } = placed();
      const later = async () => 1;
      for (const key of ['new', 'there']) await store.increment(key, 1, { ttl: '1m' });
      for (const key of ['made', 'there']) await store.update(key, () => 1, { ttl: '1m' });
      const options = { ttl: '1m' };
      const made = store.update('made later', later, options);
      options.ttl = '1h';
      await made;
      await store.update('for ever', () => 1, { ttl: Infinity });
      clock.advance(30_000);
      await store.increment('new', 1, { ttl: '1m' });
      await placed().settle();
      expect(await placed().store.get('new')).toBe(2);
      for (const key of ['new', 'made', 'made later']) expect(await placed().store.ttl(key)).toBe(30_000);
      for (const key of ['there', 'for ever']) expect(await placed().store.ttl(key)).toBe(Infinity);
    });

    it('survives a change of the value in place, longer and shorter', async () => {
      const { store } = placed();
      for (const length of [50, 20, 500]) {
        await store.set('k', 'x'.repeat(length), { ttl: 1000 });
        expect(await store.get('k')).toBe('x'.repeat(length));
        await store.set('k', 'y'.repeat(length));
        expect(await store.get('k')).toBe('y'.repeat(length));
        expect(await store.ttl('k')).toBe(Infinity);
      }
    });

    it('can be given, changed and taken away by touch', async () => {
      const { store } = placed();
      await store.set('k', 'value');
      await placed().settle();
      expect(await placed().store.touch('k', '1m')).toBe(true);
      await placed().settle();
      expect(await placed().store.ttl('k')).toBe(60_000);
      expect(await placed().store.touch('k', 5000)).toBe(true);
      expect(await placed().store.ttl('k')).toBe(5000);
      expect(await placed().store.touch('k', Infinity)).toBe(true);
      await placed().settle();
      expect(await placed().store.ttl('k')).toBe(Infinity);
      expect(await placed().store.get('k')).toBe('value');
      expect(await placed().store.touch('missing', 1000)).toBe(false);
    });

    it('touch leaves values of every length as they were', async () => {
      // 1 to 9 bytes around every alignment, and long ones.
      const lengths = [...Array.from({ length: 20 }, (_, i) => i), 255, 511, 512, 513, 2000];
      const valueOf = (length: number) =>
        Array.from({ length }, (_, i) => String.fromCharCode(97 + (i % 26))).join('');
      const check = async () => {
        for (const length of lengths) expect(await placed().store.get(length)).toBe(valueOf(length));
      };
      for (const length of lengths) {
        // A longer one first, so that the record has room to be changed in place.
        await placed().store.set(length, `${valueOf(length)}${'-'.repeat(40)}`);
        await placed().store.set(length, valueOf(length));
      }
      await placed().settle();
      for (const ttl of [1000, 2000, Infinity, 3000, Infinity]) {
        for (const length of lengths) expect(await placed().store.touch(length, ttl)).toBe(true);
        await check();
        await placed().settle();
        await check();
      }
    });

    it('never takes back that an entry has expired, when the clock goes backwards', async () => {
      await placed().store.set('k', 1, { ttl: 1000 });
      await placed().settle();
      placed().clock.advance(1000);
      expect(await placed().store.get('k')).toBeUndefined();
      placed().clock.jump(-YEAR_MS);
      expect(await placed().store.get('k')).toBeUndefined();
      await placed().settle();
      expect(await placed().store.get('k')).toBeUndefined();
      expect(await placed().store.ttl('k')).toBeUndefined();
    });

    it('does not let a clock that went backwards end a new entry early', async () => {
      const { clock } = placed();
      clock.jump(-YEAR_MS);
      await placed().store.set('k', 1, { ttl: 1000 });
      await placed().settle();
      expect(await placed().store.ttl('k')).toBe(1000);
      clock.jump(YEAR_MS);
      expect(await placed().store.get('k')).toBe(1);
    });
  });

  describe('of values that are no durations', () => {
    inEveryPlace((placed) => {
      it.each([0, -1, NaN, '', 'soon', '-5m', null, {}, 1e300])('refuses %p', async (ttl) => {
        const { store } = placed();
        await store.set('k', 'old');
        await expect(store.set('k', 'new', { ttl: ttl as number })).rejects.toThrow(KvOptionsError);
        await expect(store.touch('k', ttl as number)).rejects.toThrow(KvOptionsError);
        await expect(store.setIfAbsent('new', 1, { ttl: ttl as number })).rejects.toThrow(KvOptionsError);
        expect(() => store.namespace('n', { ttl: ttl as number })).toThrow(KvOptionsError);
        expect(await store.getMany(['k', 'new'])).toEqual(['old', undefined]);
        expect(await store.ttl('k')).toBe(Infinity);
      });
    });
  });
});
