import { Logger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';

const app = await NestFactory.create(AppModule);
// SIGTERM and Ctrl-C end requests in flight first, then close the store.
app.enableShutdownHooks();
await app.listen(process.env.PORT ?? 3000);
new Logger('Sample').log(`Open ${await app.getUrl()}`.replace('[::1]', 'localhost'));
