/** docs/troubleshooting.md, executed: what Nest and the log say is what the page says, and its remedies are some. */
import 'reflect-metadata';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConsoleLogger, Injectable, Module, type INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { transformSync } from '@swc/core';
import { Cached, InjectKv, InjectKvStore, KvModule, KvNamespace, KvStoreService } from 'nestjs-hotcold';

const PAGE = readFileSync(join(__dirname, '../../docs/troubleshooting.md'), 'utf8');
const textOf = (language: string) =>
  [...PAGE.matchAll(new RegExp(`\`\`\`${language}\\n([^]*?)\\n\`\`\``, 'g'))].map((match) => match[1]);
const TEXTS = textOf('text');

const open: INestApplicationContext[] = [];

beforeEach(() => {
  jest.spyOn(ConsoleLogger.prototype, 'log').mockImplementation(() => {});
});

afterEach(async () => {
  for (const app of open.splice(0)) await app.close();
  jest.restoreAllMocks();
});

async function start(imports: any[], type: any, logger: ConsoleLogger | false = false) {
  class AppModule {}
  Module({ imports, providers: [type] })(AppModule);
  const app = await NestFactory.createApplicationContext(AppModule, { logger, abortOnError: false });
  open.push(app);
  return app;
}

const root = () => KvModule.forRoot();
const archive = () => KvModule.forRoot({ name: 'archive' });
const users = (options?: { store: string }) => KvModule.forFeature([{ name: 'users' }], options);

function injecting(decorate: ParameterDecorator, type: unknown) {
  class UsersService {
    constructor(readonly kv: unknown) {}
  }
  Reflect.defineMetadata('design:paramtypes', [type], UsersService);
  decorate(UsersService, undefined, 0);
  Injectable()(UsersService);
  return UsersService;
}

const none: ParameterDecorator = () => {};

/** In the order of the page: what is missing, modules without it, who injects it, and modules with it. */
const missing: [string, any[], any, any[]][] = [
  ['the store', [], injecting(none, KvStoreService), [root()]],
  ['a store by its name', [root()], injecting(InjectKvStore('archive'), KvStoreService), [root(), archive()]],
  ['a namespace', [root()], injecting(InjectKv('users'), KvNamespace), [root(), users()]],
  [
    'a namespace of another store',
    [root(), archive(), users()],
    injecting(InjectKv('users', { store: 'archive' }), KvNamespace),
    [root(), archive(), users({ store: 'archive' })],
  ],
  ['the store of a namespace', [users()], injecting(InjectKv('users'), KvNamespace), [root(), users()]],
];

it.each(missing.map((row, index) => [...row, index] as const))(
  'what Nest says where %s is missing is on the page, and so is what helps',
  async (_, wrong, type, right, index) => {
    await expect(start(wrong, type)).rejects.toThrow(`${TEXTS[index]}\n`);
    const app = await start(right, type);
    expect(app.get<{ kv: unknown }>(type).kv).toBeDefined();
  },
);

it('what the log says of a cached method in an application without a store is on the page', async () => {
  @Injectable()
  class UsersService {
    @Cached() async find() {
      return 1;
    }
  }
  const logger = new ConsoleLogger();
  const warn = jest.spyOn(logger, 'warn').mockImplementation(() => {});
  const app = await start([], UsersService, logger);
  expect(await app.get(UsersService).find()).toBe(1);
  expect(warn.mock.calls).toEqual([[TEXTS[missing.length], 'Cached']]);
});

it('the logger of the page leaves out what the application is warned of at its start, and nothing else', async () => {
  const { code } = transformSync(`${textOf('ts')[0]}\nmodule.exports = QuietLogger;`, {
    filename: 'page.ts',
    configFile: false,
    swcrc: false,
    module: { type: 'commonjs' },
    jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
  });
  const module = { exports: ConsoleLogger };
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- running the example is what this test is for
  new Function('require', 'module', 'exports', code)(require, module, module.exports);
  class UsersService {
    @Cached({ store: 'nowhere' }) async find() {
      return 1;
    }
  }
  const print = jest.spyOn(ConsoleLogger.prototype, 'warn').mockImplementation(() => {});
  await start([root()], UsersService, new ConsoleLogger());
  expect(print.mock.calls).toEqual([[expect.stringContaining('without the store "nowhere"'), 'KvModule']]);
  print.mockClear();
  const app = await start([root()], UsersService, new module.exports());
  await app.get(UsersService).find();
  expect(print.mock.calls.map(([, context]) => context)).toEqual(['Cached']);
});
