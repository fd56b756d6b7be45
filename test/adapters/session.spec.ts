/** Sessions of express-session in a store: through Express, over a restart, and each call of a session store by itself. */
import express from 'express';
import session, { type SessionData } from 'express-session';
import { KvSessionStore } from 'nestjs-hotcold/session';
import { KvOptionsError, KvStore } from 'nestjs-hotcold/store';
import request from 'supertest';
import { missingPath } from '../support/temp-directory.js';

declare module 'express-session' {
  interface SessionData {
    views: number;
  }
}

function application(store: KvStore, cookie: session.CookieOptions = {}) {
  const app = express();
  app.use(
    session({
      store: new KvSessionStore(store),
      secret: 'test',
      resave: false,
      saveUninitialized: false,
      cookie,
    }),
  );
  app.get('/count', (req, res) => {
    req.session.views = (req.session.views ?? 0) + 1;
    res.json(req.session.views);
  });
  app.get('/look', (req, res) => void res.json(req.session.views ?? null));
  app.get('/leave', (req, res) => req.session.destroy((error) => void res.json(error ?? 'gone')));
  return app;
}

describe('behind Express', () => {
  it('counts in a session, over a restart, until it is destroyed', async () => {
    const path = missingPath();
    const first = await KvStore.open({ path });
    const visit = await request(application(first)).get('/count').expect(200, '1');
    const cookie = String(visit.headers['set-cookie'][0]).split(';')[0];
    await request(application(first)).get('/count').set('Cookie', cookie).expect('2');
    await first.close();

    const second = await KvStore.open({ path });
    const app = application(second);
    await request(app).get('/count').set('Cookie', cookie).expect('3');
    await request(app).get('/count').expect('1');
    await request(app).get('/leave').set('Cookie', cookie).expect('"gone"');
    await request(app).get('/look').set('Cookie', cookie).expect('null');
    await second.close();
  });

  it('lets a session live as long as its cookie, and renews it with each request', async () => {
    const store = await KvStore.open({ device: 'memory' });
    const app = application(store, { maxAge: 60_000 });
    const visit = await request(app).get('/count').expect('1');
    const cookie = String(visit.headers['set-cookie'][0]).split(';')[0];
    const sessions = store.namespace('sessions');
    const { value: sid } = (await sessions.keys().next()) as { value: string };
    expect(await sessions.ttl(sid)).toBeLessThanOrEqual(60_000);
    await sessions.touch(sid, 5_000);
    await request(app).get('/look').set('Cookie', cookie).expect('1');
    expect(await sessions.ttl(sid)).toBeGreaterThan(50_000);
    await store.close();
  });
});

describe('each call', () => {
  let store: KvStore;
  beforeAll(async () => {
    store = await KvStore.open({ device: 'memory' });
  });
  afterAll(() => store.close());
  beforeEach(() => store.clear());

  const data = (views: number, expires?: Date): SessionData => ({
    views,
    cookie: { originalMaxAge: null, expires },
  });
  const called = <T>(call: (done: (error: unknown, result?: T) => void) => void) =>
    new Promise<T | undefined>((resolve, reject) => {
      call((error, result) => {
        if (error instanceof Error) reject(error);
        else resolve(result);
      });
    });

  it('sets, gets, lists, counts, destroys and clears', async () => {
    const sessions = new KvSessionStore(store, { ttl: '1h' });
    expect(await called((done) => sessions.get('none', done))).toBeNull();
    await called((done) => sessions.set('a', data(1), done));
    await called((done) => sessions.set('b', data(2), done));
    expect(await called((done) => sessions.get('a', done))).toMatchObject({ views: 1 });
    expect(await called<number>((done) => sessions.length(done))).toBe(2);
    const all = await called<SessionData[]>((done) => sessions.all(done));
    expect(all?.map(({ views }) => views).sort()).toEqual([1, 2]);
    expect(await store.namespace('sessions').ttl('a')).toBeGreaterThan(3_500_000);
    await called((done) => sessions.destroy('a', done));
    expect(await called((done) => sessions.get('a', done))).toBeNull();
    await called((done) => sessions.clear(done));
    expect(await called<number>((done) => sessions.length(done))).toBe(0);
  });

  it('removes a session whose cookie has expired', async () => {
    const sessions = new KvSessionStore(store);
    await called((done) => sessions.set('s', data(1), done));
    await called((done) => sessions.set('s', data(1, new Date(Date.now() - 1)), done));
    expect(await called((done) => sessions.get('s', done))).toBeNull();
  });

  it('does not bring back by a touch what was destroyed meanwhile', async () => {
    const sessions = new KvSessionStore(store);
    await called((done) => sessions.touch('s', data(1, new Date(Date.now() + 60_000)), done));
    expect(await called((done) => sessions.get('s', done))).toBeNull();
  });

  it('renews nothing where touching is switched off', async () => {
    const sessions = new KvSessionStore(store, { disableTouch: true, ttl: 60_000 });
    await called((done) => sessions.set('s', data(1), done));
    await called((done) => sessions.touch('s', data(1, new Date(Date.now() + 600_000)), done));
    expect(await store.namespace('sessions').ttl('s')).toBeLessThanOrEqual(60_000);
  });

  it('gives a failure to the callback', async () => {
    const closed = await KvStore.open({ device: 'memory', name: 'closed' });
    const sessions = new KvSessionStore(closed);
    await closed.close();
    await expect(called((done) => sessions.get('s', done))).rejects.toMatchObject({ code: 'KV_CLOSED' });
    await expect(called((done) => sessions.set('s', data(1), done))).rejects.toMatchObject({
      code: 'KV_CLOSED',
    });
  });

  it.each<[string, object]>([
    ['a bigint in it', { cookie: {}, n: 1n }],
    ['itself in it', Object.assign(data(1), { self: {} })],
    ['no cookie', { views: 1 }],
  ])('gives the failure of a session with %s to the callback', async (_, session) => {
    const sessions = new KvSessionStore(store);
    if ('self' in session) session.self = session;
    const failing = called((done) => {
      expect(() => sessions.set('s', session as SessionData, done)).not.toThrow();
    });
    await expect(failing).rejects.toThrow(TypeError);
    await expect(called((done) => sessions.get('s', done))).resolves.toBeNull();
  });

  it('keeps a session for the default time whose cookie does not say when it expires', async () => {
    const sessions = new KvSessionStore(store, { ttl: '1h' });
    for (const expires of ['soon', null, false, undefined]) {
      await called((done) => sessions.set('s', data(1, expires as never), done));
      expect(await called((done) => sessions.get('s', done))).toMatchObject({ views: 1 });
      expect(await store.namespace('sessions').ttl('s')).toBeGreaterThan(3_500_000);
      await called((done) => sessions.touch('s', data(1, expires as never), done));
      expect(await store.namespace('sessions').ttl('s')).toBeGreaterThan(3_500_000);
    }
  });

  it('refuses a time to live that is none', () => {
    expect(() => new KvSessionStore(store, { ttl: 'soon' })).toThrow(KvOptionsError);
  });
});

it('refuses what is no store, and options that there are not', async () => {
  const store = await KvStore.open({ device: 'memory' });
  expect(() => new KvSessionStore('./data' as never)).toThrow('the first argument must be a KvStore');
  expect(() => new KvSessionStore(store, { tl: '1d' } as never)).toThrow('tl: is not an option');
  await store.close();
});
