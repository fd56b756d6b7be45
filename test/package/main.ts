/** Starts the application, asks it twice for the same forecast, and prints both answers. */
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.js';

async function main(): Promise<void> {
  const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] });
  await app.listen(0, '127.0.0.1');
  const url = `${await app.getUrl()}/forecast/oslo`;
  const answers: unknown[] = [];
  for (let i = 0; i < 2; i++) answers.push(await (await fetch(url)).json());
  await app.close();
  console.log(JSON.stringify(answers));
}

void main();
