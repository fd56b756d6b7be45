/**
 * The examples of README.md, executed as they stand: each TypeScript block is compiled and run in an empty directory, and
 * `expression; // → value` in it becomes an expectation. What an example of a Nest module shows is then used as its
 * text says.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { REQUEST } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { Test } from '@nestjs/testing';
import { transformSync } from '@swc/core';
import { KvModule, KvStoreService } from 'nestjs-hotcold';
import request from 'supertest';

const README = readFileSync(join(__dirname, '..', 'README.md'), 'utf8');
const BLOCKS = [...README.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1]);

type Classes = Record<string, new (...args: never[]) => unknown>;

/** Runs a block; resolves to the classes that it declares. */
async function run(block: string): Promise<Classes> {
  const imports = [...block.matchAll(/^import [\s\S]*?;$/gm)].map((match) => match[0]);
  const classes = [...block.matchAll(/^class (\w+)/gm)].map((match) => match[1]);
  const body = block
    .replace(/^import [\s\S]*?;$/gm, '')
    .replace(/^(.*); \/\/ → (.*)$/gm, 'expect($1).toEqual($2);');
  const source = `${imports.join('\n')}\nexport async function run() {\n${body}\nreturn { ${classes.join(', ')} };\n}`;
  const { code } = transformSync(source, {
    filename: 'readme.ts',
    configFile: false,
    swcrc: false,
    module: { type: 'commonjs' },
    jsc: {
      target: 'es2022',
      parser: { syntax: 'typescript', decorators: true },
      transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: true },
    },
  });
  const module = { exports: {} as { run: () => Promise<Classes> } };
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- running the examples is what this test is for
  new Function('require', 'module', 'exports', 'expect', code)(require, module, module.exports, expect);
  return module.exports.run();
}

function blockWith(text: string): string {
  const block = BLOCKS.find((candidate) => candidate.includes(text));
  if (!block) throw new Error(`README.md has no example with "${text}"`);
  return block;
}

describe('README.md', () => {
  const home = process.cwd();
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'hotcold-readme-'));
    process.chdir(directory);
  });

  afterEach(() => {
    process.chdir(home);
    delete process.env.DATA_DIR;
    rmSync(directory, { recursive: true, force: true });
  });

  it('runs every example', async () => {
    expect(BLOCKS.length).toBeGreaterThanOrEqual(5);
    for (const block of BLOCKS) await run(block);
  });

  it('has expectations in the examples that say what comes out', () => {
    expect(BLOCKS.join('\n').match(/; \/\/ → /g)?.length).toBeGreaterThanOrEqual(6);
  });

  it('starts the module of the first example, which runs the cached method once', async () => {
    const { AppModule, WeatherService } = await run(blockWith('class WeatherService'));
    const app = await Test.createTestingModule({ imports: [AppModule] }).compile();
    await app.init();
    const weather = app.get<{ forecast(city: string): Promise<unknown> }>(WeatherService);
    const answers = await Promise.all([
      weather.forecast('Graz'),
      weather.forecast('Graz'),
      weather.forecast('Linz'),
    ]);
    expect(answers[0]).toEqual({ city: 'Graz', degrees: 21 });
    expect(answers[1]).toEqual(answers[0]);
    expect(await app.get(KvStoreService).get('forecasts made')).toBe(2);
    await app.close();
  });

  it('starts the module that is configured asynchronously, with a namespace', async () => {
    process.env.DATA_DIR = './data';
    const { AppModule, UserService } = await run(blockWith('class UserService'));
    const app = await Test.createTestingModule({ imports: [AppModule] }).compile();
    await app.init();
    const users = app.get<{ rename(id: number, name: string): Promise<unknown> }>(UserService);
    expect(await users.rename(1, 'Ada')).toBeUndefined();
    await app.get(KvStoreService).namespace('users').set(1, { name: 'Augusta' });
    expect(await users.rename(1, 'Ada')).toEqual({ name: 'Ada' });
    expect(existsSync('./data')).toBe(true);
    await app.close();
  });

  it('answers health checks and scrapes as in the example', async () => {
    const { ObservedModule } = await run(blockWith('class ObservedModule'));
    const testing = await Test.createTestingModule({ imports: [ObservedModule] }).compile();
    const app = testing.createNestApplication<NestExpressApplication>();
    await app.init();
    const { body } = await request(app.getHttpServer()).get('/health').expect(200);
    expect(body.details.kv).toMatchObject({ status: 'up', open: true, writable: true });
    const { text } = await request(app.getHttpServer()).get('/metrics').expect(200);
    expect(text).toContain('hotcold_up{store="default"} 1');
    await app.close();
  });

  it('caches, puts and evicts as the example of the decorators says', async () => {
    const { User, UsersService } = await run(blockWith('@CachePut({'));
    const app = await Test.createTestingModule({
      imports: [KvModule.forRoot({})],
      providers: [UsersService],
    }).compile();
    await app.init();
    const users =
      app.get<Record<'find' | 'save' | 'renameTeam', (...args: unknown[]) => Promise<any>>>(UsersService);
    expect((await users.find('ada')).teamId).toBe(7);
    await users.save(new (User as any)('ada', 8));
    expect(await users.find('ada')).toEqual(new (User as any)('ada', 8));
    await users.renameTeam(8, 'new');
    expect((await users.find('ada')).teamId).toBe(7);
    expect(app.get(KvStoreService).stats().keys).toBe(1);
    await app.close();
  });

  it('keeps users apart as the example of a request says', async () => {
    const { CartService } = await run(blockWith('class CartService'));
    const carts: string[] = [];
    for (const id of ['ada', 'bob']) {
      const app = await Test.createTestingModule({
        imports: [KvModule.forRoot({})],
        providers: [CartService, { provide: REQUEST, useValue: { user: { id } } }],
      }).compile();
      await app.init();
      const cart = await app.resolve<{ items(): Promise<string[]> }>(CartService);
      carts.push(...(await cart.items()));
      expect(await app.get(KvStoreService).namespace('@Cached').get(['cart', id])).toEqual([`of ${id}`]);
      await app.close();
    }
    expect(carts).toEqual(['of ada', 'of bob']);
  });
});
