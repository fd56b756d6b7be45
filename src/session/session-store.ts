/**
 * A store for `express-session`: sessions survive a restart, and need no server of their own. A session lives as long as
 * its cookie, and `ttl` where the cookie lasts as long as the browser.
 */
import { Store, type SessionData } from 'express-session';
import { nodeEnv } from '../device/node-env.js';
import { checkAdapter } from '../store/adapters.js';
import type { KvDuration, KvNamespace } from '../store/index.js';
import { parseTtl } from '../store/options.js';

/** What the session store needs: a `KvStore`, or the `KvStoreService` that Nest injects. */
export interface KvStoreForSessions {
  namespace<V>(name: string): KvNamespace<V>;
}

export interface KvSessionOptions {
  /** Namespace of the store that holds the sessions. Default `'sessions'`. */
  namespace?: string;
  /** How long a session lives whose cookie does not say so, from its last request on. Default one day. */
  ttl?: KvDuration;
  /** With `true`, requests that change nothing do not renew a session. Default `false`. */
  disableTouch?: boolean;
}

type Done<T = void> = (error: unknown, result?: T) => void;

const DEFAULT_TTL = '1d';
const OPTIONS = ['namespace', 'ttl', 'disableTouch'];

/**
 * Sessions of `express-session` in a store. Closing the store is up to whoever opened it.
 *
 * @example
 * app.use(session({ store: new KvSessionStore(app.get(KvStoreService)), secret, resave: false, saveUninitialized: false }));
 */
export class KvSessionStore extends Store {
  private readonly sessions: KvNamespace<SessionData>;
  private readonly ttlMs: number;
  private readonly disableTouch: boolean;

  /**
   * @throws KvOptionsError when the first argument is no store, an option is none, `namespace` is not a name, or `ttl` not
   *   a duration
   */
  constructor(store: KvStoreForSessions, options: KvSessionOptions = {}) {
    super();
    checkAdapter(store, options, OPTIONS);
    this.sessions = store.namespace(options.namespace ?? 'sessions');
    this.ttlMs = parseTtl(options.ttl ?? DEFAULT_TTL);
    this.disableTouch = options.disableTouch ?? false;
  }

  /** The session, or `null` when it is absent or expired. */
  get(sid: string, done: Done<SessionData | null>): void {
    answer(
      done,
      this.sessions.get(sid).then((session) => session ?? null),
    );
  }

  set(sid: string, session: SessionData, done?: Done): void {
    answer(done, this.save(sid, session));
  }

  destroy(sid: string, done?: Done): void {
    answer(done, this.sessions.delete(sid));
  }

  /** Renews a session that was used and not changed. */
  override touch(sid: string, session: SessionData, done?: Done): void {
    answer(done, this.disableTouch ? Promise.resolve() : this.renew(sid, session));
  }

  override all(done: Done<SessionData[]>): void {
    answer(done, collect(this.sessions.values()));
  }

  override length(done: Done<number>): void {
    answer(
      done,
      collect(this.sessions.keys()).then(({ length }) => length),
    );
  }

  override clear(done?: Done): void {
    answer(done, this.sessions.clear());
  }

  /** Milliseconds; not positive when the cookie has expired. */
  private ttlOf({ cookie }: SessionData): number {
    const { expires } = cookie as { expires?: Date | string | null };
    const expiresAt = expires ? new Date(expires).getTime() : NaN;
    return Number.isNaN(expiresAt) ? this.ttlMs : expiresAt - nodeEnv.clock.now();
  }

  private async save(sid: string, session: SessionData): Promise<void> {
    const ttl = this.ttlOf(session);
    // As JSON carries it: a cookie is an object with methods, and what applications put beside it may be as well.
    const data = toPlain(session);
    await (ttl > 0 ? this.sessions.set(sid, data, { ttl }) : this.sessions.delete(sid));
  }

  private async renew(sid: string, session: SessionData): Promise<void> {
    const ttl = this.ttlOf(session);
    if (ttl <= 0) {
      await this.sessions.delete(sid);
      return;
    }
    await this.sessions.update(sid, (stored) => stored && { ...stored, cookie: toPlain(session.cookie) });
    await this.sessions.touch(sid, ttl);
  }
}

function toPlain<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Gives a callback what a promise comes to; what the callback throws is its own. */
function answer<T>(done: Done<T> | undefined, promise: Promise<unknown>): void {
  promise.then(
    (result) => done && setImmediate(done, null, result as T),
    (error: unknown) => done && setImmediate(done, error),
  );
}
