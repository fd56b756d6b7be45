/**
 * An application as a process of its own: what SIGTERM does to requests in flight and to what they write, what a second
 * process on the same directory is told, and that nothing of ours keeps a process alive.
 */
import { Agent, request } from 'node:http';
import { KvStore } from 'nestjs-hotcold/store';
import { startChild } from './support/built-store.js';
import { missingPath } from './support/temp-directory.js';

const REQUESTS = 1000;

interface Answer {
  status: number | undefined;
  body: { version: number; value: string };
}

/** Resolves to the answer; rejects where the connection ends without one. */
function put(port: number, key: number, agent: Agent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ port, host: '127.0.0.1', method: 'PUT', path: `/${key}`, agent }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => (text += part));
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode, body: JSON.parse(text) }));
    });
    asked.on('error', reject);
    asked.end();
  });
}

describe('a Nest application in a process', () => {
  it(`answers ${REQUESTS} requests that are in flight at SIGTERM, and keeps what it has acknowledged`, async () => {
    const path = missingPath();
    const app = startChild('nest-app', { mode: 'serve', path, requests: REQUESTS });
    const port = Number((await app.line((line) => line.startsWith('port '))).split(' ')[1]);

    // A second process on the directory, as PM2 in cluster mode would start it.
    const second = startChild('nest-app', { mode: 'closed', path });
    const explained = await second.line((line) => line.startsWith('error Store'));
    expect(explained).toContain(`is in use by process ${app.process.pid}`);
    expect(explained).toMatch(/PM2 in cluster mode.* give each a path of its own/);
    expect(await second.ended).toBe(1);
    expect(second.lines.at(-1)).toBe('refused KV_LOCKED');

    const agent = new Agent({ keepAlive: true });
    const answers = Promise.allSettled(Array.from({ length: REQUESTS }, (_, key) => put(port, key, agent)));
    await app.line((line) => line === 'arrived');
    app.process.kill('SIGTERM');
    const settled = await answers;
    expect(settled.filter(({ status }) => status === 'rejected')).toEqual([]);
    const answered = settled.map((one) => (one as PromiseFulfilledResult<Answer>).value);
    expect(answered.filter(({ status }) => status !== 200)).toEqual([]);
    expect(answered.map(({ body }) => body.value)).toEqual(answered.map((_, key) => `after ${key}`));
    expect(await app.ended).toBe('SIGTERM');
    agent.destroy();
    expect(app.lines.filter((line) => /^(warn|error)/.test(line))).toEqual([]);

    const store = await KvStore.open({ path });
    expect(store.opened).toMatchObject({ clean: true, droppedBytes: 0 });
    for (const [key, { body }] of answered.entries())
      expect(await store.getEntry(`${key}`)).toMatchObject({ value: `after ${key}`, version: body.version });
    await store.close();
  });

  it.each(['closed', 'left'])('ends by itself when its store is %s', async (mode) => {
    const app = startChild('nest-app', { mode, path: missingPath() });
    expect(await app.ended).toBe(0);
    expect(app.lines.at(-1)).toBe('done');
  });
});
