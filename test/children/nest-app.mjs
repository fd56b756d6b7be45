// A Nest application on a store. It says on standard output what its log says ("log …", "warn …", "error …"), and, by `mode`:
//
//   serve   listens, says "port <n>"; each request PUT /<key> writes its key, waits until the process has got SIGTERM and some
//           milliseconds more, writes it again, and is answered; "arrived" when `requests` of them are waiting
//   closed  writes, closes the application, and has nothing more to do
//   left    the same with a store for tests, and without closing anything
import 'reflect-metadata';
import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Inject, Module, Param, Put } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { KvModule } from '../src/module/kv.module.js';
import { KvStoreService } from '../src/module/kv-store.service.js';

const { mode, path, requests } = JSON.parse(process.argv[2]);
const say = (line) => writeSync(1, `${line}\n`);
const logger = Object.fromEntries(
  ['log', 'warn', 'error'].map((level) => [level, (message) => say(`${level} ${message}`)]),
);

let waiting = 0;
const signal = new Promise((resolve) => process.once('SIGTERM', resolve));

class Writer {
  constructor(kv) {
    this.kv = kv;
  }

  async put(key) {
    await this.kv.set(key, 'before');
    if (++waiting === requests) say('arrived');
    await signal;
    await sleep(Number(key) % 200);
    const version = await this.kv.set(key, `after ${key}`);
    return { version, value: await this.kv.get(key) };
  }
}
const put = Object.getOwnPropertyDescriptor(Writer.prototype, 'put');
Param('key')(Writer.prototype, 'put', 0);
Put(':key')(Writer.prototype, 'put', put);
Inject(KvStoreService)(Writer, undefined, 0);
Controller()(Writer);

class AppModule {}
const store = mode === 'left' ? KvModule.forTesting() : KvModule.forRoot({ path });
Module({ imports: [store], controllers: [Writer] })(AppModule);

const app = await NestFactory.create(AppModule, { logger, abortOnError: false }).catch((error) => {
  say(`refused ${error.code}`);
  process.exit(1);
});
if (mode === 'serve') {
  app.enableShutdownHooks();
  await app.listen(0, '127.0.0.1');
  say(`port ${app.getHttpServer().address().port}`);
} else {
  await app.init();
  await app.get(KvStoreService).set('a', 1);
  if (mode === 'closed') await app.close();
  say('done');
}
