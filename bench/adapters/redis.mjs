/**
 * redis-server of its own over a unix socket (it listens on no network), through ioredis with automatic pipelining; values
 * as JSON, an append-only file that is synced every second, or before each answer when `durable`. Its read-modify-write
 * is a read and a write. Memory is that of both processes.
 */
import { spawn } from 'node:child_process';
import { accessSync, constants, mkdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { Redis } from 'ioredis';

const SERVER = 'redis-server';
/** Of util-linux: becomes the command, which then is killed when its parent ends. */
const LEASH = ['setpriv', '--pdeathsig', 'KILL'];

export const packageName = 'ioredis';

/** Why it cannot run here, if it cannot. */
export function unavailable() {
  if (isThere(SERVER)) return undefined;
  return 'redis-server is not installed (Debian: apt-get install redis-server)';
}

export async function open(path, { durable = false }) {
  mkdirSync(path, { recursive: true });
  const socket = join(path, 's');
  // A server must not outlive this process, however that ends.
  const [command, ...first] = isThere(LEASH[0]) ? [...LEASH, SERVER] : [SERVER];
  const server = spawn(
    command,
    [
      ...first,
      ...['--port', '0', '--unixsocket', socket, '--unixsocketperm', '700', '--daemonize', 'no'],
      ...['--dir', path, '--save', '', '--loglevel', 'warning', '--appendonly', 'yes'],
      ...['--appendfsync', durable ? 'always' : 'everysec'],
    ],
    { stdio: 'ignore' },
  );
  const ended = new Promise((resolve) => server.once('close', resolve));
  const endWithUs = () => server.kill('SIGKILL');
  process.once('exit', endWithUs);
  const client = new Redis({ path: socket, enableAutoPipelining: true, retryStrategy: () => 20 });
  // Until the socket is there.
  client.on('error', () => {});
  await Promise.race([
    client.ping(),
    ended.then((code) => Promise.reject(new Error(`redis-server ended: ${code}`))),
  ]);

  const get = async (key) => {
    const text = await client.get(key);
    return text === null ? undefined : JSON.parse(text);
  };
  const set = (key, value) => client.set(key, JSON.stringify(value));
  return {
    get,
    set,
    update: async (key, change) => set(key, change(await get(key))),
    setMany: (entries) => client.mset(entries.flatMap(([key, value]) => [key, JSON.stringify(value)])),
    processes: [server.pid],
    close: async () => {
      client.disconnect();
      server.kill('SIGTERM');
      await ended;
      process.removeListener('exit', endWithUs);
    },
  };
}

function isThere(command) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, command), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
