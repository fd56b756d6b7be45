/** The test that an application has of its own: run by its Jest, with what Jest resolves the package to. */
import 'reflect-metadata';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Test } from '@nestjs/testing';
import { KvStoreService, KvStore } from 'nestjs-hotcold';
import * as engine from 'nestjs-hotcold/store';
import { AppModule, ForecastService } from './app.js';

it('keeps a forecast', async () => {
  const module = await Test.createTestingModule({ imports: [AppModule] }).compile();
  const forecasts = module.get(ForecastService);
  const first = await forecasts.forecast('oslo');
  expect(first).toMatchObject({ city: 'oslo', made: 1 });
  expect(await forecasts.forecast('oslo')).toEqual(first);
  expect(await forecasts.forecast('bergen')).toMatchObject({ city: 'bergen', made: 2 });
  expect(await module.get(KvStoreService).get('last city')).toBe('bergen');
  await module.close();
});

it('keeps a store on disk', async () => {
  const path = await mkdtemp(join(tmpdir(), 'hotcold-jest-'));
  for (const expected of [1, 2]) {
    const store = await KvStore.open({ path });
    expect(await store.increment('openings')).toBe(expected);
    await store.close();
  }
  await rm(path, { recursive: true });
});

it('has one copy of each class', () => {
  expect(engine.KvStore).toBe(KvStore);
});
